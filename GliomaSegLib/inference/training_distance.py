"""The distance of a case's images to the training cases of a network (out-of-distribution score).

It is the Mahalanobis distance of the means of a deep layer's maps over the brain to those of the training cases, with a
common covariance (Lee K et al., NeurIPS 2018; for segmentation González C et al., Med Image Anal 82:102596, 2022). Each
set of modalities has its own mean, as each class in Lee.

The limit is the largest distance of a training case, measured without its patient. The distance does not predict Dice
(docs/models.md); it detects a change of the incoming images. :mod:`GliomaSegLib.training.features` makes the file of
the training features.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import WeightsError

_LAYER = "layer"
_WHITENING = "whitening"
_MEAN, _DISTANCES = "mean.", "distances."


@dataclass(frozen=True)
class TrainingDistance:
    """The distance of a case to the training cases, reduced to the same modalities.

    Attributes:
        distance: Mahalanobis distance of the network's features.
        limit: the largest distance of a training case.
        nearer: number of training cases with a smaller distance.
        cases: number of training cases.
    """

    distance: float
    limit: float
    nearer: int
    cases: int

    @property
    def of_limit(self) -> float:
        """The distance as a fraction of the limit, comparable between sets of modalities; above 1 it is far."""
        return self.distance / self.limit

    def __str__(self) -> str:
        return (
            f"further than {self.nearer} of {self.cases} training cases (Mahalanobis distance {self.distance:.1f}, of "
            f"theirs the largest {self.limit:.1f})"
        )


def share_of_limit(manifest: Mapping[str, Any]) -> float | None:
    """The :attr:`TrainingDistance.of_limit` in a manifest; for an ensemble the largest of its members."""
    model = manifest["model"]
    stored = [one.get("training_distance") for one in (model, *model.get("members", ()))]
    return max((TrainingDistance(**one).of_limit for one in stored if one), default=None)


@dataclass(frozen=True)
class Group:
    """The training cases, reduced to one set of modalities.

    Attributes:
        mean: ``[features]``.
        distances: of the cases, each with its patient left out, ascending.
    """

    mean: NDArray[np.floating]
    distances: NDArray[np.floating]


@dataclass(frozen=True)
class TrainingFeatures:
    """The distribution of the features of a network's training cases.

    Attributes:
        layer: of the network, by its name in torch: the features are the means of its maps over the brain.
        whitening: ``[features, features]``, a square root of the precision matrix: it maps a difference to the mean to
            a vector whose length is the Mahalanobis distance.
        groups: by set of modalities; other sets have no distance.
    """

    layer: str
    whitening: NDArray[np.floating]
    groups: Mapping[frozenset[Modality], Group]

    def distance(self, features: NDArray[np.floating], present: Collection[Modality]) -> TrainingDistance | None:
        """The distance of a case with ``features [n]``; ``None`` if too few training cases had the same modalities."""
        group = self.groups.get(frozenset(present))
        if group is None:
            return None
        distance = float(np.linalg.norm(self.whitening @ (features - group.mean)))
        return TrainingDistance(
            distance=round(distance, 3),
            limit=round(float(group.distances[-1]), 3),
            nearer=int(np.searchsorted(group.distances, distance)),
            cases=len(group.distances),
        )

    def write(self, path: Path) -> None:
        """Write it as one safetensors file."""
        tensors = {_WHITENING: self.whitening}
        for present, group in self.groups.items():
            tensors |= {_MEAN + _name(present): group.mean, _DISTANCES + _name(present): group.distances}
        save_file(
            {name: np.ascontiguousarray(one, np.float32) for name, one in tensors.items()}, path, {_LAYER: self.layer}
        )


def read_training_features(path: Path) -> TrainingFeatures:
    """Read a file that :meth:`TrainingFeatures.write` wrote.

    Raises:
        WeightsError: the file is missing, damaged, or something else.
    """
    try:
        with safe_open(path, "numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
            layer = file.metadata()[_LAYER]
        names = [name.removeprefix(_MEAN) for name in tensors if name.startswith(_MEAN)]
        groups = {
            frozenset(map(Modality, name.split("+"))): Group(tensors[_MEAN + name], tensors[_DISTANCES + name])
            for name in names
        }
        return TrainingFeatures(layer, tensors[_WHITENING], groups)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}, which a case's distance to the training data is measured by, cannot be read ({error}); install "
            "GliomaSeg again."
        ) from error


def _name(present: Collection[Modality]) -> str:
    return "+".join(sequence.value for sequence in Modality if sequence in present)
