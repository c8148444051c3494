"""Which volume is which sequence: words and tags as they are met in hospitals, challenges and public archives."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, Source, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.tags import DicomTags
from GliomaSegLib.study.identification import ACCEPTED_CONFIDENCE, NameGuess, assign_names, guess
from GliomaSegLib.study.reading import read_case, read_source
from GliomaSegLib.study.selection import identify, search_study
from GliomaSegLib.study.study_list import list_studies, to_json, to_text
from GliomaSegLib.study.volumes import discover

T1N, T1C, T2W, T2F = Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F

NAMES: list[tuple[str, Modality | None]] = [
    # challenges and public collections
    ("BraTS2021_01477_t1", T1N),
    ("BraTS2021_01477_t1ce", T1C),
    ("Brats18_2013_2_1_t2", T2W),
    ("BraTS20_Training_002_flair", T2F),
    ("BraTS-GLI-00005-100-t1n", T1N),
    ("BraTS-GLI-00005-100-t1c", T1C),
    ("BraTS-GLI-00005-100-t2w", T2W),
    ("BraTS-GLI-00005-100-t2f", T2F),
    ("UPENN-GBM-00001_11_T1GD", T1C),
    ("UPENN-GBM-00001_11_T1", T1N),
    ("UPENN-GBM-00001_11_FLAIR", T2F),
    ("UCSF-PDGM-0004_T1c", T1C),
    ("UCSF-PDGM-0004_SWI", None),
    ("UCSF-PDGM-0004_ADC", None),
    ("Patient-007_week-044_CT1", T1C),
    ("sub-01_ce-gadolinium_T1w", T1C),
    ("sub-01_T1w", T1N),
    ("sub-control01_ses-2_acq-highres_T2w", T2W),
    ("sub-pd03_dir-AP_FLAIR", T2F),
    # names that people give to files, with words that are other kinds of image in a scanner's vocabulary
    ("sub_01_T1w", T1N),
    ("sub_p01_T1c", T1C),
    ("test_t1c", T1C),
    ("test_flair", T2F),
    ("P1_T1_report", T1N),
    ("20200101_rest_T1", T1N),
    ("cal_T1", T1N),
    ("T1 head coil", T1N),
    ("Head_Neck_T1", T1N),
    ("T2_dir", T2W),
    ("phantom_t1c", T1C),
    ("MRHR_FLAIR_AX_OtherEXampleTCIA_TCGA-FG-6692_SE_IR_5_tir2d1_21_fla", T2F),
    ("MRHR_T1_AX_POST_GAD_OtherEXampleTCIA_TCGA-FG-6692_SE_13_se2d1r_t1c", T1C),
    ("T1_AX_OtherEXampleTCIA_TCGA-FG-6692_SE_10_se2d1_t1", T1N),
    ("MRHR_T2_AX_OtherEXampleTCIA_TCGA-FG-6692_SE_2_tse2d1_11_t2", T2W),
    # English
    ("AX T1", T1N),
    ("AxT1", T1N),
    ("AxT2FLAIR", T2F),
    ("T1 MT +C", T1C),
    ("T2W_DRIVE", T2W),
    ("Ax T1 SE +C", T1C),
    ("AX T1 POST GD", T1C),
    ("T1 POST-OP", T1N),
    ("POSTOP AX T1 PRE", T1N),
    ("Post-op day 1 T1 with contrast", T1C),
    ("AXIAL T1 PRE CONTRAST", T1N),
    ("T1 non-contrast", T1N),
    ("AX T1 W/O", T1N),
    ("T1 without gadolinium", T1N),
    ("BRAIN W/WO AX T1 GAD", T1C),
    ("SAG 3D BRAVO +C", T1C),
    ("AX FSPGR 3D POST", T1C),
    ("IR-FSPGR PRE", T1N),
    ("MPRAGE_Gd", T1C),
    ("T1-weighted contrast-enhanced", T1C),
    ("CE-T1w", T1C),
    ("T1 post RT", T1N),
    ("T1 pre-op +Gd", T1C),
    ("AX T2 FLAIR", T2F),
    ("Sag CUBE T2 FLAIR", T2F),
    ("AX FLAIR FS +C", T2F),
    ("OAx T1 FLAIR", T1N),
    ("T1 FLAIR POST", T1C),
    ("Ax T2 PROPELLER", T2W),
    ("T2W_TSE_tra", T2W),
    ("AX FSE T2", T2W),
    ("sT1W_3D_TFE", T1N),
    ("3D T2 SPACE", T2W),
    ("FLAIR registered to T1", T2F),
    ("t2_reg_t1", T2W),
    # other languages and vendors' words
    ("t1_mprage_tra_p2_iso_KM", T1C),
    ("t1_mpr_sag nativ", T1N),
    ("T1 nach KM", T1C),
    ("T1 ohne KM", T1N),
    ("T1 K.M. tra", T1C),
    ("t2_tirm_tra_dark-fluid", T2F),
    ("t2_spc_da-fl_sag_dark fluid", T2F),
    ("t1_tirm_tra_dark-fluid", T1N),
    ("tirm_tra", T2F),
    ("AX T1 GADO", T1C),
    ("T1 sans injection", T1N),
    ("T1 après injection", T1C),
    ("T1 C-", T1N),
    ("T1 SE C+", T1C),
    ("T1 con contraste", T1C),
    ("T1 sin contraste", T1N),
    ("T1 senza mdc", T1N),
    ("T1 dopo m.d.c. gad", T1C),
    ("T1 met contrast", T1C),
    # none of the four
    ("AX DWI b1000", None),
    ("ep2d_diff_3scan_trace_ADC", None),
    ("SWI_Images", None),
    ("AX T2* GRE", None),
    ("t2_fl2d_tra_hemo", None),
    ("T2 star", None),
    ("ep2d_perf_T2 GAD", None),
    ("TOF_3D_multi-slab", None),
    ("3D phase contrast MRV", None),
    ("localizer T1", None),
    ("3-plane loc", None),
    ("T1 MIP +C", None),
    ("T1 subtraction post-pre", None),
    ("SUB T1 POST", None),
    ("T1 +C SUB", None),
    ("sub_01_T1w_sub", None),
    ("T1 neck +C", None),
    ("ASSET cal", None),
    ("task-rest_bold", None),
    ("rest", None),
    ("3D DIR", None),
    ("AX PD", None),
    ("t2 stir cor", None),
    ("T1 map", None),
    ("T1 C-SPINE post", None),
    ("relCBV", None),
    ("T1 dynamic +C", None),
    ("image", None),
    ("series_0000", None),
]


@pytest.mark.parametrize(("name", "expected"), NAMES, ids=[name for name, _ in NAMES])
def test_name(name: str, expected: Modality | None) -> None:
    found = guess(name)
    assert found.sequence is expected, found
    assert found.confidence >= ACCEPTED_CONFIDENCE
    assert found.reason


def tags(
    tr: float | None, te: float | None, ti: float | None = None, kind: str = "SE", agent: str | None = None, **more
):
    return DicomTags(
        repetition_time_ms=tr,
        echo_time_ms=te,
        inversion_time_ms=ti,
        scanning_sequence=tuple(kind.split()),
        contrast_agent=agent,
        **more,
    )


TAGS: list[tuple[str, DicomTags, Modality | None]] = [
    ("", tags(550, 12, agent="Gadovist"), T1C),
    ("", tags(550, 12), T1N),
    ("", tags(550, 12, agent="NONE"), T1N),
    ("", tags(2200, 2.5, 900, "GR IR", "10 ml Dotarem"), T1C),
    ("AX 3D", tags(8.2, 3.2, 450, "GR", "MAGNEVIST"), T1C),
    ("head tra", tags(250, 2.5, None, "GR", "Gd"), T1C),
    ("", tags(9000, 120, 2500, "SE IR"), T2F),
    ("", tags(9000, 120, 2500, "SE IR", "Gadovist"), T2F),
    ("", tags(5000, 390, 1800, "SE IR"), T2F),
    ("", tags(11000, 140, None, "IR"), T2F),
    ("", tags(4500, 95), T2W),
    ("", tags(3200, 410), T2W),
    ("", tags(2000, 9, 860, "SE IR"), T1N),
    ("", tags(600, 20, None, "GR"), None),
    ("", tags(28, 20, None, "GR"), None),
    ("", tags(3000, 12), None),
    ("", tags(4000, 60, 160, "SE IR"), None),
    ("", tags(5000, 80, None, "EP"), None),
    ("", tags(22, 3.8, None, "GR", angiography=True), None),
    ("tof_fl3d", tags(22, 3.8, None, "GR"), None),
    ("", tags(4500, 95, b_value=1000.0), None),
    ("SAG", tags(None, None), None),
    # words and tags that disagree
    ("AX T1", tags(9000, 120, 2500, "SE IR"), T2F),
    ("AX T2", tags(9000, 120, 2500, "SE IR"), T2F),
    ("FLAIR", tags(550, 12, kind="SE"), T2F),
    ("AX T1 PRE", tags(550, 12, agent="Gadovist"), T1N),
    ("AX T1 POST", tags(550, 12), T1C),
    ("post-op", tags(550, 12), T1N),
]


@pytest.mark.parametrize(("words", "seen", "expected"), TAGS)
def test_tags(words: str, seen: DicomTags, expected: Modality | None) -> None:
    found = guess(words, seen)
    assert found.sequence is expected, found


@pytest.mark.parametrize(
    ("words", "agreeing", "contradicting"),
    [
        ("AX T2", tags(4500, 95), tags(9000, 120, 2500, "SE IR")),
        ("AX T1 PRE", tags(550, 12), tags(550, 12, agent="Gadovist")),
        ("FLAIR", tags(9000, 120, 2500, "SE IR"), tags(4500, 95)),
    ],
)
def test_contradiction_lowers_the_confidence_and_is_named(
    words: str, agreeing: DicomTags, contradicting: DicomTags
) -> None:
    plain, doubted = guess(words, agreeing), guess(words, contradicting)
    assert doubted.confidence < plain.confidence
    assert "against it" in doubted.reason
    assert "against it" not in plain.reason


# --- names alone, as a panel knows them ------------------------------------------------------------------------------


def test_names_of_a_scene() -> None:
    names = {"n1": "3: AX T1 POST GD", "n2": "7: AX FLAIR", "n3": "9: ADC", "n4": "2: AX T1", "n5": "5: T2 TSE"}
    found = assign_names(names)
    assert {sequence: one.id for sequence, one in found.items()} == {T1N: "n4", T1C: "n1", T2W: "n5", T2F: "n2"}
    alone = guess("7: AX FLAIR")
    assert found[T2F] == NameGuess("n2", alone.confidence, alone.reason)
    assert found[T1N].confidence > assign_names({"n4": "2: AX T1"})[T1N].confidence, "the other T1 has contrast medium"
    assert assign_names({"n4": "2: AX T1"}, t1c_given=True)[T1N] == found[T1N]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], {}),
        (["MRHead"], {}),
        (["T1c", "FLAIR_seg"], {T1C: "T1c"}),
        (["t2_mask", "T1c_wt"], {}),
        (["FLAIR", "FLAIR_1"], {}),
        (["AX T1", "SAG T1"], {}),
        (["AX T1", "AX T1 PRE"], {T1N: "AX T1 PRE"}),
        (["T2 TSE", "T2 TSE MPR COR"], {T2W: "T2 TSE"}),
        (["T2 MPR SAG", "T2 MPR COR"], {}),
        (["T1", "T1 mpr"], {}),  # MPRAGE or a reformat: either may be the native one
    ],
    ids=str,
)
def test_what_names_leave_open(names: list[str], expected: dict[Modality, str]) -> None:
    found = assign_names({name: name for name in names})
    assert {sequence: one.id for sequence, one in found.items()} == expected


def save(path: Path, seed: int = 0, spacing_mm: tuple[float, float, float] = (1, 1, 5), plane: str = "axial") -> Path:
    image = sitk.GetImageFromArray(np.random.default_rng(seed).normal(100, 9, (6, 9, 8)).astype(np.float32))
    image.SetSpacing(spacing_mm)
    if plane == "sagittal":
        image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


OURS = '{"program": "GliomaSeg"}'


def names(found) -> dict[str, str]:
    return {sequence.value: one.candidate.name for sequence, one in found.items()}


def test_any_subset_is_a_case(tmp_path: Path) -> None:
    save(tmp_path / "x_flair.nrrd")
    case = read_case(tmp_path, time_point=TimePoint(TimePointKind.POSTOPERATIVE, 2))
    assert case.present == (T2F,)
    assert case.identifier == tmp_path.name
    assert case.time_point.days_since_surgery == 2
    assert case.volumes[T2F].image.GetSize() == (8, 9, 6)


def test_labels_hidden_files_and_results_are_no_candidates(tmp_path: Path) -> None:
    for name in ("a_t1c.nii.gz", "a_seg.nii.gz", "a_wt.nii.gz", "T1c_mask.nii.gz", "a_t1c-label.nrrd", ".t2.nii.gz"):
        save(tmp_path / name)
    save(tmp_path / "t1c_tumor_segmentation.nii.gz")
    save(tmp_path / "a_t1c.seg.nrrd")
    save(tmp_path / ".cache" / "t2.nii.gz")
    save(tmp_path / "result" / "t2.nii.gz")
    (tmp_path / "result" / "manifest.json").write_text(OURS)
    assert [one.name for one in discover(tmp_path)] == ["a_t1c.nii.gz"]


@pytest.mark.parametrize("content", ["{}", "[]", "not JSON", '{"program": "Another"}'])
def test_manifest_of_another_program_hides_nothing(tmp_path: Path, content: str) -> None:
    save(tmp_path / "t1c.nii.gz")
    save(tmp_path / "deeper" / "t2.nii.gz", 1)
    for folder in (tmp_path, tmp_path / "deeper"):
        (folder / "manifest.json").write_text(content)
    assert set(identify(tmp_path)) == {T1C, T2W}


def test_folder_of_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(OURS)
    with pytest.raises(InputError, match="GliomaSeg results"):
        discover(tmp_path)


def test_the_folder_speaks_where_the_file_does_not(tmp_path: Path) -> None:
    save(tmp_path / "T1C" / "image.nii.gz")
    save(tmp_path / "FLAIR" / "image.nii.gz", 1)
    assert set(identify(tmp_path)) == {T1C, T2F}


def test_sidecar_of_dcm2niix_speaks(tmp_path: Path) -> None:
    save(tmp_path / "series7.nii.gz")
    content = {"EchoTime": 0.12, "RepetitionTime": 9, "InversionTime": 2.5, "ScanningSequence": "SE_IR"}
    (tmp_path / "series7.json").write_text(json.dumps(content))
    assert set(identify(tmp_path)) == {T2F}


def test_thinner_slices_win_and_the_reason_says_so(tmp_path: Path) -> None:
    save(tmp_path / "AX T1 POST.nii.gz", 0, (1, 1, 5))
    save(tmp_path / "MPRAGE POST.nii.gz", 1, (1, 1, 1), "sagittal")
    chosen = identify(tmp_path)[T1C]
    assert chosen.candidate.name == "MPRAGE POST.nii.gz"
    assert "chosen over AX T1 POST.nii.gz as its voxels are thinner" in chosen.reason


def test_original_wins_over_its_reformat(tmp_path: Path) -> None:
    save(tmp_path / "T1_POST_MPR_AX.nii.gz", 0, (0.5, 0.5, 1))
    save(tmp_path / "T1_POST_SAG.nii.gz", 1, (1, 1, 1), "sagittal")
    assert names(identify(tmp_path)) == {"t1c": "T1_POST_SAG.nii.gz"}


def test_axial_wins_among_equals(tmp_path: Path) -> None:
    save(tmp_path / "T2 SAG.nii.gz", 0, plane="sagittal")
    save(tmp_path / "T2 TRA.nii.gz", 1)
    assert names(identify(tmp_path)) == {"t2w": "T2 TRA.nii.gz"}


def test_equals_are_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path / "t1c_first.nii.gz", 0)
    save(tmp_path / "t1c_second.nii.gz", 1)
    with pytest.raises(
        InputError, match=r"T1 \+ contrast could be any of 't1c_first.nii.gz'.*second.*--t1c"
    ) as refusal:
        identify(tmp_path)
    assert str(refusal.value).count(". ") == 0


def test_two_t1_of_which_either_may_have_contrast_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "AX T1.nii.gz", 0)
    save(tmp_path / "SAG T1.nii.gz", 1, (1, 1, 1), "sagittal")
    with pytest.raises(InputError, match=r"T1 could be any of"):
        identify(tmp_path)


def test_finer_t1_that_may_have_contrast_does_not_beat_a_native_one(tmp_path: Path) -> None:
    save(tmp_path / "AX T1 PRE.nii.gz", 0)
    save(tmp_path / "SAG MPRAGE.nii.gz", 1, (1, 1, 1), "sagittal")
    assert names(identify(tmp_path)) == {"t1n": "AX T1 PRE.nii.gz"}


def test_two_plain_mprages_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "T1 MPRAGE a.nii.gz", 0)
    save(tmp_path / "T1 MPRAGE b.nii.gz", 1, (1, 1, 1))
    with pytest.raises(InputError, match=r"T1 could be any of"):
        identify(tmp_path)


def test_beside_a_t1c_a_plain_t1_is_native(tmp_path: Path) -> None:
    save(tmp_path / "AX T1.nii.gz", 0)
    save(tmp_path / "SAG T1.nii.gz", 1, (1, 1, 1), "sagittal")
    save(tmp_path / "AX T1 GD.nii.gz", 2)
    assert names(identify(tmp_path)) == {"t1n": "SAG T1.nii.gz", "t1c": "AX T1 GD.nii.gz"}


def test_what_nobody_can_tell_is_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match=r"could be told: 'image.nii.gz'.*--t1n"):
        identify(tmp_path)


def test_unsure_guess_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "series7.nii.gz")
    content = {"EchoTime": 0.004, "RepetitionTime": 0.02, "ScanningSequence": "GR"}
    (tmp_path / "series7.json").write_text(json.dumps(content))
    save(tmp_path / "flair.nii.gz", 1)
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
    wrong = save(tmp_path / "study" / "flair.nii.gz")
    other = save(tmp_path / "elsewhere" / "x.nii.gz", 1)
    found = identify(tmp_path / "study", {T2W: wrong, T1C: other})
    assert names(found) == {"t1c": "x.nii.gz", "t2w": "flair.nii.gz"}
    assert (found[T2W].confidence, found[T2W].reason) == (1.0, "given by the user")


def test_files_alone_make_a_case(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii.gz", 1)
    case = read_case(None, {T2F: second, T1C: first})
    assert case.present == (T1C, T2F)
    assert case.volumes[T2F].source.path == second


def test_what_is_not_used_is_named_with_the_reason(tmp_path: Path) -> None:
    for seed, name in enumerate(("t1c", "T1_enhancing", "scan3", "ADC", "SAG T1 GD", "AX T2 FLAIR", "T2")):
        save(tmp_path / f"{name}.nii.gz", seed, (1, 1, 3 if name == "t1c" else 5))
    save(tmp_path / "deeper" / "image.nii.gz", 9)
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
        save(tmp_path / f"{name}.nii.gz", seed)
    contents = search_study(tmp_path)
    assert set(contents.select().assigned) == {T1C, T2W, T2F}
    (tmp_path / "T1.nii.gz").touch()  # what comes later is not seen
    for wanted in ((T1C, T2F), (T2W,)):
        case = read_case(tmp_path, wanted=wanted, contents=contents)
        assert case.present == wanted
        assert len(case.ignored) == 3 - len(wanted)
        assert all("which is not looked for" in clause for clause in case.ignored)


def test_guess_too_unsure_to_ask_about_is_named(tmp_path: Path) -> None:
    save(tmp_path / "vibe.nii.gz")
    save(tmp_path / "flair.nii.gz", 1)
    (clause,) = read_case(tmp_path).ignored
    assert clause == "'vibe.nii.gz' (too unsure to be T1: called 'vibe', nothing speaks of contrast medium)"


def test_nothing_is_ignored_where_all_is_used(tmp_path: Path) -> None:
    hidden = save(tmp_path / "T1_enhancing.nii.gz")
    save(tmp_path / "flair.nii.gz", 1)
    case = read_case(tmp_path, {T1C: hidden})
    assert case.present == (T1C, T2F)
    assert case.ignored == ()
    assert [volume.name for volume in case.volumes.values()] == ["T1_enhancing.nii.gz", "flair.nii.gz"]


def test_files_named_like_label_maps_alone_are_refused_by_name(tmp_path: Path) -> None:
    hidden = save(tmp_path / "T1_enhancing.nii.gz")
    with pytest.raises(InputError, match=r"named like label maps \(T1_enhancing.nii.gz\).*--t1c"):
        identify(tmp_path)
    assert set(identify(tmp_path, {T1C: hidden})) == {T1C}


def test_sequence_that_is_not_wanted_is_neither_read_nor_disputed(tmp_path: Path) -> None:
    save(tmp_path / "flair.nii.gz")
    save(tmp_path / "t2_first.nii.gz", 1)
    save(tmp_path / "t2_second.nii.gz", 2)
    torn = tmp_path / "t1c.nii.gz"
    torn.write_bytes(b"torn")
    with pytest.raises(InputError, match="leave it out with '--without t2w'"):
        identify(tmp_path)
    case = read_case(tmp_path, {T1C: torn}, wanted=(T2F,))
    assert case.present == (T2F,)
    assert "'t1c.nii.gz' (T1 + contrast, which is not looked for)" in case.ignored
    assert len(case.ignored) == 3


def test_plain_t1_is_native_beside_a_t1c_that_is_not_wanted(tmp_path: Path) -> None:
    save(tmp_path / "AX T1.nii.gz", 0)
    save(tmp_path / "SAG T1.nii.gz", 1, (1, 1, 1), "sagittal")
    save(tmp_path / "AX T1 GD.nii.gz", 2)
    assert names(identify(tmp_path, wanted=(T1N,))) == {"t1n": "SAG T1.nii.gz"}


def test_files_of_other_sequences_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"any sequence looked for \(FLAIR\): 'a.nii.gz' \(T2, which is not looked"):
        identify(None, {T2W: save(tmp_path / "a.nii.gz")}, wanted=(T2F,))


def test_none_of_the_wanted_is_refused_with_what_is_there(tmp_path: Path) -> None:
    save(tmp_path / "flair.nii.gz")
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
    save(tmp_path / "flair.nrrd", 1)
    doubts = read_case(tmp_path).doubts
    assert len(doubts) == doubted
    assert all(str(tmp_path / "t1c.nii.gz") in doubt and doubt.endswith(".") for doubt in doubts)


def test_nothing_given_is_refused() -> None:
    with pytest.raises(InputError, match="No study was given"):
        identify(None)


def test_file_given_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"both as T1 \+ contrast and as FLAIR"):
        identify(None, {T1C: path, T2F: tmp_path / "." / "a.nii.gz"})


def test_missing_override_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.nii, given as FLAIR, does not exist"):
        identify(None, {T2F: tmp_path / "no.nii"})


def test_same_image_as_two_sequences_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "t1c.nii.gz")
    save(tmp_path / "flair.nrrd")
    with pytest.raises(InputError, match=r"'t1c.nii.gz' \(T1 \+ contrast\) and 'flair.nrrd' \(FLAIR\) hold"):
        read_case(tmp_path)


SCAN = np.random.default_rng(5).integers(0, 900, (7, 6, 5)).astype(np.int16)


def test_dicom_study(write_series) -> None:
    study = write_series(SCAN, SeriesDescription="AX T1", RepetitionTime="550", EchoTime="12", ScanningSequence="SE")
    physics = {"RepetitionTime": "550", "EchoTime": "12", "ScanningSequence": "SE", "ContrastBolusAgent": "Gadovist"}
    write_series(SCAN + 1, SeriesDescription="AX T1", **physics)  # the word is missing
    write_series(SCAN + 2, SeriesDescription="t2_tirm_tra_dark-fluid")
    write_series(SCAN + 3, SeriesDescription="AX T2 FSE", ProtocolName="MRA HEAD W/WO")
    write_series(SCAN + 4, SeriesDescription="AX DWI")
    case = read_case(study)
    assert case.present == tuple(Modality)
    for sequence, offset in ((T1N, 0), (T1C, 1), (T2F, 2), (T2W, 3)):
        assert sitk.GetArrayViewFromImage(case.volumes[sequence].image).sum() == (SCAN + offset).sum()
    assert case.volumes[T1C].source.series_uid
    assert case.volumes[T1C].name == "AX T1"
    assert case.ignored == ("'AX DWI' (called 'dwi')",)
    assert "Gadovist" in case.volumes[T1C].reason


def test_source_is_read_again(write_series, tmp_path: Path) -> None:
    study = write_series(SCAN, SeriesDescription="AX T1 GD")
    write_series(SCAN + 1, SeriesDescription="AX T2")
    save(study / "flair.nii.gz")
    for volume in read_case(study).volumes.values():
        np.testing.assert_array_equal(
            sitk.GetArrayFromImage(read_source(volume.source).image), sitk.GetArrayFromImage(volume.image)
        )


def test_source_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 were found"):
        read_source(Source(tmp_path, "1.2.3.4"))


def test_protocol_speaks_where_the_description_does_not(write_series) -> None:
    study = write_series(SCAN, SeriesDescription="tra 3mm", ProtocolName="t2_tse_tra")
    assert set(identify(study)) == {T2W}


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"PatientID": "P2"}, r"2 studies: 2020-01-02 of P1 \(1 series\), 2020-01-02 of P2 \(1 series\)"),
        ({"StudyDate": "20200409"}, r"2020-01-02 of P1 \(1 series\), 2020-04-09 of P1 \(1 series\); say which"),
        ({"StudyInstanceUID": "1.2.4"}, "2 studies: "),
    ],
)
def test_several_studies_are_refused_with_a_list(write_series, other: dict[str, str], sentence: str) -> None:
    study = write_series(SCAN, SeriesDescription="AX T1")
    write_series(SCAN, SeriesDescription="AX T2", **other)
    with pytest.raises(InputError, match=sentence):
        identify(study)


def test_one_of_several_studies_is_chosen_by_date_or_uid(write_series) -> None:
    study = write_series(SCAN, SeriesDescription="AX T1 post", StudyInstanceUID="1.1")
    write_series(SCAN + 1, SeriesDescription="AX FLAIR", StudyInstanceUID="1.1")
    write_series(SCAN, SeriesDescription="AX T1 post", StudyInstanceUID="1.2", StudyDate="20200104", StudyTime="0830")
    write_series(SCAN, SeriesDescription="AX T2", StudyInstanceUID="1.3", StudyDate="20200104", StudyTime="0910")
    for exam in ("1.1", "20200102", "2020-01-02"):
        assert set(identify(study, dicom_study=exam)) == {T1C, T2F}
    assert set(identify(study, dicom_study="1.3")) == {T2W}
    assert set(identify(study, dicom_study="2020-01-04")) == {T1C, T2W}  # one visit, two UIDs
    with pytest.raises(InputError, match=r"no study '20200105', but 2020-01-02 of P1 \(2 series\), 2020-01-04"):
        identify(study, dicom_study="20200105")
    write_series(SCAN, SeriesDescription="AX T2", StudyInstanceUID="2.1", PatientID="P2")
    with pytest.raises(InputError, match="studies of several patients on 2020-01-02"):
        identify(study, dicom_study="20200102")
    assert set(read_case(study, dicom_study="2.1").volumes) == {T2W}


def test_an_exam_cannot_be_chosen_among_image_files(tmp_path: Path) -> None:
    save(tmp_path / "a_t2.nii.gz")
    with pytest.raises(InputError, match="holds no study '20200102', but no DICOM series"):
        identify(tmp_path, dicom_study="20200102")


def test_the_list_of_studies(write_series) -> None:
    folder = write_series(SCAN, SeriesDescription="AX T1 post", StudyInstanceUID="1.2", StudyDate="20210304")
    write_series(SCAN, SeriesDescription="AX FLAIR", StudyInstanceUID="1.2", StudyDate="20210304", leave_out=(2,))
    write_series(SCAN, SeriesDescription="SAG T1", StudyInstanceUID="1.1", StudyTime="081530")
    first, second = list_studies(folder)
    assert (first.patient, first.date, first.uid) == ("P1", "20200102", "1.1")
    assert [(one.name, one.sequence, one.problem) for one in first.series] == [("SAG T1", T1N, None)]
    assert [one.sequence for one in second.series] == [T2F, T1C]
    assert "lacks 1 slice" in second.series[0].problem
    text = to_text([first, second], folder)
    assert text.index("1. P1, 2020-01-02 08:15   --exam 1.1") < text.index("2. P1, 2021-03-04   --exam 1.2")
    assert "cannot be read: The series 'AX FLAIR'" in text
    assert "--time-point" in text
    assert json.loads(to_json([first, second]))[1]["series"][1]["slices"] == len(SCAN)


def test_a_list_says_what_cannot_be_told(write_series, tmp_path: Path) -> None:
    folder = write_series(SCAN, SeriesDescription="AX T2")
    write_series(SCAN + 1, SeriesDescription="AX T2 again")
    (row,) = list_studies(folder)
    assert "T2 could be any of" in row.refusal
    assert row.refusal in to_text([row], folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no MR series"):
        list_studies(tmp_path / "empty")
    with pytest.raises(InputError, match="is no folder"):
        list_studies(tmp_path / "nowhere")


# What scanners of three makers call the four sequences, with the times that they tell. No tag names the contrast
# medium, as in many hospitals.
VENDORS = {
    "Siemens": {
        T1N: ("t1_mpr_sag_p2_iso", {"RepetitionTime": 2300, "EchoTime": 2.98, "InversionTime": 900}),
        T1C: ("t1_mpr_tra_iso_KM", {"RepetitionTime": 2300, "EchoTime": 2.98, "InversionTime": 900}),
        T2W: ("t2_tse_tra_512_4mm", {"RepetitionTime": 6000, "EchoTime": 99}),
        T2F: ("t2_spc_da-fl_sag_p2_iso", {"RepetitionTime": 5000, "EchoTime": 387, "InversionTime": 1800}),
    },
    "GE": {
        T1N: ("Sag T1 FSPGR BRAVO", {"RepetitionTime": 8.2, "EchoTime": 3.2, "InversionTime": 450}),
        T1C: ("AX T1 FSPGR BRAVO +C", {"RepetitionTime": 8.2, "EchoTime": 3.2, "InversionTime": 450}),
        T2W: ("Ax T2 FRFSE PROPELLER", {"RepetitionTime": 5200, "EchoTime": 102}),
        T2F: ("Sag CUBE T2 FLAIR", {"RepetitionTime": 6300, "EchoTime": 125, "InversionTime": 1800}),
    },
    "Philips": {
        T1N: ("T1W_3D_TFE_SAG", {"RepetitionTime": 7.6, "EchoTime": 3.5}),
        T1C: ("sT1W_3D_TFE_GADO", {"RepetitionTime": 7.6, "EchoTime": 3.5}),
        T2W: ("T2W_TSE_TRA", {"RepetitionTime": 3000, "EchoTime": 80}),
        T2F: ("3D_Brain_VIEW_FLAIR", {"RepetitionTime": 4800, "EchoTime": 340, "InversionTime": 1650}),
    },
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_descriptions_of_several_makers_without_a_tag_for_contrast(write_series, vendor: str) -> None:
    for number, (sequence, (description, tags)) in enumerate(VENDORS[vendor].items(), start=1):
        kinds = ["SE", "IR"] if sequence is T2F else ["SE"] if sequence is T2W else ["GR"]
        folder = write_series(
            SCAN + number, SeriesDescription=description, SeriesNumber=number, ScanningSequence=kinds, **tags
        )
    found = {sequence: one.candidate.tags.description for sequence, one in identify(folder).items()}
    assert found == {sequence: description for sequence, (description, _) in VENDORS[vendor].items()}


def test_dicom_folder_as_override(write_series, tmp_path: Path) -> None:
    folder = write_series(SCAN, SeriesDescription="unknown")
    assert identify(None, {T2W: folder})[T2W].candidate.name == "unknown"
    write_series(SCAN + 1, SeriesDescription="another", SeriesNumber=9)
    with pytest.raises(InputError, match=r"holds 2 volumes \(another \(series 9\), unknown\)"):
        identify(None, {T2W: folder})


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


def test_the_whole_head_wins_over_a_slab_with_thinner_slices(tmp_path: Path) -> None:
    save_sized(tmp_path / "T1 GD COR.nii.gz", (24, 24, 35), (10, 10, 2))
    save_sized(tmp_path / "T1 GD AX.nii.gz", (24, 24, 26), (10, 10, 5.5))
    chosen = identify(tmp_path)[T1C]
    assert chosen.candidate.name == "T1 GD AX.nii.gz"
    assert "chosen over T1 GD COR.nii.gz as it covers the whole head" in chosen.reason
    assert read_case(tmp_path).doubts == ()


def test_a_reference_that_shows_a_part_of_the_head_is_a_doubt(tmp_path: Path) -> None:
    save_sized(tmp_path / "T1 GD COR.nii.gz", (24, 24, 35), (10, 10, 2))
    save_sized(tmp_path / "FLAIR.nii.gz", (24, 24, 26), (10, 10, 5.5))
    (doubt,) = read_case(tmp_path).doubts
    assert "covers only 70 mm of the head" in doubt
    assert "T1 + contrast" in doubt


def test_flair_before_contrast_medium_is_taken_with_the_reason(tmp_path: Path) -> None:
    save(tmp_path / "AX FLAIR.nii.gz", 0)
    save(tmp_path / "AX FLAIR POST GD.nii.gz", 1)
    chosen = identify(tmp_path)[T2F]
    assert chosen.candidate.name == "AX FLAIR.nii.gz"
    assert "made before contrast medium" in chosen.reason


def test_of_an_mp2rage_the_uniform_image_is_taken(tmp_path: Path) -> None:
    for seed, part in enumerate(("INV1", "INV2", "UNI_Images", "T1_Images")):
        save(tmp_path / f"t1_mp2rage_sag_{part}.nii.gz", seed)
    assert names(identify(tmp_path)) == {"t1n": "t1_mp2rage_sag_UNI_Images.nii.gz"}
