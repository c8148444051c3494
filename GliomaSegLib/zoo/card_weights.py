"""The block of a card on the weights: their origin, the hashes of the right files, and the licence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card_network import CardPart, checked
from GliomaSegLib.zoo.places import INSTALLED_RECORD, WEIGHTS_FILE

_SHA256, _MD5 = "^[0-9a-f]{64}$", "^[0-9a-f]{32}$"


@dataclass(frozen=True, kw_only=True)
class WeightFile(CardPart):
    """One published file. Hashes are those that its publisher gives; without any, the SHA-256 of the file that was
    installed is recorded."""

    name: str = checked(pattern=r"^[A-Za-z0-9_][^/\\:*?\"<>|\x00-\x1f\x7f]{0,199}$")
    url: str | None = checked(
        None, "null: no address is known, the user has the file.", pattern=r"^https?://[^\s/]+(/\S*)?$"
    )
    size_bytes: int | None = checked(None, gt=0)
    sha256: str | None = checked(None, pattern=_SHA256)
    md5: str | None = checked(None, pattern=_MD5)
    archive: Literal["zip", "tar"] | None = checked(
        None, "What is unpacked before the weights are read, into a folder of the file's stem."
    )

    @property
    def hash_published(self) -> bool:
        """Whether its publisher says what the right file is."""
        return bool(self.sha256 or self.md5)


@dataclass(frozen=True, kw_only=True)
class ShippedFile(CardPart):
    """A file that comes with GliomaSeg, ready to be loaded: there is nothing to install."""

    path: str = checked(about="Below Resources.")
    size_bytes: int
    sha256: str = checked(pattern=_SHA256)

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or PureWindowsPath(self.path).drive or ".." in path.parts or "\\" in self.path:
            raise ValueError("'path' is below Resources, such as weights/model.safetensors")

    def found(self) -> Path:
        """Its path.

        Raises:
            WeightsError: it is missing.
        """
        try:
            return resource(self.path)
        except FileNotFoundError as error:
            raise WeightsError(str(error)) from error

    def sound(self) -> Path:
        """Its path, after checking its SHA-256.

        Raises:
            WeightsError: it is missing or damaged.
        """
        path = self.found()
        if not _accepts(path, self.sha256):
            raise WeightsError(
                f"GliomaSeg's own file {path} is damaged (its SHA-256 is not the card's); install GliomaSeg again."
            )
        return path


@dataclass(frozen=True, kw_only=True)
class PackagedWeights(CardPart):
    """Weights inside a Python package of their publisher, which pip installs."""

    name: str = checked(about="On the Python Package Index.")
    version: str = checked(about="The one that this card describes.")
    size_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Weights(CardPart):
    """Origin, licence and attribution of a model's weights."""

    files: tuple[WeightFile, ...] = checked((), "What is fetched and converted.")
    shipped: ShippedFile | None = None
    package: PackagedWeights | None = None
    members: tuple[str, ...] = checked((), "Of an ensemble: the models whose outputs are fused.")
    licence: str = checked(about="Of the weights; 'unknown' where their publisher gives none.")
    attribution: str

    def __post_init__(self) -> None:
        if sum(map(bool, (self.files, self.shipped, self.package, self.members))) != 1:
            raise ValueError(
                "weights are either fetched ('files'), come with GliomaSeg ('shipped') or inside a package "
                "('package'), or are those of an ensemble's members ('members')"
            )
        if len(self.members) == 1 or len(set(self.members)) < len(self.members):
            raise ValueError("an ensemble has at least two members, each named once")
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("two weight files have one name")

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes, in bytes; what is unknown counts as zero."""
        one = self.shipped or self.package
        return one.size_bytes or 0 if one else sum(file.size_bytes or 0 for file in self.files)

    def intact_and_of_card(self, folder: Path) -> tuple[bool, bool]:
        """Whether the weights in a model's folder are those of its record, and whether this is of the files that the
        card names, as far as it gives their hashes."""
        try:
            record = json.loads((folder / INSTALLED_RECORD).read_text(encoding="utf-8"))
            if not _accepts(folder / WEIGHTS_FILE, record["sha256"]):
                return False, False
            sha256, md5 = record["published"], record.get("md5", {})
            return True, all(
                file.sha256 in (None, sha256.get(file.name)) and file.md5 in (None, md5.get(file.name))
                for file in self.files
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False, False


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weight file, computed once per process while the file does not change (size, time and inode): it is
    asked for by the check before a run, by the run's manifest and again for every case of a batch.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    return _hashed(path, state.st_size, state.st_mtime_ns, state.st_ino)


_ACCEPTED: dict[Path, str] = {}


def accepted_sha256(path: Path) -> str:
    """The SHA-256 with which a weight file was last found to be the right one; its own now, if it never was checked.

    A loader compares what it reads with this, so that a file that is exchanged after the check is not loaded.
    """
    return _ACCEPTED.get(path) or weights_sha256(path)


def joined_sha256(hashes: Iterable[str]) -> str:
    """The hash that stands for the weights of an ensemble, from those of its members."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _accepts(path: Path, sha256: str) -> bool:
    """Whether a file has this hash."""
    _ACCEPTED.pop(path, None)
    if weights_sha256(path) != sha256:
        return False
    _ACCEPTED[path] = sha256
    return True


@lru_cache(maxsize=64)
def _hashed(path: Path, size: int, changed_ns: int, inode: int) -> str:
    return sha256_of(path)
