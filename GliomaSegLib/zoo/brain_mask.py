"""Brain extraction with models of the zoo, and the extractor for a :class:`~GliomaSegLib.options.BrainMethod`.

In the label maps of these models 1 is the brain; they do not use :mod:`GliomaSegLib.labels`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.options import BrainMethod
from GliomaSegLib.preprocessing.brain import BrainExtractor
from GliomaSegLib.preprocessing.resampling import model_grid, resample_image, resample_labels
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_network import Space
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import load
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.store import Store

if TYPE_CHECKING:
    import torch


class ZooBrain:
    """An installed brain extractor. See :class:`GliomaSegLib.preprocessing.brain.BrainExtractor`.

    Args:
        name: ID of its card.
        segmenter: the loaded model.
        space: its input grid.
    """

    def __init__(self, name: str, segmenter: Segmenter, space: Space) -> None:
        self.name, self._segmenter, self._space = name, segmenter, space

    def extract(self, image: sitk.Image) -> sitk.Image:
        """A ``uint8`` mask (1 brain) on the grid of ``image``, of any modality."""
        grid = model_grid(image, self._space.spacing_mm or image.GetSpacing(), self._space.orientation)
        seen = sitk.GetArrayFromImage(resample_image(image, grid))
        found = self._segmenter.predict({Modality.T1C: seen}, Silent(), 0).labels
        return resample_labels(array_on((found > 0).astype("uint8"), grid), image)


@cache
def brain_extractor(
    method: BrainMethod, device: torch.device, precision: torch.dtype, store: Path | None = None
) -> BrainExtractor | None:
    """Load an extractor, which is cached for the next case; ``None`` for stripped images.

    Args:
        precision: for deepbet; the others run in float32.
        store: folder of installed models, by default the user's.

    Raises:
        InputError: its package is not installed.
        WeightsError: its model is not.
    """
    if method is BrainMethod.STRIPPED:
        return None
    from GliomaSegLib.zoo.brain_packages import DeepBet, HdBet

    if method is BrainMethod.DEEPBET:
        return DeepBet(device, precision)
    return HdBet(device) if method is BrainMethod.HDBET else zoo_brain(method.value, device, store)


def zoo_brain(model: str, device: torch.device, root: Path | None = None) -> ZooBrain:
    """Load the installed brain extractor ``model`` from the store ``root``, by default the user's.

    Raises:
        WeightsError: it is not installed, or damaged.
        InputError: a package that it needs is missing.
    """
    import torch

    store = Store(root or default_store())
    card: Card = find_card(model, store.root)
    segmenter = load(card, store.weights(card), device, torch.float32)
    return ZooBrain(model, segmenter, store.space(card))
