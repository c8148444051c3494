"""The limits of RANO 2010 and 2.0 on lesions of known size."""

from __future__ import annotations

import numpy as np
import pytest

from GliomaSegLib.labels import Region
from GliomaSegLib.measures.criteria import RANO_2_0, RANO_2_0_VOLUME, RANO_2010, RANO_BM, Criteria
from GliomaSegLib.measures.lesion_size import FollowedLesion
from GliomaSegLib.measures.lesion_tracking import Change, LesionChange, LesionHistory, Track
from GliomaSegLib.measures.midline import Side
from GliomaSegLib.measures.rano import (
    Assessment,
    Category,
    TimePoints,
    assess_response,
)
from GliomaSegLib.measures.rano_text import percent_text
from GliomaSegLib.measures.volumes import volume_text


def lesion(name: int, long: float, across: float, ml: float | None = None, slices: int = 5) -> FollowedLesion:
    """By default a ball of this product."""
    ml = 4 / 3 * np.pi * (long * across) ** 1.5 / 8000 if ml is None else ml
    return FollowedLesion(
        region=Region.ET, id=name, voxels=100, volume_ml=ml, long_mm=long, perpendicular_mm=across, slice=3,
        slice_ras_mm=0, centre_ras_mm=(0, 0, 0), side=Side.LEFT, slices=slices,
    )  # fmt: skip


def course(*rows: tuple[FollowedLesion | None, ...]) -> LesionHistory:
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
    given: LesionHistory, criteria: Criteria = RANO_2010, slice_mm: float = 1.0, baseline: int = 0, **more: object
) -> Assessment:
    count = len(given.steps) + 1
    more.setdefault("flair_ml", [30.0] * count)
    return assess_response(given, TimePoints([slice_mm] * count, baseline, **more), criteria)


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


@pytest.mark.parametrize(
    ("voxels", "now", "category"),
    [(20, 7, Category.PARTIAL), (20, 8, Category.STABLE), (2115, 2961, Category.PROGRESSION)],
)
def test_a_volume_at_the_limit_has_reached_it_whatever_rounding_does(voxels: int, now: int, category: Category) -> None:
    """7 of 20 voxels of 1 mm³ are a fall of 65 %, 2961 of 2115 a rise of 40 %: as doubles both miss it by 1e-16."""
    found = judged(course((lesion(1, 20, 20, ml=voxels * 0.001), lesion(1, 20, 20, ml=now * 0.001))), RANO_2_0_VOLUME)
    assert found.category is category
    assert category is Category.STABLE or "000 %" not in found.sentence


def test_a_sum_of_diameters_at_the_limit_of_a_partial_response_has_reached_it() -> None:
    found = judged(course((lesion(1, 45, 20), lesion(1, 31.5, 20))), RANO_BM)  # 0.7 * 45 = 31.499999999999996
    assert found.category is Category.PARTIAL


def test_progression_is_judged_from_the_smallest_and_response_from_the_baseline() -> None:
    found = judged(course((lesion(1, 20, 20), lesion(1, 10, 12), lesion(1, 10, 16))))
    assert found.values == (400, 120, 160)
    assert found.category is Category.PROGRESSION
    assert (found.from_baseline, found.from_smallest) == (pytest.approx(-0.6), pytest.approx(1 / 3))


def test_growth_of_a_target_counts_from_or_to_a_measurable_size() -> None:
    """A target that is long and narrow now, what is left of one, and that when it is measurable again."""
    assert judged(course((lesion(1, 12, 12), lesion(1, 25, 9)))).category is Category.PROGRESSION
    assert judged(course((lesion(1, 20, 20), lesion(1, 4, 4), lesion(1, 6, 6)))).category is Category.PARTIAL
    assert judged(course((lesion(1, 20, 20), lesion(1, 4, 4), lesion(1, 10, 10)))).category is Category.PROGRESSION


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
    assert f"1 new lesion of {volume_text(given.tracks[1].lesions[1].volume_ml)}" in judged(given, RANO_2010).sentence
    later = judged(given, RANO_2_0)
    assert later.category is rano_2_0
    assert ("no new measurable lesion" in later.reason) is (later.category is Category.STABLE)


