"""Output folders that are written completely or not at all, and the manifest that marks them as GliomaSeg's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from GliomaSegLib.errors import InputError, as_typed
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.io.renaming import rename

MANIFEST = "manifest.json"
PROGRAM: Final = "GliomaSeg"

# Suffixes of the temporary folders beside an output while it is written: the new one, and the one that it replaces.
_NEW, _REPLACED = ".partial", ".old"


def own_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that GliomaSeg wrote; empty for others (other programs use the same file name)."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) and manifest.get("program") == PROGRAM else {}


def is_result_folder(folder: Path) -> bool:
    """Whether GliomaSeg wrote this folder, by the program in its manifest."""
    return bool(own_manifest(folder))


def work_by_hand(output: Path) -> str:
    """Why new results do not replace those in a folder: a sentence if a person has edited or reviewed them, else empty.

    An edit counts also before it was measured: the files are not those that were written.
    """
    manifest = own_manifest(output)
    state, written = manifest.get("review", "draft"), manifest.get("sha256") or {}
    present = {name: digest for name, digest in written.items() if (output / name).is_file()}
    if state == "draft" and all(sha256_of(output / name) == digest for name, digest in present.items()):
        return ""
    return (
        f"The results in {output} were {'edited' if state == 'draft' else state} by hand and are not replaced; move "
        f"them away, or withdraw that with 'gliomaseg review {as_typed(output)} --state draft --by NAME'."
    )


def check_output(output: Path, overwrite: bool, revises: bool = False) -> None:
    """Check before a run that the output folder can be written.

    Args:
        revises: what is written goes on from the results that it replaces, edits and reviews included.

    Raises:
        InputError: it exists and may not be replaced, or its parent cannot be written.
    """
    if not revises and (reason := work_by_hand(output)):
        raise InputError(reason)
    if output.exists() and not overwrite:
        raise InputError(f"The output {output} exists already; name another folder or say '--overwrite'.")
    if output.exists() and not _may_be_replaced(output):
        raise InputError(
            f"The output {output} is not a folder of GliomaSeg results (it has no {MANIFEST} of its own), so it is not "
            "overwritten; name another folder."
        )
    parent = output.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        # Permission bits are not reliable on network drives and for root; a name may be too long for its folder.
        _made_beside(output, _NEW).rmdir()
    except OSError as error:
        raise InputError(
            f"The output {output} cannot be written ({error.strerror}); name a folder where you may write."
        ) from error


@contextmanager
def written_whole(output: Path, overwrite: bool = False, revises: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``output`` that is renamed to ``output`` after the block, or deleted after an error.

    With ``overwrite``, earlier results are replaced at the end, atomically. An output that another program has made
    meanwhile, or a person edited or reviewed, is never replaced: the new folder is then kept beside it, and the error
    names it.

    Raises:
        InputError: see :func:`check_output`, which is checked again at the end; or the disk is full.
    """
    check_output(output, overwrite, revises)
    output = output.absolute()
    temporary = _made_beside(output, _NEW)
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private; results are shared as the user's other files
        _put(temporary, output, overwrite, revises)
    except OSError as error:
        raise InputError(f"The output {output} could not be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unfinished(output: Path) -> set[Path]:
    """The temporary folders beside ``output`` of writers that are running, or that were killed."""
    try:
        beside = list(output.parent.iterdir())
    except OSError:
        return set()
    # Not those of an output beside it, such as 'P1.2' beside 'P1', which another process may be writing.
    own = re.compile(rf"{re.escape(_beginning(output))}[^.]+\.(partial|old)")
    return {one for one in beside if own.fullmatch(one.name)}


def clear_up(output: Path, folders: Iterable[Path]) -> None:
    """Remove the temporary folders of a killed writer of ``output``, and restore results that it was replacing."""
    for folder in folders:
        replaced = folder / output.name
        try:
            if folder.suffix == _REPLACED and replaced.exists() and not output.exists():
                rename(replaced, output)
            shutil.rmtree(folder)
        except OSError:  # keep the remains: they may be results
            continue


def _beginning(output: Path) -> str:
    return f".{output.name}."


def _made_beside(output: Path, ending: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=_beginning(output), suffix=ending, dir=output.parent))


def _put(temporary: Path, output: Path, overwrite: bool, revises: bool) -> None:
    if not overwrite or not os.path.lexists(output):
        _rename_onto_nothing(temporary, output)
        return
    old = _made_beside(output, _REPLACED)
    moved = old / output.name
    try:
        with contextlib.suppress(FileNotFoundError):  # another process has moved it
            rename(output, moved)  # now no process writes into it by its name
        if os.path.lexists(moved) and (not _may_be_replaced(moved) or (not revises and work_by_hand(moved))):
            rename(moved, output)
            _keep_beside(temporary, output)
        _rename_onto_nothing(temporary, output)
    except BaseException:  # also a signal between the renames
        if moved.exists() and not os.path.lexists(output):
            rename(moved, output)
        raise
    finally:
        if os.path.lexists(output):
            shutil.rmtree(old, ignore_errors=True)


def _rename_onto_nothing(temporary: Path, output: Path) -> None:
    """Rename a folder; if the name is taken meanwhile, keep it under another name and raise an error.

    Should a folder or file appear in between: no operating system renames onto a file or a non-empty folder.
    """
    if os.path.lexists(output):
        _keep_beside(temporary, output)
    try:
        rename(temporary, output)
    except OSError:
        if not os.path.lexists(output):
            raise
        _keep_beside(temporary, output)


def _keep_beside(temporary: Path, output: Path) -> NoReturn:
    number = 2
    while not _moved(temporary, beside := output.with_name(f"{output.name}_{number}")):
        number += 1
    raise InputError(
        f"The output {output} was made or changed by others in the meantime and is left as it is; what was to be "
        f"written there lies in {beside}."
    )


def _moved(temporary: Path, beside: Path) -> bool:
    """Rename it, unless another process has taken the name; whether it was renamed."""
    try:
        if not os.path.lexists(beside):
            rename(temporary, beside)
            return True
    except OSError:
        if not os.path.lexists(beside):
            raise
    return False


def _may_be_replaced(output: Path) -> bool:
    return output.is_dir() and (is_result_folder(output) or not any(output.iterdir()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
