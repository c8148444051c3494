"""The position of new nodes in the subject hierarchy: beside the image that they come from."""

from __future__ import annotations

import slicer


def place_beside(node: slicer.vtkMRMLNode, source: slicer.vtkMRMLNode) -> None:
    """Put ``node`` below the same study or folder as ``source``; both are in one scene."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    source_item = hierarchy.GetItemByDataNode(source)
    parent = hierarchy.GetItemParent(source_item) if source_item else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)  # the application makes items by itself, plain slicer-core does not
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)
