"""The worker: one JSON object per line for other programs, a network that stays loaded, and a clean stop."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import Cancelled
from GliomaSegLib.followup.comparison import TimePointComparison
from GliomaSegLib.job import Job
from GliomaSegLib.results.job_result import JobResult
from GliomaSegLib.worker.client import Event, WorkerProcess
from GliomaSegLib.worker.server import work
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import checked_card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.card_weights import WeightFile
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.installation import share_of_download
from GliomaSegLib.zoo.store import Store
from Testing.support import toy
from Testing.support.study import toy_job, write_study

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "GliomaSegLib"]


def line_of(job: Job) -> str:
    return job.model_dump_json() + "\n"


def answered(monkeypatch: pytest.MonkeyPatch, lines: str) -> tuple[int, list[dict[str, Any]]]:
    """What the worker returns and writes when it reads ``lines``."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    output = io.StringIO()
    failed = work("-", output)
    return failed, [json.loads(line) for line in output.getvalue().splitlines()]


def test_protocol(toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study(tmp_path / "study", [Modality.T2F])
    job = toy_job(toy_store, tmp_path / "out", study=study, time_point="postoperative")
    failed, said = answered(monkeypatch, line_of(job))
    assert failed == 0
    stages = [line["name"] for line in said if line["event"] == "stage"]
    assert stages == ["reading", "registration", "brain extraction", "segmentation", "measures and report"]
    fractions = [line for line in said if line["event"] == "progress"]
    assert all(0 <= line["fraction"] <= 1 and isinstance(line["detail"], str) for line in fractions)
    warnings = [line["text"] for line in said if line["event"] == "warning"]
    assert len(warnings) == 2
    assert warnings[0].startswith("Missing: T1 + contrast. Without it TC and ET cannot be given.")
    assert "is made for preoperative studies" in warnings[1]
    assert [line["event"] for line in said].index("result") == len(said) - 1
    result = JobResult.model_validate(said[-1]["result"])
    assert result.output == tmp_path / "out"
    assert all(path.is_file() for path in result.files.values())
    assert result.missing == (Modality.T1C,)


def test_job_in_a_file(toy_store: Store, tmp_path: Path) -> None:
    job = toy_job(toy_store, tmp_path / "out", study=write_study(tmp_path / "study"))
    (tmp_path / "job.json").write_text(job.model_dump_json(indent=2))
    output = io.StringIO()
    assert work(str(tmp_path / "job.json"), output) == 0
    assert json.loads(output.getvalue().splitlines()[-1])["event"] == "result"


def test_network_is_loaded_once_and_a_wrong_job_does_not_stop_the_next(
    toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, load = [], toy.load
    monkeypatch.setattr(toy, "load", lambda *given: loaded.append(given) or load(*given))
    study = write_study(tmp_path / "study")
    lines = [
        line_of(toy_job(toy_store, tmp_path / "a", study=study)),
        "\n",
        "{]\n",
        line_of(toy_job(toy_store, tmp_path / "b", study=tmp_path / "nowhere")),
        line_of(toy_job(toy_store, tmp_path / "c", study=study)),
    ]
    failed, said = answered(monkeypatch, "".join(lines))
    assert failed == 2
    ends = [line for line in said if line["event"] in {"result", "error"}]
    assert [line["event"] for line in ends] == ["result", "error", "error", "result"]
    assert ends[1]["kind"] == "InputError"
    assert ends[1]["text"].startswith("Line 3 of the input is not valid: Invalid JSON")
    assert "nowhere does not exist" in ends[2]["text"]
    assert len(loaded) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "models", "published", "study"]


def test_lines_that_are_no_text_or_nested_without_end_do_not_stop_the_next(toy_store: Store, tmp_path: Path) -> None:
    install = json.dumps({"do": "install", "model": "nnn", "store": str(tmp_path)}).encode()
    lines = b"\xff\xfe{\n" + b"[" * 100_000 + b"\n" + b'{"study": ' * 50_000 + b"\n" + install + b"\n"
    ended = subprocess.run(
        [*COMMAND, "worker", "-"], cwd=ROOT, input=lines, capture_output=True, timeout=300, check=False
    )
    assert ended.returncode == 1
    said = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [one["event"] for one in said] == ["error"] * 4
    assert all("is not valid" in one["text"] for one in said[:3])
    assert said[-1]["text"].startswith("There is no model 'nnn'")


def test_threads_of_one_job_are_not_those_of_the_next(
    toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> tuple[int, int]:
        return torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()

    before, predict, seen = threads(), toy.Thresholds.predict, []
    monkeypatch.setattr(toy.Thresholds, "predict", lambda *given: seen.append(threads()) or predict(*given))
    study = write_study(tmp_path / "study")
    jobs = [toy_job(toy_store, tmp_path / f"{count}", study=study, threads=count) for count in (before[0] + 1, None)]
    assert answered(monkeypatch, "".join(map(line_of, jobs)))[0] == 0
    assert seen == [(before[0] + 1, before[0] + 1), before]
    assert threads() == before


def test_defect_is_reported_and_does_not_stop_the_next(
    toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predict, calls = toy.Thresholds.predict, []

    def first_fails(self: toy.Thresholds, *given: object) -> object:
        calls.append(given)
        if len(calls) == 1:
            raise ZeroDivisionError("by nought")
        return predict(self, *given)

    monkeypatch.setattr(toy.Thresholds, "predict", first_fails)
    study = write_study(tmp_path / "study")
    jobs = [toy_job(toy_store, tmp_path / name, study=study) for name in ("a", "b")]
    failed, said = answered(monkeypatch, "".join(map(line_of, jobs)))
    assert failed == 1
    (error,) = (line for line in said if line["event"] == "error")
    assert error == {
        "event": "error", "kind": "ZeroDivisionError", "text": "GliomaSeg failed unexpectedly: by nought"
    }  # fmt: skip
    assert "first_fails" in capsys.readouterr().err, "the log says where"
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b").is_dir()


def test_cancelling_ends_the_worker(toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: toy.Thresholds, *given: object) -> None:
        raise Cancelled("Stop.")

    monkeypatch.setattr(toy.Thresholds, "predict", stopped)
    study = write_study(tmp_path / "study")
    jobs = [toy_job(toy_store, tmp_path / name, study=study) for name in ("a", "b")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(map(line_of, jobs))))
    output = io.StringIO()
    with pytest.raises(Cancelled):
        work("-", output)
    said = [json.loads(line) for line in output.getvalue().splitlines()]
    assert said[-1] == {"event": "error", "kind": "Cancelled", "text": "Stop."}
    assert sum(line["event"] == "error" for line in said) == 1, "the second job did not begin"


def test_requests_one_after_the_other(
    toy_store: Store, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        {"study": str(write_study(tmp_path / "study")), "model": "toy", "output": str(tmp_path / "out"),
         "store": str(toy_store.root), "brain": "stripped", "registration": False},
        {"do": "measure", "output": str(tmp_path / "out")},
        {"do": "review", "output": str(tmp_path / "out"), "state": "approved", "by": "Dr No"},
        {"do": "review", "output": str(tmp_path / "nowhere"), "state": "approved", "by": "Dr No"},
    ]  # fmt: skip
    failed, said = answered(monkeypatch, "".join(json.dumps(one) + "\n" for one in asked))
    assert failed == 1
    segmented, measured, reviewed, error = (one for one in said if one["event"] in {"result", "error"})
    assert measured == segmented
    assert segmented["result"]["review"] == "draft"
    (event,) = reviewed["result"]["reviews"]
    assert (reviewed["result"]["review"], event["state"], event["by"]) == ("approved", "approved", "Dr No")
    assert error["text"].startswith(f"{tmp_path / 'nowhere'} is not a folder of GliomaSeg results")


def test_studies_are_compared_and_exported(toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study(tmp_path / "study")
    jobs = [toy_job(toy_store, tmp_path / name, study=study) for name in ("before", "after")]
    compare = {
        "do": "compare",
        "studies": [
            {"path": str(tmp_path / "before"), "time_point": "preoperative"},
            {"path": str(tmp_path / "after"), "days_since_surgery": 1},
        ],
        "output": str(tmp_path / "compared"),
        "in_place": True,
    }
    export = {"do": "export", "results": str(tmp_path / "after"), "output": str(tmp_path / "dicom"), "kinds": ["seg"]}
    asked = [
        *jobs,
        compare,
        compare,
        compare | {"studies": compare["studies"][:1], "output": str(tmp_path / "other")},
        export,
        export | {"kinds": ["pdf"]},
    ]
    lines = (one.model_dump_json() if isinstance(one, Job) else json.dumps(one) for one in asked)
    failed, said = answered(monkeypatch, "".join(f"{line}\n" for line in lines))
    _, _, compared, again, alone, exported, unknown = (one for one in said if one["event"] in {"result", "error"})
    comparison = TimePointComparison.model_validate(compared["result"]["comparison"])
    assert [one.kind.value for one in comparison.studies] == ["preoperative", "postoperative"]
    assert comparison.resection.extents[0].fraction == 0
    assert Path(compared["result"]["page"]).is_file()
    assert "exists already" in again["text"]
    assert "needs at least two studies" in alone["text"]
    assert "is no DICOM series" in exported["text"]
    assert "kinds.0" in unknown["text"]
    assert failed == 4
    assert not (tmp_path / "dicom").exists()


@pytest.fixture
def published(toy_files: Path, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy's file on a server, of which the card says the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *given: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=toy_files))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    content = json.loads(card_text(toy_zoo))
    content["weights"]["files"][0]["url"] = f"http://127.0.0.1:{server.server_port}/{toy.PUBLISHED_FILE}"
    card = checked_card(content)
    monkeypatch.setattr("GliomaSegLib.zoo.catalogue.all_cards", lambda: {card.id: card})
    yield
    server.shutdown()
    server.server_close()


def test_install(published: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"do": "install", "model": "toy", "store": str(tmp_path / "store")}
    failed, said = answered(monkeypatch, json.dumps(asked) + "\n")
    assert failed == 0, said
    assert said[0] == {"event": "stage", "name": "install"}
    assert said[-2] == {"event": "progress", "fraction": 1.0, "detail": "0.0 of 0.0 MB"}
    assert said[-1] == {
        "event": "result",
        "result": {"model": "toy", "folder": str(tmp_path / "store" / "toy"), "members": []},
    }
    assert Store(tmp_path / "store").is_installed(find_card("toy"))
    assert answered(monkeypatch, json.dumps(asked | {"model": "nnn"}))[1] == [
        {"event": "error", "kind": "InputError", "text": "There is no model 'nnn'; the zoo has toy."}
    ]


def test_install_without_a_network(
    toy_files: Path, toy_zoo: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("GliomaSegLib.zoo.catalogue.all_cards", lambda: {toy_zoo.id: toy_zoo})
    asked = {"do": "install", "model": "toy", "store": str(tmp_path / "store"), "source": str(tmp_path)}
    (said,) = (one for one in answered(monkeypatch, json.dumps(asked))[1] if one["event"] == "error")
    assert str(tmp_path / toy.PUBLISHED_FILE) in said["text"]
    said = answered(monkeypatch, json.dumps(asked | {"source": str(toy_files)}))[1]
    assert said[-1] == {
        "event": "result",
        "result": {"model": "toy", "folder": str(tmp_path / "store" / "toy"), "members": []},
    }
    assert Store(tmp_path / "store").is_installed(toy_zoo)


@pytest.mark.parametrize(
    ("second", "detail"), [(3_456_789, "5.9 of 23.5 MB"), (None, "weights.bin")], ids=["known", "not"]
)
def test_a_download_is_shown_in_megabytes_where_all_sizes_are_known(second: int | None, detail: str) -> None:
    files = [WeightFile(name="weights.bin", size_bytes=20_000_000), WeightFile(name="more.bin", size_bytes=second)]
    assert share_of_download(files, 0, 5_900_000, 20_000_000)[1] == detail


def test_wrong_job_file_of_another_program(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"study": "s", "model": "toy"}')
    ended = subprocess.run(
        [*COMMAND, "worker", tmp_path / "job.json"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    (line,) = ended.stdout.splitlines()
    assert json.loads(line) == {
        "event": "error",
        "kind": "InputError",
        "text": f"{tmp_path / 'job.json'} is not valid: output: Field required.",
    }


# --- a stop from outside -------------------------------------------------------------------------------------------

# The command line with the toy in its zoo; it says so and waits in the stage that its first argument names.
WAITING = """
import signal, sys, threading
from pathlib import Path
from GliomaSegLib.cli import main as cli
from GliomaSegLib.pipeline import run as pipeline
from GliomaSegLib.results import writing as results
from GliomaSegLib.zoo import catalogue, loaders
from GliomaSegLib.zoo.card_check import read_card
from Testing.support import toy

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
where, card_file, *arguments = sys.argv[1:]
loaders.FAMILIES["toy"] = loaders.Family("Testing.support.toy")
model = read_card(Path(card_file))
catalogue.all_cards = lambda: {model.id: model}

def wait(*given):
    print("waiting", file=sys.stderr, flush=True)
    threading.Event().wait(60)

if where == "network":
    toy.Thresholds.predict = wait
else:
    results.write_report = wait
sys.exit(cli.main(arguments))
"""


def stop_while_it_waits(where: str, card: Card, folder: Path, arguments: list[object], sent: int, text: str = ""):
    """Run the command line until it waits, send it a signal; returns its exit status, output and errors."""
    (folder / "card.json").write_text(card_text(card))
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, where, folder / "card.json", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        process.stdin.write(text)
        process.stdin.flush()
        errors = ""
        while "waiting" not in errors:
            line = process.stderr.readline()
            assert line, errors
            errors += line
        process.send_signal(sent)
        output, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, output, errors + rest


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without asking it")
@pytest.mark.parametrize(("where", "sent"), [("network", signal.SIGINT), ("report", signal.SIGTERM)])
def test_stopped_command_leaves_nothing_behind(
    toy_store: Store, toy_zoo: Card, tmp_path: Path, where: str, sent: int
) -> None:
    study = write_study(tmp_path / "study")
    arguments = ["segment", study, "--model", "toy", "-o", tmp_path / "results" / "out", "--store", toy_store.root]
    arguments += ["--brain", "stripped", "--no-registration"]
    status, output, errors = stop_while_it_waits(where, toy_zoo, tmp_path, arguments, sent)
    assert status == 130, errors
    assert output == ""
    assert errors.endswith("gliomaseg: stopped; nothing half-written is left.\n")
    assert "Traceback" not in errors
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without asking it")
def test_stopped_worker_does_not_go_on_to_the_next_job(toy_store: Store, toy_zoo: Card, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    (tmp_path / "results").mkdir()
    jobs = [toy_job(toy_store, tmp_path / "results" / name, study=study) for name in ("a", "b")]
    lines = "".join(map(line_of, jobs))
    status, output, _ = stop_while_it_waits("report", toy_zoo, tmp_path, ["worker", "-"], signal.SIGTERM, lines)
    assert status == 130
    ends = [line for line in map(json.loads, output.splitlines()) if line["event"] in {"result", "error"}]
    assert [line["kind"] for line in ends] == ["Cancelled"]
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without asking it")
def test_cancelled_by_its_client_the_worker_leaves_nothing(toy_store: Store, toy_zoo: Card, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(card_text(toy_zoo))
    job = toy_job(toy_store, tmp_path / "results" / "out", study=write_study(tmp_path / "study"))
    command = [sys.executable, "-c", WAITING, "report", str(tmp_path / "card.json"), "worker", "-"]
    client = WorkerProcess(command, tmp_path / "log", os.environ | {"PYTHONPATH": str(ROOT)})
    task = client.start(job.model_dump(mode="json"))

    def cancel_when_it_writes(event: Event) -> None:
        if event.text == "measures and report":
            until_said(tmp_path / "log", "waiting")
            assert list((tmp_path / "results").iterdir()), "it has begun to write"
            task.cancel()

    with pytest.raises(Cancelled):
        task.wait(cancel_when_it_writes)
    assert list((tmp_path / "results").iterdir()) == []
    assert "stopped; nothing half-written is left" in (tmp_path / "log").read_text()
    client.close()


def until_said(log: Path, word: str) -> None:
    end = time.monotonic() + 30
    while word not in log.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
