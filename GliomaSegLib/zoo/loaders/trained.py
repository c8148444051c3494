"""A network trained with a recipe by ``gliomaseg train``: DeepMedic, AGU-Net, nnU-Net's, 3D U-Net, V-Net, any-unet.

The network's input is prepared as in training: images of 1 mm are scaled like prepared cases and resampled to the
recipe's grid, in windows of the recipe's patch size, or, where the recipe's view is mid-sagittal, the whole brain.
:func:`GliomaSegLib.training.exported_card.card_fields` makes the card's fields from a recipe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from GliomaSegLib import networks
from GliomaSegLib.case import Modality
from GliomaSegLib.inference.outputs import Array
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.inference.training_grid import GridSpec, OnTrainingGrid
from GliomaSegLib.inference.volume import InferenceSpec, VolumeSegmenter, whole_box
from GliomaSegLib.inference.windows import Windows
from GliomaSegLib.preprocessing.bias import correct_bias
from GliomaSegLib.preprocessing.normalisation import clipped_z_score, standardise_histogram_inside
from GliomaSegLib.zoo.card_network import Space
from GliomaSegLib.zoo.checkpoint import copy_exported, fill, read_stages
from GliomaSegLib.zoo.inference_spec import answer_of, precision_of, spec_of

STAGE = "network"
"""What the names of the tensors in the weight file begin with."""


def convert(source: Path, destination: Path) -> None:
    """Copy the one safetensors file in the folder ``source``; see :func:`GliomaSegLib.zoo.checkpoint.copy_exported`."""
    copy_exported(source, destination, (STAGE,))


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run.

    Args:
        parameters: of the card; of its own ``network`` (name and parameters, see
            :mod:`GliomaSegLib.networks`), ``lattice_mm`` (x, y, z), for a mid-sagittal view ``frame`` (its least voxels
            x, y, z), the ``plane`` of its slices where it is not axial, and of the training's preparation
            ``bias_correction``, ``common_space`` and ``landmarks`` (by sequence).

    Raises:
        InputError: the card names a network or parameters that do not exist.
    """
    own = read_stages(weights, (STAGE,), parameters)[STAGE]
    network = networks.build(parameters["network"]["name"], parameters["network"].get("parameters", {}))
    fill(network, own, weights, f"the network '{parameters['network']['name']}' with the card's parameters")
    order: tuple[Modality, ...] = parameters["sequences"]
    space: Space = parameters["space"]
    spec = _turned(spec_of(parameters), Plane(parameters.get("plane", Plane.AXIAL)))
    inner = dataclasses.replace(
        spec, prepare=lambda stack: (stack, whole_box(stack)), windows=_windows(spec.windows, network)
    )
    frame, common = parameters.get("frame"), parameters.get("common_space", False)
    seen = GridSpec(
        _zyx(parameters["lattice_mm"]), frame and _zyx(frame), (parameters["inference"].multiple_of,) * 3, common
    )
    image_mm = _zyx(space.spacing_mm)
    return OnTrainingGrid(
        VolumeSegmenter([network], inner, device, precision_of(parameters, precision)),
        order,
        seen,
        image_mm,
        _scaling(parameters, image_mm),
        answer_of(parameters["output"]),
    )


def _scaling(parameters: Mapping[str, Any], image_mm: tuple[float, float, float]) -> Callable[[Modality, Array], Array]:
    """The steps that the training applied to the grey values of a sequence, in the same order."""
    landmarks = {Modality(name): tuple(values) for name, values in parameters.get("landmarks", {}).items()}

    def scaled(sequence: Modality, image: Array) -> Array:
        name = f"{sequence.title} (--{sequence.value})"
        if parameters.get("bias_correction", False):
            image = _without_bias(image, image_mm, name)
        found = clipped_z_score(image, name)
        return standardise_histogram_inside(found, landmarks[sequence], name) if landmarks else found

    return scaled


def _without_bias(image: Array, image_mm: tuple[float, float, float], name: str) -> Array:
    whole, brain = sitk.GetImageFromArray(image), sitk.GetImageFromArray((image != 0).astype(np.uint8))
    for one in (whole, brain):
        one.SetSpacing(image_mm[::-1])
    return sitk.GetArrayFromImage(correct_bias(whole, brain, name))


def _turned(spec: InferenceSpec, plane: Plane) -> InferenceSpec:
    """For a network whose slices lie in ``plane``."""
    if plane is Plane.AXIAL:
        return spec
    mirrors = tuple(tuple(sorted(map(plane.axes.index, one))) for one in spec.windows.mirrors)
    windows = dataclasses.replace(spec.windows, size=plane.turned_shape(spec.windows.size), mirrors=mirrors)
    return dataclasses.replace(spec, windows=windows, axes=plane.axes)


def _windows(given: Windows, network: torch.nn.Module) -> Windows:
    """The card's windows, which are the network's input; its output may cover only their centre."""
    margin = getattr(network, "margin", (0, 0, 0))
    if not any(margin):
        return given
    z, y, x = (own - 2 * more for own, more in zip(given.size, margin, strict=True))
    return dataclasses.replace(given, size=(z, y, x), margin=margin, one_size=True)


def _zyx(xyz: Any) -> Any:
    x, y, z = xyz
    return z, y, x
