"""The voxel values of images: checks, and a hash by which an image is known again."""

from __future__ import annotations

import hashlib

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import upright_view

PADDING = -32768.0
"""The lowest 16-bit integer, with which scanners and converters fill the corners that were not scanned: read as 0."""


def without_padding(image: sitk.Image) -> sitk.Image:
    """The image with 0 in place of :data:`PADDING`."""
    return sitk.Mask(image, image != PADDING) if sitk.GetArrayViewFromImage(image).min() == PADDING else image


def check_intensities(array: np.ndarray, source: str) -> None:
    """Refuse invalid or constant voxel values; ``source`` names the image in the message.

    Raises:
        InputError: a voxel is NaN or infinite, or all voxels have one value.
    """
    check_finite(array, source)
    low, high = array.min(), array.max()
    if low == high == 0:
        raise InputError(f"{source} is empty: every voxel is zero; give a volume that holds a scan.")
    if low == high:
        raise InputError(f"{source} is constant: every voxel is {array.flat[0]:g}; give a volume that holds a scan.")


def check_finite(array: np.ndarray, source: str) -> None:
    """Refuse invalid voxel values.

    Raises:
        InputError: a voxel is NaN or infinite.
    """
    if array.dtype.kind == "f" and not np.isfinite([array.min(), array.max()]).all():
        raise InputError(
            f"{source} holds {array.size - np.count_nonzero(np.isfinite(array))} voxels that are NaN or infinite; "
            "export it again, or replace them by the background value."
        )


def pixels_sha256(image: sitk.Image) -> str:
    """SHA-256 of the voxels as ``float32`` (little-endian) in LPS orientation."""
    return hashlib.sha256(np.ascontiguousarray(upright_view(image), dtype="<f4").data).hexdigest()
