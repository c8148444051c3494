"""Which of two volumes of the same contrast is clearly the better one. Standard library only, for the panel too."""

from __future__ import annotations

import math
from dataclasses import dataclass

from GliomaSegLib.case import Modality

BRAIN_MM, HEAD_MM = 100.0, 120.0
"""Lower bounds of the size of an adult brain along any axis, and of the size of a head."""

_FINER = 1.5  # ratio of voxel sizes from which one volume is clearly finer
_TALL_MM, _TALLER = 130.0, 1.2  # below this height a volume may cut off the brain: by this factor taller is better


@dataclass(frozen=True)
class VolumeShape:
    """The properties by which two volumes are compared.

    Attributes:
        extent_mm: edge lengths of the volume; ``None`` when not known.
        reformatted: whether it was computed from another series of the study.
        spacing_mm: edge lengths of a voxel; ``None`` when not known.
        plane: ``axial``, ``coronal`` or ``sagittal``; ``None`` when not known.
        after_contrast: whether it was made after contrast medium, by name or header.
    """

    extent_mm: tuple[float, ...] | None = None
    reformatted: bool = False
    spacing_mm: tuple[float, ...] | None = None
    plane: str | None = None
    after_contrast: bool = False


def is_slab(extent_mm: tuple[float, ...], whole_mm: float = BRAIN_MM) -> bool:
    """Whether a volume of these edge lengths shows only a part of the head: as wide as a head, thinner than a brain."""
    thin, *others = sorted(extent_mm)
    return thin < whole_mm and others[0] > HEAD_MM


def why_better(sequence: Modality, one: VolumeShape, other: VolumeShape) -> str | None:
    """A clause why ``one`` is clearly the better of two volumes of the same modality; ``None`` when it is not."""
    if _shows_more(one, other):
        return "it covers more of the head"
    if _shows_more(other, one):
        return None
    if one.reformatted != other.reformatted:
        return None if one.reformatted else "the original, no reformat"
    if one.spacing_mm is None or other.spacing_mm is None or not all(one.spacing_mm):
        return None
    for finer, measure in (("thinner", max), ("finer", math.prod)):
        ratio = measure(other.spacing_mm) / measure(one.spacing_mm)
        if ratio >= _FINER:
            return f"its voxels are {finer}"
        if ratio <= 1 / _FINER:
            return None
        if measure is max and (one.plane == "axial") != (other.plane == "axial"):
            return "it is axial" if one.plane == "axial" else None
    if sequence in (Modality.T2F, Modality.T2W):
        return "it was made before contrast medium" if other.after_contrast and not one.after_contrast else None
    return None


def _shows_more(one: VolumeShape, other: VolumeShape) -> bool:
    """Whether ``one`` shows clearly more of the head, where ``other`` may cut the brain."""
    if one.extent_mm is None or other.extent_mm is None:
        return False
    if is_slab(one.extent_mm) != is_slab(other.extent_mm):
        return is_slab(other.extent_mm)
    return is_slab(other.extent_mm, _TALL_MM) and min(one.extent_mm) >= _TALLER * min(other.extent_mm)
