"""Analyses the runs of an experiment: scores per subset, tests between subsets, models and data sets, and lesions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from GliomaSegLib.case import Modality
from GliomaSegLib.evaluation.froc import LesionCurve, lesion_curve, with_intervals
from GliomaSegLib.evaluation.statistics import Difference, Spread, bonferroni, paired, spread, unpaired
from GliomaSegLib.experiments.definition import Run, Subset
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.record import Record

_BOOTSTRAP_SEED = 1

_Case = tuple[str, str]  # patient, case
_ArmSubset = tuple[str, str, Subset]  # model, data set, sequences


class SubsetRow(Record):
    """One model on one data set, given one subset of the sequences; one region.

    Attributes:
        dice, hd95_mm, sensitivity: over the cases whose reference has the region; HD95 where something was found.
        nothing_found: how many of those have none of the region in their prediction.
        without: cases whose reference has none of it; ``false_ml`` are the volumes (mL) segmented in them.
    """

    model: str
    data: str
    region: Region
    present: Subset
    dice: Spread
    hd95_mm: Spread
    sensitivity: Spread
    nothing_found: int
    without: int
    false_ml: tuple[float, ...]


class HospitalRow(Record):
    """Dice in one hospital of a data set, with the sequences on which the data set is compared."""

    model: str
    data: str
    hospital: str
    region: Region
    present: Subset
    dice: Spread


class DiceComparison(Record):
    """A tested difference in Dice: a model on a data set with a subset, minus the one it is compared ``against``. Of a
    patient with several cases their mean is compared.

    ``kind``: a subset against all sequences, a model against the first, or one model on two data sets (``data``), or
    one training procedure on two data sets, each with its own model (``procedure``). The first two are paired.
    """

    kind: Literal["subset", "model", "data", "procedure"]
    region: Region
    model: str
    data: str
    present: Subset
    against_model: str
    against_data: str
    against_present: Subset
    difference: Difference


class LesionRow(Record):
    """Lesions of one model on one data set, with the sequences on which the data set is compared.

    ``smaller_than_voxels``: only reference lesions below the median size; ``None`` for all.
    """

    model: str
    data: str
    region: Region
    present: Subset
    smaller_than_voxels: int | None
    dice: Spread
    curve: LesionCurve


class Failure(Record):
    """A run without a segmentation."""

    model: str
    data: str
    case: str
    present: Subset
    reason: str


class Analysis(Record):
    """Everything that the page shows."""

    rows: tuple[SubsetRow, ...]
    hospitals: tuple[HospitalRow, ...]
    comparisons: tuple[DiceComparison, ...]
    lesions: tuple[LesionRow, ...]
    failures: tuple[Failure, ...]


def analyse(runs: Sequence[Run], own_data: Mapping[str, str] | None = None) -> Analysis:
    """Analyse all runs.

    Args:
        own_data: for models of one training procedure, the data set that each was trained for (Kurmukov 2021).
    """
    arms = arms_of(runs)
    comparisons = [
        *_subset_comparisons(arms),
        *_model_comparisons(arms),
        *_data_comparisons(arms),
        *_procedure_comparisons(arms, own_data or {}),
    ]
    adjusted = bonferroni([one.difference for one in comparisons])
    return Analysis(
        rows=tuple(_subset_rows(arms)),
        hospitals=tuple(_hospital_rows(arms)),
        comparisons=tuple(
            one.model_copy(update={"difference": difference})
            for one, difference in zip(comparisons, adjusted, strict=True)
        ),
        lesions=tuple(_lesion_rows(arms)),
        failures=tuple(
            Failure(model=run.model, data=run.data, case=run.case, present=run.present, reason=run.failure)
            for run in runs
            if run.failure
        ),
    )


Arm = dict[Subset, list[Run]]
"""The runs of one model on one data set, by subset, largest first."""


def arms_of(runs: Iterable[Run]) -> dict[tuple[str, str], Arm]:
    """The runs by model and data set, in the order of their first runs."""
    arms: dict[tuple[str, str], Arm] = {}
    for run in runs:
        arms.setdefault((run.model, run.data), {}).setdefault(run.present, []).append(run)
    return {key: dict(sorted(arm.items(), key=lambda item: _rank(item[0]))) for key, arm in arms.items()}


def _rank(present: Subset) -> tuple[int, list[int]]:
    """Larger subsets first, then in the order of the sequences."""
    return -len(present), [list(Modality).index(one) for one in present]


def reference_subset(arm: Arm) -> Subset:
    """The subset that others are compared with: the largest that at least half of the cases have, else the commonest.

    Clinical data sets lack whole sequences, so that no case may have all four.
    """
    cases = {run.case for runs in arm.values() for run in runs}
    common = [subset for subset, runs in arm.items() if 2 * len(runs) >= len(cases)]
    return common[0] if common else max(arm, key=lambda subset: len(arm[subset]))


def _dice(runs: Iterable[Run], region: Region) -> dict[_Case, float]:
    """By case, where the reference has the region."""
    scored = (((run.patient, run.case), run.scores.get(region)) for run in runs)
    return {case: score.dice for case, score in scored if score and score.reference_ml}


def _of_patients(dice: Mapping[_Case, float], cases: Iterable[_Case]) -> list[float]:
    """The mean over each patient's cases: cases of one patient are no independent observations, as tests want them."""
    own: dict[str, list[float]] = {}
    for case in cases:
        own.setdefault(case[0], []).append(dice[case])
    return [float(np.mean(values)) for values in own.values()]


