"""Registration in the application with BRAINSFit, whose transform stays in the scene for the user to see and correct.

It is optional. :func:`default_registrar` gives ``None`` where the application has no BRAINSFit, and then the worker
registers with SimpleITK (:mod:`GliomaSegLib.preprocessing.registration`). Either way the worker checks every transform
by mutual information and mirror contrast: BRAINSFit's status is ``Completed`` even when it ends 16 mm from the
optimum.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import slicer

from GliomaSegLib.scene.volumes import check_volume, ijk_to_world

# With BRAINSFit's default of 0.002, registrations of thick slices were up to 16 mm wrong; with 0.005, two of three.
SAMPLED_SHARE = 0.02

_CANCEL_SECONDS = 0.1  # it usually takes half of this; the main thread must not be blocked longer
_REASON_CHARACTERS = 300


def available(application: Any) -> bool:
    """Whether the application (the module ``slicer``) has BRAINSFit: not in slicer-core, nor in every custom build."""
    return hasattr(application, "cli") and hasattr(getattr(application, "modules", None), "brainsfit")


def default_registrar(application: Any = slicer) -> BrainsFit | None:
    """BRAINSFit where the application has it; ``None`` leaves the registration to the worker."""
    return BrainsFit(application.cli, application.modules.brainsfit) if available(application) else None


@dataclass(frozen=True)
class BrainsFit:
    """Rigid registration with BRAINSFit, started from the centres of mass.

    The application runs it in a process of its own and needs its event loop to fetch the result: events must be
    processed between two calls of ``poll``. It reports no progress; 5 to 13 s for a clinical pair.

    Attributes:
        cli: the application's ``slicer.cli``.
        module: its ``slicer.modules.brainsfit``.
    """

    cli: Any
    module: Any

    def start(
        self,
        fixed_node: slicer.vtkMRMLScalarVolumeNode,
        moving_node: slicer.vtkMRMLScalarVolumeNode,
        transform_node: slicer.vtkMRMLLinearTransformNode,
    ) -> BrainsFitRun:
        """Start to register ``moving_node`` to ``fixed_node`` in world coordinates, with their parent transforms.

        When it ends without an error, ``transform_node`` holds the rigid movement, in the world, of the moving volume
        onto the fixed one (RAS mm). :mod:`GliomaSegLib.scene.transforms` puts it above the volume and writes the ITK
        file for the worker (reference to moving, LPS mm). The parent transforms of the volumes do not change.

        Raises:
            InputError: a volume is empty or no grey-value volume, or lies under a transform that is not rigid.
        """
        temporary: list[slicer.vtkMRMLNode] = []
        try:
            parameters = {
                "fixedVolume": _in_world(fixed_node, temporary),
                "movingVolume": _in_world(moving_node, temporary),
                "linearTransform": transform_node,
                "useRigid": True,
                "initializeTransformMode": "useMomentsAlign",
                "samplingPercentage": SAMPLED_SHARE,
            }
            node = self.cli.createNode(self.module, parameters)
            temporary.append(node)
            run = BrainsFitRun(node, fixed_node, moving_node, transform_node, temporary)
            self.cli.run(self.module, node, wait_for_completion=False, update_display=False)
        except BaseException:
            _remove(temporary)
            raise
        return run


@dataclass
class BrainsFitRun:
    """A registration that is running. Its status is polled, so that nothing happens in an observer's callback.

    Attributes:
        error: a sentence why there is no result; ``None`` while it runs and when it succeeded.
    """

    node: slicer.vtkMRMLCommandLineModuleNode
    fixed_node: slicer.vtkMRMLScalarVolumeNode
    moving_node: slicer.vtkMRMLScalarVolumeNode
    transform_node: slicer.vtkMRMLLinearTransformNode
    temporary: list[slicer.vtkMRMLNode]
    error: str | None = None
    _ended: bool = False
    _parent_before: str | None = field(init=False)

    def __post_init__(self) -> None:
        self._parent_before = self.moving_node.GetTransformNodeID()

    def poll(self) -> bool:
        """Whether it has ended; never blocks. To be called from the main thread until it says so."""
        if self._ended:
            return True
        if self.error is None and self._vanished():
            self._stop(f"The registration of '{self.moving_node.GetName()}' stopped: {self._vanished()} was deleted.")
        if not self.node.IsBusy():
            self._end()
        return self._ended

    def cancel(self) -> None:
        """Stop it; :meth:`poll` returns true when it has ended and its temporary nodes are removed."""
        if self._ended:
            return
        self._stop(f"The registration of '{self.moving_node.GetName()}' was cancelled.")
        end = time.monotonic() + _CANCEL_SECONDS
        while not self.poll() and time.monotonic() < end:
            time.sleep(0.01)

    def _stop(self, why: str) -> None:
        self.error = self.error or why
        self.node.Cancel()

    def _vanished(self) -> str | None:
        """The name of a node that the result needs and that is no longer in the scene."""
        needed = self.fixed_node, self.moving_node, self.transform_node, self.node
        return next((f"'{node.GetName()}'" for node in needed if node.GetScene() is None), None)

    def _end(self) -> None:
        """Clean up; not before the end, as the application reads the volumes from another thread."""
        self._ended = True
        if self.error is None and self.node.GetStatus() != self.node.Completed:
            self.error = f"'{self.moving_node.GetName()}' could not be registered: {_reason(self.node)}"
        _remove(self.temporary)
        # The application has put the volume under the new transform instead of its own parent.
        if self.moving_node.GetTransformNodeID() == self.transform_node.GetID():
            self.moving_node.SetAndObserveTransformNodeID(self._parent_before)


def _in_world(
    node: slicer.vtkMRMLScalarVolumeNode, temporary: list[slicer.vtkMRMLNode]
) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume itself, or, as BRAINSFit ignores parent transforms, a copy that shares the voxels and has the
    transforms in its IJK-to-RAS matrix."""
    check_volume(node)
    place = ijk_to_world(node)
    if node.GetParentTransformNode() is None:
        return node
    copy = slicer.vtkMRMLScalarVolumeNode()
    copy.SetName(f"{node.GetName()} (for registration)")
    copy.SetHideFromEditors(True)
    copy.SetSaveWithScene(False)
    copy.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(place))
    copy.SetAndObserveImageData(node.GetImageData())
    temporary.append(node.GetScene().AddNode(copy))
    return copy


def _remove(nodes: list[slicer.vtkMRMLNode]) -> None:
    for node in nodes:
        if node.GetScene() is not None:  # the scene may have been closed meanwhile
            node.GetScene().RemoveNode(node)
    nodes.clear()


def _reason(node: slicer.vtkMRMLCommandLineModuleNode) -> str:
    """BRAINSFit's error message in one line; it prints errors in its arguments to the standard output."""
    if node.GetStatus() == node.Cancelled:
        return "it was cancelled."
    lines = [line.strip() for text in (node.GetErrorText(), node.GetOutputText()) for line in text.splitlines()]
    written = [line for line in lines if line]
    errors = [line for line in written if "error" in line.lower() or "exception" in line.lower()]
    return f"BRAINSFit says '{(errors or written[-1:] or ['nothing'])[0][:_REASON_CHARACTERS]}'."
