"""Pictures of the scene without its application's windows: slices of a volume with the segmentation over them.

MRML's own slice logic cuts the volume and its own displayable manager draws the segments, both as in the application's
slice views; the window is off-screen. As a radiologist is used to it: axial and coronal slices show the patient's right
on the left, sagittal ones anterior on the left.

The nodes are shown in a scene of their own. A slice node in the application's scene would open a view there, and would
show every other segmentation too.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.scene.volumes import check_volume

# The head is what is brighter than this share of nearly the brightest.
_HEAD_SHARE = 0.1
_BRIGHT_PERCENTILE = 99.5

# Height of the patient's directions, and what is left free around the head for them, as shares of a view's height.
_LETTER_SHARE = 0.05
_MARGIN_SHARE = 0.075
_LETTER_GREY = 0.8
_SEPARATOR = 96  # grey line between two views

_PROBE = """
import vtkmodules.vtkRenderingOpenGL2
from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow
window = vtkRenderWindow()
window.SetOffScreenRendering(1)
window.AddRenderer(vtkRenderer())
window.Render()
"""
_PROBE_SECONDS = 60


@dataclass(frozen=True)
class _Plane:
    """How a view lies in the patient: the directions (RAS) of the picture's right and top, and what its edges show."""

    name: str
    right: tuple[int, int, int]
    top: tuple[int, int, int]
    marks: str  # what lies to the left, right, top and bottom


_PLANES = (
    _Plane("axial", (-1, 0, 0), (0, 1, 0), "RLAP"),
    _Plane("coronal", (-1, 0, 0), (0, 0, 1), "RLSI"),
    _Plane("sagittal", (0, -1, 0), (0, 0, 1), "APSI"),
)


@dataclass(frozen=True)
class Picture:
    """A picture: ``pixels`` are RGB, ``uint8 [row, column, 3]``, the first row at the top."""

    pixels: NDArray[np.uint8]

    def png(self) -> bytes:
        """The picture as the content of a PNG file."""
        writer = vtk.vtkPNGWriter()
        writer.WriteToMemoryOn()
        writer.SetInputData(_image_data(self.pixels))
        writer.Write()
        return vtk_to_numpy(writer.GetResult()).tobytes()

    def write(self, path: Path) -> None:
        """Write a PNG file; one of the same name is replaced.

        Raises:
            InputError: the file cannot be written.
        """
        try:
            path.write_bytes(self.png())
        except OSError as error:
            raise InputError(
                f"The picture {path} cannot be written ({error.strerror}); name a file in a folder where you may write."
            ) from error


