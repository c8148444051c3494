"""Finds the MR volumes in DICOM folders, with acquisition parameters, from the headers only.

:mod:`GliomaSegLib.io.dicom_files` reads headers with pydicom, :mod:`GliomaSegLib.io.dicom_volume` reads pixels.
dcm2niix would be an external program that Slicer had to ship, with its own untested grouping of files; highdicom has no
decoder for compressed transfer syntaxes.

A frame of enhanced (multi-frame) MR counts as a slice, see :mod:`GliomaSegLib.io.dicom_frames`.
"""

from __future__ import annotations

import logging
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from GliomaSegLib.errors import printable
from GliomaSegLib.io.dicom_files import (
    NoSlice,
    PassedOver,
    Slice,
    Tally,
    files_below,
    find_slices,
    values,
    without_copies,
)
from GliomaSegLib.io.geometry import is_even_stack
from GliomaSegLib.io.tags import DicomTags

_FEWEST_SLICES = 3
_SAME_COSINE, _SAME_MM = 0.01, 0.002  # directions and pixel spacings of one volume: headers are rounded
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DicomSlice:
    """One slice: its position in LPS mm and the values that distinguish it from others of its series.

    ``frame`` is the index of its frame in an enhanced (multi-frame) file; ``None`` for a single-frame file.
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
        folder: the innermost folder that contains all files.
        uid: Series Instance UID, the same for all parts of a series.
        number: Series Number; may be empty.
        part: name of the part of a split series, e.g. ``part 2 of 2, TE 90 ms``; empty for a whole series.
        size: columns and rows.
        pixel_spacing_mm: distance between columns and between rows.
        slices: in any order.
        lost: number of damaged files that seem to be slices of the series: the volume may be incomplete.
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
    lost: int = 0

    @property
    def multi_frame(self) -> bool:
        """Whether the slices are frames of enhanced MR."""
        return any(one.frame is not None for one in self.slices)

    @property
    def name(self) -> str:
        """The display name: the description, with the number and the part if there are any."""
        name = self.tags.description or self.tags.protocol or self.uid
        which = ", ".join(filter(None, (self.number and f"series {self.number}", self.part)))
        return f"{name} ({which})" if which else name

    def __str__(self) -> str:
        return f"The series '{self.name}' in {self.folder}"


class DicomFolder(NamedTuple):
    """MR volumes sorted by name, and the files that were not used."""

    series: list[DicomSeries]
    passed_over: list[PassedOver]


def find_series(folder: Path) -> list[DicomSeries]:
    """The series of :func:`read_folder`."""
    return read_folder(folder).series


def read_folder(folder: Path) -> DicomFolder:
    """The volumes of :func:`read_files`, of the files anywhere below ``folder``."""
    return read_files(files_below(folder))


def read_files(files: Iterable[Path]) -> DicomFolder:
    """The MR volumes among DICOM files. Pixels are only read of slices at the same position, to remove copies.

    Not used but counted are the files that :func:`find_slices` skips, and groups of fewer than three slices. Damaged
    files make their series, or all series in their folder, incomplete, and are logged.
    """
    tally = Tally()
    by_uid: dict[str, list[Slice]] = defaultdict(list)
    for one in find_slices(files, tally):
        by_uid[str(one.header.SeriesInstanceUID)].append(one)
    found = [one for uid, slices in by_uid.items() for one in _series_of(uid, _volumes(slices, tally), tally)]
    passed_over = tally.entries()
    for entry in passed_over:
        if entry.lost:
            _LOG.info("%s", entry)
    series = [replace(one, lost=_lost(one, passed_over)) for one in found]
    return DicomFolder(sorted(series, key=lambda one: (one.name, one.uid)), passed_over)


def _lost(series: DicomSeries, passed_over: Sequence[PassedOver]) -> int:
    folders = {one.path.parent for one in series.slices}
    return sum(
        entry.files
        for entry in passed_over
        if entry.lost and (entry.series_uid == series.uid or (not entry.series_uid and entry.folder in folders))
    )


# --- the volumes of a series -----------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """Properties of the slices of one volume and its repetitions: ``exact`` values are equal, ``geometry`` equal within
    rounding; ``marks`` may differ between parts of one volume on some scanners."""

    exact: tuple[object, ...]
    geometry: np.ndarray
    marks: tuple[object, ...]

    def is_volume_of(self, other: _Kind) -> bool:
        """Whether both may be of one volume, regardless of their marks."""
        return self.exact == other.exact and bool((np.abs(self.geometry - other.geometry) <= _TOLERANCE).all())


_TOLERANCE = np.array([_SAME_COSINE] * 6 + [_SAME_MM] * 2)


def _kind(header: Dataset) -> _Kind:
    return _Kind(
        (
            str(header.get("SOPClassUID")),
            # Anonymisers and faulty archives give one Series Instance UID to several patients or studies.
            *(tuple(values(header, keyword)) for keyword in ("PatientID", "StudyDate", "StudyInstanceUID")),
            (header.get("Rows"), header.get("Columns")),
            _number(header, "DiffusionBValue"),
        ),
        np.array(values(header, "ImageOrientationPatient") + values(header, "PixelSpacing"), float),
        (
            *(tuple(values(header, "ImageType")), header.get("StackID")),
            *(tuple(values(header, "EchoNumbers")), round(_number(header, "EchoTime") or 0)),
        ),
    )


def _volumes(slices: list[Slice], tally: Tally) -> list[list[Slice]]:
    """The slices of one series grouped by volume; a group may contain repetitions."""
    groups: list[tuple[_Kind, list[Slice]]] = []
    for one in slices:
        kind = _kind(one.header)
        for other, group in groups:
            if kind.marks == other.marks and kind.is_volume_of(other):
                group.append(one)
                break
        else:
            groups.append((kind, [one]))
    groups = [(kind, _each_once(group, tally)) for kind, group in groups]
    return [group for _, group in _joined(groups)]


def _each_once(slices: list[Slice], tally: Tally) -> list[Slice]:
    """Remove copies: slices with the same position, time and pixels."""
    places: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    digests: dict[Path, str] = {}
    for one in slices:
        described = _slice(one)
        place = tuple(np.round(described.position_mm, 2))
        places[place, described.temporal_position, described.acquisition_number].append(one)
    return [
        one for same in places.values() for one in (without_copies(same, tally, digests) if len(same) > 1 else same)
    ]


def _joined(groups: list[tuple[_Kind, list[Slice]]]) -> list[tuple[_Kind, list[Slice]]]:
    """Join groups that differ only in their marks and form one evenly spaced stack."""
    joined: list[tuple[_Kind, list[Slice]]] = []
    for kind, group in groups:
        for place, (other, earlier) in enumerate(joined):
            together = [*earlier, *group]
            if kind.is_volume_of(other) and _is_even(together):
                joined[place] = (other, together)
                break
        else:
            joined.append((kind, group))
    return joined


def _is_even(slices: list[Slice]) -> bool:
    normal = np.cross(*np.reshape(_slice(slices[0]).orientation, (2, 3)))
    return is_even_stack(np.array([_slice(one).position_mm for one in slices]), normal)


def _series_of(uid: str, parts: list[list[Slice]], tally: Tally) -> Iterator[DicomSeries]:
    """The volumes of one series, each with a distinct name."""
    volumes = [volume for part in parts for volume in _split_repetitions([(_slice(one), one.header) for one in part])]
    planes = {_plane(volume[0][1]) for volume in volumes}
    apart = len(planes) > 1
    for number, slices in enumerate(volumes, start=1):
        header = slices[0][1]
        if len(slices) < _FEWEST_SLICES:
            for one, _ in slices:
                tally.add(one.path, NoSlice(f"fewer than {_FEWEST_SLICES} slices, which are no volume", header))
            continue
        rows_mm, columns_mm = (float(value) for value in values(header, "PixelSpacing"))
        yield DicomSeries(
            uid=uid,
            number=printable(header.get("SeriesNumber") or ""),
            part=_part(number, len(volumes), header, apart),
            folder=Path(os.path.commonpath([one.path.parent for one, _ in slices])),
            patient_id=printable(header.get("PatientID", "")),
            study_uid=printable(header.get("StudyInstanceUID") or ""),
            study_date=printable(header.get("StudyDate") or ""),
            study_time=printable(header.get("StudyTime") or ""),
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
    return plane_nearest(np.cross(*np.reshape(np.array(values(header, "ImageOrientationPatient"), float), (2, 3))))


def plane_nearest(normal: np.ndarray) -> str:
    """The anatomical plane nearest to slices with this normal (LPS): ``sagittal``, ``coronal`` or ``axial``."""
    return ("sagittal", "coronal", "axial")[int(np.abs(normal).argmax())]


_Slices = list[tuple[DicomSlice, Dataset]]


def _split_repetitions(slices: _Slices) -> list[_Slices]:
    """Split slices with repeated positions by time or acquisition, if each volume then has every position once."""
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


def _slice(found: Slice) -> DicomSlice:
    header = found.header
    return DicomSlice(
        found.path,
        tuple(float(value) for value in values(header, "ImagePositionPatient")),
        tuple(float(value) for value in values(header, "ImageOrientationPatient")),
        int(_number(header, "TemporalPositionIdentifier") or 0),
        int(_number(header, "AcquisitionNumber") or 0),
        found.frame,
    )


def _tags(header: Dataset) -> DicomTags:
    text: dict[str, str] = {
        keyword: printable(header.get(keyword) or "").strip()
        for keyword in ("SeriesDescription", "ProtocolName", "SequenceName", "BodyPartExamined", "PatientID")
    }
    agent = " ".join(values(header, "ContrastBolusAgent") + values(header, "ContrastBolusIngredient")).strip()
    return DicomTags(
        description=text["SeriesDescription"],
        protocol=text["ProtocolName"],
        sequence_name=text["SequenceName"],
        scanning_sequence=tuple(values(header, "ScanningSequence")),
        image_type=tuple(values(header, "ImageType")),
        repetition_time_ms=_number(header, "RepetitionTime"),
        echo_time_ms=_number(header, "EchoTime"),
        inversion_time_ms=_number(header, "InversionTime"),
        contrast_agent=agent or ("volume given" if _number(header, "ContrastBolusVolume") else None),
        angiography=header.get("AngioFlag") == "Y",
        b_value=_number(header, "DiffusionBValue"),
        body_part=text["BodyPartExamined"],
        patient_id=text["PatientID"],
    )


def _number(header: Dataset, keyword: str) -> float | None:
    """The first value of an element as a number; ``None`` for 0, which scanners write for 'not applicable'."""
    try:
        number = float(values(header, keyword)[0])
    except (IndexError, ValueError):
        return None
    return number if number and math.isfinite(number) else None
