"""One line per case of a cohort: how it stands, what was measured, and whether it differs from the others."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from statistics import median
from typing import Any

from GliomaSegLib.batch.cases import MEASURES, CohortCase, is_done, manifest_of
from GliomaSegLib.batch.failure_log import Failure
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.training_distance import share_of_limit
from GliomaSegLib.io.folder import MANIFEST

VOLUMES = ("WT", "TC", "ET", "NETC", "SNFH", "RC")
"""What a table shows of the volumes, in mL."""

BRAIN = "brain"

# Iglewicz and Hoaglin 1993: a modified z-score above this is an outlier. Fewer cases than this have no usual value.
_OUTLIER = 3.5
_LEAST_CASES = 10
_NORMAL_QUARTILE = 0.6745  # the median absolute deviation of the standard normal distribution


class State(str, Enum):
    """How a case stands."""

    DONE = "done"
    FAILED = "failed"
    WAITING = "waiting"


@dataclass(frozen=True)
class Line:
    """One case.

    Attributes:
        volumes: mL by name, what the model does not give is not there; and of the brain.
        lesions: connected pieces of the whole tumour.
        training_distance: of the images to those that the model was trained on, as a share of the limit above which the
            reader is warned.
        cost: what the sequences that are missing cost, which many cases have in common, so it is no warning here.
        remarks: a clause for each thing in which it differs from the cohort.
        strangeness: the largest modified z-score among them, for the order.
        sentence: why it failed.
    """

    case: CohortCase
    state: State
    model: str = ""
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    volumes: Mapping[str, float] = field(default_factory=dict)
    lesions: int | None = None
    cost: str = ""
    warnings: tuple[str, ...] = ()
    training_distance: float | None = None
    seconds: float | None = None
    review: str = ""
    remarks: tuple[str, ...] = ()
    strangeness: float = 0.0
    sentence: str = ""


class Summary:
    """The lines of all cases, read anew only where a folder of results has changed since."""

    def __init__(self, cases: Sequence[CohortCase]) -> None:
        self._cases = list(cases)
        self._read: dict[tuple[Path, int], Line] = {}

    def lines(self, failures: Mapping[str, Failure]) -> list[Line]:
        """What needs a look first: failed, then strange, then with warnings, then the rest, then what waits."""
        lines = _with_remarks([self._line(case, failures) for case in self._cases])
        return sorted(lines, key=_order)

    def _line(self, case: CohortCase, failures: Mapping[str, Failure]) -> Line:
        model = str(case.job.get("model") or "")
        if case.refused:
            return Line(case, State.FAILED, model, sentence=case.refused)
        try:
            version = (case.output, (case.output / MANIFEST).stat().st_mtime_ns)
            if version not in self._read and is_done(case):
                self._read[version] = _line_of_results(case)
            if version in self._read:
                return self._read[version]
        except OSError:
            pass  # not there yet
        except (ValueError, LookupError, TypeError) as error:
            sentence = f"The results in {case.output} are damaged ({error}); delete the folder and run the case again."
            return Line(case, State.FAILED, model, sentence=sentence)
        failure = failures.get(case.key)
        if failure is None:
            return Line(case, State.WAITING, model)
        return Line(case, State.FAILED, model, sentence=failure.sentence)


def _order(line: Line) -> tuple[object, ...]:
    first = (
        0 if line.state is State.FAILED
        else 4 if line.state is State.WAITING
        else 1 if line.remarks
        else 2 if line.warnings
        else 3
    )  # fmt: skip
    return first, -line.strangeness, line.case.name


def _line_of_results(case: CohortCase) -> Line:
    manifest = manifest_of(case.output) or {}
    measures = json.loads((case.output / MEASURES).read_bytes())
    volumes = {volume["name"]: float(volume["volume_ml"]) for volume in measures["volumes"]}
    if measures.get("brain_ml"):
        volumes[BRAIN] = float(measures["brain_ml"])
    return Line(
        case,
        State.DONE,
        manifest["model"]["id"],
        tuple(manifest["sequences"]),
        tuple(manifest.get("missing", ())),
        volumes,
        sum(lesion["region"] == "WT" for lesion in measures["lesions"]),
        manifest.get("cost") or "",
        tuple(warning for warning in manifest["warnings"] if warning != manifest.get("cost")),
        share_of_limit(manifest),
        sum(manifest["seconds"].values()),
        manifest["review"],
    )


# --- what differs --------------------------------------------------------------------------------------------------


def _with_remarks(lines: Iterable[Line]) -> list[Line]:
    """Every line with what sets it apart from those of the same model; an empty finding is always told."""
    lines = list(lines)
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in lines:
        for name, ml in line.volumes.items():
            values[line.model, name].append(ml)
    return [_remarked(line, values) for line in lines]


def _remarked(line: Line, values: Mapping[tuple[str, str], Sequence[float]]) -> Line:
    remarks, scores = [], [0.0]
    if line.state is State.DONE and not line.volumes.get("WT"):
        remarks.append("no tumour was marked")
    for name in ("WT", "TC", "ET", "RC", BRAIN):
        score = strangeness(line.volumes.get(name), values.get((line.model, name), ()))
        if abs(score) > _OUTLIER:
            usual = values[line.model, name]
            remarks.append(
                f"{name} {_ml(line.volumes[name])}, where the median of {len(usual)} cases is {_ml(median(usual))}"
            )
            scores.append(abs(score))
    return replace(line, remarks=tuple(remarks), strangeness=max(scores))


def strangeness(volume_ml: float | None, usual_ml: Sequence[float]) -> float:
    """The modified z-score (Iglewicz and Hoaglin 1993) of the diameter of a ball of this volume among those of the
    cohort; 0 without a volume, or where too few cases tell what is usual.

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


# --- the table -----------------------------------------------------------------------------------------------------


def write_summary(lines: Sequence[Line], path: Path) -> None:
    """The table (CSV), a row per case in the order of ``lines``; it is replaced in one step.

    Raises:
        InputError: it cannot be written.
    """

    def write(stream: Any) -> None:
        table = csv.DictWriter(stream, fieldnames=list(_cells(lines[0])))
        table.writeheader()
        table.writerows(map(_cells, lines))

    replace_file(path, write)


def _cells(line: Line) -> dict[str, object]:
    job = line.case.job
    return {
        "case": line.case.name, "patient": line.case.patient, "state": line.state.value, "model": line.model,
        "time_point": job.get("time_point"), "days_since_surgery": job.get("days_since_surgery"),
        "sequences": " ".join(line.present), "missing": " ".join(line.missing),
        **{f"{name}_ml": line.volumes.get(name) for name in VOLUMES}, "brain_ml": line.volumes.get(BRAIN),
        "lesions": line.lesions, "training_distance": line.training_distance and round(line.training_distance, 3),
        "review": line.review, "seconds": line.seconds and round(line.seconds, 1),
        "remarks": "; ".join(line.remarks), "warnings": " ".join(line.warnings), "error": line.sentence,
        "asked_in": line.case.where, "output": str(line.case.output) if line.state is State.DONE else "",
    }  # fmt: skip


def replace_file(path: Path, write: Any) -> None:
    """Write a text file beside ``path`` and put it there in one step: readers and other writers see the old or the new.

    Raises:
        InputError: it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", newline="", encoding="utf-8") as stream:
                write(stream)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); check the disk and your rights.") from error
