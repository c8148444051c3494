"""The files that nnU-Net v2 writes beside its weights, and the network that they describe.

The published folder holds ``plans.json``, ``dataset.json`` and per fold ``checkpoint_final.pth``. The plans can name
any Python class; here only the two U-Nets of nnU-Net with layers of torch are accepted, and nothing is imported by
name. Written for nnU-Net 2.8; plans of versions before 2.4, which describe the network differently, are read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.record import Record
from GliomaSegLib.zoo.checkpoint import read_checkpoint

CHECKPOINT = "checkpoint_final.pth"

# Layers that plans may name, by the last part of the name; everything else is refused.
_LAYERS: dict[str, type[nn.Module]] = {
    layer.__name__: layer
    for layer in (nn.Conv3d, nn.InstanceNorm3d, nn.BatchNorm3d, nn.LeakyReLU, nn.ReLU, nn.Dropout3d)
}
_LAYER_ARGUMENTS = ("conv_op", "norm_op", "dropout_op", "nonlin")


class Trained(Record):
    """The content of plans, dataset and checkpoint that inference needs. Axes are in the network's own order.

    Attributes:
        channels: their names in the dataset.
        regions: per output channel the published labels in it, or empty when channels are exclusive labels.
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


def read_published(source: Path) -> tuple[Trained, dict[str, Path]]:
    """The plans in the one nnU-Net folder below ``source``, and the checkpoint of each fold to run.

    As nnU-Net does by default, the numbered folds are run where there are any, else the one that was trained on all the
    data.

    Raises:
        WeightsError: there is no such folder, or several; a file is missing or damaged, or asks for what is not known
            here.
    """
    folder = _trained_folder(source)
    paths = {path.parent.name.removeprefix("fold_"): path for path in sorted(folder.glob(f"fold_*/{CHECKPOINT}"))}
    folds = tuple(name for name in paths if name != "all") or ("all",)
    plans, dataset = _json(folder / "plans.json"), _json(folder / "dataset.json")
    trained = _trained(plans, dataset, read_checkpoint(paths[folds[0]]), folds, paths[folds[0]])
    return trained, {fold: paths[fold] for fold in folds}


def _trained_folder(source: Path) -> Path:
    """The one folder below ``source`` that holds folds."""
    found = sorted({path.parent.parent for path in source.rglob(f"fold_*/{CHECKPOINT}")})
    if len(found) != 1:
        raise WeightsError(
            f"{source} holds {len(found)} folders with fold_*/{CHECKPOINT} and should hold one; give the folder that "
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
        named = dataset.get("channel_names") or dataset["modality"]  # by the channel's number, in any order
        return Trained(
            channels=tuple(str(named[number]) for number in sorted(named, key=int)),
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
    except (KeyError, TypeError, AttributeError, ValueError) as error:
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
    """The network's name and arguments; plans before version 2.4 differ."""
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


def trained_in(metadata: Mapping[str, str], weights: Path) -> Trained:
    """The plans in the metadata of converted ``weights``."""
    try:
        return Trained.model_validate_json(metadata["trained"])
    except (KeyError, ValidationError) as error:
        raise WeightsError(f"The weights {weights} have lost their plans; install the model again.") from error


def network_of(trained: Trained, source: Path) -> nn.Module:
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


def with_aliases(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under every name that the network has for them: its decoder also holds its encoder."""
    first = {id(value): name for name, value in network.named_parameters()}
    named = {name: first[id(value)] for name, value in network.named_parameters(remove_duplicate=False)}
    named |= {name: name for name in network.state_dict() if name not in named}
    return {name: tensors[own] for name, own in named.items() if own in tensors}
