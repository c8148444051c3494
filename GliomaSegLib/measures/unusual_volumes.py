"""Volumes that are outliers among the cases of the same model: a reason to look at a case, not an error."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

BRAIN = "brain"

# Iglewicz and Hoaglin 1993: a modified z-score above this is an outlier. Fewer cases than this have no usual value.
_OUTLIER = 3.5
_LEAST_CASES = 10
_NORMAL_QUARTILE = 0.6745  # the median absolute deviation of the standard normal distribution


def unusual(volumes_ml: Mapping[str, float], usual_ml: Mapping[str, Sequence[float]]) -> tuple[tuple[str, ...], float]:
    """A clause for each unusual volume of a finished case, and the largest modified z-score among them, or 0.

    Args:
        volumes_ml: of the case, by the region's name or :data:`BRAIN`.
        usual_ml: of all cases of its model.
    """
    remarks, scores = [], [0.0]
    tumour = [volumes_ml[name] for name in ("WT", "TC", "ET") if name in volumes_ml]
    if not (any(tumour) if tumour else volumes_ml.get("RC")):
        remarks.append(f"no {'tumour' if tumour else 'cavity'} was marked")
    for name in ("WT", "TC", "ET", "RC", BRAIN):
        usual = usual_ml.get(name, ())
        score = abs(deviation(volumes_ml.get(name), usual))
        if score > _OUTLIER:
            remarks.append(
                f"{name} {_ml(volumes_ml[name])}, where the median of {len(usual)} cases is {_ml(median(usual))}"
            )
            scores.append(score)
    return tuple(remarks), max(scores)


def volumes_by_model(cases: Iterable[tuple[str, Mapping[str, float]]]) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """All volumes by model and name; each case is a model and its volumes in mL."""
    usual: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for model, volumes in cases:
        for name, ml in volumes.items():
            usual[model][name].append(ml)
    return usual


def deviation(volume_ml: float | None, usual_ml: Sequence[float]) -> float:
    """The modified z-score (Iglewicz and Hoaglin 1993) of the diameter of a ball of this volume among those of other
    cases.

    0 without a volume, with too few cases, or where over half of the cases have one volume: their deviation is 0.

    Diameters, since volumes are so skewed that every large tumour would be an outlier.
    """
    if volume_ml is None or len(usual_ml) < _LEAST_CASES:
        return 0.0
    diameters = [_cube_root(ml) for ml in usual_ml]
    middle = median(diameters)
    spread = median([abs(diameter - middle) for diameter in diameters])
    return _NORMAL_QUARTILE * (_cube_root(volume_ml) - middle) / spread if spread else 0.0


def _cube_root(value: float) -> float:
    return math.pow(value, 1 / 3)


def _ml(volume_ml: float) -> str:
    return f"{volume_ml:.0f} mL" if volume_ml >= 10 else f"{volume_ml:.2f} mL"
