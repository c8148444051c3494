"""The slice views: the image of a result, and the point that they show."""

from __future__ import annotations

import slicer


def reference_of(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume that a segmentation was made on."""
    return node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


def jump_to(ras_mm: tuple[float, float, float]) -> None:
    """Centre all slice views on a point."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras_mm, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