@pytest.mark.parametrize(
    ("one", "slice_mm"),
    [
        (lesion(1, 20, 9.9), 1.0),
        (lesion(1, 20, 20, slices=1), 1.0),
        (lesion(1, 13, 11), 6.0),  # on slices of 6 mm both diameters must reach 12 mm
    ],
)
def test_what_is_not_measurable_is_not_judged_by_its_size(one: FollowedLesion, slice_mm: float) -> None:
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


# --- lesions that belong together ------------------------------------------------------------------------------------


def merged(before: tuple[FollowedLesion, ...], after: tuple[FollowedLesion, ...]) -> LesionHistory:
    """All lesions of the first study and all of the second one are one group."""
    count = max(len(before), len(after))
    rows = [(*one, None)[:1] for one in zip(before)] + [(None,)] * (count - len(before))
    later = [*after, *[None] * (count - len(after))]
    tracks = tuple(Track(id=k + 1, lesions=(rows[k][0], later[k])) for k in range(count))
    ml = [sum(one.volume_ml for one in side) for side in (before, after)]
    step = LesionChange(
        change=Change.SPLIT_AND_MERGED, before=tuple(range(1, len(before) + 1)), after=tuple(range(1, len(after) + 1)),
        before_ml=ml[0], after_ml=ml[1],
    )  # fmt: skip
    return LesionHistory(region=Region.ET, tracks=tracks, steps=((step,),))


def test_lesions_that_merge_are_counted_on_both_sides() -> None:
    """Three lesions of which two were targets become two: the third is not growth, as it would be on one side alone."""
    before = lesion(1, 30, 20, ml=6.0), lesion(2, 26, 18, ml=4.0), lesion(3, 24.9, 15.0, ml=2.0)
    after = lesion(1, 36, 27, ml=11.0), lesion(2, 20, 17, ml=5.3)
    found = judged(merged(before, after), RANO_2_0)
    assert found.values == (30 * 20 + 26 * 18 + 24.9 * 15, 36 * 27 + 20 * 17)
    assert found.category is Category.STABLE
    volume = judged(merged(before, after), RANO_2_0_VOLUME)
    assert volume.from_baseline == pytest.approx(16.3 / 12 - 1)
    assert volume.category is Category.STABLE
    assert "+36 %" in volume.brief


# --- what is no target -----------------------------------------------------------------------------------------------


def test_growth_of_a_lesion_that_was_not_measurable_is_progression() -> None:
    given = course((lesion(1, 30, 30), lesion(1, 30, 30)), (lesion(2, 30, 9.9, 1.7), lesion(2, 40, 40, 19.7)))
    for criteria in (RANO_2010, RANO_2_0):
        found = judged(given, criteria)
        assert found.targets == (1,)
        assert found.grown == (2,)
        assert found.category is Category.PROGRESSION
        assert "lesion 2, not among the targets: clear growth" in found.brief
    alone = judged(course((lesion(1, 30, 9.9), lesion(1, 40, 40))))
    assert (alone.category, alone.targets) == (Category.PROGRESSION, ())


def test_growth_of_the_third_largest_is_progression_also_by_volume() -> None:
    rows = [(lesion(n, 30, 30, ml), lesion(n, 30, 30, ml)) for n, ml in ((1, 14.0), (2, 13.0))]
    found = judged(course(*rows, (lesion(3, 15, 15, 1.7), lesion(3, 33, 33, 19.7))), RANO_2_0_VOLUME)
    assert found.values == (27.0, 27.0)
    assert found.category is Category.PROGRESSION
    little = judged(course(*rows, (lesion(3, 15, 15, 1.7), lesion(3, 17, 17, 2.5))), RANO_2_0_VOLUME)
    assert little.category is Category.STABLE


# --- T2/FLAIR --------------------------------------------------------------------------------------------------------


