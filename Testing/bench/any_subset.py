"""Any subset of the sequences, on the development cases that no shipped weights were trained on.

The cases are prepared once, with all their sequences; then sequences are taken away as Eijgelaar 2020 does, by leaving
them out of what the network is given. So registration and brain extraction are the same for every subset and model,
and the figures are about the networks alone, on the 1 mm grid.
"""

from __future__ import annotations

import csv
import itertools
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch

from GliomaSegLib.case import Sequence
from GliomaSegLib.inference.device import choose_device, choose_precision
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.labels import Region, region_mask
from GliomaSegLib.pipeline import load_model
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.training.command import read_splits
from GliomaSegLib.training.dataset import (
    CHANNELS,
    CaseRow,
    TrainingCase,
    prepare_all,
    prepared_path,
    read_prepared,
    read_table,
)
from GliomaSegLib.zoo.card import Card, find_card
from Testing.bench.cases import MODEL, SHARED, store

OWN_MODEL = "gliomaseg-any-v1"

# Folder of the prepared cases; that of a training will do.
CACHE_VARIABLE = "GLIOMASEG_PREPARED"

# A CSV file to which the rows behind the means are added.
ROWS_VARIABLE = "GLIOMASEG_BENCH_ROWS"

Subset = tuple[Sequence, ...]

ALL_SUBSETS = tuple(subset for size in range(4, 0, -1) for subset in itertools.combinations(Sequence, size))
T1N, T1C, T2W, T2F = Sequence
BRATS_SUBSETS = ((T1N, T1C, T2W, T2F), (T1N, T1C, T2W), (T1C,), (T2F,))
CLINICAL_SUBSETS = ((T1N, T1C, T2F), (T1N, T1C), (T2F,))


def own() -> None:
    """gliomaseg-any-v1: all fifteen subsets on BraTS-style cases, three on clinical ones, none of them trained on."""
    _table(OWN_MODEL, ALL_SUBSETS, CLINICAL_SUBSETS)


def published() -> None:
    """CA-CNN on the same cases, for the subsets that matter most."""
    _table(MODEL, BRATS_SUBSETS, CLINICAL_SUBSETS)


def _table(model: str, brats_subsets: Collection[Subset], clinical_subsets: Collection[Subset]) -> None:
    device = choose_device("cpu")
    card = find_card(model)
    segmenter = load_model(model, store().weights(card), device, choose_precision(device))
    for title, rows, subsets in (
        ("BraTS style", unseen("brats2021", "brats-other"), brats_subsets),
        ("clinical lower-grade gliomas", unseen("tcga-"), clinical_subsets),
    ):
        print(f"{model}, {title}, {len(rows)} cases")
        _print_means(scores(card, segmenter, rows, subsets))


def unseen(*hospitals: str) -> list[CaseRow]:
    """The test and validation cases of the hospitals whose names begin so, prepared."""
    recipes = resource("recipes")
    splits = read_splits(recipes / "splits.json")
    patients = {*splits["test"], *splits["validation"]}
    rows = read_table(recipes / "development-cases.csv", SHARED / "data")
    chosen = [row for row in rows if row.patient in patients and row.hospital.startswith(hospitals)]
    prepare_all(chosen, cache(), torch.device("cpu"))
    return chosen


def cache() -> Path:
    """Where prepared cases are kept."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path(tempfile.gettempdir()) / "gliomaseg-bench-prepared")


def scores(
    card: Card, segmenter: Segmenter, rows: Collection[CaseRow], subsets: Collection[Subset]
) -> Iterator[tuple[str, Subset, dict[Region, float], float, float]]:
    """Per case and subset: Dice of what the case has and the model gives, mL of false enhancing tumour, seconds."""
    for row in rows:
        case = read_prepared(prepared_path(row, cache()))
        for subset in subsets:
            images = _given(case, subset)
            if len(images) < len(subset):
                continue
            began = time.perf_counter()
            labels = segmenter.predict(images, Silent(), seed=1).labels
            seconds = time.perf_counter() - began
            dice, false_ml = {}, 0.0
            for region in set(case.known) & set(card.regions_given(subset)):
                found, true = region_mask(labels, region), region_mask(case.labels, region)
                if true.any():
                    dice[region] = float(2 * (found & true).sum() / (found.sum() + true.sum()))
                elif region is Region.ET:
                    false_ml = float(found.sum() * np.prod(case.spacing_mm) / 1000)
            yield case.name, subset, dice, false_ml, seconds


def _given(case: TrainingCase, subset: Subset) -> dict[Sequence, np.ndarray]:
    return {
        sequence: case.images[place].astype(np.float32)
        for place, sequence in enumerate(CHANNELS)
        if sequence in subset and case.present[place]
    }


def _print_means(scored: Iterator[tuple[str, Subset, dict[Region, float], float, float]]) -> None:
    by_subset: dict[Subset, dict[str, list[float]]] = {}
    with Path(os.environ.get(ROWS_VARIABLE) or os.devnull).open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        for name, subset, dice, false_ml, seconds in scored:
            own = by_subset.setdefault(subset, {})
            for region, value in dice.items():
                own.setdefault(region.value, []).append(value)
            own.setdefault("false ET mL", []).append(false_ml)
            own.setdefault("s", []).append(seconds)
            writer.writerow([name, _named(subset), *(dice.get(region, "") for region in Region), false_ml, seconds])
            stream.flush()
    for subset, values in by_subset.items():
        figures = [
            f"{key} {np.mean(values[key]):.3f} (median {np.median(values[key]):.3f}, n {len(values[key])})"
            for key in ("WT", "TC", "ET")
            if key in values
        ]
        print(
            f"{_named(subset):<18} {'  '.join(figures)}  false ET at most {max(values['false ET mL']):.2f} mL, "
            f"{np.median(values['s']):.1f} s",
            flush=True,
        )


def _named(subset: Subset) -> str:
    return "+".join(sequence.value for sequence in subset)
