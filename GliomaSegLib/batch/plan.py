"""Plans a batch: the state, modalities and model of each case, and the time. Nothing is run or written."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from GliomaSegLib.batch.cases import BatchCase
from GliomaSegLib.batch.dispatch import settled
from GliomaSegLib.batch.table import CaseList
from GliomaSegLib.case import Modality, StudyIdentity, check_one_study
from GliomaSegLib.errors import Cancelled, InputError, WeightsError
from GliomaSegLib.job import Job
from GliomaSegLib.options import AUTO
from GliomaSegLib.progress import Progress
from GliomaSegLib.study.selection import identify
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.expectation import cost_of_missing
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.recommend import choose_model
from GliomaSegLib.zoo.store import Store

_READERS = 4  # threads that read headers, which is mostly waiting on a network drive
_NAMED = 20  # refused cases listed in the text; the page lists all


class CaseStatus(str, Enum):
    """What a batch would do with a case."""

    DONE = "done"
    TO_DO = "to do"
    REFUSED = "refused"


@dataclass(frozen=True)
class PlannedCase:
    """A case and its plan.

    Attributes:
        model: as given, or as chosen automatically for the modalities.
        present: the modalities that the model uses and the study has; empty if they were not looked for.
        cost: a sentence on the loss of accuracy by missing modalities.
        seconds: processing time, if it is done.
    """

    case: BatchCase
    status: CaseStatus
    model: str = ""
    present: tuple[Modality, ...] = ()
    cost: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    """What a batch would do; ``workers``: the number of simultaneous cases."""

    source: Path
    planned: tuple[PlannedCase, ...]
    unused: tuple[str, ...] = ()
    workers: int = 1

    def of(self, status: CaseStatus) -> list[PlannedCase]:
        """The cases of a status."""
        return [one for one in self.planned if one.status is status]

    @property
    def seconds_per_case(self) -> float | None:
        """Mean time of the cases that are done; ``None`` if there is none."""
        took = [one.seconds for one in self.planned if one.seconds]
        return mean(took) if took else None

    def to_json(self) -> str:
        """The plan as JSON, with an object per case."""
        cases = [
            {
                "case": one.case.name, "patient": one.case.patient, "where": one.case.where,
                "model": one.model, "output": str(one.case.output), "standing": one.status.value,
                "present": [sequence.value for sequence in one.present], "cost": one.cost,
                "refused": one.case.refused,
            }
            for one in self.planned
        ]  # fmt: skip
        return json.dumps(
            {"cases": cases, "seconds_per_case": self.seconds_per_case, "workers": self.workers}, indent=2
        )

    def to_text(self) -> str:
        """The plan as text: counts, cases grouped by model and modalities, refused cases, time."""
        counts = {status: len(self.of(status)) for status in CaseStatus}
        by_status = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
        lines = [f"{self.source}: {_cases(len(self.planned))}: {by_status}"]
        if self.unused:
            lines.append(f"Columns that are not used: {', '.join(self.unused)}.")
        lines += _groups(self.of(CaseStatus.TO_DO))
        refused = self.of(CaseStatus.REFUSED)
        if refused:
            lines.append("Refused:")
            lines += [f"  {one.case.name}: {one.case.refused}" for one in refused[:_NAMED]]
        if len(refused) > _NAMED:
            lines.append(f"  and {len(refused) - _NAMED} more")
        lines.append(self._how_long(counts[CaseStatus.TO_DO]))
        return "\n".join(lines)

    def _how_long(self, to_do: int) -> str:
        if not to_do:
            return "Nothing is left to do."
        at_once = f"{self.workers} at once" if self.workers > 1 else "one after the other"
        if self.seconds_per_case is None:
            return f"Time, {at_once}: not known before the first case is done; a small '--shard' tells."
        rounds = math.ceil(to_do / self.workers)
        return (
            f"Time, {at_once}: about {duration(rounds * self.seconds_per_case)} ({self.seconds_per_case:.0f} s a case, "
            "as those that are done here)."
        )


def duration(seconds: float) -> str:
    """A human-readable time span, e.g. ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _cases(count: int) -> str:
    return f"{count:,} {'case' if count == 1 else 'cases'}"


