"""The experiments of Eijgelaar 2020 and Kurmukov 2021, for any model: every case with every subset of its sequences.

Every run is :func:`GliomaSegLib.pipeline.run.run` with the sequences of the subset and no others, from the files on:
with T1c left out, another image is the reference and the brain is found in that. ``network_only`` is for data that are
stripped and co-registered: registration and brain extraction are switched off, so that the subsets differ in what the
network is given and in nothing else; for a model that sets missing channels to zero this is Eijgelaar's nullified
sequence. ``nullify`` does the same for any data: each case is prepared once, with all of its sequences.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Sequential
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import SimpleITK as sitk
from pydantic import Field, ValidationError

from GliomaSegLib.case import REFERENCE_ORDER, Modality
from GliomaSegLib.datasets.case_table import REGIONS, CaseRow, read_table
from GliomaSegLib.datasets.prepared_case import kept_in_place
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError
from GliomaSegLib.evaluation.froc import CaseLesions, match_lesions
from GliomaSegLib.evaluation.metrics import RegionScore, evaluate
from GliomaSegLib.inference.device import choose_device
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.job import Job, Result
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.options import BrainMethod
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.record import Record
from GliomaSegLib.results.reading import read_transforms
from GliomaSegLib.zoo.card import Card, find_card
from GliomaSegLib.zoo.store import Store, default_store

Subset = tuple[Modality, ...]
"""Sequences that are given, in the order of :class:`Modality`."""


Transforms = Mapping[Modality, sitk.Transform]
"""From the reference of the full set to each sequence that had to be moved (LPS mm).

Without all its sequences a case's truth would not find its way to a reference that it was not drawn on."""


@dataclass(frozen=True)
class DataSet:
    """A case table and how it is called."""

    name: str
    rows: tuple[CaseRow, ...]


class Run(Record):
    """One case, segmented by one model from one subset of its sequences, and compared with the truth.

    Attributes:
        source: changes when the case's files do.
        scores: the regions that the truth knows and the model gives for this subset.
        lesions: of those regions, on the truth's grid.
        failure: why there is no segmentation; then there are no scores.
    """

    model: str
    version: str
    data: str
    case: str
    hospital: str
    source: str
    present: Subset
    network_only: bool
    brain: BrainMethod = BrainMethod.DEEPBET
    scores: dict[Region, RegionScore] = Field(default_factory=dict)
    lesions: dict[Region, CaseLesions] = Field(default_factory=dict)
    seconds: float = 0.0
    failure: str | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it another run."""
        return self.model, self.version, self.data, self.case, self.source, self.present, self.network_only, self.brain


class Experiment(Record):
    """What is to be run.

    Attributes:
        models: ids of the zoo; the others are compared with the first.
        subsets: ``all`` non-empty ones, all but one sequence (``leave-one-out``), ``full`` for what there is, or those
            that are wanted; a case takes part in those that it has wholly.
        network_only: see the module's text.
        nullify: folder in which the cases are kept in place; see the module's text.
        brain: how it is found, where it is found in every run.
        seed, device, threads, store: as in :class:`~GliomaSegLib.job.Job`.
    """

    models: tuple[str, ...]
    subsets: Literal["all", "leave-one-out", "full"] | tuple[Subset, ...] = "all"
    network_only: bool = False
    nullify: Path | None = None
    brain: BrainMethod = BrainMethod.DEEPBET
    seed: int = 1
    device: str = "auto"
    threads: int | None = None
    store: Path | None = None

    @property
    def only_the_network(self) -> bool:
        """Whether registration and brain extraction are none of the runs' business."""
        return self.network_only or self.nullify is not None


def read_data_sets(
    tables: Iterable[Path], root: Path | None = None, patients: frozenset[str] | None = None
) -> tuple[DataSet, ...]:
    """Case tables (see :mod:`GliomaSegLib.datasets.case_table`), each named after its file.

    Args:
        patients: only these; the tables keep no others.

    Raises:
        InputError: a table or a row of it cannot be used, two have one name, or no case is left.
    """
    sets = []
    for table in tables:
        rows = tuple(row for row in read_table(table, root) if patients is None or row.patient in patients)
        if not rows:
            raise InputError(f"None of the cases in {table} is of a patient that was asked for; check the split.")
        if any(table.stem == other.name for other in sets):
            raise InputError(f"Two case tables are called '{table.stem}'; give them different names.")
        sets.append(DataSet(table.stem, rows))
    return tuple(sets)


