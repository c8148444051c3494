"""Stores the DICOM identities under which a result and its lesions were exported.

An exported lesion has a number and a Tracking UID. Since an edit renumbers components by size, identities are found by
position: ``tracked_ET.nii.gz`` holds the lesions of the last export with their numbers, and ``tracking.json`` their
UIDs. ``exported.json`` names the objects of the last export, to which later ones refer as their predecessors.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on, oriented_like, same_grid
from GliomaSegLib.io.images import read_labels, write_image
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.volumes import lesion_numbers

_LOG = logging.getLogger(__name__)
_MOST = np.iinfo(np.uint16).max  # lesions that have ever had a number

TRACKING = "tracking.json"
EXPORTED = "exported.json"


@dataclass(frozen=True)
class Identity:
    """Number and DICOM Tracking UID of a lesion; both are permanent."""

    number: int
    uid: str


def read_identities(folder: Path, labels: sitk.Image, region: Region) -> dict[int, Identity]:
    """The identities of lesions that were exported before, by :attr:`Lesion.id`.

    A lesion has the identity of the exported one with the largest overlap; each identity is used once.

    Args:
        labels: the present internal label map of the result, in any orientation.

    Raises:
        InputError: the files are damaged.
    """
    uids = _uids(folder).get(region.value)
    if not uids:
        return {}
    path = _tracked(folder, region)
    stored = oriented_like(read_labels(path, most=_MOST), labels)
    if not same_grid(stored, labels):
        raise InputError(f"{path} lies on another grid than its result; delete it to give the lesions new identities.")
    before, now = sitk.GetArrayViewFromImage(stored), lesion_numbers(labels, region)
    found: dict[int, Identity] = {}
    for number, lesion in _by_overlap(before, now):
        if lesion not in found and number not in {one.number for one in found.values()} and str(number) in uids:
            found[lesion] = Identity(number, uids[str(number)])
    return found


def last_number(folder: Path, region: Region) -> int:
    """The highest number ever used for a lesion of a result; 0 if there is none."""
    return max(map(int, _uids(folder).get(region.value, {})), default=0)


def keep_identities(folder: Path, labels: sitk.Image, region: Region, identities: Mapping[int, Identity]) -> None:
    """Store the identities of a result's lesions, by :attr:`Lesion.id`.

    UIDs of removed lesions are kept, so that they are never used again. Read-only results are not changed: they cannot
    be edited either.
    """
    uids = _uids(folder)
    known = uids.setdefault(region.value, {})
    known.update({str(one.number): one.uid for one in identities.values()})
    numbers = lesion_numbers(labels, region)
    to_number = np.zeros(int(numbers.max()) + 1, np.uint16)
    for lesion, one in identities.items():
        to_number[lesion] = one.number
    try:
        write_image(array_on(to_number[numbers], labels), _tracked(folder, region))
        (folder / TRACKING).write_text(json.dumps(uids, indent=2) + "\n", encoding="utf-8")
    except (InputError, OSError) as error:
        _LOG.warning("The identities of the lesions cannot be kept in %s: %s", folder, error)


def read_exported(folder: Path) -> dict[str, dict[str, str]]:
    """By kind of object the UIDs of the last export; empty before the first one, or if the file is damaged."""
    try:
        kept = json.loads((folder / EXPORTED).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {kind: one for kind, one in kept.items() if isinstance(one, dict)} if isinstance(kept, dict) else {}


def keep_exported(folder: Path, objects: Mapping[str, Mapping[str, str]]) -> None:
    """Store the UIDs of exported objects; read-only results are not changed."""
    try:
        text = json.dumps(read_exported(folder) | {kind: dict(one) for kind, one in objects.items()}, indent=2)
        (folder / EXPORTED).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        _LOG.warning("The UIDs of the exported objects cannot be kept in %s: %s", folder, error)


def _by_overlap(before: NDArray[np.integer], now: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Pairs of overlapping earlier and present lesions, by falling overlap."""
    both = (before > 0) & (now > 0)
    pairs, counts = np.unique(np.stack([before[both], now[both]]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(number), int(lesion)) for number, lesion in pairs[:, order].T]


def _uids(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / TRACKING
    try:
        return json.loads(path.read_bytes()) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged; delete it to give the lesions new identities.") from error


def _tracked(folder: Path, region: Region) -> Path:
    return folder / f"tracked_{region.value}.nii.gz"
