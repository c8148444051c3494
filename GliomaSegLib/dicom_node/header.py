"""The DICOM headers of a study: the values that rules match, and the values that must not be shown.

Rules match the values as the scanner wrote them. Only stored and shown texts (reasons, log, page, figures) are
redacted: a patient called Meningioma or a physician called Surgery must not change how a study is processed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from GliomaSegLib.errors import printable

ROUTED_BY = (
    *("StudyDescription", "SeriesDescription", "ProtocolName", "Modality", "BodyPartExamined", "SequenceName"),
    *("RequestedProcedureDescription", "PerformedProcedureStepDescription", "InstitutionName", "StationName"),
    *("Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "SoftwareVersions"),
)
"""The DICOM keywords that a rule may match; none is about the patient."""

_ABOUT_THE_PATIENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames", "PatientAddress"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName"),
    *("StudyInstanceUID", "SeriesInstanceUID"),
)
_SHORTEST = 3  # letters of a part of a name that is redacted: 'MR' may be a name, but is in many texts
_LONGEST = 1024  # letters of a value; DICOM's descriptions have 64
_MOST_SECRETS = 5000  # with more, all texts of the study are withheld
_WITHHELD = "(withheld)"


@dataclass(frozen=True)
class StudyHeader:
    """Header values of a study.

    Attributes:
        values: the distinct values of each keyword of :data:`ROUTED_BY`, not redacted: for rules only.
        secrets: texts that must not be shown.
        unreadable: the number of images that were skipped because their headers cannot be read.
    """

    values: dict[str, tuple[str, ...]]
    secrets: tuple[str, ...]
    unreadable: int = 0

    def shown(self, text: str) -> str:
        """``text`` without the patient's name, numbers and UIDs, and without control characters."""
        if len(self.secrets) > _MOST_SECRETS:
            return _WITHHELD
        return one_line(self._pattern.sub(_WITHHELD, text) if self.secrets else text)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """All secrets in one expression, the longest first, so that a part of a name does not hide the whole."""
        secrets = sorted(self.secrets, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, secrets))})(?!\w)", re.IGNORECASE)


def one_line(text: str) -> str:
    """``text`` in one line, with a space for every run of white space and control characters."""
    return " ".join(printable(text).split())


def read_header(images: Path) -> StudyHeader:
    """Read the header of one image of every series in ``images``, a folder with a folder per series.

    An image that cannot be read is skipped and counted.

    Raises:
        OSError: the folder cannot be read.
    """
    headers, unreadable = [], 0
    for folder in sorted(images.iterdir()):
        header, failed = _first(folder)
        unreadable += failed
        if header is not None:
            headers.append(header)
    secrets = tuple(dict.fromkeys(part for header in headers for part in _secrets(header)))
    values = {}
    for keyword in ROUTED_BY:
        texts = (text[:_LONGEST] for header in headers for text in _texts(header, keyword) if text)
        values[keyword] = tuple(dict.fromkeys(texts))
    return StudyHeader({keyword: texts for keyword, texts in values.items() if texts}, secrets, unreadable)


def _first(folder: Path) -> tuple[Dataset | None, int]:
    """The header of the first image that can be read, and how many before it could not be."""
    unreadable = 0
    for path in sorted(folder.glob("*.dcm")):
        try:
            return dcmread(path, stop_before_pixels=True, specific_tags=[*ROUTED_BY, *_ABOUT_THE_PATIENT]), unreadable
        except Exception:  # pydicom raises any exception for a malformed file; the pipeline reports what is missing
            unreadable += 1
    return None, unreadable


def _texts(header: Dataset, keyword: str) -> list[str]:
    try:
        value = header.get(keyword)
        values = value if isinstance(value, (MultiValue, list)) else [value]
        return [" ".join(str(one).split()) for one in values if one is not None]
    except Exception:  # its bytes do not fit its VR
        return _undecoded(header, keyword)


def _undecoded(header: Dataset, keyword: str) -> list[str]:
    """The raw values, read as Latin-1, of an element that is not decoded yet or cannot be."""
    tag = tag_for_keyword(keyword)
    raw = None if tag is None else getattr(dict(header.items()).get(BaseTag(tag)), "value", None)
    return raw.decode("latin-1").strip("\0 ").split("\\") if isinstance(raw, bytes) else []


def _secrets(header: Dataset) -> Iterable[str]:
    for keyword in _ABOUT_THE_PATIENT:
        for text in (*_undecoded(header, keyword), *_texts(header, keyword)):  # a name may have a numeric VR
            yield from (part for part in {text, *re.split(r"[\^=,\s]+", text)} if len(part) >= _SHORTEST)
