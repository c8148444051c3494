"""Requests to GliomaSeg (segment, measure, review, install, compare, export) and their results, as JSON records."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.names import image_stem
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.options import (
    AUTO,
    BrainMethod,
    ExportBy,
    ExportKind,
    Postprocessing,
    Precision,
    Purpose,
    ReviewState,
    Surgery,
    Task,
    Tumour,
)
from GliomaSegLib.record import Record, not_valid

AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""An absolute path, so that a request does not depend on the working directory."""

Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class Settings(Record):
    """How a case is segmented, with images from files or from memory.

    Attributes:
        model: ID of a model card, or ``auto``: the best installed model for the case (see
            :mod:`GliomaSegLib.zoo.recommend`).
        task: for ``auto``, the task of the model (see the cards); by default glioma, before or after surgery.
        leave_out: modalities of the case that are not used.
        transforms: for modalities that are not to be registered, the file of a rigid ITK transform from points of the
            reference to points of that modality (LPS mm). It is checked like a registration.
        days_since_surgery: implies that the study is post-operative.
        preoperative: the study before surgery, for models that use it: a folder of results, or its T1 + contrast. It
            implies that the study is post-operative.
        preoperative_mask: label file of the tumour on that image (enhancing tumour and what it encloses); all values
            but 0 count.
        purpose: after surgery, what the result is for: it determines the model that ``auto`` chooses, and the network
            if a card has several (see :mod:`GliomaSegLib.zoo.purpose`).
        registration: ``False`` if all modalities without a transform are co-registered already.
        brain: method of brain extraction.
        bias_correction: N4 before normalisation.
        seed: of the random numbers of some networks.
        postprocessing: replaces that of the card.
        device: ``auto``, ``cpu``, ``cuda`` (or ``cuda:1``) or ``mps``.
        precision: number format of the network; ``auto`` is the fastest that the device has.
        threads: number of CPU threads; by default all cores.
        store: folder of installed models; by default the user's.
    """

    model: str = AUTO
    task: Task | None = None
    leave_out: tuple[Modality, ...] = ()
    transforms: dict[Modality, AbsolutePath] = Field(default_factory=dict)
    time_point: TimePointKind = TimePointKind.UNKNOWN
    days_since_surgery: float | None = None
    preoperative: AbsolutePath | None = None
    preoperative_mask: AbsolutePath | None = None
    purpose: Purpose = Purpose.VOLUME
    registration: bool = True
    brain: BrainMethod = BrainMethod.DEEPBET
    bias_correction: bool = False
    seed: int = 1
    postprocessing: Postprocessing | None = None
    device: Device = "auto"
    precision: Precision = Precision.AUTO
    threads: int | None = Field(default=None, ge=1)
    store: AbsolutePath | None = None

    @model_validator(mode="after")
    def _has_a_task_or_a_model(self) -> Settings:
        if self.task and self.model != AUTO:
            raise ValueError("a model and a task are given; the task is for choosing a model, so say one of them")
        return self

    @model_validator(mode="after")
    def _has_the_image_of_a_mask(self) -> Settings:
        if self.preoperative_mask and not self.preoperative:
            raise ValueError("the tumour before surgery is given without its image; give 'preoperative' as well")
        return self

    @property
    def when(self) -> TimePoint:
        """When the study was made.

        Raises:
            InputError: days since surgery are given for a pre-operative study, or are invalid.
        """
        kind = self.time_point
        if kind is TimePointKind.UNKNOWN and (self.days_since_surgery is not None or self.preoperative):
            kind = TimePointKind.POSTOPERATIVE
        return TimePoint(kind, self.days_since_surgery)


class Job(Settings):
    """One case to segment from files, and the folder of its results.

    Attributes:
        study: folder with image files or DICOM series (or one file) in which the modalities are identified.
        exam: selects one of several DICOM studies in ``study``, by its date or Study Instance UID.
        volumes: a file (or a DICOM folder with one series) per modality; has precedence over ``study``.
        allow_incomplete: also use DICOM series with missing slices; the first line of the report then says so.
        output: folder of results; it is written completely or not at all.
        case_id: name of the case in the results; by default that of the study.
        dicom: for ``volumes`` that another program made of DICOM series: their DICOM files, from which the name of the
            volume and the patient's identity are read; not stored with the results.
        identity: whether the patient's identity, the date and the numbers of the study are stored with the results and
            shown in the report; DICOM objects always copy them from the source.
        probabilities: also write the probability maps that may be thresholded again.
        all_probabilities: write the probability maps of all regions of the model on the whole grid, for research.
        label_scheme: scheme of ``segmentation.nii.gz`` (``segmentation.seg.nrrd`` has names instead).
        overwrite: replace ``output`` if it holds earlier results that nobody has edited or reviewed.
    """

    do: Literal["segment"] = Field(default="segment", exclude=True, repr=False)
    study: AbsolutePath | None = None
    exam: str | None = None
    volumes: dict[Modality, AbsolutePath] = Field(default_factory=dict)
    allow_incomplete: bool = False
    output: AbsolutePath
    case_id: str | None = None
    dicom: dict[Modality, tuple[AbsolutePath, ...]] = Field(default_factory=dict, exclude=True, repr=False)
    identity: bool = True
    probabilities: bool = True
    all_probabilities: bool = False
    label_scheme: LabelScheme = LabelScheme.GLIOMASEG
    overwrite: bool = False

    @model_validator(mode="after")
    def _has_images(self) -> Job:
        if self.study is None and not self.volumes:
            raise ValueError("no study was given; give its folder, or a file per sequence")
        for sequence in self.leave_out:
            if sequence in self.volumes:
                raise ValueError(f"{sequence.title} is given and to be left out; say one of them")
            if sequence in self.transforms:
                raise ValueError(f"{sequence.title} is to be left out and has a transform; say one of them")
        return self

    @property
    def name(self) -> str:
        """The name of the case."""
        if self.case_id:
            return self.case_id
        named = self.study or next(iter(self.volumes.values()))
        return image_stem(named.resolve())


