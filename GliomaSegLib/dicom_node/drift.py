"""Drift: whether the finished cases of a week differ from those of the weeks before.

Lotan 2021 saw series descriptions drift until studies were routed wrongly. So each week is compared with the weeks
before it: proportions by Fisher's exact test, numbers by the Mann-Whitney U test. As some twenty figures are tested
every week, a difference is marked below p = 0.001: a reason to look, no proof.

A network that does well on the data of a challenge may do badly on a clinic's (Kurmukov 2021). So the distance of the
images to the training data is among the figures, for models whose card holds the reference for that distance.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from statistics import median
from typing import Any

from scipy.stats import fisher_exact, mannwhitneyu

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node.header import StudyHeader
from GliomaSegLib.dicom_node.queue import FinishedCase
from GliomaSegLib.inference.training_distance import share_of_limit

SURE = 0.9
"""A modality identified with less than this confidence counts as guessed."""

WEEKS_BEFORE = 8
_FEWEST = 5  # cases on either side; below, no test is made
_CONSPICUOUS = 0.001


def record_of(manifest: Mapping[str, Any], measures: Mapping[str, Any], header: StudyHeader) -> dict[str, Any]:
    """The figures of a finished case that are stored, without data about the patient.

    Args:
        manifest, measures: JSON files of the folder of results.
        header: of the study; removes the patient's data from descriptions.
    """
    sequences = {
        name: {
            "description": header.shown(str(one.get("name") or "")).split(" (series")[0],
            "confidence": one.get("confidence"),
            "moved_mm": one.get("moved_mm"),
            "mutual_information": one.get("mutual_information"),
        }
        for name, one in manifest["sequences"].items()
    }
    return {
        "model": manifest["model"]["id"],
        "sequences": sequences,
        "volumes_ml": {row["name"]: row["volume_ml"] for row in measures["volumes"]},
        "warnings": len(manifest.get("warnings", ())),
        "training_distance": share_of_limit(manifest),
        "scanner": " ".join(
            header.shown(value)
            for keyword in ("Manufacturer", "ManufacturerModelName", "StationName")
            for value in header.values.get(keyword, ())[:1]
        ),
    }


@dataclass(frozen=True)
class WeeklyFigure:
    """A figure of one week.

    Attributes:
        name: as shown in the table.
        value: a proportion (0 to 1), or a median.
        is_share: whether ``value`` is a proportion.
        p: p value of the difference from the weeks before; ``None`` with too few cases.
    """

    name: str
    value: float
    is_share: bool
    p: float | None

    @property
    def conspicuous(self) -> bool:
        """Whether the difference from the weeks before is significant."""
        return self.p is not None and self.p < _CONSPICUOUS


@dataclass(frozen=True)
class Week:
    """The cases that were finished in a week.

    Attributes:
        name: by ISO 8601, such as ``2024-W05``.
        new: series descriptions and scanners that were never seen before.
    """

    name: str
    cases: int
    figures: tuple[WeeklyFigure, ...]
    new: tuple[str, ...]


def weeks_of(cases: Iterable[FinishedCase], most: int | None = None) -> list[Week]:
    """The weeks, the latest first; at most ``most`` of them."""
    by_week: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        by_week[_week(case.finished)].append(case.record)
    weeks: list[Week] = []
    known: set[str] = set()
    names = sorted(by_week)
    for place, name in enumerate(names):
        records = by_week[name]
        before = [one for earlier in names[max(0, place - WEEKS_BEFORE) : place] for one in by_week[earlier]]
        seen = {text for record in records for text in _descriptions(record)}
        new = tuple(sorted(seen - known)) if known else ()  # in the first week everything is new
        known |= seen
        if most is None or place >= len(names) - most:
            weeks.append(Week(name, len(records), _figures(records, before), new))
    return weeks[::-1]


def to_csv(weeks: Iterable[Week]) -> str:
    """The weeks as CSV, a row per week and figure."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("week", "cases", "figure", "value", "p", "conspicuous"))
    for week in weeks:
        for one in week.figures:
            p = "" if one.p is None else f"{one.p:.3g}"
            table.writerow((week.name, week.cases, one.name, f"{one.value:.4g}", p, int(one.conspicuous)))
        for text in week.new:
            table.writerow((week.name, week.cases, f"new: {text}", "", "", ""))
    return stream.getvalue()


def _week(seconds: float) -> str:
    year, week, _ = datetime.fromtimestamp(seconds, timezone.utc).isocalendar()
    return f"{year}-W{week:02}"


def _descriptions(record: Mapping[str, Any]) -> Iterable[str]:
    for name, one in record["sequences"].items():
        if one["description"]:
            yield f"{Modality(name).title} called '{one['description']}'"
    if record["scanner"]:
        yield f"scanner {record['scanner']}"


Record = Mapping[str, Any]


def _figures(now: Sequence[Record], before: Sequence[Record]) -> tuple[WeeklyFigure, ...]:
    shares = [
        _share(f"model {model}", now, before, _of_model(model))
        for model in sorted({one["model"] for one in (*now, *before)})
    ]
    for sequence in Modality:
        name = sequence.value
        shares.append(_share(f"{sequence.title} missing", now, before, _misses(name)))
        shares.append(_share(f"{sequence.title} guessed", now, before, partial(_guessed, sequence=name)))
    shares.append(_share("with warnings", now, before, lambda one: one["warnings"] > 0))
    figures = [one for one in shares if one is not None]
    figures += _numbers("largest shift, mm", now, before, lambda one: _extreme(one, "moved_mm", max))
    figures += _numbers("distance to training data", now, before, lambda one: one.get("training_distance"))
    figures += _numbers("least mutual information", now, before, lambda one: _extreme(one, "mutual_information", min))
    for region in sorted({region for one in now for region in one["volumes_ml"]}):
        figures += _numbers(f"{region}, mL", now, before, partial(_volume_ml, region=region))
    return tuple(figures)


def _of_model(model: str) -> Callable[[Record], bool]:
    return lambda record: record["model"] == model


def _misses(sequence: str) -> Callable[[Record], bool]:
    return lambda record: sequence not in record["sequences"]


def _volume_ml(record: Record, region: str) -> float | None:
    return record["volumes_ml"].get(region)


def _guessed(record: Record, sequence: str) -> bool:
    confidence = record["sequences"].get(sequence, {}).get("confidence")
    return confidence is not None and confidence < SURE


def _extreme(record: Record, what: str, of: Callable[[Iterable[float]], float]) -> float | None:
    values = [one[what] for one in record["sequences"].values() if one[what] is not None]
    return of(values) if values else None


def _share(
    name: str, now: Sequence[Record], before: Sequence[Record], has: Callable[[Record], bool]
) -> WeeklyFigure | None:
    """The proportion of cases with a property; ``None`` when no case of either period has it."""
    here, there = sum(map(has, now)), sum(map(has, before))
    if not here and not there:
        return None
    p = None
    if min(len(now), len(before)) >= _FEWEST:
        p = float(fisher_exact([[here, len(now) - here], [there, len(before) - there]]).pvalue)
    return WeeklyFigure(name, here / len(now), True, p)


def _numbers(
    name: str, now: Sequence[Record], before: Sequence[Record], of: Callable[[Record], float | None]
) -> list[WeeklyFigure]:
    here, there = ([value for one in some if (value := of(one)) is not None] for some in (now, before))
    if not here:
        return []
    enough = min(len(here), len(there)) >= _FEWEST
    p = float(mannwhitneyu(here, there).pvalue) if enough else None
    return [WeeklyFigure(name, median(here), False, p)]
