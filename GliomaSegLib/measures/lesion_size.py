"""The least volume, mm³, from which a connected component counts as a lesion, in reports and comparisons.

Smaller components are called specks. They stay in the segmentation and in its volumes; their number is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.labels import Region
from GliomaSegLib.measures.diameters import axial_axis, solid_size
from GliomaSegLib.measures.volumes import Lesion, lesion_numbers, slice_position_mm
from GliomaSegLib.postprocessing import components

# Helland 2023 (Sci Rep 13:18897) drops objects of fewer than 20 voxels, on a grid of 1 mm.
LEAST_LESION_MM3 = 20.0

# On any grid fewer voxels are noise. This limit is a convention of this program.
LEAST_VOXELS = 4

# Relative, of lengths and volumes: less than a voxel of a lesion of 10^6, more than spacings lose as float32 in files.
ROUNDING = 1e-6

# A ball with at least this many voxels across each axis has its volume within 1 %.
_FINE_VOXELS, _FINE_ERROR = 20, 0.01
_PLACEMENTS = 500

# Metastases are looked for when they are small: a ball of 3 mm. This limit is a convention of this program.
_OF_TASK_MM3 = {"metastasis": 14.0}


class FollowedLesion(Lesion):
    """A lesion as response is judged by it: its diameters are those of the solid part in the axial plane.

    ``is_solid`` is false for a rim, which has none (see :class:`~GliomaSegLib.measures.diameters.SolidSize`), and
    ``None`` in comparisons of version 0.1, where the diameters were those of the whole shape in the plane of
    acquisition.
    """

    is_solid: bool | None = None


def least_shown_mm3(spacing_mm: Sequence[float]) -> float:
    """The least volume, mm³, of a lesion that a grid shows reliably.

    Four voxels, and a ball whose diameter is the largest spacing: a smaller one may lie between two slices.
    """
    return max(math.pi / 6 * max(spacing_mm) ** 3, LEAST_VOXELS * math.prod(spacing_mm))


def least_counted_mm3(spacings_mm: Iterable[Sequence[float]], task: str | None = None) -> float:
    """The least volume, mm³, of a lesion that counts for a model's ``task`` on all grids of these spacings."""
    return max(_OF_TASK_MM3.get(task or "", LEAST_LESION_MM3), *map(least_shown_mm3, spacings_mm))


def reaches(value: float, limit: float) -> bool:
    """Whether ``value >= limit``, apart from rounding, of doubles and of spacings stored as ``float32``."""
    return value >= limit or math.isclose(value, limit, rel_tol=ROUNDING)


def counted(lesions: Sequence[Lesion], least_mm3: float) -> tuple[Lesion, ...]:
    """The lesions of at least this volume."""
    return tuple(lesion for lesion in lesions if reaches(1000 * lesion.volume_ml, least_mm3))


def without_specks(
    mask: NDArray[np.bool_], spacing_mm: Sequence[float], least_mm3: float = LEAST_LESION_MM3
) -> NDArray[np.bool_]:
    """The mask ``[z, y, x]`` without components (26 neighbours, as lesions are counted) below a volume."""
    numbered, voxels = components(mask, 26)
    return (voxels * math.prod(spacing_mm) >= least_mm3 * (1 - ROUNDING))[numbered]


def followed_lesions(labels: sitk.Image, region: Region, lesions: Sequence[Lesion]) -> tuple[FollowedLesion, ...]:
    """The lesions with the diameters of RANO: of the solid part, in the axial plane (see :func:`solid_size`).

    Args:
        labels: internal label map.
        region: whose components the lesions are.
        lesions: the largest ones, in order.
    """
    numbers, axis, spacing = lesion_numbers(labels, region), axial_axis(labels), labels.GetSpacing()
    boxes = ndimage.find_objects(numbers)
    measured = []
    for lesion in lesions:
        box = boxes[lesion.id - 1]
        found = solid_size(numbers[box] == lesion.id, spacing, axis)
        place = found.slice + box[2 - axis].start
        new = {
            "long_mm": found.long_mm,
            "perpendicular_mm": found.perpendicular_mm,
            "slice": place,
            "slice_ras_mm": slice_position_mm(labels, axis, place),
            "slices": box[2 - axis].stop - box[2 - axis].start,
            "is_solid": found.is_solid,
        }
        measured.append(FollowedLesion(**(lesion.model_dump() | new)))
    return tuple(measured)


def digitisation_error(volume_ml: float, spacing_mm: tuple[float, float, float]) -> float | None:
    """Mean relative error of a ball's volume when voxels are counted whose centres lie in it, over its placements.

    ``None`` when it is below 1 %, as it is with 20 voxels or more across each axis.
    """
    radius = (3000 * volume_ml / (4 * math.pi)) ** (1 / 3)
    spacing = np.asarray(spacing_mm)
    if np.all(2 * radius >= _FINE_VOXELS * spacing):
        return None
    reach = np.ceil(radius / spacing).astype(int) + 1
    axes = [np.arange(-count, count + 1) for count in reach]
    errors = []
    for shift in np.random.default_rng(0).random((_PLACEMENTS, 3)):
        x, y, z = (((axis + offset) * mm) ** 2 for axis, offset, mm in zip(axes, shift, spacing, strict=True))
        voxels = np.count_nonzero(x[:, None, None] + y[:, None] + z <= radius**2)
        errors.append(abs(voxels * spacing.prod() / 1000 / volume_ml - 1))
    mean = float(np.mean(errors))
    return mean if mean >= _FINE_ERROR else None
