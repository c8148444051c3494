"""Groups the DICOM series of a folder into studies, and selects one study.

Studies before and after surgery may be in one folder, even with one date, and must never be mixed: if there are
several, the user must choose one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.errors import InputError, as_typed, listed
from GliomaSegLib.io.dicom import DicomSeries


@dataclass(frozen=True)
class DicomStudy:
    """The series with one Study Instance UID.

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
        """The date for display: ``2024-01-31``, or ``no date``."""
        text = self.date
        return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else text or "no date"

    def __str__(self) -> str:
        count = len(self.series)
        return f"{self.day} of {self.patient_id or 'no patient ID'} ({count} series)"


def studies_of(series: Sequence[DicomSeries]) -> list[DicomStudy]:
    """Group series into studies, sorted by patient, date and time."""
    groups = defaultdict(list)
    for one in series:
        # The series of one study may spell its time differently, as 120000 and 120000.000, or give their own.
        apart = one.study_uid or time_of_day(one.study_time)
        groups[one.patient_id, one.study_date, apart, one.study_uid].append(one)
    studies = [
        DicomStudy(patient, day, min(time_of_day(one.study_time) for one in group), uid, tuple(group))
        for (patient, day, _, uid), group in groups.items()
    ]
    return sorted(studies, key=lambda one: (one.patient_id, one.date, one.time, one.uid))


def time_of_day(text: str) -> str:
    """A DICOM time without fractions of a second and without the colons of older files."""
    return text.partition(".")[0].replace(":", "").strip()


def series_of_study(series: Sequence[DicomSeries], chosen: str | None, folder: Path) -> list[DicomSeries]:
    """The series of the only study, or of the chosen one.

    Args:
        chosen: a date (``20240131`` or ``2024-01-31``) or a Study Instance UID. A date selects all studies of one
            patient on that day, as some hospitals give one visit several UIDs.
        folder: where the series were found, for the error.

    Raises:
        InputError: there are several and none was chosen, several patients have a study on that date, or no study fits.
    """
    studies = studies_of(series)
    if chosen is None:
        if len(studies) > 1:
            raise InputError(
                f"{folder} holds {len(studies)} studies: {_listed(studies)}; say which with --exam and its date or "
                f"Study Instance UID ('gliomaseg exams {as_typed(folder)}' lists them), and with "
                "--time-point when it was made."
            )
        return list(series)
    wanted = [one for one in studies if chosen in (one.uid, one.date, one.day)]
    if not wanted:
        raise InputError(f"{folder} holds no study '{chosen}', but {_listed(studies) or 'no DICOM series'}.")
    if len({one.patient_id for one in wanted}) > 1:
        raise InputError(
            f"{folder} holds studies of several patients on {wanted[0].day}: {_listed(wanted)}; say which with --exam "
            "and its Study Instance UID."
        )
    return [one for study in wanted for one in study.series]


def _listed(studies: Sequence[DicomStudy]) -> str:
    return listed([str(one) for one in studies])
