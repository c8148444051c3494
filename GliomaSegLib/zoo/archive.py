"""Safe extraction of untrusted archives: no files outside the folder, no links, and no decompression bombs."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Literal, NamedTuple

from GliomaSegLib.errors import InputError, WeightsError

# Weights are hardly compressible; an archive that expands by more than this is malicious.
_MOST_TIMES_LARGER = 50
_MOST_MEMBERS = 5_000
_MOST_HEADER_BYTES = 1 << 16  # of one extended header of a tar file, which is read at once
_LONGEST_NAME, _LONGEST_PATH = 255, 1000  # bytes that file systems take


class _Member(NamedTuple):
    name: str
    size: int
    kind: Literal["file", "folder", "other"]
    stream: IO[bytes] | None


class _TarMember(tarfile.TarInfo):
    """Refuses malicious tar headers: very long ones, and sizes that point backwards."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = self.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE)
        if self.size < 0 or (extended and self.size > _MOST_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def is_archive(path: Path, kind: Literal["zip", "tar"]) -> bool:
    """Whether the content of a file is that of such an archive."""
    if kind == "zip":
        return zipfile.is_zipfile(path)
    try:
        tarfile.open(path, tarinfo=_TarMember).close()
    except Exception:  # a malformed one raises many kinds
        return False
    return True


def unpack(archive: Path, kind: Literal["zip", "tar"], folder: Path) -> None:
    """Unpack ``archive`` into the new folder ``folder``.

    Raises:
        WeightsError: it is damaged, has links, special files or names outside the folder, or would expand to many times
            its size.
        InputError: the disk is full.
    """
    folder.mkdir(parents=True)
    size, free = 0, shutil.disk_usage(folder).free
    try:
        for count, member in enumerate(_members(archive, kind, free), start=1):
            target = folder / _inside(member.name, archive)
            size += max(member.size, 0)
            _check_size(archive, size, count, free)
            if member.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
            elif member.stream is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as stream:
                    shutil.copyfileobj(member.stream, stream, 1 << 20)
            else:
                raise WeightsError(
                    f"The archive {archive} holds '{_shown(member.name)}', which is no plain file; do not use it."
                )
    except (WeightsError, InputError):
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise WeightsError(f"The archive {archive} holds one name twice; do not use it.") from error
    except NotImplementedError as error:  # raised by zipfile for rare compressions
        raise WeightsError(f"The archive {archive} cannot be unpacked ({error}); unpack and pack it anew.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # only errors of the disk have an errno
            raise
        if isinstance(error, RuntimeError) and "encrypted" in str(error):
            raise WeightsError(f"The archive {archive} is encrypted; unpack and pack it anew.") from error
        why = str(error).partition("\n")[0].rstrip(":")  # tarfile lists every way in which it could not be read
        raise WeightsError(f"The archive {archive} is damaged ({why}); get it again.") from error


def _members(archive: Path, kind: Literal["zip", "tar"], free: int) -> Iterator[_Member]:
    if kind == "zip":
        with zipfile.ZipFile(archive) as opened:
            _check_size(archive, sum(info.file_size for info in opened.infolist()), len(opened.infolist()), free)
            for info in opened.infolist():
                plain = (info.external_attr >> 16) & 0o170000 in (0, 0o100000, 0o040000)
                if info.is_dir() or not plain:
                    yield _Member(info.filename, 0, "folder" if plain else "other", None)
                    continue
                if info.header_offset < 0:  # which zipfile seeks to
                    raise zipfile.BadZipFile("a member lies before the beginning")
                with opened.open(info) as stream:
                    yield _Member(info.filename, info.file_size, "file", stream)
    else:
        with tarfile.open(archive, tarinfo=_TarMember) as bundle:
            for entry in bundle:
                content = bundle.extractfile(entry) if entry.isreg() else None
                yield _Member(entry.name, entry.size, "folder" if entry.isdir() else "other", content)
                bundle.members = []  # type: ignore[attr-defined]  # or the headers of all of them stay in memory


def _inside(name: str, archive: Path) -> PurePosixPath:
    """``name`` as a path below the folder, on every system."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\0" in name:
        raise WeightsError(
            f"The archive {archive} wants to write outside its folder ('{_shown(name)}'); do not use it."
        )
    longest = max((len(part.encode()) for part in path.parts), default=0)
    if not name.isprintable() or len(name.encode()) > _LONGEST_PATH or longest > _LONGEST_NAME:
        raise WeightsError(
            f"The archive {archive} holds a name that no file can have ('{_shown(name)}'); do not use it."
        )
    return path


def _shown(name: str) -> str:
    """The beginning of a name, safe to print on a terminal."""
    return ascii(name[:80])[1:-1] + ("..." if len(name) > 80 else "")


def _check_size(archive: Path, size: int, members: int, free: int) -> None:
    if size > _MOST_TIMES_LARGER * archive.stat().st_size or members > _MOST_MEMBERS:
        what = f"{size / 1e9:.1f} GB" if members <= _MOST_MEMBERS else f"more than {_MOST_MEMBERS} files"
        raise WeightsError(f"The archive {archive} would grow to {what}, as no weights do; do not use it.")
    if size > free:
        raise InputError(
            f"The archive {archive} needs {size / 1e6:.0f} MB unpacked and the disk has {free / 1e6:.0f} MB free; make "
            "room or use --store."
        )
