"""Finds the volumes of a study folder: image files and DICOM series, with the words and tags that identify them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import SimpleITK as sitk

from GliomaSegLib.case import Source
from GliomaSegLib.errors import InputError, listed
from GliomaSegLib.io.dicom import DicomSeries, plane_nearest, read_folder
from GliomaSegLib.io.dicom_files import PassedOver
from GliomaSegLib.io.dicom_volume import read_series, series_geometry
from GliomaSegLib.io.folder import is_result_folder
from GliomaSegLib.io.geometry import Geometry
from GliomaSegLib.io.images import read_geometry, read_image
from GliomaSegLib.io.names import folders_below, image_stem, is_image_file
from GliomaSegLib.io.tags import DicomTags, sidecar_tags
from GliomaSegLib.study.dicom_studies import series_of_study
from GliomaSegLib.study.identification import is_label_name, is_reformat, word_clues
from GliomaSegLib.study.vocabulary import normalised

ADVICE = "say which is which with --t1n, --t1c, --t2w or --t2f and a file, or a folder with that series alone"


@dataclass(frozen=True)
class Candidate:
    """A volume of the study that may be one of the four modalities.

    Attributes:
        name: file name or series description.
        words: all text by which it may be identified.
        geometry: ``None`` when the header could not be read.
    """

    source: Source
    name: str
    words: str
    tags: DicomTags | None = None
    geometry: Geometry | None = None
    series: DicomSeries | None = None

    @property
    def plane(self) -> str | None:
        """The anatomical plane nearest to the slices: ``sagittal``, ``coronal`` or ``axial``."""
        return None if self.geometry is None else plane_nearest(self.geometry.normal)

    @property
    def reformatted(self) -> bool:
        """Whether it was computed from another series of the study."""
        return is_reformat(self.words, self.tags.image_type if self.tags else ())

    def read(self) -> sitk.Image:
        """Read the image, see :func:`~GliomaSegLib.io.images.read_image`."""
        return read_series(self.series) if self.series else read_image(self.source.path)


class Volumes(NamedTuple):
    """The volumes of a study, files that are named like label maps, and DICOM files that are not used."""

    candidates: list[Candidate]
    labels: list[Path]
    passed_over: list[PassedOver]


def search(study: Path, dicom_study: str | None, series: Sequence[DicomSeries] | None = None) -> Volumes:
    """Find the volumes of a study: image files and DICOM series anywhere below a folder, or one image file.

    Hidden files and folders of results are skipped. Files that are named like label maps or masks are no candidates.

    Args:
        dicom_study: selects one of several DICOM studies, see
            :func:`~GliomaSegLib.study.dicom_studies.series_of_study`.
        series: the DICOM series of the folder, if it was read already.

    Raises:
        InputError: ``study`` does not exist, is a GliomaSeg result, or holds several DICOM studies of which none is
            chosen.
    """
    if not study.exists():
        raise InputError(f"{study} does not exist; check the path of the study.")
    if study.is_file():
        return Volumes([_file_candidate(study, study.parent)], [], [])
    if is_result_folder(study):
        raise InputError(f"{study} is a folder of GliomaSeg results; give the folder of the study itself.")
    passed_over: list[PassedOver] = []
    if series is None:
        found = read_folder(study)
        series = [one for one in found.series if not _among_results(one.folder, study)]
        passed_over = [one for one in found.passed_over if not _among_results(one.folder, study)]
    if series or dicom_study:
        series = series_of_study(series, dicom_study, study)
    files = _image_files(study)
    labels = [path for path in files if is_label_name(image_stem(path))]
    scans = [_file_candidate(path, study) for path in files if path not in labels]
    return Volumes(scans + [_series_candidate(one) for one in series], labels, passed_over)


def nothing_found(study: Path, found: Volumes) -> InputError:
    """The error for a study without volumes."""
    if found.labels:
        return InputError(
            f"{study} holds only files that are named like label maps ({listed([one.name for one in found.labels])}); "
            f"if one is a scan, {ADVICE}."
        )
    but = f" ({listed([str(one) for one in found.passed_over])})" if found.passed_over else ""
    return InputError(
        f"{study} holds no image file (NIfTI, NRRD, MHA) and no MR series{but}; check that it is the study's folder."
    )


def _image_files(study: Path) -> list[Path]:
    found = []
    for parent, folders, names in folders_below(study):
        if is_result_folder(parent):
            folders.clear()
        else:
            found += [parent / name for name in names if (parent / name).is_file() and is_image_file(parent / name)]
    return found


def _among_results(folder: Path, study: Path) -> bool:
    inner = [folder, *folder.parents][: len(folder.relative_to(study).parts)]
    return any(is_result_folder(one) for one in inner)


def _file_candidate(path: Path, study: Path) -> Candidate:
    words, name = image_stem(path), path.name
    if not word_clues(normalised(words)) and path.parent != study:
        words, name = f"{path.parent.name} {words}", f"{path.parent.name}/{name}"  # as in T1C/image.nii.gz
    tags = sidecar_tags(path)
    if tags is not None:
        words = f"{words} {tags.description}"
    return Candidate(Source(path), name, words, tags, read_geometry(path))


def _series_candidate(series: DicomSeries) -> Candidate:
    tags = series.tags
    words = tags.description
    if not word_clues(normalised(words)):
        words = f"{words} {tags.protocol}"  # only then, as some scanners write the same protocol name into all series
    source = Source(series.folder, series.uid, series.part)
    return Candidate(source, series.name, words, tags, series_geometry(series), series)
