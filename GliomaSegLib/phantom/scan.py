"""The simulated scanner: acquires each sequence of a head that has moved, with its slices, shading and noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.phantom.fields import Field, random_field


class _Protocol(NamedTuple):
    """How a sequence is acquired.

    Attributes:
        description: DICOM's Series Description, as a scanner's operator writes it.
        slice_mm: slice thickness, made a whole number of the phantom's voxels.
        in_plane: pixel size, in the phantom's voxel lengths.
        field_mm: field of view along the image's own axes.
        centre_mm: its middle, LPS.
        direction: LPS directions of the image's axes, one per row.
        tags: DICOM attributes by keyword; times in ms.
    """

    description: str
    slice_mm: float
    in_plane: float
    field_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float]
    direction: tuple[tuple[float, float, float], ...]
    tags: Mapping[str, object]


_AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))
_TILTED = (
    (1.0, 0.0, 0.0),
    (0.0, 0.9848077530122080, 0.1736481776669303),
    (0.0, -0.1736481776669303, 0.9848077530122080),
)

_GRADIENT_ECHO = {"ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"], "MRAcquisitionType": "3D"}
_SPIN_ECHO = {
    "ScanningSequence": "SE",
    "SequenceVariant": ["SK", "SP"],
    "MRAcquisitionType": "2D",
    "FlipAngle": 150,
    "EchoTrainLength": 15,
}
_T1 = _GRADIENT_ECHO | {"RepetitionTime": 1900, "EchoTime": 2.6, "InversionTime": 900, "FlipAngle": 9}

PROTOCOLS: dict[Modality, _Protocol] = {
    Modality.T1N: _Protocol("t1_mprage_sag", 1.0, 1.0, (256, 224, 208), (0, 8, 0), _SAGITTAL, _T1),
    Modality.T1C: _Protocol(
        "t1_mprage_tra post gad",
        1.0,
        1.0,
        (208, 256, 200),
        (0, 8, 4),
        _AXIAL,
        _T1 | {"ContrastBolusAgent": "GADOBUTROL"},
    ),
    Modality.T2W: _Protocol(
        "t2_tse_tra",
        5.0,
        0.9,
        (230, 230, 170),
        (0, 5, 8),
        _AXIAL,
        _SPIN_ECHO | {"RepetitionTime": 5200, "EchoTime": 98},
    ),
    Modality.T2F: _Protocol(
        "t2_tirm_tra_dark-fluid",
        5.0,
        0.9,
        (230, 230, 170),
        (0, 5, 6),
        _TILTED,
        _SPIN_ECHO | {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "EchoTime": 92, "InversionTime": 2500},
    ),
}

_TURN_DEG, _SHIFT_MM = (1.5, 4.0), (1.0, 4.0)  # smallest and largest, about and along each axis
_SHADING, _SHADING_LENGTH_MM = 0.10, 90.0
_NOISE = 9.0  # standard deviation in each channel of the receiver, in the units of _Tissue


def head_movement(sequence: Modality, random: np.random.Generator) -> sitk.Transform:
    """Where a point of the head at rest (that is, in T1c) lies during ``sequence``."""
    signs = random.choice((-1.0, 1.0), size=6)
    turn, shift = random.uniform(*_TURN_DEG, size=3), random.uniform(*_SHIFT_MM, size=3)
    movement = sitk.Euler3DTransform()
    if sequence is not Modality.T1C:
        movement.SetRotation(*(float(angle) for angle in np.radians(signs[:3] * turn)))
        movement.SetTranslation((signs[3:] * shift).tolist())
    return movement


def scan_head(
    signal: sitk.Image, protocol: _Protocol, movement: sitk.Transform, spacing_mm: float, random: np.random.Generator
) -> sitk.Image:
    """Acquire the moved head: slices averaged over their thickness, shading and Rician noise added."""
    in_plane_mm = protocol.in_plane * spacing_mm
    layers = max(1, round(protocol.slice_mm / spacing_mm))
    fine = _scan_grid(protocol, (in_plane_mm, in_plane_mm, spacing_mm), layers)
    moved = sitk.Resample(signal, fine, movement.GetInverse(), sitk.sitkLinear)
    image = sitk.BinShrink(moved, [1, 1, layers]) if layers > 1 else moved
    shading = np.exp(_SHADING * random_field(random, image, _SHADING_LENGTH_MM))
    real = sitk.GetArrayFromImage(image) * shading + _receiver_noise(image, random)
    magnitude = np.hypot(real, _receiver_noise(image, random))
    return array_on(np.rint(magnitude).astype(np.uint16), image)


def _receiver_noise(image: sitk.Image, random: np.random.Generator) -> Field:
    return _NOISE * random.standard_normal(image.GetSize()[::-1], dtype=np.float32)


def _scan_grid(protocol: _Protocol, spacing_mm: tuple[float, float, float], layers: int) -> sitk.Image:
    """The grid of a scan with every slice split into ``layers``. Cubic T1c voxels fall on the head's own."""
    voxels = [round(field / spacing) for field, spacing in zip(protocol.field_mm, spacing_mm, strict=True)]
    voxels[2] = max(1, round(voxels[2] / layers)) * layers
    direction = np.array(protocol.direction).T
    origin = protocol.centre_mm - direction @ (np.multiply(spacing_mm, np.array(voxels) // 2))
    grid = sitk.Image(voxels, sitk.sitkUInt8)
    grid.SetSpacing(spacing_mm)
    grid.SetOrigin((np.rint(origin / spacing_mm[2]) * spacing_mm[2]).tolist())
    grid.SetDirection(direction.ravel().tolist())
    return grid