@cache
def can_render() -> bool:
    """Whether this computer draws off-screen. Asked of another process: without OpenGL, VTK ends the one that tries."""
    python = shutil.which("PythonSlicer") or sys.executable  # in the application ``executable`` may be the application
    try:
        probe = subprocess.run(
            [python, "-c", _PROBE], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def render_slices(
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    segmentation_node: slicer.vtkMRMLSegmentationNode | None,
    centre_ras: tuple[float, float, float],
    size: tuple[int, int] = (512, 512),
) -> Picture:
    """The axial, coronal and sagittal slice through a point, side by side, all of the head in them at the same scale.

    Volume and segmentation are shown as their display nodes say (window, colours, opacity, hidden segments) and where
    their parent transforms put them. The scene is left as it is.

    Args:
        volume_node: the volume to show.
        segmentation_node: what to draw over it; ``None``: nothing.
        centre_ras: the point (RAS mm, world) at which the three slices meet, for instance the middle of a lesion.
        size: width and height of one view in pixels.

    Raises:
        InputError: the volume is empty or holds no grey values.
        GliomaSegError: this computer cannot draw off-screen.
    """
    check_volume(volume_node)
    if not can_render():
        raise GliomaSegError(
            "Pictures cannot be drawn: this computer has no OpenGL that works without a screen; on Debian or Ubuntu "
            "install the packages libegl1 and libgl1-mesa-dri."
        )
    scene = slicer.vtkMRMLScene()
    scene.AddNode(slicer.vtkMRMLInteractionNode())  # the displayable managers ask for one
    volume = _shown_volume(scene, volume_node)
    if segmentation_node is not None:
        _show_segmentation(scene, segmentation_node)
    box = _head_box(volume_node)
    mm_per_pixel = max(
        extent / (pixels - 2 * _MARGIN_SHARE * size[1])
        for plane in _PLANES
        for extent, pixels in zip(np.ptp(box @ _axes(plane)[:, :2], axis=0), size, strict=True)
    )
    window, interactor = _window(size)
    views = [
        _View(scene, _third(window, column), plane, volume, _slice_to_ras(plane, box, centre_ras), size, mm_per_pixel)
        for column, plane in enumerate(_PLANES)
    ]
    window.Render()
    picture = Picture(_pixels(window))
    picture.pixels[:, size[0] :: size[0]] = _SEPARATOR
    for view in views:
        view.close()
    window.SetInteractor(None)
    interactor.SetRenderWindow(None)
    window.Finalize()
    return picture


class _View:
    """One slice view; it lives as long as its window draws."""

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        renderer: vtk.vtkRenderer,
        plane: _Plane,
        volume: slicer.vtkMRMLScalarVolumeNode,
        slice_to_ras: NDArray[np.float64],
        size: tuple[int, int],
        mm_per_pixel: float,
    ) -> None:
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLScene(scene)
        node = self._logic.AddSliceNode(plane.name)
        self._logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        node.SetDimensions(*size, 1)
        node.SetFieldOfView(size[0] * mm_per_pixel, size[1] * mm_per_pixel, 1)
        node.GetSliceToRAS().DeepCopy(slice_to_ras.ravel().tolist())
        node.UpdateMatrices()
        renderer.AddViewProp(_slice_actor(self._logic))  # before the segments: later props are drawn over earlier ones
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.SetRenderer(renderer)
        self._managers.AddDisplayableManager(slicer.vtkMRMLSegmentationsDisplayableManager2D())
        self._managers.SetMRMLDisplayableNode(node)
        for mark, where in zip(plane.marks, ("left", "right", "top", "bottom"), strict=True):
            renderer.AddViewProp(_letter(mark, where, size))

    def close(self) -> None:
        """Let go of the nodes before the scene and the window go."""
        self._managers.SetMRMLDisplayableNode(None)
        self._logic.SetMRMLScene(None)


