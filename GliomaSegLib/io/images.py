"""Reads and writes image files: NIfTI, NRRD, MetaImage and all other formats of ITK, with checks of each file.

Images are in LPS mm whatever the convention of the file. NIfTI files are read by :mod:`GliomaSegLib.io.nifti`, all
others by ITK. Missing or contradicting geometry in a header is reported by :func:`geometry_doubts`.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.geometry import Geometry, check_field_of_view, orthonormal_direction, sheared
from GliomaSegLib.io.grid import array_on, quiet_itk
from GliomaSegLib.io.names import is_dicom
from GliomaSegLib.io.nifti import is_nifti_name, nifti_doubts, nifti_geometry, read_nifti
from GliomaSegLib.io.renaming import rename
from GliomaSegLib.io.voxels import check_finite, check_intensities, without_padding
from GliomaSegLib.label_maps import to_internal, values_held
from GliomaSegLib.labels import LabelScheme

# Formats that are written: single files, so that they can be renamed atomically.
_WRITTEN_SUFFIXES: tuple[str, ...] = (".nii", ".nii.gz", ".nrrd", ".mha")

_ROUNDED = 1e-3  # tolerance for labels that were stored as floats


def read_image(path: Path) -> sitk.Image:
    """Read an intensity volume as a 3-D ``float32`` image (LPS, mm) with orthonormal axes.

    A 4-D file with a single volume is taken for that volume.

    Raises:
        InputError: the file is missing, damaged or no image; is not one scalar 3-D volume; is empty, constant or
            holds NaN or infinite voxels; or its axes are sheared or contradictory.
    """
    path = Path(path)
    image = without_padding(sitk.Cast(_read_volume(path), sitk.sitkFloat32))
    check_intensities(sitk.GetArrayViewFromImage(image), str(path))
    return image


def read_geometry(path: Path) -> Geometry | None:
    """The geometry in a file's header; ``None`` if it is unreadable."""
    if is_nifti_name(path):
        return nifti_geometry(path)
    try:
        reader = _information(path)
    except (RuntimeError, ValueError, OSError, InputError):
        return None
    dimension = reader.GetDimension()
    if dimension < 3:
        return None
    spacing = reader.GetSpacing()[:3]
    normal = np.reshape(reader.GetDirection(), (dimension, dimension))[:3, 2]
    return Geometry(spacing, normal, tuple(size * mm for size, mm in zip(reader.GetSize(), spacing, strict=False)))


def geometry_doubts(path: Path) -> tuple[str, ...]:
    """Sentences on missing or contradicting geometry in the header of an image file.

    Raises:
        InputError: as :func:`read_image`, for a NIfTI file.
    """
    if is_nifti_name(path):
        return nifti_doubts(path)
    wanted = _TEXT_HEADERS.get(path.suffix.lower())
    if wanted is not None:
        header = _text_header(path)
        unsaid = [what for what, pattern in wanted if not pattern.search(header)]
    else:
        unsaid = [] if path.suffix.lower() in _STORES_DIRECTIONS else [_PLACE_IN_PATIENT]
    if not unsaid:
        return ()
    return (
        f"{path} does not say {' and '.join(unsaid)}, so that is a guess (axes to the left, back and top, 1 mm); check "
        "left, right and sizes against the scanner's own images.",
    )


_PLACE_IN_PATIENT = "how it lies in the patient"
_STORES_DIRECTIONS = {".h5", ".hdf5", ".hdf", ".mnc"}  # other formats than those below, such as VTK and TIFF, do not

# Fields in the text headers of NRRD and MetaImage files without which their geometry is not known. Of NRRD's spaces the
# others (such as scanner-xyz), which ITK reads as LPS, are not those of a patient.
_NRRD = (
    (
        _PLACE_IN_PATIENT,
        re.compile(rb"(?im)^space: *([LR][AP]ST?|(left|right)-(anterior|posterior)-superior(-time)?)\s*$"),
    ),
    ("how large its voxels are", re.compile(rb"^(space directions|spacings):", re.MULTILINE)),
)
_META = (
    (_PLACE_IN_PATIENT, re.compile(rb"^(TransformMatrix|Orientation|Rotation)\s*=", re.MULTILINE)),
    ("how large its voxels are", re.compile(rb"^(ElementSpacing|ElementSize)\s*=", re.MULTILINE)),
)
_TEXT_HEADERS = {".nrrd": _NRRD, ".nhdr": _NRRD, ".mha": _META, ".mhd": _META}
_LONGEST_HEADER = 1 << 16


