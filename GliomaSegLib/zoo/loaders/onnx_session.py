"""Opens an onnxruntime session for a network whose weights are all in the one ONNX file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from GliomaSegLib.errors import InputError, WeightsError


def onnx_session(content: bytes, device: torch.device, source: Path) -> Any:
    """The session of an ONNX file.

    Raises:
        WeightsError: it is damaged, or has tensors in files beside it (ONNX's external data), whose names could point
            anywhere on this computer.
        InputError: the package onnxruntime or onnx is missing.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"Networks in ONNX format need the package {error.name}; run 'pip install GliomaSeg[onnx]'."
        ) from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own exceptions share no other base
        raise WeightsError(f"{source} is no network that onnxruntime can read ({error}); get it again.") from error
    outside = next((one for one in _tensors(model) if one.external_data or one.data_location == one.EXTERNAL), None)
    if outside is not None:
        named = {entry.key: entry.value for entry in outside.external_data}.get("location", "another file")
        raise WeightsError(
            f"{source} has the tensor '{outside.name}' in '{named}', and a network must be one file; save it without "
            "external data (onnx.save(..., save_as_external_data=False))."
        )
    on_card = device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the exception says what is wrong
    try:
        return onnxruntime.InferenceSession(
            content, options, providers=["CUDAExecutionProvider"] * on_card + ["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own exceptions share no other base
        raise WeightsError(f"{source} is no network that onnxruntime can read ({error}); get it again.") from error


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor below a message of ONNX's, in graphs within graphs too."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if hasattr(value, "__len__") else [value]:
                yield from _tensors(one)
