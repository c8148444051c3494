"""Exports a folder of results as DICOM objects for PACS and treatment planning systems."""

from __future__ import annotations

import importlib.util
import logging
import math
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_export.numbering import Numbering, comparison_numbering, own_numbering
from GliomaSegLib.dicom_export.overlay import SERIES_NUMBER, make_overlay
from GliomaSegLib.dicom_export.provenance import Provenance
from GliomaSegLib.dicom_export.rtstruct import make_rtstruct
from GliomaSegLib.dicom_export.source import (
    OtherGridError,
    SourceSeries,
    read_moved_series,
    read_planning_series,
    read_source_series,
)
from GliomaSegLib.dicom_export.structure import Structure, lesion_region, structures_of
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError
from GliomaSegLib.io.folder import written_whole
from GliomaSegLib.io.grid import oriented_like
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.volumes import Measures, measure, volume_text
from GliomaSegLib.options import ExportBy, ExportKind, ReviewState
from GliomaSegLib.results.identity import keep_exported, keep_identities, read_exported
from GliomaSegLib.results.manifest import Manifest
from GliomaSegLib.results.reading import StoredResult, assess_stored, read_probabilities, read_result, read_transforms

_LOG = logging.getLogger(__name__)

# The modalities on which readers look for the tumour core and the whole tumour (Lotan 2021).
_OVERLAID = (Modality.T1C, Modality.T2F)

# On thick slices the volume of a small structure differs; with less than this share of it, it is not all there.
_LEAST_CONTOURED = 0.5

if TYPE_CHECKING:
    from highdicom.seg import Segmentation

    from GliomaSegLib.dicom_export.findings import Findings


@dataclass(frozen=True)
class ExportedObjects:
    """The written files, a sentence for each kind of object that could not be made, and warnings."""

    files: dict[ExportKind, Path]
    failures: dict[ExportKind, str]
    warnings: tuple[str, ...] = ()


def export(
    results: Path,
    output: Path,
    kinds: Collection[ExportKind] = (ExportKind.SEG, ExportKind.RTSTRUCT, ExportKind.SR),
    series: Path | None = None,
    by: ExportBy = ExportBy.REGIONS,
    comparison: Path | None = None,
) -> ExportedObjects:
    """Write DICOM objects of a folder of results into the new folder ``output``, each kind completely or not at all.

    If one kind cannot be made, the others are still written. Every export makes objects with new SOP Instance UIDs, so
    that none replaces an earlier one in an archive; structures keep their Tracking UIDs.

    Args:
        series: folder of the DICOM series that was segmented; by default where the study was read from. For a series
            on another grid in the same frame of reference only the structure set is made; the other objects refer to
            the segmented series.
        by: what the segments are: regions, parts or lesions.
        comparison: folder of a comparison in which this study takes part; lesions get its numbers.

    Raises:
        InputError: ``output`` exists; ``results`` is no folder of results, edited and not measured, or rejected; the
            series is missing or on another grid; the comparison is of other results; the package highdicom is needed
            and not installed; no kind could be made.
    """
    if output.exists():
        raise InputError(f"The output {output} exists already; exported objects are never replaced: name a new folder.")
    if comparison and by is not ExportBy.LESIONS:
        raise InputError("The numbers of a comparison are those of lesions; export with '--by lesions'.")
    stored = read_result(results)
    manifest, labels = stored.manifest, stored.labels
    if manifest.review is ReviewState.REJECTED:
        raise InputError(f"{results} was rejected by its reviewer and is not exported; correct it, or review it again.")
    if set(kinds) & {ExportKind.SEG, ExportKind.SR} and importlib.util.find_spec("highdicom") is None:
        raise InputError("DICOM SEG and SR need the package highdicom; install it with: pip install 'GliomaSeg[dicom]'")
    source, planning = _sources(manifest, series, labels, results, ExportKind.RTSTRUCT in kinds)
    about = Provenance.of(manifest, by)
    regions = frozenset(manifest.regions)
    brain = oriented_like(stored.brain, source.labels)
    measures = measure(source.labels, brain, regions)
    numbering = _numbering(results, source, measures, regions, comparison) if by is ExportBy.LESIONS else None
    structures = structures_of(source.labels, measures, regions, by, source.first.SeriesInstanceUID, numbering)
    onto = planning or source
    contoured = [one.on(source.labels, onto.labels) for one in structures] if planning else structures
    making = _Making(source, structures, about, kinds, onto, contoured, read_exported(results))
    objects, failures = making.objects(_findings(stored, numbering) if ExportKind.SR in kinds else None)
    with written_whole(output) as folder:
        for kind, dataset in objects.items():
            dataset.save_as(folder / f"{kind.value}.dcm", enforce_file_format=True)
        files = {kind: output / f"{kind.value}.dcm" for kind in objects}
        if ExportKind.OVERLAY in kinds:
            overlays = folder / ExportKind.OVERLAY.value
            with _failing(ExportKind.OVERLAY, failures):
                _write_overlays(overlays, source, manifest, series is None, results, about)
                files[ExportKind.OVERLAY] = output / ExportKind.OVERLAY.value
            if ExportKind.OVERLAY in failures:
                shutil.rmtree(overlays, ignore_errors=True)
        if not files:
            raise InputError(" ".join(dict.fromkeys(failures.values())))
    if numbering:
        keep_identities(results, source.labels, numbering.region, numbering.identities)
    keep_exported(results, {kind.value: _uids_of(one) for kind, one in objects.items()})
    return ExportedObjects(files, failures, (*_emptied(source, onto), *_lost(contoured, onto)))


