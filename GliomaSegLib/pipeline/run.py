"""The road: study -> case -> aligned, stripped, normalised -> network -> labels -> measures -> files.

Every door (command line, worker, batch, panel) calls :func:`run`; there is no other way to a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Sequential
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Case, Input, Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.consensus import MemberPrediction, agreement, fuse, mean_dice
from GliomaSegLib.inference.device import choose_device, choose_precision
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.io.folder import check_output, written_whole
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.job import Job, Result
from GliomaSegLib.labels import Region
from GliomaSegLib.options import AUTO
from GliomaSegLib.pipeline.preoperative import read_earlier
from GliomaSegLib.postprocessing import clean_labels
from GliomaSegLib.preprocessing.prepare import Prepared, prepare
from GliomaSegLib.preprocessing.registration import Registration, align_case, given_transforms
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.writing import (
    AGREEMENT,
    Findings,
    Manifest,
    ModelUsed,
    SequenceRecord,
    moved,
    pixels_sha256,
    write_results,
)
from GliomaSegLib.study.reading import StudyContents, look_through, oriented_case, read_case
from GliomaSegLib.zoo.brain_mask import brain_extractor
from GliomaSegLib.zoo.card import Card, Space, find_card
from GliomaSegLib.zoo.catalogue import entries
from GliomaSegLib.zoo.input_requirements import wrong_time
from GliomaSegLib.zoo.loaders import family
from GliomaSegLib.zoo.purpose import for_purpose, reason
from GliomaSegLib.zoo.recommend import best_installed, recommend, task_at, why_chosen
from GliomaSegLib.zoo.store import Store, default_store

# Below this the reader is told that a sequence was found with some doubt.
DOUBTFUL_CONFIDENCE = 0.7

# Below this Dice the reader is told that an ensemble's members disagree: people who outline the same tumour reach .74
# to .85 among themselves (Menze 2015, IEEE Trans Med Imaging 34:1993).
LEAST_AGREEMENT = 0.7

# So many unused volumes are named in a sentence; the manifest and the report list all.
_NAMED_VOLUMES = 6


def run(job: Job, progress: Progress | None = None) -> Result:
    """Segment one case and write its results.

    Args:
        job: what to do.
        progress: told the stages, fractions and warnings; raises ``Cancelled`` to stop the run.

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


def _run(job: Job, journal: ProgressRecorder) -> Result:
    check_output(job.output, job.overwrite)
    store = Store(job.store or default_store())
    device = choose_device(job.device)
    precision = choose_precision(device) if job.precision == "auto" else getattr(torch, job.precision)

    journal.stage("reading")
    model, choice, contents = _chosen(job, store, journal) if job.model == AUTO else (job.model, None, None)
    card = for_purpose(find_card(model, job.store), job.purpose)
    maps = tuple(Region) if card.weights.members else card.thresholdable if job.probabilities else ()
    members = [_Member.of(one, store, job, maps) for one in store.members(card)]
    case, as_read = _read(job, card, contents)
    regions = _regions_given(job, card, members, case)
    given = given_transforms(_taken(job.transforms, card), case)
    wants_earlier = any(_takes_earlier(job, member.card) for member in members)
    earlier = read_earlier(job.preoperative, job.preoperative_mask) if wants_earlier else None
    _warn_about_use(job, card, case, journal)

    journal.stage("registration")
    registrations = align_case(case, journal, given, job.registration)
    earlier_registration = earlier and earlier.registered_to(case.reference, journal)

    journal.stage("brain extraction")
    extractor = brain_extractor(job.brain, device)
    prepared = {
        space: prepare(
            case,
            registrations,
            extractor,
            journal,
            spacing_mm=space.spacing_mm,
            orientation=space.orientation,
            stripped=space.brain == "stripped",
            bias_correction=job.bias_correction,
        )
        for space in dict.fromkeys(member.space for member in members)
    }

    journal.stage("segmentation")
    answers, used = [], []
    for number, member in enumerate(members):
        shown: dict[Input, NDArray[np.float32]] = {**_arrays(member.card, prepared[member.space])}
        if earlier and earlier_registration and member.card.inputs.preoperative:
            stripped = member.space.brain == "stripped"
            shown |= earlier.channels(earlier_registration, prepared[member.space], stripped)
        segmenter = load_model(member.card.id, member.weights, device, precision, job.store)
        prediction = segmenter.predict(shown, _Part(journal, number, len(members)), job.seed)
        answers.append(_on_reference(prediction, job, member, case, prepared[member.space]))
        ran = prediction.device or str(device), prediction.precision or str(precision).removeprefix("torch.")
        used.append(ModelUsed.of(member.card, member.weights, *ran, prediction.training_distance))
        if prediction.training_distance and prediction.training_distance.is_far:
            journal.warn(prediction.training_distance.warning(member.card.id))
    together = _fused(answers, job, card, case, journal) if card.weights.members else _alone(*answers)

    journal.stage("measures and report")
    manifest = Manifest(
        case_id=case.identifier,
        time_point=case.time_point.kind,
        days_since_surgery=case.time_point.days_since_surgery,
        job=job,
        model=ModelUsed.of_ensemble(card, tuple(used)) if card.weights.members else used[0],
        choice=choice,
        regions=regions,
        sequences=_records(case, registrations, job.transforms),
        missing=tuple(sequence for sequence in card.inputs.sequences if sequence not in case.present),
        cost=_cost(job, card, case),
        ignored=case.ignored,
    )
    transforms = {sequence: found.transform for sequence, found in registrations.items() if found.transform}
    reference = case.reference.image
    view = prepared[members[0].space]
    findings = Findings(
        labels=together.labels,
        brain=resample_labels(view.brain, reference),
        images={
            sequence: resample_image(volume.image, reference, transforms.get(sequence))
            for sequence, volume in case.volumes.items()
        },
        probabilities=together.maps,
        transforms=transforms,
        agreement=together.agreement,
    )
    with written_whole(job.output, job.overwrite) as folder:
        result = write_results(folder, findings.oriented_as(as_read), manifest, journal)
    return moved(result, job.output)


