"""Where a training sample comes from: which case, which place in it, under which rotation and scale.

Samples are made where the case's tensors are, on the processor or a graphics card, with NumPy and torch alone; how a
case becomes one to sample from is in :mod:`GliomaSegLib.training.pool`. Volumes are ``[channel, z, y, x]``; positions
are in mm along the array's axes z, y, x, from the centre of voxel 0.
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
"""The sequences in the order in which cases have them."""

QUANTA = 255
"""Masks and soft targets are kept in steps of 1 / 255."""

_WHOLLY = 0.99  # a voxel is known when all that it was averaged from is


@dataclass(frozen=True)
class View:
    """The grid that a network sees.

    Attributes:
        shape: voxels, z, y, x.
        spacing_mm: edge of its cubic voxels, or its voxels' edges along z, y and x.
        midsagittal: whether it lies around the brain's middle with the mid-sagittal plane as its own; otherwise it is
            a patch along the array's axes.
        on_lesions: whether patches on tumour are centred on every lesion equally often, however small (Shirokikh's
            tumour sampling), instead of on every region.
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
        masks: ``uint8 [4, z, y, x]``: brain, WT, TC, ET in steps of 1 / 255; with pseudo-labels ``[7, …]``: and where
            the targets of WT, TC and ET may be believed.
        known: ``bool [3]``: the regions that reference or pseudo-labels have.
        present: ``bool [4]``.
        first_mm: where the first voxel's centre lies in the prepared case; places and poses are in its coordinates.
        seeds: per region ``[n, 3]`` places inside it, mm; none for one that is unknown or absent. Or per lesion.
        pose: of the brain, where the view asks for it.
        weights: ``float16 [3, z, y, x]`` for the inversely weighted cross-entropy, where it is asked for.
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
        """The case with its tensors on a device, where its samples are then made."""
        weights = None if self.weights is None else self.weights.to(device)
        return replace(self, images=self.images.to(device), masks=self.masks.to(device), weights=weights)


@dataclass(frozen=True)
class Sample:
    """What the network is given: ``images [4, z, y, x]``, and ``targets`` and ``known [3, z, y, x]``, 0 to 1.

    ``weights [3, z, y, x]`` are those of the voxels, where the loss asks for them.
    """

    name: str
    images: Tensor
    targets: Tensor
    known: Tensor
    weights: Tensor | None = None


class CaseSampler:
    """Draws cases: every hospital that is given a share has it, the others' cases share the rest equally.

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
        """One case."""
        return self._cases[rng.choice(len(self._cases), p=self._weights)]


def choose_centre(
    case: PooledCase,
    view: View,
    tumour_fraction: float,
    jitter_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a view lies and how it is turned: its centre (mm) and its axes ``[3, 3]`` (z, y, x) in the array.

    Args:
        tumour_fraction: of the patches are centred on a voxel of a region, each region of the case as often as the
            others; the rest on any voxel of the brain. Without meaning for a mid-sagittal view.
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
    """Images ``[4, z, y, x]``, brain ``[1, …]``, targets and where they are known ``[3, …]`` on the view's grid.

    Args:
        axes: ``[3, 3]``, takes mm of the view to mm of the array; scaling and shearing included.
    """
    box, centre_in_box = _reached(case, view, centre, axes)
    volume = torch.cat([case.images[box].float(), case.masks[box].float() / QUANTA])
    seen = resample(volume, case.spacing_mm, view.shape, np.array(view.spacing_mm), centre_in_box, axes)
    brain = (seen[4:5] > 0.5).float()
    known = torch.from_numpy(case.known.astype(np.float32)).to(seen)[:, None, None, None]
    known = (seen[8:] > _WHOLLY).float() if len(seen) > 8 else known.expand(3, *view.shape)
    return seen[:4] * brain, brain, seen[5:8], known


def take_weights(case: PooledCase, view: View, centre: NDArray[np.float64], axes: NDArray[np.float64]) -> Tensor | None:
    """The case's voxel weights ``[3, …]``, if it has any, taken from the nearest voxel, 1 outside; see :func:`take`."""
    if case.weights is None:
        return None
    box, centre_in_box = _reached(case, view, centre, axes)
    weights, grid_mm = case.weights[box].float(), np.array(view.spacing_mm)
    seen = resample(weights, case.spacing_mm, view.shape, grid_mm, centre_in_box, axes, "nearest")
    return torch.where(seen > 0, seen, torch.ones_like(seen))


def _reached(
    case: PooledCase, view: View, centre: NDArray[np.float64], axes: NDArray[np.float64]
) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """The part of the case ``[channel, z, y, x]`` that the view touches, and the view's centre (mm) in it."""
    centre = centre - case.first_mm
    half = (np.array(view.shape) - 1) / 2 * view.spacing_mm
    reach = np.abs(axes) @ half
    shape = np.array(case.masks.shape[1:])
    low = np.clip(np.floor((centre - reach) / case.spacing_mm).astype(int) - 1, 0, shape - 1)
    high = np.clip(np.ceil((centre + reach) / case.spacing_mm).astype(int) + 2, low + 1, shape)
    return (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True))), centre - low * case.spacing_mm
