"""For networks that learnt on brains stretched to one box of voxels, whatever their size in millimetres."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from skimage.transform import resize

from GliomaSegLib.case import Input, Modality
from GliomaSegLib.inference.outputs import Answer, Array
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.inference.volume import measured_box, stacked
from GliomaSegLib.inference.windows import Size
from GliomaSegLib.preprocessing.cropping import uncropped
from GliomaSegLib.progress import Progress


class Stretched:
    """A segmenter that shows another one the brain alone, stretched along each axis to a fixed number of voxels.

    What it finds there is stretched back before it becomes labels. See
    :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        inner: sees the stretched brain and gives probabilities of regions.
        order: the sequences that it is shown.
        brain_voxels: z, y, x: to which the box of the voxels that are not 0 is stretched.
        answer: probabilities of the regions to labels, on the grid of the images.
    """

    def __init__(self, inner: Segmenter, order: tuple[Modality, ...], brain_voxels: Size, answer: Answer) -> None:
        self._inner, self._order, self._brain_voxels, self._answer = inner, order, brain_voxels, answer

    def predict(self, images: Mapping[Input, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case of stripped images.

        Raises:
            InputError: no image, images of different shapes or an empty one; and as the inner segmenter.
        """
        stack = stacked(images, self._order)
        box = measured_box(stack)
        shown = {
            sequence: stretched_image(image[box], self._brain_voxels)
            for sequence, image in zip(self._order, stack, strict=True)
            if sequence in images
        }
        found = self._inner.predict(shown, progress, seed)
        extent = stack[0][box].shape
        back = np.stack([resize(one, extent, order=1, anti_aliasing=False) for one in found.probabilities.values()])
        labels, maps = self._answer(back.astype(np.float32))
        shape = stack.shape[1:]
        return Prediction(
            uncropped(labels, box, shape),
            {region: uncropped(values, box, shape) for region, values in maps.items()},
            found.device,
            found.precision,
        )


def stretched_image(image: Array, voxels: Size) -> Array:
    """``image [z, y, x]`` with so many voxels over the same extent, linearly interpolated, smoothed before voxels are
    lost. Where less than half of a voxel was measured, it is exactly 0.
    """
    measured = resize((image != 0).astype(np.float32), voxels, order=1, anti_aliasing=True) > 0.5
    return np.where(measured, resize(image, voxels, order=1, anti_aliasing=True), 0).astype(np.float32)
