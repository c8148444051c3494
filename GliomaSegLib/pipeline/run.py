"""The segmentation pipeline: study, case, registration, brain extraction, networks, measures, result folder.

All entry points (command line, worker, batch, panel) call :func:`run`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Case, Input, Modality
from GliomaSegLib.errors import InputError, listed
from GliomaSegLib.inference.device import choose_device, choose_precision
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.io.folder import check_output, written_whole
from GliomaSegLib.io.images import pixels_sha256
from GliomaSegLib.job import Job
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.assessment import assess_case
from GliomaSegLib.measures.plausibility import outside_brain, without_outside
from GliomaSegLib.measures.volumes import volume_text
from GliomaSegLib.options import AUTO, Task
from GliomaSegLib.pipeline.prediction import (
    Member,
    MemberProgress,
    Segmented,
    arrays_for,
    fused,
    load_model,
    members_of,
    on_reference,
)
from GliomaSegLib.pipeline.preoperative import RegisteredStudy, read_earlier
from GliomaSegLib.preprocessing.prepare import Prepared, prepare
from GliomaSegLib.preprocessing.registration import given_transforms, register_case
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.preprocessing.rigid import Registration
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.images import ResultImages, as_stored, from_stored
from GliomaSegLib.results.layout import BRAIN
from GliomaSegLib.results.manifest import Manifest, ModelUsed, SequenceRecord
from GliomaSegLib.results.result import Result
from GliomaSegLib.results.writing import result_of, write_results
from GliomaSegLib.study.reading import oriented_case, read_case
from GliomaSegLib.study.selection import StudyContents, search_study
from GliomaSegLib.zoo.brain_mask import brain_extractor
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_network import Space
from GliomaSegLib.zoo.card_weights import accepted_sha256
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.purpose import for_purpose, reason
from GliomaSegLib.zoo.recommend import choose_model
from GliomaSegLib.zoo.store import Store

# Below this the reader is warned that the identification of a sequence is doubtful.
DOUBTFUL_CONFIDENCE = 0.7

# From this volume on the reader is told that labels outside the brain were cut.
_TOLD_ML = 1.0


def run(job: Job, progress: Progress | None = None) -> Result:
    """Segment one case and write its results.

    Args:
        job: what to do.
        progress: receives the stages, fractions and warnings; raises ``Cancelled`` to stop the run.

    Returns:
        the measures and the paths of the files in ``job.output``, which was written whole.

    Raises:
        GliomaSegError: something that was given cannot be used; ``job.output`` is as it was before.
    """
    with _limited_to(job.threads):
        return _run(job, ProgressRecorder(progress or Silent()))


@contextmanager
def _limited_to(threads: int | None) -> Iterator[None]:
    """At most so many processor threads inside the block: a worker's next job may ask for another number."""
    if threads is None:
        yield
        return
    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])


