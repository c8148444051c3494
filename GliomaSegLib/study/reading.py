"""Reads a case, that is the selected volumes of a study with their pixels, and reads its images again later."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Case, Modality, SequenceVolume, Source, TimePoint
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import DicomSeries, find_series, read_files
from GliomaSegLib.io.dicom_volume import identity_of, incomplete, lies_on, read_series
from GliomaSegLib.io.grid import oriented
from GliomaSegLib.io.images import geometry_doubts, read_image
from GliomaSegLib.io.names import image_stem
from GliomaSegLib.study.better_volume import is_slab
from GliomaSegLib.study.dicom_studies import time_of_day
from GliomaSegLib.study.identification import word_clues
from GliomaSegLib.study.patient_names import named_apart
from GliomaSegLib.study.selection import ALL_SEQUENCES, StudyContents, search_study
from GliomaSegLib.study.vocabulary import normalised

_FEWEST_VALUES = 16  # an image with fewer values is a label map; others are recognised by their names


def read_case(
    study: Path | None,
    overrides: Mapping[Modality, Path] | None = None,
    identifier: str | None = None,
    time_point: TimePoint | None = None,
    wanted: Collection[Modality] = ALL_SEQUENCES,
    dicom_study: str | None = None,
    contents: StudyContents | None = None,
    allow_incomplete: bool = False,
) -> Case:
    """Identify and read the ``wanted`` modalities of a study.

    Args:
        overrides: files, or folders with one volume, that are used for a modality without identification.
        identifier: by default the name of the folder or file.
        dicom_study: a date or Study Instance UID, if the folder holds several DICOM studies.
        contents: of :func:`~GliomaSegLib.study.selection.search_study` for the same study, to avoid a second search.
        allow_incomplete: also read series of which slices seem to be missing.

    Raises:
        InputError: as :func:`~GliomaSegLib.study.selection.identify`; a volume cannot be read, or is incomplete; or two
            modalities have the same pixels.
    """
    contents = contents or search_study(study, overrides, dicom_study)
    assigned, ignored = contents.select(wanted)
    series = [one.candidate.series for one in assigned.values() if one.candidate.series]
    lacking = tuple(sentence for sentence in map(incomplete, series) if sentence)
    if lacking and not allow_incomplete:
        raise InputError(
            f"{lacking[0]}; copy the whole series again, or accept it as it is with --allow-incomplete, and what is "
            "missing is neither shown nor measured."
        )
    volumes = {
        sequence: SequenceVolume(
            sequence,
            one.candidate.read(),
            one.source,
            one.confidence,
            one.reason,
            one.candidate.name,
            identity_of(one.candidate.series) if one.candidate.series else None,
        )
        for sequence, one in assigned.items()
    }
    files = [one.source.path for one in volumes.values() if one.source.series_uid is None]
    doubts = [f"{sentence}; what is missing is neither shown nor measured." for sentence in lacking]
    doubts += [f"{one}." for one in contents.passed_over if one.lost]
    doubts += [doubt for path in files for doubt in geometry_doubts(path)]
    doubts += _mixture_doubts(volumes, series, contents.given)
    named = Path(study) if study is not None else next(iter(assigned.values())).source.path
    case = checked_case(identifier or image_stem(named.resolve()), volumes, time_point, ignored, doubts)
    return dataclasses.replace(case, passed_over=tuple(map(str, contents.passed_over)), incomplete=lacking)


def described_by_dicom(case: Case, files: Mapping[Modality, Sequence[Path]]) -> Case:
    """Add names and identity to a case from the DICOM files from which another program, such as 3D Slicer, made its
    images. Files that are not exactly one volume are ignored."""
    volumes, described = dict(case.volumes), []
    for modality in (one for one in case.volumes if one in files):
        series, volume = read_files(files[modality]).series, case.volumes[modality]
        if len(series) != 1:
            continue
        described += series
        with contextlib.suppress(InputError):
            identity = identity_of(series[0])
            if not lies_on(series[0], volume.image):  # moved, or resampled since
                identity = dataclasses.replace(identity, image_numbers=())
            volumes[modality] = dataclasses.replace(volume, name=series[0].name, identity=identity)
    return dataclasses.replace(case, volumes=volumes, doubts=(*case.doubts, *_studies_doubt(described)))


def checked_case(
    identifier: str,
    volumes: Mapping[Modality, SequenceVolume],
    time_point: TimePoint | None = None,
    ignored: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> Case:
    """Make a case of these volumes, with doubts about its images.

    Raises:
        InputError: there is no volume, or two modalities have the same pixels.
    """
    for first, second in combinations(volumes.values(), 2):
        if _same_pixels(first.image, second.image):
            raise InputError(
                f"'{first.name}' ({first.sequence.title}) and '{second.name}' ({second.sequence.title}) hold the same "
                "image; give each sequence its own."
            )
    case = Case(identifier, volumes, time_point or TimePoint(), tuple(ignored), tuple(doubts))
    of_images = (_coverage_doubt(case.reference), *map(_mask_doubt, volumes.values()))
    return dataclasses.replace(case, doubts=(*doubts, *(doubt for doubt in of_images if doubt)))


def oriented_case(case: Case) -> Case:
    """The case with all images reoriented to LPS, so that the stored order of voxels cannot change results."""
    volumes = {
        modality: dataclasses.replace(volume, image=oriented(volume.image)) for modality, volume in case.volumes.items()
    }
    return dataclasses.replace(case, volumes=volumes)


class SourceImage(NamedTuple):
    """An image (``float32``, LPS mm) and its DICOM series, ``None`` for an image file."""

    image: sitk.Image
    series: DicomSeries | None


def read_source(source: Source) -> SourceImage:
    """Read an image of a case again.

    Raises:
        InputError: it is no longer there, or cannot be read.
    """
    if source.series_uid is None:
        return SourceImage(read_image(source.path), None)
    found = [one for one in find_series(source.path) if (one.uid, one.part) == (source.series_uid, source.part)]
    if len(found) != 1:
        raise InputError(f"{source} should be one volume, but {len(found)} were found; check that nothing was moved.")
    return SourceImage(read_series(found[0]), found[0])


def _mixture_doubts(
    volumes: Mapping[Modality, SequenceVolume], series: Sequence[DicomSeries], given: Collection[Modality]
) -> list[str]:
    """Sentences on images that may not be of one patient and examination; of ``given`` ones the user has said so."""
    doubts = _studies_doubt(series)
    found = [one for modality, one in volumes.items() if modality not in given]
    files = [one.source.path for one in found if one.source.series_uid is None]
    named = [one.name for one in found if one.source.series_uid is not None]
    if files and named:
        doubts.append(
            f"{files[0]} is an image file beside DICOM series and says not of which patient and exam it is; check that "
            f"it is of that of '{named[0]}'."
        )
    all_files = [one.source.path for one in volumes.values() if one.source.series_uid is None]
    return doubts + [doubt for doubt in (_folders_doubt(files), _names_doubt(all_files)) if doubt]


def _studies_doubt(series: Sequence[DicomSeries]) -> list[str]:
    """A sentence if series are of several studies, as of one day."""
    if len({one.study_uid for one in series}) < 2:
        return []
    when = ", ".join(f"'{one.name}' at {time_of_day(one.study_time) or 'no time'}" for one in series)
    return [
        f"The series are of several DICOM studies ({when}); check that they belong together, with no surgery between "
        "them."
    ]


def _folders_doubt(files: Sequence[Path]) -> str | None:
    """A sentence if image files lie in folders of which none is named after a modality, as those of two time points."""
    for first, second in combinations(files, 2):
        apart = zip_longest(first.parent.parts, second.parent.parts, fillvalue="")
        names = next((pair for pair in apart if pair[0] != pair[1]), None)
        if names and not any(word_clues(normalised(name)) for name in names):
            return f"{first} and {second} lie in different folders; check that both are of one examination."
    return None


def _names_doubt(files: Sequence[Path]) -> str | None:
    """A sentence if the names of image files begin with different names or numbers, as those of two patients."""
    for first, second in combinations(files, 2):
        if called := named_apart(image_stem(first), image_stem(second)):
            return f"{first} and {second} are named {called}; check that both are of one patient and examination."
    return None


def _coverage_doubt(reference: SequenceVolume) -> str | None:
    """A sentence if the reference image shows only a part of the head."""
    shown = sitk.GetArrayViewFromImage(reference.image) != 0
    planes = [np.flatnonzero(shown.any(axis=others)) for others in ((0, 1), (0, 2), (1, 2))]  # without added zeros
    sizes = [int(np.ptp(plane)) + 1 for plane in planes]
    extent_mm = tuple(size * mm for size, mm in zip(sizes, reference.image.GetSpacing(), strict=True))
    if not is_slab(extent_mm):
        return None
    return (
        f"{reference} covers only {min(extent_mm):.0f} mm of the head; tumour outside it is neither shown nor measured."
    )


def _mask_doubt(volume: SequenceVolume) -> str | None:
    """A sentence if an image has so few values that it seems to be a mask or a label map."""
    array = sitk.GetArrayViewFromImage(volume.image)
    if np.unique(array[:: max(1, len(array) // 8)]).size > _FEWEST_VALUES:  # true for any scan, found in a few slices
        return None
    values = np.unique(array).size
    if values > _FEWEST_VALUES:
        return None
    return f"{volume} holds only {values} different values, as a mask does and no scan; check that it is the image."


def _same_pixels(first: sitk.Image, second: sitk.Image) -> bool:
    one, other = sitk.GetArrayViewFromImage(first), sitk.GetArrayViewFromImage(second)
    middle = len(one) // 2  # different images nearly always differ in it
    return one.shape == other.shape and np.array_equal(one[middle], other[middle]) and np.array_equal(one, other)
