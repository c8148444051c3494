"""The package ``nnunetv2``, against ours: regions and labels, plans old and new, folds, mirror images, turned axes.

The generated images have the spacing of the plans, so that nothing is resampled on either side. nnU-Net adds the
weighted logits of its windows up in half precision, which cannot hold the small weights of a window's corners; here it
is made to do so in float32. As it is, 44, 16 and 0 of the 90720 voxels of the three cards differ beyond the tolerance.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from GliomaSegLib.case import Modality
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.loaders import nnunet
from Testing.parity.comparison import Answers, Found, generated, made_images, mismatches, reported, run
from Testing.support.nnunet_folder import ARCHITECTURE, BRAIN, LABELS, REGIONS, dataset, plans, write_folder

SHAPE = (28, 36, 30)  # z, y, x
NAMES = {Modality.T1N: "T1", Modality.T1C: "T1ce", Modality.T2W: "T2", Modality.T2F: "FLAIR"}
OURS = np.array([0, Label.SNFH, Label.NETC, Label.ET], np.uint8)
RESIDUAL = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
    "arch_kwargs": {
        **{key: value for key, value in ARCHITECTURE["arch_kwargs"].items() if key != "n_conv_per_stage"},
        "n_blocks_per_stage": [1, 2, 2],
    },
    "_kw_requires_import": ARCHITECTURE["_kw_requires_import"],
}


def compare(_given: argparse.Namespace) -> Iterator[Found]:
    """Each card in its layouts."""
    for model in ("tumorsegmentator-t1-t1c", "tumorsegmentator-four", "hd-bet-v2"):
        card = read_card(resource("models") / f"{model}.json")
        answers = [compared(card, **layout) for layout in layouts(card)]
        for layout, answer in zip(REMARKS, answers, strict=True):
            print(f"{layout}: {mismatches(answer)} voxels differ, and beyond the tolerance")
        yield reported(
            card,
            "nnunetv2",
            answers,
            "python -m Testing.parity.nnunet",
            "generated weights and image on the grid of the plans, the package's sums in float32 instead of half; "
            + "; ".join(REMARKS[: len(answers)]),
        )


REMARKS = (
    "plans as before 2.4, labels, fold all, padded window",
    "regions or labels, two folds, mirror images, axes turned",
    "residual encoder",
)


def layouts(card: Card) -> list[dict[str, Any]]:
    """What is compared: the arguments of :func:`compared`."""
    brain = not card.regions
    labels, regions = (BRAIN, BRAIN) if brain else (LABELS, REGIONS)
    return [
        {"labels": labels, "folds": ("all",), "patch_size": [16, 24, 48], "old": True},
        {
            "labels": regions,
            "folds": ("0", "1"),
            "mirrors": ("x", "z"),
            "transpose": (2, 0, 1),
            "patch_size": [16, 24, 24],
            "use_mask_for_norm": [False] * channels_of(card),
        },
        {"labels": regions, "folds": ("all",), "patch_size": [16, 24, 24], "architecture": RESIDUAL},
    ]


def channels_of(card: Card) -> int:
    return 1 if card.inputs.sets else len(card.inputs.sequences)


def compared(
    card: Card,
    labels: dict[str, Any],
    folds: tuple[str, ...],
    mirrors: tuple[str, ...] = (),
    transpose: tuple[int, int, int] = (0, 1, 2),
    **planned: Any,
) -> Answers:
    """With, for probabilities, how sure of each voxel and region the two are."""
    order = card.inputs.sequences[: channels_of(card)]
    images = {sequence: image for sequence, image in made_images(SHAPE).items() if sequence in order}
    written = plans(len(order), transpose, **planned)
    described = dataset([NAMES[sequence] for sequence in order], labels)
    residual = planned.get("architecture") is RESIDUAL
    arguments = {**(RESIDUAL if residual else ARCHITECTURE)["arch_kwargs"]}
    arguments |= {
        "conv_op": torch.nn.Conv3d,
        "norm_op": torch.nn.InstanceNorm3d,
        "nonlin": torch.nn.LeakyReLU,
    }
    answers = len(labels) - (labels is REGIONS)
    made = {}
    for seed, fold in enumerate(folds):
        kind = ResidualEncoderUNet if residual else PlainConvUNet
        network = kind(len(order), num_classes=answers, deep_supervision=True, **arguments)
        made[fold] = generated(network, network.decoder.seg_layers[-1], seed)
    inference = replace(card.inference, mirrors=mirrors)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "published" / "trained"
        mirrored = tuple(sorted(transpose.index("zyx".index(axis)) for axis in mirrors))
        write_folder(folder, made, written, described, mirrored or (0, 1, 2))
        weights = Path(name) / "weights.safetensors"
        nnunet.convert(folder.parent, weights)
        contract = card.loader_parameters | {"inference": inference}
        segmenter = nnunet.load(weights, contract, torch.device("cpu"), torch.float32)
        ours = segmenter.predict(images, Silent(), 0)
        predictor = nnUNetPredictor(
            use_mirroring=bool(mirrors),
            device=torch.device("cpu"),
            perform_everything_on_device=False,
            allow_tqdm=False,
        )
        predictor.initialize_from_trained_model_folder(str(folder), folds)
        with patch.object(torch, "half", torch.float32):
            theirs, their_maps = predictor.predict_single_npy_array(
                np.stack([images[sequence] for sequence in order]), {"spacing": [1.0, 1.0, 1.0]}, None, None, True
            )
    if not card.regions:
        return Answers(ours.labels, theirs.astype(np.uint8), {Region.WT: their_maps[1]})
    if labels is REGIONS:
        return Answers.of(ours, OURS[theirs])
    ranked = np.sort(their_maps, axis=0)  # the label is in doubt where the two likeliest are close
    return Answers(ours.labels, OURS[theirs], {Region.WT: 0.5 + (ranked[-1] - ranked[-2]) / 2})


if __name__ == "__main__":
    run(compare, __doc__)
