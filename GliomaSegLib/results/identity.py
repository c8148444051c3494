"""The DICOM identities under which a result and its lesions were exported, stored with the result.

A lesion that was exported has a number and a Tracking UID by which an archive knows it. After an edit the components
are numbered anew by their sizes, so that the identities are found by where the lesions lie: ``tracked_ET.nii.gz`` holds
the lesions as they were exported last, each with its number, and ``tracking.json`` their UIDs. ``exported.json`` names
the objects that were made last, to which those made after an edit or a review refer as their predecessors.
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

TRACKING = "tracking.json"
EXPORTED = "exported.json"


@dataclass(frozen=True)
class Identity:
    """Number and DICOM Tracking UID of a lesion; both stay with it."""

    number: int
    uid: str


def read_identities(folder: Path, labels: sitk.Image, region: Region) -> dict[int, Identity]:
    """By :attr:`Lesion.id` the identities of those lesions that were exported before.

    A lesion has the identity of the one that it overlaps most; of two pieces of a lesion the larger overlap keeps it.

    Args:
        labels: internal label map of the result as it is now, its voxel axes in any order.

    Raises:
        InputError: the files are damaged.
    """
    uids = _uids(folder).get(region.value)
    if not uids:
        return {}
    path = _tracked(folder, region)
    stored = oriented_like(read_labels(path), labels)
    if not same_grid(stored, labels):
        raise InputError(f"{path} lies on another grid than its result; delete it to give the lesions new identities.")
    before, now = sitk.GetArrayViewFromImage(stored), lesion_numbers(labels, region)
    found: dict[int, Identity] = {}
    for number, lesion in _by_overlap(before, now):
        if lesion not in found and number not in {one.number for one in found.values()} and str(number) in uids:
            found[lesion] = Identity(number, uids[str(number)])
    return found


def last_number(folder: Path, region: Region) -> int:
    """The highest number that was given to a lesion of a result; 0 without any. No number is given twice."""
    return max(map(int, _uids(folder).get(region.value, {})), default=0)


def keep_identities(folder: Path, labels: sitk.Image, region: Region, identities: Mapping[int, Identity]) -> None:
    """Keep the identities of a result's lesions, by :attr:`Lesion.id`, with the result.

    UIDs of lesions that are gone stay in the list, so that none is given again. A result that cannot be written to is
    left as it is: nobody can edit it either.
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
    """Per kind of object the UIDs of the one that was exported last; empty before the first and when it is damaged."""
    try:
        kept = json.loads((folder / EXPORTED).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {kind: one for kind, one in kept.items() if isinstance(one, dict)} if isinstance(kept, dict) else {}


def keep_exported(folder: Path, objects: Mapping[str, Mapping[str, str]]) -> None:
    """Keep the UIDs of exported objects; a result that cannot be written to is left as it is."""
    try:
        text = json.dumps(read_exported(folder) | {kind: dict(one) for kind, one in objects.items()}, indent=2)
        (folder / EXPORTED).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        _LOG.warning("The UIDs of the exported objects cannot be kept in %s: %s", folder, error)


def _by_overlap(before: NDArray[np.integer], now: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Pairs of a lesion before and one now that overlap, those with most common voxels first."""
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
