"""The state of review on a segmentation node: draft, edited, approved or rejected, by whom and when.

The worker records the same in the manifest and the report (request ``review``). An edit voids an approval on the node
at once, and in the manifest with the next request ``measure``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import slicer

from GliomaSegLib.scene.attributes import REVIEW_STATE, REVIEWED_AT, REVIEWED_BY
from GliomaSegLib.scene.segmentation import known_labels

DRAFT, EDITED, APPROVED, REJECTED = "draft", "edited", "approved", "rejected"


@dataclass(frozen=True)
class Review:
    """``when`` is ISO 8601 with time zone; ``by`` and ``when`` are empty for a draft."""

    state: str = DRAFT
    by: str = ""
    when: str = ""


def review_of(node: slicer.vtkMRMLSegmentationNode) -> Review:
    """The review on the node; a draft if there is none."""
    state, by, when = (node.GetAttribute(name) for name in (REVIEW_STATE, REVIEWED_BY, REVIEWED_AT))
    return Review(state or DRAFT, by or "", when or "")


def set_review(node: slicer.vtkMRMLSegmentationNode, review: Review) -> None:
    """Keep a review on the node; it is saved with the scene."""
    node.SetAttribute(REVIEW_STATE, review.state)
    node.SetAttribute(REVIEWED_BY, review.by or None)
    node.SetAttribute(REVIEWED_AT, review.when or None)


class EditWatch:
    """Calls back as soon as the voxels, the segments or their labels (by another name) of a segmentation node change.

    Args:
        on_edit: called after each change, with the node.
    """

    _EVENTS = ("SourceRepresentationModified", "SegmentAdded", "SegmentRemoved")

    def __init__(
        self, node: slicer.vtkMRMLSegmentationNode, on_edit: Callable[[slicer.vtkMRMLSegmentationNode], None]
    ) -> None:
        self._node = node
        self._on_edit = on_edit
        self._labels = known_labels(node)
        self._segmentation = node.GetSegmentation()
        self._tags = [
            self._segmentation.AddObserver(getattr(slicer.vtkSegmentation, event), self._edited)
            for event in self._EVENTS
        ]
        modified = slicer.vtkSegmentation.SegmentModified  # also by another colour, and at each edit
        self._tags.append(self._segmentation.AddObserver(modified, self._modified))

    def stop(self) -> None:
        """Remove the observers."""
        for tag in self._tags:
            self._segmentation.RemoveObserver(tag)
        self._tags = []

    def _edited(self, caller: object, event: str) -> None:
        self._labels = known_labels(self._node)
        self._on_edit(self._node)

    def _modified(self, caller: object, event: str) -> None:
        if known_labels(self._node) != self._labels:
            self._edited(caller, event)
