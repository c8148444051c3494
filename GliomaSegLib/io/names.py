"""Image files by their names, for the search of study folders and the names of cases. Standard library only."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

# Searched for in study folders; ITK reads further formats if the user names a file.
IMAGE_SUFFIXES: tuple[str, ...] = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".img.gz")


_NO_FILE = re.compile(r'[/\\:*?"<>|\x00-\x1f]|^\.|[. ]$')


def file_stem(name: str) -> str:
    """The name itself, or, where a file cannot be called so on every system, a legal one that no other name has."""
    if not _NO_FILE.search(name):
        return name
    return f"{_NO_FILE.sub('_', name)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def folders_below(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As :func:`os.walk`, sorted, following links (each folder once), without hidden files and folders."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(parent), folders, sorted(name for name in names if not name.startswith("."))


def folder_and_part(path: Path) -> tuple[Path, str]:
    """Split ``FOLDER#2``, which names one of several volumes in a folder; an existing path has an empty part."""
    name, _, part = path.name.rpartition("#")
    return (path.with_name(name), part) if name and not path.exists() else (path, "")


def is_image_name(path: Path) -> bool:
    """Whether the name has the suffix of an image file that GliomaSeg reads."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do; ``False`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_image_file(path: Path) -> bool:
    """Whether a file is no DICOM and has the suffix of an image file: scanners write DICOM files as ``.img``, too."""
    return is_image_name(path) and not (path.suffix.lower() == ".img" and is_dicom(path))


def image_stem(path: Path) -> str:
    """Name of a file or folder without its image suffix (also ``.nii.gz``); other suffixes are kept."""
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name
