"""Sparsified training: sequences are dropped at random, so that the network learns to segment without them.

Eijgelaar RS et al., Robust deep learning-based segmentation of glioblastoma on routine clinical MRI scans using
sparsified training, Radiology: Artificial Intelligence 2:e190103, 2020. A missing sequence is a channel of exact
zeros, set after normalisation: to the network that is the mean of the brain.

Channels are in the order T1n, T1c, T2w, T2f. A sampler takes which of them a case has, ``bool [4]``, and gives which
of them the network sees; it never gives back none and never one that the case does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.case import Modality

Present = NDArray[np.bool_]
Sampler = Callable[[Present, np.random.Generator], Present]

_CHANNELS = tuple(Modality)


def keep_all(present: Present, rng: np.random.Generator) -> Present:
    """No sparsification: the case as it is."""
    return present.copy()


def eijgelaar2020(probability: float = 0.2) -> Sampler:
    """The paper's sampler: T1c is always kept, every other sequence dropped independently.

    A case without T1c, which the paper does not have, keeps one of its own sequences at least.
    """

    def sample(present: Present, rng: np.random.Generator) -> Present:
        kept = present & (rng.random(len(_CHANNELS)) >= probability)
        kept[_CHANNELS.index(Modality.T1C)] = present[_CHANNELS.index(Modality.T1C)]
        if not kept.any():
            kept[rng.choice(np.flatnonzero(present))] = True
        return kept

    return sample


def any_subset(complete: float = 0.25, without: Mapping[Modality, float] | None = None) -> Sampler:
    """Any non-empty subset of what the case has.

    Args:
        complete: probability of everything that the case has.
        without: per sequence how many times as often a proper subset without it is drawn as one with it; 1 for the
            sequences not named, which draws the proper subsets uniformly.
    """
    factors = np.array([(without or {}).get(sequence, 1.0) for sequence in _CHANNELS])

    def sample(present: Present, rng: np.random.Generator) -> Present:
        own = np.flatnonzero(present)
        if len(own) == 1 or rng.random() < complete:
            return present.copy()
        subsets = np.array(
            [[bool(code >> place & 1) for place in range(len(own))] for code in range(1, 2 ** len(own) - 1)]
        )
        weights = np.where(subsets, 1.0, factors[own]).prod(axis=1)
        kept = np.zeros_like(present)
        kept[own] = subsets[rng.choice(len(subsets), p=weights / weights.sum())]
        return kept

    return sample
