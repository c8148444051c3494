"""Words and tags of hospitals, challenges and public archives: which sequence they mean."""

from __future__ import annotations

import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.io.tags import DicomTags
from GliomaSegLib.study.identification import ACCEPTED_CONFIDENCE, NameGuess, assign_names, guess

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
    ("sub-01_acq-postcontrast_T1w", T1C),
    ("sub-01_acq-ce_T1w", T1C),
    ("sub-01_ses-1_space-T1w_FLAIR", T2F),
    ("sub-01_space-T1w_T2w", T2W),
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
    ("OAX T1FLAIR+C", T1C),
    ("T1_plus_C", T1C),
    ("T1-SPACE-post", T1C),
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
    ("T2 MERGE", None),
    ("AX T2 MPGR", None),
    ("T1 MOLLI", None),
    ("T1sub", None),
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
    *(
        ("AX T1", tags(550, 12, agent=agent), T1N)
        for agent in ("NO CONTRAST", "none given", "N", "Kein KM", "Non-contrast", "NA", "PRE", "не вводился", "无")
    ),
    *(
        ("AX T1", tags(550, 12, agent=agent), T1C)
        for agent in ("Y", "Gadovist 7 ml", "KM", "0.1 mmol/kg", "Магневист", "Pre/Post Gad", "钆喷酸葡胺")
    ),
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


def test_an_agent_of_lost_letters_is_asked_about() -> None:
    assert guess("AX T1", tags(550, 12, agent="????????")).confidence < ACCEPTED_CONFIDENCE
    assert guess("AX T1 post", tags(550, 12, agent="????????")).confidence >= ACCEPTED_CONFIDENCE


@pytest.mark.parametrize(
    "words",
    [
        *(
            "Calib",
            "Ref Scan",
            "SENSE REF",
            "CoilSens",
            "SMARTBRAIN",
            "planscan",
            "QFLOW",
            "csf flow",
            "cine",
            "TRICKS",
        ),
        *("MRAC", "3D_B-TFE", "AX COSMIC", "care_bolus", "4D_TRAK", "Permeability"),
    ],
)
def test_a_gradient_echo_for_another_purpose_is_no_t1_beside_a_t1_with_contrast(words: str) -> None:
    found = guess(words, tags(8, 3, None, "GR"), beside_t1c=True)
    assert found.sequence is None or found.confidence < 0.4
    found = guess(words, tags(4, 1.5, None, "GR", "Gadovist"))
    assert found.sequence is None or found.confidence < 0.4


def test_an_echo_planar_t2_is_asked_about() -> None:
    assert guess("T2 EPI").confidence < ACCEPTED_CONFIDENCE
    assert guess("T1 MPRAGE EPI protocol", tags(2000, 3, 900, "GR IR")).sequence is T1N


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
