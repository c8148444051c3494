"""The segmentation in a folder of results: loaded as a node, and written back after an edit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.io.renaming import rename
from GliomaSegLib.labels import Label
from GliomaSegLib.results.layout import SLICER_SEGMENTATION
from GliomaSegLib.scene.attributes import GRID, LABEL_TAG, OUTPUT
from GliomaSegLib.scene.segmentation import REFERENCE_GEOMETRY, grid_of, layers_of, matrix_of, segments_of
from GliomaSegLib.scene.visibility import EDEMA_OPACITY_3D, segments_in
from GliomaSegLib.scene.volumes import ijk_to_world

_SAME_PLACE_MM = 0.01


def read_result(result: Mapping[str, Any]) -> slicer.vtkMRMLSegmentationNode:
    """The segmentation of a result with names, colours and terminology, as a node that is in no scene yet.

    Args:
        result: :class:`~GliomaSegLib.results.job_result.JobResult` as JSON.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(result["files"]["slicer_segmentation"])
    _check_sound(path, Path(result["files"]["manifest"]))
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(f"{result['case_id']} segmentation")
    _read(path, node)
    for segment in segments_of(node):
        segment.SetTag(LABEL_TAG, str(segment.GetLabelValue()))  # the worker's file has the internal values
    node.SetAttribute(OUTPUT, str(result["output"]))
    return node


def show_result(
    scene: slicer.vtkMRMLScene,
    node: slicer.vtkMRMLSegmentationNode,
    result: Mapping[str, Any],
    reference: slicer.vtkMRMLScalarVolumeNode | None,
) -> slicer.vtkMRMLSegmentationNode:
    """Put what :func:`read_result` gave into the scene, in its place.

    Args:
        reference: the volume on whose grid the result is; the node gets the same parent transform, and its grid is
            exactly the volume's. Without it the node stands in the world, on the grid of the file.

    Raises:
        InputError: the result has another grid than ``reference``; no node is left.
    """
    node = scene.AddNode(node)
    try:
        if reference is not None:
            _move_onto(node, reference, Path(result["files"]["slicer_segmentation"]))
        node.SetAttribute(GRID, node.GetSegmentation().GetConversionParameter(REFERENCE_GEOMETRY))
        node.CreateDefaultDisplayNodes()
        for identifier in segments_in(node, Label.SNFH.name):
            node.GetDisplayNode().SetSegmentOpacity3D(identifier, EDEMA_OPACITY_3D)
    except BaseException:
        scene.RemoveNode(node)
        raise
    return node


def save_labels(labels: NDArray[np.uint8], name: str, output: Path) -> bool:
    """Write edited labels into a folder of results, where the worker's ``measure`` finds them. It touches no scene, so
    that another thread may do it.

    Args:
        labels: of a segmentation, see :func:`labels_of`.
        name: what the segmentation is called.

    Returns:
        whether they differ from what was there; if not, nothing is written.

    Raises:
        InputError: the folder has no segmentation of this grid, or it cannot be written.
    """
    import SimpleITK as sitk  # here: not before there is something to save, it takes a while to load

    from GliomaSegLib.io.segnrrd import read_segmentation, write_segmentation

    path = Path(output) / SLICER_SEGMENTATION
    before = read_segmentation(path)
    if before.GetSize() != labels.shape[::-1]:
        raise InputError(f"The segmentation '{name}' has another grid than {path}; segment the case again.")
    if np.array_equal(sitk.GetArrayViewFromImage(before), labels):
        return False
    edited = sitk.GetImageFromArray(labels)
    edited.CopyInformation(before)
    partial = path.with_name(f".partial-{path.name}")
    try:
        write_segmentation(edited, partial)
        rename(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _check_sound(path: Path, manifest: Path) -> None:
    """Slicer's reader takes the whole application down when a file is cut short, so it gets only what was written."""
    try:
        recorded = json.loads(manifest.read_text(encoding="utf-8"))["sha256"][path.name]
        sound = sha256_of(path) == recorded
    except (OSError, ValueError, KeyError):
        sound = False
    if not sound:
        raise InputError(f"The segmentation {path} is missing or not as it was written; segment the case again.")


def _read(path: Path, node: slicer.vtkMRMLSegmentationNode) -> None:
    """In a scene of its own: the reader makes a display node, and saving the user's scene is not to write over the
    results."""
    aside, storage = slicer.vtkMRMLScene(), slicer.vtkMRMLSegmentationStorageNode()
    loaded = aside.AddNode(slicer.vtkMRMLSegmentationNode())
    storage.SetFileName(str(path))
    if not storage.ReadData(loaded):
        raise InputError(f"The segmentation {path} cannot be read; segment the case again.")
    node.SetAndObserveSegmentation(loaded.GetSegmentation())
    aside.RemoveNode(loaded)


def _move_onto(node: slicer.vtkMRMLSegmentationNode, reference: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """From the world's coordinates onto the voxels of ``reference``, with its matrix to the last digit."""
    grid = grid_of(node)
    apart_mm = np.abs(_corners(matrix_of(grid), grid) - _corners(ijk_to_world(reference), grid)).max()
    if grid.GetDimensions() != reference.GetImageData().GetDimensions() or apart_mm > _SAME_PLACE_MM:
        raise InputError(
            f"The volume '{reference.GetName()}' has another grid or place than {path}, which was made from it; it was "
            "changed meanwhile: segment the case again."
        )
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    matrix = vtk.vtkMatrix4x4()
    reference.GetIJKToRASMatrix(matrix)
    for layer in layers_of(node):
        layer.SetImageToWorldMatrix(matrix)
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)


def _corners(matrix: NDArray[np.float64], grid: slicer.vtkOrientedImageData) -> NDArray[np.float64]:
    corners = np.indices((2, 2, 2)).reshape(3, 8).T * (np.array(grid.GetDimensions()) - 1)
    return corners @ matrix[:3, :3].T + matrix[:3, 3]
