"""Networks that nnU-Net v2 planned and trained: TumorSegmentator, HD-BET v2, and users' own.

The steps before and after the network (order of axes, cropping, normalisation, windows and their weights, mirroring,
mean of the folds, regions or labels) follow nnU-Net 2.8, with one difference: the pipeline has already resampled the
images to the spacing of the plans, once and linearly; nnU-Net itself resamples the normalised images with cubic splines
and the logits back. For an image that has that spacing there is no difference. The published files
are read in :mod:`.nnunet_plans`.

Isensee F et al. nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation. Nat Methods
2021;18:203-211.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.modality_sets import ModalitySetSegmenter
from GliomaSegLib.inference.outputs import Answer, label_per_channel, regions_per_channel
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.volume import InferenceSpec, VolumeSegmenter
from GliomaSegLib.inference.windows import Size, Windows, even, mirrors
from GliomaSegLib.labels import REGION_LABELS, Label, Region
from GliomaSegLib.preprocessing.cropping import Box, bounding_box
from GliomaSegLib.zoo.card_network import Inference, Output
from GliomaSegLib.zoo.checkpoint import below, fill, read_checkpoint, read_converted, read_metadata, state_dict
from GliomaSegLib.zoo.inference_spec import largest_component, precision_of
from GliomaSegLib.zoo.loaders.nnunet_plans import Trained, network_of, read_published, trained_in, with_aliases

_OVERLAP = 0.5
_NORMALISATIONS = ("ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization")

# Names of the sequences in datasets, reduced to lower-case letters and digits.
_NAMES: dict[str, Modality] = {
    **dict.fromkeys(("t1", "t1w", "t1n"), Modality.T1N),
    **dict.fromkeys(("t1c", "t1ce", "t1gd", "cet1", "ct1", "t1wce"), Modality.T1C),
    **dict.fromkeys(("t2", "t2w"), Modality.T2W),
    **dict.fromkeys(("flair", "t2f", "t2flair", "fla"), Modality.T2F),
}


def convert(source: Path, destination: Path) -> None:
    """The folds below the folder ``source`` as one file, plans and dataset as its metadata.

    Raises:
        InputError: the package dynamic-network-architectures is missing.
    """
    trained, paths = read_published(source)
    network = network_of(trained, source)
    tensors: dict[str, Tensor] = {}
    for fold, path in paths.items():
        fill(network, state_dict(read_checkpoint(path), path, "network_weights"), path)
        once = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        tensors |= {f"{fold}.{name}": value.detach().clone() for name, value in once.items()}
    save_file(tensors, destination, {"trained": trained.model_dump_json()})


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The folds, ready to run.

    Args:
        parameters: of the card; ``labels`` maps the published labels (``{"1": "SNFH", ...}``; for a
            brain extractor ``{"1": "brain"}``), ``sequences`` is the channel order where the dataset names no channels,
            or unknown ones. With ``sets`` of one sequence each the network takes any of them. ``inference.mirrors`` are
            the axes of test-time mirror images.

    Raises:
        InputError: the package dynamic-network-architectures is missing.
    """
    tensors, metadata = read_converted(weights, parameters)
    trained = trained_in(metadata, weights)
    networks = []
    for fold in trained.folds:
        network = network_of(trained, weights)
        networks.append(fill(network, with_aliases(network, below(fold, tensors)), weights))
    precision = precision_of(parameters, precision)
    answer = _answer(trained, parameters["labels"], weights)
    inference: Inference | None = parameters.get("inference")
    output: Output | None = parameters.get("output")
    windows = _windows(trained, inference.mirrors if inference else ())

    def segmenter(order: tuple[Modality, ...]) -> VolumeSegmenter:
        spec = InferenceSpec(
            order=order,
            prepare=partial(_prepared, trained=trained, order=order),
            windows=windows,
            activate=torch.sigmoid if trained.regions else partial(torch.softmax, dim=0),
            answer=answer,
            axes=trained.transpose,
            finish=largest_component if output and output.largest_component else lambda labels: labels,
        )
        return VolumeSegmenter(networks, spec, device, precision)

    sets: tuple[tuple[Modality, ...], ...] = parameters.get("sets", ())
    if sets:
        return ModalitySetSegmenter({order: segmenter(_order(trained, order, weights)) for order in sets})
    return segmenter(_order(trained, parameters["sequences"], weights))


def spacing_mm(weights: Path) -> tuple[float, float, float]:
    """The voxels (x, y, z) that the network was trained on."""
    trained = trained_in(read_metadata(weights), weights)
    z, y, x = (trained.spacing_mm[trained.transpose.index(axis)] for axis in range(3))
    return x, y, z


