"""Compares files of segmentations with files of reference labels, and tabulates the scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.metrics import FullScore, How, Summary, check_one_grid, evaluate_fully, summarise
from GliomaSegLib.evaluation.pairing import Pair, Pairing
from GliomaSegLib.io.grid import oriented_like
from GliomaSegLib.io.spreadsheet import write_csv
from GliomaSegLib.label_maps import region_mask, values_held
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.results.reading import is_slicer_segmentation, read_any_segmentation

COLUMNS = ("case", "truth", "region", *FullScore.columns())
_TITLES = {
    "dice": "Dice", "hd95_mm": "HD95 mm", "nsd": "NSD", "sensitivity": "sens.", "precision": "prec.",
    "volume_error_ml": "vol. err. mL", "lesion_dice": "lesion Dice", "lesion_hd95_mm": "lesion HD95 mm",
}  # fmt: skip


@dataclass(frozen=True)
class ScoredPair:
    """A prediction and its reference labels, and the scores of the regions that both of them distinguish.

    ``predicted`` and ``drawn``: the labels that occur, where the user states the numbering of the file.
    """

    case: str
    prediction: Path
    reference: Path
    scores: Mapping[Region, FullScore]
    predicted: frozenset[Label]
    drawn: frozenset[Label]


@dataclass(frozen=True)
class Comparison:
    """Every pair in the given order, the summary over them, and sentences on what is left out or doubtful."""

    pairs: Sequence[ScoredPair]
    summary: Sequence[Summary]
    how: How
    doubts: Sequence[str] = ()

    def to_rows(self) -> list[dict[str, object]]:
        """One flat row per pair and region."""
        return [
            {"case": pair.case, "truth": str(pair.reference), "region": region.value, **score.to_row()}
            for pair in self.pairs
            for region, score in pair.scores.items()
        ]

    def to_json(self) -> str:
        """Rows and summary as JSON; undefined values are null."""
        summary = [row.model_dump(mode="json") for row in self.summary]
        how = self.how.model_dump(mode="json")
        return json.dumps({"cases": self.to_rows(), "summary": summary, "how": how, "doubts": self.doubts}, indent=2)

    def write_csv(self, path: Path) -> None:
        """One line per pair and region; as :func:`GliomaSegLib.io.spreadsheet.write_csv`."""
        write_csv(path, self.to_rows(), COLUMNS)

    def to_text(self) -> str:
        """A table for a terminal."""
        lines = [f"{'region':<8}" + "".join(f"{title:>15}" for title in _TITLES.values())]
        for pair in self.pairs:
            lines.append(f"{pair.case} against {pair.reference}")
            for region, score in pair.scores.items():
                values = (number_text(getattr(score, name), 1 if name.endswith("mm") else 3) for name in _TITLES)
                lines.append(f"  {region.value:<6}" + "".join(f"{value:>15}" for value in values))
        lines += [_summary_line(row) for row in self.summary]
        return "\n".join([*lines, self.how_text(), *self.doubts])

    def how_text(self) -> str:
        """How the metrics are computed."""
        missed = "not defined and left out"
        if self.how.missed_hd95_mm is not None:
            missed = f"counted as {self.how.missed_hd95_mm:g} mm"
        return (
            f"HD95 of a region that only one of both has is {missed}; NSD within {self.how.tolerance_mm:g} mm; volume "
            f"error is prediction minus reference; lesions by the rules of BraTS 2023 {self.how.challenge.name}, a "
            "missed or false one has Dice 0 and HD95 374 mm."
        )


def _summary_line(row: Summary) -> str:
    name = f"{row.region.value} {row.metric}"
    undefined = f", {row.undefined} undefined" if row.undefined else ""
    if row.cases - row.undefined < 2:  # quartiles of one case say nothing
        return f"{name}: {number_text(row.mean, 3)} ({row.cases} case{'s' * (row.cases != 1)}{undefined})"
    return (
        f"{name}: mean {number_text(row.mean, 3)}, median {number_text(row.median, 3)}, quartiles "
        f"{number_text(row.lower_quartile, 3)} to {number_text(row.upper_quartile, 3)} ({row.cases} cases{undefined})"
    )


def number_text(value: float | None, digits: int) -> str:
    """A figure for a table; ``-`` where it is not defined."""
    return "-" if value is None else f"{value:.{digits}f}"


def compare_files(
    pairing: Pairing,
    prediction_scheme: LabelScheme,
    reference_scheme: LabelScheme,
    how: How | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare pairs of files, several at once where there are many.

    A region is compared where both files distinguish it: not ET where a numbering has none, or where the model of a
    result was not given the sequences that it needs for ET. The cavity (RC) counts only where one of them has one.

    Args:
        prediction_scheme: numbering of the predictions that are plain label maps.
        reference_scheme: numbering of the references that are; ``whole-tumour`` compares WT alone.

    Raises:
        InputError: a file cannot be read, or a pair lies on different grids.
    """
    how, progress = how or How(), progress or Silent()
    score = partial(_scored, prediction_scheme=prediction_scheme, reference_scheme=reference_scheme, how=how)
    progress.stage("evaluation")
    pairs = []
    with ThreadPoolExecutor() as pool:  # the searches for near points, and most of NumPy and SciPy, run side by side
        for done, pair in enumerate(pool.map(score, pairing.pairs), 1):
            progress.advance(done / len(pairing.pairs), pair.case)
            pairs.append(pair)
    suspicions = [
        numbering_doubt("predictions", prediction_scheme, [pair.predicted for pair in pairs]),
        numbering_doubt("references", reference_scheme, [pair.drawn for pair in pairs]),
    ]
    doubts = [*pairing.unmatched, *filter(None, suspicions)]
    return Comparison(pairs, summarise(pair.scores for pair in pairs), how, doubts)


