"""Models with a separate network for each set of modalities."""

from __future__ import annotations

from collections.abc import Mapping

from GliomaSegLib.case import Input
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.outputs import Array
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.progress import Progress


class ModalitySetSegmenter:
    """A segmenter for each set of modalities; a case is segmented by the first set whose modalities it has.

    See :class:`GliomaSegLib.inference.segmenter.Segmenter`.
    """

    def __init__(self, segmenters: Mapping[tuple[Input, ...], Segmenter]) -> None:
        self._segmenters = segmenters

    def predict(self, images: Mapping[Input, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case.

        Raises:
            InputError: the case has no complete set; or as the segmenter of the set.
        """
        for order, segmenter in self._segmenters.items():
            if all(modality in images for modality in order):
                return segmenter.predict({modality: images[modality] for modality in order}, progress, seed)
        have = ", ".join(modality.title for modality in images)
        raise InputError(f"The model has no network for {have or 'no image'} alone; give more sequences.")
