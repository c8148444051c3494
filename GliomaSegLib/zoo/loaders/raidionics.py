"""Raidionics' segmentation networks (ONNX, run by onnxruntime): tumours before and after surgery, and the brain.

A published archive holds one folder per network, or one per set of sequences (``t1c``, ``t1c_t1w``, ...), each with
``pre_processing.ini``, ``pipeline.json`` (:mod:`.raidionics_settings`) and ``model.onnx`` (in newer archives one per
fold in folders of their own; of several folds the first is run, which is raidionicsseg's default). Their settings
are applied as raidionicsseg 1.5 does (:mod:`.raidionics_segmenter`), with one difference: the pipeline has already
resampled the image to the network's spacing, and it is cropped after that, not before. As in that package, an image and
a mask of an earlier time point are treated alike: both are cropped, clipped and normalised as the settings say.

Bouget D et al. Preoperative brain tumor imaging: models and software for segmentation and standardized reporting. Front
Neurol 2022;13:932219. Helland RH et al. Segmentation of glioblastomas in early post-operative multi-modal MRI with deep
neural networks. Sci Rep 2023;13:18897.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from GliomaSegLib.case import Input, Preoperative
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.modality_sets import ModalitySetSegmenter
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.zoo.card_network import Space
from GliomaSegLib.zoo.checkpoint import read_converted, read_metadata
from GliomaSegLib.zoo.loaders.onnx_session import onnx_session
from GliomaSegLib.zoo.loaders.raidionics_segmenter import OnnxSegmenter
from GliomaSegLib.zoo.loaders.raidionics_settings import SETTINGS, described_in, read_settings


def convert(source: Path, destination: Path) -> None:
    """Every network below the folder ``source`` (its bytes as a tensor), and their settings.

    Raises:
        InputError: the package onnxruntime is missing.
    """
    folders = sorted((path.parent for path in source.rglob(SETTINGS)), key=lambda folder: (len(folder.name), folder))
    if not folders:
        raise WeightsError(f"{source} holds no {SETTINGS}; give the folder that holds Raidionics' archive.")
    networks, described = {}, []
    for number, folder in enumerate(folders):
        found = sorted(folder.glob("*.onnx")) or sorted(folder.glob("*/*.onnx"))
        if not found:
            raise WeightsError(f"{folder} holds no network (*.onnx); get the archive again from its publisher.")
        described.append(read_settings(folder))
        content = found[0].read_bytes()
        onnx_session(content, torch.device("cpu"), found[0])
        networks[f"onnx.{number}"] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    save_file(networks, destination, {"described": json.dumps([one.model_dump(mode="json") for one in described])})


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, or with ``sets`` those for the sets of sequences, ready to run.

    Args:
        parameters: of the card; ``output.channels`` are the meanings of the output's channels. Where the files do not
            name the inputs, they are the card's ``sequences`` and what it takes of the study before surgery.
        device: the processor, or a graphics card where onnxruntime can use it.
        precision: is not used; the published networks are float32.

    Raises:
        InputError: onnxruntime is missing.
    """
    space: Space = parameters["space"]
    earlier: tuple[Preoperative, ...] = parameters.get("preoperative", ())
    sets: tuple[tuple[Input, ...], ...] = tuple(
        (*one, *earlier) for one in parameters.get("sets") or (parameters["sequences"],)
    )
    any_one = all(len(one) == 1 for one in sets) and len(sets) > 1
    tensors, metadata = read_converted(weights, parameters)
    known: dict[frozenset[Input], Segmenter] = {}
    for number, described in enumerate(described_in(metadata, weights)):
        if described.preoperative and not earlier:
            continue
        if described.crop and (described.crop == "brain_mask") != (space.brain == "stripped"):
            raise WeightsError(f"{weights} wants images prepared by '{described.crop}', and the card '{space.brain}'.")
        session = onnx_session(tensors[f"onnx.{number}"].numpy().tobytes(), device, weights)
        orders = sets if any_one else (described.sequences or sets[0],)
        for order in orders:
            if len(order) == described.inputs:
                known[frozenset(order)] = OnnxSegmenter(session, described, order, parameters["output"])
    usable = {one: known[frozenset(one)] for one in sets if frozenset(one) in known}
    if not usable:
        wanted = "; or ".join(", ".join(channel.title for channel in one) for one in sets)
        raise WeightsError(f"{weights} holds no network for what its card takes ({wanted}); install the model again.")
    return ModalitySetSegmenter(usable)


def spacing_mm(weights: Path) -> tuple[float, float, float]:
    """The voxels (x, y, z) that the networks were trained on; 1 mm where their files do not say."""
    found = {one.spacing_mm or (1.0, 1.0, 1.0) for one in described_in(read_metadata(weights), weights)}
    if len(found) > 1:
        raise WeightsError(f"The networks in {weights} want images of different voxels ({found}).")
    return found.pop()
