"""Selects a network's input modalities, output regions and slice plane from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.training.sampling import CHANNELS, PooledCase


@dataclass(frozen=True)
class Task:
    """The input and output channels of a network in their order, and the plane of its slices, as in a recipe."""

    sequences: tuple[Modality, ...] = CHANNELS
    regions: tuple[Region, ...] = TUMOUR_REGIONS
    plane: Plane = Plane.AXIAL

    @property
    def own(self) -> NDArray[np.bool_]:
        """Which of the four modalities the network uses, ``bool [4]``."""
        return np.array([channel in self.sequences for channel in CHANNELS])

    def usable(self, cases: Sequence[PooledCase]) -> list[PooledCase]:
        """The cases with at least one of the modalities and reference labels of at least one of the regions.

        Raises:
            InputError: there are cases, but none of these.
        """
        places = [TUMOUR_REGIONS.index(region) for region in self.regions]
        usable = [case for case in cases if (case.present & self.own).any() and case.known[places].any()]
        if cases and not usable:
            raise InputError(
                f"None of the {len(cases)} cases has {' or '.join(one.title for one in self.sequences)} and reference "
                f"labels of {' or '.join(one.value for one in self.regions)}, which the recipe "
                "needs; give it other cases."
            )
        return usable

    def seen(self, images: Tensor) -> Tensor:
        """The network's input from images ``[batch, 4, z, y, x]``."""
        return self._turned(images[:, [CHANNELS.index(sequence) for sequence in self.sequences]])

    def asked(self, regions: Tensor) -> Tensor:
        """Values per region ``[batch, 3, z, y, x]`` in the order and orientation of the network's output."""
        return self._turned(regions[:, [TUMOUR_REGIONS.index(region) for region in self.regions]])

    def _turned(self, volumes: Tensor) -> Tensor:
        return volumes.permute(0, 1, *(axis + 2 for axis in self.plane.axes))
