"""A cohort as it is asked for: tables and folders, what is wrong with a row, and the plan."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import SimpleITK as sitk

from GliomaSegLib.batch.cases import BatchCase
from GliomaSegLib.batch.plan import CaseStatus, Plan, PlannedCase, duration, make_plan
from GliomaSegLib.batch.shard import Shard
from GliomaSegLib.batch.table import CaseList, read_case_list
from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.job import Job
from GliomaSegLib.progress import Silent
from Testing.conftest import DicomWriter
from Testing.support.study import volume, write_study

MODEL = "gliomaseg-any-v2"


def cohort_of(text: str, tmp_path: Path, **options: object) -> CaseList:
    """What is read from a table with this text, beside the studies."""
    (tmp_path / "cohort.csv").write_text(text, encoding="utf-8")
    return read_case_list(tmp_path / "cohort.csv", tmp_path / "out", **{"model": MODEL, **options})


def sentences(cohort: CaseList) -> list[str]:
    """Why cases are refused, each in one sentence."""
    texts = [case.refused for case in cohort.cases if case.refused]
    for text in texts:
        assert text.endswith("."), text
        assert not re.search(r"[.!?] [A-Z]", text), f"more than one sentence: {text}"
    return texts


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for name in "abc":
        write_study(tmp_path / name)
    return tmp_path


# --- tables --------------------------------------------------------------------------------------------------------


def test_a_table_gives_the_jobs_of_its_rows(studies: Path) -> None:
    text = (
        "\ufeffCase;patient;study;t1c;without;model;time_point;days_since_surgery;hospital\n"
        "P 1/2;P1;a;;t2f+t2w;;postoperative;2;Rome\n"
        "P2;P2;b;c/head_t1c.nii.gz;;ca-cnn-brats17;;;\n"
    )
    cohort = cohort_of(text, studies, seed=7)
    assert sentences(cohort) == []
    assert cohort.unused == ("hospital",)
    first, second = (Job(**case.job) for case in cohort.cases)
    assert first == Job(
        study=studies / "a", leave_out=("t2f", "t2w"), model=MODEL, time_point="postoperative", days_since_surgery=2,
        output=studies / "out" / "P_1_2", case_id="P 1/2", seed=7,
    )  # fmt: skip
    assert second.volumes == {Modality.T1C: studies / "c" / "head_t1c.nii.gz"}
    assert (second.model, second.time_point.value, cohort.cases[1].patient) == ("ca-cnn-brats17", "unknown", "P2")


def test_paths_may_be_relative_to_another_folder(studies: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "cohort.csv").write_text("case,study\nA,a\n", encoding="utf-8")
    cohort = read_case_list(tmp_path / "lists" / "cohort.csv", tmp_path / "out", studies, model=MODEL)
    assert cohort.cases[0].job["study"] == str(studies / "a")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("A,nowhere,,", "nowhere does not exist"),
        ("A,,,", "the case 'A' has no image"),
        ("..,a,,", "no case that can name a folder"),
        ("A,a,,,x", "more fields than the heading"),
        ("A,a", "fewer fields than the heading"),
        ("A,a,someday,", "time_point: Input should be"),
        ("A,a,preoperative,3", "not said to be post-operative"),
        ("A,a,,-3", "not a number of days since surgery"),
        ("A,a,,soon", "days_since_surgery"),
        ("batch.html,a,,", "a name that the batch needs itself"),
    ],
)
def test_a_row_that_cannot_be_is_refused_alone(row: str, says: str, studies: Path) -> None:
    cohort = cohort_of(f"case,study,time_point,days_since_surgery\n{row}\nB,b,,\n", studies)
    (sentence,) = sentences(cohort)
    assert says in sentence
    assert "cohort.csv, line 2" in sentence
    assert [case.name for case in cohort.cases if not case.refused] == ["B"]


def test_without_a_model_the_one_that_would_run_is_planned(studies: Path) -> None:
    (studies / "cohort.csv").write_text("case,study,task\nA,a,\nB,b,meningioma\n", encoding="utf-8")
    cohort = read_case_list(studies / "cohort.csv", studies / "out", store=studies / "store")
    plan = make_plan(cohort, 1, False, Silent())
    assert (plan.planned[0].model, plan.planned[0].case.job["model"]) == (MODEL, "auto"), "it comes with GliomaSeg"
    assert "No model that is installed and proven takes" in plan.planned[1].case.refused


def test_a_repeated_row_is_refused_and_the_first_is_not(studies: Path) -> None:
    cohort = cohort_of("case,study\nA,a\nB,b\nA,a\n", studies)
    assert sentences(cohort) == ["cohort.csv, line 4 repeats the case 'A' of cohort.csv, line 2; take one of them out."]
    assert [bool(case.refused) for case in cohort.cases] == [False, False, True]


def test_two_cases_of_one_name_are_both_refused(studies: Path) -> None:
    cohort = cohort_of("case,study\nA,a\na,b\nC,c\n", studies)
    assert [bool(case.refused) for case in cohort.cases] == [True, True, False], "also where names have no case"
    assert all("2 different cases" in sentence for sentence in sentences(cohort))


def test_two_studies_that_share_an_image_are_both_refused(studies: Path) -> None:
    text = (
        "case,t1c,t2f\n"
        "day1,a/head_t1c.nii.gz,a/head_t2f.nii.gz\n"
        "day9,b/head_t1c.nii.gz,a/head_t2f.nii.gz\n"
        "other,c/head_t1c.nii.gz,\n"
    )
    cohort = cohort_of(text, studies)
    first, second = sentences(cohort)
    assert "a/head_t2f.nii.gz is also of the case 'day9'" in first
    assert "is also of the case 'day1'" in second


def test_two_models_may_look_at_one_study(studies: Path) -> None:
    assert sentences(cohort_of("case,study,model\nA,a,\nA2,a,ca-cnn-brats17\n", studies)) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,study\nA,a\n", "needs the column 'case'"),
        ("case,truth\nA,a\n", "at least one of study, t1n"),
        ("case,study,timepoint\nA,a,\n", "is 'time_point' meant"),
        ("case,study,study\nA,a,b\n", "has the column 'study' twice"),
        ("case,study\n\n", "has no rows"),
        ("", "needs the column 'case'"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(text: str, says: str, studies: Path) -> None:
    with pytest.raises(InputError, match=says):
        cohort_of(text, studies)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_bytes(b"case,study\n\xff\xfe\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_case_list(tmp_path / "cohort.csv", tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        read_case_list(tmp_path / "nothing", tmp_path / "out")


# --- folders -------------------------------------------------------------------------------------------------------


def test_a_folder_of_studies(studies: Path) -> None:
    (studies / ".hidden").mkdir()
    (studies / "out").mkdir()
    cohort = read_case_list(studies, studies / "out", model=MODEL)
    assert [(case.name, Path(case.job["study"]).name) for case in cohort.cases] == [("a", "a"), ("b", "b"), ("c", "c")]
    if os.name != "nt":  # links need a privilege on Windows
        (studies.parent / "link").symlink_to(studies)
        assert len(read_case_list(studies, studies.parent / "link" / "out", model=MODEL).cases) == 3


def test_a_folder_that_is_one_study_is_refused(studies: Path) -> None:
    with pytest.raises(InputError, match="may be one study"):
        read_case_list(studies / "a", studies / "out", model=MODEL)
    (studies / "empty").mkdir()
    with pytest.raises(InputError, match="holds no folders"):
        read_case_list(studies / "empty", studies / "out", model=MODEL)


def test_bids(tmp_path: Path) -> None:
    root = tmp_path / "bids"
    for place in ("sub-01/ses-pre", "sub-01/ses-post", "sub-02"):
        anatomical = root / place / "anat"
        anatomical.mkdir(parents=True)
        name = place.replace("/", "_")
        for suffix, sequence in (("ce-gd_T1w", Modality.T1C), ("T1w", Modality.T1N), ("FLAIR", Modality.T2F)):
            sitk.WriteImage(volume(sequence), str(anatomical / f"{name}_{suffix}.nii.gz"))
    (root / "sub-03" / "func").mkdir(parents=True)
    (root / "derivatives" / "sub-01").mkdir(parents=True)
    cohort = read_case_list(root, tmp_path / "out", model=MODEL)
    assert [(case.name, case.patient) for case in cohort.cases] == [
        ("sub-01_ses-post", "sub-01"), ("sub-01_ses-pre", "sub-01"), ("sub-02", "sub-02"), ("sub-03", "sub-03"),
    ]  # fmt: skip
    assert ["has no folder 'anat'" in sentence for sentence in sentences(cohort)] == [True]
    plan = make_plan(cohort, 1, False, Silent())
    assert {one.present for one in plan.of(CaseStatus.TO_DO)} == {(Modality.T1N, Modality.T1C, Modality.T2F)}


# --- parts ---------------------------------------------------------------------------------------------------------


def test_parts_together_are_all_of_it() -> None:
    cases = tuple(BatchCase(str(number), {}, "") for number in range(10))
    parts = [Shard(number, 4).of(cases) for number in range(1, 5)]
    assert sorted(case.name for part in parts for case in part) == [case.name for case in cases]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# --- the plan ------------------------------------------------------------------------------------------------------


def test_the_plan_tells_what_there_is_and_what_is_missing(studies: Path) -> None:
    (studies / "c" / "head_t2f.nii.gz").unlink()
    (studies / "d").mkdir()
    text = "case,study,model\nA,a,\nB,b,\nC,c,\nD,d,\nE,a,no-such\nF,b,synthstrip\n"
    plan = make_plan(cohort_of(text, studies), 2, False, Silent())
    assert [one.status.value for one in plan.planned] == [*["to do"] * 3, *["refused"] * 3]
    assert plan.planned[2].present == (Modality.T1C,)
    printed = plan.to_text()
    assert f"{MODEL}: 2 cases with T1 + contrast, FLAIR" in printed
    assert f"{MODEL}: 1 case with T1 + contrast\n  Missing: T1, T2, FLAIR" in printed
    assert "D: " in printed
    assert "holds no image file" in printed
    assert "E: There is no model 'no-such'" in printed
    assert "not known before the first case is done" in printed
    records = json.loads(plan.to_json())["cases"]
    assert [record["standing"] for record in records] == [one.status.value for one in plan.planned]
    assert not (studies / "out").exists(), "a plan writes nothing"


def test_a_plan_in_which_nothing_can_be_run_is_one_sentence(studies: Path) -> None:
    with pytest.raises(InputError, match=r"There is no model 'none'.*\(so or alike for all 2 cases\)"):
        make_plan(cohort_of("case,study\nA,a\nB,b\n", studies, model="none"), 1, False, Silent())


def test_series_of_two_studies_are_reported(write_series: DicomWriter, tmp_path: Path) -> None:
    array = sitk.GetArrayFromImage(volume(Modality.T1C)).astype("int16")
    write_series(array, "t1c", SeriesDescription="t1c", StudyDate="20200102")
    write_series(array + 1, "t2f", SeriesDescription="flair", StudyDate="20210304")
    write_study(tmp_path / "good")
    cohort = cohort_of("case,t1c,t2f,study\nA,t1c,t2f,\nB,,,good\n", tmp_path)
    plan = make_plan(cohort, 1, False, Silent())
    assert plan.planned[0].case.refused == (
        "Its series are of several study dates (20200102, 20210304); give the series of one study."
    )
    assert plan.planned[1].status is CaseStatus.TO_DO


def test_two_exams_of_one_folder_are_two_cases(write_series: DicomWriter, tmp_path: Path) -> None:
    array = sitk.GetArrayFromImage(volume(Modality.T1C)).astype("int16")
    for name, day in (("first", "20200102"), ("second", "20210304")):
        write_series(array, f"p/{name}", SeriesDescription="t1c", StudyDate=day, StudyInstanceUID=f"1.2.{day}")
    cohort = cohort_of("case,study,exam\nA,p,20200102\nB,p,2021-03-04\nC,p,1999\n", tmp_path)
    assert [Job(**case.job).exam for case in cohort.cases] == ["20200102", "2021-03-04", "1999"]
    plan = make_plan(cohort, 1, False, Silent())
    assert [one.status for one in plan.planned] == [CaseStatus.TO_DO, CaseStatus.TO_DO, CaseStatus.REFUSED]
    assert "holds no study '1999', but 2020-01-02" in str(plan.planned[2].case.refused)
    twice = cohort_of("case,study,exam\nA,p,20200102\nB,p,20200102\n", tmp_path)
    assert len(sentences(twice)) == 2, "one exam as two cases"


def test_how_long(studies: Path) -> None:
    case = BatchCase("a", {"model": MODEL, "output": "a"}, "a")
    done = [PlannedCase(case, CaseStatus.DONE, seconds=seconds) for seconds in (50.0, 70.0)]
    left = [PlannedCase(case, CaseStatus.TO_DO, (Modality.T1C,))] * 5
    assert "about 3 min (60 s a case" in Plan(studies, (*done, *left), (), 2).to_text(), "three rounds of two at once"
    assert [duration(seconds) for seconds in (40, 720, 12600)] == ["40 s", "12 min", "3.5 h"]


# --- nnU-Net's layout ----------------------------------------------------------------------------------------------


@pytest.fixture
def images_ts(tmp_path: Path) -> Path:
    """Two cases with two channels, the second without its second."""
    folder = tmp_path / "imagesTs"
    folder.mkdir()
    for name, sequence in (("P1_0000", Modality.T1C), ("P1_0001", Modality.T2F), ("P_2_0000", Modality.T1C)):
        sitk.WriteImage(volume(sequence), str(folder / f"{name}.nii.gz"))
    return folder


def test_channels_of_an_nnunet_folder_are_the_sequences_that_were_said(images_ts: Path, tmp_path: Path) -> None:
    cohort = read_case_list(images_ts, tmp_path / "out", channels=(Modality.T1C, Modality.T2F), model=MODEL)
    first, second = (Job(**case.job) for case in cohort.cases)
    assert (first.case_id, second.case_id) == ("P1", "P_2")
    assert first.volumes == {
        Modality.T1C: images_ts / "P1_0000.nii.gz",
        Modality.T2F: images_ts / "P1_0001.nii.gz",
    }
    assert set(second.volumes) == {Modality.T1C}


def test_the_order_of_channels_is_asked_for(images_ts: Path, studies: Path) -> None:
    for channels in ((), (Modality.T1C,)):
        with pytest.raises(InputError, match="channels 0000 to 0001; say which these are"):
            read_case_list(images_ts, images_ts / "out", channels=channels)
    with pytest.raises(InputError, match="is no nnU-Net folder"):
        read_case_list(studies, studies / "out", channels=(Modality.T1C,))