def perform(
    experiment: Experiment, data: Sequential[DataSet], kept: Path | None = None, progress: Progress | None = None
) -> list[Run]:
    """Run every model on every subset of every case.

    A case that cannot be segmented is a run with a ``failure``; the experiment goes on.

    Args:
        kept: a file (JSON lines) to which each run is added as it ends, and from which runs are taken that are there:
            an experiment that was stopped goes on.

    Raises:
        InputError: a model is unknown or not installed, or ``kept`` cannot be used.
        WeightsError: its weights are damaged.
    """
    progress = progress or Silent()
    store = Store(experiment.store or default_store())
    cards = [find_card(model, experiment.store) for model in experiment.models]
    for card in cards:
        store.weights(card)
    before = {run.key: run for run in _read_kept(kept)} if kept and kept.exists() else {}
    done: list[Run] = []
    for card, one in itertools.product(cards, data):
        progress.stage(f"{card.id} on {one.name}")
        for number, row in enumerate(one.rows):
            progress.advance(number / len(one.rows), row.case)
            for fresh in _runs_of_case(experiment, card, one.name, row, before):
                done.append(fresh)
                if kept and fresh.key not in before:
                    _keep(fresh, kept)
    return done


def subsets_of(row: CaseRow, card: Card, which: str | tuple[Subset, ...]) -> list[Subset]:
    """The subsets that are run: what the case and the model have in common first, then ever smaller ones."""
    full = _full(row, card)
    if not isinstance(which, str):
        return [subset for subset in which if set(subset) <= set(full)]
    smallest = {"all": 1, "leave-one-out": max(1, len(full) - 1), "full": len(full)}[which]
    return [one for size in range(len(full), smallest - 1, -1) for one in itertools.combinations(full, size)]


def _full(row: CaseRow, card: Card) -> Subset:
    return tuple(sequence for sequence in Modality if sequence in row.images and sequence in card.inputs.sequences)


# --- one case ------------------------------------------------------------------------------------------------------


def _runs_of_case(
    experiment: Experiment, card: Card, data: str, row: CaseRow, before: Mapping[tuple[object, ...], Run]
) -> Iterable[Run]:
    """The runs of a case, those that are known ``before`` taken from there; impossible subsets are left out."""
    possible = [subset for subset in subsets_of(row, card, experiment.subsets) if _regions_given(card, subset)]
    failure = None
    if experiment.nullify:
        try:
            row = kept_in_place(row, experiment.nullify, choose_device(experiment.device))
        except GliomaSegError as error:
            failure = str(error)
    blanks = [
        Run(
            model=card.id,
            version=card.version,
            data=data,
            case=row.case,
            hospital=row.hospital,
            source=row.key,
            present=subset,
            network_only=experiment.only_the_network,
            brain=experiment.brain,
            failure=failure,
        )
        for subset in possible
    ]
    if failure:
        yield from blanks
        return
    transforms: Transforms | None = {} if experiment.only_the_network else None
    for blank in blanks:
        if blank.key in before:
            yield before[blank.key]
            continue
        if transforms is None and blank.present != _full(row, card):
            transforms = _one_run(experiment, card, row, blank.model_copy(update={"present": _full(row, card)}), None)[
                1
            ]
        finished, transforms = _one_run(experiment, card, row, blank, transforms)
        yield finished


def _regions_given(card: Card, present: Subset) -> tuple[Region, ...]:
    """Nothing where the model refuses."""
    try:
        return tuple(region for region in card.regions_given(present) if region in REGIONS)
    except InputError:
        return ()


def _one_run(
    experiment: Experiment, card: Card, row: CaseRow, blank: Run, transforms: Transforms | None
) -> tuple[Run, Transforms]:
    """The run, and the case's transforms; ``None`` for them says that this is the full set, which finds them."""
    try:
        with _segmented(experiment, card, row, blank.present, transforms) as found:
            regions = [region for region in _regions_given(card, blank.present) if region in row.regions]
            lesions = {region: _lesions(region, found) for region in regions}
            scores = evaluate(found.labels, found.truth, regions)
    except Cancelled:
        raise
    except GliomaSegError as error:
        return blank.model_copy(update={"failure": str(error)}), transforms or {}
    seconds = round(sum(found.result.seconds.values()), 2)
    return blank.model_copy(update={"scores": scores, "lesions": lesions, "seconds": seconds}), found.transforms


