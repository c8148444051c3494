"""The limits of RANO 2010 and 2.0 on lesions of known size."""

from __future__ import annotations

import pytest

from GliomaSegLib.labels import Region
from GliomaSegLib.measures.lesion_tracking import Change, LesionChange, LesionHistory, Track
from GliomaSegLib.measures.rano import (
    RANO_2_0,
    RANO_2_0_VOLUME,
    RANO_2010,
    Assessment,
    Category,
    Criteria,
    assess_response,
)
from GliomaSegLib.measures.volumes import Lesion, Side


def lesion(name: int, long: float, across: float, ml: float = 4.0, slices: int = 5) -> Lesion:
    return Lesion(
        region=Region.ET, id=name, voxels=100, volume_ml=ml, long_mm=long, perpendicular_mm=across, slice=3,
        slice_ras_mm=0, centre_ras_mm=(0, 0, 0), side=Side.LEFT, slices=slices,
    )  # fmt: skip


def course(*rows: tuple[Lesion | None, ...]) -> LesionHistory:
    """Each row one lesion over all studies; every step says what the row says."""
    tracks = tuple(Track(id=number, lesions=row) for number, row in enumerate(rows, start=1))
    steps = []
    for place in range(1, len(rows[0])):
        happened = []
        for track in tracks:
            before, after = track.lesions[place - 1], track.lesions[place]
            if before is None and after is None:
                continue
            change = Change.NEW if before is None else Change.GONE if after is None else Change.UNCHANGED
            happened.append(
                LesionChange(
                    change=change,
                    before=(track.id,) if before else (),
                    after=(track.id,) if after else (),
                    before_ml=before.volume_ml if before else 0,
                    after_ml=after.volume_ml if after else 0,
                )
            )
        steps.append(tuple(happened))
    return LesionHistory(region=Region.ET, tracks=tracks, steps=tuple(steps))


def judged(
    given: LesionHistory, criteria: Criteria = RANO_2010, slice_mm: float = 1.0, baseline: int = 0
) -> Assessment:
    return assess_response(given, [slice_mm] * (len(given.steps) + 1), criteria, baseline)


@pytest.mark.parametrize(
    ("now", "category"),
    [
        ((20.0, 25.0), Category.PROGRESSION),  # 500 mm² from 400: +25 %
        ((20.0, 24.9), Category.STABLE),
        ((20.0, 10.0), Category.PARTIAL),  # 200 mm²: -50 %
        ((20.0, 10.1), Category.STABLE),
        (None, Category.COMPLETE),
    ],
)
@pytest.mark.parametrize("criteria", [RANO_2010, RANO_2_0])
def test_limits_of_the_product(now: tuple[float, float] | None, category: Category, criteria: Criteria) -> None:
    found = judged(course((lesion(1, 20, 20), now and lesion(1, *now))), criteria)
    assert found.category is category
    assert found.values[0] == 400
    assert found.sentence.endswith(f"{category.value}.")
    assert "400 mm²" in found.sentence


@pytest.mark.parametrize(
    ("ml", "category"),
    [(14.0, Category.PROGRESSION), (13.9, Category.STABLE), (3.5, Category.PARTIAL), (3.6, Category.STABLE)],
)
def test_limits_of_the_volume(ml: float, category: Category) -> None:
    found = judged(course((lesion(1, 20, 20, ml=10), lesion(1, 20, 20, ml=ml))), RANO_2_0_VOLUME)
    assert found.category is category
    assert found.from_baseline == pytest.approx(ml / 10 - 1)


def test_progression_is_judged_from_the_smallest_and_response_from_the_baseline() -> None:
    found = judged(course((lesion(1, 20, 20), lesion(1, 10, 12), lesion(1, 10, 16))))
    assert found.values == (400, 120, 160)
    assert found.category is Category.PROGRESSION
    assert (found.from_baseline, found.from_smallest) == (pytest.approx(-0.6), pytest.approx(1 / 3))


def test_a_target_that_came_back_after_it_was_gone_is_progression() -> None:
    found = judged(course((lesion(1, 20, 20), None, None), (None, None, lesion(2, 12, 12))))
    assert found.category is Category.PROGRESSION
    assert found.from_smallest is None
    assert "not defined" in found.sentence


@pytest.mark.parametrize(("size", "rano_2_0"), [((12, 12), Category.PROGRESSION), ((8, 8), Category.STABLE)])
def test_a_new_lesion_counts_in_2010_and_when_it_is_measurable_in_2_0(
    size: tuple[float, float], rano_2_0: Category
) -> None:
    given = course((lesion(1, 20, 20), lesion(1, 20, 20)), (None, lesion(2, *size)))
    assert judged(given, RANO_2010).category is Category.PROGRESSION
    assert "1 new lesion" in judged(given, RANO_2010).sentence
    assert judged(given, RANO_2_0).category is rano_2_0


@pytest.mark.parametrize(
    ("one", "slice_mm"),
    [
        (lesion(1, 20, 9.9), 1.0),
        (lesion(1, 20, 20, slices=1), 1.0),
        (lesion(1, 13, 11), 6.0),  # on slices of 6 mm both diameters must reach 12 mm
    ],
)
def test_what_is_not_measurable_is_not_judged_by_its_size(one: Lesion, slice_mm: float) -> None:
    found = judged(course((one, one.model_copy(update={"long_mm": 60.0}))), slice_mm=slice_mm)
    assert found.category is Category.NOT_MEASURABLE
    assert found.targets == ()
    assert judged(course((lesion(1, 13, 12), lesion(1, 13, 12))), slice_mm=6.0).category is Category.STABLE


def test_the_largest_are_followed_five_in_2010_and_two_in_2_0() -> None:
    rows = [(lesion(n, 10 + n, 10 + n), lesion(n, 10 + n, 10 + n)) for n in range(1, 8)]
    assert judged(course(*rows), RANO_2010).targets == (7, 6, 5, 4, 3)
    assert judged(course(*rows), RANO_2_0).targets == (7, 6)


def test_the_parts_of_a_target_count_together() -> None:
    tracks = (
        Track(id=1, lesions=(lesion(1, 20, 20), lesion(1, 15, 10))),
        Track(id=2, lesions=(None, lesion(2, 10, 10))),
    )
    step = LesionChange(change=Change.SPLIT, before=(1,), after=(1, 2), before_ml=4, after_ml=4)
    found = judged(LesionHistory(region=Region.ET, tracks=tracks, steps=((step,),)))
    assert found.values == (400, 250)
    assert found.new == ()


def test_another_baseline() -> None:
    given = course((lesion(1, 40, 40), lesion(1, 20, 20), lesion(1, 20, 20)))
    assert judged(given).category is Category.PARTIAL
    assert judged(given, baseline=1).category is Category.STABLE
    with pytest.raises(ValueError, match="none after the baseline"):
        judged(given, baseline=2)
