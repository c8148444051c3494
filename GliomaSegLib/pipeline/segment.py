"""The segmentation pipeline for images in memory: registration, brain extraction, networks, measures.

Both :func:`.run.run`, which reads and writes files, and :func:`.arrays.segment_arrays` call :func:`segment_case`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Case, Input, Modality
from GliomaSegLib.errors import InputError, listed
from GliomaSegLib.inference.device import choose_device, choose_precision
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.io.grid import oriented_like, placed_as
from GliomaSegLib.job import Settings
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.assessment import assess_case
from GliomaSegLib.measures.plausibility import outside_brain, without_outside
from GliomaSegLib.measures.volumes import volume_text
from GliomaSegLib.options import AUTO
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
from GliomaSegLib.preprocessing.prepare import Prepared, coverage_doubts, prepare
from GliomaSegLib.preprocessing.registration import given_transforms, register_case
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.preprocessing.rigid import Registration
from GliomaSegLib.progress import Progress, ProgressRecorder
from GliomaSegLib.results.images import as_stored, from_stored
from GliomaSegLib.results.layout import BRAIN
from GliomaSegLib.results.manifest import ModelUsed
from GliomaSegLib.results.result import OnDemand, Result
from GliomaSegLib.study.reading import oriented_case
from GliomaSegLib.zoo.brain_mask import brain_extractor
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_network import Space
from GliomaSegLib.zoo.card_weights import accepted_sha256, joined_sha256
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.expectation import accuracy_in_words, cost_of_missing, unreliable_regions
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.purpose import for_purpose, reason
from GliomaSegLib.zoo.recommend import choose_model
from GliomaSegLib.zoo.store import Store

# Below this confidence the reader is warned that the identification of a modality is doubtful.
DOUBTFUL_CONFIDENCE = 0.7

# From this volume on there is a warning that labels outside the brain were removed.
_TOLD_ML = 1.0


@dataclass(frozen=True)
class Setup:
    """The model of a case, its installed networks, and their device.

    Attributes:
        why: why the model was chosen; ``None`` if the settings name it.
    """

    card: Card
    members: Sequence[Member]
    device: torch.device
    precision: torch.dtype
    why: str | None = None


def set_up(settings: Settings, present: Callable[[], Collection[Modality]], progress: Progress) -> Setup:
    """Find the model of the settings, or the best installed one for the ``present`` modalities.

    Raises:
        InputError: there is no such model or device, or no model fits.
        WeightsError: it is not installed or damaged.
    """
    store = Store(settings.store or default_store())
    device = choose_device(settings.device)
    precision = choose_precision(device) if settings.precision == "auto" else getattr(torch, settings.precision)
    model, why = settings.model, None
    if model == AUTO:
        earlier = bool(settings.preoperative)
        best = choose_model(store, tuple(present()), settings.task, settings.when.kind, earlier, settings.purpose)
        model, why = best.card.id, best.why
        progress.advance(1.0, model)
    card = for_purpose(find_card(model, settings.store), settings.purpose)
    return Setup(card, members_of(card, store, settings), device, precision, why)


def segment_case(
    case: Case,
    setup: Setup,
    settings: Settings,
    measured: Collection[Region],
    recorder: ProgressRecorder,
    as_read: sitk.Image | None = None,
) -> tuple[Result, dict[Modality, Registration]]:
    """Segment and measure a case.

    Args:
        case: with only the modalities that the model uses.
        measured: regions whose probability maps, if there are any, give the lesions' certainty and are stored.
        as_read: the grid of the reference image as it was read, if the images were reoriented since.

    Returns:
        the result on the grid of the reference image, and the registration of each modality to it.

    Raises:
        InputError: the model cannot segment the case, or an image does not fit the others.
    """
    card, members = setup.card, setup.members
    as_read = case.reference.image if as_read is None else as_read
    case = oriented_case(case)
    regions = _regions_given(settings, card, members, case)
    # Transforms of images that the model does not use are not read.
    wanted = {modality: path for modality, path in settings.transforms.items() if modality in card.inputs.sequences}
    given = given_transforms(wanted, case)
    earlier = None
    if settings.preoperative and any(member.takes_preoperative for member in members):
        earlier = read_earlier(settings.preoperative, settings.preoperative_mask)
    cost = cost_of_missing(card, case.present, _takes_earlier(settings, card))
    _warn_about_use(settings, card, case, cost, recorder)

    recorder.stage("registration")
    registrations = register_case(case, recorder, given, settings.registration)
    registered = earlier.registered_to(case.reference, recorder) if earlier else None
    segmented, found_brain, used = _segmented(case, setup, settings, registrations, registered, recorder)

    recorder.stage("measures and report")
    transforms = {modality: found.transform for modality, found in registrations.items() if found.transform}

    def as_given(image: sitk.Image) -> sitk.Image:
        """With the voxel axes of the reference image as it was read, and exactly its geometry."""
        return placed_as(oriented_like(image, as_read), as_read)

    outside = outside_brain(found_brain, card.task)
    labels, brain = as_given(_inside_the_brain(segmented.labels, outside, recorder)), as_given(found_brain)
    given_maps = [region for region in segmented.network_maps if region in regions]

    def probability(region: Region) -> sitk.Image:
        return without_outside(segmented.probability(region), outside)

    # Measure the probabilities as they are stored, so that measuring again gives the same.
    stored = {region: as_given(as_stored(probability(region))) for region in given_maps if region in measured}
    maps = {region: from_stored(one) for region, one in stored.items()}
    present, meant = tuple(case.volumes), card.time_points
    assessed = assess_case(labels, brain, regions, maps, case.time_point, present, task=card.task, made_for=meant)
    result = Result(
        case_id=case.identifier,
        model=(_ensemble_used(card, used) if card.weights.members else used[0]).model_copy(
            update={"accuracy": accuracy_in_words(card, case.present, _takes_earlier(settings, card))}
        ),
        regions=regions,
        reference=case.reference.sequence,
        labels=labels,
        brain=brain,
        transforms=transforms,
        assessed=assessed,
        probabilities=OnDemand(given_maps, lambda region: as_given(probability(region))),
        stored_probabilities=stored,
        images=OnDemand(
            case.present, lambda one: resample_image(case.volumes[one].image, as_read, transforms.get(one))
        ),
        agreement=segmented.agreement and as_given(segmented.agreement),
        choice=setup.why,
        missing=tuple(modality for modality in card.inputs.sequences if modality not in case.present),
        cost=cost,
        warnings=(*recorder.warnings, *assessed.implausible),
        seconds=recorder.seconds,
    )
    return result, registrations


def _segmented(
    case: Case,
    setup: Setup,
    settings: Settings,
    registrations: Mapping[Modality, Registration],
    earlier: RegisteredStudy | None,
    recorder: ProgressRecorder,
) -> tuple[Segmented, sitk.Image, list[ModelUsed]]:
    """The segmentation and the brain mask on the grid of the reference image, and the models that ran."""
    members = setup.members
    recorder.stage("brain extraction")
    spaces = dict.fromkeys(member.space for member in members)
    prepared = {space: _prepared(settings, case, registrations, space, setup, recorder) for space in spaces}
    for doubt in coverage_doubts(case, next(iter(prepared.values()))):
        recorder.warn(doubt)
    recorder.stage("segmentation")
    answers, used = [], []
    for number, member in enumerate(members):
        channels = _channels(member, prepared[member.space], earlier)
        segmenter = load_model(member.card.id, member.weights, setup.device, setup.precision, settings.store)
        prediction = segmenter.predict(channels, MemberProgress(recorder, number, len(members)), settings.seed)
        answers.append(on_reference(prediction, settings, member, case, prepared[member.space]))
        used.append(_model_used(member, prediction, setup))
    segmented = fused(answers, settings, setup.card, case, recorder) if setup.card.weights.members else answers[0]
    return segmented, resample_labels(prepared[members[0].space].brain, case.reference.image), used


def _inside_the_brain(labels: sitk.Image, outside: NDArray[np.bool_] | None, progress: Progress) -> sitk.Image:
    """Remove labels where the model's kind of tumour cannot be, with a warning if it is much."""
    inside = without_outside(labels, outside)
    cut = np.count_nonzero(sitk.GetArrayViewFromImage(inside) != sitk.GetArrayViewFromImage(labels))
    cut_ml = cut * float(np.prod(labels.GetSpacing())) / 1000
    if cut_ml >= _TOLD_ML:
        progress.warn(
            f"{volume_text(cut_ml)} of the tumour lay outside the brain mask and were cut; check {BRAIN} if tumour is "
            "missing."
        )
    return inside


