"""AR-CA as its recipes train it: up to nine CA-CNN networks in the cascade of CA-CNN, without their autoencoder branch.

Slices, cascade, fusion of the views and postprocessing are those of the published weights
(:mod:`GliomaSegLib.zoo.loaders.ca_cnn`); grey values are scaled as in the training cases, 0 outside the brain.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing.normalisation import clipped_z_score
from GliomaSegLib.zoo.checkpoint import read_converted, the_only
from GliomaSegLib.zoo.loaders.ca_cnn import cascade

# Below the name of a stage; all else there belongs to the branch that only training uses.
_KEPT = "segmentation."


def convert(source: Path, destination: Path) -> None:
    """The one safetensors file of an export, without the tensors that inference does not use."""
    exported = the_only(source, "*.safetensors")
    kept = {}
    for name, value in read_converted(exported)[0].items():
        region, view, parameter = (*name.split(".", 2), "", "")[:3]
        try:
            region_and_view(f"{region}.{view}")
        except InputError as error:
            raise WeightsError(f"{exported} holds '{name}', which no network of AR-CA has; export it anew.") from error
        if parameter.startswith(_KEPT):
            kept[f"{region}.{view}.{parameter.removeprefix(_KEPT)}"] = value
    if not kept:
        raise WeightsError(f"{exported} holds no network of AR-CA; export it anew.")
    save_file(kept, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The cascade, ready to run; ``views`` of the card are the planes to fuse. Statistics are always in float32."""
    tensors = {name: value.float() for name, value in read_converted(weights, parameters)[0].items()}
    planes = [Plane(name) for name in parameters["views"]]

    def scale(image: NDArray[np.float32], name: str, _: np.random.Generator) -> NDArray[np.float32]:
        return clipped_z_score(image, name)

    return cascade(tensors, weights, parameters["sequences"], planes, device, precision, scale=scale, noisy=False)


def region_and_view(stage: str) -> tuple[Region, Plane]:
    """The region and the view of a stage's network, from a name such as ``wt.axial``.

    Raises:
        InputError: it is no such name.
    """
    region, _, view = stage.partition(".")
    try:
        return Region(region.upper()), Plane(view)
    except ValueError as error:
        raise InputError(
            f"'{stage}' names no network of AR-CA; it is a region and a view, such as wt.axial, tc.sagittal or "
            "et.coronal."
        ) from error
