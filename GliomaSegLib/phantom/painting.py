"""The noise-free signal of the head at rest in every sequence, painted tissue by tissue."""

from __future__ import annotations

from enum import Enum

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from GliomaSegLib.case import Modality
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.phantom.anatomy import AIRWAYS, EYE, HEAD_BOX, ORBIT, SCALP_MM, SKIN_MM, TABLE_MM, Brain, Skull, Solid
from GliomaSegLib.phantom.fields import Box, Field, fraction_inside, mesh_mm, random_field, region_of
from GliomaSegLib.phantom.tumour import Tumour


class _Tissue(Enum):
    """Signal per sequence in arbitrary units, in the order of :class:`Modality`: T1n, T1c, T2w, T2f."""

    AIR = (0, 0, 0, 0)
    SKIN = (500, 580, 240, 300)
    FAT = (1150, 1150, 700, 560)
    MUSCLE = (420, 520, 150, 200)
    BONE = (60, 60, 30, 30)
    MARROW = (650, 680, 260, 220)
    BLOOD = (330, 1250, 90, 130)
    WATER = (190, 200, 1300, 100)  # CSF and the vitreous body
    GREY = (520, 555, 500, 560)
    WHITE = (720, 735, 360, 440)
    SNFH = (540, 555, 780, 840)
    ET = (600, 1150, 680, 790)
    NETC = (380, 430, 1050, 740)


# How much of the template's T1 texture shows in each sequence: T2 falls where T1 rises.
_TEXTURE = (1.0, 1.0, -0.8, -0.5)
_UNEVEN_TUMOUR = (0.5, 1.0, 1.0, 1.0)


class Canvas:
    """The signals of all sequences, painted from the outside inwards; a later tissue covers earlier ones."""

    def __init__(self, grid: sitk.Image, signals: Field | None = None) -> None:
        self.grid = grid
        self.signals = np.zeros((len(Modality), *grid.GetSize()[::-1]), np.float32) if signals is None else signals

    def on(self, grid: sitk.Image) -> Canvas:
        """A view of a part of this canvas; painting there changes this canvas."""
        return Canvas(grid, self.signals[(slice(None), *region_of(grid, self.grid))])

    def paint(self, share: Field, tissue: _Tissue) -> None:
        """Cover ``share`` (0 to 1) of every voxel with ``tissue``."""
        for signal, value in zip(self.signals, tissue.value, strict=True):
            signal += share * (value - signal)

    def modulate(self, relative: Field, strengths: tuple[float, ...]) -> None:
        """Multiply the signals by 1 + strength * ``relative``."""
        for signal, strength in zip(self.signals, strengths, strict=True):
            signal *= 1 + strength * relative

    def picture(self, sequence: Modality) -> sitk.Image:
        """The noise-free signal of the head at rest, ``float32``."""
        return array_on(self.signals[list(Modality).index(sequence)], self.grid)


def paint_head(canvas: Canvas, skull: Skull, random: np.random.Generator) -> None:
    def paint(distance_mm: Field, tissue: _Tissue) -> None:
        canvas.paint(fraction_inside(distance_mm, skull.grid.GetSpacing()[0]), tissue)

    paint(skull.skin_mm, _Tissue.SKIN)
    paint(skull.skin_mm + SKIN_MM, _Tissue.FAT)
    streaks_mm = 2 * random_field(random, skull.grid, length_mm=4)
    paint(np.maximum(skull.skin_mm + SCALP_MM + 1, streaks_mm - 2), _Tissue.MUSCLE)
    for airway in AIRWAYS:
        _paint_solid(canvas, airway, _Tissue.AIR)
    _paint_solid(canvas, ORBIT, _Tissue.FAT)
    _paint_solid(canvas, EYE, _Tissue.WATER)
    paint(skull.outer_mm, _Tissue.BONE)
    paint(np.maximum(skull.outer_mm, -skull.inner_mm) + TABLE_MM, _Tissue.MARROW)
    paint(skull.inner_mm, _Tissue.WATER)
    paint(_sagittal_sinus_mm(skull), _Tissue.BLOOD)


def _paint_solid(canvas: Canvas, solid: Solid, tissue: _Tissue) -> None:
    voxel_mm = canvas.grid.GetSpacing()[0]
    part = canvas.on(solid.box().grown(voxel_mm).within(HEAD_BOX).grid(voxel_mm))
    part.paint(fraction_inside(solid.distance_mm(part.grid), voxel_mm), tissue)


def _sagittal_sinus_mm(skull: Skull) -> Field:
    """Signed distance to a band 6 mm deep and 7 mm wide under the vault, in the midline."""
    x, _, z = mesh_mm(skull.grid)
    return np.maximum(np.maximum(np.abs(x) - 3.5, np.abs(skull.inner_mm + 3) - 3), 5 - z)


def paint_brain(canvas: Canvas, brain: Brain) -> None:
    _paint_cord(canvas, brain)
    tissue = brain.grey + brain.white
    part = canvas.on(brain.grid)
    part.paint(tissue, _Tissue.GREY)
    part.paint(np.divide(brain.white, tissue, out=np.zeros_like(tissue), where=tissue > 0), _Tissue.WHITE)
    part.modulate(brain.texture, _TEXTURE)


def _paint_cord(canvas: Canvas, brain: Brain) -> None:
    """The template ends in the brain stem: continue it as spinal cord in its canal."""
    voxel_mm = brain.grid.GetSpacing()[0]
    lowest = int(np.flatnonzero(brain.mask.any(axis=(1, 2)))[0])
    row, column = ndimage.center_of_mass(brain.mask[lowest])
    end_mm = brain.grid.TransformContinuousIndexToPhysicalPoint((column, row, lowest))
    box = Box((end_mm[0] - 16, end_mm[1] - 16, HEAD_BOX.first_mm[2]), tuple(np.add(end_mm, 16)))
    part = canvas.on(box.grid(voxel_mm))
    x, y, z = mesh_mm(part.grid)
    from_axis_mm = np.hypot(x - end_mm[0], y - end_mm[1])
    for radius_mm, top_mm, tissue in ((14, -4, _Tissue.BONE), (9, 2, _Tissue.WATER), (5.5, 3, _Tissue.WHITE)):
        part.paint(fraction_inside(np.maximum(from_axis_mm - radius_mm, z - end_mm[2] - top_mm), voxel_mm), tissue)


def paint_tumour(canvas: Canvas, tumour: Tumour, random: np.random.Generator) -> None:
    patchy, grainy = (random_field(random, tumour.grid, length_mm) for length_mm in (7, 3))
    part = canvas.on(tumour.grid)
    part.paint(tumour.edema * np.clip(0.85 + 0.12 * patchy, 0, 1), _Tissue.SNFH)
    part.paint(tumour.core, _Tissue.ET)
    part.paint(tumour.necrosis, _Tissue.NETC)
    part.modulate(tumour.core * (0.07 * patchy + 0.07 * grainy), _UNEVEN_TUMOUR)
