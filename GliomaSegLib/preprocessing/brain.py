"""Brain extraction: the interface of extractors, and skull-stripping.

Clinical images often have zero air but still show skull and scalp. Whether an image is skull-stripped is therefore
decided by comparing its non-zero voxels with the extracted brain.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.ndimage
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on

# An image is stripped if less than this fraction of its non-zero voxels is further than this from the brain. Measured:
# up to 0.0025 on 3 stripped images, 0.53 to 0.71 on 4 with skull.
STRIPPED_MARGIN_MM = 5.0
STRIPPED_SHARE = 0.05

SMALLEST_BRAIN_ML = 300.0
LARGEST_BRAIN_ML = 2500.0


class BrainExtractor(Protocol):
    """Extracts the brain from one head image of any MR contrast.

    Attributes:
        name: for messages.
    """

    name: str

    def extract(self, image: sitk.Image) -> sitk.Image:
        """A ``uint8`` mask (1 brain) on the grid of ``image``."""
        ...


def find_brain(image: sitk.Image, extractor: BrainExtractor | None) -> sitk.Image:
    """Extract the brain: a ``uint8`` mask on the grid of ``image``.

    For an image that is already stripped, the mask is its non-zero voxels with holes filled.

    Args:
        extractor: ``None`` if the user states that the image is stripped.

    Raises:
        InputError: no brain was found, or a stripped image shows more or less than a brain.
    """
    if extractor is None:
        return _stripped_brain(image)
    try:
        mask = extractor.extract(image)
    except (AssertionError, ValueError) as error:  # some extractors fail if there is no brain
        raise _no_brain(extractor.name) from error
    if not _is_brain_sized(mask):
        raise _no_brain(extractor.name, _volume_ml(mask))
    return _stripped_brain(image) if is_stripped(image, mask) else mask


def near_brain(brain: sitk.Image) -> sitk.Image:
    """``brain`` dilated by ``STRIPPED_MARGIN_MM``, ``uint8``: where a stripped image may be non-zero.

    Accurate to 2 mm, which is sufficient for :func:`is_stripped`; can be reused for all images on this grid.
    """
    mask = sitk.GetArrayViewFromImage(brain) != 0
    spacing = np.array(brain.GetSpacing()[::-1])
    steps = np.maximum(1, (2.0 / spacing).astype(int))
    coarse = mask[tuple(slice(None, None, step) for step in steps)]
    near = coarse  # there is no distance to an empty brain
    if coarse.any():
        near = scipy.ndimage.distance_transform_edt(~coarse, spacing * steps) <= STRIPPED_MARGIN_MM
    for axis in (2, 1, 0):  # the last first, so that rows and slices are repeated, not voxels
        near = near.repeat(steps[axis], axis)
    return array_on(near[tuple(map(slice, mask.shape))].astype(np.uint8), brain)


def is_stripped(image: sitk.Image, brain: sitk.Image, near: sitk.Image | None = None) -> bool:
    """Whether ``image`` is skull-stripped: nearly all of its non-zero voxels are in or near ``brain``.

    Args:
        near: the result of :func:`near_brain` for this brain, if known.
    """
    near = near_brain(brain) if near is None else near  # named, for a view does not keep its image alive
    far = sitk.GetArrayViewFromImage(near) == 0
    foreground = sitk.GetArrayViewFromImage(image) != 0
    return bool((foreground & far).sum() < STRIPPED_SHARE * foreground.sum())


def strip(image: sitk.Image, brain: sitk.Image, near: sitk.Image | None = None) -> sitk.Image:
    """Set ``image`` to 0 outside ``brain`` (same grid), unless it is stripped already.

    Arguments as for :func:`is_stripped`.
    """
    return image if is_stripped(image, brain, near) else sitk.Mask(image, brain)


def _stripped_brain(image: sitk.Image) -> sitk.Image:
    """The non-zero voxels of a stripped image, holes filled."""
    brain = sitk.BinaryFillhole(sitk.Cast(image != 0, sitk.sitkUInt8))
    if not _is_brain_sized(brain):
        raise InputError(
            f"The non-zero voxels of the reference image, which counts as skull-stripped, fill {_volume_ml(brain):.0f} "
            f"mL (a brain has {SMALLEST_BRAIN_ML:.0f} to {LARGEST_BRAIN_ML:.0f} mL); check its voxel spacing, and "
            "leave '--brain stripped' out if it shows the skull."
        )
    return brain


def _is_brain_sized(mask: sitk.Image) -> bool:
    return SMALLEST_BRAIN_ML <= _volume_ml(mask) <= LARGEST_BRAIN_ML


def _volume_ml(mask: sitk.Image) -> float:
    return float(sitk.GetArrayViewFromImage(mask).sum() * np.prod(mask.GetSpacing()) / 1000)


def _no_brain(extractor: str, found_ml: float = 0.0) -> InputError:
    return InputError(
        f"No brain was found in the reference image ({extractor}: {found_ml:.0f} mL; a brain has "
        f"{SMALLEST_BRAIN_ML:.0f} to {LARGEST_BRAIN_ML:.0f} mL); check that it shows a whole head, or say "
        "'--brain stripped' if it is skull-stripped."
    )
