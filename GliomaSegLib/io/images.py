"""Reading and writing image files: NIfTI, NRRD, MetaImage and all other formats of ITK, with checks of each file.

Geometry. SimpleITK holds LPS millimetres whatever the file's own convention. A NIfTI file may carry two transforms:
ITK takes the sform when its code is 1 (scanner) or when there is no qform, and the qform otherwise. The two may differ
in good faith (an sform to MNI space beside the scanner's qform), which registration absorbs; when they point a voxel
axis in opposite directions, one of them mirrors the head, it is not known which, and the file is refused. A file with
neither is read with its axes running LPS, as ITK has it, and :func:`orientation_doubt` warns of it.

ITK reads a truncated NIfTI file without complaint, leaving the missing pixels undefined, and turns NaN voxels of a
NIfTI file into zeros: both are looked for in the stream itself before ITK sees the file.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on, oriented
from GliomaSegLib.label_maps import to_internal
from GliomaSegLib.labels import LabelScheme

# What is written: formats that are one file, so that it can be put in its place in one move.
_WRITTEN_SUFFIXES: tuple[str, ...] = (".nii", ".nii.gz", ".nrrd", ".mha")

# Largest departure of DᵀD from the identity: below the first a direction matrix is left alone, up to the second it is
# rounding in the file and is made orthonormal, above it the grid is sheared.
_EXACT, _SHEARED = 1e-6, 2e-3


def read_image(path: Path) -> sitk.Image:
    """Read an intensity volume as a 3-D ``float32`` image (LPS, mm) with orthonormal axes.

    A 4-D file with a single volume is taken for that volume.

    Raises:
        InputError: the file is missing, damaged or no image; is not one scalar 3-D volume; is empty, constant or
            holds NaN or infinite voxels; or its axes are sheared or contradictory.
    """
    path = Path(path)
    image = sitk.Cast(_read_volume(path), sitk.sitkFloat32)
    check_intensities(sitk.GetArrayViewFromImage(image), str(path))
    return image


class Geometry(NamedTuple):
    """From headers alone: edges of the voxels and of the whole volume in mm, and unit normal of the slices (LPS)."""

    spacing_mm: tuple[float, float, float]
    normal: NDArray[np.float64]
    extent_mm: tuple[float, ...]


def read_geometry(path: Path) -> Geometry | None:
    """The geometry in a file's header; ``None`` if it is unreadable."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError:
        return None
    dimension = reader.GetDimension()
    if dimension < 3:
        return None
    spacing = reader.GetSpacing()[:3]
    normal = np.reshape(reader.GetDirection(), (dimension, dimension))[:3, 2]
    return Geometry(spacing, normal, tuple(size * mm for size, mm in zip(reader.GetSize(), spacing, strict=False)))


def orientation_doubt(path: Path) -> str | None:
    """A warning when ``path`` is a NIfTI file that does not define its orientation in the patient; else ``None``.

    With both transform codes 0 every program has its own default: the NIfTI text (method 1) RAS, nibabel LAS, ITK LPS.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    header = _nifti(path).header
    if int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0:
        return None
    return (
        f"{path} does not say how it lies in the patient (both its NIfTI transform codes are 0), so its orientation "
        "is a guess; check left and right against the scanner's own images."
    )


def read_labels(path: Path, scheme: LabelScheme | None = None) -> sitk.Image:
    """Read a label map as a 3-D ``uint8`` image (LPS, mm). An empty map is legal.

    Args:
        scheme: numbering of the file, from which the values are translated to the internal one; by default they stay.

    Raises:
        InputError: as :func:`read_image`; a voxel is not a whole number from 0 to 255, or one that ``scheme`` lacks.
    """
    path = Path(path)
    image = _read_volume(path)
    values = np.unique(sitk.GetArrayViewFromImage(image))
    wrong = values[~((values >= 0) & (values <= 255) & (values == np.floor(values)))]
    if wrong.size:
        raise InputError(
            f"{path} is not a label map: it holds the value {wrong[0]:g}, and labels are whole numbers from 0 to 255; "
            "give the segmentation, not an image or a probability map."
        )
    labels = sitk.Cast(image, sitk.sitkUInt8)
    if scheme is None:
        return labels
    return array_on(to_internal(sitk.GetArrayFromImage(labels), scheme, str(path)), labels)


def write_image(image: sitk.Image, path: Path) -> None:
    """Write ``image`` compressed, whole or not at all: an interrupted write leaves ``path`` as it was.

    Raises:
        InputError: the folder does not exist or cannot be written to, or the suffix is not an image's.
    """
    path = Path(path)
    if not path.name.lower().endswith(_WRITTEN_SUFFIXES):
        raise InputError(f"{path} cannot be written: its name must end in one of {', '.join(_WRITTEN_SUFFIXES)}.")
    partial = path.with_name(f".partial-{path.name}")
    try:
        with quiet_itk():
            sitk.WriteImage(image, str(partial), useCompression=True)
        partial.replace(path)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path} cannot be written; its folder must exist, be writable and have room.") from error
    finally:
        partial.unlink(missing_ok=True)


def pixels_sha256(image: sitk.Image) -> str:
    """SHA-256 of the voxels as ``float32`` (little-endian), their axes turned to run LPS."""
    array = sitk.GetArrayFromImage(oriented(image))
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").data).hexdigest()


def check_intensities(array: np.ndarray, source: str) -> None:
    """Refuse voxel values from which nothing can be segmented; ``source`` names the image in the sentence.

    Raises:
        InputError: a voxel is NaN or infinite, or all voxels have one value.
    """
    _check_finite(array, source)
    if not array.any():
        raise InputError(f"{source} is empty: every voxel is zero; give a volume that holds a scan.")
    if array.min() == array.max():
        raise InputError(f"{source} is constant: every voxel is {array.flat[0]:g}; give a volume that holds a scan.")


def _check_finite(array: np.ndarray, source: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        raise InputError(
            f"{source} holds {array.size - np.count_nonzero(finite)} voxels that are NaN or infinite; "
            "export it again, or replace them by the background value."
        )


def orthonormal_direction(direction: np.ndarray, source: str) -> np.ndarray:
    """The orthonormal matrix nearest to a 3 x 3 ``direction`` (columns: voxel axes in LPS).

    Raises:
        InputError: the columns are further from orthonormal than rounding explains.
    """
    departure = float(np.abs(direction.T @ direction - np.eye(3)).max())
    if not departure <= _SHEARED:  # catches NaN as well
        raise InputError(_sheared(source))
    if departure < _EXACT:
        return direction
    left, _, right = np.linalg.svd(direction)
    return left @ right


def _sheared(source: str) -> str:
    return (
        f"{source} has sheared axes (its direction cosines are not orthonormal), so distances in it are not what its "
        "header says; resample it to a rectangular grid first."
    )


def _read_volume(path: Path) -> sitk.Image:
    """One scalar 3-D volume with orthonormal axes, pixels as stored."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give an image file.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be opened; ask for the permission to read it.")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _check_nifti(path)
    elif _is_dicom(path):
        raise InputError(f"{path} is a single DICOM file; give the folder that holds its whole series.")
    image = _one_volume(_read_with_itk(path), path)
    direction = np.reshape(image.GetDirection(), (3, 3))
    image.SetDirection(orthonormal_direction(direction, str(path)).ravel().tolist())
    return image