def _emptied(*sources: SourceSeries) -> tuple[str, ...]:
    emptied = sorted({keyword for one in sources for keyword in one.emptied})
    if not emptied:
        return ()
    what = f"a value of {emptied[0]}" if len(emptied) == 1 else f"values of {', '.join(emptied)}"
    return (f"The source holds {what} that DICOM does not allow; in the exported objects there is none.",)


def _lost(contoured: Sequence[Structure], onto: SourceSeries) -> Iterator[str]:
    """A sentence per structure of which less than a half lies in voxels of the planning series."""
    voxel_ml = math.prod(onto.labels.GetSpacing()) / 1000
    for one in contoured:
        share = np.count_nonzero(one.inside) * voxel_ml / one.volume_ml if one.volume_ml else 1.0
        if share < _LEAST_CONTOURED:
            yield (
                f"Of '{one.name}' ({volume_text(one.volume_ml)}) the structure set holds {100 * share:.0f} %: the rest "
                "lies between the slices of the planning series, or outside of it; draw it by hand."
            )


def _findings(stored: StoredResult, numbering: Numbering | None) -> Findings:
    """The findings of the study, and of the comparison whose numbers the lesions have."""
    from GliomaSegLib.dicom_export.findings import Findings

    manifest, followed = stored.manifest, numbering.studies if numbering else None
    if followed and followed.resection:
        return Findings(followed.resection, followed.responses, followed)
    assessed = assess_stored(manifest, stored.labels, stored.brain, read_probabilities(stored.folder, stored.labels))
    return Findings(assessed.residual, followed.responses if followed else (), followed)


def _numbering(
    results: Path, source: SourceSeries, measures: Measures, regions: Collection[Region], comparison: Path | None
) -> Numbering:
    if comparison:
        patient = str(source.first.get("PatientID", ""))
        return comparison_numbering(comparison, results, source.labels, measures, patient)
    return own_numbering(results, source.labels, measures, lesion_region(regions), source.first.SeriesInstanceUID)


