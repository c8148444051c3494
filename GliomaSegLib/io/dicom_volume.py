"""Reads the volume of a DICOM series: grid from the headers, pixels with SimpleITK (GDCM).

GDCM decodes JPEG, JPEG-LS, JPEG 2000 and RLE. The grid is computed from Image Position and Image Orientation (Patient)
(DICOM PS3.3 C.7.6.2, LPS mm as in SimpleITK), independent of names and order of the files. A frame of enhanced
(multi-frame) MR counts as a slice, see :mod:`GliomaSegLib.io.dicom_frames`: GDCM would read all frames in the order of
the file with the rescaling of the first.
"""

from __future__ import annotations

import contextlib
import errno
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import dcmread

from GliomaSegLib.case import StudyIdentity
from GliomaSegLib.errors import InputError, printable
from GliomaSegLib.io.dicom import DicomSeries, DicomSlice
from GliomaSegLib.io.dicom_frames import single_frame_files
from GliomaSegLib.io.geometry import Geometry, even_step, orthonormal_direction
from GliomaSegLib.io.grid import quiet_itk
from GliomaSegLib.io.voxels import PADDING, check_intensities


def read_series(series: DicomSeries) -> sitk.Image:
    """Read the volume of ``series`` as ``float32`` (LPS mm, rescaled), slices stacked along their normal.

    Raises:
        InputError: slices are missing, duplicate, unevenly spaced or shifted; pixels cannot be decoded; the volume is
            empty or constant.
    """
    stack = _stacked(series)
    array = _read_slices(stack.slices, series.size)
    array[array == PADDING] = 0
    check_intensities(array, str(series))
    image = sitk.GetImageFromArray(array)
    image.SetOrigin(stack.slices[0].position_mm)
    image.SetSpacing((*series.pixel_spacing_mm, stack.step_mm))
    image.SetDirection(stack.direction.ravel().tolist())
    return image


def identity_of(series: DicomSeries) -> StudyIdentity:
    """Patient and study of a series, and its image numbers in the slice order of :func:`read_series`.

    Raises:
        InputError: as :func:`read_series`, for its geometry.
    """
    slices = _stacked(series).slices
    texts = _texts(slices[0].path, "PatientName", "AccessionNumber")
    return StudyIdentity(
        series.patient_id,
        texts["PatientName"].replace("^", " ").strip(),
        series.study_date,
        texts["AccessionNumber"],
        tuple(_image_number(one) for one in slices),
    )


def lies_on(series: DicomSeries, image: sitk.Image) -> bool:
    """Whether the slices of ``image``, from another program, have the positions and order of :func:`read_series`.

    Raises:
        InputError: as :func:`read_series`, for its geometry.
    """
    ours = [one.position_mm for one in _stacked(series).slices]
    theirs = [image.TransformIndexToPhysicalPoint((0, 0, number)) for number in range(image.GetDepth())]
    return len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=0, atol=_SAME_PLACE_MM)


def _image_number(one: DicomSlice) -> int:
    if one.frame is not None:
        return one.frame + 1
    number = _texts(one.path, "InstanceNumber")["InstanceNumber"]
    return int(number) if number.isdigit() else 0


