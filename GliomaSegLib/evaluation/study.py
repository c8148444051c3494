"""Many cases compared with their truth: pairs of files in, a table out."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.metrics import RegionScore, Summary, evaluate, summarise
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.results import SLICER_SEGMENTATION
from GliomaSegLib.io.segnrrd import read_segmentation
from GliomaSegLib.labels import LabelScheme, Region, to_internal
from GliomaSegLib.preprocessing.grid import array_on, reorient

_REGIONS = {LabelScheme.WHOLE_TUMOUR: (Region.WT,)}
_ALL_REGIONS = (Region.WT, Region.TC, Region.ET)


@dataclass(frozen=True)
class Comparison:
    """The scores of every pair, by the path of its prediction, and their summary."""

    cases: Mapping[str, Mapping[Region, RegionScore]]
    summary: Sequence[Summary]

    def to_rows(self) -> list[dict[str, object]]:
        """One flat row per case and region."""
        return [
            {"case": case, "region": region.value, **score.model_dump()}
            for case, scores in self.cases.items()
            for region, score in scores.items()
        ]

    def to_json(self) -> str:
        """Rows and summary as JSON; undefined values are null."""
        summary = [row.model_dump(mode="json") for row in self.summary]
        return json.dumps({"cases": self.to_rows(), "summary": summary}, indent=2)

    def write_csv(self, path: Path) -> None:
        """One line per case and region.

        Raises:
            InputError: the file cannot be written.
        """
        rows = self.to_rows()
        try:
            with path.open("w", newline="", encoding="utf-8") as stream:
                table = csv.DictWriter(stream, fieldnames=list(rows[0]))
                table.writeheader()
                table.writerows(rows)
        except OSError as error:
            raise InputError(f"The table {path} cannot be written ({error.strerror}); name another file.") from error

    def to_text(self) -> str:
        """A table for a terminal."""
        lines = [f"{'case':<40} {'region':<6} {'Dice':>6} {'HD95 mm':>8} {'sens.':>6}"]
        for case, scores in self.cases.items():
            for region, score in scores.items():
                values = (_number(score.dice, 3), _number(score.hd95_mm, 1), _number(score.sensitivity, 3))
                lines.append(f"{case[-40:]:<40} {region.value:<6} {values[0]:>6} {values[1]:>8} {values[2]:>6}")
        for row in self.summary:
            values = [_number(value, 3) for value in (row.mean, row.median, row.lower_quartile, row.upper_quartile)]
            undefined = f", {row.undefined} undefined" if row.undefined else ""
            lines.append(
                f"{row.region.value} {row.metric}: mean {values[0]}, median {values[1]}, quartiles {values[2]} to "
                f"{values[3]} ({row.cases} cases{undefined})"
            )
        return "\n".join(lines)


def compare_files(files: Sequence[Path], prediction_scheme: str, truth_scheme: str) -> Comparison:
    """Compare pairs of files.

    Args:
        files: prediction, truth, prediction, truth, … A prediction may also be a folder of results or a ``.seg.nrrd``.
        prediction_scheme: numbering of the predictions that are plain label maps.
        truth_scheme: numbering of the truths; ``whole-tumour`` compares WT alone.

    Raises:
        InputError: an odd number of files, one that cannot be read, or two that lie on different grids.
    """
    if len(files) % 2:
        raise InputError(f"{len(files)} files were given; give pairs: a prediction, its truth, and so on.")
    regions = _REGIONS.get(LabelScheme(truth_scheme), _ALL_REGIONS)
    cases = {}
    for prediction, truth in zip(files[::2], files[1::2], strict=True):
        true = _read(truth, LabelScheme(truth_scheme))
        predicted = reorient(_read(prediction, LabelScheme(prediction_scheme)), true)
        try:
            cases[str(prediction)] = evaluate(predicted, true, regions)
        except InputError as error:
            raise InputError(f"{prediction} cannot be compared with {truth}: {error}") from error
    return Comparison(cases, summarise(cases.values()))


def _read(path: Path, scheme: LabelScheme) -> sitk.Image:
    """An internal label map."""
    if path.is_dir():
        path = path / SLICER_SEGMENTATION
    if path.name.endswith(".seg.nrrd"):
        return read_segmentation(path)
    labels = read_labels(path)
    return array_on(to_internal(sitk.GetArrayFromImage(labels), scheme, str(path)), labels)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