def _chosen(job: Job, store: Store, progress: Progress) -> tuple[str, str, StudyContents]:
    """The id of the best installed model for the sequences of the study, why it was chosen, and what the study holds.

    Raises:
        InputError: none suits, or the study's sequences cannot be told.
    """
    wanted = [sequence for sequence in Modality if sequence not in job.leave_out]
    contents = look_through(job.study, job.volumes, job.exam)
    present = tuple(contents.assigned(wanted)) if wanted else ()
    task, when = job.task or task_at(job.when.kind), job.when.kind
    ranking = recommend(entries(store.root), store.root, present, task, when, bool(job.preoperative), job.purpose)
    chosen = best_installed(ranking, present, task)
    progress.advance(1.0, chosen.entry.id)
    return chosen.entry.id, why_chosen(chosen, ranking), contents


def _read(job: Job, card: Card, contents: StudyContents | None) -> tuple[Case, sitk.Image]:
    """The case with all voxel axes running LPS, and its reference image as it was read."""
    wanted = tuple(sequence for sequence in card.inputs.sequences if sequence not in job.leave_out)
    if not wanted:
        raise InputError(f"Every sequence that the model '{card.id}' takes is left out; leave it at least one.")
    case = read_case(job.study, job.volumes, job.name, job.when, wanted, job.exam, contents)
    return oriented_case(case), case.reference.image


def _taken(transforms: Mapping[Modality, Path], card: Card) -> dict[Modality, Path]:
    """Without those for images that the model does not take, which are not read."""
    return {sequence: path for sequence, path in transforms.items() if sequence in card.inputs.sequences}


def _takes_earlier(job: Job, card: Card) -> bool:
    return bool(job.preoperative and card.inputs.preoperative)


def _regions_given(job: Job, card: Card, members: Sequential[_Member], case: Case) -> tuple[Region, ...]:
    """What the model gives for the case; if it cannot, the refusal also says what was at hand and not used.

    An ensemble gives what any of its members gives, and each of these must be able to take the case.
    """
    try:
        own = card.regions_given(case.present, _takes_earlier(job, card))
        given = {region for member in members for region in member.regions_given(job, case)}
        return tuple(region for region in own if region in given)
    except InputError as error:
        if not case.ignored:
            raise
        raise InputError(f"{str(error).removesuffix('.')}; not used were {_listed(case.ignored)}.") from error


def _listed(clauses: tuple[str, ...]) -> str:
    more = f" and {len(clauses) - _NAMED_VOLUMES} more" if len(clauses) > _NAMED_VOLUMES else ""
    return ", ".join(clauses[:_NAMED_VOLUMES]) + more


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
            f"Of the study were not used: {_listed(case.ignored)}; if one of them is what is missing, give it with "
            "--t1n, --t1c, --t2w or --t2f."
        )
    for doubt in case.doubts:
        progress.warn(doubt)
    if late := wrong_time(card.id, card.time_points, case.time_point.kind):
        progress.warn(late)
    for volume in case.volumes.values():
        if volume.confidence < DOUBTFUL_CONFIDENCE:
            progress.warn(
                f"{volume.name or volume.source} was taken for {volume.sequence.title} with some doubt "
                f"({volume.reason}); check it."
            )