@dataclass(frozen=True)
class Segmented:
    """A case segmented from some of its sequences, beside its truth.

    Attributes:
        labels, truth: internal label maps on the grid of the truth.
        result: of the run; its files are there as long as the run is looked at.
    """

    row: CaseRow
    present: Subset
    labels: sitk.Image
    truth: sitk.Image
    result: Result
    transforms: Transforms

    def on_truth(self, image: sitk.Image, of: Modality | None = None) -> sitk.Image:
        """An image on the truth's grid, ``float32``: the case's own ``of`` a sequence, else one of the result."""
        there = _truth_to_reference(self.row, (of,) if of else self.present, self.transforms)
        return resample_image(image, self.truth, there)


@contextmanager
def _segmented(
    experiment: Experiment, card: Card, row: CaseRow, present: Subset, transforms: Transforms | None
) -> Iterator[Segmented]:
    truth = _truth(row)
    with tempfile.TemporaryDirectory() as folder:
        result = run(_job(experiment, card, row, present, Path(folder) / "out"))
        transforms = read_transforms(result.output) if transforms is None else transforms
        there = _truth_to_reference(row, present, transforms)
        labels = resample_labels(read_labels(result.files["label_map"]), truth, there)
        yield Segmented(row, present, labels, truth, result, transforms)


@contextmanager
def repeated(experiment: Experiment, done: Run, row: CaseRow) -> Iterator[Segmented]:
    """A run of an experiment once more, so that what it made can be looked at; ``row`` is its case's in the table.

    Raises:
        GliomaSegError: it cannot be segmented any more.
    """
    card = find_card(done.model, experiment.store)
    if experiment.nullify:
        row = kept_in_place(row, experiment.nullify, choose_device(experiment.device))
    transforms: Transforms | None = {} if experiment.only_the_network else None
    if transforms is None and done.present != _full(row, card):
        with _segmented(experiment, card, row, _full(row, card), None) as whole:
            transforms = whole.transforms
    with _segmented(experiment, card, row, done.present, transforms) as found:
        yield found


def _job(experiment: Experiment, card: Card, row: CaseRow, present: Subset, output: Path) -> Job:
    return Job(
        volumes={sequence: row.images[sequence] for sequence in present},
        model=card.id,
        output=output,
        case_id=row.case,
        registration=not experiment.only_the_network,
        brain=BrainMethod.STRIPPED if experiment.only_the_network else experiment.brain,
        seed=experiment.seed,
        device=experiment.device,
        threads=experiment.threads,
        store=experiment.store,
    )


def _truth(row: CaseRow) -> sitk.Image:
    """The internal labels of the truth on its own grid."""
    return read_labels(row.reference, row.scheme)


def _lesions(region: Region, found: Segmented) -> CaseLesions:
    probability = found.result.files.get(f"probability_{region.value}")
    certainty = None
    if probability is not None:
        certainty = sitk.GetArrayFromImage(found.on_truth(sitk.ReadImage(str(probability)))) / 255
    predicted, true = (sitk.GetArrayViewFromImage(image) for image in (found.labels, found.truth))
    return match_lesions(region_mask(predicted, region), region_mask(true, region), certainty)


# --- where the truth lies ------------------------------------------------------------------------------------------


def _truth_to_reference(row: CaseRow, present: Subset, transforms: Transforms) -> sitk.Transform | None:
    """Maps points of the truth to points of the reference of a run with the ``present`` sequences; ``None``: the same.

    A truth that names no sequence, or one that the model does not take, lies as the reference of the full set does.
    """
    reference = next(sequence for sequence in REFERENCE_ORDER if sequence in present)
    if reference is row.drawn_on:
        return None
    back, onwards = transforms.get(row.drawn_on), transforms.get(reference)
    steps = [step for step in (onwards, back and back.GetInverse()) if step is not None]
    return sitk.CompositeTransform(steps) if steps else None  # the last one is applied first


# --- runs that are kept --------------------------------------------------------------------------------------------


def _read_kept(path: Path) -> list[Run]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The kept runs in {path} cannot be read; name another file.") from error
    runs = []
    for number, line in enumerate(lines, 1):
        try:
            runs.append(Run.model_validate_json(line))
        except ValidationError as error:
            if number == len(lines):  # the process was killed while it wrote
                _cut_last_line(path, line)
                break
            raise InputError(f"{path}, line {number}, is no run of an experiment; name another file.") from error
    return runs


def _cut_last_line(path: Path, line: str) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - len(line.encode()))


def _keep(run: Run, path: Path) -> None:
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(run.model_dump_json() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise InputError(f"The run cannot be kept in {path} ({error.strerror}); name another file.") from error
