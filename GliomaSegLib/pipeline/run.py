"""Segments a study from files: reads it, calls :func:`.segment.segment_case`, and writes a folder of results.

All entry points (command line, worker, batch, panel) call :func:`run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from GliomaSegLib.case import Case, Modality, check_one_study
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import check_output, written_whole
from GliomaSegLib.io.grid import empty_like
from GliomaSegLib.io.provenance import state_of
from GliomaSegLib.io.voxels import pixels_sha256
from GliomaSegLib.job import Job
from GliomaSegLib.labels import Region
from GliomaSegLib.options import AUTO
from GliomaSegLib.pipeline.memory import threads_and_memory_of_run
from GliomaSegLib.preprocessing.resampling import moved
from GliomaSegLib.preprocessing.rigid import Registration
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.images import ResultImages
from GliomaSegLib.results.job_result import JobResult
from GliomaSegLib.results.manifest import Manifest, SequenceRecord
from GliomaSegLib.results.writing import result_of, write_results
from GliomaSegLib.study.reading import described_by_dicom, oriented_case, read_case
from GliomaSegLib.study.selection import search_study


def run(job: Job, progress: Progress | None = None) -> JobResult:
    """Segment one case and write its results.

    Args:
        job: the inputs and settings.
        progress: receives stages, fractions and warnings; raises ``Cancelled`` to stop the run.

    Returns:
        the measures and the paths of the files in ``job.output``.

    Raises:
        GliomaSegError: an input cannot be used; ``job.output`` has not changed.
    """
    check_output(job.output, job.overwrite)
    recorder = ProgressRecorder(progress or Silent())
    recorder.stage("reading")
    with threads_and_memory_of_run(job.threads):
        return _run(job, recorder)


def _run(job: Job, recorder: ProgressRecorder) -> JobResult:
    from GliomaSegLib.pipeline.segment import segment_case, set_up  # imports torch, after the first stage is shown

    asked = [modality for modality in Modality if modality not in job.leave_out]
    contents = search_study(job.study, job.volumes, job.exam) if job.model == AUTO else None
    setup = set_up(job, lambda: contents.select(asked).assigned if contents and asked else (), recorder)
    card = setup.card
    wanted = tuple(modality for modality in card.inputs.sequences if modality in asked)
    if not wanted:
        raise InputError(f"Every sequence that the model '{card.id}' takes is left out; leave it at least one.")
    case = read_case(job.study, job.volumes, job.name, job.when, wanted, job.exam, contents, job.allow_incomplete)
    states = {path: state_of(path) for path in {volume.source.path for volume in case.volumes.values()}}
    case = described_by_dicom(case, job.dicom)
    check_one_study(volume.identity for volume in case.volumes.values() if volume.identity)
    kept = tuple(Region) if job.all_probabilities else card.thresholdable if job.probabilities else ()
    as_read = empty_like(case.reference.image)
    case = oriented_case(case)  # of which the images as they were read are not kept
    result, registrations = segment_case(case, setup, job, kept, recorder, as_read)
    images = ResultImages(
        labels=result.labels,
        brain=result.brain,
        originals={one: moved(volume.image, result.transforms.get(one)) for one, volume in case.volumes.items()},
        probabilities=result.stored_probabilities,
        transforms=result.transforms,
        agreement=result.agreement,
    )
    manifest = Manifest(
        case_id=case.identifier,
        identity=case.reference.identity if job.identity else None,
        time_point=case.time_point.kind,
        days_since_surgery=case.time_point.days_since_surgery,
        job=job,
        model=result.model,
        choice=result.choice,
        regions=result.regions,
        sequences=_records(case, states, registrations, job.transforms),
        missing=result.missing,
        cost=result.cost,
        ignored=case.ignored,
        passed_over=case.passed_over,
        incomplete=case.incomplete,
    )
    assessed = result.assessed
    del result, case  # and with them what the networks answered, so that images of 0.5 mm need less than 4 GB
    with written_whole(job.output, job.overwrite) as folder:
        manifest = write_results(folder, images, manifest, assessed, recorder)
    return result_of(job.output, manifest, assessed.measures)


def _records(
    case: Case,
    states: Mapping[Path, str],
    registrations: Mapping[Modality, Registration],
    given: Mapping[Modality, Path],
) -> dict[Modality, SequenceRecord]:
    records = {}
    for modality, volume in case.volumes.items():
        registration = registrations.get(modality)
        records[modality] = SequenceRecord(
            path=volume.source.path.absolute(),
            series_uid=volume.source.series_uid,
            series_part=volume.source.part,
            name=volume.name,
            pixels_sha256=pixels_sha256(volume.image),
            files_state=states[volume.source.path],
            confidence=volume.confidence,
            reason=volume.reason,
            is_reference=volume is case.reference,
            moved_mm=registration.shift_mm if registration else None,
            transform_given=given.get(modality),
            mutual_information=registration.nmi if registration else None,
            mirror_contrast=registration.mirror_contrast if registration else None,
        )
    return records
