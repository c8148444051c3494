"""Tumour label maps for a brain: real ones moved to it, and simulated ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.labels import Label
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.training.synthesis.anatomy import Anatomy
from GliomaSegLib.training.synthesis.geometry import (
    Points,
    centroid,
    elastic,
    identity,
    linear,
    rotation,
    sampled,
    sampled_labels,
    smooth_field,
)
from GliomaSegLib.training.synthesis.sample import Volume

# --- real tumours --------------------------------------------------------------------------------------------------


class Moved(NamedTuple):
    """A moved tumour: the labels in the new brain, and the position of each voxel in the donor's arrays."""

    labels: NDArray[np.uint8]
    points: Points


_TURN_DEG = 30.0
_SCALE = (0.6, 1.4)
_ELASTIC_MM, _ELASTIC_LENGTH_MM = 3.0, 18.0
_PLACE_VARIES = 0.12  # standard deviation of the position, as a fraction of the brain's extent along each axis
_KEPT, _TRIES = 0.9, 8


def move(
    labels: NDArray[np.uint8],
    donor: NDArray[np.bool_],
    host: NDArray[np.bool_],
    spacing_mm: float,
    random: np.random.Generator,
) -> Moved:
    """Move a tumour to about the same position, or its mirror image, in another brain.

    It is rotated, scaled, deformed, mirrored with probability 1/2, and cropped to the brain. Positions are drawn until
    at most a tenth is cropped, or the best of eight is used.

    Args:
        labels: the donor's, internal scheme ``[z, y, x]``; not empty.
        donor, host: the two brains; their grids may differ in size.
    """
    centre = centroid(labels > 0)
    bent = identity(host.shape) + elastic(random, host.shape, spacing_mm, _ELASTIC_MM, _ELASTIC_LENGTH_MM)
    best: tuple[NDArray[np.float64], ...] = ()
    most = -1.0
    for _ in range(_TRIES):
        matrix = rotation(random, _TURN_DEG) * np.exp(random.uniform(*np.log(_SCALE)))
        mirrored = bool(random.integers(2))
        if mirrored:
            matrix = matrix @ np.diag((1.0, 1.0, -1.0))
        onto = _same_place(centre, donor, host, mirrored) + random.normal(0, _PLACE_VARIES, 3) * _box(host)[1]
        place = np.linalg.inv(matrix), onto, centre
        kept = _share_inside(labels, host, bent, place)
        if kept > most:
            best, most = place, kept
        if kept >= _KEPT:
            break
    points = linear(bent, *best)
    return Moved(np.where(host, sampled_labels(labels, points), np.uint8(Label.BACKGROUND)), points)


def _share_inside(
    labels: NDArray[np.uint8], host: NDArray[np.bool_], bent: Points, place: tuple[NDArray, NDArray, NDArray]
) -> float:
    """Approximate fraction of the moved tumour inside the host's brain, from every second voxel."""
    some = (slice(None, None, 2),) * 3
    there = sampled((labels > 0)[None].astype(np.float32), linear(bent[(slice(None), *some)], *place))[0] > 0.5
    wanted = np.count_nonzero(labels) / abs(np.linalg.det(place[0])) / 8
    return np.count_nonzero(there & host[some]) / wanted


def _same_place(centre: NDArray, donor: NDArray[np.bool_], host: NDArray[np.bool_], mirrored: bool) -> NDArray:
    """The position in the host's brain that corresponds to ``centre`` in the donor's, by their bounding boxes."""
    (first, extent), (host_first, host_extent) = _box(donor), _box(host)
    relative = (centre - first) / extent
    if mirrored:
        relative = relative * (1, 1, -1) + (0, 0, 1)
    return host_first + np.clip(relative, 0.1, 0.9) * host_extent


def _box(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """First voxel and extent ``[2, (z, y, x)]``."""
    return np.array([(side.start, side.stop - side.start) for side in bounding_box(mask)], float).T


# --- simulated tumours ---------------------------------------------------------------------------------------------

_RADIUS_MM = (7.0, 26.0)
_KINDS = ("rim", "solid", "core without enhancement", "edema alone")
_KIND_SHARES = (0.45, 0.2, 0.2, 0.15)
_SEEDS_SHARES = (0.8, 0.15, 0.05)  # probability of one, two or three seeds


def grow(anatomy: Anatomy, spacing_mm: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Simulate a tumour of a random kind: enhancing rim around necrosis, solid enhancing, non-enhancing core, or only
    edema. Edema extends further in white than in grey matter, and no tumour enters the ventricles."""
    shape = anatomy.brain.shape
    tissue = anatomy.shares[1] + anatomy.shares[2]
    lobes, bumps, rim = (smooth_field(random, shape, spacing_mm, length) for length in (13, 6, 8))
    core_mm = np.full(shape, np.inf, np.float32)
    for _ in range(1 + random.choice(3, p=_SEEDS_SHARES)):
        core_mm = np.minimum(core_mm, _ball_mm(anatomy, spacing_mm, random))
    core_mm = core_mm + random.uniform(2, 8) * lobes + 1.5 * bumps
    core_mm += np.where(tissue > 0.35, np.float32(0), np.float32(4))  # barrier: sulci and ventricles
    reach_mm = random.uniform(1, 22) * (0.3 + 0.7 * anatomy.shares[2]) + 3 * lobes
    labels = np.where((core_mm < reach_mm) & (tissue > 0.4), np.uint8(Label.SNFH), np.uint8(Label.BACKGROUND))
    kind = random.choice(_KINDS, p=_KIND_SHARES)
    if kind != "edema alone":
        labels[core_mm < 0] = Label.NETC if kind == "core without enhancement" else Label.ET
    if kind == "rim":
        thickness_mm = np.maximum(random.uniform(2, 6) + random.uniform(0.5, 2.5) * rim, 1.0)
        labels[core_mm < -thickness_mm] = Label.NETC
    labels[~anatomy.brain] = Label.BACKGROUND
    return labels


def _ball_mm(anatomy: Anatomy, spacing_mm: float, random: np.random.Generator) -> Volume:
    """Signed distance (mm, negative inside) to a random ellipsoid centred in white matter."""
    white = np.flatnonzero(anatomy.shares[2] > 0.5)
    centre = np.array(np.unravel_index(random.choice(white), anatomy.brain.shape))
    radii_mm = random.uniform(*_RADIUS_MM) * random.uniform(0.7, 1.3, 3)
    turned = linear(identity(anatomy.brain.shape), rotation(random, 90), centre, np.zeros(3)) * spacing_mm
    scaled = turned / np.reshape(radii_mm, (3, 1, 1, 1)).astype(np.float32)
    return (np.sqrt((scaled**2).sum(axis=0)) - 1) * np.float32(radii_mm.min())
