"""Several models' answers to one case become one, region by region, with a map of how far they agree.

Each model has been prepared and run on its own lattice; here all lie on the grid of the reference. Where two networks
see the same case their disagreement tells where a reader should look first; what such maps are worth is measured in
QU-BraTS (Mehta 2022, Machine Learning for Biomedical Imaging 2022:026).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.inference.sliding import regions_per_channel
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Consensus, Vote

Array = NDArray[np.float32]


@dataclass(frozen=True)
class MemberPrediction:
    """What one model says.

    Attributes:
        labels: ``uint8 [z, y, x]``, internal scheme, cleaned as its card says.
        regions: those that it gives for the case; of others it says nothing, neither yes nor no.
        probabilities: per region ``float32 [z, y, x]`` in 0..1, where it has them.
    """

    labels: NDArray[np.uint8]
    regions: tuple[Region, ...]
    probabilities: Mapping[Region, Array] = field(default_factory=dict)

    def probability(self, region: Region) -> Array:
        """Of a region that it gives: its map, or 0 and 1 where it has none."""
        return self.probabilities.get(region, self.mask(region).astype(np.float32))

    def mask(self, region: Region) -> NDArray[np.bool_]:
        """Where it marks the region."""
        return region_mask(self.labels, region)


def fuse(opinions: Sequence[MemberPrediction], vote: Vote) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
    """One label map and one map per region, ``[z, y, x]``, of two opinions or more on one grid.

    Enhancing tumour counts as core and core as tumour, wherever they win their vote. A region is decided by the models
    that give it. With ``mean`` the maps are mean probabilities; otherwise 1 where the vote is won, else 0.
    """
    regions = [region for region in Region if any(region in one.regions for one in opinions)]
    maps = [_decided([one for one in opinions if region in one.regions], region, vote) for region in regions]
    return regions_per_channel(regions)(np.stack(maps))


def _decided(opinions: Sequence[MemberPrediction], region: Region, vote: Vote) -> Array:
    if vote == Vote.MEAN:
        return np.mean([one.probability(region) for one in opinions], axis=0, dtype=np.float32)
    from GliomaSegLib.evaluation.agreement import consensus  # only now: it brings MONAI's metrics with it

    return consensus([one.mask(region) for one in opinions], Consensus(vote)).astype(np.float32)


def agreement(labels: NDArray[np.uint8], opinions: Sequence[MemberPrediction]) -> NDArray[np.uint8]:
    """How far the models agree with ``labels``, the answer that was made of theirs: per cent, ``uint8 [z, y, x]``.

    Of each region, the share of the models that give it and say at this voxel what the answer says; of the regions
    the least. 100 is everybody's word, 50 of two models one's.
    """
    least = np.full(labels.shape, 100, np.uint8)
    for region in Region:
        asked = [one for one in opinions if region in one.regions]
        if asked:
            answer = region_mask(labels, region)
            same = np.sum([one.mask(region) == answer for one in asked], axis=0, dtype=np.uint16)
            np.minimum(least, same * 100 // len(asked), out=least, casting="unsafe")
    return least


def mean_dice(opinions: Sequence[MemberPrediction]) -> dict[Region, float]:
    """Mean Dice of every pair of models, of the regions that two give; 1 where both mark nothing."""
    found = {}
    for region in Region:
        masks = [one.mask(region) for one in opinions if region in one.regions]
        pairs = [_dice(first, second) for first, second in itertools.combinations(masks, 2)]
        if pairs:
            found[region] = sum(pairs) / len(pairs)
    return found


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 1.0
