"""Dice on real cases, by the code of ``gliomaseg experiment``."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow, read_splits, read_table
from GliomaSegLib.evaluation.metrics import summarise
from GliomaSegLib.experiments.analysis import analyse
from GliomaSegLib.experiments.definition import DataSet, Experiment, Run, Subset, short_name
from GliomaSegLib.experiments.runner import run_experiment
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing import brain
from GliomaSegLib.resources import resource
from Testing.bench.cases import DUO, MODEL, OWN_MODEL, SHARED, store

SEEDS = range(5)

# A file (JSON lines) in which the runs are kept: what was stopped goes on, and the figures behind the means are there.
RUNS_VARIABLE = "GLIOMASEG_BENCH_RUNS"

ALL_SUBSETS = tuple(subset for size in range(4, 0, -1) for subset in itertools.combinations(Modality, size))
T1N, T1C, T2W, T2F = Modality
BRATS_SUBSETS = ((T1N, T1C, T2W, T2F), (T1N, T1C, T2W), (T1C,), (T2F,))
SUBSETS_TO_CHOOSE_BY = (*BRATS_SUBSETS, (T1N, T1C, T2F), (T1C, T2F), (T2W,))
_BRATS_STYLE, _CLINICAL = ("brats2021", "brats-other"), ("tcga-",)
_CARD_DATA = {
    _BRATS_STYLE: (
        "BraTS, not trained on",
        "2021 01477 and 01482; 2020 002 and 2018 2013_2_1, which chose the stages' weights",
    ),
    _CLINICAL: ("TCGA-LGG as clinics scan, not trained on", ""),
}
_COMMAND = "python -m Testing.bench "
_LEAST_FOUND = 0.1  # a region of whose reference less was found is missed
CLINICAL_SUBSETS = ((T1N, T1C, T2F), (T1N, T1C), (T1C,), (T2F,))
_DUO_SUBSETS = (((T1N, T1C, T2W, T2F), (T1N, T1C, T2F)), ((T1N, T1C, T2F),))  # of BraTS-style and clinical cases


def brats() -> None:
    """Dice per case and mean on the BraTS 2021 cases."""
    _each(_runs(MODEL, development_cases("brats2021"), subsets="full"))


def seeds() -> None:
    """Dice with five seeds of the noise that CA-CNN puts around the brain, on the BraTS 2021 cases."""
    for row in development_cases("brats2021"):
        runs = [run for seed in SEEDS for run in _perform(MODEL, [row], subsets="full", network_only=True, seed=seed)]
        for region, first in runs[0].scores.items():
            if first.reference_ml:
                dice = [run.scores[region].dice for run in runs]
                print(row.case, region.value, *(f"{one:.3f}" for one in dice), f"sd {np.std(dice):.4f}", flush=True)


def subsets() -> None:
    """Mean Dice for each of the fifteen subsets of sequences, on the BraTS 2021 cases that have all regions."""
    rows = [row for row in development_cases("brats2021") if row.case[-2:] in ("76", "79", "82", "85")]
    _by_subset(_runs(MODEL, rows, network_only=True))


def clinic() -> None:
    """WT on the fifty clinical patients with all their sequences."""
    _each(_runs(MODEL, development_cases("tcga-"), subsets="full"))


def clinic_without_flair() -> None:
    """WT on the clinical patients once FLAIR is taken away."""
    by_subset: dict[Subset, list[CaseRow]] = {}
    for row in development_cases("tcga-"):
        rest = tuple(sequence for sequence in row.images if sequence is not T2F)
        if rest:
            by_subset.setdefault(rest, []).append(row)
    _each(run for rest, rows in by_subset.items() for run in _runs(MODEL, rows, subsets=(rest,)))


def own() -> None:
    """gliomaseg-any-v2: all fifteen subsets on BraTS-style cases, four on clinical ones, none of them trained on."""
    _unseen(OWN_MODEL, ALL_SUBSETS)


def published() -> None:
    """CA-CNN on the same cases, for the subsets that matter most."""
    _unseen(MODEL, SUBSETS_TO_CHOOSE_BY)


def duo() -> None:
    """gliomaseg-duo-v2 on the same cases, for the subsets that it is made for."""
    _unseen(DUO, *_DUO_SUBSETS)


def own_card() -> None:
    """What stands in the card of gliomaseg-any-v2 as ``measured``: the figures of ``any-subset``, as JSON."""
    _print_figures(_unseen_runs(OWN_MODEL, ALL_SUBSETS, CLINICAL_SUBSETS), "any-subset")


def duo_card() -> None:
    """What stands in the card of gliomaseg-duo-v2."""
    _print_figures(_unseen_runs(DUO, *_DUO_SUBSETS), "any-subset-duo")


def _print_figures(found: Iterable[tuple[tuple[str, ...], list[Run]]], part: str) -> None:
    figures = [
        _figure(*_CARD_DATA[hospitals], [run for run in runs if run.present == present]) | {"source": _COMMAND + part}
        for hospitals, runs in found
        for present in dict.fromkeys(run.present for run in runs)
    ]
    print(json.dumps(figures, indent=2, ensure_ascii=False))


def _unseen(
    model: str, brats_subsets: tuple[Subset, ...], clinical_subsets: tuple[Subset, ...] = CLINICAL_SUBSETS
) -> None:
    for hospitals, runs in _unseen_runs(model, brats_subsets, clinical_subsets):
        print(f"{model}, {' and '.join(hospitals)}, {len({run.case for run in runs})} cases")
        _by_subset(runs)


def _unseen_runs(
    model: str, brats_subsets: tuple[Subset, ...], clinical_subsets: tuple[Subset, ...]
) -> Iterator[tuple[tuple[str, ...], list[Run]]]:
    for hospitals, chosen in ((_BRATS_STYLE, brats_subsets), (_CLINICAL, clinical_subsets)):
        yield hospitals, _runs(model, unseen(development_cases(*hospitals)), subsets=chosen, prepared_cases=cache())


def _figure(data: str, remark: str, runs: list[Run]) -> dict[str, Any]:
    """The entry of a card for runs with the same sequences."""
    dice, regions, remarks = {}, {}, [remark] if remark else []
    for row in analyse(runs).rows:
        if row.dice.mean is not None:
            own = [score for run in runs if (score := run.scores[row.region]).reference_ml]
            errors = [one.prediction_ml / one.reference_ml - 1 for one in own]
            dice[row.region.value] = round(row.dice.mean, 3)
            regions[row.region.value] = {
                "cases": row.dice.cases,
                "missed": sum((one.sensitivity or 0.0) < _LEAST_FOUND for one in own),
                "volume_error": [round(float(limit), 2) for limit in np.percentile(errors, (5, 95))],
            }
        if row.region is Region.ET and row.false_ml and T1C in row.present:
            remarks.append(f"at most {max(row.false_ml):.2f} mL of enhancing tumour marked where there is none")
    return {
        "data": data,
        "cases": len(runs),
        "sequences": [one.value for one in runs[0].present],
        "dice": dice,
        "regions": regions,
        "date": date.today().isoformat(),
        **({"remark": "; ".join(remarks)} if remarks else {}),
    }


def skull() -> None:
    """WT on the clinical patients that gliomaseg-any-v2 was not trained on, without their skulls and with them."""
    rows = unseen(development_cases("tcga-"))
    print("skull off:")
    _each(_runs(OWN_MODEL, rows, subsets="full"))
    print("skull on (what is too large for a brain is refused otherwise):")
    with mock.patch.object(brain, "LARGEST_BRAIN_ML", np.inf):
        _each(_runs(OWN_MODEL, rows, subsets="full", brain=brain.BrainMethod.STRIPPED))


# --- cases and runs ------------------------------------------------------------------------------------------------


def development_cases(*hospitals: str) -> list[CaseRow]:
    """The development cases of the hospitals whose names begin so."""
    rows = read_table(resource("recipes") / "development-cases.csv", SHARED / "data")
    return [row for row in rows if row.hospital.startswith(hospitals)]


def unseen(rows: Iterable[CaseRow]) -> list[CaseRow]:
    """Those that no shipped weights were trained on: the test and validation cases."""
    splits = read_splits(resource("recipes") / "splits.json")
    patients = {*splits["test"], *splits["validation"]}
    return [row for row in rows if row.patient in patients]


def cache() -> Path:
    """Where cases are kept in place."""
    return Path(tempfile.gettempdir()) / "gliomaseg-bench-in-place"


def _perform(model: str, rows: Iterable[CaseRow], kept: Path | None = None, **options: object) -> list[Run]:
    experiment = Experiment(models=(model,), store=store().root, **options)
    return run_experiment(experiment, [DataSet("bench", tuple(rows))], kept)


def _runs(model: str, rows: Iterable[CaseRow], **options: object) -> list[Run]:
    kept = os.environ.get(RUNS_VARIABLE)
    runs = _perform(model, rows, Path(kept) if kept else None, **options)
    for run in runs:
        if run.failure:
            print(f"{run.case}, {short_name(run.present)}: {run.failure}")
    return runs


# --- what is printed -----------------------------------------------------------------------------------------------


def _each(runs: Iterable[Run]) -> None:
    """Case by case, and the summary over the regions that the reference has: elsewhere Dice says only whether anything
    was marked."""
    runs = list(runs)
    for run in runs:
        dice = "  ".join(
            f"{region.value} {score.dice:.3f}"
            + ("" if score.reference_ml else f" (none; {score.prediction_ml:.2f} mL)")
            for region, score in run.scores.items()
        )
        print(f"{run.case:<26} {dice}   {run.seconds:.0f} s")
    for row in summarise([{r: s for r, s in run.scores.items() if s.reference_ml} for run in runs]):
        if row.metric in ("dice", "hd95_mm"):
            print(
                f"{row.region.value} {row.metric}: mean {row.mean:.3f} median {row.median:.3f} quartiles "
                f"{row.lower_quartile:.3f} {row.upper_quartile:.3f} ({row.cases} cases, {row.undefined} undefined)"
            )


def _by_subset(runs: list[Run]) -> None:
    rows = analyse(runs).rows
    for present in dict.fromkeys(row.present for row in rows):
        own = [row for row in rows if row.present == present]
        means = "  ".join(
            f"{row.region.value} {row.dice.mean:.3f} (median {row.dice.median:.3f}, n {row.dice.cases})"
            for row in own
            if row.dice.cases
        )
        false_ml = max((ml for row in own if row.region is Region.ET for ml in row.false_ml), default=0.0)
        seconds = np.median([run.seconds for run in runs if run.present == present])
        print(f"{short_name(present):<24} {means}  false ET at most {false_ml:.2f} mL, {seconds:.1f} s", flush=True)
