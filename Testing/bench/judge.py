"""A SegResNet that is trained for some minutes, to judge ways of running it: generated weights would tell nothing.

Two of the BraTS 2021 cases are judged on, six are trained on; images and masks are averaged over blocks of 3 mm, and
the network sees the whole grid, as in the MONAI bundle.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import SegResNet
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.sliding import (
    WHOLE_FIELD,
    Box,
    InferenceSpec,
    VolumeSegmenter,
    Windows,
    measured_box,
    regions_per_channel,
    whole_box,
)
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.labels import LabelScheme, Region, region_mask, to_internal
from GliomaSegLib.preprocessing.normalisation import standardise
from GliomaSegLib.preprocessing.torch_resampling import averaged
from GliomaSegLib.progress import Silent
from GliomaSegLib.study.reading import read_case
from Testing.bench.cases import brats2021

REGIONS = (Region.WT, Region.TC, Region.ET)
FIELDS = ("full", "brain", "full-around-brain")
JUDGED = 2

_BLOCK = 3  # voxels of 1 mm
_MULTIPLE = 8  # of the sides that the network takes
_STEPS, _BATCH, _RATE = 500, 2, 2e-3
_CPU = torch.device("cpu")


def judge() -> None:
    """Dice per region between the ways of running the network, and of each with the truth."""
    studies = brats2021()
    network = _trained([_case(study) for study in studies[JUDGED:]])
    for study in studies[:JUDGED]:
        images, truth = _case(study)
        found = {
            (field, precision): _found(network, images, field, precision)
            for field in FIELDS
            for precision in (torch.float32, torch.bfloat16)
        }
        whole = found["full", torch.float32]
        print(f"{study.name}, the whole field against the truth: {_dice(whole, truth)}")
        for (field, precision), labels in found.items():
            name = f"{field}, {str(precision).removeprefix('torch.')}"
            print(f"  {name:<28} against the whole field in float32: {_dice(labels, whole)}")
        low, high = (found["full-around-brain", one] for one in (torch.bfloat16, torch.float32))
        print(f"  bfloat16 against float32, both around the brain: {_dice(low, high)}", flush=True)


def _case(study: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Standardised images ``[4, z, y, x]`` and the truth ``[3, z, y, x]`` at 3 mm, on sides that the network takes."""
    volumes = read_case(study).volumes
    images = [standardise(sitk.GetArrayFromImage(volumes[one].image).astype(np.float32), one.title) for one in Modality]
    labels = to_internal(sitk.GetArrayFromImage(read_labels(study / f"{study.name}_seg.nii.gz")), LabelScheme.BRATS2017)
    masks = [region_mask(labels, region) for region in REGIONS]
    return _coarse(np.stack(images)), _coarse(np.stack(masks).astype(np.float32)) >= 0.5


def _coarse(stack: NDArray[np.float32]) -> NDArray[np.float32]:
    blocks = averaged(torch.from_numpy(stack), [_BLOCK] * 3)
    z, y, x = (-side % _MULTIPLE for side in blocks.shape[1:])
    return functional.pad(blocks, (0, x, 0, y, 0, z)).numpy()


def _trained(cases: list[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> nn.Module:
    torch.manual_seed(0)
    chance = random.Random(0)
    network = SegResNet(init_filters=8, in_channels=4, out_channels=3, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1))
    optimiser = torch.optim.AdamW(network.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS, pct_start=0.1)
    loss = DiceCELoss(sigmoid=True, batch=True, smooth_nr=1, smooth_dr=1)
    for _ in range(_STEPS):
        images, truth = _batch([chance.choice(cases) for _ in range(_BATCH)], chance)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)
        optimiser.zero_grad()
        loss(logits.float(), truth).backward()
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def _batch(cases: list[tuple[NDArray, NDArray]], chance: random.Random) -> tuple[Tensor, Tensor]:
    """Mirrored at random, and with contrasts a tenth stronger or weaker."""
    images, truth = (torch.from_numpy(np.stack(part)).float() for part in zip(*cases, strict=True))
    axes = [axis for axis in (2, 3, 4) if chance.random() < 0.5]
    images, truth = images.flip(axes), truth.flip(axes)
    return images * (0.9 + 0.2 * torch.rand(len(images), 4, 1, 1, 1)), truth


def _found(network: nn.Module, images: NDArray[np.float32], field: str, precision: torch.dtype) -> NDArray[np.bool_]:
    """The regions ``[3, z, y, x]``."""

    def prepare(stack: NDArray[np.float32]) -> tuple[NDArray[np.float32], Box]:
        box = measured_box(stack) if field == "brain" else whole_box(stack)
        return stack[(slice(None), *box)], box

    around = _MULTIPLE if field == "full-around-brain" else None
    windows = Windows(WHOLE_FIELD, 0.5, trims_to=_MULTIPLE, around=around)
    contract = InferenceSpec(tuple(Modality), prepare, windows, torch.sigmoid, regions_per_channel(REGIONS))
    segmenter = VolumeSegmenter([network], contract, _CPU, precision)
    given: Mapping[Modality, NDArray[np.float32]] = dict(zip(Modality, images, strict=True))
    labels = segmenter.predict(given, Silent(), 0).labels
    return np.stack([region_mask(labels, region) for region in REGIONS])


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> str:
    return "  ".join(
        f"{region.value} {2 * (a & b).sum() / max(a.sum() + b.sum(), 1):.4f}"
        for region, a, b in zip(REGIONS, one, other, strict=True)
    )
