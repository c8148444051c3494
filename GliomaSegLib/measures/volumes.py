"""Measures of a segmentation: the volume of each region, and the size, position and diameters of each lesion.

Volumes are in mL (1000 mm³), lengths in mm, positions in RAS mm (x to the patient's right, y to anterior, z to
superior), the coordinates that 3D Slicer shows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import cc3d
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import orientation_of, same_grid
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.diameters import axial_axis, diameters_mm
from GliomaSegLib.measures.midline import Midline, MidlineFrom, Side, midline_of
from GliomaSegLib.preprocessing.cropping import Box, bounding_box, uncropped
from GliomaSegLib.record import Record

# An image that was cropped to the brain ends in tips of it: borders on which less than this share of the largest
# parallel slice is brain. The most lateral slice of 1 mm of a ball of 140 mm has 3 %, the highest of 5 mm 14 %.
_TIP = 0.2

# A brain that ends on a plane with more than this share of its largest parallel slice is cut off there.
_ABRUPT = 0.5

# Slices are thick, and their plane is the one of acquisition, when one spacing exceeds the others by this factor.
_THICK = 1.2


class Volume(Record):
    """The volume of a region (WT, TC, ET, RC) or a label (NETC, SNFH), also as a share of the brain's volume."""

    name: str
    voxels: int
    volume_ml: float
    brain_ratio: float | None = None

    @property
    def ml(self) -> float:
        """The volume in mL."""
        return self.volume_ml


class Lesion(Record):
    """One connected component of a region.

    Attributes:
        id: 1 for the largest of its region.
        long_mm: the longest diameter on the slice of largest area, in the plane of acquisition.
        perpendicular_mm: the longest diameter on the same slice at right angles to it.
        slice: index of that slice along the voxel axis ``slice_axis`` of the measures.
        slice_ras_mm: position of that slice along R, A or S (see :func:`slice_position_mm`).
        centre_ras_mm: centre of gravity.
        midline_mm: distance of its nearest voxel from the mid-sagittal plane, 0 when it crosses it; ``None`` where no
            plane was found.
        slices: number of slices on which it is seen; ``None``, as for the next two: not known.
        at_border: whether it touches a border of the image, or of what was scanned of it, beyond which a part of it may
            lie.
        certainty: the highest probability in it, 0 to 1 (Shirokikh 2019).
    """

    region: Region
    id: int
    voxels: int
    volume_ml: float
    long_mm: float
    perpendicular_mm: float
    slice: int
    slice_ras_mm: float
    centre_ras_mm: tuple[float, float, float]
    side: Side
    slices: int | None = None
    at_border: bool | None = None
    certainty: float | None = None
    midline_mm: float | None = None


class Measures(Record):
    """All measures of one label map. Regions that the model does not segment are left out; absent ones have 0 mL."""

    volumes: tuple[Volume, ...]
    lesions: tuple[Lesion, ...]
    brain_ml: float | None
    midline_from: MidlineFrom
    plane: str
    slice_axis: int

    def volume(self, name: str) -> Volume | None:
        """The volume of the region or label called ``name``, ``None`` if it was not measured."""
        return next((volume for volume in self.volumes if volume.name == name), None)

    def lesions_of(self, region: Region) -> tuple[Lesion, ...]:
        """The lesions of one region, largest first. More than one is called multifocal."""
        return tuple(lesion for lesion in self.lesions if lesion.region is region)

    def to_rows(self) -> list[dict[str, object]]:
        """One flat row per region and per lesion, all with the same columns, for a table (CSV)."""
        regions = [{"kind": "region", "region": one.name, **one.model_dump()} for one in self.volumes]
        lesions = [
            {"kind": "lesion", "plane": self.plane, **one.model_dump(mode="json")}
            | dict(zip(("r_mm", "a_mm", "s_mm"), one.centre_ras_mm, strict=True))
            for one in self.lesions
        ]
        return [{column: row.get(column) for column in _COLUMNS} for row in regions + lesions]


_COLUMNS = (
    *("kind", "region", "id", "volume_ml", "voxels", "brain_ratio", "long_mm", "perpendicular_mm"),
    *("plane", "slices", "slice", "slice_ras_mm", "r_mm", "a_mm", "s_mm", "side", "at_border", "certainty"),
    "midline_mm",
)


LESION_REGIONS = (Region.WT, Region.ET)
"""The regions of which every component is measured."""


