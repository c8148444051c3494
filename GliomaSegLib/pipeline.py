"""The road: study -> case -> aligned, stripped, normalised -> network -> labels -> measures -> files.

Every door (command line, worker, batch, panel) calls :func:`run`; there is no other way to a result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import SimpleITK as sitk
import torch

from GliomaSegLib.case import Case, Sequence, TimePoint, TimePointKind
from GliomaSegLib.inference.device import choose_device, choose_precision
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.io.folder import check_output, written_whole
from GliomaSegLib.io.results import Findings, Manifest, ModelUsed, SequenceRecord, moved, write_results
from GliomaSegLib.job import Job, Result
from GliomaSegLib.labels import Region
from GliomaSegLib.postprocessing import clean_labels
from GliomaSegLib.preprocessing.align import Registration, align_case
from GliomaSegLib.preprocessing.grid import array_on, resample_image
from GliomaSegLib.preprocessing.prepare import Prepared, prepare
from GliomaSegLib.progress import Journal, Progress, Silent
from GliomaSegLib.study import read_case
from GliomaSegLib.zoo.card import Card, find_card
from GliomaSegLib.zoo.loaders import family
from GliomaSegLib.zoo.store import Store, default_store

# Below this the reader is told that a sequence was found with some doubt.
DOUBTFUL_CONFIDENCE = 0.7


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
    journal = Journal(progress or Silent())
    check_output(job.output, job.overwrite)
    card = find_card(job.model)
    weights = Store(job.store or default_store()).weights(card)
    device = choose_device(job.device)
    if job.threads:
        torch.set_num_threads(job.threads)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(job.threads)

    journal.stage("reading")
    case, as_read = _read(job)
    regions = card.regions_given(case.present)
    _warn_about_use(card, case, journal)

    journal.stage("registration")
    registrations = align_case(case, journal) if job.registration else {}

    journal.stage("brain extraction")
    prepared = prepare(case, registrations, card.space, job.brain, job.bias_correction, device, journal)

    journal.stage("segmentation")
    precision = choose_precision(device)
    segmenter = load_model(card.id, weights, device, precision)
    labels, probabilities = _segment(job, card, segmenter, case, prepared, journal)

    journal.stage("measures and report")
    manifest = Manifest(
        case_id=case.identifier,
        time_point=case.time_point.kind,
        days_since_surgery=case.time_point.days_since_surgery,
        job=job,
        model=ModelUsed.of(card, weights, str(device), str(precision).removeprefix("torch.")),
        regions=regions,
        sequences=_records(case, registrations),
        missing=tuple(sequence for sequence in card.inputs.sequences if sequence not in case.present),
        cost=card.cost_of_missing(case.present),
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


def _read(job: Job) -> tuple[Case, sitk.Image]:
    """The case with all voxel axes running LPS, and its reference image as it was read.

    With one orientation for all, the way in which a file's voxels happen to be stored cannot change the answer.
    """
    case = read_case(
        job.study, job.volumes, identifier=job.name, time_point=TimePoint(job.time_point, job.days_since_surgery)
    )
    volumes = {
        sequence: dataclasses.replace(volume, image=sitk.DICOMOrient(volume.image, "LPS"))
        for sequence, volume in case.volumes.items()
    }
    return dataclasses.replace(case, volumes=volumes), case.reference.image


def _warn_about_use(card: Card, case: Case, progress: Progress) -> None:
    if case.time_point.kind is not TimePointKind.UNKNOWN and case.time_point.kind not in card.time_points:
        meant = " or ".join(kind.value for kind in card.time_points)
        progress.warn(f"The model '{card.id}' is made for {meant} studies; this one is {case.time_point.kind.value}.")
    for volume in case.volumes.values():
        if volume.confidence < DOUBTFUL_CONFIDENCE:
            progress.warn(
                f"{volume.source} was taken for {volume.sequence.title} with some doubt ({volume.reason}); check it."
            )


@lru_cache(maxsize=1)
def load_model(model: str, weights: Path, device: torch.device, precision: torch.dtype) -> Segmenter:
    """A model stays loaded for the next case of the same process."""
    network = find_card(model).network
    return family(network.family).load(weights, network.parameters, device, precision)


def _segment(
    job: Job, card: Card, segmenter: Segmenter, case: Case, prepared: Prepared, progress: Progress
) -> tuple[sitk.Image, dict[Region, sitk.Image]]:
    """Labels and the maps that may be thresholded again, on the grid of the reference."""
    arrays = {
        sequence: sitk.GetArrayFromImage(image)
        for sequence, image in prepared.images.items()
        if sequence in card.inputs.sequences
    }
    prediction = segmenter.predict(arrays, progress, job.seed)
    cleaning = job.postprocessing or card.postprocessing
    labels = clean_labels(prediction.labels, prepared.brain.GetSpacing(), **cleaning.model_dump())
    reference = case.reference.image
    maps = {
        region: prepared.map_to_reference(array_on(prediction.probabilities[region], prepared.brain), reference)
        for region in card.thresholdable
        if job.probabilities and region in card.regions_given(case.present)
    }
    return prepared.labels_to_reference(array_on(labels, prepared.brain), reference), maps


def _records(case: Case, registrations: Mapping[Sequence, Registration]) -> dict[Sequence, SequenceRecord]:
    records = {}
    for sequence, volume in case.volumes.items():
        registration = registrations.get(sequence)
        records[sequence] = SequenceRecord(
            path=volume.source.path.absolute(),
            series_uid=volume.source.series_uid,
            series_part=volume.source.part,
            confidence=volume.confidence,
            reason=volume.reason,
            is_reference=volume is case.reference,
            moved_mm=registration and registration.shift_mm,
            mutual_information=registration and registration.information,
            mirror_contrast=registration and registration.mirror_contrast,
        )
    return records
