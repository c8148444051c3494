"""The demonstration: a phantom study walks the whole road, and its result is compared with the known truth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.evaluation.metrics import RegionScore, evaluate
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.results import LABEL_MAP
from GliomaSegLib.job import Job, Result
from GliomaSegLib.labels import Region
from GliomaSegLib.phantom import make_phantom
from GliomaSegLib.pipeline import run
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.card import Card, find_card
from GliomaSegLib.zoo.store import Store

MODEL = "ca-cnn-brats17"
SHARED_VARIABLE = "GLIOMASEG_SHARED"  # a folder with weights/<model>, for machines without a network

# The road is broken when a region comes out below this Dice; a sound one is well above (README).
LEAST_DICE: Mapping[Region, float] = {Region.WT: 0.80, Region.TC: 0.70, Region.ET: 0.60}


@dataclass(frozen=True)
class Demonstration:
    """What came out of the phantom, and how it compares with the truth."""

    result: Result
    scores: Mapping[Region, RegionScore]

    @property
    def passed(self) -> bool:
        """Whether every region reaches its least Dice."""
        return all(self.scores[region].dice >= least for region, least in LEAST_DICE.items())

    @property
    def verdict(self) -> str:
        """One line with the Dice of each region."""
        dice = ", ".join(
            f"{region.value} {self.scores[region].dice:.3f} (at least {least:.2f})"
            for region, least in LEAST_DICE.items()
        )
        return f"Dice against the phantom's truth: {dice}: {'passed' if self.passed else 'FAILED'}."


def demonstrate(output: Path, store: Store, download: bool, progress: Progress) -> Demonstration:
    """Make the phantom in ``output/phantom``, segment it into ``output/results`` and compare.

    The weights are those of ``store``; else they are installed into ``output/models`` from the folder that
    ``GLIOMASEG_SHARED`` names, or from their public address if ``download`` is set.

    Raises:
        WeightsError: there are no weights; the sentence says how to install them.
    """
    card = find_card(MODEL)
    store = _with_weights(card, store, output / "models", download, progress)
    progress.stage("phantom")
    phantom = make_phantom()
    phantom.write(output / "phantom")
    job = Job(
        study=output / "phantom" / "study",
        model=MODEL,
        output=output / "results",
        case_id="Phantom",
        time_point="preoperative",
        overwrite=True,
        store=store.root,
    )
    result = run(job, progress)
    return Demonstration(result, evaluate(read_labels(job.output / LABEL_MAP), phantom.truth))


def _with_weights(card: Card, store: Store, own: Path, download: bool, progress: Progress) -> Store:
    if store.is_installed(card):
        return store
    shared = Path(os.environ.get(SHARED_VARIABLE, "")) / "weights" / card.id
    source = shared if os.environ.get(SHARED_VARIABLE) and shared.is_dir() else None
    if source is None and not download:
        raise WeightsError(
            f"The demonstration needs the weights of '{card.id}' ({card.weights.size_bytes / 1e6:.0f} MB), which are "
            f"not installed; run 'gliomaseg models install {card.id}' (or add '--from DIR' without a network), or say "
            "'gliomaseg demo --download'."
        )
    Store(own).install(card, source, progress)
    return Store(own)