@dataclass(frozen=True)
class _Member:
    """A network that is run for the case: the model's own, or that of one of an ensemble's members.

    Attributes:
        maps: the regions whose probabilities are needed on the grid of the reference.
    """

    card: Card
    weights: Path
    space: Space
    maps: tuple[Region, ...]

    @classmethod
    def of(cls, card: Card, store: Store, job: Job, maps: tuple[Region, ...]) -> _Member:
        """Raises WeightsError when it is not installed, or damaged."""
        return cls(for_purpose(card, job.purpose), store.weights(card), store.space(card), maps)

    def regions_given(self, job: Job, case: Case) -> tuple[Region, ...]:
        """See :meth:`GliomaSegLib.zoo.card.Card.regions_given`."""
        return self.card.regions_given(case.present, _takes_earlier(job, self.card))


@lru_cache(maxsize=2)  # two, for ensembles
def load_model(
    model: str, weights: Path, device: torch.device, precision: torch.dtype, store: Path | None = None
) -> Segmenter:
    """The last models stay loaded for the next case of the same process."""
    card = find_card(model, store)
    return family(card.network.family).load(weights, card.contract, device, precision)


def _arrays(card: Card, prepared: Prepared) -> dict[Modality, NDArray[np.float32]]:
    used = card.sequences_used(tuple(prepared.images))
    return {sequence: sitk.GetArrayFromImage(image) for sequence, image in prepared.images.items() if sequence in used}


@dataclass(frozen=True)
class _Answer:
    """What a network says, on the grid of the reference."""

    labels: sitk.Image
    maps: Mapping[Region, sitk.Image]
    regions: tuple[Region, ...]


def _on_reference(prediction: Prediction, job: Job, member: _Member, case: Case, prepared: Prepared) -> _Answer:
    """Labels, cleaned as the card says if the job does not say otherwise, and probability maps."""
    cleaning = job.postprocessing or member.card.postprocessing
    labels = clean_labels(prediction.labels, prepared.brain.GetSpacing(), **cleaning.model_dump())
    reference, regions = case.reference.image, member.regions_given(job, case)
    maps = {
        region: resample_image(array_on(probability, prepared.brain), reference)
        for region, probability in prediction.probabilities.items()
        if region in regions and region in member.maps
    }
    return _Answer(resample_labels(array_on(labels, prepared.brain), reference), maps, regions)


@dataclass(frozen=True)
class _Together:
    """The answer of the model, which may be an ensemble: ``agreement`` is that of its members, in per cent."""

    labels: sitk.Image
    maps: Mapping[Region, sitk.Image]
    agreement: sitk.Image | None = None


def _alone(answer: _Answer) -> _Together:
    """The answer of a model that is no ensemble."""
    return _Together(answer.labels, answer.maps)


def _fused(answers: Sequential[_Answer], job: Job, card: Card, case: Case, progress: Progress) -> _Together:
    """The members' answers as one, by the vote that the ensemble's card names, cleaned as it says."""
    reference = case.reference.image
    opinions = [
        MemberPrediction(
            sitk.GetArrayFromImage(answer.labels),
            answer.regions,
            {region: sitk.GetArrayFromImage(one) for region, one in answer.maps.items()},
        )
        for answer in answers
    ]
    found, maps = fuse(opinions, card.network.parameters["vote"])
    cleaning = job.postprocessing or card.postprocessing
    labels = clean_labels(found, reference.GetSpacing(), **cleaning.model_dump())
    for region, dice in mean_dice(opinions).items():
        if dice < LEAST_AGREEMENT:
            progress.warn(
                f"The models of the ensemble disagree on {region.value} (Dice of one against the other {dice:.2f}); "
                f"look closely where {AGREEMENT} is low."
            )
    return _Together(
        array_on(labels, reference),
        {
            region: array_on(maps[region], reference)
            for region in card.thresholdable
            if job.probabilities and region in maps
        },
        array_on(agreement(labels, opinions), reference),
    )


class _Part:
    """The progress of one of several networks: a share of the whole stage."""

    def __init__(self, listener: Progress, number: int, of: int) -> None:
        self._listener, self._number, self._of = listener, number, of
        self.stage, self.warn = listener.stage, listener.warn

    def advance(self, fraction: float, detail: str = "") -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        self._listener.advance((self._number + fraction) / self._of, detail)


def _records(
    case: Case, registrations: Mapping[Modality, Registration], given: Mapping[Modality, Path]
) -> dict[Modality, SequenceRecord]:
    records = {}
    for sequence, volume in case.volumes.items():
        registration = registrations.get(sequence)
        records[sequence] = SequenceRecord(
            path=volume.source.path.absolute(),
            series_uid=volume.source.series_uid,
            series_part=volume.source.part,
            name=volume.name,
            pixels_sha256=pixels_sha256(volume.image),
            confidence=volume.confidence,
            reason=volume.reason,
            is_reference=volume is case.reference,
            moved_mm=registration and registration.shift_mm,
            transform_given=given.get(sequence),
            mutual_information=registration and registration.information,
            mirror_contrast=registration and registration.mirror_contrast,
        )
    return records
