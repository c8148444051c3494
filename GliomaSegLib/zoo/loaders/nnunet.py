"""Networks that nnU-Net v2 planned and trained: TumorSegmentator, HD-BET v2, and users' own.

The published folder holds ``plans.json``, ``dataset.json`` and per fold ``checkpoint_final.pth``. The plans can name
any Python class; here only the two U-Nets of nnU-Net with layers of torch are accepted, and nothing is looked up by
name. What the network wants (order of axes, box, normalisation, windows and their weights, mirror images, mean of the
folds, regions or labels) is done as nnU-Net 2.8 does it, with one difference: the images come on a grid of the spacing
of the plans already, each resampled once and linearly by the road; nnU-Net itself resamples the normalised images with
cubic splines and the logits back. Where an image has that spacing anyway there is no difference.

Isensee F et al. nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation. Nat Methods
2021;18:203-211.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor, nn

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.modality_sets import ModalitySetSegmenter
from GliomaSegLib.inference.outputs import Answer, label_per_channel, regions_per_channel
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.volume import InferenceSpec, VolumeSegmenter
from GliomaSegLib.inference.windows import Size, Windows, even, mirrors
from GliomaSegLib.labels import REGION_LABELS, Label, Region
from GliomaSegLib.preprocessing.cropping import Box, bounding_box
from GliomaSegLib.record import Record
from GliomaSegLib.zoo.card_network import Inference, Output
from GliomaSegLib.zoo.checkpoint import fill, read_checkpoint, read_converted, state_dict
from GliomaSegLib.zoo.inference_spec import largest_component, precision_of

_CHECKPOINT = "checkpoint_final.pth"
_OVERLAP = 0.5

# Layers that plans may name, by the last part of the name; everything else is refused.
_LAYERS: dict[str, type[nn.Module]] = {
    layer.__name__: layer
    for layer in (nn.Conv3d, nn.InstanceNorm3d, nn.BatchNorm3d, nn.LeakyReLU, nn.ReLU, nn.Dropout3d)
}
_LAYER_ARGUMENTS = ("conv_op", "norm_op", "dropout_op", "nonlin")
_NORMALISATIONS = ("ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization")

# How datasets call the sequences, in small letters and digits alone.
_NAMES: dict[str, Modality] = {
    **dict.fromkeys(("t1", "t1w", "t1n"), Modality.T1N),
    **dict.fromkeys(("t1c", "t1ce", "t1gd", "cet1", "ct1", "t1wce"), Modality.T1C),
    **dict.fromkeys(("t2", "t2w"), Modality.T2W),
    **dict.fromkeys(("flair", "t2f", "t2flair", "fla"), Modality.T2F),
}


class Trained(Record):
    """What plans, dataset and checkpoint say together. Axes are in the network's own order.

    Attributes:
        channels: what the dataset calls them.
        regions: per channel of the answer the published labels in it, or empty when channels are exclusive labels.
        labels: the published label of each channel; for exclusive labels the background (0) is the first.
        transpose: which axis of an array ``[z, y, x]`` each of the network's axes is.
        spacing_mm, patch: of the training and of a window.
        normalisation, masked: per input channel its method, and whether only the box's filled non-zero part counts.
        mirrored: axes along which the training mirrored its images.
        architecture, arguments: the network.
        folds: whose tensors follow, by name.
    """

    channels: tuple[str, ...]
    regions: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    transpose: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    normalisation: tuple[str, ...]
    masked: tuple[bool, ...]
    mirrored: tuple[int, ...]
    architecture: str
    arguments: dict[str, Any]
    folds: tuple[str, ...]


def convert(source: Path, destination: Path) -> None:
    """Write the folds below the folder ``source`` as one safetensors file, plans and dataset as its metadata.

    As nnU-Net does by default, the numbered folds are taken where there are any, else the one that saw all the data.

    Raises:
        WeightsError: a file is missing or damaged, holds code, or describes a network that is not known here.
        InputError: the package dynamic-network-architectures is missing.
    """
    folder = _trained_folder(source)
    paths = {path.parent.name.removeprefix("fold_"): path for path in sorted(folder.glob(f"fold_*/{_CHECKPOINT}"))}
    folds = tuple(name for name in paths if name != "all") or ("all",)
    plans, dataset = _json(folder / "plans.json"), _json(folder / "dataset.json")
    trained = _trained(plans, dataset, read_checkpoint(paths[folds[0]]), folds, paths[folds[0]])
    network = _network(trained, folder)
    tensors: dict[str, Tensor] = {}
    for fold in folds:
        fill(network, state_dict(read_checkpoint(paths[fold]), paths[fold], "network_weights"), paths[fold])
        once = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        tensors |= {f"{fold}.{name}": value.detach().clone() for name, value in once.items()}
    save_file(tensors, destination, {"trained": trained.model_dump_json()})


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The folds, ready to run.

    Args:
        weights: the file that :func:`convert` wrote.
        parameters: of the card; ``labels`` tells what the published labels mean (``{"1": "SNFH", ...}``; for a
            brain extractor ``{"1": "brain"}``), ``sequences`` is the channel order where the dataset names none that is
            known. With ``sets`` of one sequence each the network takes any of them. ``inference.mirrors`` are the axes
            of test-time mirror images.
        device: where to run; what does not fit there runs on the processor.
        precision: number format of the convolutions, where the card allows a lower one.

    Raises:
        WeightsError: the file is missing or damaged, or the card does not fit it.
        InputError: the package dynamic-network-architectures is missing.
    """
    tensors, _ = read_converted(weights)
    trained = _read_trained(weights)
    networks = []
    for fold in trained.folds:
        own = {key.removeprefix(f"{fold}."): value for key, value in tensors.items() if key.startswith(f"{fold}.")}
        network = _network(trained, weights)
        networks.append(fill(network, _with_aliases(network, own), weights))
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
    """The voxels (x, y, z) that the network was trained on.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    trained = _read_trained(weights)
    z, y, x = (trained.spacing_mm[trained.transpose.index(axis)] for axis in range(3))
    return x, y, z


# --- the published files -----------------------------------------------------------------------------------------


def _trained_folder(source: Path) -> Path:
    """The one folder below ``source`` that holds folds."""
    found = sorted({path.parent.parent for path in source.rglob(f"fold_*/{_CHECKPOINT}")})
    if len(found) != 1:
        raise WeightsError(
            f"{source} holds {len(found)} folders with fold_*/{_CHECKPOINT} and should hold one; give the folder that "
            "nnU-Net v2 wrote."
        )
    return found[0]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path}, which nnU-Net v2 writes beside its folds, cannot be read; get it again."
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} is no file of nnU-Net v2; get it again from its publisher.")
    return content


def _trained(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], checkpoint: Any, folds: tuple[str, ...], source: Path
) -> Trained:
    """Raises WeightsError when they are not what nnU-Net v2 writes, or ask for what is not known here."""
    try:
        configuration = _configuration(plans["configurations"], checkpoint["init_args"]["configuration"])
        if configuration.get("previous_stage") or len(configuration["patch_size"]) != 3:
            raise WeightsError(
                f"{source} is a 2D network or a stage of a cascade; only 3D networks of one stage are run."
            )
        architecture, arguments = _architecture(configuration)
        regions, labels = _channels_of_answer(dataset)
        return Trained(
            channels=tuple(map(str, (dataset.get("channel_names") or dataset["modality"]).values())),
            regions=regions,
            labels=labels,
            transpose=plans["transpose_forward"],
            spacing_mm=configuration["spacing"],
            patch=configuration["patch_size"],
            normalisation=configuration["normalization_schemes"],
            masked=configuration["use_mask_for_norm"],
            mirrored=checkpoint.get("inference_allowed_mirroring_axes") or (),
            architecture=architecture,
            arguments=arguments,
            folds=folds,
        )
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise WeightsError(
            f"{source} and the plans and dataset with it are not as nnU-Net v2 writes them ({type(error).__name__}: "
            f"{error}); get them again from their publisher."
        ) from error


def _configuration(configurations: Mapping[str, Any], name: str, depth: int = 0) -> dict[str, Any]:
    """A configuration with what it inherits."""
    own = configurations[name]
    parent = own.get("inherits_from")
    if parent is None or depth > len(configurations):
        return dict(own)
    return {**_configuration(configurations, parent, depth + 1), **own}


def _architecture(configuration: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The network's name and arguments; before version 2.4 the plans spelled them out otherwise."""
    if "architecture" in configuration:
        described = configuration["architecture"]
        return str(described["network_class_name"]).rpartition(".")[2], dict(described["arch_kwargs"])
    plain = configuration["UNet_class_name"] == "PlainConvUNet"
    stages = len(configuration["n_conv_per_stage_encoder"])
    first, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    return configuration["UNet_class_name"], {
        "n_stages": stages,
        "features_per_stage": [min(first * 2**stage, most) for stage in range(stages)],
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"],
        "n_conv_per_stage" if plain else "n_blocks_per_stage": configuration["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _channels_of_answer(dataset: Mapping[str, Any]) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """The regions (empty where there are none) and the published label of each channel."""
    named = {name: meant for name, meant in dataset["labels"].items() if name != "ignore"}
    if not any(isinstance(meant, list) and len(meant) > 1 for meant in named.values()):
        return (), tuple(sorted({int(meant[0] if isinstance(meant, list) else meant) for meant in named.values()}))
    sets = [tuple(meant) if isinstance(meant, list) else (int(meant),) for meant in named.values()]
    return tuple(one for one in sets if set(one) != {0}), tuple(dataset["regions_class_order"])


def _read_trained(weights: Path) -> Trained:
    try:
        return Trained.model_validate_json(read_converted(weights)[1]["trained"])
    except (KeyError, ValidationError) as error:
        raise WeightsError(f"The weights {weights} have lost their plans; install the model again.") from error


# --- the network ---------------------------------------------------------------------------------------------------


def _network(trained: Trained, source: Path) -> nn.Module:
    """The network that the plans describe; a class or a layer that is not known here is refused."""
    try:
        from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
    except ImportError as error:
        raise InputError(
            "Networks of nnU-Net need the package dynamic-network-architectures; run 'pip install GliomaSeg[nnunet]'."
        ) from error
    known = {"PlainConvUNet": PlainConvUNet, "ResidualEncoderUNet": ResidualEncoderUNet}
    if trained.architecture not in known:
        raise WeightsError(
            f"{source} wants the network '{trained.architecture}'; only {' and '.join(known)} are known."
        )
    arguments = dict(trained.arguments)
    for key in _LAYER_ARGUMENTS:
        name = arguments.get(key)
        if name is not None:
            layer = _LAYERS.get(str(name).rpartition(".")[2])
            if layer is None:
                raise WeightsError(f"{source} wants the layer '{name}', which is none of {', '.join(_LAYERS)}.")
            arguments[key] = layer
    channels = len(trained.regions or trained.labels)
    try:
        return known[trained.architecture](len(trained.channels), num_classes=channels, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise WeightsError(f"{source} describes a network that cannot be made ({error}); get it again.") from error


def _with_aliases(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under every name that the network has for them: its decoder also holds its encoder."""
    first = {id(value): name for name, value in network.named_parameters()}
    named = {name: first[id(value)] for name, value in network.named_parameters(remove_duplicate=False)}
    named |= {name: name for name in network.state_dict() if name not in named}
    return {name: tensors[own] for name, own in named.items() if own in tensors}


# --- around the network --------------------------------------------------------------------------------------------


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
    """nnU-Net's windows; mirror images along those of the ``wanted`` axes that the training mirrored."""
    axes = [trained.transpose.index("zyx".index(axis)) for axis in wanted]
    return Windows(
        size=trained.patch,
        overlap=_OVERLAP,
        placing=even,
        importance=_gaussian,
        mirrors=mirrors(*(axis for axis in axes if axis in trained.mirrored)),
    )


def _gaussian(window: Size) -> Tensor:
    """nnU-Net's weights: a Gaussian of an eighth of the window around the voxel half-way, 10 there, in half precision
    as there, which decides how little the corners count."""
    peak = np.zeros(window)
    peak[tuple(size // 2 for size in window)] = 1
    weights = ndimage.gaussian_filter(peak, [size / 8 for size in window], mode="constant")
    halved = torch.from_numpy(weights / weights.max() * 10).half().float()
    return halved.clamp(min=halved[halved > 0].min().item())


def _prepared(
    stack: NDArray[np.float32], trained: Trained, order: tuple[Modality, ...]
) -> tuple[NDArray[np.float32], Box]:
    """Each channel normalised in the box of what was measured in any, as nnU-Net's preprocessor does."""
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
    """How probabilities become our labels, given what the published ones mean."""
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
    """1 where the second channel, the brain, is likelier than the background; no tumour's region."""
    return (probabilities[1] > probabilities[0]).astype(np.uint8), {}
