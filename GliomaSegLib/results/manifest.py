"""The manifest of a folder of results: the images, model and options of the run, and the reviews."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from GliomaSegLib.case import Modality, StudyIdentity, TimePoint, TimePointKind
from GliomaSegLib.inference.training_distance import TrainingDistance
from GliomaSegLib.io.folder import PROGRAM
from GliomaSegLib.io.provenance import timestamp
from GliomaSegLib.job import Job, ReviewEvent
from GliomaSegLib.labels import Region
from GliomaSegLib.options import ReviewState, Task
from GliomaSegLib.record import Record


class ModelUsed(Record):
    """The model at the time of the run."""

    id: str
    title: str
    version: str
    licence: str
    citation: str
    training: str | None = Field(default=None, description="what it was trained on, in a sentence")
    accuracy: str | None = Field(default=None, description="what was measured of it with these sequences, in words")
    task: Task | None = Field(default=None, description="of its card; null: made by a version that did not keep it")
    time_points: tuple[TimePointKind, ...] = Field(default=(), description="of its card; empty: as for the task")
    weights_sha256: str
    device: str
    precision: str
    training_distance: TrainingDistance | None = Field(
        default=None, description="of the case's images to those that it was trained on; null: not known"
    )
    members: tuple[ModelUsed, ...] = Field(default=(), description="of an ensemble; its hash is that of their hashes")


class SequenceRecord(Record):
    """The file of a modality, and its registration to the reference image."""

    path: Path
    series_uid: str | None
    series_part: str
    name: str = Field(default="", description="file name, or DICOM description with the series number")
    pixels_sha256: str
    files_state: str = Field(
        default="", description="digest of names, sizes and times of its files; empty: made by a version without it"
    )
    confidence: float
    reason: str
    is_reference: bool
    moved_mm: float | None = Field(description="mean shift of the field of view; null when not registered")
    transform_given: Path | None = Field(default=None, description="the user's own, used instead of registering")
    mutual_information: float | None
    mirror_contrast: float | None


class Manifest(Record):
    """All that is needed to reproduce a result, and its reviews."""

    program: Literal["GliomaSeg"] = PROGRAM
    case_id: str
    identity: StudyIdentity | None = Field(default=None, description="null: not from DICOM, or not to be kept")
    time_point: TimePointKind
    days_since_surgery: float | None
    job: Job
    model: ModelUsed
    choice: str | None = Field(default=None, description="why this model was chosen, where the job names none")
    regions: tuple[Region, ...]
    sequences: dict[Modality, SequenceRecord]
    missing: tuple[Modality, ...]
    cost: str | None
    ignored: tuple[str, ...] = Field(default=(), description="volumes of the study that were not used, and why")
    passed_over: tuple[str, ...] = Field(default=(), description="DICOM files that do not count, per series and reason")
    incomplete: tuple[str, ...] = Field(default=(), description="images of which slices seem to be lost")
    review: ReviewState = ReviewState.DRAFT
    reviews: tuple[ReviewEvent, ...] = Field(default=(), description="all changes of the review state, the latest last")
    created: str = ""
    changed: str | None = None
    warnings: tuple[str, ...] = ()
    implausible: tuple[str, ...] = Field(default=(), description="those of the warnings that no tumour can explain")
    seconds: dict[str, float] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    sha256: dict[str, str] = Field(default_factory=dict, description="of the files that a reader may edit")
    labels_sha256: str = Field(default="", description="of the voxels of the internal label map")

    @property
    def reference(self) -> Modality:
        """The modality of the reference image."""
        return next(modality for modality, record in self.sequences.items() if record.is_reference)

    @property
    def when(self) -> TimePoint:
        """The time point of the study."""
        return TimePoint(self.time_point, self.days_since_surgery)

    def reviewed(self, state: ReviewState, by: str | None = None) -> Manifest:
        """A copy with a further review by ``by``, or an edit, in the history."""
        event = ReviewEvent(state=state, when=timestamp(), by=by)
        return self.model_copy(update={"review": state, "reviews": (*self.reviews, event)})