def measure(
    labels: sitk.Image,
    brain: sitk.Image | None = None,
    regions: Collection[Region] = tuple(Region),
    probabilities: Mapping[Region, sitk.Image] | None = None,
    scan: sitk.Image | None = None,
) -> Measures:
    """Measure an internal label map.

    Args:
        labels: 3-D, values of :class:`~GliomaSegLib.labels.Label`.
        brain: mask (non-zero inside) on the same grid; for the brain ratios and the midline.
        regions: those that were segmented; a model without T1c segments WT alone.
        probabilities: of regions, 0 to 1, on the same grid; for the lesions' certainty.
        scan: image of the head, for the midline when there is no brain mask.

    Raises:
        InputError: the brain mask or a map has another grid, or the mask is empty.
    """
    probabilities = probabilities or {}
    if brain is not None and not same_grid(labels, brain):
        raise InputError("The brain mask and the label map have different grids; give a mask made for this label map.")
    for region, probability in probabilities.items():
        if not same_grid(labels, probability):
            raise InputError(f"The probability map of {region.value} and the label map have different grids.")
    marked = sitk.GetArrayViewFromImage(labels) != 0
    tumour = sitk.GetArrayViewFromImage(labels)[bounding_box(marked) if marked.any() else slice(0)]
    voxel_ml = float(np.prod(labels.GetSpacing())) / 1000
    brain_voxels = None if brain is None else np.count_nonzero(sitk.GetArrayViewFromImage(brain))
    if brain_voxels == 0:
        raise InputError("The brain mask is empty; repeat the brain extraction or measure without a mask.")
    midline, borders = midline_of(labels, brain, scan), cutting_borders(labels, scan if brain is None else brain)
    volumes = [
        Volume(
            name=name,
            voxels=(voxels := int(np.count_nonzero(mask))),
            volume_ml=voxels * voxel_ml,
            brain_ratio=voxels / brain_voxels if brain_voxels else None,
        )
        for name, mask in _parts(tumour, regions)
    ]
    lesions = [
        lesion
        for region in LESION_REGIONS
        if region in regions
        for lesion in _lesions(labels, region, midline, borders, probabilities.get(region))
    ]
    return Measures(
        volumes=tuple(volumes),
        lesions=tuple(lesions),
        brain_ml=brain_voxels * voxel_ml if brain_voxels else None,
        midline_from=midline.source,
        plane=plane_name(labels, slice_axis(labels)),
        slice_axis=slice_axis(labels),
    )


def volume_text(volume_ml: float) -> str:
    """A volume for a sentence: to the microlitre below 1 mL, where residual tumour is judged."""
    digits = 3 if abs(volume_ml) < 1 else 2 if abs(volume_ml) < 10 else 1
    return f"{volume_ml:.{digits}f} mL".replace("-", "−")


def slice_axis(image: sitk.Image) -> int:
    """The voxel axis (0 x, 1 y, 2 z) across the slices: that of the thick spacing, else the one nearest to superior."""
    spacing = np.asarray(image.GetSpacing())
    thick = int(np.argmax(spacing))
    if spacing[thick] > _THICK * np.delete(spacing, thick).max():
        return thick
    return axial_axis(image)


def plane_name(image: sitk.Image, axis: int) -> str:
    """``sagittal``, ``coronal`` or ``axial``: the anatomical plane nearest to the slices across voxel axis ``axis``."""
    # The orientation code (e.g. LPS) assigns each voxel axis a patient axis of its own, also on oblique grids.
    letter = orientation_of(image)[axis]
    return {"L": "sagittal", "R": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}[letter]


def slice_position_mm(image: sitk.Image, axis: int, index: int) -> float:
    """The R, A or S coordinate (by its plane) of the centre of a slice across voxel axis ``axis``, mm."""
    centre = [(size - 1) / 2 for size in image.GetSize()]
    centre[axis] = float(index)
    left, posterior, superior = image.TransformContinuousIndexToPhysicalPoint(centre)
    return {"sagittal": -left, "coronal": -posterior, "axial": superior}[plane_name(image, axis)]


def _parts(array: NDArray[np.integer], regions: Collection[Region]) -> list[tuple[str, NDArray[np.bool_]]]:
    """The masks that are measured: the regions, and the labels that are the difference of two of them."""
    parts = [(region.value, region_mask(array, region)) for region in Region if region in regions]
    between = {Label.NETC: {Region.TC, Region.ET}, Label.SNFH: {Region.WT, Region.TC}}
    return parts + [(label.name, array == label) for label, both in between.items() if both <= {*regions}]


def lesion_numbers(labels: sitk.Image, region: Region) -> NDArray[np.uint32]:
    """The connected components (26 neighbours) of a region, ``[z, y, x]``: each has its :attr:`Lesion.id`."""
    array = sitk.GetArrayViewFromImage(labels)
    return uncropped(*_numbered(region_mask(array, region)), array.shape)


