"""The head at rest: the deformed brain template, and skull, scalp, face and airways around it.

The brain comes from the template's tissue maps; everything around it from distances to the brain and ellipsoids.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.io.grid import array_on, uncropped
from GliomaSegLib.phantom.fields import Box, Field, distance_mm, mesh_mm, random_field, region_of
from GliomaSegLib.phantom.template import read_template

HEAD_BOX = Box((-102, -118, -118), (102, 134, 108))  # the neck is cut where a head coil ends
_BRAIN_BOX = Box((-82, -84, -82), (82, 118, 92))


# --- the brain -----------------------------------------------------------------------------------------------------


class Brain(NamedTuple):
    """The deformed brain on a grid of its own.

    Attributes:
        mask: ``uint8``, 1 in the brain with its ventricles and sulci.
        grey, white: shares of the two tissues in a voxel, 0 to 1; the rest of the brain is CSF.
        texture: how much brighter (positive) or darker the T1 template is than its tissues make it, relative.
    """

    grid: sitk.Image
    mask: NDArray[np.uint8]
    grey: Field
    white: Field
    texture: Field

    def within(self, box: Box) -> Brain:
        """The part in ``box``."""
        part = box.grid(self.grid.GetSpacing()[0])
        region = region_of(part, self.grid)
        return Brain(part, self.mask[region], self.grey[region], self.white[region], self.texture[region])


_DEFORMATION_MM = 2.5
_SHARPENING = 2.0  # exponent on the tissue maps: an average of many brains is more blurred than one brain
_T1_GREY, _T1_WHITE, _T1_CSF = 0.70, 0.87, 0.40  # of the template's largest value


def make_brain(spacing_mm: float, random: np.random.Generator) -> Brain:
    grid = _BRAIN_BOX.grid(spacing_mm)
    t1, grey, white = _deformed_templates(grid, random)
    mask = ndimage.binary_fill_holes(t1 > _T1_CSF / 2)
    grey, white = _sharpened(grey, white, mask)
    expected = _T1_GREY * grey + _T1_WHITE * white + _T1_CSF * (1 - grey - white)
    texture = np.clip(t1 / expected - 1, -0.25, 0.25) * (grey + white)
    return Brain(grid, mask.astype(np.uint8), grey, white, texture)


def _deformed_templates(grid: sitk.Image, random: np.random.Generator) -> NDArray[np.floating]:
    """The T1 template and the maps of grey and white matter, 0 to 1, with the sequence as first axis."""
    templates = sitk.Compose([read_template(name) for name in ("t1", "gm", "wm")])
    templates = sitk.BinShrink(templates, [int(grid.GetSpacing()[0])] * 3)  # a larger voxel averages over its volume
    coarse = HEAD_BOX.grid(4.0)
    shifts_mm = [_DEFORMATION_MM * random_field(random, coarse, length_mm=32) for _ in range(3)]
    deformation = sitk.DisplacementFieldTransform(array_on(np.stack(shifts_mm, axis=-1).astype(np.float64), coarse))
    deformed = sitk.GetArrayFromImage(sitk.Resample(templates, grid, deformation, sitk.sitkLinear))
    return np.moveaxis(deformed, -1, 0) / np.float32(255)


def _sharpened(grey: Field, white: Field, mask: NDArray[np.bool_]) -> tuple[Field, Field]:
    powers = [np.clip(share, 0, 1) ** _SHARPENING for share in (grey, white, 1 - grey - white)]
    total = np.where(mask, sum(powers), np.inf)
    return powers[0] / total, powers[1] / total


# --- the head around it --------------------------------------------------------------------------------------------


class Skull(NamedTuple):
    """Signed distances (mm, negative inside) to the inner and outer table of the skull and to the head's surface."""

    grid: sitk.Image
    inner_mm: Field
    outer_mm: Field
    skin_mm: Field


