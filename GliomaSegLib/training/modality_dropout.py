"""Modality dropout: modalities are dropped at random, so that the network learns to segment without them.

Eijgelaar RS et al., Robust deep learning-based segmentation of glioblastoma on routine clinical MRI scans using
sparsified training, Radiology: Artificial Intelligence 2:e190103, 2020. A missing modality is a channel of exact
zeros, set after normalisation, which is the mean of the brain.

A sampler maps the modalities of a case, ``bool [4]`` in the order T1n, T1c, T2w, T2f, to those that the network is
given: at least one, and only modalities of the case.
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
    """No dropout: all modalities of the case."""
    return present.copy()


def eijgelaar2020(probability: float = 0.2) -> Sampler:
    """The sampler of the paper: T1c is always kept, every other modality is dropped independently.

    A case without T1c, which the paper does not consider, keeps at least one of its modalities.
    """

    def sample(present: Present, rng: np.random.Generator) -> Present:
        kept = present & (rng.random(len(_CHANNELS)) >= probability)
        kept[_CHANNELS.index(Modality.T1C)] = present[_CHANNELS.index(Modality.T1C)]
        if not kept.any():
            kept[rng.choice(np.flatnonzero(present))] = True
        return kept

    return sample


def any_subset(complete: float = 0.25, without: Mapping[Modality, float] | None = None) -> Sampler:
    """A random non-empty subset of the modalities of the case.

    Args:
        complete: probability of all modalities of the case.
        without: per modality, the factor by which proper subsets without it are more probable than those with it; 1 by
            default.
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
