"""A folder of results as DICOM objects that a PACS and a planning system take."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from enum import Enum
from pathlib import Path

import SimpleITK as sitk
from pydicom import Dataset

from GliomaSegLib.errors import InputError
from GliomaSegLib.followup.exam import read_exam
from GliomaSegLib.io.dicom_out.provenance import Provenance
from GliomaSegLib.io.dicom_out.rtstruct import make_rtstruct
from GliomaSegLib.io.dicom_out.source import SourceSeries, read_source_series
from GliomaSegLib.io.dicom_out.structure import By, structures_of
from GliomaSegLib.io.folder import written_whole
from GliomaSegLib.io.results import Manifest, read_manifest
from GliomaSegLib.job import ReviewState
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.preprocessing.grid import reorient


class Kind(str, Enum):
    """A DICOM object, by the name of its file."""

    SEG = "seg"
    RTSTRUCT = "rtstruct"
    SR = "sr"


def export(
    results: Path,
    output: Path,
    kinds: Collection[Kind] = tuple(Kind),
    series: Path | None = None,
    by: By = By.REGIONS,
) -> dict[Kind, Path]:
    """Write DICOM objects of a folder of results into the new folder ``output``, whole or not at all.

    Every export has identifiers of its own, so that it never collides with an earlier one; structures keep theirs.

    Args:
        series: folder of the DICOM series that the segmentation lies on; by default where the study was read from.

    Raises:
        InputError: no folder of results, edited and not measured, or rejected; no such series, or on another grid; the
            package highdicom is needed and not installed.
    """
    manifest = read_manifest(results)
    if manifest.review is ReviewState.REJECTED:
        raise InputError(f"{results} was rejected by its reviewer and is not exported; correct it, or review it again.")
    if set(kinds) & {Kind.SEG, Kind.SR} and importlib.util.find_spec("highdicom") is None:
        raise InputError("DICOM SEG and SR need the package highdicom; install it with: pip install 'GliomaSeg[dicom]'")
    exam = read_exam(results)
    source = _source(manifest, series, exam.labels, results)
    about = Provenance.of(manifest)
    measures = measure(source.labels, reorient(exam.brain, source.labels), exam.regions)
    structures = structures_of(source.labels, measures, exam.regions, by, source.first.SeriesInstanceUID)
    objects: dict[Kind, Dataset] = {}
    if set(kinds) & {Kind.SEG, Kind.SR}:  # the report refers to the segments
        from GliomaSegLib.io.dicom_out.report import make_report
        from GliomaSegLib.io.dicom_out.seg import make_seg

        objects[Kind.SEG] = make_seg(source, structures, about)
        if Kind.SR in kinds:
            objects[Kind.SR] = make_report(source, objects[Kind.SEG], structures, about)
    if Kind.RTSTRUCT in kinds:
        objects[Kind.RTSTRUCT] = make_rtstruct(source, structures, about)
    with written_whole(output) as folder:
        for kind, dataset in objects.items():
            dataset.save_as(folder / f"{kind.value}.dcm", enforce_file_format=True)
    return {kind: output / f"{kind.value}.dcm" for kind in objects}


def _source(manifest: Manifest, series: Path | None, labels: sitk.Image, results: Path) -> SourceSeries:
    record = manifest.sequences[manifest.reference]
    if series is None and record.series_uid is None:
        raise InputError(
            f"{results} was made from {record.path}, which is no DICOM series; give the folder of the series with "
            "--series."
        )
    return read_source_series(series or record.path, labels, None if series else record.series_uid)