class Solid(NamedTuple):
    """An ellipsoid, LPS mm. ``paired``: there is another one, mirrored, on the other side."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    paired: bool = False

    def box(self) -> Box:
        """The smallest box around it, or around both of a pair."""
        middle_mm = np.multiply(self.centre_mm, (not self.paired, 1, 1))
        reach_mm = np.add(self.radii_mm, (abs(self.centre_mm[0]) * self.paired, 0, 0))
        return Box(tuple(middle_mm - reach_mm), tuple(middle_mm + reach_mm))

    def distance_mm(self, grid: sitk.Image) -> Field:
        """Signed distance to the surface (approximate away from it), negative inside."""
        x, y, z = mesh_mm(grid)
        places = (np.abs(x) if self.paired else x, y, z)
        squares = sum(((p - c) / r) ** 2 for p, c, r in zip(places, self.centre_mm, self.radii_mm, strict=True))
        return (np.sqrt(squares) - 1) * min(self.radii_mm)


_COARSE_MM = 2.0  # the head around the brain is smooth: its distances are taken on this grid
_SULCUS_BRIDGED_MM, _SUBARACHNOID_MM = 13.0, 1.5
_SKULL_MM, _SKULL_VARIES_MM, TABLE_MM = 6.5, 1.0, 1.7
SCALP_MM, SKIN_MM = 5.5, 1.8

_FACE = (
    Solid((0, -45, -65), (62, 50, 64)),
    Solid((0, -92, -62), (11, 17, 20)),  # nose
    Solid((0, 18, -118), (62, 64, 74)),  # neck
)
AIRWAYS = (
    Solid((0, -64, -62), (7, 26, 15)),  # nose
    Solid((0, -10, -92), (12, 8, 42)),  # throat
    Solid((28, -52, -70), (12, 14, 14), paired=True),  # maxillary sinuses
    Solid((0, -56, -40), (10, 16, 9)),  # ethmoid cells
    Solid((0, -24, -44), (11, 12, 8)),  # sphenoid sinus
    Solid((54, 26, -48), (8, 11, 13), paired=True),  # mastoid cells
)
ORBIT = Solid((31, -62, -39), (17, 22, 17), paired=True)
EYE = Solid((32, -68, -39), (12, 12, 12), paired=True)


def make_skull(brain: Brain, random: np.random.Generator) -> Skull:
    grid = HEAD_BOX.grid(brain.grid.GetSpacing()[0])
    coarse = HEAD_BOX.grown(_SULCUS_BRIDGED_MM).grid(max(_COARSE_MM, grid.GetSpacing()[0]))
    mask = sitk.GetArrayFromImage(uncropped(array_on(brain.mask, brain.grid), coarse)) > 0
    inner_mm = _bridged_mm(mask, coarse) - _SUBARACHNOID_MM
    outer_mm = inner_mm - _SKULL_MM - _SKULL_VARIES_MM * random_field(random, coarse, length_mm=30)
    skin_mm: Field = outer_mm - SCALP_MM
    for solid in _FACE:
        skin_mm = _blended(skin_mm, solid.distance_mm(coarse), width_mm=12)
    distances_mm = (array_on(one.astype(np.float32), coarse) for one in (inner_mm, outer_mm, skin_mm))
    return Skull(grid, *(sitk.GetArrayFromImage(sitk.Resample(one, grid)) for one in distances_mm))


def _bridged_mm(mask: NDArray[np.bool_], grid: sitk.Image) -> Field:
    """Signed distance to the brain's surface after a morphological closing that bridges its sulci."""
    grown = distance_mm(mask, grid) < _SULCUS_BRIDGED_MM
    return ndimage.gaussian_filter(distance_mm(grown, grid) + _SULCUS_BRIDGED_MM, 2.0 / grid.GetSpacing()[0])


def _blended(one_mm: Field, other_mm: Field, width_mm: float) -> Field:
    """Signed distance to the union of two solids, with the edge between them rounded (polynomial smooth minimum)."""
    share = np.clip(0.5 + (other_mm - one_mm) / (2 * width_mm), 0, 1)
    return other_mm + (one_mm - other_mm) * share - width_mm * share * (1 - share)