def _read_with_itk(path: Path) -> sitk.Image:
    try:
        with quiet_itk():
            return sitk.ReadImage(str(path))
    except RuntimeError as error:
        text = str(error)
        if "orthonormal" in text:
            raise InputError(_sheared(str(path))) from error
        if "Unable to determine ImageIO" in text:
            raise InputError(
                f"{path} is not an image that GliomaSeg can read; give NIfTI, NRRD, MHA or a folder of DICOM files."
            ) from error
        raise InputError(f"{path} is damaged or cut short and cannot be read; copy or export it again.") from error


def _one_volume(image: sitk.Image, path: Path) -> sitk.Image:
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(
            f"{path} has {image.GetNumberOfComponentsPerPixel()} values per voxel (colour or vectors); "
            "give a volume of single intensities."
        )
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]
    if image.GetDimension() > 3:
        raise InputError(
            f"{path} is 4-D: it holds {math.prod(image.GetSize()[3:])} volumes; give a file with one volume."
        )
    if image.GetDimension() < 3 or min(image.GetSize()) < 2:
        raise InputError(f"{path} is 2-D: it holds a single slice; give a file with the whole volume.")
    return image


def _nifti(path: Path) -> nib.Nifti1Image:
    return cast(nib.Nifti1Image, nib.load(path))


def _check_nifti(path: Path) -> None:
    """What ITK does not check: the header, the length of the stream, NaN voxels, agreement of the transforms."""
    try:
        nifti = _nifti(path)
        content = _decompressed(path)
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError) as error:
        raise InputError(f"{path} is not an image: it has no NIfTI header; check what the file is.") from error
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(_damaged(path)) from error
    header, shape = nifti.header, nifti.shape
    if 0 in shape:
        raise InputError(f"{path} is empty: its size is {shape}; give a volume that holds a scan.")
    offset, voxels, dtype = cast(ArrayProxy, nifti.dataobj).offset, math.prod(shape), header.get_data_dtype()
    if len(content) < offset + voxels * dtype.itemsize:
        raise InputError(_damaged(path))
    if dtype.kind == "f":
        _check_finite(np.frombuffer(content, dtype, voxels, offset), str(path))
    _check_transforms_agree(header, path)


def _damaged(path: Path) -> str:
    return f"{path} is damaged or cut short: the file ends before its pixels do; copy or download it again."


def _decompressed(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _check_transforms_agree(header: nib.Nifti1Header, path: Path) -> None:
    """Refuse an sform and a qform that point a voxel axis more than 90 degrees apart."""
    sform, sform_code = header.get_sform(coded=True)
    qform, qform_code = header.get_qform(coded=True)
    if not (sform_code and qform_code):
        return
    if (np.sum(sform[:3, :3] * qform[:3, :3], axis=0) < 0).any():
        raise InputError(
            f"{path} contradicts itself: its two NIfTI transforms (qform and sform) point a voxel axis in opposite "
            "directions, so left and right are unsure; convert the DICOM files again."
        )


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off stderr; errors still come as exceptions."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
