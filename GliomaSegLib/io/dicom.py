"""DICOM folders: which MR volumes they hold, what their tags say, and their pixels with true geometry.

pydicom reads the headers and SimpleITK (GDCM) decodes the pixels. dcm2niix would do both, but as an external program
that Slicer would have to carry, with its grouping of files and its renaming outside our sight; highdicom reads one
slice or frame object at a time well, but brings no decoder for compressed transfer syntaxes, while GDCM has JPEG,
JPEG-LS, JPEG 2000 and RLE inside. The grid is computed here from Image Position and Image Orientation (Patient)
(DICOM PS3.3 C.7.6.2), whose coordinates are LPS millimetres like SimpleITK's: names and the order of files play no
part.

A frame of enhanced (multi-frame) MR counts as a slice, see :mod:`GliomaSegLib.io.dicom_frames`: GDCM alone would read
the frames in the order of the file, with the first one's rescaling.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom_frames import FRAME_KEYWORDS, frame_headers, single_frame_files
from GliomaSegLib.io.images import check_intensities, orthonormal_direction, quiet_itk
from GliomaSegLib.io.names import is_image_name

_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"

# Image Type values of what is computed from images, drawn on them, or only plans the examination. Reformats (MPR)
# stay: they are the same contrast on another grid.
_NOT_A_SCAN = {
    "LOCALIZER",
    "SCOUT",
    "ADC",
    "EADC",
    "TRACEW",
    "FA",
    "RCBF",
    "RCBV",
    "CBF",
    "CBV",
    "MTT",
    "TTP",
    "TMAX",
    "P",
    "MOSAIC",
}
_NOT_A_SCAN_WORDS = ("PROJECTION", "MIP", "MINIP", "SCREEN", "SUBTRACT", "PERFUSION", "SPECTROSCOPY", "_MAP", "PHASE")

# Departures from an even stack that are rounding in the headers: of a step, relative to the usual one; of the grid
# from its normal, in mm; between directions of slices, in cosines.
_STEP_TOLERANCE = 0.05
_OFFSET_TOLERANCE_MM = 0.5
_FEWEST_SLICES = 3

_KEYWORDS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "PatientID", "BodyPartExamined"),
    *("StudyInstanceUID", "StudyDate", "StudyTime"),
    *("ImageType", "SeriesNumber", "SeriesDescription", "ProtocolName", "SequenceName", "ScanningSequence"),
    *("RepetitionTime", "EchoTime", "EchoNumbers", "InversionTime", "AngioFlag"),
    *("ContrastBolusAgent", "ContrastBolusIngredient", "ContrastBolusVolume", "DiffusionBValue"),
    *("TemporalPositionIdentifier", "AcquisitionNumber", "Rows", "Columns", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *FRAME_KEYWORDS,
]


@dataclass(frozen=True)
class DicomTags:
    """What the header says about how a series was acquired. Times in ms; ``None`` is not said."""

    description: str = ""
    protocol: str = ""
    sequence_name: str = ""
    scanning_sequence: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    contrast_agent: str | None = None
    angiography: bool = False
    b_value: float | None = None
    body_part: str = ""


@dataclass(frozen=True)
class DicomSlice:
    """One slice: its place in LPS mm and what tells it apart from others of its series.

    ``frame`` is its number, from 0, in an enhanced (multi-frame) file; ``None`` when the file is this slice alone.
    """

    path: Path
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    temporal_position: int
    acquisition_number: int
    frame: int | None = None


@dataclass(frozen=True)
class DicomSeries:
    """The files of one volume: a series, or the part of it with one echo, orientation or time.

    Attributes:
        folder: the innermost that holds all files.
        uid: Series Instance UID, the same for all parts of a series.
        number: Series Number, as scanner and viewer show it; may be empty.
        part: what sets this part of a split series apart, e.g. ``part 2 of 2, TE 90 ms``; empty for a whole series.
        size: columns and rows.
        pixel_spacing_mm: distance between columns and between rows.
        slices: in no order.
    """

    uid: str
    number: str
    part: str
    folder: Path
    patient_id: str
    study_uid: str
    study_date: str
    study_time: str
    tags: DicomTags
    size: tuple[int, int]
    pixel_spacing_mm: tuple[float, float]
    slices: tuple[DicomSlice, ...]

    @property
    def multi_frame(self) -> bool:
        """Whether the slices are frames of enhanced MR."""
        return any(one.frame is not None for one in self.slices)

    @property
    def name(self) -> str:
        """How a person would call it: the description, with the number and the part where there are such."""
        name = self.tags.description or self.tags.protocol or self.uid
        which = ", ".join(filter(None, (self.number and f"series {self.number}", self.part)))
        return f"{name} ({which})" if which else name

    def __str__(self) -> str:
        return f"The series '{self.name}' in {self.folder}"


def find_series(folder: Path) -> list[DicomSeries]:
    """The MR volumes among the DICOM files anywhere below ``folder``, by name. No pixels are read.

    Passed over: files that are not DICOM, DICOMDIR, hidden files, other modalities, secondary captures, localizers,
    derived maps, phase images, mosaics and projections, and groups of fewer than three slices. A file that is there
    twice (same SOP Instance UID) counts once.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks about odd values in files that nobody here can mend
        found = {(str(one.header.SOPInstanceUID), one.frame): one for one in _mr_headers(folder)}
    groups = defaultdict(list)
    for one in found.values():
        groups[_volume_key(one.header)].append(one)
    by_uid = defaultdict(list)
    for (uid, *_), files in groups.items():
        by_uid[uid].append(files)
    series = [one for uid, parts in by_uid.items() for one in _series_of(uid, parts)]
    return sorted(series, key=lambda one: (one.name, one.uid))


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


