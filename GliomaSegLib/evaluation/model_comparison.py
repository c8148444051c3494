"""Compares models by existing predictions: paired tests with effect sizes, and an HTML page with box plots."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.errors import InputError, listed
from GliomaSegLib.evaluation.charts import Box, box_plot
from GliomaSegLib.evaluation.files import COLUMNS, Comparison, compare_files
from GliomaSegLib.evaluation.metrics import How
from GliomaSegLib.evaluation.page import SIGNIFICANT, render
from GliomaSegLib.evaluation.pairing import Pairing, pairs_by_name
from GliomaSegLib.evaluation.statistics import Difference, bonferroni, least_possible_p, paired, rank_biserial
from GliomaSegLib.io.folder import MANIFEST, PROGRAM, written_whole
from GliomaSegLib.io.spreadsheet import write_csv
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.progress import Progress
from GliomaSegLib.record import Record

PAGE = "models.html"
TITLES = {
    "dice": "Dice", "hd95_mm": "HD95, mm", "nsd": "NSD", "lesion_dice": "lesion-wise Dice",
    "lesion_hd95_mm": "lesion-wise HD95, mm",
}  # fmt: skip
_DRAWN = ("dice", "nsd", "lesion_dice")  # metrics from 0 to 1


class ModelTest(Record):
    """The tested difference between a model and the first one in one metric of one region, over the cases of both.

    Attributes:
        effect: the matched-pairs rank-biserial correlation, -1 to 1; positive: the values of ``model`` are greater.
        least_p: the smallest p that so many cases can give, before the adjustment.
    """

    model: str
    against: str
    region: Region
    metric: str
    difference: Difference
    effect: float
    least_p: float


@dataclass(frozen=True)
class ModelComparison:
    """The scores of every model on the cases that all of them have, and the tests against the first."""

    models: Mapping[str, Comparison]
    tests: Sequence[ModelTest]
    doubts: Sequence[str]

    @property
    def least_p(self) -> float:
        """The smallest adjusted p that the most cases of a test can give."""
        most = max((test.difference.cases for test in self.tests), default=0)
        return min(1.0, least_possible_p(most) * max(1, len(self.tests)))

    def to_text(self) -> str:
        """The tests as lines for a terminal."""
        lines = [*self.doubts]
        for test in self.tests:
            one, interval = test.difference, "too few cases for an interval"
            if one.lower is not None:
                interval = f"95 % CI {one.lower:+.3f} to {one.upper:+.3f}"
            what = f"{test.region.value} {TITLES[test.metric]}: {test.model} minus {test.against}"
            tested = f"p {one.p:.3g}, adjusted {one.p_adjusted:.3g} ({one.cases} cases)"
            lines.append(f"{what} {one.median:+.3f} ({interval}), effect {test.effect:+.2f}, {tested}")
        return "\n".join([*lines, self.power_text()])

    def power_text(self) -> str:
        """Which p-values the number of cases allows."""
        if self.least_p < SIGNIFICANT:
            return f"The smallest adjusted p that these cases can give is {self.least_p:.2g}."
        return (
            f"With so few cases no adjusted p below {self.least_p:.2g} is possible, so that nothing here can be "
            "significant; look at the effect sizes and intervals."
        )

    def to_rows(self) -> list[dict[str, object]]:
        """One flat row per test."""
        return [
            {"model": one.model, "against": one.against, "region": one.region.value, "metric": one.metric,
             **one.difference.model_dump(), "effect": one.effect, "least_p": one.least_p}
            for one in self.tests
        ]  # fmt: skip


def compare_models(
    folders: Sequence[Path],
    references: Path,
    prediction_scheme: LabelScheme,
    reference_scheme: LabelScheme,
    how: How | None = None,
    progress: Progress | None = None,
) -> ModelComparison:
    """Compare the predictions in two folders or more on the cases that all of them and the references have.

    Raises:
        InputError: fewer than two folders, two of one name, no case in common, or as :func:`.files.compare_files`.
    """
    names = [folder.name or str(folder) for folder in folders]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError("Give two folders of predictions or more, of different names, which the models are called by.")
    pairings = [pairs_by_name(folder, references) for folder in folders]
    common = set.intersection(*({pair.case for pair in one.pairs} for one in pairings))
    if not common:
        raise InputError(
            f"The folders {listed(names)} have no case in common that is in {references}; check the names."
        )
    left_out = sorted({pair.case for one in pairings for pair in one.pairs} - common)
    doubts = [f"{len(left_out)} cases that not every model has are left out: {listed(left_out)}."] if left_out else []
    scored = {
        name: compare_files(
            Pairing([pair for pair in one.pairs if pair.case in common]),
            prediction_scheme,
            reference_scheme,
            how,
            progress,
        )
        for name, one in zip(names, pairings, strict=True)
    }
    doubts += dict.fromkeys(doubt for one in scored.values() for doubt in one.doubts)
    return ModelComparison(scored, _tests(scored), doubts)


def _tests(scored: Mapping[str, Comparison]) -> list[ModelTest]:
    first, *others = scored
    tests = []
    for model, region, metric in itertools.product(others, Region, TITLES):
        pairs = [
            (one, other)
            for one, other in zip(
                values(scored[first], region, metric), values(scored[model], region, metric), strict=True
            )
            if one is not None and other is not None
        ]
        if pairs:
            before, after = zip(*pairs, strict=True)
            tests.append(
                ModelTest(
                    model=model, against=first, region=region, metric=metric, difference=paired(before, after),
                    effect=rank_biserial(before, after), least_p=least_possible_p(len(pairs)),
                )
            )  # fmt: skip
    adjusted = bonferroni([one.difference for one in tests])
    return [one.model_copy(update={"difference": new}) for one, new in zip(tests, adjusted, strict=True)]


def values(comparison: Comparison, region: Region, metric: str) -> list[float | None]:
    """A metric of one region in every case, in their order; ``None`` where it is not defined."""
    return [getattr(pair.scores[region], metric) if region in pair.scores else None for pair in comparison.pairs]


def write_comparison(output: Path, compared: ModelComparison, overwrite: bool = False) -> Path:
    """Write the page, the scores of every case and the tests (CSV) into a folder, whole or not at all; the page.

    Raises:
        InputError: the folder cannot be written, or exists and may not be replaced.
    """
    first = next(iter(compared.models.values()))
    regions = [region for region in Region if any(region in pair.scores for pair in first.pairs)]
    with written_whole(output, overwrite) as folder:
        page = render(
            "models.html.j2", compared=compared, how=first.how_text(), cases=len(first.pairs), titles=TITLES,
            figures={TITLES[metric]: _figure(compared, regions, metric) for metric in _DRAWN},
        )  # fmt: skip
        (folder / PAGE).write_text(page, encoding="utf-8")
        rows = [{"model": name, **row} for name, one in compared.models.items() for row in one.to_rows()]
        write_csv(folder / "cases.csv", rows, ("model", *COLUMNS))
        write_csv(folder / "tests.csv", compared.to_rows())
        (folder / MANIFEST).write_text(json.dumps({"program": PROGRAM, "kind": "models"}), encoding="utf-8")
    return output / PAGE


def _figure(compared: ModelComparison, regions: Sequence[Region], metric: str) -> str:
    groups = [
        [
            Box(number, [value for value in values(one, region, metric) if value is not None])
            for number, one in enumerate(compared.models.values())
        ]
        for region in regions
    ]
    dots = {region.value: [other is region for other in regions] for region in regions}
    return box_plot(groups, dots, list(compared.models), TITLES[metric])
