"""Names in saved scenes: a scene of an earlier version is read only while they stay the same."""

from __future__ import annotations

from GliomaSegLib.case import Modality
from GliomaSegLib.scene import attributes

SAVED = {
    "OUTPUT": "GliomaSeg.Output",
    "RESULT_LABELS": "GliomaSeg.ResultLabels",
    "GRID": "GliomaSeg.Grid",
    "TIME_POINT": "GliomaSeg.TimePoint",
    "DAYS": "GliomaSeg.DaysSinceSurgery",
    "SERIES": "GliomaSeg.Series",
    "UNMEASURED": "GliomaSeg.Unmeasured",
    "MEASURED_LABELS": "GliomaSeg.MeasuredLabels",
    "REVIEW_BEFORE_EDIT": "GliomaSeg.ReviewBeforeEdit",
    "ACCEPTED_LESIONS": "GliomaSeg.AcceptedLesions",
    "REVIEW_STATE": "GliomaSeg.Review",
    "REVIEWED_BY": "GliomaSeg.ReviewedBy",
    "REVIEWED_AT": "GliomaSeg.ReviewedAt",
    "COMPARISON": "GliomaSeg.Comparison",
    "COMPARISON_OUTDATED": "GliomaSeg.ComparisonOutdated",
    "TABLE": "GliomaSeg.table",
    "COMPARED_WITH": "GliomaSeg.ComparedWith",
    "LABEL_TAG": "GliomaSeg.Label",
    "OVERLAY_OF": "GliomaSeg.OverlayOf",
}


def test_names_in_saved_scenes_do_not_change() -> None:
    names = {name: value for name, value in vars(attributes).items() if isinstance(value, str) and name.isupper()}
    assert names | SAVED == names, "new names may be added, old ones stay"
    roles = [attributes.volume_role(modality) for modality in Modality]
    assert roles == ["GliomaSeg.t1n", "GliomaSeg.t1c", "GliomaSeg.t2w", "GliomaSeg.t2f"]
