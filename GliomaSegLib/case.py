"""A case: up to four structural MR sequences of one patient at one time point.

Images are :class:`SimpleITK.Image` everywhere: the pixels and their geometry travel together. SimpleITK's physical
space is LPS in millimetres (x to the patient's left, y to posterior, z to superior); arrays taken from an image with
``sitk.GetArrayViewFromImage`` are indexed ``[z, y, x]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from GliomaSegLib.errors import InputError

if TYPE_CHECKING:  # an application without it names sequences too
    import SimpleITK as sitk


class Modality(str, Enum):
    """The four structural MR sequences, named as in BraTS 2023: native T1, contrast T1, T2 and T2-FLAIR."""

    T1N = "t1n"
    T1C = "t1c"
    T2W = "t2w"
    T2F = "t2f"

    @property
    def title(self) -> str:  # type: ignore[override] # a name, not the string's method
        """The name that a radiologist would read, e.g. ``T1 + contrast``."""
        return {"t1n": "T1", "t1c": "T1 + contrast", "t2w": "T2", "t2f": "FLAIR"}[self.value]


class Preoperative(str, Enum):
    """Inputs from the study before surgery, which some models for the time after it take as well."""

    T1C = "preoperative-t1c"
    TUMOUR = "preoperative-tumour"  # enhancing tumour with what it encloses

    @property
    def title(self) -> str:  # type: ignore[override]
        """How a sentence names it."""
        return "T1 + contrast before surgery" if self is Preoperative.T1C else "the tumour before surgery"


Input = Modality | Preoperative
"""A possible input channel of a network."""


# The grid on which results are drawn, best first: surgeons plan on T1c; FLAIR shows the whole tumour.
REFERENCE_ORDER: tuple[Modality, ...] = (Modality.T1C, Modality.T2F, Modality.T2W, Modality.T1N)


class TimePointKind(str, Enum):
    """The time of a study relative to surgery."""

    PREOPERATIVE = "preoperative"
    POSTOPERATIVE = "postoperative"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TimePoint:
    """When the study was made. ``days_since_surgery`` is only meaningful after surgery; ``None`` when not known."""

    kind: TimePointKind = TimePointKind.UNKNOWN
    days_since_surgery: float | None = None

    def __post_init__(self) -> None:
        if self.days_since_surgery is None:
            return
        if self.kind is not TimePointKind.POSTOPERATIVE:
            raise InputError("Days since surgery were given, but the study is not said to be post-operative.")
        if not 0 <= self.days_since_surgery < 36_500:
            raise InputError(f"{self.days_since_surgery} is not a number of days since surgery; give 0 or more.")


@dataclass(frozen=True)
class Source:
    """Where an image was read from: a file, or one series (by its UID) of a DICOM folder.

    ``part`` distinguishes volumes that share one series, such as two echoes.
    """

    path: Path
    series_uid: str | None = None
    part: str = ""

    def __str__(self) -> str:
        return f"{self.path} (series {self.series_uid})" if self.series_uid else str(self.path)


@dataclass(frozen=True)
class StudyIdentity:
    """Whose study it is and which, as DICOM's headers say; each may be empty, and names may be pseudonyms.

    ``image_numbers`` are the Instance Numbers (in one enhanced image: the frames, from 1) of the reference image's
    slices, in the order of its third voxel axis.
    """

    patient_id: str = ""
    patient_name: str = ""
    study_date: str = ""
    accession_number: str = ""
    image_numbers: tuple[int, ...] = ()

    @property
    def day(self) -> str:
        """The study's date as ``2024-05-31``; as it stands in the header where that is no date of DICOM."""
        day = self.study_date
        return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else day

    def line(
        self, patient: str = "patient {value}", study: str = "study of {value}", accession: str = "accession {value}"
    ) -> str:
        """What is known of it, but the image numbers, in one line; the arguments are its words in another language."""
        parts = {
            "{value}": self.patient_name,
            patient: self.patient_id,
            study: self.day,
            accession: self.accession_number,
        }
        return " · ".join(text.format(value=value) for text, value in parts.items() if value)


@dataclass(frozen=True)
class SequenceVolume:
    """One image of the case, with its sequence, the confidence (0 to 1) of that identification and its reason.

    ``name`` is what a person calls it: the file name, or the DICOM description with the series number. ``identity`` is
    ``None`` for what is no DICOM series.
    """

    sequence: Modality
    image: sitk.Image
    source: Source
    confidence: float
    reason: str
    name: str = ""
    identity: StudyIdentity | None = None

    @property
    def patient(self) -> str:
        """DICOM's Patient ID, empty where it is not known."""
        return self.identity.patient_id if self.identity else ""

    def __str__(self) -> str:
        """How a sentence names it: the sequence, and its file or its series and folder."""
        where = f"'{self.name}' in {self.source.path}" if self.source.series_uid else self.source.path
        return f"{self.sequence.title} ({where})"


@dataclass(frozen=True)
class Case:
    """The sequences of one study. Any non-empty subset of the four is a legal case.

    Attributes:
        ignored: one clause for each volume of the study that was not used, e.g. ``'ADC.nii.gz' (called 'adc')``.
        doubts: one sentence for each thing about the images that the user should check.
        passed_over: one sentence for the DICOM files of each series and reason that are there and do not count.
        incomplete: one sentence for each image of which slices seem to be lost, and which the user accepted.
    """

    identifier: str
    volumes: Mapping[Modality, SequenceVolume]
    time_point: TimePoint = field(default_factory=TimePoint)
    ignored: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.volumes:
            raise InputError(
                f"The case '{self.identifier}' has no sequence; give at least one of T1, T1c, T2 or FLAIR."
            )

    @property
    def present(self) -> tuple[Modality, ...]:
        """The sequences that the case has, in the order of :class:`Modality`."""
        return tuple(sequence for sequence in Modality if sequence in self.volumes)

    @property
    def reference(self) -> SequenceVolume:
        """The volume in whose grid results are given: T1c, else the best present."""
        return next(self.volumes[sequence] for sequence in REFERENCE_ORDER if sequence in self.volumes)
