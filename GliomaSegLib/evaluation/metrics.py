"""Agreement of a segmentation with reference labels per region: Dice, HD95, NSD, sensitivity, precision, volumes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
import SimpleITK as sitk
from pydantic import AliasChoices, Field

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.lesionwise import lesion_wise
from GliomaSegLib.evaluation.statistics import spread
from GliomaSegLib.evaluation.surface import hd95_mm, surface_distances
from GliomaSegLib.io.grid import same_grid
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.options import Challenge
from GliomaSegLib.postprocessing import Mask, Spacing
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.record import Record

TOLERANCE_MM = 1.0
"""Tolerance of NSD: about a voxel, the precision of human readers."""


METRICS = (
    *("dice", "hd95_mm", "nsd", "sensitivity", "precision", "volume_error_ml"),
    *("lesion_dice", "lesion_hd95_mm"),
)
"""The metrics that are summarised over cases, where they were computed."""


_MARGIN = 4  # voxels around all labels: more than any dilation of lesions reaches


class RegionScore(Record):
    """The agreement in one region. ``None`` is a value that is not defined.

    Attributes:
        dice: 0 to 1; 1 when the region is absent from both.
        hd95_mm: 0 when absent from both, undefined when absent from one.
        sensitivity: share of the reference that was found; undefined where the reference is empty.
        precision: share of the prediction that lies in the reference; undefined where the prediction is empty.
        reference_ml, prediction_ml: volumes; older files call the first ``truth_ml``.
    """

    dice: float
    hd95_mm: float | None
    sensitivity: float | None
    precision: float | None
    reference_ml: float = Field(validation_alias=AliasChoices("reference_ml", "truth_ml"))
    prediction_ml: float

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The columns of a table of scores, in which the volume of the reference is called ``truth_ml``."""
        return tuple("truth_ml" if name == "reference_ml" else name for name in cls.model_fields)

    def to_row(self) -> dict[str, float | None]:
        """The values by :meth:`columns`."""
        return dict(zip(self.columns(), self.model_dump().values(), strict=True))


class FullScore(RegionScore):
    """As :class:`RegionScore`, with the metrics that take longer.

    Attributes:
        volume_error_ml: prediction minus reference.
        nsd: normalised surface Dice within a tolerance; 1 when absent from both, 0 when absent from one.
        lesion_dice, lesion_hd95_mm, lesions_found, lesions_missed, lesions_false: see :mod:`.lesionwise`.
    """

    volume_error_ml: float
    nsd: float
    lesion_dice: float
    lesion_hd95_mm: float
    lesions_found: int
    lesions_missed: int
    lesions_false: int


class How(Record):
    """Options of scoring.

    Attributes:
        challenge: the BraTS challenge by whose rules lesions are counted.
        tolerance_mm: tolerance of NSD.
        missed_hd95_mm: HD95 of a region that is absent from one of both; ``None``: it is not defined and left out.
    """

    challenge: Challenge = Challenge.GLI
    tolerance_mm: float = Field(default=TOLERANCE_MM, gt=0)
    missed_hd95_mm: float | None = Field(default=None, gt=0)


class Summary(Record):
    """One metric of one region over several cases; ``undefined`` of the ``cases`` do not have it."""

    region: Region
    metric: str
    cases: int
    undefined: int
    mean: float | None
    median: float | None
    lower_quartile: float | None
    upper_quartile: float | None


def evaluate(
    prediction: sitk.Image, reference: sitk.Image, regions: Collection[Region] = TUMOUR_REGIONS
) -> dict[Region, RegionScore]:
    """Compare two internal label maps on the same grid, region by region.

    Raises:
        InputError: the grids differ.
    """
    return {region: score(*masks) for region, masks in _masks(prediction, reference, regions)}


