"""Where a training sample comes from: which case, which place in it, under which rotation and scale.

Volumes are ``[channel, z, y, x]``; positions are in mm along the array's axes z, y, x, from the centre of voxel 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from GliomaSegLib.datasets.case_table import REGIONS
from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.postprocessing import components
from GliomaSegLib.preprocessing.midsagittal import Pose, find_midsagittal
from GliomaSegLib.preprocessing.torch_resampling import averaged, first_centre_mm, resample
from GliomaSegLib.training.dataset import TrainingCase, read_prepared
from GliomaSegLib.training.losses import lesion_weights

_SEEDS_PER_REGION = 4000  # places of a region that are kept to centre patches on
_WHOLLY = 0.99  # a voxel is known when all that it was averaged from is
_SURELY_NOT, _SURELY = 0.1, 0.9  # a teacher's probabilities that are believed
_QUANTA = 255  # masks and soft targets are kept in steps of 1 / 255


@dataclass(frozen=True)
class View:
    """The lattice that a network sees.

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
        masks: ``uint8 [4, z, y, x]``: brain, WT, TC, ET in steps of 1 / 255; with a teacher ``[7, …]``: and where the
            truth of WT, TC and ET may be believed.
        known: ``bool [3]``: the regions that the truth or a teacher tells.
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


def pool_case(case: TrainingCase, view: View, regions: Sequence[Region] = REGIONS) -> PooledCase:
    """Average a case down to about the view's voxels and note where the tumour's ``regions`` lie."""
    wanted = np.broadcast_to(view.spacing_mm, 3)
    factors = [max(1, round(mm / spacing)) for mm, spacing in zip(wanted, case.spacing_mm, strict=True)]
    images = averaged(torch.from_numpy(case.images.astype(np.float32)), factors).half()
    truth, sure, known = believed(case)
    masks = torch.from_numpy(
        np.stack([case.brain, *truth, *(sure if case.soft is not None else ())]).astype(np.float32)
    )
    spacing = np.array(case.spacing_mm)
    rng = np.random.default_rng(0)
    own = [mask for mask, told, region in zip(truth, known, REGIONS, strict=True) if told and region in regions]
    if view.on_lesions:
        numbered = [components(mask)[0] for mask in own]
        own = [lesions == number for lesions in numbered for number in range(1, lesions.max() + 1)]
    seeds = [rng.permutation(np.argwhere(mask))[:_SEEDS_PER_REGION] * spacing for mask in own]
    return PooledCase(
        name=case.name,
        patient=case.patient,
        hospital=case.hospital,
        images=images,
        masks=(averaged(masks, factors) * _QUANTA).round().to(torch.uint8),
        known=known,
        present=case.present,
        spacing_mm=spacing * factors,
        first_mm=first_centre_mm(case.spacing_mm, factors),
        seeds=seeds,
        pose=find_midsagittal(case.images, case.brain, case.spacing_mm) if view.midsagittal else None,
    )


def believed(case: TrainingCase) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """What may be learnt from a case: the truth, and inside its whole tumour the teacher where that is sure.

    Outside the true tumour there is no part of it, whatever the teacher says.

    Returns:
        targets ``[3, z, y, x]``; where they may be believed, the same shape; and the regions that are told at all.
    """
    targets = np.stack([region_mask(case.labels, region) for region in REGIONS])
    known = np.array([region in case.known for region in REGIONS])
    sure = np.broadcast_to(known[:, None, None, None], targets.shape).copy()
    if case.soft is not None and known[0]:
        whole = targets[0]
        for place in np.flatnonzero(~known):
            probability = case.soft[place]
            targets[place] = whole & (probability > 0.5)
            sure[place] = ~whole | (probability < _SURELY_NOT) | (probability > _SURELY)
        known = np.ones_like(known)
    return targets, sure, known


def read_pool(
    paths: Sequence[Path],
    view: View,
    regions: Sequence[Region] = REGIONS,
    changed: Callable[[TrainingCase], TrainingCase] = lambda case: case,
) -> list[PooledCase]:
    """The prepared cases of ``paths`` at the view's resolution, all kept in memory, ``changed`` before they are."""
    return [pool_case(changed(read_prepared(path)), view, regions) for path in paths]


def weigh_lesions(cases: Sequence[PooledCase]) -> list[PooledCase]:
    """The cases with the voxel weights of the inversely weighted cross-entropy; beta is theirs together, per region."""
    truths = [(case.masks[1:4] > _QUANTA // 2).numpy() for case in cases]
    positive = np.array([[mask.sum() for mask in truth] for truth in truths], float)
    known = np.stack([case.known for case in cases])
    voxels = np.array([[truth[0].size] for truth in truths])
    fractions = (positive * known).sum(0) / np.maximum((voxels * known).sum(0), 1)

    def weights(truth: NDArray[np.bool_]) -> Tensor:
        each = [
            lesion_weights(mask, beta) if beta > 0 else np.ones(mask.shape, np.float32)
            for mask, beta in zip(truth, fractions, strict=True)
        ]
        return torch.from_numpy(np.stack(each)).half()

    return [replace(case, weights=weights(truth)) for case, truth in zip(cases, truths, strict=True)]


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
        return case.pose.centre + case.pose.rotation @ jitter, case.pose.rotation
    own = [places for places in case.seeds if len(places)]
    if own and rng.random() < tumour_fraction:
        places = own[rng.integers(len(own))]
        return places[rng.integers(len(places))] + jitter, np.eye(3)
    brain = case.masks[0] > _QUANTA // 2
    shape = np.array(brain.shape)
    for _ in range(100):
        voxel = rng.integers(shape)
        if brain[tuple(voxel)]:
            break
    return voxel * case.spacing_mm + case.first_mm + jitter, np.eye(3)


def take(
    case: PooledCase, view: View, centre: NDArray[np.float64], axes: NDArray[np.float64]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images ``[4, z, y, x]``, brain ``[1, …]``, targets and where they are known ``[3, …]`` on the view's lattice.

    Args:
        axes: ``[3, 3]``, takes mm of the view to mm of the array; scaling and shearing included.
    """
    box, centre_in_box = _reached(case, view, centre, axes)
    volume = torch.cat([case.images[box].float(), case.masks[box].float() / _QUANTA])
    seen = resample(volume, case.spacing_mm, view.shape, np.array(view.spacing_mm), centre_in_box, axes)
    brain = (seen[4:5] > 0.5).float()
    told = torch.from_numpy(case.known.astype(np.float32))[:, None, None, None]
    known = (seen[8:] > _WHOLLY).float() if len(seen) > 8 else told.expand(3, *view.shape)
    return seen[:4] * brain, brain, seen[5:8], known


def take_weights(case: PooledCase, view: View, centre: NDArray[np.float64], axes: NDArray[np.float64]) -> Tensor | None:
    """The case's voxel weights ``[3, …]``, if it has any, taken from the nearest voxel, 1 outside; see :func:`take`."""
    if case.weights is None:
        return None
    box, centre_in_box = _reached(case, view, centre, axes)
    weights, lattice_mm = case.weights[box].float(), np.array(view.spacing_mm)
    seen = resample(weights, case.spacing_mm, view.shape, lattice_mm, centre_in_box, axes, "nearest")
    return torch.where(seen > 0, seen, torch.ones(()))


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