# --- the model and the case ----------------------------------------------------------------------------------------


def _takes_earlier(settings: Settings, card: Card) -> bool:
    return bool(settings.preoperative and card.inputs.preoperative)


def _regions_given(settings: Settings, card: Card, members: Sequence[Member], case: Case) -> tuple[Region, ...]:
    """The regions that the model segments with the modalities of the case; errors also name the unused volumes.

    An ensemble segments the regions of all its members, each of which must be able to segment the case.
    """
    try:
        own = card.regions_given(case.present, _takes_earlier(settings, card))
        given = {region for member in members for region in member.regions_given(case)}
        return tuple(region for region in own if region in given)
    except InputError as error:
        if not case.ignored:
            raise
        raise InputError(f"{str(error).removesuffix('.')}; not used were {listed(case.ignored)}.") from error


def _warn_about_use(settings: Settings, card: Card, case: Case, cost: str | None, progress: Progress) -> None:
    for sentence in (cost, reason(card, case.present, settings.purpose)):
        if sentence:
            progress.warn(sentence)
    if not cost and (doubtful := unreliable_regions(card, case.present, _takes_earlier(settings, card))):
        progress.warn(f"The model '{card.id}' is unreliable for {' and '.join(region.words for region in doubtful)}.")
    if settings.preoperative and not card.inputs.preoperative:
        progress.warn(
            f"The model '{card.id}' does not look at the study before surgery; 'gliomaseg compare' sets its result "
            "beside this one."
        )
    if case.ignored and set(card.inputs.sequences) - {*case.present, *settings.leave_out}:
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


