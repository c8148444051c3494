"""The numbers that lesions keep from study to study, taken from a comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict
from pydicom.uid import generate_uid

from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.lesion_tracking import LesionHistory
from GliomaSegLib.measures.volumes import Lesion, Measures
from GliomaSegLib.record import Record, read_record

COMPARISON = "comparison.json"
"""The file of a comparison's folder that holds its numbers."""

# Centres that differ by less are one: headers are rounded.
_SAME_PLACE_MM = 0.05


class _Study(Record):
    """What is needed here of a study of a comparison, whatever else it says."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    path: Path
    date: str | None


class _Comparison(Record):
    """What is needed here of a comparison, also of one of an earlier version."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    studies: tuple[_Study, ...]
    region: Region
    course: LesionHistory


@dataclass(frozen=True)
class Numbering:
    """What the lesions of one study are called in a comparison.

    Attributes:
        region: whose lesions were followed.
        numbers: by :attr:`Lesion.id` of this study, the number that stays; lesions too small to be followed have none.
        history: what tells this patient and this comparison from others.
    """

    region: Region
    numbers: dict[int, int]
    history: tuple[str, ...]

    def tracking_uid(self, number: int) -> str:
        """The same for a lesion in every study of the comparison, and whenever it is made again from the same start."""
        return str(generate_uid(entropy_srcs=[*self.history, self.region.value, f"lesion {number}"]))


def read_numbering(comparison: Path, results: Path, measures: Measures, patient: str) -> Numbering:
    """What the lesions of ``results`` are called in a folder that ``compare`` made.

    Args:
        measures: of ``results`` as it is now.
        patient: DICOM's Patient ID.

    Raises:
        InputError: no such folder, the results are not among its studies, or they were changed since.
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
        if (then := track.lesions[place]) is not None:
            now = next((one for one in measures.lesions_of(record.region) if _same(one, then)), None)
            if now is None:
                raise InputError(
                    f"{results} was changed since the comparison {comparison} was made; run 'gliomaseg compare' again."
                )
            numbers[now.id] = track.id
    return Numbering(record.region, numbers, (patient, *_beginning(record.studies[0])))


def _same(one: Lesion, other: Lesion) -> bool:
    """By place and size: among lesions of one size the order, and with it :attr:`Lesion.id`, hangs on the axes."""
    return one.voxels == other.voxels and math.dist(one.centre_ras_mm, other.centre_ras_mm) < _SAME_PLACE_MM


def _beginning(first: _Study) -> tuple[str, str]:
    """The study from which lesions are counted: later ones are added at the end and change no number."""
    return first.name, str(first.date)
