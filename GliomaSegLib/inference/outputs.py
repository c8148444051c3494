"""Converts the probabilities of a network's output channels to labels and maps of regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import REGION_LABELS, Label, Region

Array = NDArray[np.float32]

# Probabilities float32 [class, z, y, x] to internal labels uint8 [z, y, x] and the maps of regions.
Answer = Callable[[Array], tuple[NDArray[np.uint8], dict[Region, Array]]]


def regions_per_channel(order: Sequence[Region], threshold: float = 0.5) -> Answer:
    """For networks with a sigmoid and a channel per region, in ``order``.

    A region is where its probability reaches ``threshold``. The regions are made nested as in the networks' own
    packages: enhancing tumour is added to the core, and core to the tumour.
    """

    def answer(probabilities: Array) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
        maps = dict(zip(order, probabilities, strict=True))
        nothing = np.zeros(probabilities.shape[1:], np.bool_)
        whole, core, enhancing, cavity = (
            maps[region] >= threshold if region in maps else nothing
            for region in (Region.WT, Region.TC, Region.ET, Region.RC)
        )
        labels = compose(whole | core | enhancing, core | enhancing, enhancing)
        labels[cavity] = Label.RC
        return labels, maps

    return answer


def label_per_channel(order: Sequence[Label], threshold: float = 0.5) -> Answer:
    """For networks with a softmax and a channel per label, in ``order``, the background first: the most likely one.

    With two channels the second is taken where its probability reaches ``threshold``. A region's probability is the
    sum of those of its labels.
    """
    maps = {
        region: [channel for channel, label in enumerate(order) if label in labels]
        for region, labels in REGION_LABELS.items()
        if set(labels) & set(order)
    }
    numbers = np.array([int(label) for label in order], np.uint8)

    def answer(probabilities: Array) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
        regions = {region: probabilities[channels].sum(axis=0) for region, channels in maps.items()}
        if len(order) == 2:
            return numbers[(probabilities[1] >= threshold).astype(np.intp)], regions
        return numbers[probabilities.argmax(axis=0)], regions

    return answer
