"""The exported structures of a result, each with name, codes, colour and mask.

A region that the model segments but did not find is a structure without voxels, which is reported as absent. A region
that the model does not distinguish is no structure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.uid import generate_uid
from scipy import ndimage

from GliomaSegLib.dicom_export.numbering import Numbering, by_size
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.terminology import Code, SegmentStyle, region_styles, segment_styles, undivided_style
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import OWN_LABEL, Label, Region, distinguishes_parts
from GliomaSegLib.measures.volumes import Lesion, Measures, lesion_numbers
from GliomaSegLib.options import ExportBy
from GliomaSegLib.preprocessing.cropping import Box, bounding_box, uncropped
from GliomaSegLib.preprocessing.resampling import resample_labels


@dataclass(frozen=True)
class Structure:
    """One structure: a region, a part or a lesion.

    Attributes:
        name: display name and tracking identifier, the same in all objects.
        tracking_uid: the same in every export of this structure of this series; for a lesion also after an edit, and
            with a comparison in all studies of the patient.
        inside: mask ``[z, y, x]`` in its ``box``; of hundreds of lesions no full masks fit into memory.
        box, shape: where that lies on the grid of the source series, and the size of this.
        short_name: at most 16 characters, the limit of planning systems.
        interpreted_type: RT ROI Interpreted Type: gross tumour volume, cavity, or empty for edema.
        colour: RGB, 0 to 255.
        lesion: the measures of a lesion, else ``None``.
    """

    name: str
    category: Code
    type: Code
    tracking_uid: str
    inside: NDArray[np.bool_]
    box: Box
    shape: tuple[int, ...]
    colour: tuple[int, int, int]
    volume_ml: float
    short_name: str
    interpreted_type: str = "GTV"
    lesion: Lesion | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """``[z, y, x]`` on the grid of the source series."""
        return uncropped(self.inside, self.box, self.shape)

    @property
    def corner(self) -> list[int]:
        """The first voxel (z, y, x) of its box."""
        return [side.start for side in self.box]

    def on(self, labels: sitk.Image, grid: sitk.Image) -> Structure:
        """Resample the structure from the grid of ``labels`` to another one in the same space; its volume is kept."""
        carried = resample_labels(array_on(self.mask.astype(np.uint8), labels), grid)
        return dataclasses.replace(self, **_cropped(sitk.GetArrayViewFromImage(carried) != 0))


_PART_TYPES = {Label.SNFH: "", Label.RC: "CAVITY"}
"""Edema belongs to the gross tumour volume by some guidelines and not by others: left to the planner."""

# Regions that are a single label have its code; the others are coded as neoplasm.
_REGION_LABEL = {Region.ET: Label.ET, Region.RC: Label.RC}


def structures_of(
    labels: sitk.Image,
    measures: Measures,
    regions: Collection[Region],
    by: ExportBy,
    series_uid: str,
    numbering: Numbering | None = None,
) -> list[Structure]:
    """All structures of a result, including those without voxels.

    Args:
        labels: internal label map on the grid of the source series.
        measures: of ``labels``.
        regions: those that the segmentation distinguishes.
        series_uid: Series Instance UID of the source, from which Tracking UIDs are made.
        numbering: with lesions, their numbers and Tracking UIDs; by default by size.
    """
    if by is ExportBy.REGIONS:
        return [_region(labels, region, series_uid) for region in region_styles() if region in regions]
    if by is ExportBy.PARTS:
        return _parts(labels, regions, series_uid)
    numbering = numbering or by_size(measures, lesion_region(regions), series_uid)
    return _lesions(labels, measures, series_uid, numbering) or [_region(labels, numbering.region, series_uid)]


def drawn(structures: Sequence[Structure]) -> list[Structure]:
    """The structures with voxels; if none has any, the first one, as objects need at least one."""
    return [one for one in structures if one.inside.any()] or list(structures[:1])


def lesion_region(regions: Collection[Region]) -> Region:
    """The region whose lesions are exported: the enhancing tumour, else the largest region."""
    return Region.ET if Region.ET in regions else next(region for region in region_styles() if region in regions)


def _region(labels: sitk.Image, region: Region, series_uid: str) -> Structure:
    style = region_styles()[region]
    coded = segment_styles()[_REGION_LABEL[region]] if region in _REGION_LABEL else undivided_style()
    mask = region_mask(sitk.GetArrayViewFromImage(labels), region)
    return _structure(
        style.name,
        coded,
        mask,
        style.colour,
        labels,
        series_uid,
        short_name=style.name,
        interpreted_type="CAVITY" if region is Region.RC else "GTV",
    )


def _parts(labels: sitk.Image, regions: Collection[Region], series_uid: str) -> list[Structure]:
    held = {OWN_LABEL[region] for region in regions}
    styles = [style for label, style in segment_styles().items() if label in held]
    if not distinguishes_parts(regions):
        styles = [undivided_style() if style.label is Label.SNFH else style for style in styles]
    undivided_core = Region.TC in regions and Region.ET not in regions
    return [
        _region(labels, Region.TC, series_uid)
        if undivided_core and one.label is Label.NETC
        else _part(labels, one, series_uid)
        for one in styles
    ]


def _part(labels: sitk.Image, style: SegmentStyle, series_uid: str) -> Structure:
    return _structure(
        style.name,
        style,
        sitk.GetArrayViewFromImage(labels) == style.label,
        style.colour,
        labels,
        series_uid,
        short_name=style.identifier,
        interpreted_type=_PART_TYPES.get(style.label, "GTV"),
    )


def _lesions(labels: sitk.Image, measures: Measures, series_uid: str, numbering: Numbering) -> list[Structure]:
    """The lesions, sorted by number, those without a number last."""
    region, identities = numbering.region, numbering.identities
    components, name = lesion_numbers(labels, region), region_styles()[region].name
    boxes = ndimage.find_objects(components)
    coded = segment_styles()[_REGION_LABEL[region]] if region in _REGION_LABEL else undivided_style()
    last = max((one.number for one in identities.values()), default=0) + 1
    structures = []
    for lesion in sorted(
        measures.lesions_of(region),
        key=lambda one: (identities[one.id].number if one.id in identities else last, one.id),
    ):
        identity = identities.get(lesion.id)
        structures.append(
            _structure(
                f"{name} {identity.number}" if identity else f"{name}, too small to be followed ({lesion.id})",
                coded,
                components[boxes[lesion.id - 1]] == lesion.id,
                region_styles()[region].colour,
                labels,
                series_uid,
                identity.uid if identity else None,
                box=boxes[lesion.id - 1],
                lesion=lesion,
                short_name=f"{region.value} {identity.number}" if identity else f"{region.value} speck {lesion.id}",
                interpreted_type="CAVITY" if region is Region.RC else "GTV",
            )
        )
    return structures


def _structure(
    name: str,
    coded: SegmentStyle,
    mask: NDArray[np.bool_],
    colour: tuple[int, int, int],
    labels: sitk.Image,
    series_uid: str,
    tracking_uid: str | None = None,
    box: Box | None = None,
    **more: Any,
) -> Structure:
    """The structure of a mask, which is one of the whole grid unless its ``box`` is given."""
    shape = labels.GetSize()[::-1]
    place = {"inside": mask, "box": box, "shape": shape} if box else _cropped(mask)
    return Structure(
        name=name,
        category=coded.category,
        type=coded.type,
        tracking_uid=tracking_uid or str(generate_uid(entropy_srcs=[series_uid, name])),
        **place,
        colour=colour,
        volume_ml=float(np.count_nonzero(mask) * np.prod(labels.GetSpacing()) / 1000),
        **more,
    )


def _cropped(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """The place of a mask of the whole grid, as the fields of :class:`Structure`."""
    box = bounding_box(mask) if mask.any() else (slice(0, 0),) * 3
    return {"inside": mask[box].copy(), "box": box, "shape": mask.shape}
