"""Draws training samples: a case, and a position, rotation and scale in it.

Samples are computed on the device of the case's tensors; :mod:`GliomaSegLib.training.pool` makes the cases. Volumes are
``[channel, z, y, x]``; positions are in mm along the array's axes z, y, x, from the centre of voxel 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.pose import Pose
from GliomaSegLib.preprocessing.torch_resampling import resample

CHANNELS = tuple(Modality)
"""The modalities in the order of the channels."""

QUANTA = 255
"""Masks and soft targets are stored in steps of 1 / 255."""

_WHOLLY = 0.99  # a voxel is known if all voxels that it was averaged from are


@dataclass(frozen=True)
class View:
    """The input grid of a network.

    Attributes:
        shape: number of voxels along z, y, x.
        spacing_mm: voxel size, or along z, y and x.
        midsagittal: whether the grid is centred on the brain and aligned with its mid-sagittal plane; otherwise it is
            a patch along the array's axes.
        on_lesions: whether tumour patches are centred on every lesion equally often, however small (Shirokikh's tumour
            sampling), instead of on every region.
    """

    shape: tuple[int, int, int]
    spacing_mm: float | tuple[float, float, float]
    midsagittal: bool
    on_lesions: bool = False


@dataclass(frozen=True)
class PooledCase:
    """A prepared case at the resolution of the view.

    Attributes:
        images: ``float16 [4, z, y, x]``.
        masks: ``uint8 [4, z, y, x]``: brain, WT, TC, ET in steps of 1 / 255; with pseudo-labels ``[7, z, y, x]``: also
            where the targets of WT, TC and ET are certain.
        known: ``bool [3]``: the regions with targets.
        present: ``bool [4]``: the modalities of the case.
        first_mm: centre of the first voxel in coordinates of the prepared case, in which positions and poses are.
        seeds: per region (or lesion) positions ``[n, 3]`` in mm inside it; none of unknown or absent regions.
        pose: of the brain, for a mid-sagittal view.
        weights: ``bfloat16 [3, z, y, x]``, for the inversely weighted cross-entropy.
    """

    name: str
    patient: str
    hospital: str
    images: Tensor
    masks: Tensor
    known: NDArray[np.bool_]
    present: NDArray[np.bool_]
    spacing_mm: NDArray[np.float64]
    first_mm: NDArray[np.float64]
    seeds: Sequence[NDArray[np.float64]]
    pose: Pose | None
    weights: Tensor | None = None

    def on(self, device: torch.device) -> PooledCase:
        """The case with its tensors on a device, on which its samples are then computed."""
        weights = None if self.weights is None else self.weights.to(device)
        return replace(self, images=self.images.to(device), masks=self.masks.to(device), weights=weights)


@dataclass(frozen=True)
class Sample:
    """One training sample: ``images [4, z, y, x]``, and ``targets`` and ``known [3, z, y, x]``, 0 to 1.

    ``weights [3, z, y, x]`` are voxel weights, for losses that use them.
    """

    name: str
    images: Tensor
    targets: Tensor
    known: Tensor
    weights: Tensor | None = None


class CaseSampler:
    """Draws cases with fixed fractions for the hospitals in ``shares``; all other cases share the rest equally.

    Raises:
        InputError: a hospital with a share has no case, or the shares add up to more than 1.
    """

    def __init__(self, cases: Sequence[PooledCase], shares: Mapping[str, float]) -> None:
        hospitals = np.array([case.hospital for case in cases])
        absent = next((hospital for hospital in shares if hospital not in hospitals), None)
        if absent is not None:
            raise InputError(f"The recipe gives '{absent}' a share of the samples, but no training case is from there.")
        rest = 1 - sum(shares.values())
        if rest < -1e-9:
            raise InputError("The shares that the recipe gives to hospitals add up to more than 1; make them smaller.")
        others = ~np.isin(hospitals, list(shares))
        weights = np.where(others, max(rest, 0) / max(others.sum(), 1), 0.0)
        for hospital, share in shares.items():
            weights[hospitals == hospital] = share / (hospitals == hospital).sum()
        self._cases, self._weights = cases, weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> PooledCase:
        """Draw a case."""
        return self._cases[rng.choice(len(self._cases), p=self._weights)]


def choose_centre(
    case: PooledCase,
    view: View,
    tumour_fraction: float,
    jitter_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the position of a view: its centre (mm) and its axes ``[3, 3]`` (z, y, x) in the array.

    Args:
        tumour_fraction: probability that a patch is centred on a voxel of a region, with equal probability of each
            region; otherwise on a voxel of the brain. Not used for a mid-sagittal view.
        jitter_mm: largest displacement along z, y and x of the view.
    """
    jitter = rng.uniform(-1, 1, 3) * jitter_mm
    if view.midsagittal:
        pose = cast(Pose, case.pose)
        return pose.centre + pose.rotation @ jitter, pose.rotation
    own = [places for places in case.seeds if len(places)]
    if own and rng.random() < tumour_fraction:
        places = own[rng.integers(len(own))]
        return places[rng.integers(len(places))] + jitter, np.eye(3)
    brain = case.masks[0] > QUANTA // 2
    shape = np.array(brain.shape)
    voxel = rng.integers(shape)
    for _ in range(100):
        if brain[tuple(voxel)]:
            break
        voxel = rng.integers(shape)
    return voxel * case.spacing_mm + case.first_mm + jitter, np.eye(3)


