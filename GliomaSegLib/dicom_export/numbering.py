"""Numbers and Tracking UIDs of lesions that stay the same in all exports, and in all studies of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk
from pydantic import ConfigDict
from pydicom.uid import generate_uid

from GliomaSegLib.case import TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import is_result_folder
from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.lesion_tracking import LesionHistory
from GliomaSegLib.measures.rano import Assessment
from GliomaSegLib.measures.resection import Resection
from GliomaSegLib.measures.volumes import Lesion, Measures, measure
from GliomaSegLib.record import Record, read_record
from GliomaSegLib.results.identity import Identity, last_number, read_identities
from GliomaSegLib.results.reading import read_result

COMPARISON = "comparison.json"
"""The file in the folder of a comparison that holds its findings."""

# Centres that differ by less are the same: headers are rounded.
_SAME_PLACE_MM = 0.05


class _Study(Record):
    """The fields of a compared study that are used here; others are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    path: Path
    date: str | None
    kind: TimePointKind = TimePointKind.UNKNOWN
    days_since_surgery: float | None = None


class _Comparison(Record):
    """The fields of a comparison that are used here; also reads comparisons of earlier versions."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    studies: tuple[_Study, ...]
    region: Region
    course: LesionHistory
    resection: Resection | None = None
    operated: int | None = None
    responses: tuple[Assessment, ...] = ()


@dataclass(frozen=True)
class FollowedStudies:
    """The studies of a comparison, in their order.

    Attributes:
        place: index of the exported study.
        names, when: name and time point of each study.
        lesions: of each study by number: name and measures.
        uids: the Tracking UIDs of all lesions by number.
        resection: if the exported study is the first one after the operation.
        responses: if the exported study is the last one.
    """

    place: int
    names: tuple[str, ...]
    when: tuple[TimePoint, ...]
    lesions: tuple[Mapping[int, tuple[str, Lesion]], ...]
    uids: Mapping[int, str]
    resection: Resection | None
    responses: tuple[Assessment, ...]


@dataclass(frozen=True)
class Numbering:
    """The numbers and Tracking UIDs of the lesions of one study.

    Attributes:
        region: the region whose connected components the lesions are.
        identities: by :attr:`Lesion.id` of this study; lesions too small to be followed in a comparison have none.
        studies: of the comparison from which the numbers are, if any.
    """

    region: Region
    identities: Mapping[int, Identity]
    studies: FollowedStudies | None = None


def own_numbering(results: Path, labels: sitk.Image, measures: Measures, region: Region, series_uid: str) -> Numbering:
    """The numbering of the lesions of a result without a comparison: as in its last export, new lesions by size.

    Args:
        labels: internal label map of the result, with any orientation.
        measures: of ``labels``.
        series_uid: Series Instance UID of the source.

    Raises:
        InputError: the record of earlier exports is damaged.
    """
    kept = read_identities(results, labels, region)
    return by_size(measures, region, series_uid, kept, last_number(results, region))


def by_size(
    measures: Measures,
    region: Region,
    series_uid: str,
    kept: Mapping[int, Identity] | None = None,
    after: int = 0,
) -> Numbering:
    """Give lesions without an identity in ``kept`` the numbers after ``after``, by size."""
    identities, number = dict(kept or {}), after
    for lesion in measures.lesions_of(region):
        if lesion.id not in identities:
            number += 1
            identities[lesion.id] = Identity(number, _uid(series_uid, f"{region_styles()[region].name} {number}"))
    return Numbering(region, identities)


def comparison_numbering(
    comparison: Path, results: Path, labels: sitk.Image, measures: Measures, patient: str
) -> Numbering:
    """The numbering of the lesions of ``results`` in a comparison.

    A lesion that was exported before, from any of the studies, keeps its Tracking UID.

    Args:
        labels: the present internal label map of ``results``.
        measures: of ``labels``.
        patient: Patient ID.

    Raises:
        InputError: there is no such comparison, the results are not among its studies, or were changed since.
    """
    record = read_record(_Comparison, comparison / COMPARISON, "comparison")
    place = next((i for i, row in enumerate(record.studies) if row.path.resolve() == results.resolve()), None)
    if place is None:
        raise InputError(
            f"{results} is none of the studies of the comparison {comparison} "
            f"({', '.join(str(row.path) for row in record.studies)}); give the comparison that it is part of."
        )
    numbers = {}
    for track in record.course.tracks:
        then = track.lesions[place]
        if then is not None:
            now = next((one for one in measures.lesions_of(record.region) if _same(one, then)), None)
            if now is None:
                raise InputError(
                    f"{results} was changed since the comparison {comparison} was made; run 'gliomaseg compare' again."
                )
            numbers[now.id] = track.id
    first = record.studies[0]
    beginning = patient, first.name, str(first.date), record.region.value  # independent of later studies
    known = _known_uids(record, place, labels)
    uids = {one.id: known.get(one.id) or _uid(*beginning, f"lesion {one.id}") for one in record.course.tracks}
    identities = {lesion: Identity(number, uids[number]) for lesion, number in numbers.items()}
    return Numbering(record.region, identities, _followed(record, place, uids))


def _followed(record: _Comparison, place: int, uids: Mapping[int, str]) -> FollowedStudies:
    name = region_styles()[record.region].name
    return FollowedStudies(
        place,
        tuple(f"study {number}{f', {one.date}' if one.date else ''}" for number, one in enumerate(record.studies, 1)),
        tuple(TimePoint(one.kind, one.days_since_surgery) for one in record.studies),
        tuple(
            {
                track.id: (f"{name} {track.id}", lesion)
                for track in record.course.tracks
                if (lesion := track.lesions[other])
            }
            for other in range(len(record.studies))
        ),
        uids,
        record.resection if place == record.operated else None,
        record.responses if place == len(record.studies) - 1 else (),
    )


def _known_uids(record: _Comparison, place: int, labels: sitk.Image) -> dict[int, str]:
    """Tracking UIDs of lesions that were exported before, by their numbers in the comparison; earlier studies win."""
    known: dict[int, str] = {}
    for other, study in enumerate(record.studies):
        if not is_result_folder(study.path):
            continue
        map_there = labels if other == place else read_result(study.path).labels
        identities = read_identities(study.path, map_there, record.region)
        lesions = {one.id: one for one in measure(map_there, regions=(record.region,)).lesions_of(record.region)}
        for track in record.course.tracks:
            then = track.lesions[other]
            for lesion, identity in identities.items():
                if then is not None and lesion in lesions and _same(lesions[lesion], then):
                    known.setdefault(track.id, identity.uid)
    return known


def _same(one: Lesion, other: Lesion) -> bool:
    """Whether two lesions have the same size and centre; :attr:`Lesion.id` may differ if several have one size."""
    return one.voxels == other.voxels and math.dist(one.centre_ras_mm, other.centre_ras_mm) < _SAME_PLACE_MM


def _uid(*sources: str) -> str:
    """A UID that depends only on the sources."""
    return str(generate_uid(entropy_srcs=list(sources)))