def series_geometry(series: DicomSeries) -> tuple[tuple[float, ...], np.ndarray]:
    """Voxel size in mm and the unit normal of the slices (LPS), from the headers alone."""
    normal = np.cross(*np.reshape(series.slices[0].orientation, (2, 3)))
    heights = np.sort([np.dot(normal, one.position_mm) for one in series.slices])
    return (*series.pixel_spacing_mm, float(np.median(np.diff(heights)))), normal


# --- headers -------------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """The header of a slice, and where it is (see :class:`DicomSlice`)."""

    path: Path
    header: Dataset
    frame: int | None = None


def _mr_headers(folder: Path) -> Iterator[_Found]:
    for path in _files(folder):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_KEYWORDS)
        except (InvalidDicomError, OSError, EOFError, ValueError, KeyError):
            continue  # not DICOM, or not enough of it to know
        if header.get("SOPClassUID") == _ENHANCED_MR_IMAGE:
            frames = [_Found(path, frame, number) for number, frame in enumerate(frame_headers(header))]
        else:
            frames = [_Found(path, header)]
        yield from (one for one in frames if _is_scan(one.header))


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not (name.startswith(".") or name.upper() == "DICOMDIR" or is_image_name(path)) and path.is_file():
                yield path


def _is_scan(header: Dataset) -> bool:
    """An MR image with a place in the patient that was acquired, not computed."""
    if header.get("Modality") != "MR" or "SOPInstanceUID" not in header or "SeriesInstanceUID" not in header:
        return False
    image_type = {value.upper() for value in _values(header, "ImageType")}
    if image_type & _NOT_A_SCAN or any(word in value for word in _NOT_A_SCAN_WORDS for value in image_type):
        return False
    return header.get("SOPClassUID") in (_MR_IMAGE, _ENHANCED_MR_IMAGE) and all(
        len(_values(header, keyword)) == count
        for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
    )


def _volume_key(header: Dataset) -> tuple[object, ...]:
    """Equal for the slices of one volume and its repetitions; the Series Instance UID comes first."""
    return (
        str(header.SeriesInstanceUID),
        str(header.SOPClassUID),
        tuple(np.round(np.array(_values(header, "ImageOrientationPatient"), float), 2) + 0.0),
        tuple(np.round(np.array(_values(header, "PixelSpacing"), float), 3)),
        (header.get("Rows"), header.get("Columns")),
        tuple(_values(header, "EchoNumbers")) or round(_number(header, "EchoTime") or 0),
        tuple(_values(header, "ImageType")),
        _number(header, "DiffusionBValue"),
        header.get("StackID"),
    )


