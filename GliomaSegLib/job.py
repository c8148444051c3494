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
"""An absolute path, so that a request means the same wherever it is read again."""

Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]


class Settings(Record):
    """How a case is segmented, whether its images come from files or from memory.

    Attributes:
        model: id of a card of the zoo, or ``auto``: the best installed one that suits the case (see
            :mod:`GliomaSegLib.zoo.recommend`).
        task: for ``auto``, the task of the model (see the cards); by default glioma, before or after surgery.
        leave_out: sequences to do without, though the case may have them.
        transforms: for a sequence that is not to be registered, the file of a rigid ITK transform that takes points of
            the reference to points of that sequence (LPS mm). It is checked as a registration is.
        days_since_surgery: implies that the study is post-operative.
        preoperative: the study before surgery, for models that take it too: a folder of results, or its T1 +
            contrast. It implies that the study is post-operative.
        preoperative_mask: the tumour on that image (enhancing, and what it encloses): a label file, of which any value
            but 0 counts.
        purpose: after surgery, what the result is for: it decides which model ``auto`` takes, and which network where
            a card has several for several sets of inputs (see :mod:`GliomaSegLib.zoo.purpose`).
        registration: ``False`` when all sequences without a transform are known to be co-registered.
        bias_correction: N4 before normalisation.
        seed: of the random numbers that some networks need.
        postprocessing: instead of the card's own.
        device: ``auto``, ``cpu``, ``cuda`` (or ``cuda:1``) or ``mps``.
        precision: number format of the network; ``auto`` takes the fastest that the device has.
        threads: processor threads; by default all cores.
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
            InputError: days since surgery are given for a study before it, or are no such number.
        """
        kind = self.time_point
        if kind is TimePointKind.UNKNOWN and (self.days_since_surgery is not None or self.preoperative):
            kind = TimePointKind.POSTOPERATIVE
        return TimePoint(kind, self.days_since_surgery)


class Job(Settings):
    """One case to segment from files, and the folder to make of it.

    Attributes:
        study: folder with image files or DICOM series (or one file) in which the sequences are identified.
        exam: of several DICOM exams in ``study`` the one that is meant, by its date or Study Instance UID.
        volumes: a file (or a DICOM folder with one series) per sequence, instead of or over what ``study`` holds.
        allow_incomplete: use a DICOM series too of which slices seem to be lost; the report says so in its first line.
        output: folder to make. It appears whole or not at all.
        case_id: how the case is called in the results; by default the name of the study.
        dicom: of ``volumes`` that another program made of a DICOM series the files of that series, from which the
            volume's name and the patient's identity are taken; they are not kept with the results.
        identity: whether the patient's identity, the date and the numbers of the study are kept with the results and
            shown in the report; the DICOM objects take them from the source in any case.
        probabilities: also write the probability maps that a reader may threshold again.
        all_probabilities: write those of every region that the model gives, each on the whole grid, for research.
        label_scheme: numbering of ``segmentation.nii.gz`` (the ``.seg.nrrd`` names its segments anyway).
        overwrite: replace ``output`` if it is there and holds earlier results.
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
        """How the case is called."""
        if self.case_id:
            return self.case_id
        named = self.study or next(iter(self.volumes.values()))
        return image_stem(named.resolve())


class Measure(Record):
    """Bring the results in ``output`` up to date after an edit."""

    do: Literal["measure"] = "measure"
    output: AbsolutePath


class Review(Record):
    """Record the decision of the reviewer ``by`` on the results in ``output``; ``draft`` withdraws an earlier one."""

    do: Literal["review"] = "review"
    output: AbsolutePath
    state: Literal[ReviewState.DRAFT, ReviewState.APPROVED, ReviewState.REJECTED]
    by: str


class Install(Record):
    """Install a model's weights in ``store``, by default the user's: from where they are published, or from ``source``
    (see :meth:`GliomaSegLib.zoo.store.Store.install`)."""

    do: Literal["install"] = "install"
    model: str
    store: AbsolutePath | None = None
    source: AbsolutePath | None = None


class ComparedStudy(Record):
    """One study of a comparison.

    Attributes:
        path: a folder of results, or a label file.
        image: the scan that a label file was drawn on.
        scheme: numbering of a label file.
        time_point, days_since_surgery: over what a folder of results says.
        date: of the study, over what its DICOM files say.
    """

    path: AbsolutePath
    image: AbsolutePath | None = None
    scheme: LabelScheme = LabelScheme.GLIOMASEG
    time_point: TimePointKind | None = None
    days_since_surgery: float | None = None
    date: datetime.date | None = None

    @property
    def when(self) -> TimePoint | None:
        """When the study was made; ``None`` leaves it to the folder of results.

        Raises:
            InputError: days since surgery are given for a study before it, or are no such number.
        """
        if self.days_since_surgery is not None:
            return TimePoint(self.time_point or TimePointKind.POSTOPERATIVE, self.days_since_surgery)
        return None if self.time_point is None else TimePoint(self.time_point)


class Compare(Record):
    """Compare studies of one patient, given in the order in which they were made, and write the new folder ``output``.

    Attributes:
        overwrite: replace ``output`` if it is there and holds an earlier comparison.
        in_place, deformable: see :func:`GliomaSegLib.followup.compare.compare`.
        baseline: position in ``studies``, the first being 0, of the study with which response is compared.
        radiotherapy_end: a date such as ``2024-03-31``, a number of days after surgery, or ``none``.
        tumour: by which the criteria of response are chosen, over the task of the models.
        surgery: what the last operation was.
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
"""What another program may ask of the worker. A plain job needs no ``do``."""


class ReviewEvent(Record):
    """A change of the review state: ``when`` in ISO 8601; ``by`` whom, ``None`` for an edit that was found."""

    state: ReviewState
    when: str
    by: str | None = None


def new_job(**fields: Any) -> Job:
    """A job from values that a person gave.

    Raises:
        InputError: a value cannot be; the sentence names the first field that is wrong.
    """
    with _one_sentence("The job"):
        return Job(**fields)


def new_settings(**fields: Any) -> Settings:
    """As :func:`new_job`, of a case whose images are in memory."""
    with _one_sentence("The settings"):
        return Settings(**fields)


def read_request(path: Path) -> Request:
    """Read a file (JSON) with a job or another request.

    Raises:
        InputError: the file cannot be read or is no request; the sentence names the first field that is wrong.
    """
    try:
        text = path.read_bytes()  # wrong UTF-8 is the parser's to refuse
    except OSError as error:
        raise InputError(f"The job file {path} cannot be read ({error.strerror}).") from error
    return parse_request(text, str(path))


def parse_request(text: str | bytes, source: str) -> Request:
    """As :func:`read_request`, from JSON text that came from ``source``."""
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
