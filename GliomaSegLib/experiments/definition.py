"""Defines an experiment: models, data sets and subsets of the sequences, and the runs that result from them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow, read_table
from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.froc import CaseLesions
from GliomaSegLib.evaluation.metrics import RegionScore
from GliomaSegLib.labels import Region
from GliomaSegLib.options import BrainMethod
from GliomaSegLib.record import Record
from GliomaSegLib.zoo.card import Card

Subset = tuple[Modality, ...]
"""Sequences that are given, in the order of :class:`Modality`."""


@dataclass(frozen=True)
class DataSet:
    """The rows of a case table, named after its file."""

    name: str
    rows: tuple[CaseRow, ...]


class Experiment(Record):
    """What is to be run.

    Attributes:
        models: ids of the zoo; the others are compared with the first.
        subsets: ``all`` non-empty ones, all but one sequence (``leave-one-out``), ``full`` for every sequence that the
            case has, or a list; a case takes part in the subsets of which it has every sequence.
        network_only: the images are registered and skull-stripped already; only the network is run.
        prepared_cases: folder in which each case is kept registered and skull-stripped, prepared once with all of its
            sequences; every subset then starts from these files.
        brain: method of brain extraction, where every run does its own.
        seed, device, threads, store: as in :class:`~GliomaSegLib.job.Job`.
    """

    models: tuple[str, ...]
    subsets: Literal["all", "leave-one-out", "full"] | tuple[Subset, ...] = "all"
    network_only: bool = False
    prepared_cases: Path | None = Field(None, validation_alias=AliasChoices("prepared_cases", "nullify"))
    brain: BrainMethod = BrainMethod.DEEPBET
    seed: int = 1
    device: str = "auto"
    threads: int | None = None
    store: Path | None = None

    @property
    def skips_preprocessing(self) -> bool:
        """Whether the runs neither register nor extract the brain."""
        return self.network_only or self.prepared_cases is not None


class Run(Record):
    """One case, segmented by one model from one subset of its sequences, and compared with its reference labels.

    Attributes:
        weights: SHA-256 of the model's weights; empty in files of kept runs that were made before it was recorded.
        seed: of the random numbers of its network.
        patient, hospital: as the case table says now, also of a kept run.
        source: changes when the files of the case change.
        scores: of the regions that the reference distinguishes and the model gives for this subset.
        lesions: of those regions, on the grid of the reference labels.
        failure: why there is no segmentation; then there are no scores.
    """

    model: str
    version: str
    weights: str = ""
    seed: int = 1
    data: str
    case: str
    patient: str = ""
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
        """Runs of the same key are the same run."""
        made_with = self.model, self.version, self.weights, self.seed, self.network_only, self.brain
        return *made_with, self.data, self.case, self.source, self.present


def read_data_sets(
    tables: Iterable[Path], root: Path | None = None, patients: frozenset[str] | None = None
) -> tuple[DataSet, ...]:
    """Read case tables (see :mod:`GliomaSegLib.datasets.case_table`); a data set is named after its file.

    Args:
        root: folder of the tables' paths, if not the table's own.
        patients: only the cases of these.

    Raises:
        InputError: a table or a row of it cannot be used, two have one name, or no case is left.
    """
    sets: list[DataSet] = []
    for table in tables:
        rows = tuple(row for row in read_table(table, root) if patients is None or row.patient in patients)
        if not rows:
            raise InputError(f"None of the cases in {table} is of a patient that was asked for; check the split.")
        if any(table.stem == other.name for other in sets):
            raise InputError(f"Two case tables are called '{table.stem}'; give them different names.")
        sets.append(DataSet(table.stem, rows))
    return tuple(sets)


def subsets_of(row: CaseRow, card: Card, which: str | tuple[Subset, ...]) -> list[Subset]:
    """The subsets to run: the sequences that the case has and the model takes first, then ever smaller subsets."""
    full = full_subset(row, card)
    if not isinstance(which, str):
        return [subset for subset in which if set(subset) <= set(full)]
    smallest = {"all": 1, "leave-one-out": max(1, len(full) - 1), "full": len(full)}[which]
    return [one for size in range(len(full), smallest - 1, -1) for one in itertools.combinations(full, size)]


def full_subset(row: CaseRow, card: Card) -> Subset:
    """All sequences that the case has and the model takes."""
    return tuple(sequence for sequence in Modality if sequence in row.images and sequence in card.inputs.sequences)


_SHORT_NAMES = {Modality.T1N: "T1", Modality.T1C: "T1c", Modality.T2W: "T2", Modality.T2F: "FLAIR"}


def short_name(present: Subset) -> str:
    """A subset as tables and figures name it, e.g. ``T1 + T1c + FLAIR``."""
    return " + ".join(_SHORT_NAMES[sequence] for sequence in present)


def left_out(experiment: Experiment, data: Iterable[DataSet], runs: Iterable[Run]) -> list[str]:
    """A sentence on the cases of each data set that have none of the subsets, and on each model that refused some."""
    lines = []
    for one in data:
        own = [run for run in runs if run.data == one.name]
        cases = {run.case for run in own}
        if without := [row.case for row in one.rows if row.case not in cases]:
            lines.append(
                f"{len(without)} of {len(one.rows)} cases of {one.name}, which lack the sequences that were asked for: "
                f"{', '.join(without)}."
            )
        named = () if isinstance(experiment.subsets, str) else dict.fromkeys(run.present for run in own)
        for model in experiment.models:
            done = {run.present for run in own if run.model == model}
            if refused := [short_name(subset) for subset in named if subset not in done]:
                lines.append(f"{' and '.join(refused)} of {one.name} for {model}, which does not take it.")
    return lines
