"""Dice on real cases: the whole road from the files to the regions."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from GliomaSegLib.case import Sequence
from GliomaSegLib.evaluation.metrics import summarise
from GliomaSegLib.labels import Region
from Testing.bench.cases import Scored, brats2021, clinical, score

SEEDS = range(5)


def brats() -> None:
    """Dice per case and mean on the BraTS 2021 cases."""
    scored = _scored(brats2021(), score)
    _summary(scored)


def seeds() -> None:
    """Spread of the Dice over five seeds of the noise that CA-CNN puts around the brain."""
    for case in brats2021():
        runs = [score(case, seed=seed) for seed in SEEDS]
        spread = {
            region.value: [run.regions[region].dice for run in runs]
            for region in case.regions
            if _present(runs, region)
        }
        text = "  ".join(f"{name} {min(d):.3f} to {max(d):.3f} (sd {np.std(d):.4f})" for name, d in spread.items())
        print(f"{case.name}  {text}", flush=True)


def subsets() -> None:
    """Mean Dice for each of the fifteen subsets of sequences, on the BraTS 2021 cases."""
    cases = brats2021()
    for size in range(4, 0, -1):
        for present in itertools.combinations(Sequence, size):
            scored = [score(case, present) for case in cases]
            means = {
                region: np.mean([one.regions[region].dice for one in scored if _counts(one, region)])
                for region in scored[0].regions
            }
            names = "+".join(sequence.value for sequence in present)
            print(names, " ".join(f"{region.value} {mean:.3f}" for region, mean in means.items()), flush=True)


def clinic() -> None:
    """WT on the fifty clinical patients with all their sequences."""
    _summary(_scored(clinical(), score))


def clinic_without_flair() -> None:
    """WT on the clinical patients once FLAIR is taken away."""
    others = [sequence for sequence in Sequence if sequence is not Sequence.T2F]
    cases = [case for case in clinical() if any(case.study.glob("*_t1*"))]
    _summary(_scored(cases, lambda case: score(case, others)))


def _scored(cases: list, scoring: Callable[..., Scored]) -> list[Scored]:
    scored = []
    for case in cases:
        one = scoring(case)
        scored.append(one)
        dice = "  ".join(
            f"{region.value} {values.dice:.3f}" + ("" if values.truth_ml else f" (none; {values.prediction_ml:.2f} mL)")
            for region, values in one.regions.items()
        )
        print(f"{one.name:<26} {dice}   {sum(one.seconds.values()):.0f} s {' '.join(one.warnings)}", flush=True)
    return scored


def _summary(scored: list[Scored]) -> None:
    """Regions that the truth does not have are left out: their Dice says only whether anything was marked."""
    for row in summarise([{r: s for r, s in one.regions.items() if s.truth_ml} for one in scored]):
        if row.metric in ("dice", "hd95_mm"):
            print(
                f"{row.region.value} {row.metric}: mean {row.mean:.3f} median {row.median:.3f} quartiles "
                f"{row.lower_quartile:.3f} {row.upper_quartile:.3f} ({row.cases} cases, {row.undefined} undefined)"
            )


def _counts(one: Scored, region: Region) -> bool:
    return one.regions[region].truth_ml > 0


def _present(runs: list[Scored], region: Region) -> bool:
    return _counts(runs[0], region)