def evaluate_fully(
    prediction: sitk.Image, reference: sitk.Image, regions: Collection[Region], how: How
) -> dict[Region, FullScore]:
    """As :func:`evaluate`."""
    return {region: full_score(*masks, how) for region, masks in _masks(prediction, reference, regions)}


def _masks(
    prediction: sitk.Image, reference: sitk.Image, regions: Collection[Region]
) -> Iterator[tuple[Region, tuple[Mask, Mask, Spacing]]]:
    check_one_grid(prediction, reference)
    arrays = [sitk.GetArrayViewFromImage(image) for image in (prediction, reference)]
    x, y, z = reference.GetSpacing()
    occupied = (arrays[0] > 0) | (arrays[1] > 0)
    if occupied.any():
        box = bounding_box(occupied, margin=_MARGIN)
        arrays = [array[box] for array in arrays]
    for region in regions:
        predicted, drawn = (region_mask(array, region) for array in arrays)
        yield region, (predicted, drawn, (z, y, x))


def score(prediction: Mask, reference: Mask, spacing_mm: Spacing) -> RegionScore:
    """Compare two masks ``[z, y, x]``; ``spacing_mm`` in the same order."""
    predicted, drawn = int(prediction.sum()), int(reference.sum())
    common = int((prediction & reference).sum())
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return RegionScore(
        dice=2 * common / (predicted + drawn) if predicted + drawn else 1.0,
        hd95_mm=hd95_mm(prediction, reference, spacing_mm),
        sensitivity=common / drawn if drawn else None,
        precision=common / predicted if predicted else None,
        reference_ml=drawn * voxel_ml,
        prediction_ml=predicted * voxel_ml,
    )


def full_score(prediction: Mask, reference: Mask, spacing_mm: Spacing, how: How) -> FullScore:
    """As :func:`score`."""
    basic = score(prediction, reference, spacing_mm)
    surfaces = surface_distances(prediction, reference, spacing_mm)
    lesions = lesion_wise(prediction, reference, spacing_mm, how.challenge, surfaces)
    hd95 = how.missed_hd95_mm if basic.hd95_mm is None else basic.hd95_mm
    return FullScore(
        **(basic.model_dump() | {"hd95_mm": hd95}),
        volume_error_ml=basic.prediction_ml - basic.reference_ml,
        nsd=surfaces.nsd(how.tolerance_mm) if surfaces else basic.dice,
        lesion_dice=lesions.dice,
        lesion_hd95_mm=lesions.hd95_mm,
        lesions_found=lesions.found,
        lesions_missed=lesions.missed,
        lesions_false=lesions.false,
    )


def summarise(cases: Iterable[Mapping[Region, RegionScore]]) -> list[Summary]:
    """Mean, median and quartiles per region and metric over the cases that were given."""
    cases = list(cases)
    regions = [region for region in Region if any(region in case for case in cases)]
    return [
        _summary(region, metric, [getattr(case[region], metric) for case in cases if region in case])
        for region in regions
        for metric in METRICS
        if all(hasattr(case[region], metric) for case in cases if region in case)
    ]


def _summary(region: Region, metric: str, values: list[float | None]) -> Summary:
    defined = [value for value in values if value is not None]
    over_defined = spread(defined).model_dump(exclude={"cases"})
    return Summary(
        region=region, metric=metric, cases=len(values), undefined=len(values) - len(defined), **over_defined
    )


def check_one_grid(prediction: sitk.Image, reference: sitk.Image) -> None:
    """Check that two images have one grid.

    Raises:
        InputError: they have not.
    """
    if not same_grid(prediction, reference):
        raise InputError(
            f"The prediction ({_grid(prediction)}) and the reference ({_grid(reference)}) have different grids; "
            "resample one to the other first."
        )


def _grid(image: sitk.Image) -> str:
    size = " x ".join(map(str, image.GetSize()))
    spacing = " x ".join(f"{mm:.3g}" for mm in image.GetSpacing())
    return f"{size} voxels of {spacing} mm"
