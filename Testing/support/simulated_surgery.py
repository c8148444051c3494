"""A study before surgery turned into one after it, with answers that are known: for tests and for the benchmark.

The core is taken out but for a piece of enhancing rim. What was taken is fluid (dark on T1, T1c and FLAIR, bright on
T2) with a layer of blood at its back, bright on T1 and T1c: it looks like a rim on T1c, and only T1 tells. A ball of
enhancing tissue is planted into healthy brain. The later head is turned in the scanner: its voxels are the same at
other places, so that nothing is interpolated and volumes are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.case import Modality
from GliomaSegLib.io.grid import array_on, centre
from GliomaSegLib.labels import Label

Mask = NDArray[np.bool_]

EDGE_MM = 0.7  # partial volume between the cavity and what lies around it
BLOOD_MM = 2.5  # thickness of the layer at the cavity's back
FAR_MM = 10.0  # what is planted stays away from the tumour and from the border of the brain

# Of the grey values of the healthy brain: where fluid and blood lie in each sequence.
_FLUID = {Modality.T1N: 1, Modality.T1C: 1, Modality.T2W: 99, Modality.T2F: 3}
_BLOOD = {Modality.T1N: 99, Modality.T1C: 99, Modality.T2W: 30, Modality.T2F: 60}
_ENHANCED = 99.7  # on T1c, where the case has no enhancing tumour to copy


@dataclass(frozen=True)
class Operated:
    """The study after surgery and its reference labels.

    Attributes:
        images: on one grid, in the place of the later head.
        labels: internal labels there; the cavity is RC.
        move: takes points of the later head to those of the earlier one (LPS mm).
        left, cavity, planted: what is left of the enhancing tumour, what was taken and what is new, ``[z, y, x]``.
        planted_mm: radius and centre (LPS mm, in the later head) of the ball.
    """

    images: Mapping[Modality, sitk.Image]
    labels: sitk.Image
    move: sitk.Euler3DTransform
    left: Mask
    cavity: Mask
    planted: Mask
    planted_mm: tuple[float, tuple[float, float, float]]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return math.prod(self.labels.GetSpacing()) / 1000


def operate(
    images: Mapping[Modality, sitk.Image],
    labels: sitk.Image,
    brain: sitk.Image,
    left_ml: float,
    planted_radius_mm: float = 7.0,
    seed: int = 0,
) -> Operated:
    """Operate on a study whose ``images``, internal ``labels`` and ``brain`` (0 and 1) lie on one grid.

    Args:
        left_ml: enhancing tumour to leave, as far as there is so much: the voxels nearest to a point of the rim.
        seed: of that point, of the noise and of the head's movement.
    """
    random = np.random.default_rng(seed)
    before = sitk.GetArrayFromImage(labels)
    inside = sitk.GetArrayFromImage(brain) > 0
    spacing = np.array(labels.GetSpacing()[::-1])
    left = _nearest(before == Label.ET, round(left_ml * 1000 / spacing.prod()), spacing, random)
    core = np.isin(before, (Label.NETC, Label.ET))
    cavity = core & ~left
    middle, planted = _ball(inside, before > 0, spacing, planted_radius_mm)
    after = before.copy()
    after[cavity], after[planted] = Label.RC, Label.ET
    move = _movement(labels, random)
    healthy = inside & (before == 0)
    made = {
        sequence: _turned(
            array_on(
                _painted(sitk.GetArrayFromImage(image), sequence, before, healthy, cavity, planted, spacing, random),
                image,
            ),
            move,
        )
        for sequence, image in images.items()
    }
    later = _turned(array_on(after, labels), move)
    point = later.TransformContinuousIndexToPhysicalPoint([float(value) for value in middle[::-1]])
    return Operated(made, later, move, left, cavity, planted, (planted_radius_mm, point))


def _nearest(rim: Mask, count: int, spacing: NDArray[np.float64], random: np.random.Generator) -> Mask:
    """The ``count`` voxels of ``rim`` nearest to one of them."""
    kept = np.zeros_like(rim)
    places = np.argwhere(rim)
    if not len(places) or not count:
        return kept
    start = places[random.integers(len(places))]
    order = np.argsort((((places - start) * spacing) ** 2).sum(axis=1), kind="stable")[:count]
    kept[tuple(places[order].T)] = True
    return kept


def _ball(
    inside: Mask, tumour: Mask, spacing: NDArray[np.float64], radius_mm: float
) -> tuple[NDArray[np.float64], Mask]:
    """Centre (in voxels) and voxels of a ball in the healthy brain, as deep in it as can be."""
    room = ndimage.distance_transform_edt(inside & ~tumour, sampling=spacing)
    away = ndimage.distance_transform_edt(~tumour, sampling=spacing)
    depth = np.where(away > radius_mm + FAR_MM, room, 0)
    middle = np.array(np.unravel_index(int(depth.argmax()), depth.shape), float)
    apart = sum(
        ((axis - at) * mm) ** 2
        for axis, at, mm in zip(np.ogrid[tuple(map(slice, inside.shape))], middle, spacing, strict=True)
    )
    return middle, apart <= radius_mm**2


def _painted(
    image: NDArray[np.float32],
    sequence: Modality,
    before: NDArray[np.uint8],
    healthy: Mask,
    cavity: Mask,
    planted: Mask,
    spacing: NDArray[np.float64],
    random: np.random.Generator,
) -> NDArray[np.float32]:
    grey = image.astype(np.float64)
    fluid, blood = np.percentile(grey[healthy], (_FLUID[sequence], _BLOOD[sequence]))
    noise = 0.03 * np.percentile(grey[healthy], 50)
    layer = cavity & ~np.roll(cavity, -max(1, round(BLOOD_MM / spacing[1])), axis=1)  # y runs to the back
    filled = np.where(layer, blood, fluid) + random.normal(0, noise, grey.shape)
    grey = _blended(grey, filled, cavity, spacing)
    if sequence is Modality.T1C:
        rim = before == Label.ET
        bright = np.median(image[rim]) if rim.any() else np.percentile(image[healthy], _ENHANCED)
        grey = _blended(grey, bright + random.normal(0, noise, grey.shape), planted, spacing)
    return np.where(image != 0, grey, 0).astype(np.float32)


def _blended(
    grey: NDArray[np.float64], other: NDArray[np.float64], where: Mask, spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    share = ndimage.gaussian_filter(where.astype(float), EDGE_MM / spacing)
    return (1 - share) * grey + share * other


def _movement(image: sitk.Image, random: np.random.Generator) -> sitk.Euler3DTransform:
    """Takes points of the later head to the earlier one: some degrees about the middle, and some millimetres."""
    move = sitk.Euler3DTransform()
    move.SetCenter(centre(image))
    move.SetRotation(*random.uniform(-0.12, 0.12, 3).tolist())
    move.SetTranslation(random.uniform(-8, 8, 3).tolist())
    return move


def _turned(image: sitk.Image, move: sitk.Euler3DTransform) -> sitk.Image:
    """The same voxels where the later head is."""
    turned, back = sitk.Image(image), move.GetInverse()
    turned.SetOrigin(back.TransformPoint(image.GetOrigin()))
    axes = np.reshape(move.GetMatrix(), (3, 3)).T @ np.reshape(image.GetDirection(), (3, 3))
    turned.SetDirection(axes.ravel().tolist())
    return turned
