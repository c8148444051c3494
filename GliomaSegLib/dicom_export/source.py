"""The segmented DICOM series: all exported objects belong to its patient, study and frame of reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread

from GliomaSegLib.dicom_export.headers import time_zone, usable
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import DicomSeries, find_series
from GliomaSegLib.io.dicom_frames import frame_headers
from GliomaSegLib.io.dicom_volume import read_series
from GliomaSegLib.io.grid import oriented_like, placed_as, same_grid
from GliomaSegLib.measures.diameters import axial_axis
from GliomaSegLib.preprocessing.resampling import resample_labels

# Attributes of patient and study that every object needs, at least empty; anonymised series may lack them.
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)


class OtherGridError(InputError):
    """The given series is not on the grid of the segmentation."""


@dataclass(frozen=True)
class SourceSeries:
    """A series of MR images.

    Attributes:
        headers: of the slices, without pixels, in UTF-8, sorted along the slice normal.
        labels: the segmentation on the grid of the series: ``[z, y, x]`` is slice (as ``headers``), row, column.
        image: the pixels on the same grid, ``float32``.
        emptied: keywords of values that DICOM forbids, which are empty in ``headers``.
        enhanced: header of the enhanced (multi-frame) MR file whose frames are the slices; ``headers`` are then
            equivalent classic headers.
        frames: frame numbers in ``enhanced``, from 1, in the order of ``headers``.
    """

    headers: tuple[Dataset, ...]
    labels: sitk.Image
    image: sitk.Image
    emptied: tuple[str, ...] = ()
    enhanced: Dataset | None = None
    frames: tuple[int, ...] = ()

    @property
    def first(self) -> Dataset:
        """The header of the first slice, for attributes that are the same in all."""
        return self.headers[0]

    @property
    def files(self) -> list[Dataset]:
        """The headers of the files: one of an enhanced series, else as ``headers``."""
        return [self.enhanced] if self.enhanced is not None else list(self.headers)

    def reference(self, place: int) -> Dataset:
        """A sequence item that refers to the file, or the frame, of a slice."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.headers[place].SOPClassUID
        item.ReferencedSOPInstanceUID = self.headers[place].SOPInstanceUID
        if self.frames:
            item.ReferencedFrameNumber = self.frames[place]
        return item

    @property
    def frame_of_reference(self) -> str:
        """The Frame of Reference UID.

        Raises:
            InputError: the series has none.
        """
        uid = str(self.first.get("FrameOfReferenceUID") or "")
        if not uid:
            raise InputError(
                f"The series {self.first.SeriesInstanceUID} has no Frame of Reference UID, without which no object can "
                "say where its contours lie; send the series from the scanner or the archive again, or give another "
                "copy of it with --series."
            )
        return uid

    def in_zone(self, when: datetime) -> datetime:
        """A time in the time zone of the source."""
        zone = time_zone(self.first)
        return when.astimezone(datetime.strptime(zone, "%z").tzinfo) if zone else when

    def stamp(self, dataset: Dataset) -> Dataset:
        """Set the object's time zone to that of the source, and its creation dates and times to now in that zone."""
        zone, now = time_zone(self.first), self.in_zone(datetime.now().astimezone())
        if not zone:
            return dataset
        dataset.TimezoneOffsetFromUTC = zone
        for what in ("InstanceCreation", "Content", "StructureSet"):
            if f"{what}Date" in dataset:
                setattr(dataset, f"{what}Date", f"{now:%Y%m%d}")
                setattr(dataset, f"{what}Time", f"{now:%H%M%S}")
        return dataset


def read_source_series(folder: Path, labels: sitk.Image, uid: str | None = None, part: str = "") -> SourceSeries:
    """Find and read the series on the grid of ``labels`` (LPS mm, any orientation).

    Args:
        folder: of DICOM files; may hold other series too.
        uid: Series Instance UID, if it is known.
        part: which of several volumes of that series, see :class:`~GliomaSegLib.io.dicom.DicomSeries`.

    Raises:
        OtherGridError: no series is on this grid.
        InputError: without ``uid``, several series fit; slices are missing or unevenly spaced; or the series is a part
            of an enhanced multi-frame image.
    """
    found = [one for one in find_series(folder) if uid in (None, one.uid)]
    likely = [one for one in found if sorted((*one.size, len(one.slices))) == sorted(labels.GetSize())]
    if not found or (uid is None and not likely):
        raise OtherGridError(
            f"{folder} holds no MR series {f'{uid} ' if uid else ''}of the segmentation's size "
            f"({' x '.join(map(str, labels.GetSize()))} voxels); give the folder of the series that was segmented."
        )
    fitting = [(one, image) for one in likely or found if _is_on_grid_of(image := read_series(one), labels)]
    fitting = [pair for pair in fitting if part and pair[0].part == part] or fitting
    if len(fitting) > 1:
        several = ", ".join(f"'{one.name}'" for one, _ in fitting)
        raise InputError(
            f"{folder} holds several series on the segmentation's grid ({several}); give a folder "
            "with only the one that was segmented."
        )
    for one, image in fitting:
        return _source(one, placed_as(oriented_like(labels, image), image), image)
    names = ", ".join(f"'{one.name}'" for one in likely or found)
    raise OtherGridError(
        f"The segmentation lies on another grid than the series {names} in {folder}; give the series that was "
        "segmented."
    )


