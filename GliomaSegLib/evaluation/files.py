"""Segmentations compared with reference labels: pairs of files in, a table out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.metrics import RegionScore, Summary, evaluate, summarise
from GliomaSegLib.io.grid import oriented_like
from GliomaSegLib.io.spreadsheet import write_rows
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.results.reading import read_any_segmentation

_COLUMNS = ("case", "truth", "region", *RegionScore.columns())


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference labels, and the scores of the regions that both of them distinguish."""

    prediction: Path
    reference: Path
    scores: Mapping[Region, RegionScore]


@dataclass(frozen=True)
class Comparison:
    """Every pair in the order given, and the summary over them."""

    pairs: Sequence[Pair]
    summary: Sequence[Summary]

    def to_rows(self) -> list[dict[str, object]]:
        """One flat row per pair and region."""
        return [
            {"case": str(pair.prediction), "truth": str(pair.reference), "region": region.value, **score.to_row()}
            for pair in self.pairs
            for region, score in pair.scores.items()
        ]

    def to_json(self) -> str:
        """Rows and summary as JSON; undefined values are null."""
        summary = [row.model_dump(mode="json") for row in self.summary]
        return json.dumps({"cases": self.to_rows(), "summary": summary}, indent=2)

    def write_csv(self, path: Path) -> None:
        """One line per pair and region.

        Raises:
            InputError: the file cannot be written.
        """
        try:
            with path.open("w", newline="", encoding="utf-8") as stream:
                write_rows(stream, _COLUMNS, self.to_rows())
        except OSError as error:
            raise InputError(f"The table {path} cannot be written ({error.strerror}); name another file.") from error

    def to_text(self) -> str:
        """A table for a terminal."""
        lines = [f"{'region':<8} {'Dice':>6} {'HD95 mm':>8} {'sens.':>6}"]
        for pair in self.pairs:
            lines.append(f"{pair.prediction} against {pair.reference}")
            for region, score in pair.scores.items():
                values = (_number(score.dice, 3), _number(score.hd95_mm, 1), _number(score.sensitivity, 3))
                lines.append(f"  {region.value:<6} {values[0]:>6} {values[1]:>8} {values[2]:>6}")
        for row in self.summary:
            figures = [_number(value, 3) for value in (row.mean, row.median, row.lower_quartile, row.upper_quartile)]
            undefined = f", {row.undefined} undefined" if row.undefined else ""
            lines.append(
                f"{row.region.value} {row.metric}: mean {figures[0]}, median {figures[1]}, quartiles {figures[2]} to "
                f"{figures[3]} ({row.cases} cases{undefined})"
            )
        return "\n".join(lines)


def compare_files(files: Sequence[Path], prediction_scheme: str, reference_scheme: str) -> Comparison:
    """Compare pairs of files.

    A region is compared where both files distinguish it: not ET where a numbering has none, or where the model of a
    result was not given the sequences that it needs for ET. The cavity (RC) counts only where one of them has one.

    Args:
        files: prediction, reference, prediction, reference, … Each may be a label map, a ``.seg.nrrd`` or a result
            folder.
        prediction_scheme: numbering of the predictions that are plain label maps.
        reference_scheme: numbering of the references that are; ``whole-tumour`` compares WT alone.

    Raises:
        InputError: an odd number of files, one that cannot be read, or two that lie on different grids.
    """
    if len(files) % 2:
        raise InputError(f"{len(files)} files were given; give pairs: a prediction, its reference, and so on.")
    schemes = LabelScheme(prediction_scheme), LabelScheme(reference_scheme)
    pairs = [_compare(*pair, *schemes) for pair in zip(files[::2], files[1::2], strict=True)]
    return Comparison(pairs, summarise(pair.scores for pair in pairs))


def _compare(prediction: Path, reference: Path, prediction_scheme: LabelScheme, reference_scheme: LabelScheme) -> Pair:
    true = read_any_segmentation(reference, reference_scheme)
    predicted = read_any_segmentation(prediction, prediction_scheme, true.labels)
    labels = oriented_like(predicted.labels, true.labels)
    shared = predicted.regions & true.regions
    if not _has_cavity(labels) and not _has_cavity(true.labels):
        shared -= {Region.RC}
    try:
        scores = evaluate(labels, true.labels, [region for region in Region if region in shared])
    except InputError as error:
        raise InputError(f"{prediction} cannot be compared with {reference}: {error}") from error
    return Pair(prediction, reference, scores)


def _has_cavity(labels: sitk.Image) -> bool:
    return bool(region_mask(sitk.GetArrayViewFromImage(labels), Region.RC).any())


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
