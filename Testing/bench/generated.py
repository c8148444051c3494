"""Weights that nobody trained, as each family loads them: enough for time and memory, which depend on sizes alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
from monai.networks.nets import BasicUNet, SegResNet, SegResNetDS
from safetensors.torch import save_file
from torch import Tensor, nn

from GliomaSegLib import networks
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.networks.ca_cnn import AnisotropicNet
from GliomaSegLib.networks.resseg_unet import RessegUNet
from GliomaSegLib.networks.synthstrip_unet import SynthStripUNet
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.loaders import any_unet, aurora, auto3dseg, ca_cnn, nnunet, stretched_brain

# What the checkpoints' own configs say of the published Auto3DSeg models is not known before they are fetched; these
# are Auto3DSeg's defaults for four sequences (monai.apps.auto3dseg, algorithm segresnet).
_AUTO3DSEG = {
    "init_filters": 32,
    "blocks_down": [1, 2, 2, 4, 4],
    "norm": "INSTANCE",
    "in_channels": 4,
    "out_channels": 3,
    "dsdepth": 4,
}
_AUTO3DSEG_ROI = (192, 192, 144)

# The usual plans of nnU-Net v2 for brain tumours at 1 mm (3d_fullres), for the same reason.
_NNUNET_PATCH = (128, 128, 128)
_NNUNET = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 6,
        "features_per_stage": [32, 64, 128, 256, 320, 320],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 6,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * 5,
        "n_conv_per_stage": [2] * 6,
        "n_conv_per_stage_decoder": [2] * 5,
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


def write(card: Card, folder: Path) -> Path:
    """Weights for ``card`` as its family loads them, in ``folder``.

    Raises:
        NotImplementedError: they cannot be made; the sentence says why.
    """
    torch.manual_seed(0)
    target = folder / "weights.safetensors"
    made = _FAMILIES.get(card.network.family)
    if made is None:
        raise NotImplementedError("its networks are ONNX files whose layers are not known before they are fetched")
    made(card, target)
    return target


def segresnet(card: Card) -> nn.Module:
    """The network of the MONAI bundle's card."""
    torch.manual_seed(0)
    return SegResNet(**card.network.parameters["arguments"]).eval().requires_grad_(False)


def _monai_bundle(card: Card, target: Path) -> None:
    save_file(segresnet(card).state_dict(), target)


def _aurora(card: Card, target: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for name, order in aurora.SETS.items():
        network = BasicUNet(in_channels=len(order), **card.network.parameters["arguments"])
        tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    save_file(tensors, target)


def _auto3dseg(card: Card, target: Path) -> None:
    network = SegResNetDS(spatial_dims=3, **_AUTO3DSEG)
    config = {
        "network": {"_target_": "SegResNetDS", "spatial_dims": 3, **_AUTO3DSEG},
        "roi_size": list(_AUTO3DSEG_ROI),
        "normalize_mode": "meanstd",
        "intensity_bounds": [0, 1000],
        "resample_resolution": [1.0, 1.0, 1.0],
        "sigmoid": True,
        "orientation_ras": True,
    }
    torch.save({"config": config, "state_dict": network.state_dict(), "epoch": 1}, target.with_name("model.pt"))
    auto3dseg.convert(target.parent, target)


def _nnunet(card: Card, target: Path) -> None:
    if importlib.util.find_spec("dynamic_network_architectures") is None:
        raise NotImplementedError("the package dynamic-network-architectures is not installed")
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    from Testing.support.nnunet_folder import BRAIN, LABELS, dataset, plans, write_folder

    channels = 1 if not card.regions else len(card.inputs.sequences)
    labels = BRAIN if not card.regions else LABELS
    kwargs = {key: value for key, value in _NNUNET["arch_kwargs"].items() if key not in ("dropout_op_kwargs",)}
    kwargs |= {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    network = PlainConvUNet(channels, num_classes=len(labels), **kwargs)
    planned = plans(channels, patch_size=list(_NNUNET_PATCH), architecture=_NNUNET)
    names = ("T1", "T1ce", "T2", "FLAIR")[:channels]
    write_folder(target.parent / "published", {"all": network}, planned, dataset(names, labels))
    nnunet.convert(target.parent / "published", target)


def _plain(network: Callable[[], nn.Module]) -> Callable[[Card, Path], None]:
    return lambda card, target: save_file(network().state_dict(), target)


def _stretched_brain(card: Card, target: Path) -> None:
    parameters = card.network.parameters["network"]
    network = networks.build(parameters["name"], parameters["parameters"])
    save_file({f"{stretched_brain.STAGE}.{key}": value for key, value in network.state_dict().items()}, target)


def _any_unet(card: Card, target: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for stage in (one for one in any_unet.ALL_STAGES if one in card.network.parameters):
        parameters = card.network.parameters[stage]["network"]
        network = networks.build(parameters["name"], parameters.get("parameters", {}))
        tensors |= {f"{stage}.{key}": value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, target)


def _ca_cnn(card: Card, target: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for region in TUMOUR_REGIONS:
        for plane in Plane:
            own = AnisotropicNet(len(ca_cnn.CHANNEL_ORDER), downsample_twice=region is not Region.ET).state_dict()
            tensors |= {f"{ca_cnn._stage(region, plane)}.{key}": value for key, value in own.items()}
    save_file(tensors, target)


_FAMILIES: dict[str, Callable[[Card, Path], None]] = {
    "monai-bundle": _monai_bundle,
    "aurora": _aurora,
    "auto3dseg": _auto3dseg,
    "nnunet": _nnunet,
    "resseg": _plain(RessegUNet),
    "synthstrip": _plain(SynthStripUNet),
    "stretched-brain": _stretched_brain,
    "any-unet": _any_unet,
    "ca-cnn": _ca_cnn,
}
