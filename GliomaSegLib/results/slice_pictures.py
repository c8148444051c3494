"""Draws slices with contours of regions for the report, as SVG in mm with the image embedded as PNG.

Radiological convention: axial and coronal slices show the patient's right on the left, sagittal ones anterior on the
left. Contours are vector paths, which are sharp in print and can be hidden.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import SimpleITK as sitk
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import find_contours

from GliomaSegLib.io.grid import GRID_TOLERANCE_VOXELS, corners, oriented, upright_view
from GliomaSegLib.io.terminology import hex_colour
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import REGION_LABELS, Region
from GliomaSegLib.measures.volumes import slice_position_mm
from GliomaSegLib.preprocessing.cropping import bounding_box

# Pictures are resampled to square pixels of this size, fine enough for print.
_PIXEL_MM = 0.5

# The margin around the head, and the percentiles in the head that become black and white.
_MARGIN_MM = 6.0
WINDOW_PERCENT = (1.0, 99.7)
_WINDOW_MM = 2.0  # finer voxels are sampled

# Smaller regions are drawn over larger ones.
DRAWING_ORDER = (Region.WT, Region.RC, Region.TC, Region.ET)


@dataclass(frozen=True)
class _Plane:
    """How to cut a plane from an array ``[z, y, x]`` in LPS orientation."""

    voxel_axis: int  # across the slices: 0 x, 1 y, 2 z
    marks: str  # the patient directions at the left, right, top and bottom of the picture
    letters: str  # the direction of a positive and a negative position


_PLANES = {"axial": _Plane(2, "RLAP", "SI"), "coronal": _Plane(1, "RLSI", "AP"), "sagittal": _Plane(0, "APSI", "RL")}


@dataclass(frozen=True)
class Slice:
    """One slice: its plane (``axial``, ``coronal`` or ``sagittal``) and its index along the perpendicular axis."""

    plane: str
    index: int


class Grey:
    """An image as grey levels, ``uint8 [z, y, x]`` in LPS orientation, computed only for the parts that are used."""

    def __init__(self, image: sitk.Image, grid: sitk.Image, black: float, white: float) -> None:
        self._image, self._grid = image, grid
        self._black, self._range = black, max(white - black, 1e-6)

    def __getitem__(self, part: int | tuple[int | slice, ...]) -> NDArray[np.uint8]:
        array = _part_of(self._image, self._grid, part).astype(np.float32)
        return (np.clip((array - self._black) / self._range, 0, 1) * 255).astype(np.uint8)


class Viewer:
    """Draws slices of images on the label map's grid, all with the same field of view.

    Args:
        labels: internal label map.
        reference: for finding the head without a brain mask; only then it must be on the same grid.
        brain: mask on the same grid.
        regions: those to outline.
    """

    def __init__(
        self, labels: sitk.Image, reference: sitk.Image, brain: sitk.Image | None, regions: Collection[Region]
    ) -> None:
        self._grid = oriented(labels)
        self._labels = sitk.GetArrayViewFromImage(self._grid)
        self._regions = [region for region in DRAWING_ORDER if region in regions]
        head = sitk.OtsuThreshold(reference, 0, 1) if brain is None else brain
        self._head = upright_view(head) != 0
        if not self._head.any():
            self._head[:] = True
        margin = [int(np.ceil(_MARGIN_MM / mm)) for mm in reversed(self._grid.GetSpacing())]
        self._box = tuple(
            slice(max(0, part.start - more), min(size, part.stop + more))
            for part, more, size in zip(bounding_box(self._head | self.tumour), margin, self._labels.shape, strict=True)
        )

    @property
    def tumour(self) -> NDArray[np.bool_]:
        """Mask of all labels including the cavity, ``[z, y, x]`` in LPS orientation."""
        return self._labels > 0

    def largest(self, plane: str, region: Region | None = None) -> Slice:
        """The slice with the largest area of the region, by default of all labels; of the head if there is none."""
        return Slice(plane, int(np.argmax(self._areas(plane, region))))

    def nearest(self, plane: str, position_ras_mm: tuple[float, float, float]) -> Slice:
        """The slice that is nearest to a position."""
        axis = _PLANES[plane].voxel_axis
        right, anterior, superior = position_ras_mm
        index = self._grid.TransformPhysicalPointToContinuousIndex((-right, -anterior, superior))[axis]
        return Slice(plane, int(np.clip(round(index), 0, self._grid.GetSize()[axis] - 1)))

    def distance_mm(self, one: Slice, other: Slice) -> float:
        """Between two slices of one plane."""
        return abs(one.index - other.index) * self._grid.GetSpacing()[_PLANES[one.plane].voxel_axis]

    def spread(self, plane: str, count: int) -> list[Slice]:
        """At most ``count`` slices that divide the tumour (or the head without one) into parts of equal volume."""
        share = np.cumsum(self._areas(plane))
        indices = {int(np.searchsorted(share, share[-1] * (part + 0.5) / count)) for part in range(count)}
        # Axial slices from inferior to superior, sagittal ones from the patient's right, coronal ones from posterior.
        return [Slice(plane, index) for index in sorted(indices, reverse=plane == "coronal")]

    def position(self, where: Slice) -> str:
        """The position of a slice, e.g. ``S 34 mm``."""
        plane = _PLANES[where.plane]
        mm = round(slice_position_mm(self._grid, plane.voxel_axis, where.index))
        return f"{plane.letters[mm < 0]} {abs(mm)} mm"

    def grey(self, image: sitk.Image, by_tumour: bool = True) -> Grey:
        """Convert an image to grey levels, with a window from the intensities in the head.

        Args:
            image: in the space of the labels, on any grid.
            by_tumour: whether the tumour contributes to the window; without it the brain has the same brightness in
                studies with a large and a small tumour.
        """
        steps = tuple(slice(None, None, max(1, int(_WINDOW_MM / mm))) for mm in reversed(self._grid.GetSpacing()))
        inside = self._head[steps]
        if not by_tumour and (inside & ~self.tumour[steps]).any():
            inside = inside & ~self.tumour[steps]
        seen = _part_of(image, self._grid, steps)[inside if inside.any() else slice(None)]
        return Grey(image, self._grid, *np.percentile(seen.astype(np.float32, copy=False), WINDOW_PERCENT))

    def draw(self, grey: Grey, where: Slice, contours: bool = True) -> Markup:
        """Draw a slice as an ``<svg>`` element; the contours are a group of class ``contours``."""
        pixels, width, height = self.cut(grey, where)
        return Markup(
            f'<svg viewBox="0 0 {width:.2f} {height:.2f}" role="img" aria-label="{where.plane} slice">'
            f'<image width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none" href="{png(pixels)}"/>'
            f"{self._contours(where) if contours else ''}{_marks(self.marks(where), width, height)}</svg>"
        )

    def cut(self, grey: Grey, where: Slice) -> tuple[NDArray[np.uint8], float, float]:
        """A slice of the grey levels with square pixels, ``[row, column]``, and its width and height in mm."""
        row_mm, column_mm = self._pixel_mm(where.plane)
        pixels = self._cut(grey, where)
        height, width = pixels.shape[0] * row_mm, pixels.shape[1] * column_mm
        size = (round(width / _PIXEL_MM), round(height / _PIXEL_MM))
        resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BICUBIC)
        return np.asarray(resized), width, height

    def outlines(self, where: Slice) -> list[tuple[Region, list[NDArray[np.float64]]]]:
        """The closed outlines of each region on a slice: points (x, y) in mm from the top left corner of the
        picture."""
        labels, (row_mm, column_mm) = self._cut(self._labels, where), self._pixel_mm(where.plane)
        found = []
        for region in self._regions:
            # A margin of one empty pixel closes outlines at the border; half a pixel leads from its centre to its edge.
            mask = np.pad(np.isin(labels, REGION_LABELS[region]), 1).astype(np.uint8)
            lines = [(one[:-1, ::-1] - 0.5) * (column_mm, row_mm) for one in find_contours(mask, 0.5)]
            if lines:
                found.append((region, lines))
        return found

    def marks(self, where: Slice) -> str:
        """The patient's directions at the left, right, top and bottom of the picture."""
        return _PLANES[where.plane].marks

    def _areas(self, plane: str, region: Region | None = None) -> NDArray[np.int64]:
        """The number of voxels on each slice: of the region, or of all labels, or of the head."""
        regions = [region_mask(self._labels, region)] if region else []
        mask = next((one for one in (*regions, self.tumour) if one.any()), self._head)
        across = 2 - _PLANES[plane].voxel_axis
        return mask.sum(axis=tuple({0, 1, 2} - {across}))

    def _cut(self, array: NDArray | Grey, where: Slice) -> NDArray:
        """A slice ``[row, column]``, cropped, its first row at the top of the picture."""
        across = 2 - _PLANES[where.plane].voxel_axis
        cut = array[tuple(where.index if axis == across else part for axis, part in enumerate(self._box))]
        return cut if where.plane == "axial" else cut[::-1]

    def _pixel_mm(self, plane: str) -> tuple[float, float]:
        """Distance between rows and between columns of a slice in mm."""
        spacing = self._grid.GetSpacing()
        row_mm, column_mm = (spacing[axis] for axis in (2, 1, 0) if axis != _PLANES[plane].voxel_axis)
        return row_mm, column_mm

    def _contours(self, where: Slice) -> str:
        paths = (
            f'<path class="{region.value}" stroke="{hex_colour(region)}" d="{"".join(map(path_data, lines))}"/>'
            for region, lines in self.outlines(where)
        )
        return f'<g class="contours">{"".join(paths)}</g>'


