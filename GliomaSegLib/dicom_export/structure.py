"""What is exported: the structures of a result, each with its name, codes, colour and mask."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from GliomaSegLib.dicom_export.numbering import Numbering
from GliomaSegLib.io.terminology import Code, region_styles, segment_styles, undivided_style
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region, distinguishes_parts
from GliomaSegLib.measures.volumes import Lesion, Measures, lesion_numbers
from GliomaSegLib.options import ExportBy


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes:
        name: for people, the same in all objects; also the tracking identifier.
        tracking_uid: the same whenever this structure of this series is exported, and for a lesion with a number of a
            comparison in all of the patient's studies.
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
    labels: sitk.Image,
    measures: Measures,
    regions: Collection[Region],
    by: ExportBy,
    series_uid: str,
    numbering: Numbering | None = None,
) -> list[Structure]:
    """The structures that have voxels; when there are none, the whole tumour as an empty one.

    Args:
        labels: internal label map with the axes of the source series.
        measures: of it.
        regions: those that the segmentation tells apart.
        series_uid: of the source, so that identities do not change from export to export.
        numbering: what lesions are called over several studies; without it, by their size in this one.
    """
    if by is ExportBy.REGIONS:
        found = [_region(labels, region, series_uid) for region in region_styles() if region in regions]
    elif by is ExportBy.PARTS:
        found = _parts(labels, regions, series_uid)
    else:
        found = _lesions(labels, measures, regions, series_uid, numbering)
    return [one for one in found if one.mask.any()] or [_region(labels, Region.WT, series_uid)]


def _region(labels: sitk.Image, region: Region, series_uid: str) -> Structure:
    style = region_styles()[region]
    coded = segment_styles()[_REGION_LABEL[region]] if region in _REGION_LABEL else undivided_style()
    mask = region_mask(sitk.GetArrayViewFromImage(labels), region)
    return _structure(style.name, coded.category, coded.type, mask, style.colour, labels, series_uid)


def _parts(labels: sitk.Image, regions: Collection[Region], series_uid: str) -> list[Structure]:
    array = sitk.GetArrayViewFromImage(labels)
    undivided = [undivided_style(), segment_styles()[Label.RC]]
    styles = segment_styles().values() if distinguishes_parts(regions) else undivided
    return [
        _structure(one.name, one.category, one.type, array == one.label, one.colour, labels, series_uid)
        for one in styles
    ]


def _lesions(
    labels: sitk.Image,
    measures: Measures,
    regions: Collection[Region],
    series_uid: str,
    numbering: Numbering | None,
) -> list[Structure]:
    region = numbering.region if numbering else Region.ET if Region.ET in regions else Region.WT
    components, name = lesion_numbers(labels, region), region_styles()[region].name
    coded = segment_styles()[_REGION_LABEL[region]] if region in _REGION_LABEL else undivided_style()
    structures = []
    for lesion in _in_order(measures.lesions_of(region), numbering):
        number = numbering.numbers.get(lesion.id) if numbering else lesion.id
        structures.append(
            _structure(
                f"{name} {number}" if number else f"{name}, too small to be followed ({lesion.id})",
                coded.category,
                coded.type,
                components == lesion.id,
                region_styles()[region].colour,
                labels,
                series_uid,
                lesion,
                numbering.tracking_uid(number) if numbering and number else None,
            )
        )
    return structures


def _in_order(lesions: Iterable[Lesion], numbering: Numbering | None) -> list[Lesion]:
    """By their lasting numbers, those without one last."""
    if numbering is None:
        return list(lesions)
    return sorted(lesions, key=lambda lesion: (numbering.numbers.get(lesion.id, math.inf), lesion.id))


def _structure(
    name: str,
    category: Code,
    kind: Code,
    mask: NDArray[np.bool_],
    colour: tuple[int, int, int],
    labels: sitk.Image,
    series_uid: str,
    lesion: Lesion | None = None,
    tracking_uid: str | None = None,
) -> Structure:
    return Structure(
        name=name,
        category=category,
        type=kind,
        tracking_uid=tracking_uid or str(generate_uid(entropy_srcs=[series_uid, name])),
        mask=mask,
        colour=colour,
        volume_ml=float(np.count_nonzero(mask) * np.prod(labels.GetSpacing()) / 1000),
        lesion=lesion,
    )