def _scored(pair: Pair, prediction_scheme: LabelScheme, reference_scheme: LabelScheme, how: How) -> ScoredPair:
    labels, reference, regions = read_pair(pair, prediction_scheme, reference_scheme)
    if not _has_cavity(labels) and not _has_cavity(reference):
        regions -= {Region.RC}
    scores = evaluate_fully(labels, reference, [region for region in Region if region in regions], how)
    declared = declared_labels(pair.prediction, labels), declared_labels(pair.reference, reference)
    return ScoredPair(pair.case, pair.prediction, pair.reference, scores, *declared)


def read_pair(
    pair: Pair, prediction_scheme: LabelScheme, reference_scheme: LabelScheme
) -> tuple[sitk.Image, sitk.Image, frozenset[Region]]:
    """The internal label maps of prediction and reference on one grid, and the regions that both distinguish.

    Raises:
        InputError: one cannot be read, or their grids differ.
    """
    reference = read_any_segmentation(pair.reference, reference_scheme)
    prediction = read_any_segmentation(pair.prediction, prediction_scheme, reference.labels)
    labels = oriented_like(prediction.labels, reference.labels)
    try:
        check_one_grid(labels, reference.labels)
    except InputError as error:
        raise InputError(f"{pair.prediction} cannot be compared with {pair.reference}: {error}") from error
    return labels, reference.labels, prediction.regions & reference.regions


def _has_cavity(labels: sitk.Image) -> bool:
    return bool(region_mask(sitk.GetArrayViewFromImage(labels), Region.RC).any())


def declared_labels(path: Path, labels: sitk.Image) -> frozenset[Label]:
    """The labels that occur in a file whose numbering the user states; none for one that stores its own."""
    if path.is_dir() or is_slicer_segmentation(path):
        return frozenset()
    return frozenset(map(Label, values_held(sitk.GetArrayViewFromImage(labels))))


def numbering_doubt(which: str, scheme: LabelScheme, held: Iterable[frozenset[Label]]) -> str:
    """A sentence when the labels of all files together suggest another numbering than the one that was given."""
    if len(scheme.regions) > 1 and frozenset[Label]().union(*held) == {Label.NETC}:
        return (
            f"The {which} are read as '{scheme.value}', but they hold 1 alone: check whether they are 'whole-tumour' "
            "or 'enhancing'."
        )
    return ""
