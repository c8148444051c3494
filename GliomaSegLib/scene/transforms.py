"""Rigid transforms between ITK files and the scene.

A file holds the result of a registration: points of the reference to points of the moving image, LPS mm. A linear
transform node above the moving volume holds the inverse in RAS mm: inv(LPS @ M @ LPS), moving to reference.
Slicer's own storage node does this conversion; here a matrix always means the node's, 4 x 4, moving to reference, RAS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.scene.volumes import parent_to_world


def read_transform(path: Path) -> NDArray[np.float64]:
    """The matrix (moving to reference, RAS mm) of an ITK transform file.

    Raises:
        InputError: the file cannot be read or holds no linear transform.
    """
    node, storage = slicer.vtkMRMLLinearTransformNode(), slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    if not Path(path).is_file() or not storage.ReadData(node):
        raise InputError(f"The transform {path} is not there or no linear ITK transform; give another file.")
    return slicer.util.arrayFromTransformMatrix(node)


def write_transform(matrix: NDArray[np.float64], path: Path) -> None:
    """Write a matrix (moving to reference, RAS mm) as an ITK transform file.

    Raises:
        InputError: the file cannot be written.
    """
    node, storage = slicer.vtkMRMLLinearTransformNode(), slicer.vtkMRMLTransformStorageNode()
    slicer.util.updateTransformMatrixFromArray(node, matrix)
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise InputError(f"The transform {path} could not be written; check that the folder is writable.")


def insert_above(
    volume: slicer.vtkMRMLVolumeNode, node: slicer.vtkMRMLLinearTransformNode, matrix: NDArray[np.float64]
) -> None:
    """Put ``node`` right above ``volume`` so that the volume moves by ``matrix`` in the world (RAS mm).

    The transforms that were above the volume stay above the node: W @ N = M @ W, with W those and N the node's own.

    Raises:
        InputError: a transform above the volume is not rigid.
    """
    above = parent_to_world(volume)
    slicer.util.updateTransformMatrixFromArray(node, np.linalg.inv(above) @ matrix @ above)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    volume.SetAndObserveTransformNodeID(node.GetID())