def read_planning_series(folder: Path, source: SourceSeries) -> SourceSeries:
    """Read a planning series on another grid, with the labels of ``source`` resampled to it.

    Raises:
        InputError: not exactly one classic MR series with axial slices in the frame of reference of ``source``.
    """
    found = [one for one in find_series(folder) if not one.multi_frame]
    inside = []
    for one in found:
        image = read_series(one)
        if axial_axis(image) == 2:
            there = _source(one, resample_labels(source.labels, image), image)
            if there.frame_of_reference == source.frame_of_reference:
                inside.append(there)
    if len(inside) != 1:
        raise InputError(
            f"{folder} holds {len(inside) or 'no'} axial MR series in the frame of reference of the segmentation "
            f"(of {len(found)}); give the folder of the one planning series that was acquired with the segmented "
            "one or is registered to it."
        )
    return inside[0]


def _is_on_grid_of(image: sitk.Image, labels: sitk.Image) -> bool:
    return same_grid(oriented_like(labels, image), image)


def read_moved_series(
    folder: Path, uid: str, part: str, labels: sitk.Image, to_series: sitk.Transform | None
) -> SourceSeries | None:
    """Read a series on another grid, with ``labels`` resampled to it, for display only.

    Returns ``None`` for an enhanced multi-frame image, to whose frames such objects cannot refer.

    Args:
        part: see :class:`~GliomaSegLib.io.dicom.DicomSeries`.
        to_series: maps points of ``labels`` to points of the series (LPS mm); ``None`` for the identity.

    Raises:
        InputError: there is no such series any more, or it cannot be read.
    """
    found = [one for one in find_series(folder) if (one.uid, one.part) == (uid, part)]
    if not found:
        raise InputError(f"{folder} no longer holds the series {uid}; put it back.")
    if found[0].multi_frame:
        return None
    image = read_series(found[0])
    carried = resample_labels(labels, image, to_series and to_series.GetInverse())
    return _source(found[0], carried, image)


def _source(series: DicomSeries, labels: sitk.Image, image: sitk.Image) -> SourceSeries:
    normal = np.reshape(image.GetDirection(), (3, 3))[:, 2]
    slices = sorted(series.slices, key=lambda one: float(np.dot(normal, one.position_mm)))
    files: dict[Path, Dataset] = {}
    emptied: set[str] = set()
    for path in dict.fromkeys(one.path for one in slices):
        header = files[path] = dcmread(path, stop_before_pixels=True, force=True)
        emptied.update(usable(header))
        if not header.get("StudyInstanceUID"):
            raise InputError(f"{path} has no Study Instance UID, so that nothing can be filed with its study.")
        for keyword in _TYPE_2:
            if keyword not in header:
                setattr(header, keyword, "")
    if len({header.SOPInstanceUID for header in files.values()}) < len(files):
        raise InputError(
            f"{series} has several slices with one SOP Instance UID, so that no object can refer to one of them; give "
            "the series with its own UIDs, from before it was anonymised."
        )
    headers: list[Dataset] = [files[one.path] for one in slices]
    enhanced: Dataset | None = None
    frames: tuple[int, ...] = ()
    if series.multi_frame:
        enhanced = _only_file(series, files)
        of_frames = frame_headers(enhanced)
        headers = [of_frames[one.frame or 0] for one in slices]
        frames = tuple((one.frame or 0) + 1 for one in slices)
    for one_slice in headers:
        if not one_slice.get("SliceThickness"):  # optional in the source, required in the objects
            one_slice.SliceThickness = f"{image.GetSpacing()[2]:.6g}"
    return SourceSeries(tuple(headers), labels, image, tuple(sorted(emptied)), enhanced, frames)


def _only_file(series: DicomSeries, files: Mapping[Path, Dataset]) -> Dataset:
    """The one file of an enhanced MR series; all its frames must belong to it, as highdicom refers to whole files."""
    only = next(iter(files.values()))
    if len(files) > 1 or int(only.get("NumberOfFrames", 0)) != len(series.slices):
        raise InputError(
            f"{series} is a part of an enhanced multi-frame image, to which exported objects cannot refer; give the "
            "folder of the same images as classic slices with --series."
        )
    return only
