"""How well a segmentation agrees with the truth: Dice, HD95, sensitivity and precision per region, as in BraTS."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import same_grid
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.record import Record


class RegionScore(Record):
    """The agreement in one region. ``None`` is a value that is not defined.

    Attributes:
        dice: 0 to 1; 1 when the region is absent from both.
        hd95_mm: 0 when absent from both, undefined when absent from one.
        sensitivity: share of the truth that was found; undefined without truth.
        precision: share of the prediction that is true; undefined without prediction.
    """

    dice: float
    hd95_mm: float | None
    sensitivity: float | None
    precision: float | None
    truth_ml: float
    prediction_ml: float


class Summary(Record):
    """One metric of one region over several cases: those where it is defined, and the number where it is not."""

    region: Region
    metric: str
    cases: int
    undefined: int
    mean: float | None
    median: float | None
    lower_quartile: float | None
    upper_quartile: float | None


def evaluate(
    prediction: sitk.Image, truth: sitk.Image, regions: Collection[Region] = (Region.WT, Region.TC, Region.ET)
) -> dict[Region, RegionScore]:
    """Compare two internal label maps on the same grid, region by region.

    Raises:
        InputError: the grids differ.
    """
    if not same_grid(prediction, truth):
        raise InputError(
            f"The prediction ({_grid(prediction)}) and the truth ({_grid(truth)}) have different grids; "
            "resample one to the other first."
        )
    predicted, true = sitk.GetArrayViewFromImage(prediction), sitk.GetArrayViewFromImage(truth)
    spacing = truth.GetSpacing()[::-1]
    return {region: score(region_mask(predicted, region), region_mask(true, region), spacing) for region in regions}


def score(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> RegionScore:
    """Compare two masks ``[z, y, x]``; ``spacing_mm`` in the same order."""
    predicted, true = int(prediction.sum()), int(truth.sum())
    common = int((prediction & truth).sum())
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return RegionScore(
        dice=2 * common / (predicted + true) if predicted + true else 1.0,
        hd95_mm=hd95_mm(prediction, truth, spacing_mm),
        sensitivity=common / true if true else None,
        precision=common / predicted if predicted else None,
        truth_ml=true * voxel_ml,
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
    lower, median, upper = np.percentile(defined, (25, 50, 75)).tolist() if defined else (None, None, None)
    return Summary(
        region=region,
        metric=metric,
        cases=len(values),
        undefined=len(values) - len(defined),
        mean=float(np.mean(defined)) if defined else None,
        median=median,
        lower_quartile=lower,
        upper_quartile=upper,
    )


def _grid(image: sitk.Image) -> str:
    size = " x ".join(map(str, image.GetSize()))
    spacing = " x ".join(f"{mm:.3g}" for mm in image.GetSpacing())
    return f"{size} voxels of {spacing} mm"
