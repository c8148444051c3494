"""Hashes of files and timestamps for manifests; standard library only."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path

from GliomaSegLib.io.names import folders_below

_CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hash_of(path, "sha256")


def hash_of(path: Path, algorithm: str) -> str:
    """A hash of a file by an algorithm of :mod:`hashlib`, against damage, in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def state_of(path: Path) -> str:
    """A digest of the names, sizes and times of modification of a file, or of the files below a folder; their contents
    are not read."""
    files = [path]
    if path.is_dir():
        files = sorted(parent / name for parent, _, names in folders_below(path) for name in names)
    states = [(str(one), (s := one.stat()).st_size, s.st_mtime_ns) for one in files if one.exists()]
    return hashlib.sha256(repr(states).encode()).hexdigest()


def timestamp() -> str:
    """The current time with its time zone, ISO 8601."""
    return datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")
