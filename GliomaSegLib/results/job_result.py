"""The result of a finished job."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from GliomaSegLib.case import Modality
from GliomaSegLib.job import ReviewEvent
from GliomaSegLib.measures.volumes import Measures
from GliomaSegLib.options import ReviewState
from GliomaSegLib.record import Record


class JobResult(Record):
    """The files and figures of a finished job; :meth:`GliomaSegLib.results.result.Result.load` reads its images.

    Attributes:
        files: the path inside ``output`` of ``label_map``, ``slicer_segmentation``, ``measures_json``,
            ``measures_csv``, ``report``, ``brain`` and ``manifest``, and of each map there is, as ``probability_WT``,
            and of an ensemble ``agreement``.
        training: on what kind of tumour the model was trained, in a sentence: it is valid for no other.
        choice: why this model was chosen, where the job names none.
        missing: sequences that the model takes and the case lacks, and ``cost`` says what that costs.
        seconds: per stage.
        review: the state of the segmentation's review.
        reviews: its history, the latest last.
    """

    case_id: str
    model: str
    output: Path
    files: dict[str, Path]
    measures: Measures
    training: str | None = None
    choice: str | None = None
    missing: tuple[Modality, ...] = ()
    cost: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    review: ReviewState = ReviewState.DRAFT
    reviews: tuple[ReviewEvent, ...] = ()
