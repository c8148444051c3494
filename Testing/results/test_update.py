"""A reviewer edits a result: measures, report and the other file follow, and the result says so."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from html import unescape
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.io.segnrrd import read_segmentation, write_segmentation
from GliomaSegLib.label_maps import to_internal
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.options import ReviewState
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.results.job_result import JobResult
from GliomaSegLib.results.layout import LABEL_MAP, SLICER_SEGMENTATION
from GliomaSegLib.results.reading import read_manifest, read_result
from GliomaSegLib.results.time_point import read_time_point
from GliomaSegLib.results.update import refresh, review
from GliomaSegLib.results.writing import write_results
from GliomaSegLib.zoo.store import Store
from Testing.support.study import NECROSIS, VOXEL_ML, on_grid, toy_job, toy_labels, volume, write_study

MORE = (slice(15, 17), slice(4, 8), slice(4, 8))  # a second focus of 32 voxels, away from the first

Segment = Callable[..., JobResult]


@pytest.fixture
def segment(toy_store: Store, tmp_path: Path) -> Segment:
    """Makes a result in ``tmp_path / "out"``."""

    def made(**fields: object) -> JobResult:
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


def volume_ml(result: JobResult, name: str) -> float:
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

    expected = toy_labels()
    expected[MORE] = Label.ET
    assert_sound(before.output, expected)
    assert volume_ml(after, "ET") == pytest.approx(volume_ml(before, "ET") + 32 * VOXEL_ML)
    said = json.loads((before.output / "measures.json").read_text())
    assert (said.pop("case_id"), said.pop("model"), said.pop("training_distance")) == ("P7", "toy", None)
    assert said == after.measures.model_dump(mode="json")
    with (before.output / "measures.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["case"], row["model"]) for row in rows} == {("P7", "toy")}
    assert {row["kind"] for row in rows} == {"region", "lesion"}
    manifest = read_manifest(before.output)
    assert manifest.review is ReviewState.EDITED
    assert manifest.changed >= manifest.created
    report = after.files["report"].read_text()
    assert "edited: not approved" in report
    assert f"{volume_ml(after, 'ET'):.1f}" in report
    assert "<image" in report
    assert after.files.keys() == before.files.keys(), "probability maps stay"


def test_edit_of_label_map_in_another_numbering(segment: Segment) -> None:
    before = segment(label_scheme="brats2017")
    assert set(np.unique(sitk.GetArrayFromImage(read_labels(before.output / LABEL_MAP)))) == {0, 1, 2, 4}
    edit_label_map(before.output, NECROSIS, 4)
    after = refresh(before.output)

    expected = toy_labels()
    expected[NECROSIS] = Label.ET
    assert_sound(before.output, expected)
    assert volume_ml(after, "ET") == pytest.approx(volume_ml(before, "TC"))
    assert read_manifest(before.output).review is ReviewState.EDITED


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("relative", [True, False])
def test_results_behind_a_link_are_updated_in_their_place(segment: Segment, tmp_path: Path, relative: bool) -> None:
    output = segment().output
    (tmp_path / "link").symlink_to(output.name if relative else output)
    edit_segmentation(output, MORE, Label.SNFH)
    review(tmp_path / "link", ReviewState.APPROVED, "Dr. Weiß")
    assert (tmp_path / "link").is_symlink()
    assert read_manifest(output).review is ReviewState.APPROVED


def test_edit_can_be_followed_by_another(segment: Segment) -> None:
    output = segment().output
    edit_segmentation(output, MORE, Label.ET)
    refresh(output)
    edit_label_map(output, MORE, Label.BACKGROUND)
    refresh(output)
    assert_sound(output, toy_labels())


def test_all_erased(segment: Segment) -> None:
    output = segment().output
    edit_label_map(output, (slice(None),) * 3, Label.BACKGROUND)
    after = refresh(output)
    assert_sound(output, np.zeros_like(toy_labels()))
    assert volume_ml(after, "WT") == 0
    report = after.files["report"].read_text()
    assert "No tumour is marked." in report
    assert "The reviewer has left no voxel of this study marked." in report
    assert "The model marked no voxel" not in report


def test_no_edit_changes_nothing(segment: Segment) -> None:
    before = segment()
    created = read_manifest(before.output).created
    after = refresh(before.output)
    assert after == before
    assert_sound(before.output, toy_labels())
    manifest = read_manifest(before.output)
    assert (manifest.review, manifest.created, manifest.changed) == (ReviewState.DRAFT, created, None)


@pytest.fixture
def undivided(toy_store: Store, tmp_path: Path) -> JobResult:
    """A result without T1c: the whole tumour alone."""
    study = write_study(tmp_path / "study", [Modality.T2F])
    return run(toy_job(toy_store, tmp_path / "out", study=study))


@pytest.mark.parametrize("in_slicer", [True, False])
def test_parts_drawn_into_an_undivided_tumour_are_kept_and_measured(undivided: JobResult, in_slicer: bool) -> None:
    output = undivided.output
    expected = (toy_labels() > 0).astype(np.uint8) * np.uint8(Label.SNFH)
    expected[NECROSIS] = Label.ET
    if in_slicer:
        write_segmentation(on_grid(expected), output / SLICER_SEGMENTATION)
    else:
        edit_label_map(output, NECROSIS, Label.ET)
    after = refresh(output)
    assert_sound(output, expected)
    assert read_manifest(output).regions == (Region.WT, Region.TC, Region.ET)
    assert volume_ml(after, "ET") == pytest.approx(np.count_nonzero(expected == Label.ET) * VOXEL_ML)
    assert 'class="ET"' in after.files["report"].read_text()
    assert refresh(output) == after


def test_cavity_that_was_drawn_is_measured_and_shown(segment: Segment) -> None:
    output = segment().output
    beside = (slice(9, 11), slice(4, 8), slice(4, 8))  # on the slices of the tumour, which are pictured
    edit_segmentation(output, beside, Label.RC)
    after = refresh(output)
    expected = toy_labels()
    expected[beside] = Label.RC
    assert_sound(output, expected)
    assert volume_ml(after, "RC") == pytest.approx(32 * VOXEL_ML)
    report = after.files["report"].read_text()
    assert 'class="RC"' in report
    assert "Resection cavity" in report


def test_cavity_beside_an_undivided_tumour(undivided: JobResult) -> None:
    edit_label_map(undivided.output, MORE, Label.RC)
    after = refresh(undivided.output)
    assert read_manifest(undivided.output).regions == (Region.WT, Region.RC)
    expected = (toy_labels() > 0).astype(np.uint8) * np.uint8(Label.SNFH)
    expected[MORE] = Label.RC
    assert_sound(undivided.output, expected)
    assert {volume.name for volume in after.measures.volumes} == {"WT", "RC"}


def test_label_that_the_numbering_lacks_is_reported_and_outlives_an_edit_of_the_label_map(segment: Segment) -> None:
    output = segment(label_scheme="brats2017").output
    edit_segmentation(output, MORE, Label.RC)
    (warning,) = refresh(output).warnings
    assert warning.startswith(f"{LABEL_MAP} lacks the resection cavity, for which the numbering 'brats2017' has no")
    edit_label_map(output, NECROSIS, 4)
    assert refresh(output).warnings == (warning,), "reported once"
    expected = toy_labels()
    expected[MORE], expected[NECROSIS] = Label.RC, Label.ET
    segmentation = read_segmentation(output / SLICER_SEGMENTATION)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(segmentation), expected)
    edit_segmentation(output, MORE, Label.BACKGROUND)
    assert refresh(output).warnings == ()


def test_whole_tumour_numbering_is_the_union_and_an_edit_of_it_keeps_the_parts(segment: Segment) -> None:
    output = segment(label_scheme="whole-tumour").output
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_labels(output / LABEL_MAP)), toy_labels() > 0)
    edit_label_map(output, MORE, 1)
    after = refresh(output)
    expected = toy_labels()
    expected[MORE] = Label.SNFH
    segmentation = read_segmentation(output / SLICER_SEGMENTATION)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(segmentation), expected)
    assert volume_ml(after, "ET") > 0


def test_what_a_reader_put_into_the_folder_stays(segment: Segment) -> None:
    before = segment()
    (before.output / "scene").mkdir()
    (before.output / "scene" / "report.html").write_text("the scene's own")
    (before.output / "view.png").write_bytes(b"picture")
    (before.output / "link").symlink_to("view.png")
    edit_segmentation(before.output, MORE, Label.ET)
    after = refresh(before.output)
    assert (before.output / "scene" / "report.html").read_text() == "the scene's own"
    assert (before.output / "view.png").read_bytes() == b"picture"
    assert (before.output / "link").is_symlink()
    assert "edited" in after.files["report"].read_text()


def test_other_pixels_under_the_same_name_are_not_pictured(segment: Segment, tmp_path: Path) -> None:
    output = segment().output
    sitk.WriteImage(volume(Modality.T2F) + 1, str(tmp_path / "study" / "head_t2f.nii.gz"))
    after = refresh(output)
    (warning,) = after.warnings
    assert warning.startswith("The report has no pictures: ")
    assert "head_t2f" in warning
    assert "has other pixels than when it was segmented" in warning
    assert "<image" not in after.files["report"].read_text()


def test_versions_are_those_of_the_run(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    output = segment().output
    versions = read_manifest(output).versions
    monkeypatch.setattr("GliomaSegLib.results.writing._versions", lambda: {"torch": "99"})
    refresh(output)
    assert read_manifest(output).versions == versions


def test_transform_that_cannot_be_read_is_named(segment: Segment) -> None:
    output = segment().output
    (output / "transforms").mkdir()
    (output / "transforms" / "t2f.tfm").write_text("no transform")
    with pytest.raises(InputError, match=r"t2f\.tfm cannot be read; run the case again\."):
        refresh(output)


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
    moved = on_grid(toy_labels())
    moved.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(moved, str(output / LABEL_MAP))
    with pytest.raises(InputError, match=rf"{LABEL_MAP} lies on another grid than its case"):
        refresh(output)


def test_edit_stored_in_another_orientation_is_understood(segment: Segment) -> None:
    output = segment().output
    edited = toy_labels()
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
    assert warning.startswith("The report has no pictures: The original image cannot be read again: ")
    assert "head_t2f.nii.gz" in warning
    report = after.files["report"].read_text()
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
    assert "<image" in after.files["report"].read_text()
    assert after.warnings == ()


def test_originals_in_dicom_are_read_again(toy_store: Store, tmp_path: Path, write_series) -> None:
    for sequence, name in ((Modality.T1C, "AX T1 POST"), (Modality.T2F, "AX FLAIR")):
        image = volume(sequence)
        array = np.round(sitk.GetArrayFromImage(image)).astype(np.int16)
        place = {"origin_mm": image.GetOrigin(), "spacing_mm": image.GetSpacing()}
        write_series(array, folder=f"study/{name}", SeriesDescription=name, **place)
    before = run(toy_job(toy_store, tmp_path / "out", study=tmp_path / "study"))
    after = refresh(before.output)
    assert after == before
    assert "<image" in after.files["report"].read_text()
    assert_sound(before.output, toy_labels())


def test_patient_and_date_of_a_result_are_known_when_its_images_are_gone(
    toy_store: Store, tmp_path: Path, write_series
) -> None:
    image = volume(Modality.T2F)
    array = np.round(sitk.GetArrayFromImage(image)).astype(np.int16)
    place = {"origin_mm": image.GetOrigin(), "spacing_mm": image.GetSpacing()}
    headers = {"SeriesDescription": "AX FLAIR", "PatientID": "P7", "StudyDate": "20240531"}
    write_series(array, folder="study/flair", **place, **headers)
    done = run(toy_job(toy_store, tmp_path / "out", study=tmp_path / "study"))
    known = read_time_point(done.output)
    assert (known.patient, known.date) == ("P7", date(2024, 5, 31))
    shutil.rmtree(tmp_path / "study")
    archived = read_time_point(done.output)
    assert (archived.patient, archived.date) == ("P7", date(2024, 5, 31))


@pytest.mark.parametrize(
    ("other", "sentence"),
    [({"PatientID": "P8"}, r"several patients \(P7, P8\)"), ({"StudyDate": "20240601"}, "several study dates")],
)
def test_series_of_two_studies_are_never_one_case(
    other: dict[str, str], sentence: str, toy_store: Store, tmp_path: Path, write_series
) -> None:
    volumes = {}
    for sequence, headers in ((Modality.T1C, {}), (Modality.T2F, other)):
        image, known = volume(sequence), {"PatientID": "P7", "StudyDate": "20240531"} | headers
        place = {"origin_mm": image.GetOrigin(), "spacing_mm": image.GetSpacing()}
        array = np.round(sitk.GetArrayFromImage(image)).astype(np.int16)
        volumes[sequence] = write_series(array, sequence.value, **place, **known)
    with pytest.raises(InputError, match=sentence):
        run(toy_job(toy_store, tmp_path / "out", volumes=volumes))
    assert not (tmp_path / "out").exists()


def test_warnings_of_the_run_stay(toy_store: Store, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", [Modality.T2F])
    before = run(toy_job(toy_store, tmp_path / "out", study=study, time_point="postoperative"))
    assert len(before.warnings) == 2
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


# --- review --------------------------------------------------------------------------------------------------------


def state_in_report(output: Path) -> str:
    """What stands in the mark at the top of the report."""
    report = (output / "report.html").read_text(encoding="utf-8")
    return unescape(report.partition('<div class="state')[2].partition(">")[2].partition("<")[0])


def minute(when: str) -> str:
    return f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize("state", ["approved", "rejected"])
def test_review_is_kept_in_manifest_result_and_report(segment: Segment, state: str) -> None:
    before = segment()
    assert (before.review, before.reviews) == (ReviewState.DRAFT, ())
    after = review(before.output, ReviewState(state), " Dr <No> ")
    manifest = read_manifest(before.output)
    (event,) = manifest.reviews
    assert (manifest.review.value, event.state.value, event.by) == (state, state, "Dr <No>")
    assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(event.when)) < timedelta(minutes=1)
    assert (after.review, after.reviews) == (manifest.review, manifest.reviews)
    assert manifest.changed is None
    assert after.measures == before.measures
    assert state_in_report(before.output) == f"{state} by Dr <No>, {minute(event.when)}"
    assert_sound(before.output, toy_labels())
    green = 'class="state approved"' in (before.output / "report.html").read_text()
    assert green is (state == "approved")


def test_edit_voids_an_approval_and_keeps_it_as_history(segment: Segment) -> None:
    output = segment().output
    review(output, ReviewState.APPROVED, "Dr No")
    assert refresh(output).review is ReviewState.APPROVED, "nothing was edited"
    edit_segmentation(output, MORE, Label.ET)
    after = refresh(output)
    assert after.review is ReviewState.EDITED
    assert [(event.state.value, event.by) for event in after.reviews] == [("approved", "Dr No"), ("edited", None)]
    assert state_in_report(output) == "edited: not approved"
    report = unescape((output / "report.html").read_text())
    assert f"approved by Dr No, {minute(after.reviews[0].when)}; edited, {minute(after.reviews[1].when)}" in report
    edit_segmentation(output, MORE, Label.SNFH)
    assert len(refresh(output).reviews) == 2, "one more edit is no news"
    again = review(output, ReviewState.APPROVED, "Dr Yes")
    assert [event.by for event in again.reviews] == ["Dr No", None, "Dr Yes"]
    assert state_in_report(output).startswith("approved by Dr Yes, ")


def test_review_is_of_what_is_there_now(segment: Segment) -> None:
    before = segment()
    edit_label_map(before.output, MORE, Label.ET)
    after = review(before.output, ReviewState.APPROVED, "Dr No")
    assert [event.state.value for event in after.reviews] == ["edited", "approved"]
    assert volume_ml(after, "ET") == pytest.approx(volume_ml(before, "ET") + 32 * VOXEL_ML)
    expected = toy_labels()
    expected[MORE] = Label.ET
    assert_sound(before.output, expected)
    assert refresh(before.output).review is ReviewState.APPROVED


def test_file_that_is_merely_saved_again_is_no_edit(segment: Segment) -> None:
    output = segment().output
    review(output, ReviewState.APPROVED, "Dr No")
    path = output / SLICER_SEGMENTATION
    digest = sha256_of(path)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(path), useCompression=False)
    assert sha256_of(path) != digest
    after = refresh(output)
    assert (after.review, len(after.reviews)) == (ReviewState.APPROVED, 1)
    assert_sound(output, toy_labels())


@pytest.mark.parametrize("scheme", [LabelScheme.GLIOMASEG, LabelScheme.BRATS2017])
def test_identical_voxels_that_another_program_saved_keep_the_approval_everywhere(
    segment: Segment, scheme: LabelScheme
) -> None:
    """As floating point numbers, in another orientation, with the header of nibabel, or both files again: nobody drew
    anything, so measure, export and comparison take the result as it is."""
    output = segment(label_scheme=scheme).output
    review(output, ReviewState.APPROVED, "Dr No")
    measured = read_manifest(output)
    label_map, segmentation = output / LABEL_MAP, output / SLICER_SEGMENTATION

    def as_float() -> None:
        sitk.WriteImage(sitk.Cast(sitk.ReadImage(str(label_map)), sitk.sitkFloat64), str(label_map))

    def turned() -> None:
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(label_map)), "RAS"), str(label_map))

    def by_nibabel() -> None:
        image = nib.load(label_map)
        array = np.asarray(image.dataobj)[::-1].astype(np.int16)
        flipped = image.affine @ np.array([[-1, 0, 0, len(array) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        nib.save(nib.Nifti1Image(array, flipped), label_map)

    def both() -> None:
        as_float()
        sitk.WriteImage(sitk.ReadImage(str(segmentation)), str(segmentation), useCompression=False)

    for saved in (as_float, turned, by_nibabel, both):
        digests = {path: sha256_of(path) for path in (label_map, segmentation)}
        saved()
        assert {path: sha256_of(path) for path in digests} != digests
        assert read_result(output).manifest.review is ReviewState.APPROVED, "without measuring it again"
        after = refresh(output)
        assert (after.review, len(after.reviews)) == (ReviewState.APPROVED, 1), saved.__name__
        assert read_manifest(output).changed == measured.changed is None
        assert_sound(output, toy_labels())


def test_one_edit_in_both_files_is_one_edit(segment: Segment) -> None:
    output = segment().output
    edit_segmentation(output, MORE, Label.ET)
    edit_label_map(output, MORE, Label.ET)
    with pytest.raises(InputError, match="was edited since it was measured"):
        read_result(output)
    assert refresh(output).review is ReviewState.EDITED
    expected = toy_labels()
    expected[MORE] = Label.ET
    assert_sound(output, expected)


def test_an_edit_counts_although_the_other_file_was_saved_again(segment: Segment) -> None:
    output = segment().output
    edit_segmentation(output, MORE, Label.ET)
    path = output / LABEL_MAP
    sitk.WriteImage(sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkFloat32), str(path))
    refresh(output)
    expected = toy_labels()
    expected[MORE] = Label.ET
    assert_sound(output, expected)


def test_review_can_be_taken_back(segment: Segment) -> None:
    output = segment().output
    review(output, ReviewState.REJECTED, "Dr No")
    after = review(output, ReviewState.DRAFT, "Dr No")
    assert after.review is ReviewState.DRAFT
    assert state_in_report(output) == "draft: not reviewed"


@pytest.mark.parametrize(
    ("state", "by", "sentence"),
    [
        ("approved", "  ", "A review needs the name of the reviewer"),
        ("edited", "Dr No", "A review cannot say 'edited'"),
    ],
)
def test_review_that_cannot_be(segment: Segment, state: str, by: str, sentence: str) -> None:
    output = segment().output
    before = (output / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=sentence):
        review(output, ReviewState(state), by)
    assert (output / "manifest.json").read_bytes() == before


def test_an_edit_that_is_saved_while_another_is_measured_is_not_lost(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = segment()
    path = result.files["label_map"]

    def saved_meanwhile(*given: object, **more: object) -> object:
        path.write_bytes(path.read_bytes() + b"\0")
        return write_results(*given, **more)

    monkeypatch.setattr("GliomaSegLib.results.update.write_results", saved_meanwhile)
    before = result.files["report"].read_bytes()
    with pytest.raises(InputError, match="was changed again while it was measured"):
        refresh(result.output)
    assert path.read_bytes().endswith(b"\0")
    assert result.files["report"].read_bytes() == before
