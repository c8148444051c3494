"""The steps that RFNet and mmFormer share: crop, normalisation, windows, postprocessing and modality mask.

They follow the authors' code (mmFormer's derives from RFNet's). The images are cropped to the voxels that are not 0 in
at least one sequence, in a box of at least 128 voxels a side; where a side is longer than that its last plane is left
out, as in that code. All voxels of a sequence are normalised by its mean and standard deviation over the voxels at
which the sum of the sequences is positive. The softmax of overlapping windows is averaged and the class with the
highest probability taken. If there are fewer voxels of enhancing tumour than a limit, they become non-enhancing core.

Here the sum is over the sequences that the case has; a missing one is masked in the network and never encoded. Images
of fewer than 129 voxels a side, which do not occur in BraTS, are padded with zeros on both sides.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from GliomaSegLib.case import Input
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.outputs import Array
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.inference.volume import VolumeSegmenter, stacked
from GliomaSegLib.labels import Label
from GliomaSegLib.networks.masked_encoders import SEQUENCES
from GliomaSegLib.preprocessing.cropping import Box
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.checkpoint import published_tensors
from GliomaSegLib.zoo.inference_spec import precision_of, spec_of

ENCODERS = {"flair": 0, "t1ce": 1, "t1": 2, "t2": 3}
"""The numbers of the encoders by their published names."""

Rules = Sequence[tuple[str, Callable[..., str | None]]]
"""A pattern of published names, and the name here from its groups; levels are published from 1, and here from 0."""

_JOINS = {"c2": 0, "out": 1}
DECODER: Rules = (
    (r"decoder_sep\..+", lambda: None),
    (r"decoder_fuse\.d(\d)_c1\.(conv\..+)", lambda level, rest: f"lifts.{int(level) - 1}.{rest}"),
    (
        r"decoder_fuse\.d(\d)_(c2|out)\.(conv\..+)",
        lambda level, join, rest: f"joins.{int(level) - 1}.{_JOINS[join]}.{rest}",
    ),
    (r"decoder_fuse\.seg_layer\.(.+)", "answer.{}".format),
)
"""Of the decoder, which mmFormer takes from RFNet; a second decoder is used in training only."""

_LEAST_SIDE = 128  # voxels of the cropped field
_LEAST_GRID = _LEAST_SIDE + 1


def convert_published(
    source: Path, destination: Path, network: nn.Module, own_name: Callable[[str], str | None], title: str
) -> None:
    """The ``convert`` of a family.

    Args:
        network: the network whose parameters the file should hold; their shapes do not matter.
        own_name: maps a published name to the one here; ``None`` for parameters that only training uses.
        title: of the network, for the error messages.
    """
    state, published = published_tensors(source, "*.pth", "state_dict")
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        try:
            own = own_name(name)
        except KeyError as error:
            raise WeightsError(
                f"{published} is not {title}'s: it holds '{name}', which {title} lacks; get the file that the card "
                "names."
            ) from error
        if own is not None:
            tensors[own] = value
    if missing := sorted(network.state_dict().keys() - tensors.keys()):
        raise WeightsError(f"{published} is not {title}'s, or cut short: it lacks '{missing[0]}'; get the file again.")
    save_file(tensors, destination)


def renamed(published: str, rules: Rules) -> str | None:
    """The name here of a published parameter, by the first rule that fits; ``None`` for one that only training uses.

    Raises:
        KeyError: no rule fits: the network has no such parameter.
    """
    for pattern, own in rules:
        if match := re.fullmatch(pattern, published):
            return own(*match.groups())
    raise KeyError(published)


class SubsetSegmenter:
    """A network with a mask input for the sequences that a case has. See
    :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        network: images ``[batch, sequence, *window]`` and ``bool [batch, sequence]`` to class logits.
        parameters: of the card; specific to this family: ``least_enhancing_voxels``.
        device, precision: where and in which number format to run.
        one_size: whether the network takes only windows of the card's size.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: Mapping[str, Any],
        device: torch.device,
        precision: torch.dtype,
        one_size: bool = False,
    ) -> None:
        self._network = network.eval().requires_grad_(False)
        self._device, self._precision = device, precision_of(parameters, precision)
        least = int(parameters["least_enhancing_voxels"])
        spec = spec_of(parameters)
        self._spec = dataclasses.replace(
            spec,
            order=SEQUENCES,
            prepare=prepared,
            windows=dataclasses.replace(spec.windows, one_size=one_size),
            activate=lambda probabilities: probabilities,
            finish=lambda labels: without_specks_of_enhancement(labels, least),
        )
        self._segmenters: dict[tuple[bool, ...], VolumeSegmenter] = {}

    def predict(self, images: Mapping[Input, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case. Nothing here is random."""
        shape = stacked(images, SEQUENCES).shape[1:]
        added = [max(_LEAST_GRID - own, 0) for own in shape]
        inside = tuple(slice(more // 2, more // 2 + own) for more, own in zip(added, shape, strict=True))
        sides = [(more // 2, more - more // 2) for more in added]
        padded: dict[Input, Array] = {one: np.pad(images[one], sides) for one in SEQUENCES if one in images}
        found = self._for(tuple(one in padded for one in SEQUENCES)).predict(padded, progress, seed)
        return dataclasses.replace(
            found,
            labels=found.labels[inside],
            probabilities={region: values[inside] for region, values in found.probabilities.items()},
        )

    def _for(self, present: tuple[bool, ...]) -> VolumeSegmenter:
        if present not in self._segmenters:
            masked = _Masked(self._network, present)
            self._segmenters[present] = VolumeSegmenter([masked], self._spec, self._device, self._precision)
        return self._segmenters[present]


class _Masked(nn.Module):
    """The network for cases that have these sequences. Returns class probabilities, which windows average."""

    def __init__(self, network: nn.Module, present: tuple[bool, ...]) -> None:
        super().__init__()
        self.network, self._present = network, present

    def forward(self, images: Tensor) -> Tensor:
        present = torch.tensor([self._present] * len(images), device="cpu")
        return self.network(images, present).float().softmax(dim=1)


def prepared(stack: Array) -> tuple[Array, Box]:
    """``float32 [sequence, z, y, x]``, a missing sequence 0 throughout, cropped and normalised.

    Raises:
        InputError: the images are empty, or one has no contrast.
    """
    box = published_crop((stack != 0).any(axis=0))
    cropped = stack[(slice(None), *box)]
    brain = cropped.sum(axis=0) > 0
    channels = np.zeros_like(cropped)
    for place, sequence in enumerate(SEQUENCES):
        if not stack[place].any():
            continue
        values = cropped[place][brain]
        spread = values.std(dtype=np.float64) if values.size else 0.0
        if not spread:
            raise InputError(
                f"The {sequence.title} image (--{sequence.value}) has no contrast inside the brain; check the file."
            )
        channels[place] = (cropped[place] - values.mean(dtype=np.float64)) / spread
    return channels, box


def published_crop(measured: NDArray[np.bool_]) -> Box:
    """The box that RFNet's preprocessing takes around ``measured [z, y, x]``.

    Raises:
        InputError: all voxels are 0.
    """
    if not measured.any():
        raise InputError("The images are empty (all zero); check the files.")
    box = []
    for axis, size in enumerate(measured.shape):
        there = np.flatnonzero(measured.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = int(there[0]), int(there[-1])
        if (lacking := _LEAST_SIDE - (last - first)) > 0:
            first, last = first - lacking // 2, last + lacking // 2 + 1
        inwards = max(-first, 0) or -min(max(last - size, 0), first)
        box.append(slice(first + inwards, min(last + inwards, size)))
    return box[0], box[1], box[2]


def without_specks_of_enhancement(labels: NDArray[np.uint8], least_voxels: int) -> NDArray[np.uint8]:
    """``labels`` with enhancing tumour of fewer than ``least_voxels`` voxels in all relabelled as core."""
    enhancing = labels == Label.ET
    if 0 < np.count_nonzero(enhancing) < least_voxels:
        return np.where(enhancing, np.uint8(Label.NETC), labels)
    return labels
