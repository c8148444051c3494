"""A trained folder as nnU-Net v2 writes it, small: for the loader's test and for the comparison with nnU-Net itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
LABELS = {"background": 0, "edema": 1, "core": 2, "enhancing": 3}
BRAIN = {"background": 0, "brain": 1}
CONFIGURATION = "3d_fullres"

# As plans spell it since version 2.4; the first kernels and strides treat the axes differently.
ARCHITECTURE: dict[str, Any] = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [8, 16, 32],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
# The same network as plans spelled it before.
OLD_ARCHITECTURE: dict[str, Any] = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 8,
    "unet_max_num_features": 32,
    "n_conv_per_stage_encoder": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "num_pool_per_axis": [1, 2, 2],
    "pool_op_kernel_sizes": ARCHITECTURE["arch_kwargs"]["strides"],
    "conv_kernel_sizes": ARCHITECTURE["arch_kwargs"]["kernel_sizes"],
}
_RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}


def plans(
    channels: int, transpose: Sequence[int] = (0, 1, 2), old: bool = False, **configuration: Any
) -> dict[str, Any]:
    """The content of ``plans.json``; the keys that a test is about are overruled by ``configuration``."""
    resampling = {
        f"resampling_fn_{what}": "resample_data_or_seg_to_shape" for what in ("data", "seg", "probabilities")
    } | {
        "resampling_fn_data_kwargs": _RESAMPLING,
        "resampling_fn_seg_kwargs": {**_RESAMPLING, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**_RESAMPLING, "order": 1},
    }
    own = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 24, 16],
        "median_image_size_in_voxels": [24, 26, 28],
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [True] * channels,
        "batch_dice": False,
        **resampling,
        **(OLD_ARCHITECTURE if old else {"architecture": ARCHITECTURE}),
        **configuration,
    }
    return {
        "dataset_name": "Dataset501_Test",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [24, 26, 28],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose),
        "transpose_backward": np.argsort(transpose).tolist(),
        "configurations": {"base": own, CONFIGURATION: {"inherits_from": "base"}},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(channel): {"mean": 0.0} for channel in range(channels)},
    }


def dataset(names: Sequence[str], labels: dict[str, Any]) -> dict[str, Any]:
    """The content of ``dataset.json``."""
    content: dict[str, Any] = {
        "channel_names": {str(number): name for number, name in enumerate(names)},
        "labels": labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    if labels is REGIONS:
        content["regions_class_order"] = [1, 2, 3]
    return content


def write_folder(
    folder: Path,
    networks: dict[str, torch.nn.Module],
    planned: dict[str, Any],
    described: dict[str, Any],
    mirrored: tuple[int, ...] | None = (0, 1, 2),
) -> None:
    """Write the folder, with a fold for each of ``networks``.

    The checkpoints also hold what nnU-Net leaves in them beside the weights: an optimizer, numpy's numbers, a device.
    """
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(planned))
    (folder / "dataset.json").write_text(json.dumps(described))
    for fold, network in networks.items():
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True)
        content = {
            "network_weights": network.state_dict(),
            "optimizer_state": optimizer.state_dict(),
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.8)], "dice_per_class_or_region": [[np.float32(0.7)]]},
            "_best_ema": np.float64(0.9),
            "current_epoch": 1000,
            "init_args": {
                "plans": planned,
                "configuration": CONFIGURATION,
                "fold": fold,
                "dataset_json": described,
                "device": torch.device("cpu"),
            },
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": mirrored,
        }
        (folder / f"fold_{fold}").mkdir()
        torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")
