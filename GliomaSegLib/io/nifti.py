"""Reads NIfTI-1, NIfTI-2 and Analyze 7.5 files, selects one of their geometries, and reports doubts about it.

A NIfTI header has up to three geometries: ``pixdim`` (voxel size only), the qform (a rotation, with the voxel size of
``pixdim``) and the sform (a full matrix). One of the two transforms is used unchanged, as ITK does: the sform if its
code is 1 (scanner) or there is no qform, else the qform. If ``pixdim`` contradicts a valid sform, the sform is used and
a doubt is reported. An sform to a template besides the scanner's qform is common and no contradiction. Two transforms
that point a voxel axis in opposite directions are one: one of them mirrors the head, it is unknown which, and the file
is refused. If both codes are 0, programs have different defaults (the NIfTI text RAS, nibabel LAS, ITK LPS): LPS is
used, as in ITK, and a doubt is reported.

The format is determined by the first bytes, not by the name: an uncompressed ``.nii.gz`` is read.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.geometry import (
    Geometry,
    check_field_of_view,
    is_orthonormal,
    sheared,
)
from GliomaSegLib.io.grid import RAS_TO_LPS, image_from_affine

_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
_HEADER_BYTES = 544  # of the longest header and the four bytes after it
_GZIP = b"\x1f\x8b"
_MM_OF_UNIT = {1: ("metre", 1000.0), 2: ("mm", 1.0), 3: ("micron", 0.001)}  # code of xyzt_units
# Codes of NIfTI data types: whole and real numbers, and the complex ones and colours that are refused by name.
_NUMBERS = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}
_NO_NUMBERS = {32, 128, 1792, 2304}
_AGREE = 0.01  # relative difference of two voxel sizes that is rounding
_TURNED_DEG, _SHIFTED_VOXELS = 1.0, 1.0  # differences of two transforms that are rounding

Header = nib.Nifti1Header | nib.AnalyzeHeader


class _Grid(NamedTuple):
    """The affine from voxel indices to LPS mm, and sentences on doubts about it."""

    affine: NDArray[np.float64]
    doubts: tuple[str, ...]


def is_nifti_name(path: Path) -> bool:
    """Whether the name is one of a NIfTI or Analyze file."""
    return path.name.lower().endswith(_SUFFIXES)


def read_nifti(path: Path) -> sitk.Image:
    """Read a scalar 3-D volume (LPS mm) in its stored type, or as ``float32`` if the header has a rescaling.

    Raises:
        InputError: the file is no NIfTI file or is damaged; it is no single scalar volume; or its geometry is missing,
            sheared, contradictory or impossible for a head.
    """
    content = _content(path)
    header = _header(content, path)
    pixels = content
    if _is_pair(header):
        pixels = _content(_partner(path, ".img"))
    shape = _volume_shape(header, path)
    grid = _grid(header, path)
    array = _scaled(_stored(header, pixels, path), header)
    return image_from_affine(array.reshape(shape, order="F"), grid.affine, str(path))


def nifti_geometry(path: Path) -> Geometry | None:
    """The geometry in the header; ``None`` when :func:`read_nifti` would refuse the file for it."""
    try:
        header = _header(_first_bytes(path), path)
        shape, grid = _volume_shape(header, path), _grid(header, path)
    except InputError:
        return None
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    edges = tuple(size * mm for size, mm in zip(shape, spacing.tolist(), strict=True))
    return Geometry((spacing[0].item(), spacing[1].item(), spacing[2].item()), grid.affine[:3, 2] / spacing[2], edges)


def nifti_doubts(path: Path) -> tuple[str, ...]:
    """Sentences on missing or contradicting geometry in the header.

    Raises:
        InputError: as :func:`read_nifti`.
    """
    header = _header(_first_bytes(path), path)
    _volume_shape(header, path)
    return _grid(header, path).doubts


# --- the file ------------------------------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == _GZIP else content
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(_damaged(path)) from error


def _first_bytes(path: Path) -> bytes:
    path = _partner(path, ".hdr") if _is_pixel_file(path) else path
    try:
        with path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP
        with gzip.open(path) if compressed else path.open("rb") as stream:
            return stream.read(_HEADER_BYTES)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(_damaged(path)) from error


def _is_pixel_file(path: Path) -> bool:
    return path.name.lower().endswith((".img", ".img.gz"))


def _partner(path: Path, suffix: str) -> Path:
    """The other file of a pair of header and pixels."""
    name = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    stem = name[: -len(suffix)]
    for other in (stem + suffix, f"{stem}{suffix}.gz", stem + suffix.upper()):
        if path.with_name(other).is_file():
            return path.with_name(other)
    raise InputError(f"{path} is one of a pair of files, and {stem}{suffix} is not beside it; copy both.")


def _header(content: bytes, path: Path) -> Header:
    """The header from the first bytes of a file; for an ``.img`` file from its ``.hdr``."""
    if _is_pixel_file(path) and not _nifti_kind(content):
        content = _first_bytes(path)
    kind = _nifti_kind(content)
    if kind is None:
        raise InputError(f"{path} is not an image: it has no NIfTI header; check what the file is.")
    try:
        return kind(content[: kind.template_dtype.itemsize], check=False)  # without its extensions
    except (nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError, ValueError) as error:
        raise InputError(f"{path} is not an image: its NIfTI header cannot be read; check what the file is.") from error


def _nifti_kind(content: bytes) -> type[Header] | None:
    """The class of the header at the beginning of ``content``, by its length field and magic string."""
    length = {content[:4]} & {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}
    if not length:
        return None
    if content[4:8] in (b"n+2\0", b"ni2\0"):
        return nib.Nifti2Header if content[4:8] == b"n+2\0" else nib.nifti2.Nifti2PairHeader
    if content[344:348] in (b"n+1\0", b"ni1\0"):
        return nib.Nifti1Header if content[344:348] == b"n+1\0" else nib.nifti1.Nifti1PairHeader
    return nib.AnalyzeHeader if len(content) >= 348 else None


def _is_pair(header: Header) -> bool:
    return not isinstance(header, nib.Nifti1Header) or bytes(header["magic"])[:2] == b"ni"


def _volume_shape(header: Header, path: Path) -> tuple[int, int, int]:
    shape = header.get_data_shape()
    code = int(header["datatype"])
    try:
        dtype = header.get_data_dtype() if code in _NUMBERS | _NO_NUMBERS else None
    except (KeyError, nib.spatialimages.HeaderDataError):  # a NIfTI code in an Analyze file
        dtype = None
    if dtype is None:
        raise InputError(f"{path} holds voxels of no known data type (code {code}); export it as 16-bit integers.")
    if 0 in shape or any(size < 0 for size in shape):
        raise InputError(f"{path} is empty: its size is {shape}; give a volume that holds a scan.")
    if dtype.fields is not None:
        raise InputError(
            f"{path} has {len(dtype.fields)} values per voxel (colour or vectors); give a volume of single intensities."
        )
    if dtype.kind == "c":
        raise InputError(f"{path} holds complex numbers; give the magnitude image.")
    if len(shape) > 4 and math.prod(shape[4:]) > 1:  # the fifth dimension is for vectors
        values = math.prod(shape[4:])
        raise InputError(
            f"{path} has {values} values per voxel (colour or vectors); give a volume of single intensities."
        )
    if len(shape) > 3 and math.prod(shape[3:]) > 1:
        raise InputError(f"{path} is 4-D: it holds {math.prod(shape[3:])} volumes; give a file with one volume.")
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(f"{path} is 2-D: it holds a single slice; give a file with the whole volume.")
    return tuple(shape[:3])


def _stored(header: Header, content: bytes, path: Path) -> NDArray:
    voxels, dtype = math.prod(header.get_data_shape()), header.get_data_dtype()
    try:
        offset = int(header.get_data_offset())
    except (ValueError, OverflowError) as error:  # stored as a float, which may be NaN
        raise InputError(_damaged(path)) from error
    if offset < 0 or len(content) < offset + voxels * dtype.itemsize:
        raise InputError(_damaged(path))
    return np.frombuffer(content, dtype, voxels, offset)


def _scaled(array: NDArray, header: Header) -> NDArray:
    """Apply the rescaling; a slope of 0 or NaN means none, a NaN intercept means 0."""
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not isinstance(header, nib.Nifti1Header):
        return native
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:
        return native
    intercept = intercept if math.isfinite(intercept) else 0.0
    if (slope, intercept) == (1.0, 0.0):
        return native
    return (native.astype(np.float64) * slope + intercept).astype(np.float32)


def _damaged(path: Path) -> str:
    return f"{path} is damaged or cut short: the file ends before its pixels do; copy or download it again."


# --- its geometry --------------------------------------------------------------------------------------------------


def _grid(header: Header, path: Path) -> _Grid:
    """Select the geometry of the header, in LPS mm."""
    unit, mm = _unit(header)
    sform, qform = _transform(header, "sform"), _transform(header, "qform")
    edges = np.array(header["pixdim"], float)[1:4]
    if sform is None and qform is None:
        affine, doubts = _by_edges(header, edges, path)
    else:
        affine, doubts = _by_transforms(header, sform, qform, edges, path)
    affine = affine.copy()
    affine[:3] *= mm
    extent = np.linalg.norm(affine[:3, :3], axis=0) * header.get_data_shape()[:3]
    check_field_of_view(tuple(extent.tolist()), str(path), unit)
    return _Grid(RAS_TO_LPS @ affine, doubts)


def _unit(header: Header) -> tuple[str, float]:
    code = int(header["xyzt_units"]) & 7 if isinstance(header, nib.Nifti1Header) else 2
    return _MM_OF_UNIT.get(code, ("not said, read as mm", 1.0))


def _transform(header: Header, which: str) -> NDArray[np.float64] | None:
    """The sform or qform (voxels to RAS); ``None`` if its code is 0 or it is invalid."""
    if not isinstance(header, nib.Nifti1Header) or int(header[f"{which}_code"]) <= 0:
        return None
    if which == "sform":
        affine = header.get_sform()
    else:
        try:
            affine = header.get_qform()
        except (nib.spatialimages.HeaderDataError, ValueError):
            return None
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    return affine if np.isfinite(affine).all() and (edges > 0).all() else None


def _by_edges(header: Header, edges: NDArray[np.float64], path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if not (np.isfinite(edges).all() and (edges != 0).all()):
        raise InputError(
            f"{path} does not say how large its voxels are ({' x '.join(f'{edge:g}' for edge in edges)} mm in its "
            "header); convert the DICOM files again, or write the voxel size into the header."
        )
    why = (
        "it is an Analyze file" if not isinstance(header, nib.Nifti1Header) else "both its NIfTI transform codes are 0"
    )
    doubt = (
        f"{path} does not say how it lies in the patient ({why}), so its orientation is a guess; check left and right "
        "against the scanner's own images."
    )
    return RAS_TO_LPS @ np.diag([*np.abs(edges), 1.0]), (doubt,)


def _by_transforms(
    header: Header,
    sform: NDArray[np.float64] | None,
    qform: NDArray[np.float64] | None,
    edges: NDArray[np.float64],
    path: Path,
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if sform is not None and qform is not None and (np.sum(sform[:3, :3] * qform[:3, :3], axis=0) < 0).any():
        raise InputError(
            f"{path} contradicts itself: its two NIfTI transforms (qform and sform) point a voxel axis in opposite "
            "directions, so left and right are unsure; convert the DICOM files again."
        )
    wrong_edges = not (np.isfinite(edges).all() and (edges > 0).all())
    if wrong_edges:  # the qform uses them
        qform = None
    if sform is None and qform is None:
        raise InputError(
            f"{path} says neither how large its voxels are nor how they lie: the voxel sizes in its header are "
            f"{', '.join(f'{edge:g}' for edge in edges)}; convert the DICOM files again."
        )
    takes_sform = sform is not None and (qform is None or int(header["sform_code"]) == 1)
    affine = sform if takes_sform else qform
    assert affine is not None
    doubts = []
    if takes_sform:
        own = np.linalg.norm(affine[:3, :3], axis=0)
        if not is_orthonormal(affine[:3, :3] / own):
            raise InputError(sheared(str(path)))
        if wrong_edges or np.abs(edges / own - 1).max() > _AGREE:
            doubts.append(
                f"{path} says in two ways how large its voxels are (pixdim {_listed(edges)} mm, sform {_listed(own)} "
                "mm); the sform was taken, check sizes against the scanner's own images."
            )
        elif qform is not None and int(header["qform_code"]) == 1 and _differ(affine, qform, header.get_data_shape()):
            doubts.append(
                f"{path} says in two ways how it lies in the scanner (qform and sform differ beyond rounding); the "
                "sform was taken, check left and right against the scanner's own images."
            )
    return affine, tuple(doubts)


def _differ(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether two transforms of the same space differ by more than rounding in direction or at the centre."""
    cosines = np.sum(one[:3, :3] * other[:3, :3], axis=0)
    cosines /= np.linalg.norm(one[:3, :3], axis=0) * np.linalg.norm(other[:3, :3], axis=0)
    turned = np.degrees(np.arccos(np.clip(cosines.min(), -1, 1)))
    centre = np.append((np.array(shape[:3]) - 1) / 2, 1.0)
    shift = np.linalg.norm(((one - other) @ centre)[:3]) / np.linalg.norm(one[:3, :3], axis=0).min()
    return bool(turned > _TURNED_DEG or shift > _SHIFTED_VOXELS)


def _listed(edges: NDArray[np.float64]) -> str:
    return " x ".join(f"{edge:.4g}" for edge in edges)
