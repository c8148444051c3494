"""Response to treatment from label maps of known bodies: what a tumour board would call it, or why nothing is said."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.followup.compare import compare
from GliomaSegLib.followup.comparison import TimePointComparison
from GliomaSegLib.followup.conditions import Radiotherapy, Treatment
from GliomaSegLib.followup.interactive import _changes
from GliomaSegLib.followup.page import render_comparison
from GliomaSegLib.io.grid import placed_as
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.lesion_tracking import Change
from GliomaSegLib.measures.rano import Category
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.options import ReviewState, Surgery, Tumour
from GliomaSegLib.results.time_point import SegmentedTimePoint
from Testing.support.time_points import PRE, after, ball, ellipsoid, labels_of, rim, segmented

ET, SNFH, RC, NETC = Label.ET, Label.SNFH, Label.RC, Label.NETC
HERE, THERE = (-15.0, 0.0, 0.0), (25.0, 5.0, 0.0)


def compared(*points: SegmentedTimePoint, **said: object) -> TimePointComparison:
    return compare(list(points), in_place=True, treatment=Treatment(**said)).comparison


def categories(found: TimePointComparison) -> dict[str, Category]:
    return {one.criteria.name: one.category for one in found.responses}


def nodule(radius: float, edema: float = 25.0, **grid: object):
    """A solid nodule in edema."""
    return labels_of((ball(HERE, edema), SNFH), (ball(HERE, radius), ET), **grid)


# --- rims and cavities -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cavity", [None, RC, NETC])
def test_a_rim_that_shrinks_around_its_cavity_is_no_progression(cavity: Label | None) -> None:
    """9.07 mL of rim become 3.64 mL without one voxel in common."""

    def study(radius: float, days: float) -> SegmentedTimePoint:
        inside = Label.BACKGROUND if cavity is None else cavity
        edema, enhancing = (ball(HERE, radius + 2), SNFH), (ball(HERE, radius), ET)
        return segmented(labels_of(edema, enhancing, (ball(HERE, radius - 2), inside)), after(days))

    found = compared(study(20, 90), study(13, 180))
    (step,) = found.course.steps[0]
    assert step.change is Change.SHRUNK
    assert (step.before_ml, step.after_ml) == pytest.approx((9.07, 3.64), rel=0.02)
    assert Category.PROGRESSION not in categories(found).values()
    assert not any(one.new for one in found.responses)
    assert categories(found)["RANO 2.0, volumetric"] is Category.STABLE  # -60 %, the limit is -65 %
    assert categories(found)["RANO 2.0"] is Category.NOT_MEASURABLE


def test_a_rim_whose_wall_thickens_progresses_by_volume_and_has_no_diameters() -> None:
    thin, thick = (labels_of((rim(HERE, 20, wall), ET), (ball(HERE, 20 - wall), RC)) for wall in (2, 6))
    found = compared(segmented(thin, after(90)), segmented(thick, after(180)))
    volumetric = found.responses[-1]
    assert volumetric.from_baseline == pytest.approx(1.42, abs=0.05)
    assert volumetric.category is Category.PROGRESSION
    assert categories(found)["RANO 2.0"] is Category.NOT_MEASURABLE
    assert not any(lesion.is_solid for track in found.course.tracks for lesion in track.lesions)


# --- planes and grids ------------------------------------------------------------------------------------------------


def ellipsoid_on(**grid: object):
    """40 x 20 mm in the axial plane, 40 x 30 mm in the coronal one."""
    return labels_of((ellipsoid((0, 0, 0), (20, 10, 15)), ET), **grid)


@pytest.mark.parametrize(
    "grid",
    [
        {"spacing": (1.0, 1.0, 2.0), "orientation": "PIR", "size_mm": (90, 60, 90)},
        {"spacing": (1.0, 1.0, 2.0), "orientation": "LIA", "size_mm": (90, 60, 90)},
        {"spacing": (0.8, 0.8, 4.0)},
    ],
)
def test_the_same_body_on_another_grid_is_stable(grid: dict) -> None:
    found = compared(segmented(ellipsoid_on(), after(90)), segmented(ellipsoid_on(**grid), after(180)))
    assert categories(found)["RANO 2.0"] is Category.STABLE
    assert abs(found.responses[1].from_baseline) < 0.12
    first, second = found.course.tracks[0].lesions
    for lesion in (first, second):
        assert (lesion.long_mm, lesion.perpendicular_mm) == pytest.approx((40, 20), abs=2.0)


def test_diameters_on_thick_sagittal_slices_are_not_compared() -> None:
    thick = ellipsoid_on(spacing=(1.0, 1.0, 6.0), orientation="PIR", size_mm=(90, 60, 90))
    found = compared(segmented(ellipsoid_on(), after(90)), segmented(thick, after(180)))
    assert categories(found)["RANO 2.0"] is Category.NOT_COMPARABLE
    assert "study 2 (180 days after surgery) are not axial and 6 mm apart" in found.responses[1].brief
    assert categories(found)["RANO 2.0, volumetric"] is Category.STABLE


def test_a_satellite_that_thick_slices_could_not_show_is_not_new() -> None:
    """45 mm³: 45 voxels of 1 mm, 11 on slices 5 mm apart, between which it may lie."""
    satellite = ellipsoid(THERE, (2.2, 2.2, 2.2))
    coarse = labels_of((ball(HERE, 12), ET), spacing=(0.9, 0.9, 5.0))
    fine = labels_of((ball(HERE, 12), ET), (satellite, ET))
    found = compared(segmented(coarse, after(90)), segmented(fine, after(180)))
    assert not any(one.new for one in found.responses)
    assert (found.studies[1].foci, found.studies[1].specks) == (1, 1)
    assert found.studies[1].specks_ml == pytest.approx(0.05, abs=0.01)
    assert "1 in study 2" in found.notes[0]
    same_grid = compared(segmented(labels_of((ball(HERE, 12), ET)), after(90)), segmented(fine, after(180)))
    assert same_grid.responses[0].new == (2,)  # 1 mm shows it


def test_a_lesion_outside_the_first_image_is_not_new() -> None:
    slab = labels_of((ball(HERE, 12), ET), size_mm=(90, 90, 30), centre=(0, 0, -10))
    whole = labels_of((ball(HERE, 12), ET), (ball((20, 0, 20), 6), ET))
    found = compared(segmented(slab, after(90)), segmented(whole, after(180)))
    assert Change.NOT_COVERED in {step.change for step in found.course.steps[0]}
    assert Category.PROGRESSION not in categories(found).values()


def with_spot(voxels: int) -> SegmentedTimePoint:
    """A nodule, and away from it so many voxels of 1 mm³ that enhance."""
    labels = nodule(12)
    spot = sitk.GetArrayViewFromImage(labels)[40:44, 44:48, 74:78].copy()
    spot.ravel()[:voxels] = ET
    labels[74:78, 44:48, 40:44] = placed_as(sitk.GetImageFromArray(spot), labels[74:78, 44:48, 40:44])
    return segmented(labels, after(90))


@pytest.mark.parametrize("voxels", [(19, 21), (21, 19, 21), (11, 19, 21)])
def test_a_spot_whose_volume_wavers_about_that_of_the_least_lesion_is_not_new(voxels: tuple[int, ...]) -> None:
    found = compared(*map(with_spot, voxels))
    assert [len(track.lesions) for track in found.course.tracks] == [len(voxels)] * 2
    assert all(all(track.lesions) for track in found.course.tracks)
    assert set(categories(found).values()) == {Category.STABLE}
    assert [row.specks for row in found.studies] == [0] * len(voxels)


def test_a_lesion_at_a_speck_of_noise_is_new_and_a_speck_that_becomes_none_is_no_lesion() -> None:
    assert compared(with_spot(9), with_spot(25)).responses[0].new == (2,)
    wavering = compared(with_spot(18), with_spot(19))
    assert len(wavering.course.tracks) == 1
    assert [row.specks for row in wavering.studies] == [1, 1]
    assert compared(with_spot(21), with_spot(19)).course.steps[0][1].change is Change.UNCHANGED


def test_what_is_left_of_a_target_is_too_small_to_measure_and_not_gone() -> None:
    """RANO wants all enhancement to disappear; and a remnant that wavers, of 7 and 19 mm³, is no progression."""
    studies = (segmented(nodule(radius), after(90 * place)) for place, radius in enumerate((9, 1.2, 1.8), start=1))
    found = compared(*studies)
    assert [step.change for (step,) in found.course.steps] == [Change.SHRUNK, Change.GROWN]
    assert set(categories(found).values()) == {Category.PARTIAL}
    assert [row.foci for row in found.studies] == [1, 1, 1]
    beside = (-4.0, 0.0, 0.0)  # within 2 mm, and of the same size: a lesion that was not registered well
    moved = labels_of((ball(HERE, 1.2), ET), (ball(beside, 5), ET))
    assert [one.new for one in compared(segmented(nodule(5), after(90)), segmented(moved, after(180))).responses] == [
        ()
    ] * 3
    gone = compared(segmented(nodule(9), after(90)), segmented(nodule(0.5), after(180)))  # a voxel is noise
    assert categories(gone)["RANO 2.0"] is Category.COMPLETE


ABOVE = (20.0, 0.0, 27.0)


def three_studies(*radii: float, **said: object) -> TimePointComparison:
    """The second study is a slab that does not show the second lesion, whose radius in the others is given."""
    first, last = (
        labels_of((ball(HERE, 12), ET), *([(ball(ABOVE, radius), ET)] if radius else []), size_mm=(90, 90, 80))
        for radius in radii
    )
    slab = labels_of((ball(HERE, 12), ET), size_mm=(90, 90, 40), centre=(0, 0, -5))
    return compared(*(segmented(one, after(90 * n)) for n, one in enumerate((first, slab, last), start=1)), **said)


def test_a_lesion_that_an_earlier_study_shows_to_be_absent_is_new_past_a_study_that_does_not_cover_it() -> None:
    found = three_studies(0, 6)
    assert [step.change for step in found.course.steps[1]] == [Change.UNCHANGED, Change.NEW]
    assert all(one.new == (2,) for one in found.responses)
    assert set(categories(found).values()) == {Category.PROGRESSION}


def test_a_lesion_keeps_its_number_past_a_study_that_does_not_cover_it() -> None:
    found = three_studies(6, 6)
    assert [bool(lesion) for lesion in found.course.tracks[1].lesions] == [True, False, True]
    assert len(found.course.tracks) == 2
    assert not any(one.new for one in found.responses)
    assert {categories(found)[name] for name in ("RANO 2.0", "RANO 2.0, volumetric")} == {Category.STABLE}


def test_a_lesion_that_is_gone_past_a_study_that_does_not_cover_it_is_gone_since_the_one_before() -> None:
    found = three_studies(7, 0)
    assert [step.change for step in found.course.steps[1]] == [Change.UNCHANGED, Change.GONE]
    assert "lesion 2 gone since study 1" in " ".join(found.answers)
    assert found.responses[-1].values == pytest.approx([7.24 + 1.44, 7.24], rel=0.02)
    assert {categories(found)[name] for name in ("RANO 2.0", "RANO 2.0, volumetric")} == {Category.STABLE}
    drawn = [np.array(one, np.uint16) for one in ([1, 2, 0], [1, 0, 0], [1, 0, 0])]  # the components of each study
    assert _changes(found.course, drawn).tolist() == [5, 4, 0], "other, gone and nothing"


def test_a_study_that_does_not_show_a_target_is_left_out_of_its_sums() -> None:
    """The second lesion grows from 1.4 to 5.6 mL; of what the slab shows alone the sum would be smallest there."""
    found = three_studies(7, 11)
    assert set(categories(found).values()) == {Category.PROGRESSION}
    volumetric = found.responses[-1]
    assert volumetric.values == pytest.approx([7.24 + 1.44, 7.24 + 5.57], rel=0.02)
    assert volumetric.from_smallest == volumetric.from_baseline == pytest.approx(0.476, abs=0.02)
    assert "1 study in between without some of the targets left out" in volumetric.brief


def test_a_target_that_the_last_study_does_not_show_is_not_comparable() -> None:
    first, slab = (labels_of((ball(HERE, 12), ET), (ball(ABOVE, 7), ET), size_mm=(90, 90, size)) for size in (80, 30))
    found = compared(segmented(first, after(90)), segmented(first, after(180)), segmented(slab, after(270)))
    assert categories(found)["RANO 2.0, volumetric"] is Category.NOT_COMPARABLE
    assert "lesion 2: outside the image of a later study" in found.responses[-1].brief


def test_of_a_lesion_that_only_a_study_before_the_baseline_shows_to_be_absent_it_is_not_known_when_it_came() -> None:
    found = three_studies(0, 6, baseline=1)
    assert found.course.steps[1][1].change is Change.NEW
    assert not any(one.new for one in found.responses)
    assert Category.PROGRESSION not in categories(found).values()


# --- lesions that merge or split -------------------------------------------------------------------------------------


def test_what_merges_is_counted_on_both_sides() -> None:
    """Three nodules, of which two would be targets, grow together into one: by volume +36 %, and no product is lost."""
    middles = [(-20.0, 0.0, 0.0), (0.0, 0.0, 0.0), (18.0, 0.0, 0.0)]
    apart = labels_of(*((ball(middle, radius), ET) for middle, radius in zip(middles, (9.5, 9, 7.5), strict=True)))
    together = labels_of(*((ball(middle, radius), ET) for middle, radius in zip(middles, (10.5, 10, 8.4), strict=True)))
    found = compared(segmented(apart, after(90)), segmented(together, after(180)))
    assert [step.change for step in found.course.steps[0]] == [Change.MERGED]
    volumetric = found.responses[-1]
    volumes = [next(one.volume_ml for one in row.volumes if one.name == "ET") for row in found.studies]
    assert volumetric.values == pytest.approx(volumes)
    assert volumetric.from_baseline == pytest.approx(0.36, abs=0.02)
    assert volumetric.category is Category.STABLE


# --- T2/FLAIR --------------------------------------------------------------------------------------------------------


def test_a_flair_only_progression_is_said() -> None:
    found = compared(segmented(nodule(10, edema=16), after(90)), segmented(nodule(10, edema=24), after(180)))
    assert categories(found) == {
        "RANO 2010": Category.PROGRESSION,
        "RANO 2.0": Category.STABLE,
        "RANO 2.0, volumetric": Category.STABLE,
    }
    headline = found.answers[0]
    assert headline.startswith(
        "Progression of the T2/FLAIR abnormality alone (RANO 2010) and stable disease (RANO 2.0 and RANO 2.0 by volume)"
    )
    assert "by imaging alone, against study 1 (90 days after surgery)" in headline
    assert any("T2/FLAIR abnormality is not judged by these criteria" in sentence for sentence in found.answers)
    said = [one for one in found.answers if "rogression" in one.partition(", limit of")[0]]
    assert said == [headline], "the verdict stands once; the other lines are its numbers, one for each criterion"


def test_without_a_drawn_flair_abnormality_2010_gives_no_verdict() -> None:
    points = [segmented(nodule(10), after(days), regions=(Region.ET,)) for days in (90, 180)]
    assert categories(compared(*points))["RANO 2010"] is Category.NOT_COMPARABLE


def test_a_study_without_t2_and_flair_says_nothing_of_the_abnormality() -> None:
    """Neither the table of volumes nor the class after resection, of which nothing enhancing is left."""
    t1c = frozenset({Modality.T1C})
    before = segmented(nodule(15), PRE)
    left = labels_of((ball(HERE, 9), SNFH))  # class 1, were it all
    for sequences, class_, cell in ((None, "1", "3.11 mL"), (t1c, "1 or 2A", "not determined")):
        study = segmented(left, after(1), sequences=sequences, review=ReviewState.APPROVED)
        aligned = compare([before, study], in_place=True)
        assert aligned.comparison.resection.rano.number == class_
        row = render_comparison(aligned).partition("T2/FLAIR abnormality outside the enhancing tumour</td>")[2]
        assert f">{cell}</td></tr>" in row.partition("\n")[0]


def test_images_of_two_sequences_are_not_deformed_into_one_another() -> None:
    images = {"image": nodule(10)}
    points = [
        segmented(nodule(10), after(days), sequence=one, **images)
        for days, one in ((90, Modality.T1C), (180, Modality.T2F))
    ]
    with pytest.raises(InputError, match=r"drawn on T1 \+ contrast and .* on FLAIR: .* leave --deformable out"):
        compare(points, in_place=True, deformable=True)


def test_what_the_image_cuts_off_is_neither_growth_nor_complete_response() -> None:
    """A slab of the head shows less of a lesion, of the edema, or nothing of another lesion."""
    slab = {"size_mm": (90, 90, 16)}  # 8 mm to either side of the middle of a lesion of 20 mm
    found = compared(segmented(nodule(10, **slab), after(90)), segmented(nodule(10), after(180)))
    assert set(categories(found).values()) == {Category.NOT_COMPARABLE}
    assert "lesion 1: cut by the border of an image" in found.responses[1].brief

    thin = {"size_mm": (90, 90, 30)}  # as deep as the lesion, and less deep than the edema
    found = compared(segmented(nodule(10, **thin), after(90)), segmented(nodule(10), after(180)))
    assert [one.category for one in found.responses] == [Category.NOT_COMPARABLE, Category.STABLE, Category.STABLE]
    assert any("the whole tumour touches the border" in warning for warning in found.warnings)

    two = labels_of((ball(HERE, 10), ET), (ball(THERE, 4), ET))
    none = labels_of(size_mm=(50, 90, 60), centre=(-20.0, 0.0, 0.0))
    found = compared(segmented(two, after(90)), segmented(none, after(180)))
    assert set(categories(found).values()) == {Category.PARTIAL}
    assert "lesion 2: outside the image of a later study" in found.responses[1].brief


def test_planes_of_zeros_that_were_added_to_a_slab_cover_nothing() -> None:
    """A slab on the grid of the whole head, as a registration or an export leaves it: it cuts one lesion off, and shows
    nothing of another."""
    below, cut = (0.0, 0.0, -20.0), (15.0, 0.0, 8.0)
    first = labels_of((ball(HERE, 9), ET), (ball(below, 5), ET), (ball(cut, 6), ET), (ball((30.0, 0.0, 0.0), 1.2), ET))
    scan = labels_of((lambda points: abs(points[:, 2] - 1) <= 9, Label(1)))  # -8 to 10 mm
    second = sitk.Mask(first, scan)
    image = sitk.Cast(scan, sitk.sitkFloat32)
    shown = segmented(second, after(180), image=image, measures=measure(second, scan=image))
    found = compared(segmented(first, after(90)), shown)
    assert [step.change for step in found.course.steps[0]] == [Change.UNCHANGED, Change.SHRUNK, Change.NOT_COVERED]
    assert set(categories(found).values()) == {Category.NOT_COMPARABLE}
    assert "cut by the border of an image" in found.responses[-1].brief


def test_a_lesion_at_the_surface_that_brain_extraction_lost_with_its_cavity_has_gone() -> None:
    """The stripped image of the later study ends before it, but not abruptly."""
    first, second = labels_of((ball((36, 0, 0), 3.5), ET)), labels_of()
    whole = ball((0, 0, 0), 40)
    brain = labels_of((lambda points: whole(points) & (points[:, 0] < 32), Label(1)))
    image = sitk.Cast(brain, sitk.sitkFloat32)
    found = compared(segmented(first, after(90)), segmented(second, after(180), image=image))
    assert [step.change for step in found.course.steps[0]] == [Change.GONE]


# --- the baseline ----------------------------------------------------------------------------------------------------


def studies(*days: float | None, radii: tuple[float, ...]) -> list[SegmentedTimePoint]:
    whens = [PRE if one is None else after(one) for one in days]
    return [segmented(nodule(radius), when) for when, radius in zip(whens, radii, strict=True)]


def test_the_scan_of_the_second_day_is_no_baseline() -> None:
    found = compared(*studies(None, 2, 90, 180, radii=(15, 7, 12, 12)))
    assert found.baseline == 2
    assert set(categories(found).values()) == {Category.STABLE}
    assert "against study 3 (90 days after surgery)" in found.answers[0]
    assert "when radiotherapy ended is not stated" in found.answers[0]
    assert any("--radiotherapy-end" in note for note in found.notes)


def test_the_scan_of_the_second_day_is_no_baseline_by_dates_alone() -> None:
    """DICOM knows the dates, and not the days since surgery: the first was made two days after one before it."""
    dates = [date(2024, 1, 1), date(2024, 1, 3), date(2024, 4, 1), date(2024, 7, 1)]
    whens, radii = [PRE, after(), after(), after()], (15, 7, 12, 12)
    points = [segmented(nodule(r), when, day) for r, when, day in zip(radii, whens, dates, strict=True)]
    found = compared(*points)
    assert found.baseline == 2
    assert set(categories(found).values()) == {Category.STABLE}


def test_the_first_after_radiotherapy_is_the_baseline() -> None:
    points = studies(None, 2, 60, 110, 200, radii=(15, 7, 8, 12, 12.2))
    found = compared(*points, radiotherapy=Radiotherapy(ended_days=80))
    assert (found.baseline, found.baseline_reason) == (3, "the first after radiotherapy")
    assert set(categories(found).values()) == {Category.STABLE}
    none = compared(*points, radiotherapy=Radiotherapy.parse("none"))
    assert none.baseline == 1
    assert "no radiotherapy" in none.baseline_reason


def test_dates_serve_as_well_as_days() -> None:
    days = [date(2024, 1, 5), date(2024, 5, 1), date(2024, 8, 1)]
    points = [segmented(nodule(12), after(), day) for day in days]
    found = compared(*points, radiotherapy=Radiotherapy.parse("2024-04-01"))
    assert found.baseline == 1
    assert "study 2 (2024-05-01, after surgery)" in found.answers[0]
    undated = compared(
        *(segmented(nodule(12), after()) for _ in range(3)), radiotherapy=Radiotherapy.parse("2024-04-01")
    )
    assert (undated.responses, undated.baseline) == ((), None)
    assert undated.questions[0].option.startswith("--date")


def test_within_twelve_weeks_of_radiotherapy_growth_may_be_the_treatment() -> None:
    points = studies(90, 130, radii=(10, 14))
    near = compared(*points, radiotherapy=Radiotherapy(ended_days=80))
    assert near.answers[0].startswith("Progression")
    assert "50 days after radiotherapy" in near.answers[1]
    assert "pseudoprogression" in near.answers[1], "right behind the headline"
    stable = compared(*studies(90, 130, radii=(10, 10)), radiotherapy=Radiotherapy(ended_days=80))
    assert not any("pseudoprogression" in one for one in stable.answers)
    assert any("pseudoprogression" in note for note in stable.notes)
    far = compared(*points, radiotherapy=Radiotherapy(ended_days=20))
    assert not any("pseudoprogression" in one for one in (*far.notes, *far.answers))


@pytest.mark.parametrize(
    ("days", "option"),
    [((None, 2, 90), "--radiotherapy-end"), ((2, 90), "--radiotherapy-end")],
)
def test_with_nothing_but_an_early_scan_to_compare_with_it_is_asked(days: tuple, option: str) -> None:
    found = compared(*studies(*days, radii=(15, 7, 12)[-len(days) :]))
    assert found.responses == ()
    assert option in found.questions[0].option
    assert any(
        "Response to treatment is not judged before it is known: When did radiotherapy end?" in text
        for text in found.answers
    )


def test_without_time_points_surgery_is_not_called_a_response() -> None:
    found = compared(segmented(nodule(15)), segmented(nodule(11)))
    assert (found.responses, found.resection) == ((), None)
    assert "before or after surgery" in found.questions[0].text
    assert "--when" in found.questions[0].option
    assert found.answers[0].startswith("Response to treatment is not judged before it is known: ")
    assert "response (" not in " ".join(found.answers)
    assert compared(segmented(nodule(15)), segmented(nodule(11)), baseline=0).responses  # the user has said so
    found = compared(segmented(nodule(15), PRE), segmented(nodule(11)))
    assert found.answers[0].startswith("Response to treatment is not judged before it is known: Was study 2 made")
    assert found.resection is None, "there may have been no operation"


# --- other tumours, and models that were not made for it -------------------------------------------------------------


def by_model(labels, when, task: str = "postoperative-glioma", **more: object) -> SegmentedTimePoint:
    given = {
        "sequences": frozenset(Modality), "task": task, "made_for": frozenset({TimePointKind.POSTOPERATIVE}),
        "review": ReviewState.DRAFT,
    }  # fmt: skip
    return segmented(labels, when, **(given | more))


def test_metastases_are_judged_by_rano_bm_and_meningiomas_by_nothing() -> None:
    maps = labels_of((ball(HERE, 8), ET)), labels_of((ball(HERE, 11), ET))
    found = compared(*(by_model(one, after(90 + n), "metastasis") for n, one in enumerate(maps)))
    assert list(categories(found)) == ["RANO-BM"]
    assert categories(found)["RANO-BM"] is Category.PROGRESSION
    assert "longest diameter" in found.responses[0].brief
    other = compared(*(by_model(one, after(90 + n), "meningioma") for n, one in enumerate(maps)))
    assert other.responses == ()
    assert "no criteria of response" in other.answers[0]
    asked = compared(*(segmented(one, after(90 + n)) for n, one in enumerate(maps)), tumour=Tumour.METASTASIS)
    assert list(categories(asked)) == ["RANO-BM"]


def test_results_of_models_for_different_tumours_are_refused() -> None:
    with pytest.raises(InputError, match=r"by a model for glioma and .* by one for metastasis"):
        compared(by_model(nodule(10), PRE), by_model(nodule(10), after(90), "metastasis"))
    compared(by_model(nodule(12), PRE, "preoperative-glioma"), by_model(nodule(10), after(90)))  # one tumour


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"made_for": frozenset({TimePointKind.PREOPERATIVE})}, "was not made for studies after surgery"),
        ({"sequences": frozenset({Modality.T1C})}, "was segmented without T2 and FLAIR"),
    ],
)
def test_a_result_that_cannot_be_trusted_gets_no_verdict_until_it_is_approved(change: dict, why: str) -> None:
    good = by_model(nodule(10), after(90))
    found = compared(good, by_model(nodule(14), after(180), **change))
    assert found.responses == ()
    assert (
        found.answers[0].startswith("Response to treatment is not judged, because study 2") or why in found.answers[0]
    )
    assert why in found.withheld[0]
    approved = by_model(nodule(14), after(180), review=ReviewState.APPROVED, **change)
    assert compared(good, approved).responses


def test_residual_tumour_is_not_judged_on_a_result_of_a_model_for_before_surgery() -> None:
    made_for = frozenset({TimePointKind.PREOPERATIVE})
    pre = by_model(nodule(15), PRE, "preoperative-glioma", made_for=made_for)
    found = compared(pre, by_model(nodule(3), after(1), "preoperative-glioma", made_for=made_for))
    assert found.answers[0].startswith("Residual tumour is not judged, because the model of study 2 (1 day after")
    assert found.resection.rano is None


def test_nothing_is_judged_on_contours_that_a_reviewer_has_rejected() -> None:
    why = "a reviewer has rejected the contours of the model of study 2"
    pre, rejected = by_model(nodule(15), PRE), {"review": ReviewState.REJECTED}
    found = compared(pre, by_model(nodule(3), after(1), **rejected))
    assert found.answers[0].startswith(f"Residual tumour is not judged, because {why}")
    found = compared(by_model(nodule(10), after(90)), by_model(nodule(14), after(180), **rejected))
    assert found.answers[0].startswith(f"Response to treatment is not judged, because {why}")


def test_a_tumour_outside_the_image_after_surgery_is_no_gross_total_resection() -> None:
    elsewhere = labels_of(size_mm=(50, 90, 60), centre=(30.0, 0.0, 0.0))
    found = compared(segmented(nodule(10), PRE), segmented(elsewhere, after(1)))
    assert found.answers[0].startswith(
        "Residual tumour is not judged, because study 2 (1 day after surgery) does not cover the place of lesion 1"
    )
    assert found.resection.rano is None


# --- operations ------------------------------------------------------------------------------------------------------


def test_a_biopsy_is_no_resection() -> None:
    pre, post = segmented(nodule(12), PRE), segmented(nodule(12), after(1))
    assert compared(pre, post).resection.rano is None
    assert compared(pre, post, surgery=Surgery.BIOPSY).resection.rano.number == "4"


def test_a_second_operation_begins_anew() -> None:
    """By dates and days: operated on 1 January and on 1 July."""
    made = [(PRE, date(2023, 12, 20), 15), (after(2), date(2024, 1, 3), 6), (after(152), date(2024, 6, 1), 12)]
    made += [(after(1), date(2024, 7, 2), 6), (after(92), date(2024, 10, 1), 6), (after(184), date(2025, 1, 1), 6)]
    found = compared(*(segmented(nodule(radius), when, day) for when, day, radius in made))
    assert found.resection.extents[0].before_ml == pytest.approx(4 / 3 * 3.1416 * 1.728, rel=0.02)  # of June
    assert found.baseline == 4
    assert set(categories(found).values()) == {Category.STABLE}
    assert any("more than one operation" in note for note in found.notes)


def test_dates_and_days_that_contradict_one_another_are_refused() -> None:
    points = [segmented(nodule(9), after(2), date(2024, 1, 3)), segmented(nodule(9), after(200), date(2024, 3, 1))]
    with pytest.raises(InputError, match="follows an operation of 2023-08-14, but an earlier study follows one of"):
        compared(*points)


# --- two baselines ---------------------------------------------------------------------------------------------------


def test_two_baselines_are_refused() -> None:
    with pytest.raises(InputError, match="names two baselines; give one"):
        compared(*studies(90, 180, radii=(9, 9)), baseline=0, radiotherapy=Radiotherapy(ended_days=10))


@pytest.mark.parametrize("text", ["soon", "2024-13-01", "1.2.3"])
def test_an_end_of_radiotherapy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a date such as"):
        Radiotherapy.parse(text)