def _run(job: Job, recorder: ProgressRecorder) -> Result:
    check_output(job.output, job.overwrite)
    store = Store(job.store or default_store())
    device = choose_device(job.device)
    precision = choose_precision(device) if job.precision == "auto" else getattr(torch, job.precision)

    recorder.stage("reading")
    chosen = _chosen(job, store, recorder) if job.model == AUTO else _Choice(job.model)
    card = for_purpose(find_card(chosen.model, job.store), job.purpose)
    members = members_of(card, store, job)
    case, as_read = _read(job, card, chosen.contents)
    regions = _regions_given(job, card, members, case)
    given = given_transforms(_for_model(job.transforms, card), case)
    earlier = None
    if job.preoperative and any(member.takes_preoperative for member in members):
        earlier = read_earlier(job.preoperative, job.preoperative_mask)
    _warn_about_use(job, card, case, recorder)

    recorder.stage("registration")
    registrations = register_case(case, recorder, given, job.registration)
    registered = earlier.registered_to(case.reference, recorder) if earlier else None

    recorder.stage("brain extraction")
    spaces = dict.fromkeys(member.space for member in members)
    prepared = {space: _prepared(job, case, registrations, space, device, recorder) for space in spaces}

    recorder.stage("segmentation")
    answers, used = [], []
    for number, member in enumerate(members):
        channels = _channels(member, prepared[member.space], registered)
        segmenter = load_model(member.card.id, member.weights, device, precision, job.store)
        prediction = segmenter.predict(channels, MemberProgress(recorder, number, len(members)), job.seed)
        answers.append(on_reference(prediction, job, member, case, prepared[member.space]))
        used.append(_model_used(member, prediction, device, precision))
    segmented = fused(answers, job, card, case, recorder) if card.weights.members else answers[0]

    recorder.stage("measures and report")
    transforms = {modality: found.transform for modality, found in registrations.items() if found.transform}
    reference = case.reference.image
    brain = resample_labels(prepared[members[0].space].brain, reference)
    segmented = _inside_the_brain(segmented, brain, card.task, recorder)
    images = ResultImages(
        labels=segmented.labels,
        brain=brain,
        originals={
            modality: resample_image(volume.image, reference, transforms.get(modality))
            for modality, volume in case.volumes.items()
        },
        # What is measured is what is stored, so that measuring it again gives the same.
        probabilities={region: from_stored(as_stored(probability)) for region, probability in segmented.maps.items()},
        transforms=transforms,
        agreement=segmented.agreement,
    ).with_axes_of(as_read)
    assessed = assess_case(
        images.labels,
        images.brain,
        regions,
        images.probabilities,
        case.time_point,
        tuple(case.volumes),
        task=card.task,
    )
    manifest = Manifest(
        case_id=case.identifier,
        identity=case.reference.identity if job.identity else None,
        time_point=case.time_point.kind,
        days_since_surgery=case.time_point.days_since_surgery,
        job=job,
        model=_ensemble_used(card, used) if card.weights.members else used[0],
        choice=chosen.why,
        regions=regions,
        sequences=_records(case, registrations, job.transforms),
        missing=tuple(modality for modality in card.inputs.sequences if modality not in case.present),
        cost=_cost(job, card, case),
        ignored=case.ignored,
        passed_over=case.passed_over,
        incomplete=case.incomplete,
    )
    with written_whole(job.output, job.overwrite) as folder:
        manifest = write_results(folder, images, manifest, assessed, recorder)
    return result_of(job.output, manifest, assessed.measures)


# --- the model and the case ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Choice:
    """A model's id, and where nobody named it, why it was chosen and the contents of the study, read for that."""

    model: str
    why: str | None = None
    contents: StudyContents | None = None


def _chosen(job: Job, store: Store, progress: Progress) -> _Choice:
    """The best installed model for the sequences of the study.

    Raises:
        InputError: none suits, or the study's sequences cannot be identified.
    """
    wanted = [modality for modality in Modality if modality not in job.leave_out]
    contents = search_study(job.study, job.volumes, job.exam)
    present = tuple(contents.select(wanted).assigned) if wanted else ()
    best = choose_model(store, present, job.task, job.when.kind, bool(job.preoperative), job.purpose)
    progress.advance(1.0, best.card.id)
    return _Choice(best.card.id, best.why, contents)


def _read(job: Job, card: Card, contents: StudyContents | None) -> tuple[Case, sitk.Image]:
    """The case with all voxel axes running LPS, and its reference image as it was read."""
    wanted = tuple(modality for modality in card.inputs.sequences if modality not in job.leave_out)
    if not wanted:
        raise InputError(f"Every sequence that the model '{card.id}' takes is left out; leave it at least one.")
    case = read_case(job.study, job.volumes, job.name, job.when, wanted, job.exam, contents, job.allow_incomplete)
    return oriented_case(case), case.reference.image


def _for_model(transforms: Mapping[Modality, Path], card: Card) -> dict[Modality, Path]:
    """Without the transforms of images that the model does not take, which are not read."""
    return {modality: path for modality, path in transforms.items() if modality in card.inputs.sequences}


def _takes_earlier(job: Job, card: Card) -> bool:
    return bool(job.preoperative and card.inputs.preoperative)


def _regions_given(job: Job, card: Card, members: Sequence[Member], case: Case) -> tuple[Region, ...]:
    """What the model gives for the case; if it cannot, the refusal also names the volumes that were not used.

    An ensemble gives what any of its members gives, and each of these must be able to take the case.
    """
    try:
        own = card.regions_given(case.present, _takes_earlier(job, card))
        given = {region for member in members for region in member.regions_given(case)}
        return tuple(region for region in own if region in given)
    except InputError as error:
        if not case.ignored:
            raise
        raise InputError(f"{str(error).removesuffix('.')}; not used were {listed(case.ignored)}.") from error


def _cost(job: Job, card: Card, case: Case) -> str | None:
    return card.cost_of_missing(case.present, _takes_earlier(job, card))


