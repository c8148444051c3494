"""Every number of a comparison against an operation whose reference labels are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.followup.compare import RegisteredComparison, compare
from GliomaSegLib.followup.conditions import Treatment
from GliomaSegLib.followup.deformation import deform
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.measures.criteria import RANO_2_0_VOLUME
from GliomaSegLib.measures.lesion_shape import LesionSet
from GliomaSegLib.measures.lesion_size import followed_lesions
from GliomaSegLib.measures.lesion_tracking import Change, follow
from GliomaSegLib.measures.midline import Side
from GliomaSegLib.measures.resection import Finding
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.preprocessing.resampling import resample_image
from GliomaSegLib.results.time_point import SegmentedTimePoint, read_time_point
from Testing.support.simulated_surgery import Operated, operate

T1C, T1N = Modality.T1C, Modality.T1N
_NEAREST = sitk.sitkNearestNeighbor
PRE, EARLY, LATER = (
    TimePoint(TimePointKind.PREOPERATIVE),
    TimePoint(TimePointKind.POSTOPERATIVE, 1),
    TimePoint(TimePointKind.POSTOPERATIVE, 200),
)


@pytest.fixture(scope="module")
def before(small_phantom: Phantom) -> dict[Modality, sitk.Image]:
    return {
        sequence: sitk.Mask(
            resample_image(image, small_phantom.reference, small_phantom.transforms[sequence]), small_phantom.brain
        )
        for sequence, image in small_phantom.images.items()
    }


@pytest.fixture(scope="module")
def operated(small_phantom: Phantom, before: dict[Modality, sitk.Image]) -> Operated:
    return operate(before, small_phantom.reference, small_phantom.brain, left_ml=1.5, planted_radius_mm=8.0, seed=3)


def time_point_of(
    folder: Path, name: str, image: sitk.Image, labels: sitk.Image, when: TimePoint
) -> SegmentedTimePoint:
    paths = folder / f"{name}_t1c.nii.gz", folder / f"{name}_labels.nii.gz"
    sitk.WriteImage(image, paths[0])
    sitk.WriteImage(labels, paths[1])
    return read_time_point(paths[1], paths[0], LabelScheme.BRATS2024, when)


@pytest.fixture(scope="module")
def aligned(
    small_phantom: Phantom,
    before: dict[Modality, sitk.Image],
    operated: Operated,
    tmp_path_factory: pytest.TempPathFactory,
) -> RegisteredComparison:
    folder = tmp_path_factory.mktemp("operated")
    pre = time_point_of(folder, "pre", before[T1C], small_phantom.reference, PRE)
    post = time_point_of(folder, "post", operated.images[T1C], operated.labels, EARLY)
    return compare([pre, post], deformable=True)


def voxels(phantom: Phantom, region: Region) -> int:
    return int(region_mask(sitk.GetArrayFromImage(phantom.reference), region).sum())


def test_the_simulated_study_looks_as_it_should(before: dict[Modality, sitk.Image], operated: Operated) -> None:
    """Blood is bright on T1c as a rim is, and also on T1; fluid is dark on both."""
    t1c, t1n = (sitk.GetArrayFromImage(operated.images[one]) for one in (T1C, T1N))
    was = sitk.GetArrayFromImage(before[T1C])
    deep = operated.cavity & np.roll(operated.cavity, -1, 1) & np.roll(operated.cavity, 1, 1)
    blood = operated.cavity & ~np.roll(operated.cavity, -1, axis=1)
    brain = was > 0
    assert np.median(t1c[deep]) < np.percentile(was[brain], 10)
    assert np.median(t1n[blood]) > np.percentile(t1n[brain], 90)
    assert np.median(t1c[blood]) > np.percentile(was[brain], 80)
    assert np.median(t1c[operated.planted]) > 1.2 * np.median(t1n[operated.planted])
    assert operated.left.sum() == round(1.5 / operated.voxel_ml)


def test_the_movement_is_found(aligned: RegisteredComparison, operated: Operated) -> None:
    for point in ((0.0, -20.0, 30.0), (40.0, 10.0, 0.0), (-40.0, 30.0, 50.0)):
        there = aligned.transforms[0].TransformPoint(point)
        assert there == pytest.approx(operated.move.TransformPoint(point), abs=1.5)
    assert aligned.comparison.studies[0].moved_mm > 3


def test_residual_and_extent_are_those_of_the_operation(
    aligned: RegisteredComparison, operated: Operated, small_phantom: Phantom
) -> None:
    found = aligned.comparison.resection
    after = int(operated.left.sum() + operated.planted.sum())
    assert found.finding is Finding.RESIDUAL
    assert found.residual.voxels == after
    assert found.residual.volume_ml == pytest.approx(after * operated.voxel_ml)
    assert found.cavity_ml == pytest.approx(operated.cavity.sum() * operated.voxel_ml)
    assert {one.region: one.fraction for one in found.extents} == pytest.approx(
        {region: 1 - after / voxels(small_phantom, region) for region in (Region.ET, Region.TC)}
    )
    assert found.rano.number == ("3A" if after * operated.voxel_ml <= 5 else "3B")
    error = found.residual.digitisation
    assert error is not None
    assert f"±{100 * error:.0f} % on average" in found.answer


def test_each_lesion_is_the_one_that_it_was(aligned: RegisteredComparison, operated: Operated) -> None:
    course = aligned.comparison.course
    assert sorted(step.change.value for step in course.steps[0]) == [Change.NEW.value, Change.SHRUNK.value]
    shrunk, new = course.tracks
    assert shrunk.lesions[1].voxels == operated.left.sum()
    ball = new.lesions[1]
    assert new.lesions[0] is None
    assert ball.voxels == operated.planted.sum()
    radius, (left, posterior, superior) = operated.planted_mm
    assert ball.centre_ras_mm == pytest.approx((-left, -posterior, superior), abs=0.1)
    assert (ball.long_mm, ball.perpendicular_mm) == pytest.approx((2 * radius, 2 * radius), abs=3.0)  # a voxel
    assert (shrunk.lesions[0].side, ball.side) == (Side.RIGHT, Side.LEFT)


def test_the_deformation_changes_no_number(aligned: RegisteredComparison) -> None:
    comparison = aligned.comparison
    assert "demons" in comparison.deformation
    assert 0 <= comparison.studies[0].bent_mm < 10
    there, back = aligned.deformations[0].forward, aligned.deformations[0].inverse
    for point in ((30.0, 0.0, 20.0), (-25.0, -15.0, 30.0)):
        assert back.TransformPoint(there.TransformPoint(point)) == pytest.approx(point, abs=0.5)
    plain = compare(aligned.studies).comparison
    assert plain.deformation is None
    assert plain.resection == comparison.resection
    assert [one.volumes for one in plain.studies] == [one.volumes for one in comparison.studies]
    assert plain.course == comparison.course


def test_a_lesion_that_the_brain_took_along_is_found_again_after_a_deformation(
    small_phantom: Phantom, before: dict[Modality, sitk.Image]
) -> None:
    """Brain shift of 9 mm around a small lesion: rigidly one is gone and one is new, deformed it is the same one."""
    image = sitk.Cast(before[T1C], sitk.sitkFloat32)
    planted = operate(before, small_phantom.reference, small_phantom.brain, left_ml=0, planted_radius_mm=4.5, seed=0)
    lesion = array_on(planted.planted.astype(np.uint8) * np.uint8(Label.ET), image)
    to_mm = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    points = np.moveaxis(np.indices(image.GetSize()), 0, -1) @ to_mm.T + np.array(image.GetOrigin())
    middle = points[tuple(np.argwhere(planted.planted.transpose(2, 1, 0)).mean(axis=0).round().astype(int))]
    shift = np.zeros((*image.GetSize(), 3))
    shift[..., 2] = 9.0 * np.exp(-((points - middle) ** 2).sum(axis=-1) / (2 * 25.0**2))
    field = sitk.GetImageFromArray(shift.transpose(2, 1, 0, 3), isVector=True)
    field.CopyInformation(image)
    bend = sitk.DisplacementFieldTransform(field)
    later, taken = (
        sitk.Resample(one, image, bend, how, 0.0) for one, how in ((image, sitk.sitkLinear), (lesion, _NEAREST))
    )
    deformation = deform(later, image, None, taken, lesion)
    ways = {"rigid": {}, "deformed": {"from_common": deformation.forward, "to_common": deformation.inverse}}
    found = {}
    for name, way in ways.items():
        foci = [
            LesionSet(
                labels, Region.ET, followed_lesions(labels, Region.ET, measure(labels).lesions_of(Region.ET)), **more
            )
            for labels, more in ((lesion, way), (taken, {}))
        ]
        found[name] = [step.change for step in follow(foci, Region.ET).steps[0]]
    assert found["rigid"] == [Change.GONE, Change.NEW]
    assert len(found["deformed"]) == 1
    assert found["deformed"][0] in (Change.UNCHANGED, Change.SHRUNK, Change.GROWN)


def test_a_gross_total_resection_and_later_growth(
    small_phantom: Phantom, before: dict[Modality, sitk.Image], tmp_path: Path
) -> None:
    """Nothing left on the first day; a ball of 9 mm later: a new lesion, and progression by volume for that."""
    clean = operate(before, small_phantom.reference, small_phantom.brain, left_ml=0, planted_radius_mm=0.1, seed=1)
    gone = sitk.GetArrayFromImage(clean.labels)
    gone[gone == Label.ET] = Label.BACKGROUND
    nothing = sitk.GetImageFromArray(gone)
    nothing.CopyInformation(clean.labels)
    grown = operate(before, small_phantom.reference, small_phantom.brain, left_ml=0, planted_radius_mm=9.0, seed=2)
    points = [
        time_point_of(tmp_path, "pre", before[T1C], small_phantom.reference, PRE),
        time_point_of(tmp_path, "early", clean.images[T1C], nothing, EARLY),
        time_point_of(tmp_path, "later", grown.images[T1C], grown.labels, LATER),
    ]
    found = compare(points, Treatment(baseline=1)).comparison
    assert found.resection.finding is Finding.GROSS_TOTAL
    assert found.resection.extents[0].fraction == 1
    assert found.resection.rano.number in ("1", "2A")
    assert [step.change for step in found.course.steps[0]] == [Change.GONE]
    assert [step.change for step in found.course.steps[1]] == [Change.NEW]
    volumetric = next(one for one in found.responses if one.criteria == RANO_2_0_VOLUME)
    assert volumetric.new == (2,)
    assert "1 new lesion" in volumetric.brief
