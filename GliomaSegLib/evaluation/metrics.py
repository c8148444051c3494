"""Agreement of a segmentation with reference labels: Dice, HD95, sensitivity and precision per region, as in BraTS."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import AliasChoices, Field
from scipy import ndimage

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.statistics import spread
from GliomaSegLib.io.grid import same_grid
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.record import Record


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
    prediction: sitk.Image, reference: sitk.Image, regions: Collection[Region] = (Region.WT, Region.TC, Region.ET)
) -> dict[Region, RegionScore]:
    """Compare two internal label maps on the same grid, region by region.

    Raises:
        InputError: the grids differ.
    """
    if not same_grid(prediction, reference):
        raise InputError(
            f"The prediction ({_grid(prediction)}) and the reference ({_grid(reference)}) have different grids; "
            "resample one to the other first."
        )
    predicted, drawn = sitk.GetArrayViewFromImage(prediction), sitk.GetArrayViewFromImage(reference)
    spacing = reference.GetSpacing()[::-1]
    return {region: score(region_mask(predicted, region), region_mask(drawn, region), spacing) for region in regions}


def score(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> RegionScore:
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


def hd95_mm(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float | None:
    """The 95 % Hausdorff distance of two masks ``[z, y, x]``, mm: 0 if both are empty, ``None`` if one is.

    As in BraTS the greater of the two directed ones, each the 95th percentile of the distances from the surface
    voxels (those with a face neighbour outside) of one mask to the nearest surface voxel of the other.
    """
    if not first.any() or not second.any():
        return None if first.any() or second.any() else 0.0
    box = ndimage.find_objects((first | second).astype(np.uint8))[0]
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (first[box], second[box])]
    distances = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    return max(
        float(np.percentile(distances[1][surfaces[0]], 95)),
        float(np.percentile(distances[0][surfaces[1]], 95)),
    )


def summarise(cases: Iterable[Mapping[Region, RegionScore]]) -> list[Summary]:
    """Mean, median and quartiles per region and metric over the cases that were given."""
    cases = list(cases)
    regions = [region for region in Region if any(region in case for case in cases)]
    return [
        _summary(region, metric, [getattr(case[region], metric) for case in cases if region in case])
        for region in regions
        for metric in ("dice", "hd95_mm", "sensitivity", "precision")
    ]


def _summary(region: Region, metric: str, values: list[float | None]) -> Summary:
    defined = [value for value in values if value is not None]
    over_defined = spread(defined).model_dump(exclude={"cases"})
    return Summary(
        region=region, metric=metric, cases=len(values), undefined=len(values) - len(defined), **over_defined
    )


def _grid(image: sitk.Image) -> str:
    size = " x ".join(map(str, image.GetSize()))
    spacing = " x ".join(f"{mm:.3g}" for mm in image.GetSpacing())
    return f"{size} voxels of {spacing} mm"
