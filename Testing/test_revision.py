"""A reviewer edits a result: measures, report and the other file follow, and the result says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Sequence
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.results import LABEL_MAP, SLICER_SEGMENTATION, ReviewState, read_manifest
from GliomaSegLib.io.segnrrd import read_segmentation, write_segmentation
from GliomaSegLib.job import Result
from GliomaSegLib.labels import Label, to_internal
from GliomaSegLib.pipeline import run
from GliomaSegLib.preprocessing.grid import array_on
from GliomaSegLib.revision import refresh
from GliomaSegLib.zoo.store import Store, sha256_of
from Testing.study import NECROSIS, VOXEL_ML, on_grid, toy_job, truth, volume, write_study

MORE = (slice(15, 17), slice(4, 8), slice(4, 8))  # a second focus of 32 voxels, away from the first

Segment = Callable[..., Result]


@pytest.fixture
def segment(toy_store: Store, tmp_path: Path) -> Segment:
    """Makes a result in ``tmp_path / "out"``."""

    def made(**fields: object) -> Result:
        study = write_study(tmp_path / "study")
        return run(toy_job(toy_store, tmp_path / "out", study=study, case_id="P7", **fields))

    return made


def edit_segmentation(output: Path, place: tuple[slice, ...], label: Label) -> None:
    path = output / SLICER_SEGMENTATION
    labels = read_segmentation(path)
    array = sitk.GetArrayFromImage(labels)
    array[place] = label
    write_segmentation(array_on(array, labels), path, read_manifest(output).regions)


def edit_label_map(output: Path, place: tuple[slice, ...], value: int) -> None:
    path = output / LABEL_MAP
    labels = read_labels(path)
    array = sitk.GetArrayFromImage(labels)
    array[place] = value
    sitk.WriteImage(array_on(array, labels), str(path))


def volume_ml(result: Result, name: str) -> float:
    return result.measures.volume(name).volume_ml


def assert_sound(output: Path, expected: np.ndarray) -> None:
    """Both files hold ``expected``, their hashes are recorded, and nothing is left beside the folder."""
    manifest = read_manifest(output)
    label_map = read_labels(output / LABEL_MAP)
    internal = to_internal(sitk.GetArrayFromImage(label_map), manifest.job.label_scheme)
    np.testing.assert_array_equal(internal, expected)
    segmentation = read_segmentation(output / SLICER_SEGMENTATION, label_map)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(segmentation), expected)
    assert {name: sha256_of(output / name) for name in manifest.sha256} == manifest.sha256
    assert [path for path in output.parent.iterdir() if path.name.startswith(".")] == []


def test_edit_in_slicer(segment: Segment) -> None:
    before = segment()
    edit_segmentation(before.output, MORE, Label.ET)
    after = refresh(before.output)

    expected = truth()
    expected[MORE] = Label.ET
    assert_sound(before.output, expected)
    assert volume_ml(after, "ET") == pytest.approx(volume_ml(before, "ET") + 32 * VOXEL_ML)
    assert json.loads((before.output / "measures.json").read_text()) == after.measures.model_dump(mode="json")
    manifest = read_manifest(before.output)
    assert manifest.review is ReviewState.EDITED
    assert manifest.changed >= manifest.created
    report = after.files["report.html"].read_text()
    assert "edited: not approved" in report
    assert f"{volume_ml(after, 'ET'):.1f}" in report
    assert "<image" in report
    assert after.files.keys() == before.files.keys(), "probability maps stay"


def test_edit_of_label_map_in_another_numbering(segment: Segment) -> None:
    before = segment(label_scheme="brats2017")
    assert set(np.unique(sitk.GetArrayFromImage(read_labels(before.output / LABEL_MAP)))) == {0, 1, 2, 4}
    edit_label_map(before.output, NECROSIS, 4)
    after = refresh(before.output)

    expected = truth()
    expected[NECROSIS] = Label.ET
    assert_sound(before.output, expected)
    assert volume_ml(after, "ET") == pytest.approx(volume_ml(before, "TC"))
    assert read_manifest(before.output).review is ReviewState.EDITED


def test_edit_can_be_followed_by_another(segment: Segment) -> None:
    output = segment().output
    edit_segmentation(output, MORE, Label.ET)
    refresh(output)
    edit_label_map(output, MORE, Label.BACKGROUND)
    refresh(output)
    assert_sound(output, truth())


def test_all_erased(segment: Segment) -> None:
    output = segment().output
    edit_label_map(output, (slice(None),) * 3, Label.BACKGROUND)
    after = refresh(output)
    assert_sound(output, np.zeros_like(truth()))
    assert volume_ml(after, "WT") == 0
    assert "No tumour was found" in after.files["report.html"].read_text()


def test_no_edit_changes_nothing(segment: Segment) -> None:
    before = segment()
    created = read_manifest(before.output).created
    after = refresh(before.output)
    assert after == before
    assert_sound(before.output, truth())
    manifest = read_manifest(before.output)
    assert (manifest.review, manifest.created, manifest.changed) == (ReviewState.DRAFT, created, None)


def test_two_edits_at_once_are_refused(segment: Segment) -> None:
    output = segment().output
    edit_segmentation(output, MORE, Label.ET)
    edit_label_map(output, MORE, Label.NETC)
    kept = sha256_of(output / LABEL_MAP)
    with pytest.raises(InputError, match=rf"Both {LABEL_MAP} and {SLICER_SEGMENTATION} in {output} were edited"):
        refresh(output)
    assert sha256_of(output / LABEL_MAP) == kept


def test_value_that_the_numbering_lacks_is_refused(segment: Segment) -> None:
    output = segment(label_scheme="brats2017").output
    edit_label_map(output, MORE, 3)
    with pytest.raises(InputError, match=rf"{LABEL_MAP} holds the label 3, which the scheme 'brats2017' does not"):
        refresh(output)


def test_edit_on_another_grid_is_refused(segment: Segment) -> None:
    output = segment().output
    moved = on_grid(truth())
    moved.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(moved, str(output / LABEL_MAP))
    with pytest.raises(InputError, match=rf"{LABEL_MAP} lies on another grid than its case"):
        refresh(output)


def test_edit_stored_in_another_orientation_is_understood(segment: Segment) -> None:
    output = segment().output
    edited = truth()
    edited[MORE] = Label.ET
    sitk.WriteImage(sitk.DICOMOrient(on_grid(edited), "RAS"), str(output / LABEL_MAP))
    refresh(output)
    assert_sound(output, edited)


def test_without_the_originals_there_are_no_pictures(segment: Segment, tmp_path: Path) -> None:
    before = segment()
    (tmp_path / "study" / "head_t2f.nii.gz").unlink()
    edit_segmentation(before.output, MORE, Label.ET)
    after = refresh(before.output)
    (warning,) = after.warnings
    assert warning.startswith("The report has no pictures, because an original image could not be read again: ")
    assert "head_t2f.nii.gz" in warning
    report = after.files["report.html"].read_text()
    assert "<image" not in report
    assert warning.partition(":")[0] in report
    assert "FLAIR" in report
    assert volume_ml(after, "ET") == pytest.approx(volume_ml(before, "ET") + 32 * VOXEL_ML)


def test_pictures_come_back_with_the_originals(segment: Segment, tmp_path: Path) -> None:
    output = segment().output
    original = tmp_path / "study" / "head_t2f.nii.gz"
    original.rename(tmp_path / "away")
    refresh(output)
    (tmp_path / "away").rename(original)
    after = refresh(output)
    assert "<image" in after.files["report.html"].read_text()
    assert after.warnings == ()


def test_originals_in_dicom_are_read_again(toy_store: Store, tmp_path: Path, write_series) -> None:
    for sequence, name in ((Sequence.T1C, "AX T1 POST"), (Sequence.T2F, "AX FLAIR")):
        image = volume(sequence)
        array = np.round(sitk.GetArrayFromImage(image)).astype(np.int16)
        place = {"origin_mm": image.GetOrigin(), "spacing_mm": image.GetSpacing()}
        write_series(array, folder=f"study/{name}", SeriesDescription=name, **place)
    before = run(toy_job(toy_store, tmp_path / "out", study=tmp_path / "study"))
    after = refresh(before.output)
    assert after == before
    assert "<image" in after.files["report.html"].read_text()
    assert_sound(before.output, truth())


def test_warnings_of_the_run_stay(toy_store: Store, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", [Sequence.T2F])
    before = run(toy_job(toy_store, tmp_path / "out", study=study, time_point="postoperative"))
    assert len(before.warnings) == 1
    assert refresh(before.output).warnings == before.warnings
    assert refresh(before.output).cost == before.cost


@pytest.mark.parametrize("name", [LABEL_MAP, SLICER_SEGMENTATION, "brain.nii.gz"])
def test_file_that_is_gone_is_named(segment: Segment, name: str) -> None:
    output = segment().output
    (output / name).unlink()
    with pytest.raises(InputError, match=name):
        refresh(output)


def test_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} is not a folder of GliomaSeg results: it has no manifest"):
        refresh(tmp_path)


def test_damaged_manifest_is_refused(segment: Segment) -> None:
    output = segment().output
    (output / "manifest.json").write_bytes(b"\xff{}")
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        refresh(output)