def _texts(path: Path, *keywords: str) -> dict[str, str]:
    """Values of a header as text; empty if they are absent or malformed."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=[*keywords, "SpecificCharacterSet"], force=True)
    texts = dict.fromkeys(keywords, "")
    for keyword in keywords:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            texts[keyword] = printable(header.get(keyword) or "").strip()
    return texts


def series_problem(series: DicomSeries) -> str | None:
    """Why :func:`read_series` would refuse the geometry, or why the series seems incomplete, from the headers only;
    ``None`` if neither."""
    try:
        _stacked(series)
    except InputError as error:
        return str(error)
    return incomplete(series)


def incomplete(series: DicomSeries) -> str | None:
    """A sentence if slices of the series seem to be lost, else ``None``."""
    if not series.lost:
        return None
    files = "1 file that seems" if series.lost == 1 else f"{series.lost} files that seem"
    return (
        f"{series} is incomplete: {files} to be of it cannot be read (empty, cut short or damaged), "
        f"and {len(series.slices)} slices are left"
    )


def series_geometry(series: DicomSeries) -> Geometry:
    """The geometry of a series, from the headers only."""
    normal = np.cross(*np.reshape(series.slices[0].orientation, (2, 3)))
    # each height once, as several volumes may share a series
    heights = np.unique(np.round([np.dot(normal, one.position_mm) for one in series.slices], 2))
    between = float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0
    spacing = (*series.pixel_spacing_mm, between)
    in_plane = (size * mm for size, mm in zip(series.size, series.pixel_spacing_mm, strict=True))
    return Geometry(spacing, normal, (*in_plane, float(np.ptp(heights)) + between))


# --- geometry ------------------------------------------------------------------------------------------------------


class _Stack(NamedTuple):
    """The slices sorted along their normal, the distance between them, and the 3 x 3 direction matrix (LPS)."""

    slices: list[DicomSlice]
    step_mm: float
    direction: np.ndarray


def _stacked(series: DicomSeries) -> _Stack:
    row, column = np.reshape(series.slices[0].orientation, (2, 3))
    direction = orthonormal_direction(np.stack([row, column, np.cross(row, column)], axis=1), str(series))
    slices = sorted(series.slices, key=lambda one: float(np.dot(direction[:, 2], one.position_mm)))
    step = even_step(np.array([one.position_mm for one in slices]), direction[:, 2], str(series))
    return _Stack(slices, step, direction)


# --- pixels --------------------------------------------------------------------------------------------------------


def _read_slices(slices: Sequence[DicomSlice], size: tuple[int, int]) -> np.ndarray:
    """Rescaled pixels ``[z, y, x]``, ``float32``, in the order of ``slices``."""
    paths = {one.path for one in slices}
    if len(slices) * math.prod(size) > _MOST_COMPRESSED * sum(path.stat().st_size for path in paths):
        raise _damaged(slices[0].path)
    array = np.empty((len(slices), size[1], size[0]), np.float32)
    frames: dict[Path, dict[int, int]] = defaultdict(dict)  # of each enhanced file: the frame at each place
    for place, one in enumerate(slices):
        if one.frame is None:
            array[place] = _read_file(one.path, size, one.path)
        else:
            frames[one.path][place] = one.frame
    for path, of_path in frames.items():
        try:
            with single_frame_files(path, list(of_path.values())) as files:
                for place, file in zip(of_path, files, strict=True):
                    array[place] = _read_file(file, size, path)
        except (OSError, EOFError, ValueError, AttributeError, KeyError, IndexError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of the temporary files
                raise
            raise _damaged(path) from error
    return array


def _read_file(path: Path, size: tuple[int, int], source: Path) -> np.ndarray:
    """Rescaled pixels ``[y, x]`` of a single-frame file, ``float32``; ``source``: the user's file, for errors."""
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    except (RuntimeError, ValueError) as error:
        raise _undecodable(path, source) from error
    if image.GetSize()[:2] != size:
        raise InputError(f"{source} has another size than the rest of its series; copy the series again.")
    array = sitk.GetArrayFromImage(image).reshape(size[1], size[0])
    if image.HasMetaDataKey(_PIXEL_PADDING):
        array[array == _padding(image)] = 0
    return array


def _padding(image: sitk.Image) -> float | None:
    """The rescaled Pixel Padding Value of a file; ``None`` if it is no number."""

    def number(key: str, absent: float) -> float:
        return float(image.GetMetaData(key)) if image.HasMetaDataKey(key) else absent

    try:
        stored = number(_PIXEL_PADDING, 0)
        if number("0028|0103", 0) == 1 and stored >= 1 << 15:  # signed pixels, written as unsigned
            stored -= 1 << 16
        return stored * number("0028|1053", 1) + number("0028|1052", 0)
    except ValueError:
        return None


_SAME_PLACE_MM = 0.05
_PIXEL_PADDING = "0028|0120"  # tag, as SimpleITK writes it

# A file holds at most about this many pixels per byte, whatever size its header states.
_MOST_COMPRESSED = 1100

# Transfer syntaxes that GDCM decodes; files with others are not damaged, but cannot be decoded.
_DECODED = {
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"),
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)),
    "1.2.840.10008.1.2.5",
}


def _undecodable(path: Path, source: Path) -> InputError:
    try:
        syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    except Exception:
        return _damaged(source)
    if syntax in _DECODED:
        return _damaged(source)
    return InputError(
        f"{source} is compressed as '{syntax.name}', for which there is no decoder here; write the series without "
        "compression where it comes from, or with dcmdjpeg, gdcmconv or another DICOM tool that decodes it."
    )


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged or cut short and cannot be read; copy the series again.")
