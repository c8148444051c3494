"""A case: up to four structural MR images (modalities) of one patient at one time point.

Images are always :class:`SimpleITK.Image`, so that pixels and geometry stay together. SimpleITK's physical
space is LPS in millimetres (x to the patient's left, y to posterior, z to superior); arrays taken from an image with
``sitk.GetArrayViewFromImage`` are indexed ``[z, y, x]``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from GliomaSegLib.errors import InputError

if TYPE_CHECKING:  # the panel uses this module without SimpleITK
    import SimpleITK as sitk


class Modality(str, Enum):
    """The four structural MR modalities, named as in BraTS 2023: native T1, contrast-enhanced T1, T2 and T2-FLAIR."""

    T1N = "t1n"
    T1C = "t1c"
    T2W = "t2w"
    T2F = "t2f"

    @property
    def title(self) -> str:  # type: ignore[override] # a name, not the string's method
        """The display name, e.g. ``T1 + contrast``."""
        return {"t1n": "T1", "t1c": "T1 + contrast", "t2w": "T2", "t2f": "FLAIR"}[self.value]


class Preoperative(str, Enum):
    """Inputs from the pre-operative study, which some post-operative models also use."""

    T1C = "preoperative-t1c"
    TUMOUR = "preoperative-tumour"  # enhancing tumour and the necrosis that it encloses

    @property
    def title(self) -> str:  # type: ignore[override]
        """The name in sentences."""
        return "T1 + contrast before surgery" if self is Preoperative.T1C else "the tumour before surgery"


Input = Modality | Preoperative
"""A possible input channel of a network."""


# The preferred reference image, on whose grid results are given: surgeons plan on T1c; FLAIR shows the whole tumour.
REFERENCE_ORDER: tuple[Modality, ...] = (Modality.T1C, Modality.T2F, Modality.T2W, Modality.T1N)


def reference_of(present: Container[Modality]) -> Modality:
    """The modality of the reference image where these are present: the first of :data:`REFERENCE_ORDER`."""
    return next(modality for modality in REFERENCE_ORDER if modality in present)


class TimePointKind(str, Enum):
    """The time of a study relative to surgery."""

    PREOPERATIVE = "preoperative"
    POSTOPERATIVE = "postoperative"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TimePoint:
    """The time of a study. ``days_since_surgery`` is only valid after surgery; ``None`` when not known.

    Raises:
        InputError: days since surgery are given for another kind, or are negative or absurd.
    """

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
    """The origin of an image: a file, or one series (by its UID) of a DICOM folder.

    ``part`` distinguishes volumes of one series, such as two echoes.
    """

    path: Path
    series_uid: str | None = None
    part: str = ""

    def __str__(self) -> str:
        return f"{self.path} (series {self.series_uid})" if self.series_uid else str(self.path)


@dataclass(frozen=True)
class StudyIdentity:
    """Patient and study from DICOM headers; each value may be empty, and names may be pseudonyms.

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
        """The study date as ``2024-05-31``; unchanged if it is no DICOM date."""
        day = self.study_date
        return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdigit() else day

    def line(
        self, patient: str = "patient {value}", study: str = "study of {value}", accession: str = "accession {value}"
    ) -> str:
        """All values but the image numbers in one line; the arguments are format strings, for translation."""
        parts = {
            "{value}": self.patient_name,
            patient: self.patient_id,
            study: self.day,
            accession: self.accession_number,
        }
        return " · ".join(text.format(value=value) for text, value in parts.items() if value)


def check_one_study(identities: Iterable[StudyIdentity]) -> None:
    """Refuse images, given one by one, that come from several patients or studies; what is not known is no difference.

    Raises:
        InputError: they have different Patient IDs or study dates.
    """
    found = list(identities)
    for what, said in (
        ("patients", {one.patient_id for one in found}),
        ("study dates", {one.study_date for one in found}),
    ):
        if len(said - {""}) > 1:
            named = ", ".join(sorted(said - {""}))
            raise InputError(f"Its series are of several {what} ({named}); give the series of one study.")


@dataclass(frozen=True)
class SequenceVolume:
    """One image of the case, with its modality and the confidence (0 to 1) and reason of that identification.

    ``name`` is the file name, or the DICOM description with the series number. ``identity`` is ``None`` if the image is
    not from a DICOM series.
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
        """The Patient ID; empty if not known."""
        return self.identity.patient_id if self.identity else ""

    def __str__(self) -> str:
        """The name in sentences: the modality, and its file or its series and folder."""
        where = f"'{self.name}' in {self.source.path}" if self.source.series_uid else self.source.path
        return f"{self.sequence.title} ({where})"


@dataclass(frozen=True)
class Case:
    """The images of one study: any non-empty subset of the four modalities.

    Attributes:
        ignored: a clause for each volume of the study that was not used, e.g. ``'ADC.nii.gz' (called 'adc')``.
        doubts: sentences about the images that the user should check.
        passed_over: a sentence per series and reason on DICOM files that were found and not used.
        incomplete: a sentence for each image with missing slices that the user accepted.

    Raises:
        InputError: there is no image.
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
        """The modalities of the case, in the order of :class:`Modality`."""
        return tuple(sequence for sequence in Modality if sequence in self.volumes)

    @property
    def reference(self) -> SequenceVolume:
        """The image on whose grid results are given: the first of :data:`REFERENCE_ORDER`."""
        return self.volumes[reference_of(self.volumes)]
