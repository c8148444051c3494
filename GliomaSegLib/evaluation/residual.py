"""Evaluates the segmentation of residual tumour after surgery, patient-wise and voxel-wise, over the folds of a
cross-validation, with the metrics of Helland 2023 (Sci Rep 13:18897).

A patient is positive if the residual enhancing tumour has at least
:data:`~GliomaSegLib.measures.resection.GROSS_TOTAL_BELOW_ML`; less is a gross total resection. A true positive is
positive in the reference and in the prediction, whatever their overlap. As in the paper, objects of less than 20 mm³
(:data:`~GliomaSegLib.measures.lesion_size.LEAST_LESION_MM3`) are removed from the prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.files import declared_labels, number_text, numbering_doubt, read_pair
from GliomaSegLib.evaluation.pairing import Pair, pairs_of_table
from GliomaSegLib.label_maps import dice, region_mask
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.measures.lesion_size import reaches, without_specks
from GliomaSegLib.measures.resection import GROSS_TOTAL_BELOW_ML
from GliomaSegLib.record import Record
from GliomaSegLib.results.reading import read_any_segmentation

_ALL = "all"
_TITLES = {
    "dice_positive": "Dice P", "dice_true_positive": "Dice TP", "recall": "recall", "precision": "precision",
    "f1": "F1", "sensitivity": "sensitivity", "specificity": "specificity", "balanced_accuracy": "bal. acc.",
}  # fmt: skip
METRICS = tuple(_TITLES)
"""The metrics of a fold; ``recall`` equals ``sensitivity``, and is what F1 combines with the precision."""


class PatientResult(Record):
    """A patient's residual tumour in the reference and in the prediction."""

    case: str
    fold: str
    reference_ml: float
    predicted_ml: float
    dice: float

    @property
    def is_positive(self) -> bool:
        """Whether there is residual tumour."""
        return reaches(self.reference_ml, GROSS_TOTAL_BELOW_ML)

    @property
    def is_predicted(self) -> bool:
        """Whether residual tumour is predicted."""
        return reaches(self.predicted_ml, GROSS_TOTAL_BELOW_ML)


class FoldResult(Record):
    """The metrics of one fold; ``None`` is a value that is not defined, such as the specificity where all have tumour.

    Attributes:
        dice_positive: mean Dice of the patients with residual tumour, ``dice_positive_sd`` its standard deviation over
            them; ``dice_true_positive`` likewise, of those in whom it is predicted too.
    """

    fold: str
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    dice_positive: float | None
    dice_positive_sd: float | None
    dice_true_positive: float | None
    dice_true_positive_sd: float | None
    recall: float | None
    precision: float | None
    f1: float | None
    sensitivity: float | None
    specificity: float | None
    balanced_accuracy: float | None


class OverFolds(Record):
    """Mean and standard deviation (``None`` for one fold) of a metric over the folds in which it is defined."""

    metric: str
    folds: int
    mean: float | None
    sd: float | None


class ResidualEvaluation(Record):
    """The metrics of every fold, over the folds, and of all patients together."""

    gross_total_below_ml: float = GROSS_TOTAL_BELOW_ML
    folds: tuple[FoldResult, ...]
    over_folds: tuple[OverFolds, ...]
    together: FoldResult
    patients: tuple[PatientResult, ...]

    def to_text(self) -> str:
        """A table for a terminal."""
        lines = [
            f"Residual tumour of at least {self.gross_total_below_ml} mL against gross total resection, "
            f"{len(self.patients)} patients",
            f"{'':<10}{'TP':>5}{'FP':>5}{'TN':>5}{'FN':>5}" + "".join(f"{_TITLES[one]:>14}" for one in METRICS),
        ]
        for one in (*self.folds, self.together) if len(self.folds) > 1 else (self.together,):
            counts = (one.true_positives, one.false_positives, one.true_negatives, one.false_negatives)
            values = [number_text(getattr(one, metric), 3) for metric in METRICS]
            for place in (0, 1):
                values[place] += _plus_minus(getattr(one, f"{METRICS[place]}_sd"))
            lines.append(
                f"{one.fold:<10}" + "".join(f"{n:>5}" for n in counts) + "".join(f"{text:>14}" for text in values)
            )
        if len(self.folds) > 1:
            spread = "".join(f"{number_text(one.mean, 3) + _plus_minus(one.sd):>14}" for one in self.over_folds)
            lines.append(f"{'mean ± SD':<10}{'':>20}{spread}")
        lines.append("Beside Dice of a fold its SD over the patients, in the last line over the folds.")
        return "\n".join(lines)


