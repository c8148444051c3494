"""Transplants the tumour of one patient, with its texture, into the brain of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.training.synthesis.geometry import identity, sampled
from GliomaSegLib.training.synthesis.painting import push
from GliomaSegLib.training.synthesis.sample import Sample, whitened
from GliomaSegLib.training.synthesis.tumour import move

_EDGE_MM = (1.0, 3.0)  # range of the width of the soft edge
_MARGIN_MM = 2.0  # margin of the donor's tissue around the tumour
_LEAST_ML = 0.5


def transplant(host: Sample, donor: Sample, spacing_mm: float, random: np.random.Generator) -> Sample | None:
    """Transplant the tumour of ``donor`` into ``host``, a brain without tumour (see :func:`~.anatomy.healthy`).

    Only modalities of both remain. The donor's intensities are shifted and scaled so that normal brain matches; the
    host's brain is displaced by the mass effect.

    Returns:
        the case with labels and known regions of the donor; ``None`` if hardly anything of the tumour fits.
    """
    moved = move(donor.labels, donor.brain, host.brain, spacing_mm, random)
    if np.count_nonzero(moved.labels) * spacing_mm**3 / 1000 < _LEAST_ML:
        return None
    background = sampled(host.images, push(identity(host.brain.shape), moved.labels, spacing_mm, random))
    tumour = sampled(_matched(donor, host), moved.points)
    alpha = _blend(moved.labels > 0, spacing_mm, random.uniform(*_EDGE_MM))
    alpha *= sampled(donor.brain[None].astype(np.float32), moved.points)[0] > 0.99
    images = background + alpha * (tumour - background)
    present = donor.images.any(axis=(1, 2, 3)) & host.images.any(axis=(1, 2, 3))
    images[~present] = 0
    return Sample(whitened(images, host.brain), host.brain, moved.labels, donor.known)


def _blend(tumour: NDArray[np.bool_], spacing_mm: float, edge_mm: float) -> NDArray[np.float32]:
    """Weights: 1 in the tumour and its margin, decreasing linearly to 0 around it."""
    outside_mm = ndimage.distance_transform_edt(~tumour, sampling=spacing_mm)
    return np.clip(1 - (outside_mm - _MARGIN_MM) / (2 * edge_mm), 0, 1).astype(np.float32)


def _matched(donor: Sample, host: Sample) -> NDArray[np.float32]:
    """The donor's images, scaled to the median and interquartile range of normal brain in the host."""
    matched = np.zeros(donor.images.shape, np.float32)
    for image, own, out in zip(donor.images, host.images, matched, strict=True):
        low, middle, high = np.percentile(image[donor.brain & (donor.labels == 0)], (25, 50, 75))
        own_low, own_middle, own_high = np.percentile(own[host.brain], (25, 50, 75))
        if high > low and own_high > own_low:
            out[:] = (image.astype(np.float32) - middle) * ((own_high - own_low) / (high - low)) + own_middle
    return matched
