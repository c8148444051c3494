"""Generates a folder of synthetic cases, which training reads like prepared ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.training.dataset import TrainingCase, write_case
from GliomaSegLib.training.synthesis.generator import Synthesiser
from GliomaSegLib.training.synthesis.label_maps import LabelMap
from GliomaSegLib.training.synthesis.sample import Sample

HOSPITAL = "synthetic"  # the hospital of synthetic cases, for the shares in a recipe


def pool_folder(cache: Path, made_from: Sequence[str | None], spacing_mm: float, seed: int) -> Path:
    """The folder of the synthetic cases that are drawn from just these sources (their keys and hashes): cases that
    another split or fold holds out must not return in them."""
    what = json.dumps([made_from, spacing_mm, seed])
    return cache / f"{HOSPITAL}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def write_pool(
    cases: Iterable[TrainingCase],
    folder: Path,
    spacing_mm: float,
    count: int,
    seed: int = 0,
    progress: Progress | None = None,
    label_maps: Sequence[LabelMap] = (),
) -> list[Path]:
    """Generate ``count`` cases and write each atomically into ``folder``; existing ones are kept.

    Every case has its own seed, so that interruptions do not change the result.

    Args:
        cases: training cases only, with voxel sizes of which ``spacing_mm`` is a multiple.
        label_maps: tumours of further patients, on voxels of ``spacing_mm``; see :class:`Synthesiser`.

    Raises:
        InputError: no case knows the whole tumour.
    """
    progress = progress or Silent()
    progress.stage("making synthetic cases")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{HOSPITAL}-{number:05}.npz" for number in range(count)]
    if all(path.exists() for path in paths):
        return paths
    samples = [coarsened(case, spacing_mm) for case in cases if Region.WT in case.known]
    if not samples:
        raise InputError(
            "None of the training cases has reference labels of the whole tumour, so none can be synthesised."
        )
    synthesiser = Synthesiser(samples, spacing_mm, np.random.default_rng(seed), label_maps=label_maps)
    for number, path in enumerate(paths):
        progress.advance(number / count, path.stem)
        if not path.exists():
            drawn = synthesiser.draw(np.random.default_rng([seed, number]))
            write_case(_as_training_case(drawn, path.stem, spacing_mm), f"{HOSPITAL}-{seed}", path)
    return paths


def _as_training_case(sample: Sample, name: str, spacing_mm: float) -> TrainingCase:
    return TrainingCase(
        name=name,
        patient=name,
        hospital=HOSPITAL,
        images=sample.images.astype(np.float16),
        brain=sample.brain,
        labels=sample.labels,
        known=sample.known,
        spacing_mm=(spacing_mm,) * 3,
    )


def coarsened(case: TrainingCase, spacing_mm: float) -> Sample:
    """Downsample a case: mean of the images, most frequent label, brain where at least half of a voxel is brain."""
    factors = tuple(max(1, round(spacing_mm / edge_mm)) for edge_mm in case.spacing_mm)
    brain = _blocks(case.brain, factors) >= 0.5
    shares = np.stack([_blocks(case.labels == label, factors) for label in range(int(case.labels.max()) + 1)])
    images = np.stack([_blocks(image, factors) for image in case.images]) * brain
    return Sample(images, brain, shares.argmax(axis=0).astype(np.uint8) * brain, tuple(case.known))


def _blocks(volume: NDArray, factors: tuple[int, ...]) -> NDArray[np.float32]:
    """Means over blocks of voxels, after padding with zeros at the ends."""
    padded = np.pad(
        volume.astype(np.float32), [(0, -size % by) for size, by in zip(volume.shape, factors, strict=True)]
    )
    split = [part for size, by in zip(padded.shape, factors, strict=True) for part in (size // by, by)]
    return padded.reshape(split).mean(axis=(1, 3, 5))
