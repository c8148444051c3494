"""Segments studies on disk one after the other in the session's worker; loads nothing into the scene."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GliomaSegLib.batch.cases import case_of_study, one_of_each
from GliomaSegLib.batch.dispatch import STARTED, dispatch
from GliomaSegLib.batch.local import LocalWorkers
from GliomaSegLib.errors import Cancelled
from GliomaSegLib.scene.run import Steps
from GliomaSegLib.scene.session import Session
from GliomaSegLib.worker.client import Event


@dataclass(frozen=True)
class BatchItem:
    """One study of a batch: its :class:`~GliomaSegLib.results.job_result.JobResult` as JSON, or why there is none."""

    study: str
    result: Mapping[str, Any] | None
    error: str | None = None


def batch_steps(session: Session, studies: list[Path], output: Path, model: str, options: Mapping[str, Any]) -> Steps:
    """Steps that segment each study into its own folder in ``output``; they return a list of :class:`BatchItem`."""
    cases = one_of_each([case_of_study(study, output, {**options, "model": model}) for study in studies])
    answers: dict[int, BatchItem] = {}
    yield from session.wait_until_idle()
    events = dispatch(cases, LocalWorkers([session.worker]))
    try:
        for one in events:
            if one is None:
                yield None
                continue
            name, number = one.case.name, cases.index(one.case)
            if one.event == Event("stage", STARTED):
                yield Event("stage", f"{name} ({number + 1} of {len(cases)})")
            elif one.kind == "error":
                yield Event("warning", f"{name}: {one.text}")
                answers[number] = BatchItem(name, None, one.text)
            elif one.kind == "result":
                answers[number] = BatchItem(name, one.result)
            else:
                yield one.event
    except Cancelled as stop:
        with suppress(Cancelled, StopIteration):
            events.throw(stop)
            while True:  # until the worker has cleaned up
                yield None
                next(events)
        raise
    return [answers.get(number) or BatchItem(case.name, None, case.refused) for number, case in enumerate(cases)]
