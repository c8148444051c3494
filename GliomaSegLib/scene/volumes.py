"""Checks volume nodes and exports them for the worker: unchanged voxels, in their position in the scene."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.scene.hierarchy import patient_of
from GliomaSegLib.study.better_volume import VolumeShape

# Largest deviation of AᵀA from the identity that rounding in a file explains; as in io.images.
_NOT_ORTHONORMAL = 2e-3

_NRRD_TYPES = {"float32": "float", "float64": "double"}


def exporting(node: slicer.vtkMRMLScalarVolumeNode, path: Path) -> Callable[[], None]:
    """A function that writes a volume as it is now to ``path`` (``.nrrd``, compressed). It touches no scene, so that
    another thread may call it.

    Voxels and their type are unchanged; rigid parent transforms go into the geometry, nothing is resampled.

    Raises:
        InputError: see :func:`check_volume` and :func:`ijk_to_world`; when called, see :func:`write_voxels`.
    """
    check_volume(node)
    return partial(write_voxels, slicer.util.arrayFromVolume(node).copy(), ijk_to_world(node), path)


def write_voxels(voxels: NDArray[np.generic], matrix: NDArray[np.float64], path: Path) -> None:
    """Write an array ``[k, j, i]`` to ``path`` (``.nrrd``, compressed).

    Args:
        matrix: 4 x 4, from (i, j, k) to RAS mm.

    Raises:
        InputError: the file cannot be written.
    """
    # Not with Slicer's writer, which does not notice when the disk runs full.
    lps = np.diag([-1, -1, 1]) @ matrix[:3]
    origin, *directions = (f"({','.join(map(repr, map(float, lps[:, place])))})" for place in (3, 0, 1, 2))
    header = (
        f"NRRD0004\ntype: {_NRRD_TYPES.get(voxels.dtype.name, voxels.dtype.name)}\ndimension: 3\n"
        f"space: left-posterior-superior\nsizes: {' '.join(map(str, reversed(voxels.shape)))}\n"
        f"space directions: {' '.join(directions)}\nspace origin: {origin}\n"
        f"endian: {sys.byteorder}\nencoding: gzip\n\n"
    )
    try:
        with path.open("wb") as file:
            file.write(header.encode("ascii"))
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as compressed:
                compressed.write(np.ascontiguousarray(voxels).data)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror}); check that the folder is writable and the disk has space."
        ) from error


def check_volume(node: slicer.vtkMRMLVolumeNode) -> None:
    """Refuse a node that cannot be segmented.

    Raises:
        InputError: it is no scalar volume of at least two slices, or holds NaN, infinity or the same value everywhere.
    """
    name = f"The volume '{node.GetName()}'"
    if not isinstance(node, slicer.vtkMRMLScalarVolumeNode) or isinstance(node, slicer.vtkMRMLLabelMapVolumeNode):
        raise InputError(f"{name} is no volume of grey values; choose an MR image.")
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or min(image.GetDimensions()) < 1:
        raise InputError(f"{name} is empty: it holds no voxels; load the image again or choose another volume.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(f"{name} has several values per voxel (colour or vectors); choose an MR image.")
    if min(image.GetDimensions()) < 2:
        raise InputError(f"{name} is a single slice; choose the whole volume.")
    voxels = slicer.util.arrayFromVolume(node)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise InputError(f"{name} holds voxels that are NaN or infinite; export it again from where it comes.")
    if voxels.min() == voxels.max():
        raise InputError(
            f"{name} is empty: every voxel is {voxels.flat[0]:g}; load the image again or choose another volume."
        )


def ijk_to_world(node: slicer.vtkMRMLVolumeNode) -> NDArray[np.float64]:
    """4 x 4 matrix from voxel indices (i, j, k) to RAS mm of the world, parent transforms included.

    Raises:
        InputError: a parent transform is not rigid, or the volume's own axes are sheared.
    """
    own = own_matrix(node)
    axes = own[:3, :3] / np.linalg.norm(own[:3, :3], axis=0)
    if not _is_orthonormal(axes):
        raise InputError(
            f"The volume '{node.GetName()}' has sheared axes, as from a tilted gantry, so distances in it are not what "
            "they seem; resample it to a rectangular grid first."
        )
    return parent_to_world(node) @ own


def parent_to_world(node: slicer.vtkMRMLTransformableNode) -> NDArray[np.float64]:
    """4 x 4 matrix (RAS mm) of all transforms above a node; the identity when there is none.

    Raises:
        InputError: they are not rigid or mirror the node, so that volumes in mL or sides would be wrong.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    name = f"'{node.GetName()}' is under the transform '{parent.GetName()}'"
    if not parent.IsTransformToWorldLinear():
        raise InputError(f"{name}, which is not linear; take it out of the transform, or harden a copy and use that.")
    matrix = slicer.util.arrayFromTransformMatrix(parent, toWorld=True)
    if not _is_orthonormal(matrix[:3, :3]):
        raise InputError(
            f"{name}, which is not rigid: it scales or shears, so that volumes in mL would not be the patient's; take "
            "it out of the transform or use a rigid one."
        )
    if np.linalg.det(matrix[:3, :3]) < 0:
        raise InputError(f"{name}, which mirrors it, so that left and right are swapped; take it out of the transform.")
    return matrix


