"""Normalised mutual information of two images under a linear transform, on one coarse grid."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.resampling import model_grid

SPACING_MM = 3.0
HISTOGRAM_BINS = 32
SMALLEST_OVERLAP = 0.25  # fraction of the smaller field of view that must overlap
CLEARLY_BETTER = 1.01  # ratio of (NMI - 1): less is noise

_OUTSIDE = -1e9  # grey value outside of the moving image, far from all values of MR images


class Similarity:
    """The similarity of ``moving`` and ``fixed`` (both ``float32``) under transforms from points of ``fixed`` to points
    of ``moving`` (LPS mm).

    Args:
        spacing_mm: voxel size of the grid for the comparison.

    Raises:
        InputError: one of the images has no contrast.
    """

    def __init__(self, fixed: sitk.Image, moving: sitk.Image, spacing_mm: float = SPACING_MM) -> None:
        self._moving = shrink(moving, spacing_mm)
        self._low, self._high = _contrast_range(sitk.GetArrayViewFromImage(self._moving))
        self._grid = model_grid(fixed, (spacing_mm,) * 3, "LPS")
        self._smaller = min(1.0, _volume_mm3(moving) / _volume_mm3(fixed))
        values = sitk.GetArrayFromImage(sitk.Resample(shrink(fixed, spacing_mm), self._grid))
        self._fixed_bins = _digitise(values, *_contrast_range(values))

    def overlap(self, transform: sitk.Transform) -> float:
        """Fraction of the smaller field of view that overlaps the other, 0 to about 1."""
        return float(self._inside(self._values(transform)).mean() / self._smaller)

    def nmi(self, transform: sitk.Transform) -> float:
        """Normalised mutual information, 1 to 2; 1 when the images barely overlap."""
        values = self._values(transform)
        inside = self._inside(values)
        if inside.mean() < SMALLEST_OVERLAP * self._smaller:
            return 1.0
        return _normalised_mutual_information(
            self._fixed_bins[inside], _digitise(values[inside], self._low, self._high)
        )

    def is_local_best(self, transform: sitk.Euler3DTransform, step: float) -> bool:
        """Whether no ``step`` (mm, degrees) along or about an axis fits clearly better."""
        here = self.nmi(transform) - 1
        around = (self.nmi(near) - 1 for near in _neighbours(transform, step))
        return here > 0 and all(there <= CLEARLY_BETTER * here for there in around)

    def _values(self, transform: sitk.Transform) -> NDArray[np.float32]:
        resampled = sitk.Resample(self._moving, self._grid, transform, sitk.sitkLinear, _OUTSIDE)
        return sitk.GetArrayFromImage(resampled)

    @staticmethod
    def _inside(values: NDArray[np.float32]) -> NDArray[np.bool_]:
        return values > _OUTSIDE / 2


def shrink(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Average neighbouring voxels up to about ``spacing_mm``; coarser axes are not changed."""
    return sitk.BinShrink(image, [max(1, int(spacing_mm / spacing)) for spacing in image.GetSpacing()])


def _neighbours(transform: sitk.Euler3DTransform, size: float) -> list[sitk.Euler3DTransform]:
    steps = [math.radians(size)] * 3 + [size] * 3
    found = []
    for index, step in enumerate(steps):
        for sign in (-1, 1):
            near = sitk.Euler3DTransform(transform)
            parameters = list(transform.GetParameters())
            parameters[index] += sign * step
            near.SetParameters(parameters)
            found.append(near)
    return found


def _volume_mm3(image: sitk.Image) -> float:
    return math.prod(image.GetSize()) * math.prod(image.GetSpacing())


def _contrast_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """The range of grey values of the histogram, without outliers such as bright vessels and fat."""
    low, high = np.quantile(values, [0.005, 0.995])
    if not high > low:
        raise InputError("one of them has no contrast (nearly all of its voxels are equal); check the file.")
    return float(low), float(high)


def _digitise(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.intp]:
    return np.clip((values - low) / (high - low) * HISTOGRAM_BINS, 0, HISTOGRAM_BINS - 1).astype(np.intp)


def _normalised_mutual_information(first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
    """Studholme, Hill and Hawkes, Pattern Recognition 32:71-86, 1999."""
    joint = np.bincount(first * HISTOGRAM_BINS + second, minlength=HISTOGRAM_BINS**2).astype(float)
    joint = joint.reshape(HISTOGRAM_BINS, HISTOGRAM_BINS) / joint.sum()
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / _entropy(joint)


def _entropy(probabilities: NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())
