"""Segmentation in memory: arrays, SimpleITK and nibabel images give what their files give, and bad input a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import GliomaSegLib
from GliomaSegLib import Result, read_probabilities, run, segment_arrays, to_array
from GliomaSegLib.case import Modality
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError
from GliomaSegLib.io.grid import affine_of, same_grid
from GliomaSegLib.labels import Region
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.zoo.store import Store
from Testing.support.study import SHAPE, toy_job, toy_labels, volume, write_study

T1C, T2F = Modality.T1C, Modality.T2F


def arrays() -> dict[str, np.ndarray]:
    return {one.value: to_array(volume(one)) for one in (T1C, T2F)}


AFFINE = affine_of(volume(T1C))


def segment(store: Store, images: dict[Any, Any], affine: Any = AFFINE, **settings: Any) -> Result:
    given = {"model": "toy", "store": store.root, "brain": "stripped", "registration": False, "on_progress": None}
    return segment_arrays(images, affine, **(given | settings))


@pytest.fixture
def from_files(toy_store: Store, tmp_path: Path) -> Result:
    """The same case from files, with all probability maps."""
    job = toy_job(toy_store, tmp_path / "out", study=write_study(tmp_path / "study"), all_probabilities=True)
    return Result.load(run(job).output)


@pytest.mark.parametrize("kind", ["array", "SimpleITK", "nibabel", "as files"])
def test_what_is_in_memory_is_segmented_as_its_files_are(kind: str, toy_store: Store, from_files: Result) -> None:
    given: dict[Any, Any] = {
        "array": arrays(),
        "SimpleITK": {one: volume(one) for one in (T1C, T2F)},
        "nibabel": {name: nib.Nifti1Image(array, AFFINE) for name, array in arrays().items()},
        "as files": {one: sitk.Cast(volume(one), sitk.sitkFloat64) for one in (T1C, T2F)},
    }[kind]
    result = segment(toy_store, given, AFFINE if kind == "array" else None)
    assert np.array_equal(to_array(result.labels), toy_labels().transpose(2, 1, 0))
    assert np.array_equal(to_array(result.labels), to_array(from_files.labels))
    assert same_grid(result.labels, volume(T1C))
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-5)
    assert result.measures.volumes == from_files.measures.volumes
    assert result.volume("WT").ml == pytest.approx(21.6)
    assert (result.reference, result.regions, result.model.id) == (T1C, from_files.regions, "toy")
    assert result.warnings == from_files.warnings == ()
    assert {"registration", "segmentation"} <= result.seconds.keys()


def test_probabilities_and_images_are_made_when_they_are_asked_for(toy_store: Store, from_files: Result) -> None:
    result = segment(toy_store, arrays())
    assert result.probabilities.keys() == {Region.WT}
    found = to_array(result.probabilities["WT"])
    assert found.dtype == np.float32
    assert found.shape == SHAPE[::-1]
    assert 0 <= found.min() < found.max() <= 1
    np.testing.assert_allclose(found, to_array(from_files.probabilities[Region.WT]), atol=0.5 / 255 + 1e-6)
    assert result.probabilities["WT"] is result.probabilities["WT"]
    for sequence in (T1C, T2F):
        np.testing.assert_array_equal(to_array(result.images[sequence]), to_array(volume(sequence)))
        np.testing.assert_array_equal(to_array(from_files.images[sequence.value]), to_array(volume(sequence)))


def test_maps_of_every_region_are_written_on_the_whole_grid_where_asked(from_files: Result, tmp_path: Path) -> None:
    stored = sitk.ReadImage(str(tmp_path / "out" / "probability_WT.nii.gz"))
    assert stored.GetSize() == from_files.labels.GetSize()
    assert stored.GetPixelID() == sitk.sitkUInt8
    found = read_probabilities(tmp_path / "out")
    assert np.array_equal(to_array(found[Region.WT]), to_array(from_files.probabilities["WT"]))


def test_cropped_maps_are_read_onto_the_grid_of_the_labels(toy_store: Store, tmp_path: Path) -> None:
    result = run(toy_job(toy_store, tmp_path / "out", study=write_study(tmp_path / "study")))
    assert sitk.ReadImage(str(result.files["probability_WT"])).GetSize() != SHAPE[::-1]
    whole = read_probabilities(result.output)[Region.WT]
    assert same_grid(whole, Result.load(result.output).labels)


def test_corners_that_were_not_scanned_are_0_as_in_files(toy_store: Store) -> None:
    padded = {name: array.copy() for name, array in arrays().items()}
    for array in padded.values():
        array[:2, :2] = -32768
    for image in segment(toy_store, padded).images.values():
        assert (to_array(image)[:2, :2] == 0).all()


def test_axes_of_the_reference_image_are_kept_and_left_stays_left(toy_store: Store) -> None:
    turned = {name: np.flip(array.transpose(1, 0, 2), 1) for name, array in arrays().items()}
    permuted = AFFINE @ np.array([[0, -1, 0, SHAPE[2] - 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    result = segment(toy_store, turned, permuted)
    expected = np.flip(toy_labels().transpose(2, 1, 0).transpose(1, 0, 2), 1)
    assert np.array_equal(to_array(result.labels), expected)
    np.testing.assert_allclose(result.affine, permuted, atol=1e-5)
    sides = {lesion.side for lesion in result.measures.lesions}
    assert sides == {lesion.side for lesion in segment(toy_store, arrays()).measures.lesions}


def stripped(phantom: Phantom, sequence: Modality) -> sitk.Image:
    """The phantom's scan of a sequence without its skull, where the head lay in that scan."""
    scan = phantom.images[sequence]
    moved = phantom.transforms[sequence].GetInverse() if sequence in phantom.transforms else sitk.Transform()
    return sitk.Mask(scan, sitk.Resample(phantom.brain, scan, moved, sitk.sitkNearestNeighbor))