def test_a_large_flair_increase_is_progression_in_2010_and_only_reported_in_2_0() -> None:
    given = course((lesion(1, 20, 20), lesion(1, 20, 20)))
    found = judged(given, RANO_2010, flair_ml=[20.0, 55.0])
    assert found.category is Category.PROGRESSION
    assert found.flair_ml == (20.0, 20.0, 55.0)
    assert found.reason.startswith("T2/FLAIR abnormality +175 %"), "what decides is said first"
    assert "product of perpendicular diameters 0 % from baseline" in found.reason
    assert found.brief == f"RANO 2010: {found.reason}"
    assert found.of_flair_alone
    larger = judged(course((lesion(1, 20, 20), lesion(1, 30, 30, 14.1))), RANO_2010, flair_ml=[20.0, 55.0])
    assert larger.category is Category.PROGRESSION
    assert not larger.of_flair_alone
    later = judged(given, RANO_2_0, flair_ml=[20.0, 55.0])
    assert later.category is Category.STABLE
    assert not later.of_flair_alone
    assert "the growth of the T2/FLAIR abnormality is not judged by these criteria" in later.brief


def test_an_assessment_of_an_earlier_version_is_still_read() -> None:
    found = judged(course((lesion(1, 20, 20), lesion(1, 20, 20))), RANO_2_0)
    stored = {key: value for key, value in found.model_dump().items() if key not in ("reason", "of_flair_alone")}
    assert Assessment.model_validate(stored).brief == found.brief


@pytest.mark.parametrize(
    ("flair_ml", "category"),
    [
        ([20.0, 28.0], Category.PROGRESSION),  # +40 %
        ([20.0, 27.9], Category.PARTIAL),
        ([4.0, 8.0], Category.PARTIAL),  # +100 %, but 4 mL
        ([20.0, 10.0], Category.PARTIAL),
        ([20.0, None], Category.NOT_COMPARABLE),
        ([], Category.NOT_COMPARABLE),
    ],
)
def test_a_response_needs_a_stable_flair_in_2010(flair_ml: list[float | None], category: Category) -> None:
    found = judged(course((lesion(1, 20, 20), lesion(1, 10, 10))), RANO_2010, flair_ml=flair_ml)
    assert found.category is category
    assert judged(course((lesion(1, 20, 20), lesion(1, 10, 10))), RANO_2_0, flair_ml=flair_ml).category is (
        Category.PARTIAL
    )


def test_flair_is_held_against_the_best_response() -> None:
    given = course((lesion(1, 20, 20),) * 3)
    assert judged(given, flair_ml=[40.0, 20.0, 42.0]).category is Category.PROGRESSION


# --- metastases ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "category"),
    [
        (((30.0, 20.0), (20.0, 10.0)), Category.STABLE),
        (((40.0, 20.0), (20.0, 10.0)), Category.PROGRESSION),  # 50 to 60 mm
        (((35.0, 20.0), (20.0, 10.0)), Category.STABLE),  # +10 %
        (((15.0, 20.0), (20.0, 10.0)), Category.PARTIAL),  # -30 %
        (((15.5, 20.0), (20.0, 10.0)), Category.STABLE),
    ],
)
def test_metastases_are_judged_by_the_longest_diameter(now: tuple, category: Category) -> None:
    (a, b), (c, d) = now
    given = course((lesion(1, 30, 20), lesion(1, a, b)), (lesion(2, 20, 10), lesion(2, c, d)))
    found = judged(given, RANO_BM)
    assert found.values[0] == 50
    assert found.category is category


def test_small_metastases_progress_by_5_mm_only() -> None:
    assert judged(course((lesion(1, 10, 6), lesion(1, 13, 7))), RANO_BM).category is Category.STABLE  # +30 %, 3 mm
    assert judged(course((lesion(1, 10, 6), lesion(1, 15, 7))), RANO_BM).category is Category.PROGRESSION


def test_a_metastasis_may_be_narrower_than_a_glioma() -> None:
    assert judged(course((lesion(1, 12, 5), lesion(1, 12, 5))), RANO_BM).targets == (1,)
    assert judged(course((lesion(1, 12, 4.9), lesion(1, 12, 4.9))), RANO_BM).targets == ()


