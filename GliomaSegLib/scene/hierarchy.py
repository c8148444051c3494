"""The subject hierarchy: the patient and study of an image, and where new nodes are placed."""

from __future__ import annotations

from typing import Any

import slicer

_NAMES = slicer.vtkMRMLSubjectHierarchyConstants


def place_beside(node: slicer.vtkMRMLNode, source: slicer.vtkMRMLNode) -> None:
    """Put ``node`` below the same study or folder as ``source``, in the same scene."""
    hierarchy = hierarchy_of(node)
    source_item = hierarchy.GetItemByDataNode(source)
    parent = hierarchy.GetItemParent(source_item) if source_item else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)  # the application makes items by itself, plain slicer-core does not
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def patient_of(node: slicer.vtkMRMLNode) -> tuple[int, str] | None:
    """Item and name of the patient above a node; ``None`` when there is none."""
    item = ancestor(node, _NAMES.GetDICOMLevelPatient())
    return (item, hierarchy_of(node).GetItemName(item)) if item else None


def segmentations_in(scene: slicer.vtkMRMLScene | None) -> list[slicer.vtkMRMLSegmentationNode]:
    """The segmentation nodes of a scene; none without a scene, as after a node was deleted."""
    if scene is None:
        return []
    kind = "vtkMRMLSegmentationNode"
    return [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]


def own_reference(node: slicer.vtkMRMLSegmentationNode, role: str) -> Any:
    """The node to which a segmentation refers in a role; ``None`` when there is none, or another segmentation refers to
    it too: a copy of a segmentation has the references of the first."""
    found = node.GetNodeReference(role)
    others = (one for one in segmentations_in(node.GetScene()) if one is not node)
    return None if any(one.GetNodeReference(role) is found for one in others) else found


def hierarchy_of(node: slicer.vtkMRMLNode) -> slicer.vtkMRMLSubjectHierarchyNode:
    """The subject hierarchy of the scene of a node."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())


def ancestor(node: slicer.vtkMRMLNode, level: str) -> int:
    """The item of the patient or study (``level``) above a node; 0 when there is none."""
    hierarchy = hierarchy_of(node)
    own = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemAncestorAtLevel(own, level) if own else 0