@dataclass(frozen=True)
class _Making:
    """Makes the objects of one export.

    Attributes:
        onto: the series of the structure set: ``source``, or a planning series on another grid.
        contoured: the structures on its grid.
        before: per kind the UIDs of the object of the last export.
    """

    source: SourceSeries
    structures: Sequence[Structure]
    about: Provenance
    kinds: Collection[ExportKind]
    onto: SourceSeries
    contoured: Sequence[Structure]
    before: Mapping[str, Mapping[str, str]]

    def objects(self, findings: Findings | None) -> tuple[dict[ExportKind, Dataset], dict[ExportKind, str]]:
        """The objects of the wanted kinds (without overlays), and why others could not be made."""
        objects: dict[ExportKind, Dataset] = {}
        failures: dict[ExportKind, str] = {}
        if set(self.kinds) & {ExportKind.SEG, ExportKind.SR}:  # the report refers to the segments
            from GliomaSegLib.dicom_export.report import make_report
            from GliomaSegLib.dicom_export.seg import make_seg

            with _failing(ExportKind.SEG, failures):
                objects[ExportKind.SEG] = self.source.stamp(make_seg(self.source, self.structures, self.about))
            if ExportKind.SR in self.kinds and ExportKind.SEG in failures:
                failures[ExportKind.SR] = "The report was not made, as it refers to the segmentation."
            elif ExportKind.SR in self.kinds:
                with _failing(ExportKind.SR, failures):
                    segmentation = cast("Segmentation", objects[ExportKind.SEG])
                    made = make_report(self.source, segmentation, self.structures, self.about, findings)
                    objects[ExportKind.SR] = self._after(ExportKind.SR, self.source.stamp(made))
        if ExportKind.RTSTRUCT in self.kinds:
            with _failing(ExportKind.RTSTRUCT, failures):
                contours = self.onto.stamp(make_rtstruct(self.onto, self.contoured, self.about))
                objects[ExportKind.RTSTRUCT] = self._after(ExportKind.RTSTRUCT, contours)
        return objects, failures

    def _after(self, kind: ExportKind, made: Dataset) -> Dataset:
        """Add a reference to the object of the same kind of the last export."""
        before = self.before.get(kind.value, {})
        if not before.keys() >= {"study", "series", "sop_class", "instance"}:
            return made
        earlier = Dataset()
        earlier.ReferencedSOPClassUID, earlier.ReferencedSOPInstanceUID = before["sop_class"], before["instance"]
        if kind is ExportKind.RTSTRUCT:
            made.PredecessorStructureSetSequence = [earlier]
            return made
        series, study = Dataset(), Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = before["series"], [earlier]
        study.StudyInstanceUID, study.ReferencedSeriesSequence = before["study"], [series]
        made.PredecessorDocumentsSequence = [study]
        return made


def _uids_of(made: Dataset) -> dict[str, str]:
    return {
        "study": str(made.StudyInstanceUID),
        "series": str(made.SeriesInstanceUID),
        "sop_class": str(made.SOPClassUID),
        "instance": str(made.SOPInstanceUID),
    }


@contextmanager
def _failing(kind: ExportKind, failures: dict[ExportKind, str]) -> Iterator[None]:
    """Record why a kind could not be made, and go on."""
    try:
        yield
    except Cancelled:
        raise
    except GliomaSegError as error:
        failures[kind] = str(error)
    except Exception as error:  # libraries may fail on unusual headers in any way; the other kinds are written
        _LOG.exception("%s could not be made", kind.value)
        failures[kind] = f"{kind.value} could not be made: {error}"


def _write_overlays(
    folder: Path, source: SourceSeries, manifest: Manifest, moved_too: bool, results: Path, about: Provenance
) -> None:
    """Write a folder per modality: the reference and, with ``moved_too``, T1c and FLAIR as classic DICOM series."""
    transforms = read_transforms(results)
    for sequence, record in manifest.sequences.items():
        of_sequence: SourceSeries | None
        if record.is_reference:
            of_sequence = source
        elif moved_too and sequence in _OVERLAID and record.series_uid is not None:
            of_sequence = read_moved_series(
                record.path, record.series_uid, record.series_part, source.labels, transforms.get(sequence)
            )
        else:
            of_sequence = None
        if of_sequence is None:
            continue
        into = folder / sequence.value
        into.mkdir(parents=True)
        number = SERIES_NUMBER + list(Modality).index(sequence)
        captures = make_overlay(of_sequence, sequence.title, manifest.regions, about, number)
        for index, capture in enumerate(captures, start=1):
            capture.save_as(into / f"IM{index:04d}.dcm", enforce_file_format=True)


def _sources(
    manifest: Manifest, series: Path | None, labels: sitk.Image, results: Path, may_be_other: bool
) -> tuple[SourceSeries, SourceSeries | None]:
    """The segmented series, and another series for the structure set if one was given."""
    record = manifest.sequences[manifest.reference]
    if series is None and record.series_uid is None:
        raise InputError(
            f"{results} was made from {record.path}, which is no DICOM series; give the folder of the series with "
            "--series."
        )
    if series is None:
        return read_source_series(record.path, labels, record.series_uid, record.series_part), None
    try:
        return read_source_series(series, labels), None
    except OtherGridError:
        if not may_be_other or record.series_uid is None:
            raise
    source = read_source_series(record.path, labels, record.series_uid, record.series_part)
    return source, read_planning_series(series, source)
