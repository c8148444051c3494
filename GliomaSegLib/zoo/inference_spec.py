"""From a card's ``normalisation``, ``inference`` and ``output`` to the inference engine's specification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.outputs import Answer, Array, label_per_channel, regions_per_channel
from GliomaSegLib.inference.volume import InferenceSpec, measured_box, whole_box
from GliomaSegLib.inference.windows import WHOLE_FIELD, Windows, constant, gaussian, mirrors
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.postprocessing import components
from GliomaSegLib.preprocessing.cropping import Box
from GliomaSegLib.preprocessing.normalisation import (
    between_percentiles,
    standardise_histogram,
    z_score,
    z_score_above_mean,
    z_score_of_all,
)
from GliomaSegLib.zoo.card_network import Inference, Normalisation, Output


def spec_of(parameters: Mapping[str, Any]) -> InferenceSpec:
    """The engine's specification for a card's ``normalisation``, ``inference`` and ``output``.

    Args:
        parameters: what :attr:`GliomaSegLib.zoo.card.Card.loader_parameters` gives a loader.
    """
    inference: Inference = parameters["inference"]
    output: Output = parameters["output"]
    order: tuple[Modality, ...] = parameters["sequences"]
    return InferenceSpec(
        order=order,
        prepare=partial(prepared, order=order, normalisation=parameters["normalisation"], inference=inference),
        windows=windows_of(inference),
        activate=torch.sigmoid if output.activation == "sigmoid" else partial(torch.softmax, dim=0),
        answer=answer_of(output),
        axes=(2, 1, 0) if inference.axes == "xyz" else (0, 1, 2),
        finish=largest_component if output.largest_component else lambda labels: labels,
    )


def precision_of(parameters: Mapping[str, Any], requested: torch.dtype) -> torch.dtype:
    """``requested``, or float32 where the card does not say that lower precision was checked."""
    inference: Inference | None = parameters.get("inference")
    return requested if inference is None or inference.bfloat16 else torch.float32


def windows_of(inference: Inference) -> Windows:
    """The windows in the network's own axis order; trimmed in the brain's box, so that there is no padding."""
    own = "xyz" if inference.axes == "xyz" else "zyx"
    sides = dict(zip("xyz", inference.patch or WHOLE_FIELD, strict=True))
    trims = inference.field == "brain" or inference.patch is None
    return Windows(
        size=(sides[own[0]], sides[own[1]], sides[own[2]]),
        overlap=inference.overlap,
        importance=gaussian if inference.window == "gaussian" else constant,
        trims_to=inference.multiple_of if trims else None,
        mirrors=mirrors(*(own.index(axis) for axis in inference.mirrors)),
    )


def answer_of(output: Output) -> Answer:
    """How probabilities become labels."""
    if output.activation == "sigmoid":
        return regions_per_channel([Region(name) for name in output.channels], output.threshold)
    return label_per_channel([Label[name.upper()] for name in output.channels], output.threshold)


def prepared(
    stack: Array, order: tuple[Modality, ...], normalisation: Normalisation, inference: Inference
) -> tuple[Array, Box]:
    """The channels ``[channel, z, y, x]``, each normalised on its own, inside the field that the card asks for.

    Raises:
        InputError: an image is empty or has no contrast.
    """
    box = measured_box(stack, inference.margin_voxels) if inference.field == "brain" else whole_box(stack)
    return scaled(stack, order, scaling_of(normalisation), box), box


def scaled(stack: Array, order: tuple[Modality, ...], scale: Callable[[Array, str], Array], box: Box) -> Array:
    """The channels, each scaled as a whole and then cropped to ``box``; one that is missing stays 0."""
    channels = [
        scale(image, f"{sequence.title} (--{sequence.value})") if image.any() else image
        for sequence, image in zip(order, stack, strict=True)
    ]
    return np.stack([channel[box] for channel in channels])


_Z_SCORES = {"all": z_score_of_all, "non-zero": z_score, "above-mean": z_score_above_mean}
_MEASURED: dict[str, Callable[[Array], NDArray[np.bool_] | None]] = {
    "all": lambda image: None,
    "non-zero": lambda image: image != 0,
    "above-mean": lambda image: image > image.mean(dtype=np.float64),
}


def scaling_of(normalisation: Normalisation) -> Callable[[Array, str], Array]:
    """The normalisation as a function of an image and its name."""
    z_scored, measured = _Z_SCORES[normalisation.over], _MEASURED[normalisation.over]
    if normalisation.method == "percentiles" and normalisation.percentiles is not None:
        low_high = normalisation.percentiles
        return lambda image, name: between_percentiles(image, low_high, normalisation.clip, name, measured(image))
    if normalisation.method == "landmarks" and normalisation.landmarks is not None:
        landmarks = normalisation.landmarks
        return lambda image, name: z_scored(standardise_histogram(image, landmarks), name)
    return z_scored if normalisation.method == "z-score" else lambda image, name: image


def largest_component(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without all that does not touch (by faces) the largest piece of a label map ``[z, y, x]``."""
    if not labels.any():
        return labels
    numbered, sizes = components(labels > 0, connectivity=6)
    return np.where(numbered == sizes.argmax(), labels, np.uint8(0))