def evaluate_table(table: Path, prediction_scheme: LabelScheme, reference_scheme: LabelScheme) -> ResidualEvaluation:
    """Evaluate the cases of a table.

    Args:
        table: CSV with the columns ``case``, ``prediction`` and ``reference`` (label maps, ``.seg.nrrd`` or result
            folders, relative to the table) and perhaps ``fold``.
        prediction_scheme, reference_scheme: numbering of plain label maps.

    Raises:
        InputError: the table or one of its files cannot be read, a case is there twice, two files do not lie on one
            grid, or the numbering of the predictions or references is doubtful.
    """
    pairs = pairs_of_table(table).pairs
    names = [pair.case for pair in pairs]
    if twice := next((pair for pair in pairs if names.count(pair.case) > 1), None):
        raise InputError(f"{table} has the case '{twice.case}' twice; a patient counts once: take out one of the rows.")
    # A file with a cavity and without enhancing tumour is expected here; a table without any label 3 is doubtful.
    given, drawn = (
        LabelScheme.BRATS2024 if scheme is LabelScheme.GLIOMASEG else scheme
        for scheme in (prediction_scheme, reference_scheme)
    )
    patients = [_compared(pair, given, drawn) for pair in pairs]
    if not any(one.reference_ml for one in patients):
        _check_numbering("references", reference_scheme, [pair.reference for pair in pairs])
    if not any(one.predicted_ml for one in patients):
        _check_numbering("predictions", prediction_scheme, [pair.prediction for pair in pairs])
    return summarised(patients)


def _check_numbering(which: str, scheme: LabelScheme, paths: Sequence[Path]) -> None:
    """Refuse files without any enhancing tumour whose labels suggest another numbering."""
    held = [declared_labels(path, read_any_segmentation(path, scheme).labels) for path in paths]
    if doubt := numbering_doubt(which, scheme, held):
        raise InputError(doubt)


def summarised(patients: Sequence[PatientResult]) -> ResidualEvaluation:
    """The metrics over patients.

    Raises:
        InputError: there are none.
    """
    if not patients:
        raise InputError("There is no patient to evaluate; give the table a row per case.")
    names = sorted({one.fold for one in patients})
    folds = tuple(_fold(name, [one for one in patients if one.fold == name]) for name in names)
    return ResidualEvaluation(
        folds=folds,
        over_folds=tuple(_over_folds(metric, folds) for metric in METRICS),
        together=_fold(_ALL, patients),
        patients=tuple(patients),
    )


def _fold(name: str, patients: Sequence[PatientResult]) -> FoldResult:
    tp, fp, tn, fn = (
        sum(one.is_positive is positive and one.is_predicted is predicted for one in patients)
        for positive, predicted in ((True, True), (False, True), (False, False), (True, False))
    )
    positives = [one.dice for one in patients if one.is_positive]
    found = [one.dice for one in patients if one.is_positive and one.is_predicted]
    sensitivity, specificity = _share(tp, tp + fn), _share(tn, tn + fp)
    balanced = None if sensitivity is None or specificity is None else (sensitivity + specificity) / 2
    return FoldResult(
        fold=name,
        true_positives=tp,
        false_positives=fp,
        true_negatives=tn,
        false_negatives=fn,
        dice_positive=_defined(fmean, positives, 1),
        dice_positive_sd=_defined(stdev, positives, 2),
        dice_true_positive=_defined(fmean, found, 1),
        dice_true_positive_sd=_defined(stdev, found, 2),
        recall=sensitivity,
        precision=_share(tp, tp + fp),
        f1=_share(2 * tp, 2 * tp + fp + fn),
        sensitivity=sensitivity,
        specificity=specificity,
        balanced_accuracy=balanced,
    )


def _over_folds(metric: str, folds: Iterable[FoldResult]) -> OverFolds:
    values = [value for fold in folds if (value := getattr(fold, metric)) is not None]
    return OverFolds(metric=metric, folds=len(values), mean=_defined(fmean, values, 1), sd=_defined(stdev, values, 2))


def _compared(pair: Pair, prediction_scheme: LabelScheme, reference_scheme: LabelScheme) -> PatientResult:
    labels, reference, regions = read_pair(pair, prediction_scheme, reference_scheme)
    if Region.ET not in regions:
        raise InputError(
            f"{pair.where}: {pair.prediction} or {pair.reference} does not delineate enhancing tumour, which residual "
            "tumour is judged by."
        )
    predicted, drawn = (region_mask(sitk.GetArrayViewFromImage(image), Region.ET) for image in (labels, reference))
    predicted = without_specks(predicted, reference.GetSpacing())
    voxel_ml = float(np.prod(reference.GetSpacing())) / 1000
    return PatientResult(
        case=pair.case,
        fold=pair.fold or _ALL,
        reference_ml=float(drawn.sum()) * voxel_ml,
        predicted_ml=float(predicted.sum()) * voxel_ml,
        dice=dice(predicted, drawn),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _defined(function: Callable[[Sequence[float]], float], values: Sequence[float], least: int) -> float | None:
    return function(values) if len(values) >= least else None


def _plus_minus(value: float | None) -> str:
    return "" if value is None else f"±{value:.3f}"