def _part_of(image: sitk.Image, grid: sitk.Image, part: int | tuple[int | slice, ...]) -> NDArray[np.float32]:
    """The voxels of an image in a part ``[z, y, x]`` of a grid in LPS orientation."""
    if _same_voxels(image, grid):
        return upright_view(image)[part]
    parts = part if isinstance(part, tuple) else (part,)
    sides = [slice(one, one + 1) if isinstance(one, int) else one for one in (*parts, *[slice(None)] * 3)[:3]]
    shown = sitk.Resample(image, grid[tuple(reversed(sides))], sitk.Transform(), sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(shown)[tuple(0 if isinstance(one, int) else slice(None) for one in parts)]


def _same_voxels(one: sitk.Image, other: sitk.Image) -> bool:
    """Whether two images have the same voxels, regardless of orientation."""
    near_mm = GRID_TOLERANCE_VOXELS * min(one.GetSpacing())
    return sorted(one.GetSize()) == sorted(other.GetSize()) and all(
        min(math.dist(corner, there) for there in corners(other)) <= near_mm for corner in corners(one)
    )


def path_data(line: NDArray[np.float64]) -> str:
    """SVG path data of a closed line with points (x, y)."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in line) + "Z"


def png(pixels: NDArray[np.uint8]) -> str:
    """A grey picture as a data URI."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _marks(letters: str, width: float, height: float) -> str:
    """The patient's directions at the left, right, top and bottom edge."""
    inset = 5.5
    places = ((inset, height / 2), (width - inset, height / 2), (width / 2, inset), (width / 2, height - inset))
    return "".join(
        f'<text class="mark" x="{x:.1f}" y="{y:.1f}">{letter}</text>'
        for letter, (x, y) in zip(letters, places, strict=True)
    )