def _numbered(mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], Box]:
    """The components of a mask, numbered by size, in the box that holds them."""
    if not mask.any():
        return np.zeros((0, 0, 0), np.uint32), (slice(0, 0),) * 3
    box = bounding_box(mask)
    components = cc3d.connected_components(mask[box], connectivity=26)
    voxels = np.bincount(components.ravel())[1:]
    number = np.zeros(len(voxels) + 1, np.uint32)
    number[1 + np.argsort(-voxels, kind="stable")] = np.arange(1, len(voxels) + 1)
    return number[components], box


def cutting_borders(labels: sitk.Image, head: sitk.Image | None) -> list[list[int]]:
    """The planes beyond which the brain may go on, ``[(z, y, x)][first, last]``: the borders of the image, or inside of
    it a plane on which the brain ends abruptly, as what lies beyond was added to the scan. None, thus a plane outside,
    where the image was cropped to the brain; but below it always may, as the brain stem is cut there.

    Args:
        head: brain mask, or image that is 0 outside of the brain.
    """
    shape = labels.GetSize()[::-1]
    borders = [[0, size - 1] for size in shape]
    if head is None:
        return borders
    inside = sitk.GetArrayViewFromImage(head) != 0
    areas = [np.count_nonzero(inside, axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    if not areas[0].any():
        return borders
    cropped = all(area[[0, -1]].all() for area in areas)
    up = axial_axis(labels)
    below = 2 - up, int(orientation_of(labels)[up] == "I")
    for axis, (area, size) in enumerate(zip(areas, shape, strict=True)):
        ends = np.flatnonzero(area)[[0, -1]].tolist()
        for last, end in enumerate(ends):
            if area[end] > _ABRUPT * area.max():
                borders[axis][last] = end
            elif cropped and area[end] <= _TIP * area.max() and (axis, last) != below:
                borders[axis][last] = size if last else -1
    return borders


def _lesions(
    labels: sitk.Image,
    region: Region,
    midline: Midline,
    borders: Sequence[Sequence[int]],
    probability: sitk.Image | None = None,
) -> list[Lesion]:
    """The lesions of a region, largest first."""
    numbers, whole = _numbered(region_mask(sitk.GetArrayViewFromImage(labels), region))
    if not numbers.size:
        return []
    statistics = cc3d.statistics(numbers)
    corner = [side.start for side in whole]
    voxel_ml = float(np.prod(labels.GetSpacing())) / 1000
    axis = slice_axis(labels)
    lesions = []
    for number in range(1, len(statistics["voxel_counts"])):
        inner = statistics["bounding_boxes"][number]
        mask = numbers[inner] == number
        box = tuple(slice(side.start + first, side.stop + first) for side, first in zip(inner, corner, strict=True))
        position, long, perpendicular = _bidimensional(mask, labels.GetSpacing(), axis)
        left, posterior, superior = labels.TransformContinuousIndexToPhysicalPoint(
            (statistics["centroids"][number] + corner)[::-1].tolist()
        )
        voxels = int(statistics["voxel_counts"][number])
        lesions.append(
            Lesion(
                region=region,
                id=number,
                voxels=voxels,
                volume_ml=voxels * voxel_ml,
                long_mm=long,
                perpendicular_mm=perpendicular,
                slices=mask.shape[2 - axis],
                slice=(index_of_slice := position + box[2 - axis].start),
                slice_ras_mm=slice_position_mm(labels, axis, index_of_slice),
                centre_ras_mm=(-left, -posterior, superior),
                side=midline.side_of((left, posterior, superior)),
                at_border=any(
                    part.start <= first or part.stop > last for part, (first, last) in zip(box, borders, strict=True)
                ),
                certainty=_highest(probability, box, mask),
                midline_mm=_from_midline(labels, midline, box, mask),
            )
        )
    return lesions


def _highest(probability: sitk.Image | None, box: tuple[slice, ...], mask: NDArray[np.bool_]) -> float | None:
    return None if probability is None else float(sitk.GetArrayViewFromImage(probability)[box][mask].max())


def _from_midline(
    labels: sitk.Image, midline: Midline, box: tuple[slice, ...], mask: NDArray[np.bool_]
) -> float | None:
    if midline.source not in (MidlineFrom.PLANE, MidlineFrom.HEAD):
        return None
    index = np.argwhere(mask) + [part.start for part in box]
    to_mm = np.reshape(labels.GetDirection(), (3, 3)) * labels.GetSpacing()
    return midline.distance_mm(index[:, ::-1] @ to_mm.T + labels.GetOrigin())


def _bidimensional(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float], axis: int
) -> tuple[int, float, float]:
    """The slice of largest area of a component ``[z, y, x]`` across voxel axis ``axis``, and its two diameters, mm."""
    slices = np.moveaxis(mask, 2 - axis, 0)
    position = int(np.argmax(slices.sum(axis=(1, 2))))
    row_mm, column_mm = (spacing_mm[other] for other in (2, 1, 0) if other != axis)
    return position, *diameters_mm(slices[position], (row_mm, column_mm))
