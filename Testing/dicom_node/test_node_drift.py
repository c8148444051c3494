"""A change in descriptions, scanners or volumes is seen in the week in which it happens, and none where is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from GliomaSegLib.dicom_node.drift import Week, record_of, to_csv, weeks_of
from GliomaSegLib.dicom_node.header import StudyHeader
from GliomaSegLib.dicom_node.queue import FinishedCase

WEEK_S = 7 * 24 * 3600.0
MONDAY = 1_704_067_200.0  # 2024-01-01, the first day of 2024-W01
EACH = 20


def cases(weeks: int, **last: Any) -> list[FinishedCase]:
    """Weeks of cases by chance alike, but for what is said of the ``last`` one."""
    random = np.random.default_rng(0)
    made = []
    for week in range(weeks):
        for number in range(EACH):
            usual = {
                "missing": random.random() < 0.2,
                "confidence": 0.95,
                "name": "FLAIR",
                "volume": 40.0,
                "shift": 2.0,
                "distance": 0.6,
            }
            said = usual | (last if week == weeks - 1 else {})
            volume, shift = said["volume"] * random.lognormal(0, 0.5), said["shift"] * random.lognormal(0, 0.5)
            one = {"name": said["name"], "confidence": said["confidence"], "moved_mm": shift, "mutual_information": 0.5}
            far = said["distance"] * random.lognormal(0, 0.2)
            distance = {"distance": far, "limit": 1.0, "nearer": 1, "cases": 9}
            model = {"id": "m", "training_distance": distance if far else None}
            manifest = {"model": model, "sequences": {} if said["missing"] else {"t2f": one}, "warnings": []}
            measures = {"volumes": [{"name": "WT", "volume_ml": volume}]}
            record = record_of(manifest, measures, StudyHeader({"Manufacturer": ("A",)}, ()))
            made.append(FinishedCase(f"{week}-{number}", 1, MONDAY + week * WEEK_S + number, record))
    return made


def conspicuous(week: Week) -> set[str]:
    return {figure.name for figure in week.figures if figure.conspicuous}


def test_weeks_that_are_alike_say_nothing() -> None:
    weeks = weeks_of(cases(9))
    assert [week.name for week in weeks][:2] == ["2024-W09", "2024-W08"]
    assert [(conspicuous(week), week.new) for week in weeks] == [(set(), ())] * 9
    assert weeks[0].cases == EACH
    assert {figure.name for figure in weeks[0].figures} >= {"model m", "FLAIR missing", "WT, mL"}
    assert weeks_of(cases(9), most=2) == weeks[:2]


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"missing": True}, {"FLAIR missing"}),
        ({"missing": False, "confidence": 0.7}, {"FLAIR guessed"}),
        ({"volume": 4.0}, {"WT, mL"}),
        ({"missing": False, "shift": 20.0}, {"largest shift, mm"}),
        ({"distance": 1.2}, {"distance to training data"}),
    ],
)
def test_a_change_is_seen_in_its_week(change: dict[str, Any], seen: set[str]) -> None:
    weeks = weeks_of(cases(4, **change))
    assert seen <= conspicuous(weeks[0])
    assert not any(conspicuous(week) for week in weeks[1:])


def test_a_description_that_was_never_seen_before_is_reported() -> None:
    weeks = weeks_of(cases(3, name="t2_space_dark-fluid"))
    assert weeks[0].new == ("FLAIR called 't2_space_dark-fluid'",)
    assert weeks[1].new == ()
    assert "2024-W03,20,new: FLAIR called 't2_space_dark-fluid',,," in to_csv(weeks)


def test_models_that_cannot_tell_the_distance_have_no_figure_of_it() -> None:
    weeks = weeks_of(cases(3, distance=0.0))
    assert "distance to training data" not in {figure.name for figure in weeks[0].figures}
    before = [case for case in cases(2) if case.record.pop("training_distance")]
    assert len(before) == 2 * EACH
    assert "distance to training data" not in {figure.name for week in weeks_of(before) for figure in week.figures}


def test_few_cases_are_not_tested() -> None:
    weeks = weeks_of([*cases(2), *cases(4, volume=1.0)[-3:]])
    assert weeks[0].cases == 3
    assert all(figure.p is None for figure in weeks[0].figures)
