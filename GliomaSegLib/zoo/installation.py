"""Installs a model: downloads (or copies) its published files, checks and converts them, and moves them to the store.

The model's folder is made atomically: files are collected in a folder beside it, checked, converted and renamed. An
interrupted download is resumed. Two processes that install one model wait for each other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from GliomaSegLib.errors import GliomaSegError, InputError, WeightsError
from GliomaSegLib.io.provenance import sha256_of, timestamp
from GliomaSegLib.io.renaming import rename
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo import pack
from GliomaSegLib.zoo.archive import unpack
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_weights import WeightFile
from GliomaSegLib.zoo.download import check, download
from GliomaSegLib.zoo.loaders import family
from GliomaSegLib.zoo.places import INSTALLED_RECORD, STORE_VARIABLE, WEIGHTS_FILE, installed_in

_LOCK_POLL_S = 0.5


def install(card: Card, root: Path, source: Path | None, progress: Progress) -> Path:
    """Install the weights of ``card`` in the store ``root``, from their addresses or from ``source``.

    An existing installation is replaced when the new weights are ready, and kept if they are refused. If another
    process installs the model meanwhile, its installation is used.

    Returns:
        the model's folder.

    Raises:
        WeightsError, InputError: see :meth:`GliomaSegLib.zoo.store.Store.install`.
    """
    progress.stage("install")
    _make_root(card, root)
    was_there = installed_in(card.id, (root,)) is not None
    try:
        with _locked(card, root, progress):
            if was_there or installed_in(card.id, (root,)) is None:
                _sweep(card, root)
                _replace(card, root, source, progress)
    except OSError as error:
        raise InputError(
            f"The model '{card.id}' could not be installed in {root} ({error.strerror or error}); make room, or name "
            f"another folder with --store or {STORE_VARIABLE}."
        ) from error
    return root / card.id


def _replace(card: Card, root: Path, source: Path | None, progress: Progress) -> None:
    _check_place(root / card.id)
    with _work(card, root) as work:
        ready = work / card.id
        if source and (carried := pack.find(source, card.id)):
            pack.take(carried, ready)
            if card.weights.intact_and_of_card(ready) != (True, True):
                raise WeightsError(
                    f"What {source} holds of '{card.id}' is damaged or of another version; pack it anew."
                )
        else:
            downloads = root / f".{card.id}.download"
            published = _collect(card, source, downloads, progress)
            try:
                _convert(card, published, work / "published", ready)
            except WeightsError:
                shutil.rmtree(downloads, ignore_errors=True)  # or the next try would meet the same files
                raise
            shutil.rmtree(downloads, ignore_errors=True)
        _put_in_place(ready, root / card.id, work / "before")


def _put_in_place(ready: Path, place: Path, aside: Path) -> None:
    """Rename ``ready`` to ``place``; an earlier installation is moved ``aside``, and back if that fails."""
    _check_place(place)
    if not place.exists():
        rename(ready, place)
        return
    rename(place, aside)
    try:
        rename(ready, place)
    except OSError:
        rename(aside, place)
        raise


def _check_place(place: Path) -> None:
    """Refuse to replace what no installation has made.

    Raises:
        InputError: there is a file, or a folder that holds something else.
    """
    found = [path.name for path in place.iterdir()] if place.is_dir() else [place.name] * os.path.lexists(place)
    known = (WEIGHTS_FILE, INSTALLED_RECORD)
    for name in found:
        if name not in known and "licen" not in name.lower() and not name.startswith("."):
            raise InputError(
                f"{place} holds '{name}', which no installation has made, and was left as it is; move it away, or name "
                f"another folder with --store or {STORE_VARIABLE}."
            )


def _make_root(card: Card, root: Path) -> None:
    try:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise InputError(
            f"The model store {root} cannot be made ({error.strerror}); name another folder with --store or "
            f"{STORE_VARIABLE}."
        ) from error
    if not os.access(root, os.W_OK):
        raise InputError(
            f"The model store {root} cannot be written; name another folder with --store or {STORE_VARIABLE}."
        )
    # As fetched, as converted, and where it is an archive as unpacked.
    copies = 3 if any(file.archive for file in card.weights.files) else 2
    if free < copies * card.weights.size_bytes:
        raise InputError(
            f"The disk of the model store {root} has {free / 1e6:.0f} MB free and '{card.id}' needs "
            f"{copies * card.weights.size_bytes / 1e6:.0f} MB while it is installed; make room or use --store."
        )


@contextmanager
def _locked(card: Card, root: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(root / f".{card.id}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_LOCK_POLL_S)
        except Timeout:
            progress.advance(0, "another process is installing this model")  # may raise Cancelled
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _work(card: Card, root: Path) -> Iterator[Path]:
    """A temporary folder on the store's own disk."""
    work = Path(tempfile.mkdtemp(prefix=f".{card.id}.", suffix=".partial", dir=root))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sweep(card: Card, root: Path) -> None:
    """Remove what killed processes left; while the model is locked no other process works on it."""
    for remains in root.iterdir():
        if re.fullmatch(rf"\.{re.escape(card.id)}\.[^.]+\.partial", remains.name):
            shutil.rmtree(remains, ignore_errors=True)