def take(
    case: PooledCase, view: View, centre: NDArray[np.float64], axes: NDArray[np.float64]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Resample images ``[4, …]``, brain ``[1, …]``, targets and known mask ``[3, …]`` to the grid of the view.

    Args:
        axes: matrix ``[3, 3]`` from mm of the view to mm of the array, which may scale and shear.
    """
    box, centre_in_box = _reached(case, view, centre, axes)
    volume = torch.cat([case.images[box].float(), case.masks[box].float() / QUANTA])
    seen = resample(volume, case.spacing_mm, view.shape, np.array(view.spacing_mm), centre_in_box, axes)
    brain = (seen[4:5] > 0.5).float()
    known = torch.from_numpy(case.known.astype(np.float32)).to(seen)[:, None, None, None]
    known = (seen[8:] > _WHOLLY).float() if len(seen) > 8 else known.expand(3, *view.shape)
    return seen[:4] * brain, brain, seen[5:8], known


def take_weights(case: PooledCase, view: View, centre: NDArray[np.float64], axes: NDArray[np.float64]) -> Tensor | None:
    """Voxel weights ``[3, …]`` on the grid of the view by nearest neighbour, 1 outside; ``None`` without weights."""
    if case.weights is None:
        return None
    box, centre_in_box = _reached(case, view, centre, axes)
    weights, grid_mm = case.weights[box].float(), np.array(view.spacing_mm)
    seen = resample(weights, case.spacing_mm, view.shape, grid_mm, centre_in_box, axes, "nearest")
    return torch.where(seen > 0, seen, torch.ones_like(seen))


def _reached(
    case: PooledCase, view: View, centre: NDArray[np.float64], axes: NDArray[np.float64]
) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """The box of the case (``[channel, z, y, x]``) that the view covers, and the view's centre (mm) in it."""
    centre = centre - case.first_mm
    half = (np.array(view.shape) - 1) / 2 * view.spacing_mm
    reach = np.abs(axes) @ half
    shape = np.array(case.masks.shape[1:])
    low = np.clip(np.floor((centre - reach) / case.spacing_mm).astype(int) - 1, 0, shape - 1)
    high = np.clip(np.ceil((centre + reach) / case.spacing_mm).astype(int) + 2, low + 1, shape)
    return (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True))), centre - low * case.spacing_mm