def test_a_moved_sequence_has_its_transform_and_is_brought_back(small_phantom: Phantom, toy_store: Store) -> None:
    result = segment(toy_store, {one: stripped(small_phantom, one) for one in (T1C, T2F)}, None, registration=True)
    assert set(result.transforms) == {T2F}
    point = (10.0, -20.0, 15.0)
    np.testing.assert_allclose(
        result.transforms[T2F].TransformPoint(point), small_phantom.transforms[T2F].TransformPoint(point), atol=2.0
    )
    assert same_grid(result.images[T2F], result.labels)


def test_a_sequence_may_be_left_out_and_what_that_costs_is_said(toy_store: Store) -> None:
    result = segment(toy_store, arrays(), leave_out=["t1c"])
    assert (result.missing, result.warnings) == ((T1C,), (result.cost,))
    assert result.regions == (Region.WT,)
    with pytest.raises(InputError, match=r"no volume called 'ET' in the result of 'toy'; it has WT\."):
        result.volume("ET")


def test_progress_goes_to_a_function_which_may_stop_the_run(
    toy_store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    stages: list[tuple[str, float]] = []
    segment(toy_store, arrays(), on_progress=lambda *stage: stages.append(stage))
    assert ("segmentation", 0.5) in stages
    assert capfd.readouterr() == ("", "")

    def stop(stage: str, fraction: float) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        segment(toy_store, arrays(), on_progress=stop)
    segment(toy_store, arrays(), on_progress="bar")
    assert "segmentation" in capfd.readouterr().err


def with_nan() -> dict[str, np.ndarray]:
    given = arrays()
    given["t2f"][3, 4, 5] = np.nan
    return given


@pytest.mark.parametrize(
    ("images", "affine", "sentence"),
    [
        (arrays(), None, r"images\['t1c'\] is an array, which does not say how it lies .*; give 'affine'"),
        (
            arrays() | {"t2f": arrays()["t2f"][:-1]},
            AFFINE,
            r"different shapes \(t1c \(32, 36, 20\), t2f \(31",
        ),
        (with_nan(), AFFINE, r"images\['t2f'\] holds 1 voxels that are NaN"),
        ({"t1c": arrays()["t1c"].astype(complex)}, AFFINE, r"holds values of the type complex128"),
        ({"t1c": arrays()["t1c"] > 0}, AFFINE, r"holds values of the type bool"),
        ({"t1c": np.array([["a"]], object)}, AFFINE, r"holds values of the type object"),
        ({"t1c": arrays()["t1c"][..., None]}, AFFINE, r"has the shape \(32, 36, 20, 1\)"),
        ({"t1c": np.zeros((9, 9, 9))}, AFFINE, r"images\['t1c'\] is empty"),
        (arrays(), np.zeros((4, 4)), "no invertible 4 x 4 matrix"),
        (arrays(), "RAS", "no invertible 4 x 4 matrix"),
        (arrays(), np.diag([0.003, 0.003, 0.003, 1]), "which is no head"),
        (arrays(), AFFINE @ (np.eye(4) + np.eye(4, k=1) * 0.5), "sheared axes"),
        ({"flair": arrays()["t2f"]}, AFFINE, "'flair' is not one of the sequences t1n, t1c, t2w, t2f"),
        ({}, AFFINE, "needs at least one of|has no sequence"),
        ({"t1c": arrays()["t1c"], "t2f": arrays()["t1c"]}, AFFINE, "hold the same image"),
    ],
)
def test_bad_input_gets_one_sentence(images: dict[str, Any], affine: Any, sentence: str, toy_store: Store) -> None:
    with pytest.raises(GliomaSegError, match=sentence) as refused:
        segment(toy_store, images, affine)
    assert "\n" not in str(refused.value)


def test_a_setting_that_does_not_exist_is_refused(toy_store: Store) -> None:
    with pytest.raises(InputError, match=r"The settings is not valid: study|The settings .*study"):
        segment(toy_store, arrays(), study="folder")


def test_every_name_of_the_package_is_there() -> None:
    for name in GliomaSegLib.__all__:
        assert getattr(GliomaSegLib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'segments'"):
        GliomaSegLib.segments  # noqa: B018
