"""Which exams a folder of DICOM holds: whose they are, when they were made, and the choice of one of them.

An exam is what one Study Instance UID holds. Before and after surgery may lie in one folder, even on one day, and must
never be mixed: where there are several the user is told, and says which.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import DicomSeries


@dataclass(frozen=True)
class DicomExam:
    """One exam.

    Attributes:
        date, time: of the study, as DICOM writes them (``20240131``, ``120000``); may be empty.
        series: its MR volumes.
    """

    patient_id: str
    date: str
    time: str
    uid: str
    series: tuple[DicomSeries, ...]

    @property
    def day(self) -> str:
        """The date as people read it."""
        text = self.date
        return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text or "no date"

    def __str__(self) -> str:
        count = len(self.series)
        return f"{self.day} of {self.patient_id or 'no patient ID'} ({count} series)"


def exams_of(series: Sequence[DicomSeries]) -> list[DicomExam]:
    """The exams that the series belong to, by patient and then in the order in which they were made."""
    groups = defaultdict(list)
    for one in series:
        groups[one.patient_id, one.study_date, one.study_time, one.study_uid].append(one)
    return [DicomExam(*key, tuple(group)) for key, group in sorted(groups.items())]


def series_of_exam(series: Sequence[DicomSeries], chosen: str | None, folder: Path) -> list[DicomSeries]:
    """The series of the only exam, or of the chosen one.

    Args:
        chosen: a date (``20240131`` or ``2024-01-31``) or a Study Instance UID. A date takes all that was made that
            day of one patient, for hospitals that give one visit several UIDs.
        folder: where the series were found, for the sentence.

    Raises:
        InputError: there are several and none was chosen, several patients have one on that date, or there is no such.
    """
    exams = exams_of(series)
    if chosen is None:
        if len(exams) > 1:
            raise InputError(
                f"{folder} holds {len(exams)} exams: {_listed(exams)}; say which with --exam and its date or Study "
                f"Instance UID ('gliomaseg exams {folder}' lists them), and with --time-point when it was made."
            )
        return list(series)
    wanted = [exam for exam in exams if chosen in (exam.uid, exam.date, exam.day)]
    if not wanted:
        raise InputError(f"{folder} holds no exam '{chosen}', but {_listed(exams) or 'no DICOM series'}.")
    if len({exam.patient_id for exam in wanted}) > 1:
        raise InputError(
            f"{folder} holds exams of several patients on {wanted[0].day}: {_listed(wanted)}; say which with --exam "
            "and its Study Instance UID."
        )
    return [one for exam in wanted for one in exam.series]


def _listed(exams: Sequence[DicomExam], most: int = 6) -> str:
    more = f" and {len(exams) - most} more" if len(exams) > most else ""
    return ", ".join(map(str, exams[:most])) + more
