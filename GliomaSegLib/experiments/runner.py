"""Runs the experiments of Eijgelaar 2020 and Kurmukov 2021 for any model: each case with each subset of its sequences.

Every run is the segmentation pipeline in memory, starting from the files, with the sequences of the subset and no
others: without T1c, another image is the reference image and the brain is extracted from that. ``network_only`` is for
data that are co-registered and skull-stripped: registration and brain extraction are switched off, so that the subsets
differ only in the input of the network; for a model that sets missing channels to zero this equals Eijgelaar's
sequences of zeros. ``prepared_cases`` does the same for any data: each case is first registered and
skull-stripped, once, with all of its sequences.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.case import Modality, reference_of
from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.datasets.prepared_case import kept_prepared
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError
from GliomaSegLib.evaluation.froc import CaseLesions, match_lesions
from GliomaSegLib.evaluation.metrics import evaluate
from GliomaSegLib.experiments.definition import DataSet, Experiment, Run, Subset, full_subset, subsets_of
from GliomaSegLib.experiments.run_log import append_run, read_runs
from GliomaSegLib.inference.device import choose_device
from GliomaSegLib.io.images import read_image, read_labels
from GliomaSegLib.job import Settings
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.measures.lesion_size import least_counted_mm3, least_shown_mm3, without_specks
from GliomaSegLib.options import BrainMethod
from GliomaSegLib.pipeline.memory import threads_and_memory_of_run
from GliomaSegLib.pipeline.segment import segment_case, set_up
from GliomaSegLib.preprocessing.registration import register_checked
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.result import Result
from GliomaSegLib.study.reading import read_case
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.store import Store

Transforms = Mapping[Modality, sitk.Transform]
"""From the reference image of the full set to each sequence that had to be moved (LPS mm).

They come from the run with all sequences: a run with fewer may not have the sequence that the labels were drawn on."""


def run_experiment(
    experiment: Experiment, data: Sequence[DataSet], kept: Path | None = None, progress: Progress | None = None
) -> list[Run]:
    """Run every model on every subset of every case.

    A case that cannot be segmented is a run with a ``failure``; the experiment goes on.

    Args:
        kept: a file (see :mod:`GliomaSegLib.experiments.run_log`) to which each run is added as it ends, and from
            which the runs are taken that it holds already; those that failed are tried again.

    Raises:
        InputError: a model is unknown or not installed, or ``kept`` cannot be used.
        WeightsError: its weights are damaged.
    """
    progress = progress or Silent()
    store = Store(experiment.store or default_store())
    cards = [find_card(model, experiment.store) for model in experiment.models]
    weights = {card.id: store.weights_sha256(card) for card in cards}
    known = {run.key: run for run in read_runs(kept) if not run.failure} if kept and kept.exists() else {}
    runs: list[Run] = []
    for card, one in itertools.product(cards, data):
        progress.stage(f"{card.id} on {one.name}")
        for number, row in enumerate(one.rows):
            progress.advance(number / len(one.rows), row.case)
            for finished in _runs_of_case(experiment, card, weights[card.id], one.name, row, known):
                runs.append(finished)
                if kept and finished.key not in known:
                    append_run(finished, kept)
    return runs


# --- one case ------------------------------------------------------------------------------------------------------


def _runs_of_case(
    experiment: Experiment, card: Card, weights: str, data: str, row: CaseRow, known: Mapping[tuple[object, ...], Run]
) -> Iterator[Run]:
    """The runs of a case; ``known`` ones are not repeated, and subsets that the model refuses are left out."""
    subsets = [subset for subset in subsets_of(row, card, experiment.subsets) if _regions_given(card, subset)]
    failure = None
    try:
        row = _prepared(experiment, row)
    except GliomaSegError as error:
        failure = str(error)
    blanks = [
        Run(
            model=card.id,
            version=card.version,
            weights=weights,
            seed=experiment.seed,
            data=data,
            case=row.case,
            patient=row.patient,
            hospital=row.hospital,
            source=row.key,
            present=subset,
            network_only=experiment.skips_preprocessing,
            brain=experiment.brain,
            failure=failure,
        )
        for subset in subsets
    ]
    if failure:
        yield from blanks
        return
    transforms: Transforms | None = {} if experiment.skips_preprocessing else None
    full, lost = full_subset(row, card), None  # why it is not known where the reference labels lie
    for blank in blanks:
        if blank.key in known:
            yield known[blank.key].model_copy(update={"patient": row.patient, "hospital": row.hospital})
            continue
        if transforms is None and not lost and blank.present != full:
            first, transforms = _one_run(experiment, card, row, blank.model_copy(update={"present": full}), None)
            lost = first.failure
        if lost and reference_of(blank.present) is not (row.drawn_on or reference_of(full)):
            yield blank.model_copy(
                update={"failure": f"where its reference labels lie is not known without all sequences: {lost}"}
            )
            continue
        finished, transforms = _one_run(experiment, card, row, blank, transforms)
        lost = finished.failure if transforms is None else lost
        yield finished


def _prepared(experiment: Experiment, row: CaseRow) -> CaseRow:
    """The row of the case's prepared files where the experiment keeps prepared cases, else the row itself."""
    if experiment.prepared_cases is None:
        return row
    return kept_prepared(row, experiment.prepared_cases, choose_device(experiment.device))


def _regions_given(card: Card, present: Subset) -> tuple[Region, ...]:
    """The regions that the model gives; empty where it refuses the subset."""
    try:
        return tuple(region for region in card.regions_given(present) if region in TUMOUR_REGIONS)
    except InputError:
        return ()