class Measure(Record):
    """Measure the results in ``output`` again after an edit, and update its files."""

    do: Literal["measure"] = "measure"
    output: AbsolutePath


class Review(Record):
    """Record the decision of the reviewer ``by`` on the results in ``output``; ``draft`` withdraws an earlier
    decision."""

    do: Literal["review"] = "review"
    output: AbsolutePath
    state: Literal[ReviewState.DRAFT, ReviewState.APPROVED, ReviewState.REJECTED]
    by: str


class Install(Record):
    """Install a model's weights in ``store``, by default the user's: from their published address, or from ``source``
    (see :meth:`GliomaSegLib.zoo.store.Store.install`)."""

    do: Literal["install"] = "install"
    model: str
    store: AbsolutePath | None = None
    source: AbsolutePath | None = None


class ComparedStudy(Record):
    """One study of a comparison.

    Attributes:
        path: a folder of results, or a label file.
        image: the image on which a label file was drawn.
        scheme: label scheme of a label file.
        time_point, days_since_surgery: have precedence over those of a folder of results.
        date: study date; has precedence over that of the DICOM files.
    """

    path: AbsolutePath
    image: AbsolutePath | None = None
    scheme: LabelScheme = LabelScheme.GLIOMASEG
    time_point: TimePointKind | None = None
    days_since_surgery: float | None = None
    date: datetime.date | None = None

    @property
    def when(self) -> TimePoint | None:
        """The time point; ``None`` for that of the folder of results.

        Raises:
            InputError: days since surgery are given for a pre-operative study, or are invalid.
        """
        if self.days_since_surgery is not None:
            return TimePoint(self.time_point or TimePointKind.POSTOPERATIVE, self.days_since_surgery)
        return None if self.time_point is None else TimePoint(self.time_point)


class Compare(Record):
    """Compare studies of one patient, given in chronological order, and write the folder ``output``.

    Attributes:
        overwrite: replace ``output`` if it holds an earlier comparison.
        in_place, deformable: see :func:`GliomaSegLib.followup.compare.compare`.
        baseline: index in ``studies`` (from 0) of the baseline for response.
        radiotherapy_end: a date such as ``2024-03-31``, a number of days after surgery, or ``none``.
        tumour: determines the response criteria; by default from the task of the models.
        surgery: the kind of the last operation.
    """

    do: Literal["compare"] = "compare"
    studies: tuple[ComparedStudy, ...]
    output: AbsolutePath
    overwrite: bool = False
    in_place: bool = False
    baseline: int | None = Field(default=None, ge=0)
    deformable: bool = False
    radiotherapy_end: str | None = None
    tumour: Tumour | None = None
    surgery: Surgery | None = None


class Export(Record):
    """Write the results in ``results`` as DICOM objects into the new folder ``output`` (see
    :func:`GliomaSegLib.dicom_export.export.export`)."""

    do: Literal["export"] = "export"
    results: AbsolutePath
    output: AbsolutePath
    kinds: tuple[ExportKind, ...] = Field(min_length=1)
    series: AbsolutePath | None = None
    by: ExportBy = ExportBy.REGIONS
    comparison: AbsolutePath | None = None


def _what_to_do(request: Any) -> Any:
    return request.get("do", "segment") if isinstance(request, Mapping) else getattr(request, "do", None)


Request = Annotated[
    Annotated[Job, Tag("segment")]
    | Annotated[Measure, Tag("measure")]
    | Annotated[Review, Tag("review")]
    | Annotated[Install, Tag("install")]
    | Annotated[Compare, Tag("compare")]
    | Annotated[Export, Tag("export")],
    Discriminator(
        _what_to_do,
        custom_error_type="unknown_request",
        custom_error_message="it is no JSON object whose 'do' is segment, measure, review, install, compare or export",
    ),
]
"""Any request to the worker; a :class:`Job` needs no ``do``."""


class ReviewEvent(Record):
    """A change of the review state: ``when`` in ISO 8601; ``by`` is ``None`` for an edit."""

    state: ReviewState
    when: str
    by: str | None = None


def new_job(**fields: Any) -> Job:
    """Make a job from user input.

    Raises:
        InputError: a value is invalid; the message names the first invalid field.
    """
    with _one_sentence("The job"):
        return Job(**fields)


def new_settings(**fields: Any) -> Settings:
    """As :func:`new_job`, for a case whose images are in memory."""
    with _one_sentence("The settings"):
        return Settings(**fields)


def read_request(path: Path) -> Request:
    """Read a JSON file with a job or another request.

    Raises:
        InputError: the file cannot be read or is invalid; the message names the first invalid field.
    """
    try:
        text = path.read_bytes()  # the parser refuses invalid UTF-8
    except OSError as error:
        raise InputError(f"The job file {path} cannot be read ({error.strerror}).") from error
    return parse_request(text, str(path))


def parse_request(text: str | bytes, source: str) -> Request:
    """As :func:`read_request`, from JSON text; ``source`` is its origin, for error messages."""
    with _one_sentence(source):
        return _REQUESTS.validate_json(text)


_REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)


@contextmanager
def _one_sentence(source: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"] if error.title in (Job.__name__, Settings.__name__) else first["loc"][1:]  # the kind
        raise not_valid(source, place, first["msg"]) from error
