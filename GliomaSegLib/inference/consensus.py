"""The consensus of several segmentations on one grid, and their agreement.

Predictions of several models are fused region by region; majority and STAPLE also serve for readers' contours. The
agreement map shows where a reader should look first; QU-BraTS evaluates such maps (Mehta 2022, Machine Learning for
Biomedical Imaging 2022:026).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.outputs import Array, regions_per_channel
from GliomaSegLib.label_maps import dice, region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Consensus, Vote
from GliomaSegLib.postprocessing import Mask
from GliomaSegLib.preprocessing.cropping import bounding_box


def consensus(masks: Sequence[Mask], how: Consensus = Consensus.MAJORITY) -> Mask:
    """The consensus of several masks ``[z, y, x]``; in a majority vote a tie is background.

    Raises:
        InputError: there is none, or their shapes differ.
    """
    if not masks or len({mask.shape for mask in masks}) > 1:
        raise InputError("A consensus needs at least one segmentation, and all of them on one grid.")
    if how is Consensus.MAJORITY:
        return np.asarray(2 * np.sum(masks, axis=0, dtype=np.int32) > len(masks))
    return staple(masks).mask


@dataclass(frozen=True)
class Staple:
    """The consensus by STAPLE, and each segmentation's sensitivity and specificity."""

    mask: Mask
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]


def staple(masks: Sequence[Mask]) -> Staple:
    """STAPLE of masks ``[z, y, x]`` at a probability of 0.5 (Warfield 2004, IEEE Trans Med Imaging 23:903).

    Restricted to the box around all masks: with a large background all specificities would be 1, and STAPLE would
    favour the largest mask.
    """
    together = np.any(masks, axis=0)
    if not together.any():
        return Staple(together, (1.0,) * len(masks), (1.0,) * len(masks))
    box = bounding_box(together, 1)
    estimator = sitk.STAPLEImageFilter()
    estimator.SetForegroundValue(1)
    probability = estimator.Execute([sitk.GetImageFromArray(mask[box].astype(np.uint8)) for mask in masks])
    result = np.zeros_like(together)
    result[box] = sitk.GetArrayViewFromImage(probability) >= 0.5
    return Staple(result, tuple(estimator.GetSensitivity()), tuple(estimator.GetSpecificity()))


@dataclass(frozen=True)
class MemberPrediction:
    """The prediction of one model of an ensemble.

    Attributes:
        labels: ``uint8 [z, y, x]``, internal scheme, after the post-processing of its card.
        regions: those that it segments; others are unknown.
        probabilities: per region ``float32 [z, y, x]`` in 0..1, if it has maps.
    """

    labels: NDArray[np.uint8]
    regions: tuple[Region, ...]
    probabilities: Mapping[Region, Array] = field(default_factory=dict)

    def probability(self, region: Region) -> Array:
        """The probability map of one of its regions, or its mask as 0 and 1 without a map."""
        return self.probabilities.get(region, self.mask(region).astype(np.float32))

    def mask(self, region: Region) -> Mask:
        """The mask of the region."""
        return region_mask(self.labels, region)


def fuse(members: Sequence[MemberPrediction], vote: Vote) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
    """Fuse two or more predictions on one grid to a label map and a map per region, ``[z, y, x]``.

    Each region is decided by the models that segment it. Enhancing tumour is added to the core, and core to the tumour.
    With ``mean`` the maps are mean probabilities, otherwise the masks as 0 and 1.
    """
    regions = [region for region in Region if any(region in one.regions for one in members)]
    maps = [_fused_region([one for one in members if region in one.regions], region, vote) for region in regions]
    return regions_per_channel(regions)(np.stack(maps))


def _fused_region(members: Sequence[MemberPrediction], region: Region, vote: Vote) -> Array:
    if vote == Vote.MEAN:
        return np.mean([one.probability(region) for one in members], axis=0, dtype=np.float32)
    return consensus([one.mask(region) for one in members], Consensus(vote)).astype(np.float32)


def agreement(labels: NDArray[np.uint8], members: Sequence[MemberPrediction]) -> NDArray[np.uint8]:
    """Agreement of the models with their fused ``labels`` in per cent, ``uint8 [z, y, x]``.

    Per voxel the minimum over the regions of the fraction of models (of those that segment the region) that agree.
    """
    least = np.full(labels.shape, 100, np.uint8)
    for region in Region:
        asked = [one for one in members if region in one.regions]
        if asked:
            answer = region_mask(labels, region)
            same = np.sum([one.mask(region) == answer for one in asked], axis=0, dtype=np.uint16)
            np.minimum(least, same * 100 // len(asked), out=least, casting="unsafe")
    return least


def mean_dice(members: Sequence[MemberPrediction]) -> dict[Region, float]:
    """Mean Dice over all pairs of models and their common regions; 1 if both are empty."""
    found = {}
    for region in Region:
        masks = [one.mask(region) for one in members if region in one.regions]
        pairs = [dice(first, second) for first, second in itertools.combinations(masks, 2)]
        if pairs:
            found[region] = sum(pairs) / len(pairs)
    return found
