"""The findings of a comparison of a patient's studies, as a record: it is written as JSON and drawn as a page.

The fields are read by the panel, by the export of lesions and by other programs: none is renamed.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.lesion_tracking import LesionHistory
from GliomaSegLib.measures.rano import Assessment
from GliomaSegLib.measures.resection import Resection
from GliomaSegLib.measures.volumes import Volume
from GliomaSegLib.record import Record


class Question(Record):
    """A question to the user, whose answer allows a further finding.

    Attributes:
        text: the question.
        option: of the command line, with which it is answered.
    """

    text: str
    option: str


class TimePointRow(Record):
    """One study in the comparison.

    Attributes:
        day: days since the first study when all have a date, else since surgery; ``None`` when neither is known.
        volumes: as segmented, specks included.
        foci: lesions that count.
        specks, specks_ml: components that are too small to count as lesions, and their volume together.
        moved_mm: mean shift of the field of view to the last study; ``None`` when it was not registered.
        mirror_contrast: see :mod:`GliomaSegLib.preprocessing.rigid`.
        bent_mm: 95 % of the head move by less than this in the deformation after which lesions were matched; ``None``
            without one.
    """

    name: str
    path: Path
    origin: str
    kind: TimePointKind
    days_since_surgery: float | None
    date: date | None
    day: float | None
    volumes: tuple[Volume, ...]
    foci: int
    specks: int = 0
    specks_ml: float = 0.0
    moved_mm: float | None = None
    mirror_contrast: float | None = None
    bent_mm: float | None = None


class TimePointComparison(Record):
    """The findings on a patient's studies.

    Attributes:
        answers: the answer in plain words, a sentence each, the most important first.
        region: whose lesions are followed.
        least_mm3: from this volume on a component counts as a lesion.
        resection: of the first study after the last operation, with the one before it; its position is ``operated``.
        responses: of the last study, by each set of criteria; empty with fewer than two studies after surgery, when the
            enhancing tumour is not distinguished, and when response is not judged.
        baseline: position of the study with which response is compared, also when it is not judged, and
            ``baseline_reason`` why that one.
        withheld: why response is not judged, a clause each.
        questions: what must be answered first.
        deformation: how the lesions of two studies were brought together before they were matched, beyond the rigid
            registration; ``None`` without.
    """

    studies: tuple[TimePointRow, ...]
    region: Region
    least_mm3: float = 0.0
    answers: tuple[str, ...]
    resection: Resection | None
    operated: int | None = None
    course: LesionHistory
    responses: tuple[Assessment, ...]
    baseline: int | None
    baseline_reason: str = ""
    withheld: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    deformation: str | None = None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
