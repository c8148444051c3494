"""Brain extractors of the zoo behind the interface of all extractors.

In the answer of such a model 1 is the brain; its labels are no tumour's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.preprocessing.resampling import model_grid, resample_image, resample_labels
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import Card, Space, find_card
from GliomaSegLib.zoo.loaders import family
from GliomaSegLib.zoo.store import Store, default_store

if TYPE_CHECKING:
    import torch


class ZooBrain:
    """An installed brain extractor. See :class:`GliomaSegLib.preprocessing.brain.BrainExtractor`.

    Args:
        segmenter: the loaded model.
        space: the grid that it takes.
    """

    def __init__(self, segmenter: Segmenter, space: Space) -> None:
        self._segmenter, self._space = segmenter, space

    def extract(self, image: sitk.Image) -> sitk.Image:
        """A ``uint8`` mask (1 brain) on the grid of ``image``, which may show any sequence."""
        grid = model_grid(image, self._space.spacing_mm or image.GetSpacing(), self._space.orientation)
        seen = sitk.GetArrayFromImage(resample_image(image, grid))
        found = self._segmenter.predict({Modality.T1C: seen}, Silent(), 0).labels
        return resample_labels(array_on((found > 0).astype("uint8"), grid), image)


def zoo_brain(model: str, device: torch.device) -> ZooBrain:
    """The installed brain extractor ``model``, loaded.

    Raises:
        WeightsError: it is not installed, or damaged.
        InputError: a package that it needs is missing.
    """
    import torch

    card: Card = find_card(model)
    store = Store(default_store())
    weights = store.weights(card)
    load = partial(family(card.network.family).load, weights, card.contract)
    return ZooBrain(load(device, torch.float32), store.space(card))
