"""Which result is visible in the views: one at a time."""

from __future__ import annotations

import slicer

from GliomaSegLib.scene.attributes import OUTPUT


def show_only(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Show a segmentation and hide all other results of GliomaSeg in its scene; they stay in the scene.

    Segmentations that GliomaSeg did not make are left as they are.
    """
    scene, kind = segmentation.GetScene(), "vtkMRMLSegmentationNode"
    nodes = [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
    for node in nodes:
        display = node.GetDisplayNode()
        if display is not None and (node is segmentation or node.GetAttribute(OUTPUT)):
            display.SetVisibility(node is segmentation)
