"""Small networks and their files as Raidionics publishes them: for the loader's test and for the comparison with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def network(
    weight: NDArray[np.float32], bias: Sequence[float], channels_first: bool, activation: str | None, path: Path
) -> None:
    """Write a single convolution with ``weight [class, channel, 3, 3, 3]`` and an activation (``Softmax``, ``Sigmoid``)
    behind it; channels are before or behind the axes."""
    first, last = [0, 4, 1, 2, 3], [0, 2, 3, 4, 1]
    nodes, seen = [], "input"
    if not channels_first:
        nodes.append(helper.make_node("Transpose", [seen], ["first"], perm=first))
        seen = "first"
    nodes.append(helper.make_node("Conv", [seen, "weight", "bias"], ["convolved"], pads=[1] * 6, name="conv"))
    seen = "convolved"
    if activation:
        axis = {"axis": 1} if activation == "Softmax" else {}
        nodes.append(helper.make_node(activation, [seen], ["activated"], **axis))
        seen = "activated"
    if not channels_first:
        nodes.append(helper.make_node("Transpose", [seen], ["last"], perm=last))
        seen = "last"
    sides = ["x", "y", "z"]
    classes, channels = weight.shape[:2]
    given = ["n", channels, *sides] if channels_first else ["n", *sides, channels]
    answered = ["n", classes, *sides] if channels_first else ["n", *sides, classes]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info(seen, TensorProto.FLOAT, answered)],
        [
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(np.array(bias, np.float32), "bias"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(made, str(path))


def settings(inputs: int, classes: Sequence[str], thresholds: Sequence[float], **more: str) -> str:
    """The content of ``pre_processing.ini``; ``more`` overrules it, by the keys of the file."""
    sections: dict[str, dict[str, str]] = {
        "Default": {"imaging_modality": "MRI", "training_backend": "TF"},
        "PreProcessing": {
            "output_spacing": "1.0,1.0,1.0  # mm",
            "intensity_clipping_range": "0,100",
            "background_cropping": "",
            "new_axial_size": "",
            "slicing_plane": "",
            "swap_training_input": "False",
            "normalization_method": "default",
            "number_inputs": str(inputs),
            "diffloader_pairs": "",
            "channels_order": "channels_last",
        },
        "Training": {
            "nb_classes": str(len(classes)),
            "classes": ",".join(classes),
            "slab_size": "",
            "patch_size": "",
            "patch_offset": "",
            "optimal_thresholds": ",".join(map(str, thresholds)),
            "deep_supervision": "True",
            "activation_layer_included": "True",
            "activation_layer_type": "softmax",
        },
        "MRI": {"perform_bias_correction": "False"},
    }
    for key, value in more.items():
        section = next(name for name, own in sections.items() if key in own)
        sections[section][key] = value
    return "\n".join(
        line
        for name, own in sections.items()
        for line in (f"[{name}]", *(f"{key}={value}" for key, value in own.items()))
    )


def pipeline(sequences: Sequence[str], model: str, timestamps: Sequence[int] = (), labels: Sequence[int] = ()) -> str:
    """The content of ``pipeline.json``: the brain first, then the network with its inputs in order."""
    times = timestamps or [0] * len(sequences)

    def taken(number: int) -> dict[str, object]:
        own = {"timestamp": times[number], "sequence": sequences[number]}
        return {**own, "labels": "Tumor" if number in labels else None, "space": own}

    brain = {"task": "Segmentation", "inputs": {"0": taken(0)}, "target": ["Brain"], "model": "MRI_Brain"}
    step = {
        "task": "Segmentation",
        "inputs": {str(number): taken(number) for number in range(len(sequences))},
        "target": ["Tumor"],
        "model": model,
    }
    return json.dumps({"1": brain, "2": step})
