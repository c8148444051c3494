"""DICOM folders: the MR volumes in them and how they were acquired, from the headers alone.

pydicom reads the headers; pixels and grids are read in :mod:`GliomaSegLib.io.dicom_volume`. dcm2niix would do both, but
as an external program that Slicer would have to ship, with a grouping of files that we neither see nor test;
highdicom reads one slice or frame object at a time well, but brings no decoder for compressed transfer syntaxes.

A frame of enhanced (multi-frame) MR counts as a slice, see :mod:`GliomaSegLib.io.dicom_frames`.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from GliomaSegLib.io.dicom_frames import FRAME_KEYWORDS, frame_headers
from GliomaSegLib.io.names import is_image_name
from GliomaSegLib.io.tags import DicomTags

_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4.1"

# Image Type values of images that are computed from others, or only plan the examination. Reformats (MPR) stay: they
# have the same contrast on another grid.
_NOT_A_SCAN = {
    *("LOCALIZER", "SCOUT", "ADC", "EADC", "TRACEW", "FA", "RCBF", "RCBV", "CBF", "CBV", "MTT", "TTP", "TMAX", "P"),
    "MOSAIC",
}
_NOT_A_SCAN_WORDS = ("PROJECTION", "MIP", "MINIP", "SCREEN", "SUBTRACT", "PERFUSION", "SPECTROSCOPY", "_MAP", "PHASE")

_FEWEST_SLICES = 3
_LOG = logging.getLogger(__name__)

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
_NEEDED = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "Rows", "Columns"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
)


@dataclass(frozen=True)
class DicomSlice:
    """One slice: its position in LPS mm and the values that distinguish it from others of its series.

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
        part: of a split series, which part this is, e.g. ``part 2 of 2, TE 90 ms``; empty for a whole series.
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
        """The name that a reader knows: the description, with the number and the part where there are such."""
        name = self.tags.description or self.tags.protocol or self.uid
        which = ", ".join(filter(None, (self.number and f"series {self.number}", self.part)))
        return f"{name} ({which})" if which else name

    def __str__(self) -> str:
        return f"The series '{self.name}' in {self.folder}"


def find_series(folder: Path) -> list[DicomSeries]:
    """The MR volumes among the DICOM files anywhere below ``folder``, by name. No pixels are read.

    A file that is DICOM and cannot be read is passed over with a warning in the log. Passed over without: files that
    are no DICOM, DICOMDIR, hidden files, other modalities, secondary captures, localizers, derived maps, phase images,
    mosaics and projections, and groups of fewer than three slices. A file that is there twice (same SOP Instance UID)
    counts once.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks about odd values in the files
        found = {(str(one.header.SOPInstanceUID), one.frame): one for one in _mr_headers(folder)}
    by_uid: dict[str, dict[tuple[object, ...], list[_Found]]] = defaultdict(lambda: defaultdict(list))
    for one in found.values():
        by_uid[str(one.header.SeriesInstanceUID)][_volume_key(one.header)].append(one)
    series = [one for uid, volumes in by_uid.items() for one in _series_of(uid, list(volumes.values()))]
    return sorted(series, key=lambda one: (one.name, one.uid))


# --- headers -------------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """The header of a slice, and where it is (see :class:`DicomSlice`)."""

    path: Path
    header: Dataset
    frame: int | None = None


def _mr_headers(folder: Path) -> Iterator[_Found]:
    unreadable: list[Path] = []
    for path in _files(folder):
        try:
            frames = _frames_of(path)
        except InvalidDicomError:
            continue
        except Exception:  # pydicom raises whatever comes of a malformed header
            unreadable.append(path)
            continue
        yield from frames
    if unreadable:
        _LOG.warning(
            "%d of the files in %s cannot be read as DICOM and were passed over, such as %s",
            len(unreadable), folder, unreadable[0].name,
        )  # fmt: skip


def _frames_of(path: Path) -> list[_Found]:
    """The scans in a file. Elements that cannot be decoded are left out; one without which it is no image raises."""
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_KEYWORDS)
    for tag in list(header.keys()):
        try:
            _ = header[tag]
        except Exception:
            if keyword_for_tag(tag) in _NEEDED:
                raise
            del header[tag]
    if header.get("SOPClassUID") == _ENHANCED_MR_IMAGE:
        frames = [_Found(path, frame, number) for number, frame in enumerate(frame_headers(header))]
    else:
        frames = [_Found(path, header)]
    scans = [one for one in frames if _is_scan(one.header)]
    for one in scans:
        _ = _slice(one), _volume_key(one.header)  # raises where what should be numbers is none
    return scans


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
    """Equal for the slices of a series that are of one volume and its repetitions."""
    return (
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
    """The volumes of one series, each with its own name."""
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
    return plane_nearest(np.cross(*np.reshape(np.array(_values(header, "ImageOrientationPatient"), float), (2, 3))))


def plane_nearest(normal: np.ndarray) -> str:
    """The anatomical plane nearest to slices with this normal (LPS): ``sagittal``, ``coronal`` or ``axial``."""
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
