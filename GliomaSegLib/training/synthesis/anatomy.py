"""Tissue fractions (CSF, grey and white matter) of a brain without its tumour, from a real brain or the template."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.errors import InputError
from GliomaSegLib.phantom.anatomy import make_brain
from GliomaSegLib.preprocessing.midsagittal import find_midsagittal
from GliomaSegLib.training.synthesis.geometry import Points, identity, linear, sampled
from GliomaSegLib.training.synthesis.sample import Sample, whitened


class Anatomy(NamedTuple):
    """``shares``: fractions of CSF, grey and white matter, ``float32 [3, z, y, x]``; their sum is 1 in the brain, 0
    outside."""

    shares: NDArray[np.float32]
    brain: NDArray[np.bool_]


def phantom_anatomy(random: np.random.Generator, spacing_mm: float) -> Anatomy:
    """The tissues of the MNI template, slightly deformed and cropped to the brain."""
    brain = make_brain(spacing_mm, random)
    mask = brain.mask > 0
    shares = np.stack([1 - brain.grey - brain.white, brain.grey, brain.white]) * mask
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return Anatomy(np.ascontiguousarray(shares[(slice(None), *box)], np.float32), mask[box])


_KINDS = 3
_TISSUE_SEQUENCES = (0, 1)  # T1n, T1c: dark CSF, grey matter between, bright white matter


def anatomy_of(case: Sample) -> Anatomy:
    """The tissues of a real brain from three intensity clusters of its T1; call :func:`healthy` first.

    A voxel between two cluster centres is a mixture of both, which preserves partial volumes and gyri.

    Raises:
        InputError: the case has neither T1n nor T1c.
    """
    present = [index for index in _TISSUE_SEQUENCES if case.images[index].any()]
    if not present:
        raise InputError("A brain without T1 or T1 + contrast cannot be clustered into tissues; leave the case out.")
    image = case.images[present[0]]
    csf, grey, white = _cluster_centres(image[case.brain])
    shares = np.zeros((_KINDS, *image.shape), np.float32)
    values = image[case.brain]
    for share, peak in zip(shares, np.eye(_KINDS), strict=True):
        share[case.brain] = np.interp(values, (csf, grey, white), peak)
    return Anatomy(shares, case.brain)


def _cluster_centres(values: NDArray[np.floating], rounds: int = 30) -> NDArray[np.float64]:
    """Centres of three one-dimensional clusters (Lloyd's k-means), ascending."""
    values = np.sort(values.astype(np.float64))
    centres = np.percentile(values, (5, 40, 80))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(rounds):
        edges = np.concatenate([[0], np.searchsorted(values, (centres[1:] + centres[:-1]) / 2), [len(values)]])
        counts = np.maximum(np.diff(edges), 1)
        centres = np.maximum.accumulate(np.diff(sums[edges]) / counts + np.arange(_KINDS) * 1e-6)
    return centres


# --- the brain without its tumour ----------------------------------------------------------------------------------

_COVER_MM, _SEAM_MM = 4.0, 1.5  # margin around the tumour that is replaced, and sigma of the soft edge
_LARGEST_REST = 0.02  # fraction of the tumour that may remain, unlabelled


def healthy(case: Sample, spacing_mm: float) -> Sample | None:
    """Replace the tumour of a case by the mirror image of the other side; the result has no labels.

    ``None`` if the tumour reaches the midline, so that there is no healthy side to copy.
    """
    tumour = case.labels > 0
    if not tumour.any():
        return case
    points = _mirror_image(case, spacing_mm)
    covered = ndimage.distance_transform_edt(~tumour, sampling=spacing_mm) < _COVER_MM
    other_side = sampled(np.concatenate([case.images, [tumour, case.brain]]).astype(np.float32), points)
    mirrored_tumour, mirrored_brain = other_side[-2] > 0.5, other_side[-1] > 0.5
    left_over = tumour & (mirrored_tumour | ~mirrored_brain)
    if left_over.sum() > _LARGEST_REST * tumour.sum():
        return None
    seam = ndimage.gaussian_filter(covered.astype(np.float32), _SEAM_MM / spacing_mm) * (
        mirrored_brain & ~mirrored_tumour
    )
    images = case.images + seam * (other_side[:-2] - case.images)
    return Sample(whitened(images, case.brain), case.brain, np.zeros_like(case.labels), case.known)


def _mirror_image(case: Sample, spacing_mm: float) -> Points:
    """For every voxel the position of its mirror image in the mid-sagittal plane."""
    pose = find_midsagittal(case.images, case.brain, (spacing_mm,) * 3)
    turned_over = pose.rotation @ np.diag((1.0, 1.0, -1.0)) @ pose.rotation.T
    centre = pose.centre / spacing_mm
    return linear(identity(case.brain.shape), turned_over, centre, centre)
