"""What is exported: the structures of a result, each with its name, codes, colour and mask."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from GliomaSegLib.io.terminology import Code, region_styles, segment_styles, undivided_style
from GliomaSegLib.labels import Label, Region, parts_are_told, region_mask
from GliomaSegLib.measures.volumes import Lesion, Measures, lesion_numbers


class By(str, Enum):
    """What becomes a structure: nested regions (WT, TC, ET), the exclusive labels, or every lesion on its own."""

    REGIONS = "regions"
    PARTS = "parts"
    LESIONS = "lesions"


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes:
        name: for people, the same in all objects; also the tracking identifier.
        tracking_uid: the same whenever this structure of this series is exported.
        mask: ``[z, y, x]`` on the axes of the source series.
        colour: RGB, 0 to 255.
        volume_ml: as measured.
        lesion: its measures, for a lesion.
    """

    name: str
    category: Code
    type: Code
    tracking_uid: str
    mask: NDArray[np.bool_]
    colour: tuple[int, int, int]
    volume_ml: float
    lesion: Lesion | None = None


# A region that is no single label is coded as what it consists of: neoplasm, which its name makes precise.
_REGION_LABEL = {Region.ET: Label.ET, Region.RC: Label.RC}


def structures_of(
    labels: sitk.Image, measures: Measures, regions: Collection[Region], by: By, series_uid: str
) -> list[Structure]:
    """The structures that have voxels; when there are none, the whole tumour as an empty one.

    Args:
        labels: internal label map with the axes of the source series.
        measures: of it.
        regions: those that the segmentation tells apart.
        series_uid: of the source, so that identities do not change from export to export.
    """
    found = {By.REGIONS: _regions, By.PARTS: _parts, By.LESIONS: _lesions}[by](labels, measures, regions, series_uid)
    return [one for one in found if one.mask.any()] or [_region(labels, Region.WT, series_uid)]


def _regions(labels: sitk.Image, measures: Measures, regions: Collection[Region], series_uid: str) -> list[Structure]:
    return [_region(labels, region, series_uid) for region in region_styles() if region in regions]


def _region(labels: sitk.Image, region: Region, series_uid: str) -> Structure:
    style = region_styles()[region]
    coded = segment_styles()[_REGION_LABEL[region]] if region in _REGION_LABEL else undivided_style()
    mask = region_mask(sitk.GetArrayViewFromImage(labels), region)
    return _structure(style.name, coded.category, coded.type, mask, style.colour, labels, series_uid)


def _parts(labels: sitk.Image, measures: Measures, regions: Collection[Region], series_uid: str) -> list[Structure]:
    array = sitk.GetArrayViewFromImage(labels)
    styles = segment_styles().values() if parts_are_told(regions) else [undivided_style(), segment_styles()[Label.RC]]
    return [
        _structure(one.name, one.category, one.type, array == one.label, one.colour, labels, series_uid)
        for one in styles
    ]


def _lesions(labels: sitk.Image, measures: Measures, regions: Collection[Region], series_uid: str) -> list[Structure]:
    region = Region.ET if Region.ET in regions else Region.WT
    numbers, style, coded = lesion_numbers(labels, region), region_styles()[region], undivided_style()
    if region is Region.ET:
        coded = segment_styles()[Label.ET]
    return [
        _structure(
            f"{style.name} {lesion.id}", coded.category, coded.type, numbers == lesion.id, style.colour, labels,
            series_uid, lesion,
        )
        for lesion in measures.lesions_of(region)
    ]  # fmt: skip


def _structure(
    name: str,
    category: Code,
    kind: Code,
    mask: NDArray[np.bool_],
    colour: tuple[int, int, int],
    labels: sitk.Image,
    series_uid: str,
    lesion: Lesion | None = None,
) -> Structure:
    return Structure(
        name=name,
        category=category,
        type=kind,
        tracking_uid=str(generate_uid(entropy_srcs=[series_uid, name])),
        mask=mask,
        colour=colour,
        volume_ml=float(np.count_nonzero(mask) * np.prod(labels.GetSpacing()) / 1000),
        lesion=lesion,
    )
