"""The slice and 3D views: the image of a result, the point that they show, and layouts of linked views."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

from GliomaSegLib.scene.views import VIEW_PREFIX, is_shown


def jump_to(ras_mm: tuple[float, float, float]) -> None:
    """Show the slices through a point in all slice views; what they show of the head around it stays as it is."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras_mm, slicer.vtkMRMLSliceNode.OffsetJumpSlice)


def cursor_ras_mm() -> tuple[float, float, float] | None:
    """The point in a slice view under the mouse; ``None`` when it is over none."""
    crosshair, point = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode"), [0.0, 0.0, 0.0]
    over_a_view = crosshair is not None and crosshair.GetCursorPositionRAS(point)
    return tuple(point) if over_a_view else None


def centre_3d() -> None:
    """Turn the 3D view about the middle of what it shows, once that has been drawn."""

    def centre() -> None:
        widget = slicer.app.layoutManager().threeDWidget(0)
        if widget is not None:  # there is none while no layout has had one
            widget.threeDView().resetFocalPoint()

    qt.QTimer.singleShot(0, centre)


class LinkedLayout:
    """Switches to a layout of linked views, and back to the one that was there before."""

    def __init__(self) -> None:
        self._before: int | None = None

    def show(
        self,
        switch: Callable[[slicer.vtkMRMLLayoutNode], None],
        volume: slicer.vtkMRMLScalarVolumeNode | None,
        ras_mm: tuple[float, float, float] | None,
    ) -> None:
        """Let ``switch`` change the layout; all of its views then show what ``volume`` covers, and a point."""
        if not is_shown(_layout()):
            self._before = _layout().GetViewArrangement()
        switch(_layout())
        qt.QTimer.singleShot(0, lambda: _centre(volume, ras_mm))  # the views have got their sizes then

    def leave(self) -> None:
        """Back to the layout before, unless the user has chosen another one meanwhile."""
        if self._before is not None and is_shown(_layout()):
            _layout().SetViewArrangement(self._before)


def _centre(volume: slicer.vtkMRMLScalarVolumeNode | None, ras_mm: tuple[float, float, float] | None) -> None:
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames() if volume is not None else ():
        if name.startswith(VIEW_PREFIX):
            logic = manager.sliceWidget(name).sliceLogic()
            logic.FitSliceToVolume(volume, *logic.GetSliceNode().GetDimensions()[:2])
    if ras_mm is not None:
        jump_to(ras_mm)


def _layout() -> slicer.vtkMRMLLayoutNode:
    return slicer.app.layoutManager().layoutLogic().GetLayoutNode()
