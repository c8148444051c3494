"""The headers of a study: the values that rules look at, and the values that must not be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

ROUTED_BY = (
    *("StudyDescription", "SeriesDescription", "ProtocolName", "Modality", "BodyPartExamined", "SequenceName"),
    *("RequestedProcedureDescription", "PerformedProcedureStepDescription", "InstitutionName", "StationName"),
    *("Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "SoftwareVersions"),
)
"""The keywords by which a rule may tell studies apart; none is about the patient."""

_ABOUT_THE_PATIENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames", "PatientAddress"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName"),
    *("StudyInstanceUID", "SeriesInstanceUID"),
)
_SHORTEST = 3  # letters of a part of a name; 'MR' may be somebody's name, and is everywhere
_WITHHELD = "(withheld)"


@dataclass(frozen=True)
class StudyHeader:
    """What the headers of a study say.

    Attributes:
        values: the different values of each keyword of :data:`ROUTED_BY`, without what is about the patient.
        secrets: what must not be shown, the longest first.
    """

    values: dict[str, tuple[str, ...]]
    secrets: tuple[str, ...]

    def shown(self, text: str) -> str:
        """``text`` without the patient's name, numbers and UIDs."""
        return _without(text, self.secrets)


def read_header(images: Path) -> StudyHeader:
    """Read one image of every series in ``images``, a folder with a folder per series."""
    headers = [header for folder in sorted(images.iterdir()) if (header := _first(folder)) is not None]
    secrets = tuple(sorted({part for header in headers for part in _secrets(header)}, key=len, reverse=True))
    values = {}
    for keyword in ROUTED_BY:
        said = (text for header in headers for text in _texts(header, keyword))
        values[keyword] = tuple(dict.fromkeys(_without(text, secrets) for text in said if text))
    return StudyHeader({keyword: texts for keyword, texts in values.items() if texts}, secrets)


def _first(folder: Path) -> Dataset | None:
    for path in sorted(folder.glob("*.dcm")):
        try:
            return dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError):  # of a whole series one image can be read, or none: the road says why
            continue
    return None


def _texts(header: Dataset, keyword: str) -> Iterable[str]:
    value = header.get(keyword)
    values = value if isinstance(value, MultiValue) else [value]
    return (" ".join(str(one).split()) for one in values if one is not None)


def _secrets(header: Dataset) -> Iterable[str]:
    for keyword in _ABOUT_THE_PATIENT:
        for text in _texts(header, keyword):
            yield from (part for part in {text, *re.split(r"[\^=,\s]+", text)} if len(part) >= _SHORTEST)


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _WITHHELD, text, flags=re.IGNORECASE)
    return text