def _series_of(uid: str, parts: list[list[_Found]]) -> Iterator[DicomSeries]:
    """The volumes of one series, each told apart in words."""
    volumes = [volume for part in parts for volume in _split_repetitions([(_slice(one), one.header) for one in part])]
    planes = {_plane(volume[0][1]) for volume in volumes}
    apart = len(planes) > 1
    for number, slices in enumerate(volumes, start=1):
        header = slices[0][1]
        if len(slices) < _FEWEST_SLICES:
            continue
        rows_mm, columns_mm = (float(value) for value in _values(header, "PixelSpacing") or (0, 0))
        yield DicomSeries(
            uid=uid,
            number=str(header.get("SeriesNumber") or ""),
            part=_part(number, len(volumes), header, apart),
            folder=Path(os.path.commonpath([one.path.parent for one, _ in slices])),
            patient_id=str(header.get("PatientID", "")),
            study_uid=str(header.get("StudyInstanceUID") or ""),
            study_date=str(header.get("StudyDate") or ""),
            study_time=str(header.get("StudyTime") or ""),
            tags=_tags(header),
            size=(int(header.get("Columns", 0)), int(header.get("Rows", 0))),
            pixel_spacing_mm=(columns_mm, rows_mm),
            slices=tuple(one for one, _ in slices),
        )


def _part(number: int, count: int, header: Dataset, planes_differ: bool) -> str:
    if count == 1:
        return ""
    part = f"part {number} of {count}, TE {_number(header, 'EchoTime') or 0:g} ms"
    return f"{part}, {_plane(header)}" if planes_differ else part


def _plane(header: Dataset) -> str:
    """The anatomical plane nearest to the slices."""
    normal = np.cross(*np.reshape(np.array(_values(header, "ImageOrientationPatient"), float), (2, 3)))
    return ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]


_Slices = list[tuple[DicomSlice, Dataset]]


def _split_repetitions(slices: _Slices) -> list[_Slices]:
    """Where places are taken more than once, one volume per time or acquisition if that leaves each place once."""
    if _each_place_once(slices):
        return [slices]
    keys: tuple[Callable[[DicomSlice], int], ...] = (
        lambda one: one.temporal_position,
        lambda one: one.acquisition_number,
    )
    for key in keys:
        volumes = defaultdict(list)
        for one in slices:
            volumes[key(one[0])].append(one)
        if all(_each_place_once(volume) for volume in volumes.values()):
            return [volumes[value] for value in sorted(volumes)]
    return [slices]


def _each_place_once(slices: _Slices) -> bool:
    return len({tuple(np.round(one.position_mm, 2)) for one, _ in slices}) == len(slices)


def _slice(found: _Found) -> DicomSlice:
    header = found.header
    return DicomSlice(
        found.path,
        tuple(float(value) for value in _values(header, "ImagePositionPatient")),
        tuple(float(value) for value in _values(header, "ImageOrientationPatient")),
        int(_number(header, "TemporalPositionIdentifier") or 0),
        int(_number(header, "AcquisitionNumber") or 0),
        found.frame,
    )


def _tags(header: Dataset) -> DicomTags:
    text: dict[str, str] = {
        keyword: str(header.get(keyword) or "").strip()
        for keyword in ("SeriesDescription", "ProtocolName", "SequenceName", "BodyPartExamined")
    }
    agent = " ".join(_values(header, "ContrastBolusAgent") + _values(header, "ContrastBolusIngredient")).strip()
    return DicomTags(
        description=text["SeriesDescription"],
        protocol=text["ProtocolName"],
        sequence_name=text["SequenceName"],
        scanning_sequence=tuple(_values(header, "ScanningSequence")),
        image_type=tuple(_values(header, "ImageType")),
        repetition_time_ms=_number(header, "RepetitionTime"),
        echo_time_ms=_number(header, "EchoTime"),
        inversion_time_ms=_number(header, "InversionTime"),
        contrast_agent=agent or ("volume given" if _number(header, "ContrastBolusVolume") else None),
        angiography=header.get("AngioFlag") == "Y",
        b_value=_number(header, "DiffusionBValue"),
        body_part=text["BodyPartExamined"],
    )


def _values(header: Dataset, keyword: str) -> list[str]:
    """All values of an element as text; none when it is absent, empty or unreadable."""
    try:
        value = header.get(keyword)
    except ValueError:
        return []
    if value is None or value == "":
        return []
    values: Iterable[object] = [value] if isinstance(value, (str, int, float)) else value
    return [str(one).strip() for one in values if str(one).strip()]


def _number(header: Dataset, keyword: str) -> float | None:
    """The first value of an element when it is a number other than 0, which scanners write for 'does not apply'."""
    try:
        return float(_values(header, keyword)[0]) or None
    except (IndexError, ValueError):
        return None


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
    places = defaultdict(list)
    for place, one in enumerate(slices):
        if one.frame is None:
            array[place] = _read_file(one.path, size, one.path)
        else:
            places[one.path].append(place)
    for path, of_path in places.items():
        frames = [slices[place].frame for place in of_path]
        try:
            with single_frame_files(path, frames) as files:
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
