"""The tumour: a necrotic core inside an irregular enhancing rim, and edema that spreads along white matter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.io.grid import array_on
from GliomaSegLib.labels import Label
from GliomaSegLib.phantom.anatomy import Brain, Solid
from GliomaSegLib.phantom.fields import Box, Field, axes_mm, fraction_inside, random_field

TUMOUR_SIDE = "right"
"""The patient's side on which the tumour lies: negative x in LPS."""


class Tumour(NamedTuple):
    """Internal labels, and the shares (0 to 1) of a voxel that tumour core, necrosis and edema take."""

    grid: sitk.Image
    labels: NDArray[np.uint8]
    core: Field
    necrosis: Field
    edema: Field


_TUMOUR = Solid((-31, -20, 27), (16, 16, 16))  # right frontal white matter
_TUMOUR_BOX = Box((-82, -78, -30), (6, 38, 84))
_RIM_MM, _THINNEST_RIM_MM = 4.5, 1.5
_EDGE_MM = 2.0  # over which one part of the tumour gives way to the next
_EDEMA_REACH_MM, _REACH_VARIES_MM = 17.0, 3.5  # along pure white matter
_EDEMA_IN_GREY = 0.3  # speed at which edema spreads in grey matter, relative to white


def grow_tumour(whole: Brain, random: np.random.Generator) -> Tumour:
    brain = whole.within(_TUMOUR_BOX)
    voxel_mm = brain.grid.GetSpacing()[0]
    edge_mm = max(_EDGE_MM, voxel_mm)
    lobes, bumps, rim, reach = (random_field(random, brain.grid, length_mm) for length_mm in (12, 5, 7, 12))
    tissue = brain.grey + brain.white
    core_mm = _TUMOUR.distance_mm(brain.grid) - 3.2 * lobes - 1.2 * bumps
    core_mm = np.where(tissue > 0.35, core_mm, np.maximum(core_mm, voxel_mm))
    necrosis_mm = core_mm + np.maximum(_RIM_MM + 1.8 * rim, _THINNEST_RIM_MM)
    travelled_mm = _travelled_mm(core_mm < 0, brain)
    edema = fraction_inside(travelled_mm - _EDEMA_REACH_MM - _REACH_VARIES_MM * reach, edge_mm) * (tissue > 0.5)
    labels = np.where(edema > 0.5, np.uint8(Label.SNFH), np.uint8(Label.BACKGROUND))
    labels[core_mm < 0] = Label.ET
    labels[necrosis_mm < 0] = Label.NETC
    return Tumour(brain.grid, labels, fraction_inside(core_mm, edge_mm), fraction_inside(necrosis_mm, edge_mm), edema)


def _travelled_mm(core: NDArray[np.bool_], brain: Brain) -> Field:
    """How far edema has come from the core, as length in pure white matter: grey matter slows it, CSF stops it."""
    speed = brain.white + _EDEMA_IN_GREY * brain.grey
    speed[(brain.grey + brain.white < 0.5) & ~core] = 0
    speed[..., axes_mm(brain.grid)[2] > -2] = 0  # not across the midline
    marching = sitk.FastMarchingImageFilter()
    surface = core & ~ndimage.binary_erosion(core)
    marching.SetTrialPoints([tuple(int(i) for i in index[::-1]) for index in np.argwhere(surface)])
    marching.SetStoppingValue(3 * _EDEMA_REACH_MM)
    arrival = marching.Execute(
        array_on(np.maximum(speed, 1e-3, dtype=np.float32), brain.grid)
    )  # it divides by the speed
    return np.minimum(sitk.GetArrayFromImage(arrival), 1e3, dtype=np.float32)
