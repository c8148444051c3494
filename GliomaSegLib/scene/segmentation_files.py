"""Loads the segmentation of a folder of results as a node, and writes it back after an edit."""

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
from GliomaSegLib.scene.volumes import corners_mm, ijk_to_world

_SAME_PLACE_MM = 0.01


def read_result(result: Mapping[str, Any]) -> slicer.vtkMRMLSegmentationNode:
    """Read the segmentation of a result with names, colours and terminology, as a node that is in no scene yet.

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
    """Add the node of :func:`read_result` to the scene, in the position of its image.

    Args:
        reference: the volume on whose grid the result is; the node gets its parent transform and exactly its
            IJK-to-RAS matrix. Without it the node has the geometry of the file, in world coordinates.

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
    """Write edited labels into a folder of results, for the worker's request ``measure``. Touches no scene, so that
    another thread may run it.

    Args:
        labels: ``[k, j, i]``, see :func:`~GliomaSegLib.scene.segmentation.labels_of`.
        name: of the segmentation node, for errors.

    Returns:
        whether they differ from the file; if not, nothing is written.

    Raises:
        InputError: the folder has no segmentation of this grid, or it cannot be written.
    """
    import SimpleITK as sitk  # here: it takes a while to load, and only saving needs it

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
    """Refuse a file that does not have its recorded checksum: a truncated one would crash Slicer."""
    try:
        recorded = json.loads(manifest.read_text(encoding="utf-8"))["sha256"][path.name]
        sound = sha256_of(path) == recorded
    except (OSError, ValueError, KeyError):
        sound = False
    if not sound:
        raise InputError(f"The segmentation {path} is missing or not as it was written; segment the case again.")


def _read(path: Path, node: slicer.vtkMRMLSegmentationNode) -> None:
    """Read in a temporary scene: the reader adds display and storage nodes, and with the latter, saving the user's
    scene would overwrite the results."""
    aside, storage = slicer.vtkMRMLScene(), slicer.vtkMRMLSegmentationStorageNode()
    loaded = aside.AddNode(slicer.vtkMRMLSegmentationNode())
    storage.SetFileName(str(path))
    if not storage.ReadData(loaded):
        raise InputError(f"The segmentation {path} cannot be read; segment the case again.")
    node.SetAndObserveSegmentation(loaded.GetSegmentation())
    aside.RemoveNode(loaded)


def _move_onto(node: slicer.vtkMRMLSegmentationNode, reference: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Give the node, which is in world coordinates, the parent transform and exactly the matrix of ``reference``."""
    grid = grid_of(node)
    size = grid.GetDimensions()
    apart_mm = np.abs(corners_mm(matrix_of(grid), size) - corners_mm(ijk_to_world(reference), size)).max()
    if size != reference.GetImageData().GetDimensions() or apart_mm > _SAME_PLACE_MM:
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
