"""The DICOM series that a segmentation belongs to: whose patient, study and frame of reference all objects take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from GliomaSegLib.dicom_export.utf8 import in_utf8
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import DicomSeries, find_series
from GliomaSegLib.io.dicom_volume import read_series
from GliomaSegLib.io.grid import oriented_like, same_grid
from GliomaSegLib.preprocessing.resampling import resample_labels

# What every object needs of patient and study, if only empty; anonymised series may lack it altogether.
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)


@dataclass(frozen=True)
class SourceSeries:
    """A series of classic MR images.

    Attributes:
        headers: of the slices, without pixels, in UTF-8, along the normal of their plane.
        labels: the segmentation with the series' own axes: ``[z, y, x]`` is slice (as ``headers``), row, column.
        image: the pixels on the same grid, ``float32``.
    """

    headers: tuple[Dataset, ...]
    labels: sitk.Image
    image: sitk.Image

    @property
    def first(self) -> Dataset:
        """The first slice's header: patient, study and series are the same in all."""
        return self.headers[0]


def read_source_series(folder: Path, labels: sitk.Image, uid: str | None = None) -> SourceSeries:
    """Find the series whose voxels are those of ``labels`` (LPS mm, axes in any order).

    Args:
        folder: holds DICOM files, of other series too.
        uid: Series Instance UID, when it is known.

    Raises:
        InputError: there is no such series or, without ``uid``, more than one; it is enhanced multi-frame, a slice is
            missing or unevenly spaced, or its grid is another one.
    """
    there = [one for one in find_series(folder) if uid in (None, one.uid)]
    found = [one for one in there if not one.multi_frame]
    if there and not found:
        raise InputError(
            f"{there[0]} is enhanced multi-frame MR, to which exported objects cannot refer yet; give the folder of "
            "the same series as classic slices with --series."
        )
    likely = [one for one in found if sorted((*one.size, len(one.slices))) == sorted(labels.GetSize())]
    if not found or (uid is None and not likely):
        raise InputError(
            f"{folder} holds no MR series {f'{uid} ' if uid else ''}of the segmentation's size "
            f"({' x '.join(map(str, labels.GetSize()))} voxels); give the folder of the series that was segmented."
        )
    fitting = [(one, image) for one in likely or found if _is_on_grid_of(image := read_series(one), labels)]
    if len(fitting) > 1:
        several = ", ".join(f"'{one.name}'" for one, _ in fitting)
        raise InputError(
            f"{folder} holds several series on the segmentation's grid ({several}); give a folder "
            "with only the one that was segmented."
        )
    for one, image in fitting:
        turned = oriented_like(labels, image)
        turned.CopyInformation(image)
        return SourceSeries(_headers(one, image), turned, image)
    names = ", ".join(f"'{one.name}'" for one in likely or found)
    raise InputError(
        f"The segmentation lies on another grid than the series {names} in {folder}; give the series that was "
        "segmented."
    )


def _is_on_grid_of(image: sitk.Image, labels: sitk.Image) -> bool:
    return same_grid(oriented_like(labels, image), image)


def read_moved_series(
    folder: Path, uid: str, part: str, labels: sitk.Image, to_series: sitk.Transform | None
) -> SourceSeries | None:
    """A series on another grid, with ``labels`` carried onto it: only to be looked at, not to be measured.

    ``None`` for one enhanced multi-frame image, to whose frames exported objects cannot refer yet.

    Args:
        part: see :class:`~GliomaSegLib.io.dicom.DicomSeries`.
        to_series: takes points of ``labels`` to points of the series (LPS mm); ``None`` when both lie in place.

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
    return SourceSeries(_headers(found[0], image), carried, image)


def _headers(series: DicomSeries, image: sitk.Image) -> tuple[Dataset, ...]:
    normal = np.reshape(image.GetDirection(), (3, 3))[:, 2]
    slices = sorted(series.slices, key=lambda one: float(np.dot(normal, one.position_mm)))
    headers = tuple(in_utf8(dcmread(one.path, stop_before_pixels=True)) for one in slices)
    if len({header.SOPInstanceUID for header in headers}) < len(headers):
        raise InputError(
            f"{series} has several slices with one SOP Instance UID, so that no object can refer to one of them; give "
            "the series with its own UIDs, from before it was anonymised."
        )
    for header in headers:
        if not header.get("SliceThickness"):  # a series need not state it, what is made from it must
            header.SliceThickness = f"{image.GetSpacing()[2]:.6g}"
        for keyword in _TYPE_2:
            if keyword not in header:
                setattr(header, keyword, "")
    return headers


def voxel_to_patient(labels: sitk.Image) -> NDArray[np.float64]:
    """``[4, 4]``: from (column, row, slice) to LPS mm, DICOM's patient coordinates."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(labels.GetDirection(), (3, 3)) * labels.GetSpacing()
    matrix[:3, 3] = labels.GetOrigin()
    return matrix