# --- what cannot be compared -----------------------------------------------------------------------------------------


def rim(name: int, ml: float = 9.0) -> FollowedLesion:
    return lesion(name, 28, 6, ml).model_copy(update={"is_solid": False})


def test_a_rim_has_no_diameters_but_a_volume() -> None:
    given = course((rim(1, 9.1), rim(1, 23.4)))
    assert judged(given, RANO_2_0).category is Category.NOT_MEASURABLE
    found = judged(given, RANO_2_0_VOLUME)
    assert (found.targets, found.category) == ((1,), Category.PROGRESSION)
    assert "+157 %" in found.brief
    solid = course((lesion(1, 30, 30), rim(1)))
    assert judged(solid, RANO_2_0).category is Category.NOT_COMPARABLE
    assert "rim around a cavity" in judged(solid, RANO_2_0).brief


def test_diameters_in_different_planes_are_not_compared_and_volumes_are() -> None:
    given = course((lesion(1, 20, 20, 4), lesion(1, 25, 25, 4.1)))
    why = "study 1 was acquired in sagittal slices 6 mm apart"
    assert judged(given, RANO_2_0, obstacle=why).category is Category.NOT_COMPARABLE
    assert why in judged(given, RANO_2_0, obstacle=why).brief
    assert judged(given, RANO_2_0_VOLUME, obstacle=why).category is Category.STABLE


@pytest.mark.parametrize(
    ("size", "ml", "category"),
    [
        ((24, 24), 3.9, Category.NOT_COMPARABLE),  # +44 %, and the volume falls
        ((24, 24), 5.0, Category.PROGRESSION),
        ((12, 12), 3.9, Category.NOT_COMPARABLE),  # -64 %, and the volume stays
        ((12, 12), 3.0, Category.PARTIAL),
        ((20, 20), 2.0, Category.STABLE),
    ],
)
def test_diameters_that_the_volume_contradicts_are_not_believed(
    size: tuple[int, int], ml: float, category: Category
) -> None:
    found = judged(course((lesion(1, 20, 20, 4.0), lesion(1, *size, ml))), RANO_2_0)
    assert found.category is category
    assert ("contradict one another" in found.brief) == (category is Category.NOT_COMPARABLE)


def test_a_target_outside_a_later_image_is_not_gone() -> None:
    given = course((lesion(1, 20, 20), None), (lesion(2, 15, 15), lesion(2, 15, 15)))
    step = given.steps[0][0].model_copy(update={"change": Change.NOT_COVERED})
    hidden = given.model_copy(update={"steps": ((step, given.steps[0][1]),)})
    found = judged(hidden, RANO_2_0)
    assert found.category is Category.NOT_COMPARABLE
    assert "lesion 1: outside the image of a later study" in found.brief


def test_a_lesion_outside_the_first_image_is_not_new() -> None:
    given = course((lesion(1, 20, 20), lesion(1, 20, 20)), (None, lesion(2, 20, 20)))
    step = given.steps[0][1].model_copy(update={"change": Change.NOT_COVERED})
    hidden = given.model_copy(update={"steps": ((given.steps[0][0], step),)})
    assert judged(hidden, RANO_2010).category is Category.STABLE


# --- digits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [(0.25, "+25 %"), (0.249, "+24.9 %"), (0.2496, "+24.96 %"), (0.2504, "+25.04 %"), (0.3, "+30 %"), (-0.001, "0 %")],
)
def test_a_change_is_distinguished_from_the_limit_beside_it(change: float, text: str) -> None:
    assert percent_text(change, 0.25) == text


def test_stable_and_progression_do_not_print_the_same_number() -> None:
    stable, worse = (judged(course((lesion(1, 20, 20), lesion(1, 20, one))), RANO_2_0) for one in (24.99, 25.0))
    assert (stable.category, worse.category) == (Category.STABLE, Category.PROGRESSION)
    assert "+24.9 %" in stable.brief
    assert "+25 %" in worse.brief
