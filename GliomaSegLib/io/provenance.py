"""Hashes of files and timestamps for manifests; standard library only."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path

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


def timestamp() -> str:
    """The current time with its time zone, ISO 8601."""
    return datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")