def _shown_volume(
    scene: slicer.vtkMRMLScene, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume in grey levels in another scene; the voxels are shared, not copied."""
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volume.CopyOrientation(volume_node)
    volume.SetAndObserveImageData(volume_node.GetImageData())
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    if volume_node.GetDisplayNode() is not None:
        display.CopyContent(volume_node.GetDisplayNode())
    grey = slicer.vtkMRMLColorTableNode()
    grey.SetTypeToGrey()
    display.SetAndObserveColorNodeID(scene.AddNode(grey).GetID())
    _follow_parent(scene, volume, volume_node)
    return volume


def _show_segmentation(scene: slicer.vtkMRMLScene, segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetAndObserveSegmentation(segmentation_node.GetSegmentation())  # shared: nothing here changes it
    segmentation.CreateDefaultDisplayNodes()
    display = segmentation.GetDisplayNode()
    if segmentation_node.GetDisplayNode() is not None:
        display.CopyContent(segmentation_node.GetDisplayNode())
    display.RemoveAllViewNodeIDs()  # it may be limited to views of the other scene
    display.SetVisibility(True)
    display.SetVisibility2D(True)
    _follow_parent(scene, segmentation, segmentation_node)


def _follow_parent(
    scene: slicer.vtkMRMLScene, copy: slicer.vtkMRMLTransformableNode, original: slicer.vtkMRMLTransformableNode
) -> None:
    """Put a copy where the parent transforms of its original put that."""
    if original.GetParentTransformNode() is None:
        return
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(original.GetParentTransformNode(), None, to_world)
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(to_world)
    copy.SetAndObserveTransformNodeID(transform.GetID())


def _head_box(volume_node: slicer.vtkMRMLScalarVolumeNode) -> NDArray[np.float64]:
    """The eight corners (world RAS mm) of the box of voxels that holds the head, or all when nothing stands out."""
    values = slicer.util.arrayFromVolume(volume_node)
    head = values > _HEAD_SHARE * np.percentile(values, _BRIGHT_PERCENTILE)
    if not head.any():
        head[:] = True
    bounds = []
    for axis in range(3):  # k, j, i
        inside = np.flatnonzero(head.any(axis=tuple({0, 1, 2} - {axis})))
        bounds.append((inside[0], inside[-1]))
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(ijk_to_ras)
    corners = []
    for i, j, k in itertools.product(*reversed(bounds)):
        world = [0.0, 0.0, 0.0]
        volume_node.TransformPointToWorld(ijk_to_ras.MultiplyPoint((i, j, k, 1))[:3], world)
        corners.append(world)
    return np.array(corners)


def _axes(plane: _Plane) -> NDArray[np.float64]:
    """The view's axes as columns: the picture's right, its top, and across the slices (towards S, A or R)."""
    across = [int(not right and not top) for right, top in zip(plane.right, plane.top, strict=True)]
    return np.array([plane.right, plane.top, across], float).T


def _slice_to_ras(plane: _Plane, box: NDArray[np.float64], centre: tuple[float, float, float]) -> NDArray[np.float64]:
    """The 4 x 4 matrix of a slice through ``centre``, the head in the middle of the picture."""
    axes = _axes(plane)
    middle = (box.min(axis=0) + box.max(axis=0)) / 2
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = np.where(axes[:, 2] != 0, centre, middle)
    return matrix


def _slice_actor(logic: slicer.vtkMRMLSliceLogic) -> vtk.vtkActor2D:
    """The slice as the logic blends it: colours already, so that the mapper must leave them as they are."""
    logic.UpdatePipeline()
    mapper = vtk.vtkImageMapper()
    mapper.SetInputConnection(logic.GetImageDataConnection())
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    return actor


def _letter(mark: str, where: str, size: tuple[int, int]) -> vtk.vtkTextActor:
    width, height = size
    inset = _LETTER_SHARE * height / 2
    places = {
        "left": (inset, height / 2),
        "right": (width - inset, height / 2),
        "top": (width / 2, height - inset),
        "bottom": (width / 2, inset),
    }
    actor = vtk.vtkTextActor()
    actor.SetInput(mark)
    actor.SetPosition(*places[where])
    text = actor.GetTextProperty()
    text.SetFontFamilyToArial()
    text.SetFontSize(max(8, round(_LETTER_SHARE * height)))
    text.SetColor(_LETTER_GREY, _LETTER_GREY, _LETTER_GREY)
    text.SetVerticalJustification(
        {"top": vtk.VTK_TEXT_TOP, "bottom": vtk.VTK_TEXT_BOTTOM}.get(where, vtk.VTK_TEXT_CENTERED)
    )
    text.SetJustification({"left": vtk.VTK_TEXT_LEFT, "right": vtk.VTK_TEXT_RIGHT}.get(where, vtk.VTK_TEXT_CENTERED))
    return actor


def _window(size: tuple[int, int]) -> tuple[vtk.vtkRenderWindow, vtk.vtkRenderWindowInteractor]:
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)  # the same picture everywhere
    window.SetSize(size[0] * len(_PLANES), size[1])
    interactor = vtk.vtkGenericRenderWindowInteractor()  # the displayable managers crash without one
    interactor.SetRenderWindow(window)
    return window, interactor


def _third(window: vtk.vtkRenderWindow, column: int) -> vtk.vtkRenderer:
    renderer = vtk.vtkRenderer()
    renderer.SetViewport(column / len(_PLANES), 0, (column + 1) / len(_PLANES), 1)
    window.AddRenderer(renderer)
    return renderer


def _pixels(window: vtk.vtkRenderWindow) -> NDArray[np.uint8]:
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    columns, rows, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)[::-1].copy()


def _image_data(pixels: NDArray[np.uint8]) -> vtk.vtkImageData:
    rows, columns, channels = pixels.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(pixels[::-1]).reshape(-1, channels), deep=True))
    return image
