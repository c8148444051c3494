"""The brain around a tumour, as a translucent surface in the 3D views."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.results.layout import BRAIN
from GliomaSegLib.scene.keeping import copies_of, has_file
from GliomaSegLib.scene.segmentation import image_data, labels_of
from GliomaSegLib.scene.threshold import read_volume

_OPACITY, _COLOUR = 0.15, (0.90, 0.82, 0.74)
_CELL_MM = 2.5
"""The mask is averaged to cells of about this size first: the surface is smooth, and made within 0.2 s."""


def has_brain(segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether a result has the mask of the brain among its files."""
    return has_file(segmentation, BRAIN)


def show_brain(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLModelNode:
    """A model node of a result's brain in its position in the scene; it is not saved with the scene.

    Raises:
        InputError: the mask is gone or damaged.
    """
    with copies_of(segmentation, BRAIN) as folder:
        mask = slicer.util.arrayFromVolume(read_volume(folder / BRAIN)) > 0
    if not mask.any():
        raise InputError(f"The brain mask of '{segmentation.GetName()}' is empty; segment the case again.")
    model = segmentation.GetScene().AddNewNodeByClass("vtkMRMLModelNode", f"{segmentation.GetName()} brain")
    model.SetSaveWithScene(False)
    model.SetAndObservePolyData(_surface(mask, labels_of(segmentation)[1]))  # the mask is on the grid of the labels
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    display.SetColor(*_COLOUR)
    display.SetOpacity(_OPACITY)
    display.SetVisibility2D(False)
    return model


def _surface(mask: NDArray[np.bool_], ijk_to_world: NDArray[np.float64]) -> vtk.vtkPolyData:
    """The surface of a mask ``[k, j, i]`` in RAS mm."""
    spacing = np.linalg.norm(ijk_to_world[:3, :3], axis=0)
    cell = np.maximum(1, np.round(_CELL_MM / spacing)).astype(int)
    k, j, i = cell[::-1]
    sizes = np.array(mask.shape)
    padded = np.pad(mask, [(step, step + -size % step) for step, size in zip((k, j, i), sizes, strict=True)])
    counts = [size // step for step, size in zip((k, j, i), padded.shape, strict=True)]
    share = padded.reshape(counts[0], k, counts[1], j, counts[2], i).mean(axis=(1, 3, 5), dtype=np.float32)
    image = image_data(share)
    image.SetSpacing(*map(float, cell))
    image.SetOrigin(*((cell - 1) / 2 - cell))  # the middle of the first cell, which is padding
    contour, smooth = vtk.vtkFlyingEdges3D(), vtk.vtkWindowedSincPolyDataFilter()
    contour.SetInputData(image)
    contour.SetValue(0, 0.5)
    contour.ComputeScalarsOff()  # Slicer would look for their colour table and print an error
    smooth.SetInputConnection(contour.GetOutputPort())
    smooth.SetNumberOfIterations(15)
    smooth.SetPassBand(0.1)
    smooth.NormalizeCoordinatesOn()
    place, moved, normals = vtk.vtkTransform(), vtk.vtkTransformPolyDataFilter(), vtk.vtkPolyDataNormals()
    place.SetMatrix(slicer.util.vtkMatrixFromArray(ijk_to_world))
    moved.SetTransform(place)
    moved.SetInputConnection(smooth.GetOutputPort())
    normals.SetInputConnection(moved.GetOutputPort())
    normals.AutoOrientNormalsOn()
    normals.SplittingOff()
    normals.Update()
    return normals.GetOutput()
