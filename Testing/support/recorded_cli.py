"""Stands for ``slicer.cli`` and ``slicer.modules.brainsfit``, which slicer-core does not have.

It behaves as a Slicer 5.8.1 was seen to, and as ``vtkSlicerCLIModuleLogic`` does it: volumes reach BRAINSFit as files
without their parent transforms; the matrix is still the identity at ``Completing``; at ``Completed`` the moving volume
has been put under the result; complaints about arguments come in the output text alone; ``Cancel()`` leaves the
transform as it was. What happens in another thread or by the event loop there is done here, step by step, by
:meth:`RecordedApplication.advance`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

# What BRAINSFit's description calls those of its parameters that may be of use, and of which type they are.
_PARAMETERS: dict[str, type | tuple[str, ...]] = {
    "fixedVolume": slicer.vtkMRMLScalarVolumeNode,
    "movingVolume": slicer.vtkMRMLScalarVolumeNode,
    "linearTransform": slicer.vtkMRMLLinearTransformNode,
    "initialTransform": slicer.vtkMRMLTransformNode,
    "useRigid": bool,
    "samplingPercentage": float,
    "initializeTransformMode": ("Off", "useMomentsAlign", "useCenterOfHeadAlign", "useGeometryAlign"),
}
_REQUIRED = ("fixedVolume", "movingVolume", "linearTransform")

# A point of the fixed image -> the same point of the moving image, LPS mm.
Finder = Callable[[sitk.Image, sitk.Image], sitk.Transform]


class RecordedApplication:
    """What :mod:`GliomaSegLib.scene.registration` uses of the module ``slicer``.

    Args:
        scene: where the CLI node is made.
        find: the registration that BRAINSFit would do.
        output_text, error_text: what BRAINSFit writes; with either of them it fails.
        starts: ``False``: the executable is missing, so that the node never leaves ``Idle``.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        find: Finder,
        *,
        output_text: str = "",
        error_text: str = "",
        starts: bool = True,
    ) -> None:
        self.cli = SimpleNamespace(createNode=self._create_node, run=self._run)
        self.modules = SimpleNamespace(brainsfit=SimpleNamespace(name="BRAINSFit"))
        self.parameters: dict[str, Any] = {}
        self.statuses: list[str] = []
        self._scene, self._find, self._starts = scene, find, starts
        self._output_text, self._error_text = output_text, error_text
        self._node: slicer.vtkMRMLCommandLineModuleNode | None = None
        self._found: sitk.Transform | None = None

    def advance(self) -> None:
        """The next thing that the application's processing thread or its event loop does."""
        node = self._node
        if node is None or not node.IsBusy():
            return
        if node.GetStatus() == node.Cancelling:
            self._set(node.Cancelled)
        elif node.GetStatus() == node.Scheduled:
            self._set(node.Running)
        elif node.GetStatus() == node.Running:
            self._work()
        else:
            self._import_result()

    def _create_node(self, module: Any, parameters: dict[str, Any]) -> slicer.vtkMRMLCommandLineModuleNode:
        assert module is self.modules.brainsfit
        assert not set(_REQUIRED) - set(parameters)
        for name, value in parameters.items():
            wanted = _PARAMETERS[name]
            assert value in wanted if isinstance(wanted, tuple) else isinstance(value, wanted), (name, value)
        self.parameters = dict(parameters)
        self._node = slicer.vtkMRMLCommandLineModuleNode()
        self._node.SetName("BRAINSFit")
        self._scene.AddNode(self._node)
        return self._node

    def _run(
        self, module: Any, node: slicer.vtkMRMLCommandLineModuleNode, wait_for_completion: bool, update_display: bool
    ) -> slicer.vtkMRMLCommandLineModuleNode:
        assert module is self.modules.brainsfit
        assert node is self._node
        assert not wait_for_completion, "this would freeze the application"
        assert not update_display, "this would change what the user's views show"
        if self._starts:
            self._set(node.Scheduled)
        else:
            node.SetErrorText(self._error_text, False)
        return node

    def _work(self) -> None:
        node = self._node
        node.SetOutputText(self._output_text, False)
        node.SetErrorText(self._error_text, False)
        if self._output_text or self._error_text:
            self._set(node.CompletedWithErrors)
            return
        self._found = self._find(image_of(self.parameters["fixedVolume"]), image_of(self.parameters["movingVolume"]))
        self._set(node.Completing)

    def _import_result(self) -> None:
        transform = self.parameters["linearTransform"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "linearTransform.tfm"
            sitk.WriteTransform(_affine(self._found), path)
            storage = slicer.vtkMRMLTransformStorageNode()
            storage.SetFileName(str(path))
            assert storage.ReadData(transform)
        self.parameters["movingVolume"].SetAndObserveTransformNodeID(transform.GetID())
        self._set(self._node.Completed)

    def _set(self, status: int) -> None:
        self._node.SetStatus(status)
        self.statuses.append(self._node.GetStatusString())


def image_of(node: slicer.vtkMRMLScalarVolumeNode) -> sitk.Image:
    """The volume as a file holds it: without its parent transforms."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nrrd"
        storage = slicer.vtkMRMLNRRDStorageNode()
        storage.SetFileName(str(path))
        storage.SetUseCompression(False)
        assert storage.WriteData(node)
        return sitk.ReadImage(path)


def _affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """A linear transform of any kind as a matrix about the origin."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(step)) - origin for step in np.eye(3).tolist()]
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(np.column_stack(columns).ravel().tolist())
    affine.SetTranslation(origin.tolist())
    return affine
