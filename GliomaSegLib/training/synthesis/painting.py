"""Label-conditioned synthesis: images from tissue and tumour fractions with random signals per modality."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
from GliomaSegLib.training.synthesis.sample import Sample, whitened

# Signal of CSF, grey matter, white matter, SNFH, NETC, ET in T1n, T1c, T2w, T2f, relative to the brightest normal
# tissue: from dry or cellular (first) to wet or necrotic (second). One random number per tissue interpolates between
# both in all modalities, because tissue that is darker on T1 is brighter on T2.
_SIGNALS = np.array(
    [
        [[0.40, 0.20], [0.42, 0.22], [1.50, 2.40], [0.40, 0.08]],  # CSF
        [[0.80, 0.62], [0.84, 0.66], [0.78, 1.05], [0.80, 1.05]],  # grey matter
        [[1.10, 0.88], [1.12, 0.90], [0.52, 0.80], [0.62, 0.88]],  # white matter
        [[0.88, 0.52], [0.90, 0.54], [1.05, 1.90], [1.10, 1.90]],  # SNFH
        [[0.80, 0.30], [0.84, 0.32], [1.00, 2.30], [1.50, 0.55]],  # NETC: from solid tumour to fluid
        [[0.90, 0.55], [2.10, 1.15], [0.85, 1.50], [0.95, 1.70]],  # ET
    ],
    np.float32,
)
_VARIES = 0.06  # relative standard deviation of each signal
_ANY_CONTRAST = 0.15  # probability that a modality has random signals


def paint(
    anatomy: Anatomy, labels: NDArray[np.uint8], spacing_mm: float, random: np.random.Generator, deform: bool = True
) -> Sample:
    """Images of a brain with a tumour.

    Brain and tumour are deformed and rotated together, the tumour has a mass effect, and every modality has its own
    contrast, bias field, blur, slice thickness and noise.

    Args:
        labels: internal scheme ``[z, y, x]`` on the grid of ``anatomy``; 1 to 3.
        deform: whether to deform and rotate.
    """
    if deform:
        anatomy, labels = _deformed(anatomy, labels, spacing_mm, random)
    shares = _shares(anatomy, labels, spacing_mm, random)
    textures = [1 + 0.06 * smooth_field(random, labels.shape, spacing_mm, length) for length in (4, 9)]
    shares[:3] *= textures[0]
    shares[3:] *= 1 + 0.12 * smooth_field(random, labels.shape, spacing_mm, 8) * textures[1]
    images = np.tensordot(_contrasts(random), shares, axes=1)
    scanned = np.stack([_scanned(image, spacing_mm, random) for image in images])
    return Sample(whitened(scanned, anatomy.brain), anatomy.brain, labels)


def _deformed(
    anatomy: Anatomy, labels: NDArray[np.uint8], spacing_mm: float, random: np.random.Generator
) -> tuple[Anatomy, NDArray[np.uint8]]:
    shape = labels.shape
    centre = np.array(shape) / 2
    matrix = rotation(random, 10) * random.uniform(0.9, 1.12, 3)
    bent = identity(shape) + elastic(random, shape, spacing_mm, random.uniform(1, 5), 28)
    points = linear(bent, matrix, centre, centre)
    moved_labels = sampled_labels(labels, points)
    shares = sampled(anatomy.shares, push(points, moved_labels, spacing_mm, random))
    brain = shares.sum(axis=0) > 0.5
    shares = shares * brain / np.maximum(shares.sum(axis=0), 0.5)
    return Anatomy(shares, brain), np.where(brain, moved_labels, np.uint8(0))


def push(points: Points, labels: NDArray[np.uint8], spacing_mm: float, random: np.random.Generator) -> Points:
    """Add the mass effect of a tumour to ``points``: tissue is displaced outwards from its centre.

    A ball of a random fraction (up to 0.6) of the core's volume is inserted: tissue at radius r comes from
    (r³ - added³)^(1/3), so that the brain is not compressed. Without a core the whole tumour has a weaker effect.
    """
    core = (labels == Label.NETC) | (labels == Label.ET)
    strength = random.uniform(0, 0.6 if core.any() else 0.3)
    mass = core if core.any() else labels > 0
    if not mass.any():
        return points
    centre = centroid(mass).reshape(3, 1, 1, 1).astype(np.float32)
    added = strength * mass.sum() * 3 / (4 * np.pi)  # cubed radius, voxels
    outward = identity(labels.shape) - centre
    cubed = np.maximum((outward**2).sum(axis=0), 1e-3) ** 1.5
    shrunk = np.cbrt(np.maximum(cubed - added, 0.05 * cubed) / cubed)
    return points + (shrunk - 1) * outward


def _shares(
    anatomy: Anatomy, labels: NDArray[np.uint8], spacing_mm: float, random: np.random.Generator
) -> NDArray[np.float32]:
    """Fractions of the three tissues and the three labels, ``[6, z, y, x]``, with edges of random sharpness."""
    shares = np.zeros((6, *labels.shape), np.float32)
    shares[:3] = anatomy.shares
    if not labels.any():
        return shares
    box = bounding_box(labels > 0, 6)
    edges_mm = (random.uniform(0.5, 4), random.uniform(0.4, 1.2), random.uniform(0.4, 1.0))
    strengths = (random.uniform(0.6, 1), random.uniform(0.85, 1), random.uniform(0.75, 1))
    solid = labels[box] > 0
    covers = [solid, np.isin(labels[box], (Label.NETC, Label.ET)), labels[box] == Label.ET]
    part = shares[(slice(None), *box)]
    # From the outside inwards, each replacing what is there, so that soft edges leave no gap.
    for cover, index, edge_mm, strength in zip(covers, (3, 4, 5), edges_mm, strengths, strict=True):
        if cover.any():
            share = strength * ndimage.gaussian_filter(cover.astype(np.float32), edge_mm / spacing_mm)
            part *= 1 - share
            part[index] += share
    return shares * anatomy.brain


def _contrasts(random: np.random.Generator) -> NDArray[np.float32]:
    """Random signals ``[modality, tissue]``."""
    wetness = random.uniform(0, 1, (len(_SIGNALS), 1))
    signals = (_SIGNALS[..., 0] * (1 - wetness) + _SIGNALS[..., 1] * wetness).T
    signals *= 1 + _VARIES * random.standard_normal(signals.shape)
    for sequence in range(len(signals)):
        if random.random() < _ANY_CONTRAST:
            signals[sequence] = random.uniform(0.1, 2, len(_SIGNALS))
    return signals.astype(np.float32)


class _Scan(NamedTuple):
    """Blur and slice thickness (mm), strength of the bias field, noise relative to the signal, gamma."""

    blur_mm: float
    slice_mm: float
    shading: float
    noise: float
    gamma: float


def _drawn_scan(random: np.random.Generator) -> _Scan:
    return _Scan(
        blur_mm=random.uniform(0.2, 1.2),
        slice_mm=random.uniform(3, 7) if random.random() < 0.4 else 0.0,
        shading=random.uniform(0, 0.15),
        noise=random.uniform(0.005, 0.04),
        gamma=float(np.exp(random.normal(0, 0.15))),
    )


def _scanned(image: NDArray[np.float32], spacing_mm: float, random: np.random.Generator) -> NDArray[np.floating]:
    scan = _drawn_scan(random)
    image = ndimage.gaussian_filter(image, scan.blur_mm / spacing_mm, truncate=3)
    if scan.slice_mm > spacing_mm:
        image = _thick(image, max(2, round(scan.slice_mm / spacing_mm)))
    image *= np.exp(scan.shading * smooth_field(random, image.shape, spacing_mm, 60))
    image += scan.noise * random.standard_normal(image.shape, dtype=np.float32)
    return np.maximum(image, 0) ** scan.gamma


def _thick(image: NDArray[np.float32], layers: int) -> NDArray[np.float32]:
    """Average axial slices over ``layers`` voxels, and interpolate them back."""
    averaged = ndimage.uniform_filter1d(image, layers, axis=0)[layers // 2 :: layers]
    places = (np.arange(len(image)) - layers // 2) / layers
    below = np.clip(np.floor(places).astype(int), 0, len(averaged) - 1)
    above = np.minimum(below + 1, len(averaged) - 1)
    share = np.clip(places - below, 0, 1).astype(np.float32)[:, None, None]
    return averaged[below] * (1 - share) + averaged[above] * share
