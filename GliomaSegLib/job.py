"""What is asked of GliomaSeg and what it answers: plain data that can be written to a file and read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from GliomaSegLib.case import Sequence, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.images import image_stem
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.measures.volumes import Measures
from GliomaSegLib.preprocessing.brain import BrainMethod
from GliomaSegLib.record import Record
from GliomaSegLib.zoo.card import Postprocessing


class Job(Record):
    """One case to segment. Paths are made absolute, so that a job means the same wherever it is read again.

    Attributes:
        study: folder with image files or DICOM series (or one file) in which the sequences are looked for.
        volumes: a file (or a DICOM folder with one series) per sequence, instead of or over what ``study`` holds.
        leave_out: sequences to do without, though the study may hold them.
        model: id of a card of the zoo.
        output: folder to make. It appears whole or not at all.
        case_id: how the case is called in the results; by default the name of the study.
        days_since_surgery: says by itself that the study is post-operative.
        registration: ``False`` when all sequences are known to lie in place.
        bias_correction: N4 before normalisation.
        seed: of the random numbers that some networks need.
        postprocessing: instead of the card's own.
        probabilities: also write the probability maps that a reader may threshold again.
        label_scheme: numbering of ``segmentation.nii.gz`` (the ``.seg.nrrd`` names its segments anyway).
        overwrite: replace ``output`` if it is there and holds earlier results.
        device: ``auto``, ``cpu``, ``cuda`` (or ``cuda:1``) or ``mps``.
        precision: number format of the network; ``auto`` takes the fastest that the device has.
        threads: processor threads; by default all cores.
        store: folder of installed models; by default the user's.
    """

    study: Path | None = None
    volumes: dict[Sequence, Path] = Field(default_factory=dict)
    leave_out: tuple[Sequence, ...] = ()
    model: str
    output: Path
    case_id: str | None = None
    time_point: TimePointKind = TimePointKind.UNKNOWN
    days_since_surgery: float | None = None
    registration: bool = True
    brain: BrainMethod = BrainMethod.DEEPBET
    bias_correction: bool = False
    seed: int = 1
    postprocessing: Postprocessing | None = None
    probabilities: bool = True
    label_scheme: LabelScheme = LabelScheme.GLIOMASEG
    overwrite: bool = False
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    store: Path | None = None

    @model_validator(mode="after")
    def _has_images(self) -> Job:
        if self.study is None and not self.volumes:
            raise ValueError("no study was given; give its folder, or a file per sequence")
        for sequence in self.leave_out:
            if sequence in self.volumes:
                raise ValueError(f"{sequence.title} is given and to be left out; say one of them")
        return self

    @field_validator("study", "output", "store")
    @classmethod
    def _made_absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path else None

    @field_validator("volumes")
    @classmethod
    def _each_made_absolute(cls, volumes: dict[Sequence, Path]) -> dict[Sequence, Path]:
        return {sequence: path.expanduser().absolute() for sequence, path in volumes.items()}

    @property
    def name(self) -> str:
        """How the case is called."""
        if self.case_id:
            return self.case_id
        named = self.study or next(iter(self.volumes.values()))
        return image_stem(named.resolve())

    @property
    def when(self) -> TimePoint:
        """When the study was made.

        Raises:
            InputError: days since surgery are given for a study before it, or are no such number.
        """
        kind = self.time_point
        if self.days_since_surgery is not None and kind is TimePointKind.UNKNOWN:
            kind = TimePointKind.POSTOPERATIVE
        return TimePoint(kind, self.days_since_surgery)


class Result(Record):
    """What a finished job has made.

    Attributes:
        files: the path inside ``output`` of ``label_map``, ``slicer_segmentation``, ``measures_json``,
            ``measures_csv``, ``report``, ``brain`` and ``manifest``, and of each map there is, as ``probability_WT``.
        missing: sequences that the model takes and the case lacks, and ``cost`` says what that costs.
        seconds: per stage.
    """

    case_id: str
    model: str
    output: Path
    files: dict[str, Path]
    measures: Measures
    missing: tuple[Sequence, ...] = ()
    cost: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)


def new_job(**fields: Any) -> Job:
    """A job from values that a person gave.

    Raises:
        InputError: a value cannot be; the sentence names the first field that is wrong.
    """
    with _one_sentence("The job"):
        return Job(**fields)


def read_job(path: Path) -> Job:
    """Read a job file (JSON).

    Raises:
        InputError: the file cannot be read or is not a job; the sentence names the first field that is wrong.
    """
    try:
        text = path.read_bytes()  # wrong UTF-8 is the parser's to refuse
    except OSError as error:
        raise InputError(f"The job file {path} cannot be read ({error.strerror}).") from error
    return parse_job(text, str(path))


def parse_job(text: str | bytes, source: str) -> Job:
    """As :func:`read_job`, from JSON text that came from ``source``."""
    with _one_sentence(source):
        return Job.model_validate_json(text)


@contextmanager
def _one_sentence(source: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) + ": " if first["loc"] else ""
        what = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise InputError(f"{source} is not valid: {where}{what}.") from error
