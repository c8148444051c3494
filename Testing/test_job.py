"""Jobs: what may be asked, and the sentence when it may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.job import Install, Job, Measure, Review, new_job, parse_request, read_request
from GliomaSegLib.options import ReviewState

LEAST = {"study": "s", "model": "toy", "output": "o"}


def test_job_survives_its_file(tmp_path: Path) -> None:
    job = new_job(
        volumes={"t1c": tmp_path / "a.nii"},
        model="toy",
        output=tmp_path / "out",
        time_point="postoperative",
        days_since_surgery=2,
        postprocessing={"remove_objects_below_mm3": 50},
        label_scheme="brats2017",
    )
    (tmp_path / "job.json").write_text(job.model_dump_json())
    assert read_request(tmp_path / "job.json") == job
    assert job.volumes == {Modality.T1C: tmp_path / "a.nii"}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"study": "/data/patient-7/"}, "patient-7"),
        ({"study": "/data/patient.7"}, "patient.7"),
        ({"volumes": {"t2f": "/data/p7_flair.nii.gz"}}, "p7_flair"),
        ({"study": "/data/p7_flair.nrrd"}, "p7_flair"),
        ({"study": "/data/patient-7", "case_id": "A"}, "A"),
    ],
)
def test_name_of_the_case(given: dict[str, object], name: str) -> None:
    assert Job(model="toy", output="o", **given).name == name


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job(study="s", volumes={"t1c": "v"}, model="toy", output="o", store="m")
    assert [job.study, job.volumes[Modality.T1C], job.output, job.store] == [tmp_path / name for name in "svom"]


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_devices(device: str) -> None:
    assert Job(study="s", model="toy", output="o", device=device).device == device


def test_days_since_surgery_say_that_there_was_one() -> None:
    assert Job(**LEAST).when == TimePoint()
    assert Job(**LEAST, days_since_surgery=2).when == TimePoint(TimePointKind.POSTOPERATIVE, 2)
    with pytest.raises(InputError, match="not said to be post-operative"):
        _ = Job(**LEAST, days_since_surgery=2, time_point="preoperative").when


def test_home_is_expanded() -> None:
    job = Job(study="~/s", volumes={"t1c": "~/v"}, transforms={"t2f": "~/t"}, model="toy", output="~/o", store="~/m")
    found = [job.study, job.volumes[Modality.T1C], job.transforms[Modality.T2F], job.output, job.store]
    assert found == [Path.home() / name for name in "svtom"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"study": None}, "not valid: no study was given; give its folder, or a file per sequence."),
        ({"model": None}, "model: "),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"volumes": {"t9": "a.nii"}}, "volumes.t9"),
        ({"brain": "saw"}, "brain: "),
        ({"threads": 0}, "threads: "),
        ({"device": "abacus"}, "device: "),
        ({"device": "cuda:x"}, "device: "),
        ({"precision": "float8"}, "precision: "),
        ({"leave_out": ["t9"]}, "leave_out.0: "),
        ({"volumes": {"t2w": "a.nii"}, "leave_out": ["t2w"]}, "T2 is given and to be left out; say one of them."),
        (
            {"transforms": {"t2w": "a.tfm"}, "leave_out": ["t2w"]},
            "T2 is to be left out and has a transform; say one of",
        ),
        ({"transforms": {"t9": "a.tfm"}}, "transforms.t9"),
        (
            {"do": "dance"},
            "not valid: it is no JSON object whose 'do' is segment, measure, review, install, compare or export.",
        ),
        ({"days_since_surgery": "soon"}, "days_since_surgery: "),
        ({"postprocessing": {"remove_islands_below_fraction": 1.5}}, "postprocessing.remove_islands_below_fraction: "),
    ],
)
def test_wrong_field_is_named_in_one_sentence(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_request(json.dumps(LEAST | change), "job.json")
    text = str(refused.value)
    assert text.startswith("job.json is not valid: ")
    assert sentence in text
    assert "\n" not in text
    assert text.endswith(".")


@pytest.mark.parametrize("text", ["", "{", "[]", '"study"'])
def test_text_that_is_no_job(text: str) -> None:
    with pytest.raises(InputError, match=r"^Line 3 of the input is not valid: .*\.$"):
        parse_request(text, "Line 3 of the input")


def test_job_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"job\.json cannot be read \(No such file or directory\)\."):
        read_request(tmp_path / "job.json")
    (tmp_path / "job.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match=r"job\.json is not valid: Invalid JSON: .*\.$"):
        read_request(tmp_path / "job.json")


# --- other requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("also", [{}, {"do": "segment"}])
def test_job_may_say_what_it_is(also: dict[str, str]) -> None:
    job = parse_request(json.dumps(LEAST | also), "a line")
    assert job == Job(**LEAST)
    assert "do" not in job.model_dump(), "a job in a manifest is what it always was"


def test_requests_that_are_no_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = {"do": "measure", "output": "o"}
    assert parse_request(json.dumps(said), "a line") == Measure(do="measure", output=tmp_path / "o")
    said = {"do": "review", "output": "o", "state": "approved", "by": "Dr No"}
    asked = parse_request(json.dumps(said), "a line")
    assert isinstance(asked, Review)
    assert (asked.output, asked.state, asked.by) == (tmp_path / "o", ReviewState.APPROVED, "Dr No")
    assert parse_request('{"do": "install", "model": "toy", "store": null}', "a line") == Install(
        do="install", model="toy"
    )


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"do": "measure"}, "A line is not valid: output: Field required."),
        (
            {"do": "measure", "output": "o", "model": "toy"},
            "A line is not valid: model: Extra inputs are not permitted.",
        ),
        ({"do": "review", "output": "o", "state": "approved"}, "A line is not valid: by: Field required."),
        ({"do": "install", "model": 3}, "A line is not valid: model: Input should be a valid string."),
    ],
)
def test_other_request_that_is_wrong(said: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_request(json.dumps(said), "A line")
    assert str(refused.value) == sentence


def test_nobody_declares_an_edit() -> None:
    with pytest.raises(InputError, match="state: Input should be"):
        parse_request('{"do": "review", "output": "o", "state": "edited", "by": "x"}', "A line")
