"""Whether a result was edited since it was measured; an undo back to the measured voxels makes it unedited again."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import slicer
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.scene.attributes import MEASURED_LABELS, OUTPUT, REVIEW_BEFORE_EDIT, UNMEASURED
from GliomaSegLib.scene.comparison import confirm_outdated, mark_outdated, unmark_outdated
from GliomaSegLib.scene.review import EDITED, Review, review_of, set_review
from GliomaSegLib.scene.segmentation import labels_of, occupied_box


def has_unmeasured_edits(segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the segmentation was changed since it was measured, so that table and report are out of date."""
    return segmentation.GetAttribute(UNMEASURED) is not None


def mark_edited(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """After an edit: mark the measures and comparisons of a result as out of date, and void its review.

    A segmentation that is no result of GliomaSeg has only comparisons.
    """
    if segmentation.GetAttribute(OUTPUT):
        if segmentation.GetAttribute(REVIEW_BEFORE_EDIT) is None:
            _keep_review(segmentation, review_of(segmentation))
        set_review(segmentation, Review(EDITED))
        segmentation.SetAttribute(UNMEASURED, "1")
    mark_outdated(segmentation)


def mark_if_changed(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """:func:`mark_edited` if a result holds other voxels than were measured, as after an edit that nobody watched."""
    measured = segmentation.GetAttribute(MEASURED_LABELS)
    if not measured or has_unmeasured_edits(segmentation):
        return
    try:
        unchanged = digest_of(labels_of(segmentation)[0]) == measured
    except InputError:  # a segment that GliomaSeg does not know was added
        unchanged = False
    if not unchanged:
        mark_edited(segmentation)


def restore_if_unchanged(segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
    """Undo :func:`mark_edited` when the voxels are those that were last measured.

    Returns:
        whether it was undone.

    Raises:
        InputError: see :func:`~GliomaSegLib.scene.segmentation.labels_of`.
    """
    measured = segmentation.GetAttribute(MEASURED_LABELS)
    if not has_unmeasured_edits(segmentation) or not measured:
        return False
    if digest_of(labels_of(segmentation)[0]) != measured:
        return False
    segmentation.SetAttribute(UNMEASURED, None)
    set_review(segmentation, Review(*json.loads(segmentation.GetAttribute(REVIEW_BEFORE_EDIT) or "[]")))
    segmentation.SetAttribute(REVIEW_BEFORE_EDIT, None)
    unmark_outdated(segmentation)
    return True


def set_measured(segmentation: slicer.vtkMRMLSegmentationNode, labels: NDArray[np.uint8]) -> None:
    """Record that the folder of results now holds, and was measured on, ``labels``."""
    digest = digest_of(labels)
    if segmentation.GetAttribute(MEASURED_LABELS) != digest:
        confirm_outdated(segmentation)
    segmentation.SetAttribute(MEASURED_LABELS, digest)


def mark_not_measured(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """After a failed measurement: which voxels the folder of results holds is not known any more."""
    segmentation.SetAttribute(MEASURED_LABELS, None)
    mark_edited(segmentation)


def set_measured_review(segmentation: slicer.vtkMRMLSegmentationNode, review: Review) -> None:
    """Set the review of the folder of results; with an edit that is not measured, it is kept for an undo of that."""
    if has_unmeasured_edits(segmentation):
        _keep_review(segmentation, review)
        set_review(segmentation, Review(EDITED))
    else:
        segmentation.SetAttribute(REVIEW_BEFORE_EDIT, None)
        set_review(segmentation, review)


def digest_of(labels: NDArray[np.uint8]) -> str:
    """SHA-256 of the voxels in the smallest box around the labels (1 % of the usual grid) and of its position."""
    box = occupied_box(labels)
    place = [(side.start, side.stop) for side in box]
    digest = hashlib.sha256(repr((labels.shape, place)).encode())
    digest.update(np.ascontiguousarray(labels[box]).tobytes())
    return digest.hexdigest()


def _keep_review(segmentation: slicer.vtkMRMLSegmentationNode, review: Review) -> None:
    segmentation.SetAttribute(REVIEW_BEFORE_EDIT, json.dumps([review.state, review.by, review.when]))
