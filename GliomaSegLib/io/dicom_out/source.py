"""The DICOM series that a segmentation belongs to: whose patient, study and frame of reference all objects take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import DicomSeries, find_series, read_series
from GliomaSegLib.preprocessing.grid import reorient, same_grid


@dataclass(frozen=True)
class SourceSeries:
    """A series of classic MR images.

    Attributes:
        headers: of the slices, without pixels, along the normal of their plane.
        labels: the segmentation with the series' own axes: ``[z, y, x]`` is slice (as ``headers``), row, column.
    """

    headers: tuple[Dataset, ...]
    labels: sitk.Image

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
        InputError: there is no such series, a slice is missing or unevenly spaced, or its grid is another one.
    """
    found = [one for one in find_series(folder) if uid in (None, one.uid) and not one.multi_frame]
    likely = [one for one in found if sorted((*one.size, len(one.slices))) == sorted(labels.GetSize())]
    if not found or (uid is None and not likely):
        raise InputError(
            f"{folder} holds no MR series {f'{uid} ' if uid else ''}of the segmentation's size "
            f"({' x '.join(map(str, labels.GetSize()))} voxels); give the folder of the series that was segmented."
        )
    for one in likely or found:
        image = read_series(one)
        turned = reorient(labels, image)
        if same_grid(turned, image):
            turned.CopyInformation(image)
            return SourceSeries(_headers(one, image), turned)
    names = ", ".join(f"'{one.name}'" for one in likely or found)
    raise InputError(
        f"The segmentation lies on another grid than the series {names} in {folder}; give the series that was "
        "segmented."
    )


def _headers(series: DicomSeries, image: sitk.Image) -> tuple[Dataset, ...]:
    normal = np.reshape(image.GetDirection(), (3, 3))[:, 2]
    slices = sorted(series.slices, key=lambda one: float(np.dot(normal, one.position_mm)))
    headers = tuple(dcmread(one.path, stop_before_pixels=True) for one in slices)
    for header in headers:
        if not header.get("SliceThickness"):  # a series need not state it, what is made from it must
            header.SliceThickness = f"{image.GetSpacing()[2]:.6g}"
    return headers


def voxel_to_patient(labels: sitk.Image) -> NDArray[np.float64]:
    """``[4, 4]``: from (column, row, slice) to LPS mm, DICOM's patient coordinates."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(labels.GetDirection(), (3, 3)) * labels.GetSpacing()
    matrix[:3, 3] = labels.GetOrigin()
    return matrix