def _order(trained: Trained, wanted: tuple[Modality, ...], source: Path) -> tuple[Modality, ...]:
    """The sequences in the dataset's own order where it names them, else in the card's."""
    if len(wanted) != len(trained.channels):
        raise WeightsError(
            f"{source} takes {len(trained.channels)} sequences ({', '.join(trained.channels)}) and the card names "
            f"{len(wanted)}; it is another model."
        )
    named = [_NAMES.get("".join(filter(str.isalnum, name.lower()))) for name in trained.channels]
    if None in named or len(wanted) == 1:
        return wanted
    if set(named) != set(wanted):
        raise WeightsError(f"{source} takes {', '.join(trained.channels)}, other than the card; it is another model.")
    return tuple(sequence for sequence in named if sequence)


def _windows(trained: Trained, wanted: tuple[str, ...]) -> Windows:
    """nnU-Net's windows; test-time mirroring along those of the ``wanted`` axes that the training mirrored."""
    axes = [trained.transpose.index("zyx".index(axis)) for axis in wanted]
    return Windows(
        size=trained.patch,
        overlap=_OVERLAP,
        placing=even,
        importance=_gaussian,
        mirrors=mirrors(*(axis for axis in axes if axis in trained.mirrored)),
    )


def _gaussian(window: Size) -> Tensor:
    """nnU-Net's weights of a window: a Gaussian with a sigma of an eighth of the window, 10 at its centre, in half
    precision as in nnU-Net, which limits how small the weights of the corners are."""
    peak = np.zeros(window)
    peak[tuple(size // 2 for size in window)] = 1
    weights = ndimage.gaussian_filter(peak, [size / 8 for size in window], mode="constant")
    halved = torch.from_numpy(weights / weights.max() * 10).half().float()
    return halved.clamp(min=halved[halved > 0].min().item())


def _prepared(
    stack: NDArray[np.float32], trained: Trained, order: tuple[Modality, ...]
) -> tuple[NDArray[np.float32], Box]:
    """Each channel normalised in the box of the voxels that are non-zero in any of them, as in nnU-Net."""
    measured = ndimage.binary_fill_holes(stack.any(axis=0))
    box = bounding_box(measured)
    inside = measured[box]
    return np.stack(
        [
            _scaled(image[box], inside if masked else np.ones_like(inside), method, sequence.title)
            for image, masked, method, sequence in zip(stack, trained.masked, trained.normalisation, order, strict=True)
        ]
    ), box


def _scaled(image: NDArray[np.float32], inside: NDArray[np.bool_], method: str, name: str) -> NDArray[np.float32]:
    if method == "NoNormalization":
        return image
    spread = float(image.max() - image.min()) if method == "RescaleTo01Normalization" else float(image[inside].std())
    if spread == 0:
        raise InputError(
            f"{name} has no contrast and cannot be normalised; check the file, or leave it out (--without)."
        )
    if method == "RescaleTo01Normalization":
        return (image - image.min()) / spread
    return np.where(inside, (image - image[inside].mean()) / spread, image).astype(np.float32)


def _answer(trained: Trained, meaning: Mapping[str, str], source: Path) -> Answer:
    """Converts probabilities to internal labels, given the meaning of the published ones."""
    published = {label for label in (*trained.labels, *(label for one in trained.regions for label in one)) if label}
    unknown: list[int | str] = [label for label in sorted(published) if str(label) not in meaning]
    unknown += [name for name in trained.normalisation if name not in _NORMALISATIONS]
    if unknown:
        raise WeightsError(f"{source} has '{unknown[0]}', of which the card or GliomaSeg knows nothing.")
    if set(meaning.values()) == {"brain"} and not trained.regions:
        return _brain
    ours = {label: Label[meaning[str(label)]] for label in published}
    if not trained.regions:
        return label_per_channel([Label.BACKGROUND, *(ours[label] for label in trained.labels if label)])
    order = [_region({ours[label] for label in one}, source) for one in trained.regions]
    sizes = [len(REGION_LABELS[region]) for region in order]
    if sizes != sorted(sizes, reverse=True):
        raise WeightsError(f"{source} writes larger regions over smaller ones; GliomaSeg cannot read it that way.")
    return regions_per_channel(order)


def _region(labels: set[Label], source: Path) -> Region:
    for region, own in REGION_LABELS.items():
        if set(own) == labels:
            return region
    raise WeightsError(f"{source} has a region of {', '.join(sorted(label.name for label in labels))}, which is none.")


def _brain(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.uint8], dict[Region, NDArray[np.float32]]]:
    """1 where the second channel, the brain, is likelier than the background; there are no tumour regions."""
    return (probabilities[1] > probabilities[0]).astype(np.uint8), {}
