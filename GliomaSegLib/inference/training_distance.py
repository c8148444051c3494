"""The distance of a case's images to those that a network was trained on.

The means over the brain of a deep layer's maps are a short description of the images; their Mahalanobis distance to
those of the training cases, with one covariance for all (Lee K et al., NeurIPS 2018), detects images unlike these (for
segmentation González C et al., Med Image Anal 82:102596, 2022). Where Lee has classes there are sets of modalities
here: each has a mean of its own.

The scale comes from the training cases themselves, each measured with its patient left out of the fit: a case is far
when it lies further than all of them. The distance does not predict Dice (docs/models.md); it serves to detect a change
of the incoming images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingDistance:
    """The distance of a case to the training cases, reduced to the same modalities.

    Attributes:
        distance: Mahalanobis, of the network's features.
        limit: the largest distance of a training case.
        nearer: so many of the training cases are nearer.
        cases: of so many.
    """

    distance: float
    limit: float
    nearer: int
    cases: int

    @property
    def of_limit(self) -> float:
        """The distance as a share of the limit, comparable between sets of modalities; above 1 it is far."""
        return self.distance / self.limit

    def __str__(self) -> str:
        return (
            f"further than {self.nearer} of {self.cases} training cases (Mahalanobis distance {self.distance:.1f}, of "
            f"theirs the largest {self.limit:.1f})"
        )


def share_of_limit(manifest: Mapping[str, Any]) -> float | None:
    """The :attr:`TrainingDistance.of_limit` that a manifest holds, of an ensemble the largest of its members'."""
    model = manifest["model"]
    stored = [one.get("training_distance") for one in (model, *model.get("members", ()))]
    return max((TrainingDistance(**one).of_limit for one in stored if one), default=None)
