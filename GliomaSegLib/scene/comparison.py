"""Links a segmentation node to its last comparison: the folder, the nodes, and whether it is out of date."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import slicer

from GliomaSegLib.scene.attributes import COMPARED_WITH, COMPARISON, COMPARISON_OUTDATED
from GliomaSegLib.scene.comparison_nodes import ComparisonNodes
from GliomaSegLib.scene.hierarchy import segmentations_in

_CONFIRMED = "1"  # in COMPARISON_OUTDATED: for good, since the edit was measured


def link_comparison(
    segmentation: slicer.vtkMRMLSegmentationNode,
    earlier: Iterable[slicer.vtkMRMLSegmentationNode],
    nodes: ComparisonNodes,
    folder: Path,
    outdated: bool,
) -> None:
    """Link a segmentation to its new comparison; the nodes of its last one are removed.

    Args:
        earlier: the segmentations of the other studies.
        outdated: whether one of the segmentations was edited meanwhile.
    """
    scene = segmentation.GetScene()
    for old in _referenced(segmentation, COMPARISON):
        scene.RemoveNode(old)
    _refer(segmentation, COMPARISON, nodes.all)
    _refer(segmentation, COMPARED_WITH, (node for node in earlier if node.GetScene() is scene))
    segmentation.SetAttribute(COMPARISON, str(folder))
    segmentation.SetAttribute(COMPARISON_OUTDATED, _CONFIRMED if outdated else None)


def compared_with(segmentation: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLSegmentationNode]:
    """The segmentations of the earlier studies of its last comparison that are still in the scene."""
    return _referenced(segmentation, COMPARED_WITH)


def mark_outdated(edited: slicer.vtkMRMLSegmentationNode) -> None:
    """Mark the last comparisons in which an edited node takes part as out of date."""
    for one in _compared_nodes(edited):
        _set_reasons(one, _reasons(one) | {edited.GetID()})


def unmark_outdated(restored: slicer.vtkMRMLSegmentationNode) -> None:
    """Undo :func:`mark_outdated`, after the voxels of the node were restored."""
    for one in _compared_nodes(restored):
        _set_reasons(one, _reasons(one) - {restored.GetID()})


def confirm_outdated(measured: slicer.vtkMRMLSegmentationNode) -> None:
    """Make :func:`mark_outdated` permanent, after an edit of the node was measured."""
    for one in _compared_nodes(measured):
        if measured.GetID() in _reasons(one):
            _set_reasons(one, {_CONFIRMED})


def _reasons(node: slicer.vtkMRMLSegmentationNode) -> set[str]:
    return set((node.GetAttribute(COMPARISON_OUTDATED) or "").split())


def _set_reasons(node: slicer.vtkMRMLSegmentationNode, reasons: set[str]) -> None:
    lasting = _CONFIRMED if _CONFIRMED in reasons else " ".join(sorted(reasons))
    node.SetAttribute(COMPARISON_OUTDATED, lasting or None)


def comparison_with(
    segmentation: slicer.vtkMRMLSegmentationNode,
) -> tuple[slicer.vtkMRMLSegmentationNode, bool] | None:
    """The segmentation node that holds the comparison of a result (the result itself or that of a later study), and
    whether the comparison is out of date; ``None`` when there is none."""
    node = next(_compared_nodes(segmentation), None)
    return node and (node, node.GetAttribute(COMPARISON_OUTDATED) is not None)


def _compared_nodes(segmentation: slicer.vtkMRMLSegmentationNode) -> Iterator[slicer.vtkMRMLSegmentationNode]:
    """The node itself, if it was compared with earlier ones, then those that were compared with it."""
    others = segmentations_in(segmentation.GetScene())
    later = [node for node in others if any(one is segmentation for one in compared_with(node))]
    yield from (node for node in (segmentation, *later) if node.GetAttribute(COMPARISON))


def _refer(segmentation: slicer.vtkMRMLSegmentationNode, role: str, nodes: Iterable[slicer.vtkMRMLNode]) -> None:
    segmentation.RemoveNodeReferenceIDs(role)
    for node in nodes:
        segmentation.AddNodeReferenceID(role, node.GetID())


def chart_of(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLPlotChartNode | None:
    """The growth curve of the last comparison; ``None`` when there is none, or the user has deleted it."""
    nodes = _referenced(segmentation, COMPARISON)
    return next((node for node in nodes if node.IsA("vtkMRMLPlotChartNode")), None)


def _referenced(segmentation: slicer.vtkMRMLSegmentationNode, role: str) -> list[Any]:
    count = segmentation.GetNumberOfNodeReferences(role)
    nodes = [segmentation.GetNthNodeReference(role, index) for index in range(count)]
    return [node for node in nodes if node is not None]
