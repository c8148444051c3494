"""A 3D Slicer scene in plain Python (slicer-core), as far as the tests of :mod:`GliomaSegLib.scene` need one."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from vtk.util.numpy_support import numpy_to_vtk

from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text

ROOT = Path(__file__).parents[2]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# Standalone logics register their nodes' classes in the scene, so that it can be read again.
_LOGICS = ("vtkSlicerSubjectHierarchyModuleLogic", "vtkSlicerSegmentationsModuleLogic", "vtkSlicerVolumesLogic")

# The real worker in a process of its own, with the toy model in its zoo.
_TOY_WORKER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from GliomaSegLib.cli import main as cli
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card_json import card_from
from GliomaSegLib.zoo.loaders import FAMILIES, Family

card = card_from(json.loads(Path(sys.argv[2]).read_text()))
catalogue.all_cards = lambda: {card.id: card}
FAMILIES["toy"] = Family("Testing.support.toy")
if len(sys.argv) > 3:
    exec(sys.argv[3])
sys.exit(cli.main(["worker", "-"]))
"""


class SceneHost:
    """A scene with what the application puts around it. Close it, or VTK complains at the end."""

    def __init__(self) -> None:
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
        self.scene = slicer.vtkMRMLScene()
        self._cache = tempfile.TemporaryDirectory(prefix="scene-")  # where bundles are unpacked
        cache, reader = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(self._cache.name)
        reader.SetCacheManager(cache)
        self.scene.SetDataIOManager(reader)
        self._logics = [getattr(slicer, name)() for name in _LOGICS]
        for logic in self._logics:
            logic.SetMRMLScene(self.scene)
        for kind in (slicer.vtkMRMLTableNode, slicer.vtkMRMLTableStorageNode, slicer.vtkMRMLTransformStorageNode):
            self.scene.RegisterNodeClass(kind())

    def close(self) -> None:
        """Empty the scene and let go of it."""
        for logic in self._logics:
            logic.SetMRMLScene(None)
        self.scene.Clear(True)
        self._cache.cleanup()

    def names(self) -> list[str]:
        """Class and name of every node that a user would see, sorted."""
        kinds = ("Volume", "Segmentation", "Table", "Transform")
        nodes = [self.scene.GetNthNode(index) for index in range(self.scene.GetNumberOfNodes())]
        return sorted(
            f"{node.GetClassName().removeprefix('vtkMRML')} {node.GetName()}"
            for node in nodes
            if node.GetClassName().removesuffix("Node").endswith(kinds)
        )

    def add_volume(self, image: sitk.Image, name: str) -> slicer.vtkMRMLScalarVolumeNode:
        """A volume node with the voxels and the geometry of an image."""
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(image))
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras(image)))
        return node

    def add_transform(
        self, matrix: NDArray[np.float64], *nodes: slicer.vtkMRMLTransformableNode, name: str = "moved"
    ) -> slicer.vtkMRMLLinearTransformNode:
        """A linear transform node above ``nodes``."""
        transform = self.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        slicer.util.updateTransformMatrixFromArray(transform, matrix)
        for node in nodes:
            node.SetAndObserveTransformNodeID(transform.GetID())
        return transform

    def saved_and_reloaded(self, path: Path) -> None:
        """Write the scene to a bundle (``.mrb``), empty it and read the bundle."""
        assert self.scene.WriteToMRB(str(path), None)
        self.scene.Clear(False)
        assert self.scene.ReadFromMRB(str(path), True)


def ijk_to_ras(image: sitk.Image) -> NDArray[np.float64]:
    """4 x 4 matrix from voxel indices to RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return LPS @ matrix


def rigid(degrees: tuple[float, float, float], mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """4 x 4 matrix that rotates about x, y, z and then shifts."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = mm
    return matrix


# No two axes and no two directions alike.
MOVED = rigid((10, -20, 30), (5, -40, 12))


def grid_of(volume: slicer.vtkMRMLVolumeNode) -> vtk.vtkMatrix4x4:
    """A volume node's matrix from voxel indices to RAS mm, without its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def mask_on(volume: slicer.vtkMRMLVolumeNode, mask: NDArray[np.generic]) -> slicer.vtkOrientedImageData:
    """A mask ``[k, j, i]`` on a volume's voxels, as segments are kept."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*reversed(mask.shape))
    image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel().astype(np.uint8), deep=True))
    image.SetImageToWorldMatrix(grid_of(volume))
    return image


def toy_worker(card: Card, folder: Path, first: str = "") -> list[str]:
    """The command of the real worker with the toy model; the statement ``first`` is executed before it starts."""
    (folder / "card.json").write_text(card_text(card))
    return [sys.executable, "-c", _TOY_WORKER, str(ROOT), str(folder / "card.json"), *([first] if first else [])]
