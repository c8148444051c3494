"""Dice on real cases: the whole road from the files to the regions."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from GliomaSegLib.case import Sequence
from GliomaSegLib.evaluation.metrics import summarise
from Testing.bench.cases import BenchCase, Scored, brats2021, clinical, score

SEEDS = range(5)

# The BraTS cases are stripped and in place: what is only about the network can do without those stages.
NETWORK_ONLY = {"registration": False, "brain": "stripped"}


def brats() -> None:
    """Dice per case and mean on the BraTS 2021 cases."""
    _summary(_scored(brats2021(), score))


def seeds() -> None:
    """Dice with five seeds of the noise that CA-CNN puts around the brain, on the BraTS 2021 cases."""
    for case in brats2021():
        runs = [score(case, seed=seed, **NETWORK_ONLY) for seed in SEEDS]
        for region, first in runs[0].regions.items():
            if first.truth_ml:
                dice = [run.regions[region].dice for run in runs]
                print(case.name, region.value, *(f"{one:.3f}" for one in dice), f"sd {np.std(dice):.4f}", flush=True)


def subsets() -> None:
    """Mean Dice for each of the fifteen subsets of sequences, on the BraTS 2021 cases that have all regions."""
    cases = [case for case in brats2021() if case.name[-2:] in ("76", "79", "82", "85")]
    for size in range(4, 0, -1):
        for present in itertools.combinations(Sequence, size):
            scored = [score(case, present, **NETWORK_ONLY) for case in cases]
            means = {region: np.mean([one.regions[region].dice for one in scored]) for region in scored[0].regions}
            names = "+".join(sequence.value for sequence in present)
            print(names, *(f"{region.value} {mean:.3f}" for region, mean in means.items()), flush=True)


def clinic() -> None:
    """WT on the fifty clinical patients with all their sequences."""
    _summary(_scored(clinical(), score))


def clinic_without_flair() -> None:
    """WT on the clinical patients once FLAIR is taken away."""
    others = [sequence for sequence in Sequence if sequence is not Sequence.T2F]
    cases = [case for case in clinical() if any(case.study.glob("*_t1*"))]
    _summary(_scored(cases, lambda case: score(case, others)))


def _scored(cases: list[BenchCase], scoring: Callable[[BenchCase], Scored]) -> list[Scored]:
    scored = []
    for case in cases:
        one = scoring(case)
        scored.append(one)
        dice = "  ".join(
            f"{region.value} {values.dice:.3f}" + ("" if values.truth_ml else f" (none; {values.prediction_ml:.2f} mL)")
            for region, values in one.regions.items()
        )
        print(f"{one.name:<26} {dice}   {sum(one.seconds.values()):.0f} s", flush=True)
    return scored


def _summary(scored: list[Scored]) -> None:
    """Regions that the truth does not have are left out: their Dice says only whether anything was marked."""
    for row in summarise([{r: s for r, s in one.regions.items() if s.truth_ml} for one in scored]):
        if row.metric in ("dice", "hd95_mm"):
            print(
                f"{row.region.value} {row.metric}: mean {row.mean:.3f} median {row.median:.3f} quartiles "
                f"{row.lower_quartile:.3f} {row.upper_quartile:.3f} ({row.cases} cases, {row.undefined} undefined)"
            )
