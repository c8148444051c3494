"""A network's inputs and outputs of a sample: which sequences, which regions, cut from which side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import REGIONS
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import Region
from GliomaSegLib.training.sampling import CHANNELS, PooledCase


@dataclass(frozen=True)
class Task:
    """Attributes as in a recipe: the network's channels in their order, and the plane of its slices."""

    sequences: tuple[Modality, ...] = CHANNELS
    regions: tuple[Region, ...] = REGIONS
    plane: Plane = Plane.AXIAL

    @property
    def own(self) -> NDArray[np.bool_]:
        """Which of the four sequences belong to the task."""
        return np.array([channel in self.sequences for channel in CHANNELS])

    def usable(self, cases: Sequence[PooledCase]) -> list[PooledCase]:
        """The cases that have one of the sequences and know one of the regions.

        Raises:
            InputError: there are cases, but none of them does.
        """
        places = [REGIONS.index(region) for region in self.regions]
        usable = [case for case in cases if (case.present & self.own).any() and case.known[places].any()]
        if cases and not usable:
            raise InputError(
                f"None of the {len(cases)} cases has {' or '.join(one.title for one in self.sequences)} and reference "
                f"labels of {' or '.join(one.value for one in self.regions)}, which the recipe "
                "needs; give it other cases."
            )
        return usable

    def seen(self, images: Tensor) -> Tensor:
        """``[batch, 4, z, y, x]`` as the network takes it."""
        return self._turned(images[:, [CHANNELS.index(sequence) for sequence in self.sequences]])

    def asked(self, regions: Tensor) -> Tensor:
        """``[batch, 3, z, y, x]``, any values per region, as the network gives it."""
        return self._turned(regions[:, [REGIONS.index(region) for region in self.regions]])

    def _turned(self, volumes: Tensor) -> Tensor:
        return volumes.permute(0, 1, *(axis + 2 for axis in self.plane.axes))
