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
            ``measures_csv``, ``report``, ``brain`` and ``manifest``, of probability maps such as ``probability_WT``,
            and of an ensemble ``agreement``.
        training: a sentence on the kind of tumour on which the model was trained, and for which alone it is valid.
        choice: why this model was chosen, if the job names none.
        missing: modalities that the model uses and the case lacks.
        cost: sentence on the loss of accuracy by these.
        seconds: duration of each stage.
        review: the review state of the segmentation.
        reviews: the history of reviews, the latest last.
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
