"""Shows and hides results and their segments in the views."""

from __future__ import annotations

import slicer

from GliomaSegLib.labels import REGION_LABELS, Label, Region
from GliomaSegLib.scene.attributes import OUTPUT
from GliomaSegLib.scene.hierarchy import segmentations_in
from GliomaSegLib.scene.segmentation import label_of

EDEMA_OPACITY_3D = 0.25
"""Low enough for tumour core and enhancement to be seen through the edema."""


def show_only(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Show a segmentation and hide all other results of GliomaSeg in its scene; they stay in the scene.

    Segmentations that GliomaSeg did not make are left as they are.
    """
    for node in segmentations_in(segmentation.GetScene()):
        display = node.GetDisplayNode()
        if display is not None and (node is segmentation or node.GetAttribute(OUTPUT)):
            display.SetVisibility(node is segmentation)


def segments_in(node: slicer.vtkMRMLSegmentationNode, name: str) -> list[str]:
    """Identifiers of the segments of a region or a label, by its short name (``TC``, ``SNFH``).

    Raises:
        InputError: GliomaSeg does not know a segment.
    """
    labels = REGION_LABELS[Region(name)] if name in Region.__members__ else (Label[name],)
    segmentation = node.GetSegmentation()
    identifiers = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return [identifier for identifier in identifiers if label_of(node, identifier) in labels]


def is_visible(node: slicer.vtkMRMLSegmentationNode, name: str) -> bool:
    """Whether any part of a region or label is shown."""
    return any(node.GetDisplayNode().GetSegmentVisibility(one) for one in segments_in(node, name))


def set_visible(node: slicer.vtkMRMLSegmentationNode, name: str, visible: bool) -> None:
    """Show or hide all parts of a region or label."""
    for one in segments_in(node, name):
        node.GetDisplayNode().SetSegmentVisibility(one, visible)


def colour_of(node: slicer.vtkMRMLSegmentationNode, name: str) -> tuple[int, ...] | None:
    """RGB colour (0 to 255) of a region or label; ``None`` unless exactly one segment makes it up."""
    found = segments_in(node, name)
    if len(found) != 1:
        return None
    return tuple(round(255 * part) for part in node.GetSegmentation().GetSegment(found[0]).GetColor())
