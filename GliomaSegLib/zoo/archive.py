"""Safe extraction of untrusted archives: nothing is written outside the folder, no links are made, and nothing is
unpacked that would fill the disk."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Literal, NamedTuple

from GliomaSegLib.errors import InputError, WeightsError

# Weights hardly compress; an archive that grows by more than this was made to fill disks.
_MOST_TIMES_LARGER = 50

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError)


class _Member(NamedTuple):
    name: str
    size: int
    is_file: bool
    is_folder: bool
    stream: IO[bytes] | None


def is_archive(path: Path, kind: Literal["zip", "tar"]) -> bool:
    """Whether the file is what it should be, by its content."""
    return zipfile.is_zipfile(path) if kind == "zip" else tarfile.is_tarfile(path)


def unpack(archive: Path, kind: Literal["zip", "tar"], folder: Path) -> None:
    """Unpack ``archive`` into ``folder``, which is made.

    Raises:
        WeightsError: it is damaged, or holds links, special files or names that lead outside the folder.
        InputError: the disk has no room for it.
    """
    folder.mkdir(parents=True)
    try:
        _check_room(archive, kind, folder)
        for member in _members(archive, kind):
            target = folder / _inside(member.name, archive)
            if member.is_folder:
                target.mkdir(parents=True, exist_ok=True)
            elif member.is_file and member.stream is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as stream:
                    shutil.copyfileobj(member.stream, stream, 1 << 20)
            else:
                raise WeightsError(
                    f"The archive {archive} holds '{member.name}', which is no plain file; do not use it."
                )
    except _DAMAGED as error:
        raise WeightsError(f"The archive {archive} is damaged ({error}); get it again.") from error
    except FileExistsError as error:
        raise WeightsError(f"The archive {archive} holds one name twice; do not use it.") from error
    except (RuntimeError, NotImplementedError) as error:  # raised by zipfile for encryption and rare compressions
        raise WeightsError(f"The archive {archive} cannot be unpacked ({error}); unpack and pack it anew.") from error


def _members(archive: Path, kind: Literal["zip", "tar"]) -> Iterator[_Member]:
    if kind == "zip":
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                plain = (info.external_attr >> 16) & 0o170000 in (0, 0o100000, 0o040000)
                if info.is_dir() or not plain:
                    yield _Member(info.filename, 0, False, info.is_dir() and plain, None)
                    continue
                if info.header_offset < 0:  # which zipfile seeks to
                    raise zipfile.BadZipFile("a member lies before the beginning")
                with opened.open(info) as stream:
                    yield _Member(info.filename, info.file_size, True, False, stream)
    else:
        with tarfile.open(archive) as bundle:
            for entry in bundle:
                content = bundle.extractfile(entry) if entry.isreg() else None
                yield _Member(entry.name, entry.size, entry.isreg(), entry.isdir(), content)


def _inside(name: str, archive: Path) -> PurePosixPath:
    """``name`` as a path below the folder, on every system."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\0" in name:
        raise WeightsError(f"The archive {archive} wants to write outside its folder ('{name}'); do not use it.")
    return path


def _check_room(archive: Path, kind: Literal["zip", "tar"], folder: Path) -> None:
    if kind == "zip":
        with zipfile.ZipFile(archive) as opened:
            size = sum(info.file_size for info in opened.infolist())
    else:
        with tarfile.open(archive) as opened:
            size = sum(info.size for info in opened)
    if size > _MOST_TIMES_LARGER * archive.stat().st_size:
        raise WeightsError(f"The archive {archive} would grow to {size / 1e9:.1f} GB, as no weights do; do not use it.")
    if size > (free := shutil.disk_usage(folder).free):
        raise InputError(
            f"The archive {archive} needs {size / 1e6:.0f} MB unpacked and the disk has {free / 1e6:.0f} MB free; make "
            "room or use --store."
        )
