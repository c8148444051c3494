"""The findings of a comparison of a patient's studies as a record, which is written as JSON and as an HTML page.

The panel, the DICOM export and other programs read the fields: never rename one.
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
        option: the command-line option that answers it.
    """

    text: str
    option: str


class TimePointRow(Record):
    """One study in the comparison.

    Attributes:
        day: days since the first study when all have a date, else since surgery; ``None`` when neither is known.
        volumes: of all voxels, specks included.
        foci: number of lesions.
        specks, specks_ml: number of components that are too small to count as lesions, and their total volume.
        moved_mm: mean shift of the field of view by the registration to the last study; ``None`` without it.
        mirror_contrast: see :mod:`GliomaSegLib.preprocessing.rigid`.
        bent_mm: 95th percentile of the displacement in the head by the deformable registration; ``None`` without it.
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
        answers: sentences for the reader, the most important first.
        region: the region whose lesions are followed.
        least_mm3: smallest volume of a component that counts as a lesion.
        resection: extent of resection at the last operation, from the studies right before and after it; the index of
            the latter is ``operated``.
        course: the lesions and their changes over the studies.
        responses: of the last study, by each set of criteria; empty with fewer than two studies after surgery, when the
            enhancing tumour is not distinguished, and when response is not judged.
        baseline: index of the baseline study for response, also when response is not judged.
        baseline_reason: why this study is the baseline.
        withheld: clauses why response is not judged.
        questions: what the user must answer before response is judged.
        deformation: method of the deformable registration for the matching of lesions; ``None`` without one.
        notes: sentences on how to read the numbers.
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