def _groups(to_do: Iterable[PlannedCase]) -> list[str]:
    to_do = list(to_do)
    groups = Counter((one.model, one.present) for one in to_do)
    costs = {(one.model, one.present): one.cost for one in to_do}
    lines = []
    for (model, present), count in groups.most_common():
        lines.append(f"{model}: {_cases(count)} with {', '.join(sequence.title for sequence in present)}")
        if costs[model, present]:
            lines.append(f"  {costs[model, present]}")
    return lines


def make_plan(cases: CaseList, workers: int, overwrite: bool, progress: Progress) -> Plan:
    """Plan every case, reading only names and headers of its volumes.

    Args:
        overwrite: whether results of other jobs may be replaced.

    Raises:
        InputError: all cases are refused; with the reason of the first.
    """
    progress.stage("plan")
    card_of = cache(_installed)
    planned = []
    with ThreadPoolExecutor(_READERS) as readers:
        looked = readers.map(lambda case: _look(case, card_of, overwrite), cases.cases)
        for number, one in enumerate(looked, start=1):
            planned.append(one)
            progress.advance(number / len(cases.cases), f"{number} of {len(cases.cases)}")
    if planned and all(one.status is CaseStatus.REFUSED for one in planned):  # an empty shard is no error
        others = f" (so or alike for all {len(planned)} cases)" if len(planned) > 1 else ""
        raise InputError(f"{planned[0].case.refused}{others}")
    return Plan(cases.source, tuple(planned), cases.unused, workers)


def _installed(model: str, store: Path) -> Card | str:
    """The model's card, or the sentence why it cannot be used."""
    try:
        card, models = find_card(model, store), Store(store)
        if not models.is_installed(card):
            models.weights(card)
        return card
    except (InputError, WeightsError) as error:
        return str(error)


CardOf = Callable[[str, Path], Card | str]


def _look(case: BatchCase, card_of: CardOf, overwrite: bool) -> PlannedCase:
    last = settled(case, overwrite)
    if last is not None:
        if last.result is None:
            return PlannedCase(case.but_refused(last.text), CaseStatus.REFUSED)
        return PlannedCase(case, CaseStatus.DONE, seconds=_seconds(last.result))
    try:
        return _planned(case, Job(**case.job), card_of)
    except (InputError, WeightsError) as error:
        return PlannedCase(case.but_refused(str(error)), CaseStatus.REFUSED)
    except Cancelled:
        raise
    except Exception as error:  # pydicom and ITK raise any exception for a malformed file
        sentence = f"{case.where}: its images cannot be read ({type(error).__name__}: {error}); check them."
        return PlannedCase(case.but_refused(sentence), CaseStatus.REFUSED)


def _planned(case: BatchCase, job: Job, card_of: CardOf) -> PlannedCase:
    """Choose the model and find its modalities in the study.

    Raises:
        InputError: the case cannot be run.
    """
    store = job.store or default_store()
    model = job.model
    if model == AUTO:
        when, earlier = job.when.kind, bool(job.preoperative)
        seen = _present(job, Modality)
        model = choose_model(Store(store), seen, job.task, when, earlier, job.purpose).card.id
    card = card_of(model, store)
    if isinstance(card, str):
        raise InputError(card)
    present = _present(job, card.inputs.sequences)
    card.regions_given(present, bool(job.preoperative))
    cost = cost_of_missing(card, present, bool(job.preoperative))
    return PlannedCase(case, CaseStatus.TO_DO, card.id, present, cost)


def _seconds(result: Mapping[str, Any]) -> float | None:
    try:
        return sum(result["seconds"].values())
    except (TypeError, AttributeError):  # edited by hand: still done
        return None


def _present(job: Job, sequences: Iterable[Modality]) -> tuple[Modality, ...]:
    wanted = [sequence for sequence in sequences if sequence not in job.leave_out]
    if not wanted:
        raise InputError("Every sequence that the model takes is left out; leave it at least one.")
    found = identify(job.study, job.volumes, wanted, job.exam)
    series = [one.candidate.series for one in found.values() if one.candidate.series is not None]
    check_one_study(StudyIdentity(one.patient_id, study_date=one.study_date) for one in series)
    return tuple(sequence for sequence in Modality if sequence in found)
