"""Prepared cases at the resolution of a network's view, with positions in their tumours, for sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.postprocessing import components
from GliomaSegLib.preprocessing.midsagittal import find_midsagittal
from GliomaSegLib.preprocessing.torch_resampling import averaged, first_centre_mm
from GliomaSegLib.training.dataset import TrainingCase, read_prepared
from GliomaSegLib.training.sampling import QUANTA, PooledCase, View

_SEEDS_PER_REGION = 4000  # positions per region that are kept as patch centres
_SURELY_NOT, _SURELY = 0.1, 0.9  # pseudo-labels beyond these limits are used


def pool_case(case: TrainingCase, view: View, regions: Sequence[Region] = TUMOUR_REGIONS) -> PooledCase:
    """Downsample a case by averaging to about the view's voxel size and collect positions inside ``regions``."""
    wanted = np.broadcast_to(view.spacing_mm, 3)
    factors = [max(1, round(mm / spacing)) for mm, spacing in zip(wanted, case.spacing_mm, strict=True)]
    images = averaged(torch.from_numpy(case.images.astype(np.float32)), factors).half()
    reference, sure, known = believed(case)
    masks = torch.from_numpy(
        np.stack([case.brain, *reference, *(sure if case.soft is not None else ())]).astype(np.float32)
    )
    spacing = np.array(case.spacing_mm)
    rng = np.random.default_rng(0)
    own = [
        mask
        for mask, there, region in zip(reference, known, TUMOUR_REGIONS, strict=True)
        if there and region in regions
    ]
    if view.on_lesions:
        numbered = [components(mask)[0] for mask in own]
        own = [lesions == number for lesions in numbered for number in range(1, lesions.max() + 1)]
    seeds = [rng.permutation(np.argwhere(mask))[:_SEEDS_PER_REGION] * spacing for mask in own]
    return PooledCase(
        name=case.name,
        patient=case.patient,
        hospital=case.hospital,
        images=images,
        masks=(averaged(masks, factors) * QUANTA).round().to(torch.uint8),
        known=known,
        present=case.present,
        spacing_mm=spacing * factors,
        first_mm=first_centre_mm(case.spacing_mm, factors),
        seeds=seeds,
        pose=find_midsagittal(case.images, case.brain, case.spacing_mm) if view.midsagittal else None,
    )


def believed(case: TrainingCase) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """The targets of a case: reference labels, and for unknown regions pseudo-labels inside the reference's whole
    tumour.

    Returns:
        targets ``[3, z, y, x]``; where they are certain, of the same shape; and which regions have targets, ``[3]``.
    """
    targets = np.stack([region_mask(case.labels, region) for region in TUMOUR_REGIONS])
    known = np.array([region in case.known for region in TUMOUR_REGIONS])
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
    regions: Sequence[Region] = TUMOUR_REGIONS,
    changed: Callable[[TrainingCase], TrainingCase] = lambda case: case,
) -> list[PooledCase]:
    """Read prepared cases into memory at the view's resolution, after applying ``changed`` to each."""
    return [pool_case(changed(read_prepared(path)), view, regions) for path in paths]


def weigh_lesions(cases: Sequence[PooledCase]) -> list[PooledCase]:
    """Add the voxel weights of the inversely weighted cross-entropy, with beta per region over all cases."""
    references = [(case.masks[1:4] > QUANTA // 2).numpy() for case in cases]
    positive = np.array([[mask.sum() for mask in reference] for reference in references], float)
    known = np.stack([case.known for case in cases])
    voxels = np.array([[reference[0].size] for reference in references])
    fractions = (positive * known).sum(0) / np.maximum((voxels * known).sum(0), 1)

    def weights(reference: NDArray[np.bool_]) -> Tensor:
        each = [
            lesion_weights(mask, beta) if beta > 0 else np.ones(mask.shape, np.float32)
            for mask, beta in zip(reference, fractions, strict=True)
        ]
        return torch.from_numpy(np.stack(each)).bfloat16()  # float16 ends at 65504, which a lesion of a voxel exceeds

    return [replace(case, weights=weights(reference)) for case, reference in zip(cases, references, strict=True)]


def lesion_weights(reference: NDArray[np.bool_], positive_fraction: float) -> NDArray[np.float32]:
    """The voxel weights of the inversely weighted cross-entropy: every lesion has the same weight, however small.

    Shirokikh B et al., Deep learning for brain tumor segmentation in radiosurgery, arXiv:1909.02799. A voxel of lesion
    i weighs beta * N / n_i, with N the voxels of the image, n_i those of the lesion and beta the fraction of
    positive voxels in the training set; background weighs 1. The paper leaves the connectivity of lesions open; here
    voxels of one lesion share a face or an edge.

    Args:
        reference: ``[z, y, x]``, the **whole** image: a crop would make a lesion at its border smaller.
        positive_fraction: beta, above 0 and below 1.

    Returns:
        ``[z, y, x]``.

    Raises:
        ValueError: ``positive_fraction`` is not between 0 and 1.
    """
    if not 0 < positive_fraction < 1:
        raise ValueError(f"the fraction of positive voxels is {positive_fraction}, not between 0 and 1")
    numbered, sizes = components(reference)
    weights = np.ones(len(sizes), np.float32)
    weights[1:] = positive_fraction * reference.size / sizes[1:]
    return weights[numbered]
