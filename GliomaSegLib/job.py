"""What is asked of GliomaSeg and what it answers: plain data that can be written to a file and read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from GliomaSegLib.case import Sequence, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.measures.volumes import Measures
from GliomaSegLib.preprocessing.brain import BrainMethod
from GliomaSegLib.zoo.card import Postprocessing


class Job(BaseModel):
    """One case to segment.

    Attributes:
        study: folder with image files or DICOM series (or one file) in which the sequences are looked for.
        volumes: a file (or a DICOM folder with one series) per sequence, instead of or over what ``study`` holds.
        model: id of a card of the zoo.
        output: folder to make. It appears whole or not at all.
        case_id: how the case is called in the results; by default the name of the study.
        days_since_surgery: only with a post-operative study.
        registration: ``False`` when all sequences are known to lie in place.
        bias_correction: N4 before normalisation.
        seed: of the random numbers that some networks need.
        postprocessing: instead of the card's own.
        probabilities: also write the probability maps that a reader may threshold again.
        label_scheme: numbering of ``segmentation.nii.gz`` (the ``.seg.nrrd`` names its segments anyway).
        overwrite: replace ``output`` if it is there and holds earlier results.
        threads: processor threads; by default all cores.
        store: folder of installed models; by default the user's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Path | None = None
    volumes: dict[Sequence, Path] = Field(default_factory=dict)
    model: str
    output: Path
    case_id: str | None = None
    time_point: TimePointKind = TimePointKind.UNKNOWN
    days_since_surgery: float | None = None
    registration: bool = True
    brain: BrainMethod = BrainMethod.DEEPBET
    bias_correction: bool = False
    seed: int = 0
    postprocessing: Postprocessing | None = None
    probabilities: bool = True
    label_scheme: LabelScheme = LabelScheme.GLIOMASEG
    overwrite: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    store: Path | None = None

    @model_validator(mode="after")
    def _has_images(self) -> Job:
        if self.study is None and not self.volumes:
            raise ValueError("no study was given; give its folder, or a file per sequence")
        return self

    @field_validator("study", "output", "store")
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path else None

    @field_validator("volumes")
    @classmethod
    def _each_expanded(cls, volumes: dict[Sequence, Path]) -> dict[Sequence, Path]:
        return {sequence: path.expanduser() for sequence, path in volumes.items()}

    @property
    def name(self) -> str:
        """How the case is called."""
        if self.case_id:
            return self.case_id
        named = self.study or next(iter(self.volumes.values()))
        return named.resolve().name.removesuffix(".gz").removesuffix(".nii")


class Result(BaseModel):
    """What a finished job has made.

    Attributes:
        files: by kind (``segmentation``, ``seg_nrrd``, ``report``, …) the path inside ``output``.
        missing: sequences that the model takes and the case lacks, and ``cost`` says what that costs.
        seconds: per stage.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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
