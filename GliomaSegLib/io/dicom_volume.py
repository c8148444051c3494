"""The volume of a DICOM series: its grid from the headers, its pixels from the files.

SimpleITK (GDCM) decodes the pixels: JPEG, JPEG-LS, JPEG 2000 and RLE inside. The grid is computed here from Image
Position and Image Orientation (Patient) (DICOM PS3.3 C.7.6.2), whose coordinates are LPS millimetres like SimpleITK's:
names and the order of files play no part. A frame of enhanced (multi-frame) MR counts as a slice, see
:mod:`GliomaSegLib.io.dicom_frames`: GDCM alone would read the frames in the order of the file, with the first one's
rescaling.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import DicomSeries, DicomSlice
from GliomaSegLib.io.dicom_frames import single_frame_files
from GliomaSegLib.io.geometry import Geometry, orthonormal_direction
from GliomaSegLib.io.images import check_intensities, quiet_itk

# Departures from an even stack that are rounding in the headers: of a step, relative to the usual one; of the grid
# from its normal, in mm; between directions of slices, in cosines.
_STEP_TOLERANCE = 0.05
_OFFSET_TOLERANCE_MM = 0.5


def read_series(series: DicomSeries) -> sitk.Image:
    """The volume of ``series`` as ``float32`` (LPS, mm; rescaled), slices stacked along the normal of their plane.

    Raises:
        InputError: slices missing, doubled, unevenly spaced or shifted against one another; pixels that cannot be
            decoded; an empty or constant volume.
    """
    stack = _stacked(series)
    array = _read_slices(stack.slices, series.size)
    check_intensities(array, str(series))
    image = sitk.GetImageFromArray(array)
    image.SetOrigin(stack.slices[0].position_mm)
    image.SetSpacing((*series.pixel_spacing_mm, stack.step_mm))
    image.SetDirection(stack.direction.ravel().tolist())
    return image


def series_problem(series: DicomSeries) -> str | None:
    """Why :func:`read_series` would refuse the series' geometry, from the headers alone; ``None`` if it would not."""
    try:
        _stacked(series)
    except InputError as error:
        return str(error)
    return None


def series_geometry(series: DicomSeries) -> Geometry:
    """The geometry of a series, from the headers alone."""
    normal = np.cross(*np.reshape(series.slices[0].orientation, (2, 3)))
    heights = np.sort([np.dot(normal, one.position_mm) for one in series.slices])
    between = float(np.median(np.diff(heights)))
    spacing = (*series.pixel_spacing_mm, between)
    in_plane = (size * mm for size, mm in zip(series.size, series.pixel_spacing_mm, strict=True))
    return Geometry(spacing, normal, (*in_plane, float(np.ptp(heights)) + between))


# --- geometry ------------------------------------------------------------------------------------------------------


class _Stack(NamedTuple):
    """The slices in order along their normal, the distance between them, and the directions of the grid's axes."""

    slices: list[DicomSlice]
    step_mm: float
    direction: np.ndarray


def _stacked(series: DicomSeries) -> _Stack:
    row, column = np.reshape(series.slices[0].orientation, (2, 3))
    direction = orthonormal_direction(np.stack([row, column, np.cross(row, column)], axis=1), str(series))
    slices = sorted(series.slices, key=lambda one: float(np.dot(direction[:, 2], one.position_mm)))
    step = _even_step(np.array([one.position_mm for one in slices]), direction[:, 2], str(series))
    return _Stack(slices, step, direction)


def _even_step(positions_mm: np.ndarray, normal: np.ndarray, source: str) -> float:
    """Distance in mm between the slices of an even, straight stack of sorted ``positions_mm`` (n x 3).

    Raises:
        InputError: the stack is not even or not straight.
    """
    heights = positions_mm @ normal
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if steps.min() < 0.01:
        raise InputError(
            f"{source} has {int((steps < 0.01).sum()) + 1} slices at the same place, so several volumes share one "
            "series; convert it with dcm2niix and give the file you want."
        )
    if np.abs(steps - usual).max() > _STEP_TOLERANCE * usual:
        raise InputError(_uneven(steps, usual, source))
    across = positions_mm - positions_mm[0] - np.outer(heights - heights[0], normal)
    if np.linalg.norm(across, axis=1).max() > _OFFSET_TOLERANCE_MM:
        raise InputError(
            f"{source} has slices that are shifted against one another (a sheared stack); convert it with dcm2niix "
            "and resample it to a rectangular grid."
        )
    return float(heights[-1] - heights[0]) / len(steps)


def _uneven(steps: np.ndarray, usual: float, source: str) -> str:
    missing = np.round(steps / usual) - 1
    if missing.any() and np.abs(steps - usual * (missing + 1)).max() <= 2 * _STEP_TOLERANCE * usual:
        return f"{source} lacks {int(missing.sum())} slices in between; copy the whole series again."
    return (
        f"{source} has unevenly spaced slices ({steps.min():.2f} to {steps.max():.2f} mm apart); "
        "give a series with even spacing."
    )


# --- pixels --------------------------------------------------------------------------------------------------------


def _read_slices(slices: Sequence[DicomSlice], size: tuple[int, int]) -> np.ndarray:
    """Rescaled pixels ``[z, y, x]``, ``float32``, in the order of ``slices``."""
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
            raise _damaged(path) from error
    return array


def _read_file(path: Path, size: tuple[int, int], source: Path) -> np.ndarray:
    """Rescaled pixels ``[y, x]`` of one single-frame file, ``float32``; ``source`` is what the user knows it by."""
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    except RuntimeError as error:
        raise _damaged(source) from error
    if image.GetSize()[:2] != size:
        raise InputError(f"{source} has another size than the rest of its series; copy the series again.")
    return sitk.GetArrayFromImage(image).reshape(size[1], size[0])


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged or cut short and cannot be read; copy the series again.")
