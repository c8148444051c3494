"""Layouts with linked slice views of several images: all sequences of a result, or two studies side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.scene.comparison import compared_with
from GliomaSegLib.scene.keeping import Files, copies_of, has_file
from GliomaSegLib.scene.segmentation import reference_of, volumes_of
from GliomaSegLib.scene.transforms import read_transform
from GliomaSegLib.scene.volumes import ijk_to_world, parent_to_world

_FIRST_ID, _LAST_ID = 47110, 47142
"""Layout IDs, one for each set of modalities; Slicer's own are below 1000."""
_SIDE_BY_SIDE = 47140
_GROUP = 47110
"""View group: its views are linked with one another, and not with those of other layouts."""
_VIEWS_IN_A_ROW = 2
"""Three in a row beside the panel would need a screen of 1500 pixels."""

_TO_FIRST = "last_to_1.tfm"
"""File in the folder of a comparison: ITK transform from the last study to the first."""

VIEW_PREFIX = "GliomaSeg-"
EARLIER, NOW = f"{VIEW_PREFIX}earlier", f"{VIEW_PREFIX}now"
"""The singleton tags of the views of two studies."""


def view_name(modality: Modality) -> str:
    """The singleton tag of the slice view of a sequence."""
    return f"{VIEW_PREFIX}{modality.value}"


def show_sequences(segmentation: slicer.vtkMRMLSegmentationNode, layout: slicer.vtkMRMLLayoutNode) -> None:
    """Switch to a view for each image of a result, axial and linked; where they are fewer than four, also a 3D view."""
    volumes = volumes_of(segmentation)
    number = _FIRST_ID + sum(1 << place for place, modality in enumerate(Modality) if modality in volumes)
    views = [_slice_view(view_name(modality), modality.title) for modality in Modality if modality in volumes]
    if len(views) < len(Modality):
        views.append('<view class="vtkMRMLViewNode" singletontag="1"/>')
    _switch(layout, number, views)
    _fill(segmentation.GetScene(), {view_name(modality): volume for modality, volume in volumes.items()})


def is_shown(layout: slicer.vtkMRMLLayoutNode) -> bool:
    """Whether one of these layouts is shown."""
    return _FIRST_ID <= layout.GetViewArrangement() <= _LAST_ID


class SideBySide:
    """Shows the first study of a comparison beside the last in linked views: copies of its image and segmentation,
    moved by the comparison's registration. The user's own nodes are not moved.

    Args:
        segmentation: that of the last study.
        titles: labels of the views, of the first and the last study.

    Raises:
        InputError: a study of the comparison is not in the scene any more, or how they were registered is not known.
    """

    def __init__(self, segmentation: slicer.vtkMRMLSegmentationNode, titles: tuple[str, str]) -> None:
        self._now, self._titles = segmentation, titles
        self._made: list[Any] = []
        studies = [*compared_with(segmentation)[:1], segmentation]
        images = [image for image in map(reference_of, studies) if image is not None]
        if len(images) < 2:
            raise InputError("The image of one of the studies is not in the scene any more; load it again and compare.")
        self._earlier, self._volumes, self._to_now = studies[0], images, np.eye(4)
        if has_file(segmentation, _TO_FIRST, Files.COMPARISON):  # missing when they were compared without registration
            with copies_of(segmentation, _TO_FIRST, files=Files.COMPARISON) as folder:
                self._to_now = read_transform(folder / _TO_FIRST)

    def show(self, layout: slicer.vtkMRMLLayoutNode) -> None:
        """Switch to the layout."""
        scene = self._now.GetScene()
        views = [_slice_view(tag, title) for tag, title in zip((EARLIER, NOW), self._titles, strict=True)]
        _switch(layout, _SIDE_BY_SIDE, views)
        image, now = self._volumes
        copy = self._add("vtkMRMLScalarVolumeNode", f"{image.GetName()} (registered)")
        copy.SetAndObserveImageData(image.GetImageData())
        copy.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(self._to_now @ ijk_to_world(image)))
        copy.CreateDefaultDisplayNodes()
        if image.GetDisplayNode() is not None:
            copy.GetDisplayNode().CopyContent(image.GetDisplayNode())
        moved = self._add("vtkMRMLLinearTransformNode", "registered")
        slicer.util.updateTransformMatrixFromArray(moved, self._to_now @ parent_to_world(self._earlier))
        outlines = self._add("vtkMRMLSegmentationNode", f"{self._earlier.GetName()} (registered)")
        outlines.GetSegmentation().DeepCopy(self._earlier.GetSegmentation())
        outlines.SetAndObserveTransformNodeID(moved.GetID())
        outlines.CreateDefaultDisplayNodes()
        _fill(scene, {EARLIER: copy, NOW: now})
        for node, tag in ((outlines, EARLIER), (self._now, NOW)):
            view = scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
            if view is not None:
                node.GetDisplayNode().SetViewNodeIDs([view.GetID()])

    def close(self) -> None:
        """Remove the copies, and show the last study in all views again."""
        for node in self._made:
            if node.GetScene() is not None:
                node.GetScene().RemoveNode(node)
        self._made = []
        show_everywhere(self._now)

    def _add(self, kind: str, name: str) -> Any:
        node = self._now.GetScene().AddNewNodeByClass(kind, name)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        self._made.append(node)
        return node


def show_everywhere(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Show a segmentation in all views again, also in a scene that was saved with studies side by side."""
    scene, display = segmentation.GetScene(), segmentation.GetDisplayNode()
    view = scene.GetSingletonNode(NOW, "vtkMRMLSliceNode") if scene is not None else None
    if view is not None and display is not None and display.IsViewNodeIDPresent(view.GetID()):
        display.RemoveAllViewNodeIDs()


def _switch(layout: slicer.vtkMRMLLayoutNode, number: int, views: list[str]) -> None:
    """Show a layout of these views; the application makes their nodes during this call."""
    rows = [views[begin : begin + _VIEWS_IN_A_ROW] for begin in range(0, len(views), _VIEWS_IN_A_ROW)]
    row = '<item><layout type="horizontal">{}</layout></item>'
    content = "".join(row.format("".join(f"<item>{view}</item>" for view in one)) for one in rows)
    description = f'<layout type="vertical" split="true">{content}</layout>'
    if layout.IsLayoutDescription(number):
        layout.SetLayoutDescription(number, description)
    else:
        layout.AddLayoutDescription(number, description)
    layout.SetViewArrangement(number)


def _slice_view(tag: str, title: str) -> str:
    properties = {"orientation": "Axial", "viewlabel": title, "viewcolor": "#808080", "viewgroup": _GROUP}
    inner = "".join(f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items())
    return f'<view class="vtkMRMLSliceNode" singletontag="{tag}">{inner}</view>'


def _fill(scene: slicer.vtkMRMLScene, volumes: Mapping[str, slicer.vtkMRMLScalarVolumeNode]) -> None:
    for tag, volume in volumes.items():
        composite = scene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
        if composite is not None:
            composite.SetBackgroundVolumeID(volume.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