def check_one_patient(volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode]) -> None:
    """Refuse volumes that cannot be of one patient.

    Raises:
        InputError: a volume was chosen twice, or two of them stand below different patients in the subject hierarchy,
            or their fields of view do not meet.
    """
    for (first, one), (second, other) in combinations(volumes.items(), 2):
        names = f"'{one.GetName()}' ({first.title}) and '{other.GetName()}' ({second.title})"
        if one is other:
            raise InputError(f"'{one.GetName()}' was chosen for both {first.title} and {second.title}; choose one.")
        patient, another = patient_of(one), patient_of(other)
        if patient and another and patient != another:
            raise InputError(
                f"{names} belong to different patients ({patient[1]} and {another[1]}); choose volumes of one."
            )
        gap_mm = _gap_mm(one, other)
        if gap_mm > 0:
            raise InputError(
                f"{names} lie {gap_mm:.0f} mm apart, so they seem to be of different patients; choose others, or "
                "centre both (Volumes, Volume Information, Center Volume) if they are of one."
            )


def shape_of(node: slicer.vtkMRMLVolumeNode) -> VolumeShape:
    """Extent, voxel size (mm) and slice plane of a volume, for the choice between two of one modality."""
    from GliomaSegLib.study.identification import contrast_given, is_reformat  # slow to import

    axes = own_matrix(node)[:3, :3]
    spacing_mm = tuple(float(mm) for mm in np.linalg.norm(axes, axis=0))
    image = node.GetImageData()
    size = image.GetDimensions() if image is not None else (0, 0, 0)
    across = int(np.abs(axes[:, 2]).argmax())  # the RAS axis closest to the slice normal
    return VolumeShape(
        extent_mm=tuple(count * mm for count, mm in zip(size, spacing_mm, strict=True)),
        reformatted=is_reformat(node.GetName()),
        spacing_mm=spacing_mm,
        plane=("sagittal", "coronal", "axial")[across],
        after_contrast=contrast_given(node.GetName()),
    )


def own_matrix(node: slicer.vtkMRMLVolumeNode) -> NDArray[np.float64]:
    """4 x 4 matrix from voxel indices (i, j, k) to RAS mm, without parent transforms."""
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _is_orthonormal(axes: NDArray[np.float64]) -> bool:
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= _NOT_ORTHONORMAL)


def _gap_mm(one: slicer.vtkMRMLVolumeNode, other: slicer.vtkMRMLVolumeNode) -> float:
    """Distance between the RAS-aligned boxes around two fields of view; 0 when they overlap."""
    (low, high), (lower, higher) = _box(one), _box(other)
    return float(np.linalg.norm(np.maximum(0, np.maximum(lower - high, low - higher))))


def _box(node: slicer.vtkMRMLVolumeNode) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    corners = corners_mm(ijk_to_world(node), node.GetImageData().GetDimensions())
    return corners.min(axis=0), corners.max(axis=0)


def corners_mm(matrix: NDArray[np.float64], size: Sequence[int]) -> NDArray[np.float64]:
    """The corners ``[8, 3]`` of the field of view of a grid, from its 4 x 4 matrix and its size (i, j, k)."""
    corners = np.indices((2, 2, 2)).reshape(3, 8).T * np.array(size) - 0.5
    return corners @ matrix[:3, :3].T + matrix[:3, 3]
