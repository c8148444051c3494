"""Measures and reviews: the folder of results follows the segmentation as it is in the scene."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path

import slicer

from GliomaSegLib.scene.attributes import UNMEASURED
from GliomaSegLib.scene.edit_state import has_unmeasured_edits, mark_not_measured, restore_if_unchanged, set_measured
from GliomaSegLib.scene.result import SegmentationResult, shown_measures
from GliomaSegLib.scene.run import Steps, in_thread
from GliomaSegLib.scene.segmentation import labels_of
from GliomaSegLib.scene.segmentation_files import save_labels
from GliomaSegLib.scene.session import Session
from GliomaSegLib.worker.client import Event


def measure_steps(session: Session, segmentation: slicer.vtkMRMLSegmentationNode) -> Steps:
    """Save an edit and measure again; gives a :class:`~GliomaSegLib.scene.result.SegmentationResult`."""
    output = session.results_of(segmentation)
    yield Event("stage", "measures and report")
    yield None
    return (yield from _updated(session, segmentation, output, always=True))


def review_steps(session: Session, segmentation: slicer.vtkMRMLSegmentationNode, state: str, by: str) -> Steps:
    """Record a review; gives a :class:`~GliomaSegLib.scene.result.SegmentationResult`."""
    output = session.results_of(segmentation)
    yield from _updated(session, segmentation, output, always=False)
    request = {"do": "review", "output": str(output), "state": state, "by": by}
    result = yield from session.request(request, segmentation)
    return (yield from shown_measures(segmentation, result))


def up_to_date(session: Session, segmentation: slicer.vtkMRMLSegmentationNode) -> Generator[Event | None, None, Path]:
    """Steps that give the folder of results, measured again if the segmentation was edited since."""
    output = session.results_of(segmentation)
    yield from _updated(session, segmentation, output, always=False)
    return output


def _updated(
    session: Session, segmentation: slicer.vtkMRMLSegmentationNode, output: Path, always: bool
) -> Generator[Event | None, None, SegmentationResult | None]:
    """Update the folder of results and the table from the segmentation; gives ``None`` when they were up to date and
    ``always`` is not set. From here on the node's attribute says whether it is edited meanwhile."""
    restore_if_unchanged(segmentation)
    labels, _ = labels_of(segmentation)
    behind = has_unmeasured_edits(segmentation)
    segmentation.SetAttribute(UNMEASURED, None)
    try:
        behind |= yield from in_thread(partial(save_labels, labels, segmentation.GetName(), output))
        if behind or always:
            result = yield from session.request({"do": "measure", "output": str(output)}, segmentation)
            set_measured(segmentation, labels)
            return (yield from shown_measures(segmentation, result))
    except BaseException:
        if behind:
            mark_not_measured(segmentation)
        raise
    return None
