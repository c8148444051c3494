"""Studies of image files: which volume is taken for which sequence, and the case that is read."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.study.reading import read_case
from GliomaSegLib.study.selection import identify, search_study
from GliomaSegLib.study.volumes import search
from Testing.conftest import DicomWriter
from Testing.support.study import write_noise

T1N, T1C, T2W, T2F = Modality


OURS = '{"program": "GliomaSeg"}'


def names(found) -> dict[str, str]:
    return {sequence.value: one.candidate.name for sequence, one in found.items()}


def test_any_subset_is_a_case(tmp_path: Path) -> None:
    write_noise(tmp_path / "x_flair.nrrd")
    case = read_case(tmp_path, time_point=TimePoint(TimePointKind.POSTOPERATIVE, 2))
    assert case.present == (T2F,)
    assert case.identifier == tmp_path.name
    assert case.time_point.days_since_surgery == 2
    assert case.volumes[T2F].image.GetSize() == (8, 9, 6)


def test_labels_hidden_files_and_results_are_no_candidates(tmp_path: Path) -> None:
    for name in ("a_t1c.nii.gz", "a_seg.nii.gz", "a_wt.nii.gz", "T1c_mask.nii.gz", "a_t1c-label.nrrd", ".t2.nii.gz"):
        write_noise(tmp_path / name)
    write_noise(tmp_path / "t1c_tumor_segmentation.nii.gz")
    write_noise(tmp_path / "a_t1c.seg.nrrd")
    write_noise(tmp_path / ".cache" / "t2.nii.gz")
    write_noise(tmp_path / "result" / "t2.nii.gz")
    (tmp_path / "result" / "manifest.json").write_text(OURS)
    assert [one.name for one in search(tmp_path, None).candidates] == ["a_t1c.nii.gz"]


@pytest.mark.parametrize("content", ["{}", "[]", "not JSON", '{"program": "Another"}'])
def test_manifest_of_another_program_hides_nothing(tmp_path: Path, content: str) -> None:
    write_noise(tmp_path / "t1c.nii.gz")
    write_noise(tmp_path / "deeper" / "t2.nii.gz", 1)
    for folder in (tmp_path, tmp_path / "deeper"):
        (folder / "manifest.json").write_text(content)
    assert set(identify(tmp_path)) == {T1C, T2W}


def test_folder_of_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(OURS)
    with pytest.raises(InputError, match="GliomaSeg results"):
        search(tmp_path, None)


def test_the_folder_speaks_where_the_file_does_not(tmp_path: Path) -> None:
    write_noise(tmp_path / "T1C" / "image.nii.gz")
    write_noise(tmp_path / "FLAIR" / "image.nii.gz", 1)
    assert set(identify(tmp_path)) == {T1C, T2F}


def test_sidecar_of_dcm2niix_speaks(tmp_path: Path) -> None:
    write_noise(tmp_path / "series7.nii.gz")
    content = {"EchoTime": 0.12, "RepetitionTime": 9, "InversionTime": 2.5, "ScanningSequence": "SE_IR"}
    (tmp_path / "series7.json").write_text(json.dumps(content))
    assert set(identify(tmp_path)) == {T2F}


@pytest.mark.parametrize(
    ("first", "second", "doubts"),
    [
        ("preop/T1c.nii.gz", "postop/FLAIR.nii.gz", 1),
        ("ses-01/anat/x_T1c.nii.gz", "ses-02/anat/x_FLAIR.nii.gz", 1),
        ("T1c.nii.gz", "coregistered/FLAIR.nii.gz", 1),
        ("T1C/image.nii.gz", "FLAIR/image.nii.gz", 0),
        ("scans/3-AX_T1_POST/NIFTI/T1c.nii.gz", "scans/5-AX_FLAIR/NIFTI/FLAIR.nii.gz", 0),
        ("anat/T1c.nii.gz", "anat/FLAIR.nii.gz", 0),
    ],
)
def test_images_of_what_may_be_two_examinations_are_a_doubt(
    tmp_path: Path, first: str, second: str, doubts: int
) -> None:
    write_noise(tmp_path / first, 0)
    write_noise(tmp_path / second, 1)
    found = [one for one in read_case(tmp_path).doubts if "one examination" in one]
    assert len(found) == doubts
    given = read_case(None, {T1C: tmp_path / first, T2F: tmp_path / second}, "case").doubts
    assert not any("one examination" in one for one in given), "the user has said so"


@pytest.mark.parametrize(
    ("first", "second", "doubts"),
    [
        ("patA_t1c", "patB_flair", 1),
        ("BraTS-GLI-00001-000-t1c", "BraTS-GLI-00002-000-t2f", 1),
        ("TCGA-02-0006_t1Gd", "TCGA-02-0033_flair", 1),
        ("smith_T1_post", "jones_AX_FLAIR", 1),
        ("20240131_T1c", "20240707_FLAIR", 1),
        ("time1_T1c", "time2_FLAIR", 1),
        ("preop_T1c", "postop_FLAIR", 1),
        ("sub-01_ses-1_T1c", "sub-01_ses-2_FLAIR", 1),
        ("sub-01_ses-1_acq-gd_run-01_T1w", "sub-01_ses-1_run-02_FLAIR", 0),
        ("smith_20240131_3_T1c", "smith_20240131_12_AX_FLAIR", 0),
        ("s0301_SAG_MPRAGE_GD", "s0401_AX_FLAIR", 0),
        ("Brain_T1_GD_stealth_x", "AX_3D_FLAIR_y", 0),
        ("smith_T1c", "FLAIR", 0),
        ("00000057_brain_t1c", "00000057_brain_flair", 0),
    ],
)
def test_images_that_are_named_after_two_patients_are_a_doubt(
    tmp_path: Path, first: str, second: str, doubts: int
) -> None:
    write_noise(tmp_path / f"{first}.nii.gz", 0)
    write_noise(tmp_path / f"{second}.nii.gz", 1)
    for case in (
        read_case(tmp_path),
        read_case(None, {T1C: tmp_path / f"{first}.nii.gz", T2F: tmp_path / f"{second}.nii.gz"}, "case"),
    ):
        assert len([one for one in case.doubts if "of one patient" in one]) == doubts


def test_an_image_file_beside_dicom_series_is_a_doubt(write_series: DicomWriter, tmp_path: Path) -> None:
    folder = write_series(
        np.random.default_rng(5).integers(0, 900, (7, 6, 5)).astype(np.int16), SeriesDescription="t1c"
    )
    write_noise(folder / "flair.nii.gz")
    assert len([one for one in read_case(folder).doubts if "an image file beside DICOM series" in one]) == 1
    given = read_case(folder, {T2F: folder / "flair.nii.gz"}).doubts
    assert not any("beside DICOM" in one for one in given), "the user has said so"


@pytest.mark.parametrize("folders", [("", ""), ("sub-01/", "sub-02/")])
def test_images_of_two_subjects_are_refused(tmp_path: Path, folders: tuple[str, str]) -> None:
    first, second = tmp_path / f"{folders[0]}sub-01_T1c.nii.gz", tmp_path / f"{folders[1]}sub-02_FLAIR.nii.gz"
    write_noise(first, 0)
    write_noise(second, 1)
    for arguments in ((tmp_path,), (None, {T1C: first, T2F: second})):
        with pytest.raises(InputError, match="of several subjects"):
            identify(*arguments)
    assert set(identify(tmp_path, wanted=(T1C,))) == {T1C}


def test_images_of_two_patients_by_their_sidecars_are_refused(tmp_path: Path) -> None:
    for name, patient, seed in (("t1c", "P1", 0), ("flair", "P2", 1)):
        write_noise(tmp_path / f"{name}.nii.gz", seed)
        (tmp_path / f"{name}.json").write_text(json.dumps({"EchoTime": 0.01, "PatientID": patient}))
    with pytest.raises(InputError, match=r"of several patients \(P1, P2\)"):
        identify(tmp_path)
    (tmp_path / "flair.json").write_text(json.dumps({"EchoTime": 0.01, "PatientID": "P1 "}))
    assert set(identify(tmp_path)) == {T1C, T2F}


def test_the_part_of_the_body_in_a_sidecar_excludes(tmp_path: Path) -> None:
    write_noise(tmp_path / "t1c.nii.gz")
    write_noise(tmp_path / "sag.nii.gz", 1)
    content = {"EchoTime": 0.012, "RepetitionTime": 0.6, "ScanningSequence": "SE", "BodyPartExamined": "CSPINE"}
    (tmp_path / "sag.json").write_text(json.dumps(content))
    assert set(identify(tmp_path)) == {T1C}


@pytest.mark.parametrize(
    "text", ['{"EchoTime":' * 100_000, '{"EchoTime": 1' + "0" * 400 + "}", '{"EchoTime": NaN, "ImageType": 5}', "[]"]
)
def test_a_sidecar_that_is_none_is_passed_over(tmp_path: Path, text: str) -> None:
    write_noise(tmp_path / "head_t2f.nii.gz")
    (tmp_path / "head_t2f.json").write_text(text)
    assert set(identify(tmp_path)) == {T2F}


def test_thinner_slices_win_and_the_reason_says_so(tmp_path: Path) -> None:
    write_noise(tmp_path / "AX T1 POST.nii.gz", 0, (1, 1, 5))
    write_noise(tmp_path / "MPRAGE POST.nii.gz", 1, (1, 1, 1), "sagittal")
    chosen = identify(tmp_path)[T1C]
    assert chosen.candidate.name == "MPRAGE POST.nii.gz"
    assert "chosen over AX T1 POST.nii.gz as its voxels are thinner" in chosen.reason


def test_original_wins_over_its_reformat(tmp_path: Path) -> None:
    write_noise(tmp_path / "T1_POST_MPR_AX.nii.gz", 0, (0.5, 0.5, 1))
    write_noise(tmp_path / "T1_POST_SAG.nii.gz", 1, (1, 1, 1), "sagittal")
    assert names(identify(tmp_path)) == {"t1c": "T1_POST_SAG.nii.gz"}


def test_axial_wins_among_equals(tmp_path: Path) -> None:
    write_noise(tmp_path / "T2 SAG.nii.gz", 0, plane="sagittal")
    write_noise(tmp_path / "T2 TRA.nii.gz", 1)
    assert names(identify(tmp_path)) == {"t2w": "T2 TRA.nii.gz"}


def test_equals_are_refused_by_name(tmp_path: Path) -> None:
    write_noise(tmp_path / "t1c_first.nii.gz", 0)
    write_noise(tmp_path / "t1c_second.nii.gz", 1)
    with pytest.raises(
        InputError, match=r"T1 \+ contrast could be any of 't1c_first.nii.gz'.*second.*--t1c"
    ) as refusal:
        identify(tmp_path)
    assert str(refusal.value).count(". ") == 0


def test_two_t1_of_which_either_may_have_contrast_are_refused(tmp_path: Path) -> None:
    write_noise(tmp_path / "AX T1.nii.gz", 0)
    write_noise(tmp_path / "SAG T1.nii.gz", 1, (1, 1, 1), "sagittal")
    with pytest.raises(InputError, match=r"T1 could be any of"):
        identify(tmp_path)


def test_finer_t1_that_may_have_contrast_does_not_beat_a_native_one(tmp_path: Path) -> None:
    write_noise(tmp_path / "AX T1 PRE.nii.gz", 0)
    write_noise(tmp_path / "SAG MPRAGE.nii.gz", 1, (1, 1, 1), "sagittal")
    assert names(identify(tmp_path)) == {"t1n": "AX T1 PRE.nii.gz"}


def test_two_plain_mprages_are_refused(tmp_path: Path) -> None:
    write_noise(tmp_path / "T1 MPRAGE a.nii.gz", 0)
    write_noise(tmp_path / "T1 MPRAGE b.nii.gz", 1, (1, 1, 1))
    with pytest.raises(InputError, match=r"T1 could be any of"):
        identify(tmp_path)


def test_beside_a_t1c_a_plain_t1_is_native(tmp_path: Path) -> None:
    write_noise(tmp_path / "AX T1.nii.gz", 0)
    write_noise(tmp_path / "SAG T1.nii.gz", 1, (1, 1, 1), "sagittal")
    write_noise(tmp_path / "AX T1 GD.nii.gz", 2)
    assert names(identify(tmp_path)) == {"t1n": "SAG T1.nii.gz", "t1c": "AX T1 GD.nii.gz"}


def test_what_nobody_can_tell_is_refused_by_name(tmp_path: Path) -> None:
    write_noise(tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match=r"could be told: 'image.nii.gz'.*--t1n"):
        identify(tmp_path)


def test_unsure_guess_is_refused(tmp_path: Path) -> None:
    write_noise(tmp_path / "series7.nii.gz")
    content = {"EchoTime": 0.004, "RepetitionTime": 0.02, "ScanningSequence": "GR"}
    (tmp_path / "series7.json").write_text(json.dumps(content))
    write_noise(tmp_path / "flair.nii.gz", 1)
    with pytest.raises(InputError, match="unsure whether"):
        identify(tmp_path)


@pytest.mark.parametrize(("make", "sentence"), [(None, "does not exist"), ("folder", "holds no image file")])
def test_study_with_nothing_to_read_is_refused(tmp_path: Path, make: str | None, sentence: str) -> None:
    study = tmp_path / "study"
    if make:
        study.mkdir()
    with pytest.raises(InputError, match=sentence):
        identify(study)


def test_user_overrides_the_guess(tmp_path: Path) -> None:
    wrong = write_noise(tmp_path / "study" / "flair.nii.gz")
    other = write_noise(tmp_path / "elsewhere" / "x.nii.gz", 1)
    found = identify(tmp_path / "study", {T2W: wrong, T1C: other})
    assert names(found) == {"t1c": "x.nii.gz", "t2w": "flair.nii.gz"}
    assert (found[T2W].confidence, found[T2W].reason) == (1.0, "given by the user")


def test_files_alone_make_a_case(tmp_path: Path) -> None:
    first, second = write_noise(tmp_path / "a.nii.gz"), write_noise(tmp_path / "b.nii.gz", 1)
    case = read_case(None, {T2F: second, T1C: first})
    assert case.present == (T1C, T2F)
    assert case.volumes[T2F].source.path == second


def test_what_is_not_used_is_named_with_the_reason(tmp_path: Path) -> None:
    for seed, name in enumerate(("t1c", "T1_enhancing", "scan3", "ADC", "SAG T1 GD", "AX T2 FLAIR", "T2")):
        write_noise(tmp_path / f"{name}.nii.gz", seed, (1, 1, 3 if name == "t1c" else 5))
    write_noise(tmp_path / "deeper" / "image.nii.gz", 9)
    case = read_case(tmp_path, wanted=(T1C, T1N, T2F))
    assert case.present == (T1C, T2F)
    assert set(case.ignored) == {
        "'SAG T1 GD.nii.gz' (T1 + contrast, for which 't1c.nii.gz' was taken)",
        "'scan3.nii.gz' (neither its name nor its tags say what it is)",
        "'deeper/image.nii.gz' (neither its name nor its tags say what it is)",
        "'ADC.nii.gz' (called 'adc')",
        "'T2.nii.gz' (T2, which is not looked for)",
        "'T1_enhancing.nii.gz' (named like a label map)",
    }


def test_what_was_looked_through_once_is_read_for_any_wish(tmp_path: Path) -> None:
    for seed, name in enumerate(("t1c", "flair", "T2")):
        write_noise(tmp_path / f"{name}.nii.gz", seed)
    contents = search_study(tmp_path)
    assert set(contents.select().assigned) == {T1C, T2W, T2F}
    (tmp_path / "T1.nii.gz").touch()  # what comes later is not seen
    for wanted in ((T1C, T2F), (T2W,)):
        case = read_case(tmp_path, wanted=wanted, contents=contents)
        assert case.present == wanted
        assert len(case.ignored) == 3 - len(wanted)
        assert all("which is not looked for" in clause for clause in case.ignored)


def test_guess_too_unsure_to_ask_about_is_named(tmp_path: Path) -> None:
    write_noise(tmp_path / "vibe.nii.gz")
    write_noise(tmp_path / "flair.nii.gz", 1)
    (clause,) = read_case(tmp_path).ignored
    assert clause == "'vibe.nii.gz' (too unsure to be T1: called 'vibe', nothing speaks of contrast medium)"


def test_nothing_is_ignored_where_all_is_used(tmp_path: Path) -> None:
    hidden = write_noise(tmp_path / "T1_enhancing.nii.gz")
    write_noise(tmp_path / "flair.nii.gz", 1)
    case = read_case(tmp_path, {T1C: hidden})
    assert case.present == (T1C, T2F)
    assert case.ignored == ()
    assert [volume.name for volume in case.volumes.values()] == ["T1_enhancing.nii.gz", "flair.nii.gz"]


def test_files_named_like_label_maps_alone_are_refused_by_name(tmp_path: Path) -> None:
    hidden = write_noise(tmp_path / "T1_enhancing.nii.gz")
    with pytest.raises(InputError, match=r"named like label maps \(T1_enhancing.nii.gz\).*--t1c"):
        identify(tmp_path)
    assert set(identify(tmp_path, {T1C: hidden})) == {T1C}


def test_sequence_that_is_not_wanted_is_neither_read_nor_disputed(tmp_path: Path) -> None:
    write_noise(tmp_path / "flair.nii.gz")
    write_noise(tmp_path / "t2_first.nii.gz", 1)
    write_noise(tmp_path / "t2_second.nii.gz", 2)
    torn = tmp_path / "t1c.nii.gz"
    torn.write_bytes(b"torn")
    with pytest.raises(InputError, match="leave it out with '--without t2w'"):
        identify(tmp_path)
    case = read_case(tmp_path, {T1C: torn}, wanted=(T2F,))
    assert case.present == (T2F,)
    assert "'t1c.nii.gz' (T1 + contrast, which is not looked for)" in case.ignored
    assert len(case.ignored) == 3


def test_plain_t1_is_native_beside_a_t1c_that_is_not_wanted(tmp_path: Path) -> None:
    write_noise(tmp_path / "AX T1.nii.gz", 0)
    write_noise(tmp_path / "SAG T1.nii.gz", 1, (1, 1, 1), "sagittal")
    write_noise(tmp_path / "AX T1 GD.nii.gz", 2)
    assert names(identify(tmp_path, wanted=(T1N,))) == {"t1n": "SAG T1.nii.gz"}


def test_files_of_other_sequences_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"any sequence looked for \(FLAIR\): 'a.nii.gz' \(T2, which is not looked"):
        identify(None, {T2W: write_noise(tmp_path / "a.nii.gz")}, wanted=(T2F,))


def test_none_of_the_wanted_is_refused_with_what_is_there(tmp_path: Path) -> None:
    write_noise(tmp_path / "flair.nii.gz")
    with pytest.raises(InputError, match=r"looked for \(T1 \+ contrast\).*'flair.nii.gz' \(FLAIR, which is not looked"):
        identify(tmp_path, wanted=(T1C,))


@pytest.mark.parametrize(("codes", "doubted"), [((0, 0), True), ((1, 0), False), ((0, 1), False), ((2, 0), False)])
def test_orientation_that_the_file_does_not_say_is_a_doubt(
    tmp_path: Path, codes: tuple[int, int], doubted: bool
) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).normal(100, 9, (8, 9, 6)).astype(np.float32), np.eye(4))
    image.set_sform(np.eye(4), code=codes[0])
    image.set_qform(np.eye(4), code=codes[1])
    nib.save(image, tmp_path / "t1c.nii.gz")
    write_noise(tmp_path / "flair.nrrd", 1)
    doubts = read_case(tmp_path).doubts
    assert len(doubts) == doubted
    assert all(str(tmp_path / "t1c.nii.gz") in doubt and doubt.endswith(".") for doubt in doubts)


def test_nothing_given_is_refused() -> None:
    with pytest.raises(InputError, match="No study was given"):
        identify(None)


def test_file_given_twice_is_refused(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"both as T1 \+ contrast and as FLAIR"):
        identify(None, {T1C: path, T2F: tmp_path / "." / "a.nii.gz"})


def test_missing_override_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.nii, given as FLAIR, does not exist"):
        identify(None, {T2F: tmp_path / "no.nii"})


def test_same_image_as_two_sequences_is_refused(tmp_path: Path) -> None:
    write_noise(tmp_path / "t1c.nii.gz")
    write_noise(tmp_path / "flair.nrrd")
    with pytest.raises(InputError, match=r"'t1c.nii.gz' \(T1 \+ contrast\) and 'flair.nrrd' \(FLAIR\) hold"):
        read_case(tmp_path)


def test_brats_cases(shared: Path) -> None:
    cases = sorted((shared / "data").glob("brats*/*"))
    assert cases
    for case in cases:
        found = {sequence: one.source.path.name[len(case.name) + 1 :] for sequence, one in identify(case).items()}
        assert found == {T1N: "t1.nii.gz", T1C: "t1ce.nii.gz", T2W: "t2.nii.gz", T2F: "flair.nii.gz"}


def test_clinical_cases(shared: Path) -> None:
    cases = sorted((shared / "data" / "tcga-lgg-clinical").iterdir())
    for case in cases:
        present = {sequence for sequence in Modality if (case / f"{case.name}_{sequence.value}.nii.gz").exists()}
        found = identify(case)
        assert set(found) == present
        assert all(one.source.path.name.endswith(f"_{sequence.value}.nii.gz") for sequence, one in found.items())


def test_raw_exam(shared: Path) -> None:
    case = read_case(shared / "data" / "tcga-fg-6692-raw")
    ends = {sequence.value: volume.source.path.name for sequence, volume in case.volumes.items()}
    assert ends["t1c"].endswith("t1c.nii.gz")
    assert ends["t1n"].startswith("T1_AX")
    assert ends["t2w"].startswith("MRHR_T2")
    assert ends["t2f"].startswith("MRHR_FLAIR")
    assert min(volume.confidence for volume in case.volumes.values()) > 0.85


def test_two_time_points_in_one_folder_are_refused(shared: Path) -> None:
    with pytest.raises(InputError, match=r"time1_t1c.nii.gz.*time2_t1c.nii.gz"):
        identify(next((shared / "data" / "brain-tumor-progression").iterdir()))


def save_sized(path: Path, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
    """A volume of noise of ``size`` voxels, x, y, z."""
    image = sitk.GetImageFromArray(np.random.default_rng(size[2]).normal(100, 9, size[::-1]).astype(np.float32))
    image.SetSpacing(spacing_mm)
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("slices", [35, 52, 59])  # 70, 104 and 118 mm
def test_the_whole_head_wins_over_a_slab_with_thinner_slices(tmp_path: Path, slices: int) -> None:
    save_sized(tmp_path / "T1 GD COR.nii.gz", (24, 24, slices), (10, 10, 2))
    save_sized(tmp_path / "T1 GD AX.nii.gz", (24, 24, 27), (10, 10, 5.5))
    chosen = identify(tmp_path)[T1C]
    assert chosen.candidate.name == "T1 GD AX.nii.gz"
    assert "chosen over T1 GD COR.nii.gz as it covers more of the head" in chosen.reason
    assert read_case(tmp_path).doubts == ()


def test_a_reference_that_shows_a_part_of_the_head_is_a_doubt(tmp_path: Path) -> None:
    save_sized(tmp_path / "T1 GD COR.nii.gz", (24, 24, 35), (10, 10, 2))
    save_sized(tmp_path / "FLAIR.nii.gz", (24, 24, 26), (10, 10, 5.5))
    (doubt,) = read_case(tmp_path).doubts
    assert "covers only 70 mm of the head" in doubt
    assert "T1 + contrast" in doubt
    slab = sitk.ReadImage(tmp_path / "T1 GD COR.nii.gz")
    sitk.WriteImage(sitk.ConstantPad(slab, (0, 0, 20), (0, 0, 20)), tmp_path / "T1 GD COR.nii.gz")
    (doubt,) = read_case(tmp_path, {T1C: tmp_path / "T1 GD COR.nii.gz"}).doubts
    assert "covers only 70 mm of the head" in doubt, "planes of zeros were not scanned"


def test_flair_before_contrast_medium_is_taken_with_the_reason(tmp_path: Path) -> None:
    write_noise(tmp_path / "AX FLAIR.nii.gz", 0)
    write_noise(tmp_path / "AX FLAIR POST GD.nii.gz", 1)
    chosen = identify(tmp_path)[T2F]
    assert chosen.candidate.name == "AX FLAIR.nii.gz"
    assert "made before contrast medium" in chosen.reason


def test_of_an_mp2rage_the_uniform_image_is_taken(tmp_path: Path) -> None:
    for seed, part in enumerate(("INV1", "INV2", "UNI_Images", "T1_Images")):
        write_noise(tmp_path / f"t1_mp2rage_sag_{part}.nii.gz", seed)
    assert names(identify(tmp_path)) == {"t1n": "t1_mp2rage_sag_UNI_Images.nii.gz"}


@pytest.mark.parametrize(
    "name", ["T1c_tumour", "T1c_GTV", "t1c_tumorMask", "sub-01_dseg", "T1c contour", "flair_GTVp", "t1c_edema"]
)
def test_masks_by_their_names_are_no_candidates(tmp_path: Path, name: str) -> None:
    write_noise(tmp_path / f"{name}.nii.gz")
    write_noise(tmp_path / "T1c.nii.gz", 1)
    assert [one.name for one in search(tmp_path, None).candidates] == ["T1c.nii.gz"]


def test_an_image_with_a_handful_of_values_is_a_doubt(tmp_path: Path) -> None:
    array = np.zeros((6, 9, 8), np.float32)
    array[2:4, 3:5, 3:5] = 1
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "t1c.nii.gz"))
    (doubt,) = read_case(tmp_path).doubts
    assert "holds only 2 different values" in doubt
