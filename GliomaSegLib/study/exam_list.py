"""``gliomaseg exams``: what a folder of DICOM holds, before any of it is segmented.

Per patient and in the order in which they were made: which series would be taken for which sequence, and which cannot
be read because slices are missing, doubled or uneven. Whether an exam was made before or after surgery is the user's to
say; the dates are told, never interpreted.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import DicomSeries, find_series, series_geometry, series_problem
from GliomaSegLib.record import Record
from GliomaSegLib.study.exams import DicomExam, exams_of
from GliomaSegLib.study.reading import identify


class SeriesRow(Record):
    """One series, or the part of it that is a volume.

    Attributes:
        sequence: for which it would be taken; ``None`` for none.
        voxel_mm: along rows, columns and between slices.
        problem: why it cannot be read; ``None`` when its headers are in order.
    """

    name: str
    uid: str
    sequence: Modality | None
    slices: int
    voxel_mm: tuple[float, float, float]
    problem: str | None


class ExamRow(Record):
    """One exam.

    Attributes:
        date: as DICOM writes it; empty when it does not say.
        uid: Study Instance UID, which ``--exam`` takes.
        refusal: why its sequences cannot be told apart without help; ``None`` when they can.
    """

    patient: str
    date: str
    time: str
    uid: str
    series: tuple[SeriesRow, ...]
    refusal: str | None


def list_exams(folder: Path) -> list[ExamRow]:
    """The exams below ``folder``, by patient and time. No pixels are read.

    Raises:
        InputError: the folder does not exist or holds no MR series.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder that holds the DICOM files.")
    exams = exams_of(find_series(folder))
    if not exams:
        raise InputError(f"{folder} holds no MR series; check that it is a folder of DICOM files.")
    return [_row(exam, folder) for exam in exams]


def _row(exam: DicomExam, folder: Path) -> ExamRow:
    try:
        assigned, refusal = identify(folder, exam=exam.uid), None
    except InputError as error:
        assigned, refusal = {}, str(error)
    taken = {(one.source.series_uid, one.source.part): sequence for sequence, one in assigned.items()}
    rows = tuple(_series_row(one, taken.get((one.uid, one.part))) for one in exam.series)
    return ExamRow(patient=exam.patient_id, date=exam.date, time=exam.time, uid=exam.uid, series=rows, refusal=refusal)


def _series_row(series: DicomSeries, sequence: Modality | None) -> SeriesRow:
    return SeriesRow(
        name=series.name,
        uid=series.uid,
        sequence=sequence,
        slices=len(series.slices),
        voxel_mm=series_geometry(series)[0],
        problem=series_problem(series),
    )


def to_text(rows: list[ExamRow], folder: Path) -> str:
    """The list for a terminal, with the command that takes the first one."""
    lines = []
    for number, row in enumerate(rows, start=1):
        when = f"{DicomExam(row.patient, row.date, row.time, row.uid, ()).day} {row.time[:2]}:{row.time[2:4]}"
        lines.append(f"{number}. {row.patient or 'no patient ID'}, {when.rstrip(' :')}   --exam {row.uid}")
        for one in row.series:
            size = f"{one.slices} slices, {' x '.join(f'{mm:.3g}' for mm in one.voxel_mm)} mm"
            lines.append(f"   {one.sequence.title if one.sequence else '-':<14} {one.name}: {size}")
            if one.problem:
                lines.append(f"   {'':<14} cannot be read: {one.problem}")
        if row.refusal:
            lines.append(f"   {row.refusal}")
    lines.append(
        f"Say which is meant and when it was made: gliomaseg segment {folder} --exam {rows[0].uid} --time-point "
        "preoperative (or postoperative --days-since-surgery DAYS)"
    )
    return "\n".join(lines)


def to_json(rows: list[ExamRow]) -> str:
    """The list as JSON."""
    return TypeAdapter(list[ExamRow]).dump_json(rows, indent=2).decode()