def _one_run(
    experiment: Experiment, card: Card, row: CaseRow, blank: Run, transforms: Transforms | None
) -> tuple[Run, Transforms | None]:
    """The finished run and the case's transforms, which the registration of the full set finds; ``None`` if they are
    not known."""
    try:
        case = _segmented(experiment, card, row, blank.present, transforms)
        regions = [region for region in _regions_given(card, blank.present) if region in row.regions]
        lesions = {region: _lesions(region, case) for region in regions}
        scores = evaluate(case.labels, case.reference, regions)
    except Cancelled:
        raise
    except GliomaSegError as error:
        return blank.model_copy(update={"failure": str(error)}), transforms
    seconds = round(sum(case.result.seconds.values()), 2)
    return blank.model_copy(update={"scores": scores, "lesions": lesions, "seconds": seconds}), case.transforms


@dataclass(frozen=True)
class SegmentedCase:
    """A case segmented from some of its sequences, beside its reference labels.

    Attributes:
        labels, reference: internal label maps on the grid of the reference labels.
        result: of the run, on the grid of its reference image.
    """

    row: CaseRow
    card: Card
    present: Subset
    labels: sitk.Image
    reference: sitk.Image
    result: Result
    transforms: Transforms

    def on_reference_grid(self, image: sitk.Image, of: Modality | None = None) -> sitk.Image:
        """An image resampled to the grid of the reference labels, ``float32``.

        Args:
            of: the sequence that ``image`` is, as the case's file has it; ``None`` for an image of the result.
        """
        transform = _labels_to_image(self.row, (of,) if of else self.present, self.transforms)
        return resample_image(image, self.reference, transform)


def _segmented(
    experiment: Experiment, card: Card, row: CaseRow, present: Subset, transforms: Transforms | None
) -> SegmentedCase:
    reference = read_labels(row.reference, row.scheme)
    settings = Settings(
        model=card.id,
        registration=not experiment.skips_preprocessing,
        brain=BrainMethod.STRIPPED if experiment.skips_preprocessing else experiment.brain,
        seed=experiment.seed,
        device=experiment.device,
        threads=experiment.threads,
        store=experiment.store,
    )
    recorder = ProgressRecorder(Silent())
    with threads_and_memory_of_run(settings.threads):
        recorder.stage("reading")
        setup = set_up(settings, lambda: present, recorder)
        images = {sequence: row.images[sequence] for sequence in present}
        case = read_case(None, images, row.case, wanted=card.inputs.sequences)
        result, _ = segment_case(case, setup, settings, card.thresholdable, recorder)
    if transforms is None:
        transforms = result.transforms
        if row.drawn_on and row.drawn_on not in present:  # the model does not take it, so the run did not register it
            moved = _to_drawn_on(row, row.drawn_on, present)
            transforms = {**transforms, row.drawn_on: moved} if moved else transforms
    labels = resample_labels(result.labels, reference, _labels_to_image(row, present, transforms))
    return SegmentedCase(row, card, present, labels, reference, result, transforms)


def _to_drawn_on(row: CaseRow, drawn_on: Modality, present: Subset) -> sitk.Transform | None:
    """From the reference image of ``present`` to the sequence on which the reference labels were drawn (LPS mm), if it
    had to be moved."""
    fixed, moving = reference_of(present), drawn_on
    images = read_image(row.images[fixed]), read_image(row.images[moving])
    names = f"{fixed.title} of {row.case}", f"{moving.title} of {row.case}"
    return register_checked(*images, *names, Silent(), one_exam=True).transform


def repeated(experiment: Experiment, done: Run, row: CaseRow) -> SegmentedCase:
    """Repeat a run of an experiment, to draw it; ``row`` is its case's in the table.

    Raises:
        GliomaSegError: it cannot be segmented any more.
    """
    card = find_card(done.model, experiment.store)
    row = _prepared(experiment, row)
    transforms: Transforms | None = {} if experiment.skips_preprocessing else None
    full = full_subset(row, card)
    if transforms is None and done.present != full:
        transforms = _segmented(experiment, card, row, full, None).transforms
    return _segmented(experiment, card, row, done.present, transforms)


def _lesions(region: Region, case: SegmentedCase) -> CaseLesions:
    """Of at least the volume from which a lesion counts; by number of voxels where the geometry is a placeholder."""
    certainty = None
    if region in case.card.thresholdable and region in case.result.probabilities:
        certainty = sitk.GetArrayFromImage(case.on_reference_grid(case.result.probabilities[region]))
    predicted, drawn = (sitk.GetArrayViewFromImage(image) for image in (case.labels, case.reference))
    spacing = case.reference.GetSpacing()
    least_mm3 = least_shown_mm3(spacing) if case.row.placeholder else least_counted_mm3([spacing], case.card.task)
    found, sought = (without_specks(region_mask(labels, region), spacing, least_mm3) for labels in (predicted, drawn))
    return match_lesions(found, sought, certainty)


# --- where the reference labels lie --------------------------------------------------------------------------------


def _labels_to_image(row: CaseRow, present: Subset, transforms: Transforms) -> sitk.Transform | None:
    """Maps points of the reference labels to the reference image of a run with the ``present`` sequences (LPS mm).

    ``None`` is the identity. Labels that name no sequence lie on the reference image of the full set.
    """
    image = reference_of(present)
    if image is row.drawn_on:
        return None
    to_drawn_on = transforms.get(row.drawn_on) if row.drawn_on else None
    to_image = transforms.get(image)
    steps = [step for step in (to_image, to_drawn_on and to_drawn_on.GetInverse()) if step is not None]
    return sitk.CompositeTransform(steps) if steps else None  # the last one is applied first
