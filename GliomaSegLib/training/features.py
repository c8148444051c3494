"""Fits the distribution of a network's features on its training cases, for the distance of other cases to them.

The model's coarse network is run on every training case with every subset of its modalities. The features are the means
of a layer's maps over the brain. Fitted are a mean for every set of modalities, one common covariance, shrunk after
Ledoit and Wolf (J Multivar Anal 88:365, 2004), and the distance of every training case to a fit without its patient.
See :mod:`GliomaSegLib.inference.training_distance`; the command is ``python -m GliomaSegLib.cli.training_features``.

If few cases have a set of modalities, its mean would only represent these cases. It is therefore estimated: the mean of
the largest frequent subset, plus the mean difference in the cases that have both.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.coarse_fine import CoarseFine
from GliomaSegLib.inference.device import choose_precision
from GliomaSegLib.inference.training_distance import Group, TrainingFeatures
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.training.dataset import TrainingCase, prepare_all, prepared_path, read_prepared
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import family
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.store import Store

FEWEST = 20
"""Least number of cases with a set of modalities for a mean and a limit of its own."""

FEWEST_PAIRS = 5
"""Least number of cases for the estimated mean of a rarer set; with fewer the set is left out."""


@dataclass(frozen=True)
class Sample:
    """The features ``[n]`` of a case with the modalities ``present`` as input."""

    case: str
    patient: str
    present: frozenset[Modality]
    features: NDArray[np.float64]


def samples_of(case: TrainingCase, network: CoarseFine, layer: str) -> Iterator[Sample]:
    """The features of a case with each subset of its modalities."""
    images = case.by_modality()
    for size in range(1, len(images) + 1):
        for subset in itertools.combinations(images, size):
            seen = {sequence: images[sequence] for sequence in subset}
            yield Sample(case.name, case.patient, frozenset(subset), network.features(seen, layer))


def fit(samples: Iterable[Sample], layer: str, fewest: int = FEWEST) -> TrainingFeatures:
    """Fit the distribution of the samples, and measure the distance of each to those of other patients.

    Raises:
        InputError: no set of modalities has ``fewest`` samples.
    """
    by_set = _by_set(samples)
    common = {present: own for present, own in by_set.items() if len(own) >= fewest}
    if not common:
        raise InputError(f"No set of sequences has {fewest} cases; give more cases.")
    whitening, means = _gaussians(common)
    distances: dict[frozenset[Modality], list[float]] = defaultdict(list)
    for patient in sorted({one.patient for own in common.values() for one in own}):
        others = {present: [one for one in own if one.patient != patient] for present, own in common.items()}
        without, their_means = _gaussians(others)
        for present, own in common.items():
            distances[present] += [
                float(np.linalg.norm(without @ (one.features - their_means[present])))
                for one in own
                if one.patient == patient
            ]
    groups = {present: Group(means[present], np.sort(distances[present])) for present in common}
    for present in [one for one in by_set if one not in common]:
        known = max((one for one in common if one < present), key=len, default=None)
        changes = _changes(by_set[present], by_set[known]) if known else []
        if known and len(changes) >= FEWEST_PAIRS:
            groups[present] = Group(means[known] + np.mean(changes, axis=0), groups[known].distances)
    return TrainingFeatures(layer, whitening, groups)


def _by_set(samples: Iterable[Sample]) -> dict[frozenset[Modality], list[Sample]]:
    by_set: dict[frozenset[Modality], list[Sample]] = defaultdict(list)
    for one in samples:
        by_set[one.present].append(one)
    return by_set


def _changes(more: list[Sample], fewer: list[Sample]) -> list[NDArray[np.float64]]:
    """Per case the difference of the features with more and with fewer modalities."""
    before = {one.case: one.features for one in fewer}
    return [one.features - before[one.case] for one in more if one.case in before]


def _gaussians(
    by_set: Mapping[frozenset[Modality], list[Sample]],
) -> tuple[NDArray[np.float64], dict[frozenset[Modality], NDArray[np.float64]]]:
    """The common whitening matrix ``[features, features]`` and the mean of each set."""
    stacked = {present: np.stack([one.features for one in own]) for present, own in by_set.items()}
    means = {present: features.mean(0) for present, features in stacked.items()}
    residuals = np.concatenate([features - means[present] for present, features in stacked.items()])
    scale = residuals.std(0) + 1e-6 * residuals.std()
    root = np.linalg.cholesky(np.linalg.inv(shrunk_covariance(residuals / scale)))
    return root.T / scale, means


def shrunk_covariance(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The covariance ``[features, features]`` of ``residuals [samples, features]`` with mean 0, shrunk towards a
    multiple of the identity by Ledoit and Wolf 2004 (equations 11 to 14)."""
    count, size = residuals.shape
    sample = residuals.T @ residuals / count
    target = np.trace(sample) / size * np.eye(size)
    noise = (((residuals**2).sum(1) ** 2).sum() / count - (sample**2).sum()) / count
    share = min(1.0, noise / ((sample - target) ** 2).sum())
    return share * target + (1 - share) * sample


def features_of(
    model: str, layer: str, rows: list[CaseRow], cache: Path, progress: Progress | None = None
) -> TrainingFeatures:
    """Prepare the cases of ``rows`` in the folder ``cache`` and fit the features of ``model``.

    Raises:
        InputError: a case cannot be prepared, or the model has no coarse network.
        WeightsError: its weights are missing or damaged.
    """
    progress = progress or Silent()
    card = find_card(model)
    device = torch.device("cpu")
    precision = choose_precision(device)
    weights = Store(default_store()).weights(card)
    parameters = card.loader_parameters | {"training_features": None}  # not yet existing
    network = family(card.network.family).load(weights, parameters, device, precision)
    if not isinstance(network, CoarseFine):
        raise InputError(f"The model '{model}' has no coarse network; name one of the family 'any-unet'.")
    prepare_all(rows, cache, device, progress)
    progress.stage("looking at the cases")
    samples: list[Sample] = []
    for done, row in enumerate(rows):
        progress.advance(done / len(rows), row.case)
        samples += samples_of(read_prepared(prepared_path(row, cache)), network, layer)
    return fit(samples, layer)