# --- inputs of the networks -------------------------------------------------------------------------------------


def _prepared(
    settings: Settings,
    case: Case,
    registrations: Mapping[Modality, Registration],
    space: Space,
    setup: Setup,
    progress: Progress,
) -> Prepared:
    return prepare(
        case,
        registrations,
        brain_extractor(settings.brain, setup.device, setup.precision, settings.store),
        progress,
        spacing_mm=space.spacing_mm or case.reference.image.GetSpacing(),
        orientation=space.orientation,
        stripped=space.brain == "stripped",
        bias_correction=settings.bias_correction,
    )


def _channels(member: Member, prepared: Prepared, earlier: RegisteredStudy | None) -> dict[Input, NDArray[np.float32]]:
    channels: dict[Input, NDArray[np.float32]] = dict(arrays_for(member.card, prepared).items())
    if earlier and member.takes_preoperative:
        channels.update(earlier.channels(prepared, member.space.brain == "stripped").items())
    return channels


# --- the model that was used ---------------------------------------------------------------------------------------


def _of_card(card: Card) -> dict[str, Any]:
    """The fields of a card that are stored in the manifest."""
    kept = ("id", "title", "version", "licence", "citation", "training", "task", "time_points")
    return {name: getattr(card, name) for name in kept}


def _model_used(member: Member, prediction: Prediction, setup: Setup) -> ModelUsed:
    return ModelUsed(
        **_of_card(member.card),
        weights_sha256=accepted_sha256(member.weights),
        device=prediction.device or str(setup.device),
        precision=prediction.precision or str(setup.precision).removeprefix("torch."),
        training_distance=prediction.training_distance,
    )


def _ensemble_used(card: Card, members: Sequence[ModelUsed]) -> ModelUsed:
    return ModelUsed(
        **_of_card(card),
        weights_sha256=joined_sha256(member.weights_sha256 for member in members),
        device=", ".join(dict.fromkeys(member.device for member in members)),
        precision=", ".join(dict.fromkeys(member.precision for member in members)),
        members=tuple(members),
    )