def _subset_rows(arms: Mapping[tuple[str, str], Arm]) -> Iterable[SubsetRow]:
    for (model, data), arm in arms.items():
        for region, (present, runs) in itertools.product(TUMOUR_REGIONS, arm.items()):
            scores = [run.scores[region] for run in runs if region in run.scores]
            defined = [score for score in scores if score.reference_ml]
            absent = [score for score in scores if not score.reference_ml]
            if scores:
                yield SubsetRow(
                    model=model,
                    data=data,
                    region=region,
                    present=present,
                    dice=spread([score.dice for score in defined]),
                    hd95_mm=spread([score.hd95_mm for score in defined if score.hd95_mm is not None]),
                    sensitivity=spread([score.sensitivity for score in defined if score.sensitivity is not None]),
                    nothing_found=sum(not score.prediction_ml for score in defined),
                    without=len(absent),
                    false_ml=tuple(score.prediction_ml for score in absent),
                )


def _hospital_rows(arms: Mapping[tuple[str, str], Arm]) -> Iterable[HospitalRow]:
    for (model, data), arm in arms.items():
        present = reference_subset(arm)
        hospitals = sorted({run.hospital for run in arm[present]})
        for region, hospital in itertools.product(TUMOUR_REGIONS, hospitals):
            values = _dice([run for run in arm[present] if run.hospital == hospital], region)
            if values and len(hospitals) > 1:
                yield HospitalRow(
                    model=model,
                    data=data,
                    hospital=hospital,
                    region=region,
                    present=present,
                    dice=spread(list(values.values())),
                )


# --- comparisons ---------------------------------------------------------------------------------------------------


def _subset_comparisons(arms: Mapping[tuple[str, str], Arm]) -> Iterable[DiceComparison]:
    for (model, data), arm in arms.items():
        reference = reference_subset(arm)
        for region, present in itertools.product(TUMOUR_REGIONS, arm):
            if set(present) < set(reference):
                yield from _paired("subset", region, arms, (model, data, present), (model, data, reference))


def _model_comparisons(arms: Mapping[tuple[str, str], Arm]) -> Iterable[DiceComparison]:
    first = next(iter(arms))[0] if arms else ""
    for (model, data), arm in arms.items():
        for region, present in itertools.product(TUMOUR_REGIONS, arm if model != first else ()):
            yield from _paired("model", region, arms, (model, data, present), (first, data, present))


def _paired(
    kind: Literal["subset", "model"],
    region: Region,
    arms: Mapping[tuple[str, str], Arm],
    one: _ArmSubset,
    against: _ArmSubset,
) -> Iterable[DiceComparison]:
    """Empty when no case has both."""
    first, second = (_dice(arms.get(place[:2], {}).get(place[2], []), region) for place in (against, one))
    both = [case for case in first if case in second]
    if both:
        difference = paired(_of_patients(first, both), _of_patients(second, both))
        yield _comparison(kind, region, one, against, difference)


def _data_comparisons(arms: Mapping[tuple[str, str], Arm]) -> Iterable[DiceComparison]:
    for ((model, data), arm), ((other_model, other_data), other) in itertools.combinations(arms.items(), 2):
        if model == other_model:
            yield from _unpaired("data", arms, (model, data, arm), (other_model, other_data, other))


def _procedure_comparisons(
    arms: Mapping[tuple[str, str], Arm], own_data: Mapping[str, str]
) -> Iterable[DiceComparison]:
    own_arms = [(model, data, arms[model, data]) for model, data in own_data.items() if (model, data) in arms]
    for first, second in itertools.combinations(own_arms, 2):
        if first[1] != second[1]:
            yield from _unpaired("procedure", arms, first, second)


def _unpaired(
    kind: Literal["data", "procedure"],
    arms: Mapping[tuple[str, str], Arm],
    first: tuple[str, str, Arm],
    second: tuple[str, str, Arm],
) -> Iterable[DiceComparison]:
    """The second data set against the first, each with the sequences on which it is compared."""
    against, one = ((model, data, reference_subset(arm)) for model, data, arm in (first, second))
    for region in TUMOUR_REGIONS:
        found = [_dice(arms[place[:2]][place[2]], region) for place in (against, one)]
        if all(found):
            yield _comparison(kind, region, one, against, unpaired(*(_of_patients(dice, dice) for dice in found)))


def _comparison(
    kind: Literal["subset", "model", "data", "procedure"],
    region: Region,
    one: _ArmSubset,
    against: _ArmSubset,
    difference: Difference,
) -> DiceComparison:
    return DiceComparison(
        kind=kind,
        region=region,
        model=one[0],
        data=one[1],
        present=one[2],
        against_model=against[0],
        against_data=against[1],
        against_present=against[2],
        difference=difference,
    )


# --- lesions -------------------------------------------------------------------------------------------------------


def _lesion_rows(arms: Mapping[tuple[str, str], Arm]) -> Iterable[LesionRow]:
    for (model, data), arm in arms.items():
        present = reference_subset(arm)
        for region in TUMOUR_REGIONS:
            runs = [run for run in arm[present] if region in run.lesions]
            cases, patients = [run.lesions[region] for run in runs], [run.patient for run in runs]
            lesions = [lesion for case in cases for lesion in case.reference]
            if not lesions:
                continue
            median = math.ceil(np.median([lesion.voxels for lesion in lesions]))  # below 5.5 is below 6
            for limit in (None, median) if len(lesions) > len(cases) else (None,):
                sought = [lesion for lesion in lesions if limit is None or lesion.voxels < limit]
                if sought:  # half of the lesions may be of the smallest size
                    yield LesionRow(
                        model=model,
                        data=data,
                        region=region,
                        present=present,
                        smaller_than_voxels=limit,
                        dice=spread([lesion.dice for lesion in sought]),
                        curve=with_intervals(
                            lesion_curve(cases, limit), cases, patients, np.random.default_rng(_BOOTSTRAP_SEED), limit
                        ),
                    )