def _text_header(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            start = stream.read(_LONGEST_HEADER)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    end = re.search(rb"\r?\n\r?\n|^ElementDataFile.*$", start, re.MULTILINE)
    return start[: end.end()] if end else start


def read_labels(path: Path, scheme: LabelScheme | None = None, most: int = 255) -> sitk.Image:
    """Read a label map as a 3-D ``uint8`` image (LPS, mm), ``uint16`` where ``most`` is larger. An empty map is legal.

    Args:
        scheme: of the file, from which values are translated to the internal scheme; by default they are kept.
        most: the largest value that it may hold.

    Raises:
        InputError: as :func:`read_image`; a value is not an integer from 0 to ``most``, or is not in ``scheme``.
    """
    path = Path(path)
    image = _read_volume(path)
    values = values_held(sitk.GetArrayViewFromImage(image))
    whole = np.abs(values - np.round(values)) < _ROUNDED
    wrong = values[~((values > -_ROUNDED) & (values < most + _ROUNDED) & whole)]
    if wrong.size:
        raise InputError(
            f"{path} is not a label map: it holds the value {wrong[0]:g}, and labels are whole numbers from 0 to "
            f"{most}; give the segmentation, not an image or a probability map."
        )
    kind = sitk.sitkUInt8 if most <= 255 else sitk.sitkUInt16
    labels = sitk.Cast(sitk.Round(image) if values.dtype.kind == "f" else image, kind)
    if scheme is None:
        return labels
    return array_on(to_internal(sitk.GetArrayFromImage(labels), scheme, str(path)), labels)


def write_image(image: sitk.Image, path: Path) -> None:
    """Write ``image`` compressed and atomically.

    Raises:
        InputError: the folder does not exist or cannot be written, or the suffix is not supported.
    """
    path = Path(path)
    if not path.name.lower().endswith(_WRITTEN_SUFFIXES):
        raise InputError(f"{path} cannot be written: its name must end in one of {', '.join(_WRITTEN_SUFFIXES)}.")
    partial = path.with_name(f".partial-{path.name}")
    try:
        with quiet_itk():
            sitk.WriteImage(image, str(partial), useCompression=True)
        rename(partial, path)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path} cannot be written; its folder must exist, be writable and have room.") from error
    finally:
        partial.unlink(missing_ok=True)


def _read_volume(path: Path) -> sitk.Image:
    """Read a scalar 3-D volume with orthonormal axes in its stored pixel type."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give an image file.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be opened; ask for the permission to read it.")
    if is_dicom(path):
        raise InputError(f"{path} is a single DICOM file; give the folder that holds its whole series.")
    if is_nifti_name(path):
        image = read_nifti(path)
        check_finite(sitk.GetArrayViewFromImage(image), str(path))
        return image
    image = _one_volume(_read_with_itk(path), path)
    direction = np.reshape(image.GetDirection(), (3, 3))
    image.SetDirection(orthonormal_direction(direction, str(path)).ravel().tolist())
    extent = tuple(size * mm for size, mm in zip(image.GetSize(), image.GetSpacing(), strict=True))
    check_field_of_view(extent, str(path))
    return image


# Deflate compresses by less than this factor: a file whose header states larger sizes is damaged.
_MOST_COMPRESSED = 1100
_MOST_DIMENSIONS = 9  # MetaIO has room for ten and does not check


def _information(path: Path) -> sitk.ImageFileReader:
    """A reader with the header of a file.

    Raises:
        RuntimeError: ITK cannot read it.
        InputError: its sizes are larger than the file can hold.
    """
    if path.suffix.lower() in (".mha", ".mhd"):
        said = re.search(rb"^NDims\s*=\s*(\S+)", _text_header(path), re.MULTILINE)
        if said and not (said[1].isdigit() and 0 < int(said[1][:9]) <= _MOST_DIMENSIONS):
            raise InputError(_damaged(path))
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet_itk():
        reader.ReadImageInformation()
    voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    detached = path.suffix.lower() in (".mhd", ".nhdr")  # the voxels are in other files beside it
    held = sum(one.stat().st_size for one in (path.parent.iterdir() if detached else [path]) if one.is_file())
    if voxels > _MOST_COMPRESSED * held:
        raise InputError(_damaged(path))
    return reader


def _damaged(path: Path) -> str:
    return f"{path} is damaged or cut short and cannot be read; copy or export it again."


def _read_with_itk(path: Path) -> sitk.Image:
    try:
        reader = _information(path)
        with quiet_itk():
            return reader.Execute()
    except MemoryError as error:
        raise InputError(f"{path} is larger than the free memory; give a smaller volume.") from error
    except (RuntimeError, ValueError) as error:  # a header may not be UTF-8
        text = str(error)
        if "orthonormal" in text:
            raise InputError(sheared(str(path))) from error
        if "Unable to determine ImageIO" in text:
            raise InputError(
                f"{path} is not an image that GliomaSeg can read; give NIfTI, NRRD, MHA or a folder of DICOM files."
            ) from error
        raise InputError(_damaged(path)) from error


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