def _warn_about_use(job: Job, card: Card, case: Case, progress: Progress) -> None:
    for sentence in (_cost(job, card, case), reason(card, case.present, job.purpose)):
        if sentence:
            progress.warn(sentence)
    if job.preoperative and not card.inputs.preoperative:
        progress.warn(
            f"The model '{card.id}' does not look at the study before surgery; 'gliomaseg compare' sets its result "
            "beside this one."
        )
    if case.ignored and set(card.inputs.sequences) - {*case.present, *job.leave_out}:
        progress.warn(
            f"Of the study were not used: {listed(case.ignored)}; if one of them is what is missing, give it with "
            "--t1n, --t1c, --t2w or --t2f."
        )
    for doubt in case.doubts:
        progress.warn(doubt)
    if late := card.wrong_time(case.time_point.kind):
        progress.warn(late)
    for volume in case.volumes.values():
        if volume.confidence < DOUBTFUL_CONFIDENCE:
            progress.warn(
                f"{volume.name or volume.source} was taken for {volume.sequence.title} with some doubt "
                f"({volume.reason}); check it."
            )


# --- what the networks are given -----------------------------------------------------------------------------------


def _prepared(
    job: Job,
    case: Case,
    registrations: Mapping[Modality, Registration],
    space: Space,
    device: torch.device,
    progress: Progress,
) -> Prepared:
    return prepare(
        case,
        registrations,
        brain_extractor(job.brain, device, job.store),
        progress,
        spacing_mm=space.spacing_mm or case.reference.image.GetSpacing(),
        orientation=space.orientation,
        stripped=space.brain == "stripped",
        bias_correction=job.bias_correction,
    )


def _channels(member: Member, prepared: Prepared, earlier: RegisteredStudy | None) -> dict[Input, NDArray[np.float32]]:
    channels: dict[Input, NDArray[np.float32]] = dict(arrays_for(member.card, prepared).items())
    if earlier and member.takes_preoperative:
        channels.update(earlier.channels(prepared, member.space.brain == "stripped").items())
    return channels


def _inside_the_brain(segmented: Segmented, brain: sitk.Image, task: Task, progress: Progress) -> Segmented:
    """Without labels where no tumour of this task can be; much of it is told."""
    outside = outside_brain(brain, task)
    labels = without_outside(segmented.labels, outside)
    cut = np.count_nonzero(sitk.GetArrayViewFromImage(labels) != sitk.GetArrayViewFromImage(segmented.labels))
    cut_ml = cut * float(np.prod(labels.GetSpacing())) / 1000
    if cut_ml >= _TOLD_ML:
        progress.warn(
            f"{volume_text(cut_ml)} of the tumour lay outside the brain mask and were cut; check {BRAIN} if tumour is "
            "missing."
        )
    maps = {region: without_outside(one, outside) for region, one in segmented.maps.items()}
    return dataclasses.replace(segmented, labels=labels, maps=maps)


# --- the manifest --------------------------------------------------------------------------------------------------


def _of_card(card: Card) -> dict[str, Any]:
    """The fields of a card that the manifest keeps."""
    kept = ("id", "title", "version", "licence", "citation", "training", "task", "time_points")
    return {name: getattr(card, name) for name in kept}


def _model_used(member: Member, prediction: Prediction, device: torch.device, precision: torch.dtype) -> ModelUsed:
    return ModelUsed(
        **_of_card(member.card),
        weights_sha256=accepted_sha256(member.weights),
        device=prediction.device or str(device),
        precision=prediction.precision or str(precision).removeprefix("torch."),
        training_distance=prediction.training_distance,
    )


def _ensemble_used(card: Card, members: Sequence[ModelUsed]) -> ModelUsed:
    hashes = "".join(member.weights_sha256 for member in members)
    return ModelUsed(
        **_of_card(card),
        weights_sha256=hashlib.sha256(hashes.encode()).hexdigest(),
        device=", ".join(dict.fromkeys(member.device for member in members)),
        precision=", ".join(dict.fromkeys(member.precision for member in members)),
        members=tuple(members),
    )


def _records(
    case: Case, registrations: Mapping[Modality, Registration], given: Mapping[Modality, Path]
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
            confidence=volume.confidence,
            reason=volume.reason,
            is_reference=volume is case.reference,
            moved_mm=registration.shift_mm if registration else None,
            transform_given=given.get(modality),
            mutual_information=registration.nmi if registration else None,
            mirror_contrast=registration.mirror_contrast if registration else None,
        )
    return records
