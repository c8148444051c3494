"""The subject hierarchy: what patient and study an image belongs to, and where new nodes stand."""

from __future__ import annotations

import slicer

_NAMES = slicer.vtkMRMLSubjectHierarchyConstants


def place_beside(node: slicer.vtkMRMLNode, source: slicer.vtkMRMLNode) -> None:
    """Put ``node`` below the same study or folder as ``source``; both are in one scene."""
    hierarchy = hierarchy_of(node)
    source_item = hierarchy.GetItemByDataNode(source)
    parent = hierarchy.GetItemParent(source_item) if source_item else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)  # the application makes items by itself, plain slicer-core does not
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def patient_of(node: slicer.vtkMRMLNode) -> tuple[int, str] | None:
    """Item and name of the patient above a node; ``None`` when it stands below none."""
    item = _ancestor(node, _NAMES.GetDICOMLevelPatient())
    return (item, hierarchy_of(node).GetItemName(item)) if item else None


def case_name(volume: slicer.vtkMRMLNode) -> str:
    """The name of a case, after the image that it is drawn on: patient and date of the study (``4711 2024-05-31``).

    It is empty where they are not known from DICOM.

    The patient's ID stands before the name, which then comes into no name of a file.
    """
    hierarchy = hierarchy_of(volume)
    patient = _ancestor(volume, _NAMES.GetDICOMLevelPatient())
    if not patient:
        return ""
    known = hierarchy.GetItemAttribute(patient, _NAMES.GetDICOMPatientIDAttributeName())
    study = _ancestor(volume, _NAMES.GetDICOMLevelStudy())
    date = hierarchy.GetItemAttribute(study, _NAMES.GetDICOMStudyDateAttributeName()) if study else ""
    if len(date) == 8:  # YYYYMMDD
        date = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    return " ".join(filter(None, (known or hierarchy.GetItemName(patient), date)))


def hierarchy_of(node: slicer.vtkMRMLNode) -> slicer.vtkMRMLSubjectHierarchyNode:
    """The subject hierarchy of the scene of a node."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())


def _ancestor(node: slicer.vtkMRMLNode, level: str) -> int:
    hierarchy = hierarchy_of(node)
    own = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemAncestorAtLevel(own, level) if own else 0
