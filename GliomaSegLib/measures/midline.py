"""The mid-sagittal plane of a head, which separates left from right.

The midline of a head that is rotated in the scanner is oblique: by the x coordinate of its middle, an anterior lesion
may be assigned to the wrong side.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.io.grid import oriented
from GliomaSegLib.preprocessing.midsagittal import find_midsagittal

# A lesion whose centre is nearer than this to the plane is called midline.
MIDLINE_MM = 5.0

# The plane is fitted to masks of at least this volume; a smaller one is no brain, and its outline no head's.
_LEAST_BRAIN_ML = 300.0
# A plane that is further turned than heads lie in a scanner was fitted to something else.
_MOST_DEGREES = 35.0


class Side(str, Enum):
    """The patient's side."""

    LEFT = "left"
    RIGHT = "right"
    MIDLINE = "midline"


class MidlineFrom(str, Enum):
    """The source of the midline: the mid-sagittal plane of the brain mask or, without one, of the head's
    outline; the brain's centre of gravity where no plane can be fitted; or the middle of the image."""

    PLANE = "mid-sagittal plane of the brain"
    HEAD = "mid-sagittal plane of the head"
    BRAIN = "brain mask"
    IMAGE = "image centre"


@dataclass(frozen=True)
class Midline:
    """A plane, LPS mm; ``normal`` is a unit vector to the patient's left."""

    point: NDArray[np.float64]
    normal: NDArray[np.float64]
    source: MidlineFrom

    def left_mm(self, point: tuple[float, float, float]) -> float:
        """How far a point (LPS mm) lies to the patient's left of the plane; negative to the right."""
        return float((np.asarray(point) - self.point) @ self.normal)

    def distance_mm(self, points: NDArray[np.float64]) -> float:
        """How far the nearest of some points ``[n, 3]`` (LPS mm) lies from the plane; 0 when they lie on both sides."""
        left = (points - self.point) @ self.normal
        return 0.0 if left.min() <= 0 <= left.max() else float(np.abs(left).min())

    def side_of(self, point: tuple[float, float, float]) -> Side:
        """The side of a point (LPS mm); ``midline`` within 5 mm of the plane."""
        left = self.left_mm(point)
        return Side.MIDLINE if abs(left) < MIDLINE_MM else Side.LEFT if left > 0 else Side.RIGHT


_LEFT = np.array([1.0, 0.0, 0.0])


def midline_of(image: sitk.Image, brain: sitk.Image | None, scan: sitk.Image | None = None) -> Midline:
    """The midline of a head.

    Args:
        image: of the head, for its grid.
        brain: mask on the same grid, not empty.
        scan: of the head, for its outline when there is no brain mask.
    """
    if brain is None and scan is not None:
        outline = sitk.BinaryFillhole(sitk.OtsuThreshold(scan, 0, 1))
        if plane := _plane(oriented(outline), MidlineFrom.HEAD):
            return plane
    if brain is None:
        middle = image.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in image.GetSize()])
        return Midline(np.asarray(middle), _LEFT, MidlineFrom.IMAGE)
    mask = oriented(brain)
    if plane := _plane(mask, MidlineFrom.PLANE):
        return plane
    array = sitk.GetArrayViewFromImage(mask)
    middle = mask.TransformContinuousIndexToPhysicalPoint([float(np.mean(i)) for i in reversed(np.nonzero(array))])
    return Midline(np.asarray(middle), _LEFT, MidlineFrom.BRAIN)


def _plane(mask: sitk.Image, source: MidlineFrom) -> Midline | None:
    """The plane that halves a brain or head whose voxel axes run LPS; ``None`` when it is none, or too far turned."""
    array = sitk.GetArrayViewFromImage(mask) != 0
    if np.count_nonzero(array) * np.prod(mask.GetSpacing()) / 1000 < _LEAST_BRAIN_ML:
        return None
    nothing = np.zeros((0, *array.shape), np.float32)  # the outline alone, which a tumour does not change
    pose = find_midsagittal(nothing, array, tuple(reversed(mask.GetSpacing())))
    direction = np.reshape(mask.GetDirection(), (3, 3))
    point = np.asarray(mask.GetOrigin()) + direction @ pose.centre[::-1]
    plane = Midline(point, direction @ pose.rotation[::-1, 2], source)
    return plane if abs(plane.normal @ _LEFT) >= np.cos(np.radians(_MOST_DEGREES)) else None
