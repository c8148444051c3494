"""``gliomaseg exams``: lists the studies in a folder of DICOM files, without segmenting them.

By patient and date: which series would be used for which modality, which cannot be read because slices are missing,
duplicate or uneven, and which files are not used. The user must state whether a study was made before or after surgery;
dates are shown, never interpreted.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, as_typed, listed
from GliomaSegLib.io.dicom import DicomSeries, read_folder
from GliomaSegLib.io.dicom_volume import series_geometry, series_problem
from GliomaSegLib.record import Record
from GliomaSegLib.study.dicom_studies import DicomStudy, studies_of
from GliomaSegLib.study.selection import search_study


class SeriesRow(Record):
    """One series, or the part of it that is a volume.

    Attributes:
        sequence: the modality for which it would be used; ``None`` for none.
        voxel_mm: voxel size along a row, along a column, and between slices.
        problem: why it cannot be read (without ``--allow-incomplete``); ``None`` when its headers are correct.
    """

    name: str
    uid: str
    sequence: Modality | None
    slices: int
    voxel_mm: tuple[float, float, float]
    problem: str | None


class StudyRow(Record):
    """One study.

    Attributes:
        date: DICOM Study Date; empty when missing.
        uid: Study Instance UID, for the option ``--exam``.
        refusal: why its modalities cannot be identified without help; ``None`` when they can.
        passed_over: a sentence per series and reason on files that are not used, of this study or of unknown series.
    """

    patient: str
    date: str
    time: str
    uid: str
    series: tuple[SeriesRow, ...]
    refusal: str | None
    passed_over: tuple[str, ...] = ()


def list_studies(folder: Path) -> list[StudyRow]:
    """List the studies below ``folder``, sorted by patient and time, without reading pixels.

    Raises:
        InputError: the folder does not exist or holds no MR series.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder that holds the DICOM files.")
    found = read_folder(folder)
    studies = studies_of(found.series)
    if not studies:
        but = f" ({listed([str(one) for one in found.passed_over])})" if found.passed_over else ""
        raise InputError(f"{folder} holds no MR series{but}; check that it is a folder of DICOM files.")
    known = {one.uid for one in found.series}
    rows = []
    for study in studies:
        own = {one.uid for one in study.series}
        rows.append(_row(study, folder, [str(one) for one in found.passed_over if one.series_uid not in known - own]))
    return rows


def _row(study: DicomStudy, folder: Path, passed_over: list[str]) -> StudyRow:
    try:
        assigned, refusal = search_study(folder, series=study.series).select().assigned, None
    except InputError as error:
        assigned, refusal = {}, str(error)
    taken = {(one.source.series_uid, one.source.part): sequence for sequence, one in assigned.items()}
    rows = tuple(_series_row(one, taken.get((one.uid, one.part))) for one in study.series)
    return StudyRow(
        patient=study.patient_id,
        date=study.date,
        time=study.time,
        uid=study.uid,
        series=rows,
        refusal=refusal,
        passed_over=tuple(passed_over),
    )


def _series_row(series: DicomSeries, sequence: Modality | None) -> SeriesRow:
    return SeriesRow(
        name=series.name,
        uid=series.uid,
        sequence=sequence,
        slices=len(series.slices),
        voxel_mm=series_geometry(series)[0],
        problem=series_problem(series),
    )


def to_text(rows: list[StudyRow], folder: Path) -> str:
    """The list for a terminal, with the command that segments the first study."""
    lines = []
    for number, row in enumerate(rows, start=1):
        when = f"{DicomStudy(row.patient, row.date, row.time, row.uid, ()).day} {row.time[:2]}:{row.time[2:4]}"
        lines.append(f"{number}. {row.patient or 'no patient ID'}, {when.rstrip(' :')}   --exam {row.uid}")
        for one in row.series:
            size = f"{one.slices} slices, {' x '.join(f'{mm:.3g}' for mm in one.voxel_mm)} mm"
            lines.append(f"   {one.sequence.title if one.sequence else '-':<14} {one.name}: {size}")
            if one.problem:
                lines.append(f"   {'':<14} cannot be read: {one.problem}")
        if row.refusal:
            lines.append(f"   {row.refusal}")
    lines += dict.fromkeys(sentence for row in rows for sentence in row.passed_over)
    lines.append(
        f"Say which is meant and when it was made: gliomaseg segment {as_typed(folder)} --exam {rows[0].uid} "
        "--time-point preoperative (or postoperative --days-since-surgery DAYS)"
    )
    return "\n".join(lines)


def to_json(rows: list[StudyRow]) -> str:
    """The list as JSON."""
    return TypeAdapter(list[StudyRow]).dump_json(rows, indent=2).decode()
