"""Measures and reviews a segmentation: its folder of results is brought up to date with the scene."""

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
    """Steps that save edits and measure again; they return a :class:`~GliomaSegLib.scene.result.SegmentationResult`."""
    output = session.results_of(segmentation)
    yield Event("stage", "measures and report")
    yield None
    return (yield from _updated(session, segmentation, output, always=True))


def review_steps(session: Session, segmentation: slicer.vtkMRMLSegmentationNode, state: str, by: str) -> Steps:
    """Steps that record a review; they return a :class:`~GliomaSegLib.scene.result.SegmentationResult`."""
    output = session.results_of(segmentation)
    yield from _updated(session, segmentation, output, always=False)
    request = {"do": "review", "output": str(output), "state": state, "by": by}
    result = yield from session.request(request, segmentation)
    return (yield from shown_measures(segmentation, result))


def up_to_date(session: Session, segmentation: slicer.vtkMRMLSegmentationNode) -> Generator[Event | None, None, Path]:
    """Steps that return the folder of results, measured again if the segmentation was edited since."""
    output = session.results_of(segmentation)
    yield from _updated(session, segmentation, output, always=False)
    return output


def _updated(
    session: Session, segmentation: slicer.vtkMRMLSegmentationNode, output: Path, always: bool
) -> Generator[Event | None, None, SegmentationResult | None]:
    """Update the folder of results and the table; returns ``None`` when they were up to date and not ``always``.

    The attribute UNMEASURED is cleared first, so that afterwards it tells whether the node was edited meanwhile.
    """
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
