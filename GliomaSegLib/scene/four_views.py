"""A layout with a linked slice view for each sequence of a result and a 3D view: the tumour in all of them at once."""

from __future__ import annotations

from collections.abc import Collection

import slicer

from GliomaSegLib.case import Modality
from GliomaSegLib.scene.segmentation import volumes_of

_FIRST_ID = 47110
"""Of the layouts, one for each number of views; Slicer's own are below 1000."""
_GROUP = 47110
"""Views of this group are linked with one another, and not with those of other layouts."""
_VIEWS_IN_A_ROW = {2: 2, 3: 3, 4: 2, 5: 3}


def view_name(modality: Modality) -> str:
    """The singleton tag of the slice view of a sequence."""
    return f"GliomaSeg-{modality.value}"


def show_views(segmentation: slicer.vtkMRMLSegmentationNode, layout: slicer.vtkMRMLLayoutNode) -> None:
    """Switch to a view for each image of a result, axial and linked, and a 3D view. The application makes the views'
    nodes while this is called."""
    volumes = volumes_of(segmentation)
    number = _FIRST_ID + sum(1 << place for place, modality in enumerate(Modality) if modality in volumes)
    description = _description(volumes)
    if layout.IsLayoutDescription(number):
        layout.SetLayoutDescription(number, description)
    else:
        layout.AddLayoutDescription(number, description)
    layout.SetViewArrangement(number)
    scene = segmentation.GetScene()
    for modality, volume in volumes.items():
        composite = scene.GetSingletonNode(view_name(modality), "vtkMRMLSliceCompositeNode")
        if composite is not None:
            composite.SetBackgroundVolumeID(volume.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)


def is_shown(layout: slicer.vtkMRMLLayoutNode) -> bool:
    """Whether one of these layouts is shown."""
    return _FIRST_ID <= layout.GetViewArrangement() < _FIRST_ID + (1 << len(Modality))


def _description(volumes: Collection[Modality]) -> str:
    views = [_slice_view(modality) for modality in Modality if modality in volumes]
    views.append('<view class="vtkMRMLViewNode" singletontag="1"/>')
    length = _VIEWS_IN_A_ROW[max(len(views), 2)]
    rows = [views[begin : begin + length] for begin in range(0, len(views), length)]
    row = '<item><layout type="horizontal">{}</layout></item>'
    content = "".join(row.format("".join(f"<item>{view}</item>" for view in one)) for one in rows)
    return f'<layout type="vertical" split="true">{content}</layout>'


def _slice_view(modality: Modality) -> str:
    properties = {"orientation": "Axial", "viewlabel": modality.title, "viewcolor": "#808080", "viewgroup": _GROUP}
    inner = "".join(f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items())
    return f'<view class="vtkMRMLSliceNode" singletontag="{view_name(modality)}">{inner}</view>'
