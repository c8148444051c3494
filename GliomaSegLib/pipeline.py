"""The road: study -> case -> aligned, stripped, normalised -> network -> labels -> measures -> files.

Every door (command line, worker, batch, panel) calls :func:`run`; there is no other way to a result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Case, Sequence, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.device import choose_device, choose_precision
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.io.folder import check_output, written_whole
from GliomaSegLib.io.results import (
    Findings,
    Manifest,
    ModelUsed,
    SequenceRecord,
    moved,
    pixels_sha256,
    write_results,
)
from GliomaSegLib.job import Job, Result
from GliomaSegLib.labels import Region
from GliomaSegLib.postprocessing import clean_labels
from GliomaSegLib.preprocessing.align import Registration, align_case, given_transforms
from GliomaSegLib.preprocessing.grid import array_on, resample_image
from GliomaSegLib.preprocessing.prepare import Prepared, prepare
from GliomaSegLib.progress import Journal, Progress, Silent
from GliomaSegLib.study import read_case
from GliomaSegLib.zoo.card import Card, find_card
from GliomaSegLib.zoo.loaders import family
from GliomaSegLib.zoo.store import Store, default_store

# Below this the reader is told that a sequence was found with some doubt.
DOUBTFUL_CONFIDENCE = 0.7

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
        return _run(job, Journal(progress or Silent()))


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


def _run(job: Job, journal: Journal) -> Result:
    check_output(job.output, job.overwrite)
    card = find_card(job.model, job.store)
    store = Store(job.store or default_store())
    weights, space = store.weights(card), store.space(card)
    device = choose_device(job.device)
    precision = choose_precision(device) if job.precision == "auto" else getattr(torch, job.precision)

    journal.stage("reading")
    case, as_read = _read(job, card)
    regions = _regions_given(card, case)
    given = given_transforms(_taken(job.transforms, card), case)
    _warn_about_use(job, card, case, journal)

    journal.stage("registration")
    registrations = align_case(case, journal, given, job.registration)

    journal.stage("brain extraction")
    prepared = prepare(case, registrations, space, job.brain, job.bias_correction, device, journal)

    journal.stage("segmentation")
    segmenter = load_model(card.id, weights, device, precision, job.store)
    prediction = segmenter.predict(_arrays(card, prepared), journal, job.seed)
    labels, probabilities = _on_reference(prediction, job, card, case, prepared)

    journal.stage("measures and report")
    manifest = Manifest(
        case_id=case.identifier,
        time_point=case.time_point.kind,
        days_since_surgery=case.time_point.days_since_surgery,
        job=job,
        model=ModelUsed.of(
            card,
            weights,
            prediction.device or str(device),
            prediction.precision or str(precision).removeprefix("torch."),
        ),
        regions=regions,
        sequences=_records(case, registrations, job.transforms),
        missing=tuple(sequence for sequence in card.inputs.sequences if sequence not in case.present),
        cost=card.cost_of_missing(case.present),
        ignored=case.ignored,
    )
    transforms = {sequence: found.transform for sequence, found in registrations.items() if found.transform}
    reference = case.reference.image
    findings = Findings(
        labels=labels,
        brain=prepared.labels_to_reference(prepared.brain, reference),
        images={
            sequence: resample_image(volume.image, reference, transforms.get(sequence))
            for sequence, volume in case.volumes.items()
        },
        probabilities=probabilities,
        transforms=transforms,
    )
    with written_whole(job.output, job.overwrite) as folder:
        result = write_results(folder, findings.oriented_as(as_read), manifest, journal)
    return moved(result, job.output)


def _read(job: Job, card: Card) -> tuple[Case, sitk.Image]:
    """The case with all voxel axes running LPS, and its reference image as it was read.

    With one orientation for all, the way in which a file's voxels happen to be stored cannot change the answer.
    """
    wanted = tuple(sequence for sequence in card.inputs.sequences if sequence not in job.leave_out)
    if not wanted:
        raise InputError(f"Every sequence that the model '{card.id}' takes is left out; leave it at least one.")
    case = read_case(job.study, job.volumes, identifier=job.name, time_point=job.when, wanted=wanted)
    volumes = {
        sequence: dataclasses.replace(volume, image=sitk.DICOMOrient(volume.image, "LPS"))
        for sequence, volume in case.volumes.items()
    }
    return dataclasses.replace(case, volumes=volumes), case.reference.image


def _taken(transforms: Mapping[Sequence, Path], card: Card) -> dict[Sequence, Path]:
    """Without those for images that the model does not take, which are not read."""
    return {sequence: path for sequence, path in transforms.items() if sequence in card.inputs.sequences}


def _regions_given(card: Card, case: Case) -> tuple[Region, ...]:
    """What the model gives for the case; if it cannot, the refusal also says what was at hand and not used."""
    try:
        return card.regions_given(case.present)
    except InputError as error:
        if not case.ignored:
            raise
        raise InputError(f"{str(error).removesuffix('.')}; not used were {_listed(case.ignored)}.") from error


def _listed(clauses: tuple[str, ...]) -> str:
    more = f" and {len(clauses) - _NAMED_VOLUMES} more" if len(clauses) > _NAMED_VOLUMES else ""
    return ", ".join(clauses[:_NAMED_VOLUMES]) + more


def _warn_about_use(job: Job, card: Card, case: Case, progress: Progress) -> None:
    cost = card.cost_of_missing(case.present)
    if cost:
        progress.warn(cost)
    if case.ignored and set(card.inputs.sequences) - {*case.present, *job.leave_out}:
        progress.warn(
            f"Of the study were not used: {_listed(case.ignored)}; if one of them is what is missing, give it with "
            "--t1n, --t1c, --t2w or --t2f."
        )
    for doubt in case.doubts:
        progress.warn(doubt)
    if case.time_point.kind is not TimePointKind.UNKNOWN and case.time_point.kind not in card.time_points:
        meant = " or ".join(kind.value for kind in card.time_points)
        progress.warn(f"The model '{card.id}' is made for {meant} studies; this one is {case.time_point.kind.value}.")
    for volume in case.volumes.values():
        if volume.confidence < DOUBTFUL_CONFIDENCE:
            progress.warn(
                f"{volume.name or volume.source} was taken for {volume.sequence.title} with some doubt "
                f"({volume.reason}); check it."
            )


@lru_cache(maxsize=1)
def load_model(
    model: str, weights: Path, device: torch.device, precision: torch.dtype, store: Path | None = None
) -> Segmenter:
    """A model stays loaded for the next case of the same process."""
    card = find_card(model, store)
    return family(card.network.family).load(weights, card.contract, device, precision)


def _arrays(card: Card, prepared: Prepared) -> dict[Sequence, NDArray[np.float32]]:
    return {
        sequence: sitk.GetArrayFromImage(image)
        for sequence, image in prepared.images.items()
        if sequence in card.inputs.sequences
    }


def _on_reference(
    prediction: Prediction, job: Job, card: Card, case: Case, prepared: Prepared
) -> tuple[sitk.Image, dict[Region, sitk.Image]]:
    """Cleaned labels and the maps that may be thresholded again, on the grid of the reference."""
    cleaning = job.postprocessing or card.postprocessing
    labels = clean_labels(prediction.labels, prepared.brain.GetSpacing(), **cleaning.model_dump())
    reference = case.reference.image
    maps = {
        region: prepared.map_to_reference(array_on(prediction.probabilities[region], prepared.brain), reference)
        for region in card.thresholdable
        if job.probabilities and region in card.regions_given(case.present)
    }
    return prepared.labels_to_reference(array_on(labels, prepared.brain), reference), maps


def _records(
    case: Case, registrations: Mapping[Sequence, Registration], given: Mapping[Sequence, Path]
) -> dict[Sequence, SequenceRecord]:
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