def _collect(card: Card, source: Path | None, downloads: Path, progress: Progress) -> dict[str, Path]:
    """Every published file by its name, checked."""
    if source is None:
        downloads.mkdir(exist_ok=True)
    elif not source.exists():
        raise WeightsError(f"{source} does not exist; give the folder that holds the weight files of '{card.id}'.")
    found = {}
    for index, file in enumerate(card.weights.files):

        def on_bytes(received: int, expected: int, index: int = index) -> None:
            progress.advance(*share_of_download(card.weights.files, index, received, expected))

        if source is None:
            found[file.name] = download(file, downloads / file.name, on_bytes)
        else:
            path = _given(source, card, file.name)
            if not path.is_file():
                where = f"; it is published at {file.url}" if file.url else ""
                raise WeightsError(f"The weight file {path} is missing{where}.")
            check(path, file, f"get it again from {file.url or 'where you have it from'}")
            found[file.name] = path
        on_bytes(1, 1) if file.size_bytes is None else on_bytes(file.size_bytes, file.size_bytes)
    return found


def share_of_download(files: Sequence[WeightFile], index: int, received: int, expected: int) -> tuple[float, str]:
    """The share that is there and a detail: by bytes in MB where all sizes are known, else by files and their names."""
    sizes = [file.size_bytes for file in files if file.size_bytes is not None]
    if len(sizes) < len(files):
        return (index + (min(received / expected, 1.0) if expected else 0.0)) / len(files), files[index].name
    done = min(sum(sizes[:index]) + received, sum(sizes))
    return done / sum(sizes), f"{done / 1e6:.1f} of {sum(sizes) / 1e6:.1f} MB"


def _given(source: Path, card: Card, name: str) -> Path:
    """The path of the file ``name`` in what the user gave: a folder, or the model's only file under whatever name."""
    if source.is_dir():
        return source / name
    if len(card.weights.files) > 1:
        count = len(card.weights.files)
        raise WeightsError(f"'{card.id}' has {count} weight files and {source} is one; give the folder that holds all.")
    return source


def _convert(card: Card, published: dict[str, Path], source: Path, ready: Path) -> None:
    """Convert the published files into the folder ``ready``, with the licence files and the record.

    ``source`` is made for the converter: each plain file under its name and each archive unpacked under its stem.
    """
    source.mkdir()
    ready.mkdir(mode=0o755)
    for file in card.weights.files:
        if file.archive:
            unpack(published[file.name], file.archive, source / Path(file.name).stem)
        else:
            _link_or_copy(published[file.name], source / file.name)
    try:
        family(card.network.family).convert(source, ready / WEIGHTS_FILE)
    except SafetensorError as error:  # raised when the disk is full
        raise OSError(str(error)) from error
    except (GliomaSegError, OSError):
        raise
    except Exception as error:  # whatever comes of files that are another network's, or malformed
        raise WeightsError(
            f"The published files of '{card.id}' cannot be converted ({type(error).__name__}: {error}); get them again."
        ) from error
    (ready / WEIGHTS_FILE).chmod(0o644)  # safetensors makes it private; a shared store is read by others
    for file in card.weights.files:
        if "licen" in file.name.lower():
            shutil.copyfile(published[file.name], ready / file.name)
    record = {
        "model": card.id,
        "version": card.version,
        "sha256": sha256_of(ready / WEIGHTS_FILE),
        "published": {name: sha256_of(path) for name, path in published.items()},
        "md5": {file.name: file.md5 for file in card.weights.files if file.md5},  # each was checked
        "licence": card.weights.licence,
        "installed": timestamp(),
    }
    (ready / INSTALLED_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _link_or_copy(path: Path, target: Path) -> None:
    """``path`` under another name, without a copy where the system allows that."""
    try:
        target.symlink_to(path.absolute())
    except OSError:  # Windows asks for a privilege
        shutil.copyfile(path, target)
