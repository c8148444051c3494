"""The folder of a node: checked at every step to be the right one, and always consistent when the node is killed.

::

    FOLDER/node.json           marks the folder of a node, with its identifier
    FOLDER/queue.sqlite        see :mod:`GliomaSegLib.dicom_node.queue`
    FOLDER/studies/KEY/images/SERIES/IMAGE.dcm
    FOLDER/studies/KEY/results-1, answers-1   of the study's first revision; a late series starts a second
    FOLDER/logs

A mount that is gone looks like an empty folder, and a node that fills it writes to the wrong disk unnoticed (a
failure that Lotan 2021 met). So the file ``node.json`` must be there, and the same one, at every step.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from GliomaSegLib.dicom_node.permissions import keep_private
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.io.renaming import rename

LOGS = "logs"
"""The folder of the worker's log."""

_MARK = "node.json"
PARTIAL = ".partial"
"""The suffix of a file that is being written."""

_KEY_LETTERS = 12
_PRIVATE = 0o700


class StorageError(GliomaSegError):
    """The node cannot store anything now: its folder is gone, or the disk is full. This may be temporary."""


class Storage:
    """The folder of a node.

    Args:
        folder: made by :func:`prepare`.
        least_free_bytes: with less free disk space than this nothing is written.

    Raises:
        InputError: the folder is not there, or not that of a node, or others can read it and that cannot be changed.
    """

    def __init__(self, folder: Path, least_free_bytes: int = 0) -> None:
        self.folder = folder.absolute()
        self._least_free_bytes = least_free_bytes
        try:
            self._id = _read_mark(self.folder)
        except StorageError as error:
            raise InputError(
                f"{error} Mount its disk, or make a new one with: gliomaseg serve CONFIG --prepare"
            ) from error
        for path in (self.folder, self.folder / _MARK, self.database, self.folder / LOGS):
            keep_private(path)

    def check(self) -> None:
        """Make sure that the folder still exists and is the same.

        Raises:
            StorageError: it is gone, or another one is in its place.
        """
        if _read_mark(self.folder) != self._id:
            raise StorageError(f"{self.folder} is now the folder of another node.")

    def check_room(self) -> None:
        """Make sure that there is enough free disk space.

        Raises:
            StorageError: the folder is gone, or too little disk is free.
        """
        self.check()
        if self.is_full:
            raise StorageError(
                f"The disk of {self.folder} is full: {self.free_bytes / 1e9:.1f} GB are free and "
                f"{self._least_free_bytes / 1e9:.1f} GB are to stay free."
            )

    @property
    def is_full(self) -> bool:
        """Whether less disk space is free than ``least_free_bytes``."""
        return self.free_bytes < self._least_free_bytes

    @property
    def free_bytes(self) -> int:
        """Free disk space; 0 when the disk is gone."""
        try:
            return shutil.disk_usage(self.folder).free
        except OSError:
            return 0

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Lock the folder against other nodes while the block runs; the lock ends with the process.

        Raises:
            InputError: another node has locked it.
        """
        try:
            with FileLock(self.folder / "lock", timeout=0):
                yield
        except Timeout as error:
            raise InputError(f"Another node is at work in {self.folder}; end it first.") from error

    # --- names ------------------------------------------------------------------------------------------------------

    def key(self, study_uid: str) -> str:
        """The pseudonym of a study, which cannot be traced back without this folder."""
        return hmac.new(self._id.encode(), study_uid.encode(), hashlib.sha256).hexdigest()[:_KEY_LETTERS]

    @property
    def database(self) -> Path:
        """The queue's file."""
        return self.folder / "queue.sqlite"

    def images(self, key: str) -> Path:
        """The images of a study, in a folder per series."""
        return self.folder / "studies" / key / "images"

    def results(self, key: str, revision: int) -> Path:
        """The folder of results of a revision of a study."""
        return self.folder / "studies" / key / f"results-{revision}"

    def answers(self, key: str, revision: int) -> Path:
        """The folder of the DICOM objects to send for that revision."""
        return self.folder / "studies" / key / f"answers-{revision}"

    # --- images -----------------------------------------------------------------------------------------------------

    def studies(self) -> list[str]:
        """The keys of the studies that have files."""
        try:
            return sorted(path.name for path in (self.folder / "studies").iterdir())
        except FileNotFoundError:
            return []

    def image_files(self, key: str) -> list[Path]:
        """The files of a study's images, by series and name."""
        return sorted(self.images(key).glob("*/*.dcm"))

    def current_revision(self, key: str) -> int:
        """The revision of a study that is missing in the queue: that of its latest answers, which are then sent again
        unchanged, or the next one if an image came after them."""
        made = {
            int(path.name.removeprefix("answers-")): path.stat().st_mtime
            for path in (self.folder / "studies" / key).glob("answers-*")
            if path.name.removeprefix("answers-").isdigit()
        }
        if not made:
            return 1
        latest = max(made)
        newer = any(path.stat().st_mtime > made[latest] for path in self.image_files(key))
        return latest + 1 if newer else latest

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of a study, completely or not at all; it has reached the disk when this returns.

        There is only one fsync, as that limits the speed of receiving. After a power cut the file may have its
        temporary name, which holds its final name and a checksum for :meth:`sweep`.

        Raises:
            StorageError: the folder is gone, or the disk full.
        """
        self.check_room()
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                for folder in path.parent.parents[:4]:  # up to the node's folder
                    _flush_folder(folder)
            descriptor, name = tempfile.mkstemp(f".{_checksum(content)}{PARTIAL}", f"{path.name}.", path.parent)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())  # on common file systems this also flushes the name of a new file
                rename(Path(name), path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise StorageError(f"{self.folder} cannot be written ({error.strerror}).") from error

    def clear(self, key: str) -> None:
        """Delete all files of a study."""
        shutil.rmtree(self.folder / "studies" / key, ignore_errors=True)

    def sweep(self) -> None:
        """Finish the renames that a kill or a power cut interrupted, and delete half-written files."""
        for path in (self.folder / "studies").glob(f"*/images/*/*{PARTIAL}"):
            final, checksum = path.with_name(path.name.partition(".dcm")[0] + ".dcm"), path.suffixes[-2:-1]
            if checksum == [f".{_checksum(path.read_bytes())}"] and not final.exists():
                path.replace(final)
            else:
                path.unlink(missing_ok=True)
        for path in (self.folder / "studies").glob(f"*/.*{PARTIAL}"):  # of results; no other process uses the folder
            shutil.rmtree(path, ignore_errors=True)


def prepare(folder: Path) -> None:
    """Make a new folder for a node. The folder of a node is not changed.

    Raises:
        InputError: it holds something else, cannot be written, or others can read it and that cannot be changed.
    """
    try:
        folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        keep_private(folder)  # it may have existed, as the folder of a mounted disk
        if (folder / _MARK).exists():
            return
        if any(path.name != "lost+found" for path in folder.iterdir()):
            raise InputError(f"{folder} is not empty; name an empty or a new folder for the node.")
        (folder / _MARK).touch(mode=0o600)
        (folder / _MARK).write_text(json.dumps({"node": secrets.token_hex(16)}) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be prepared ({error.strerror}); name a folder that can be.") from error


def _checksum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}-{len(content)}"


def _flush_folder(folder: Path) -> None:
    """Flush the directory entries of a folder to the disk (fsync), where the system has that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_mark(folder: Path) -> str:
    try:
        return str(json.loads((folder / _MARK).read_bytes())["node"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"The storage of the node is gone: there is no readable {folder / _MARK}.") from error
