"""Performs a request: the common entry point of the command line and the worker.

Panel, batch, cluster and DICOM node send their requests to a worker process, which calls :func:`perform`; the command
line calls it in its own process. So the same request has the same result everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from GliomaSegLib.job import Compare, Export, Install, Job, Measure, Request, Review
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.results.job_result import JobResult

if TYPE_CHECKING:  # each request imports what it needs, so that an invalid one is refused without loading torch
    from GliomaSegLib.followup.comparison import TimePointComparison


@dataclass(frozen=True)
class Compared:
    """The answer to :class:`~GliomaSegLib.job.Compare`: the path of the page, and the findings."""

    page: Path
    comparison: TimePointComparison


@dataclass(frozen=True)
class Exported:
    """The answer to :class:`~GliomaSegLib.job.Export`: by kind of object the file or folder, or a sentence why it could
    not be made."""

    files: dict[str, Path]
    failures: dict[str, str]


@dataclass(frozen=True)
class Installed:
    """The answer to :class:`~GliomaSegLib.job.Install`: the model and the folder of its weights; for an ensemble the
    store, and a sentence on each member: where it was installed, or why it was not."""

    model: str
    folder: Path
    members: tuple[str, ...] = ()


Answer = JobResult | Compared | Exported | Installed


@overload
def perform(request: Job | Measure | Review, progress: Progress | None = None) -> JobResult: ...
@overload
def perform(request: Compare, progress: Progress | None = None) -> Compared: ...
@overload
def perform(request: Export, progress: Progress | None = None) -> Exported: ...
@overload
def perform(request: Install, progress: Progress | None = None) -> Installed: ...


def perform(request: Request, progress: Progress | None = None) -> Answer:
    """Perform a request and return its result.

    Args:
        progress: receives stages, fractions and warnings.

    Raises:
        InputError: an input of the request cannot be used; nothing was written.
        WeightsError: the weights of a model are missing or damaged.
        Cancelled: ``progress`` or a signal stopped it; nothing was written.
    """
    progress = progress or Silent()
    if isinstance(request, Job):
        from GliomaSegLib.pipeline.run import run

        return run(request, progress)
    if isinstance(request, Measure):
        from GliomaSegLib.results.update import refresh

        return refresh(request.output, progress)
    if isinstance(request, Review):
        from GliomaSegLib.results.update import review

        return review(request.output, request.state, request.by, progress)
    if isinstance(request, Compare):
        return _compare(request, progress)
    if isinstance(request, Export):
        return _export(request, progress)
    return _install(request, progress)


def _compare(request: Compare, progress: Progress) -> Compared:
    from GliomaSegLib.followup.compare import compare
    from GliomaSegLib.followup.conditions import Radiotherapy, Treatment
    from GliomaSegLib.followup.page import write_comparison
    from GliomaSegLib.io.folder import check_output
    from GliomaSegLib.results.time_point import read_time_point

    check_output(request.output, request.overwrite)
    treatment = Treatment(
        baseline=request.baseline,
        radiotherapy=None if request.radiotherapy_end is None else Radiotherapy.parse(request.radiotherapy_end),
        tumour=request.tumour,
        surgery=request.surgery,
    )
    progress.stage("reading")
    studies = [read_time_point(one.path, one.image, one.scheme, one.when, one.date) for one in request.studies]
    aligned = compare(studies, treatment, request.in_place, request.deformable, progress)
    page = write_comparison(request.output, aligned, request.overwrite)
    return Compared(page, aligned.comparison)


def _export(request: Export, progress: Progress) -> Exported:
    from GliomaSegLib.dicom_export.export import export

    progress.stage("dicom")
    made = export(request.results, request.output, request.kinds, request.series, request.by, request.comparison)
    for sentence in (*made.failures.values(), *made.warnings):
        progress.warn(sentence)
    return Exported(
        {kind.value: path for kind, path in made.files.items()},
        {kind.value: sentence for kind, sentence in made.failures.items()},
    )


def _install(request: Install, progress: Progress) -> Installed:
    from GliomaSegLib.zoo.catalogue import find_card
    from GliomaSegLib.zoo.places import default_store
    from GliomaSegLib.zoo.store import Store

    store = Store(request.store or default_store())
    card = find_card(request.model, store.root)
    stay = store.members_that_stay(card, request.source)
    folder = store.install(card, request.source, progress)
    members = {one: stay.get(one, f"is installed in {store.root / one}") for one in card.weights.members}
    return Installed(card.id, folder, tuple(f"{member} {what}." for member, what in members.items()))
