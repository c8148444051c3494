"""The client of the worker: what comes back of a request, however the process behaves, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from GliomaSegLib.errors import Cancelled
from GliomaSegLib.worker import client as worker_process
from GliomaSegLib.worker.client import Event, Task, WorkerError, WorkerProcess, worker_command

ROOT = Path(__file__).parents[2]
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals between processes")

# Every fake worker answers one line of standard input after the other; what it does is in the request.
FAKE = """
import json, os, signal, subprocess, sys, time
sys.path.append(sys.argv[1])

def say(event, **content):
    print(json.dumps({"event": event, **content}), flush=True)

for line in sys.stdin:
    request = json.loads(line)
    do = request.get("do")
    if do == "crash":
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), request["signal"])
    elif do == "leave":
        print(request["last"], file=sys.stderr, flush=True)
        sys.exit(3)
    elif do == "sleep":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        if request.get("deaf"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say("progress", fraction=0.5, detail=f"{os.getpid()} {child.pid}")
        if request.get("crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
    elif do == "write":
        from pathlib import Path
        from GliomaSegLib.io.folder import written_whole
        with written_whole(Path(request["output"]), overwrite=True) as folder:
            (folder / "half").write_text("x")
            say("progress", fraction=0.5, detail="writing")
            time.sleep(600)
    elif do == "late":
        def answer(*given):
            say("result", result={"pid": os.getpid()})
            time.sleep(600)
        signal.signal(signal.SIGTERM, answer)
        say("progress", fraction=0.5, detail="nearly")
        time.sleep(600)
    elif do == "refuse":
        say("error", kind="InputError", text="That cannot be.")
    else:
        if do == "garbage":
            print("Loading library 1.2\\n{broken\\n[1]\\n{\\"event\\": \\"dance\\"}\\n{\\"no\\": 1}", flush=True)
            sys.stdout.buffer.write(b"\\xff\\xfe\\n")
        if do == "nested":
            print("[" * 100_000, flush=True)
        if do == "nested answer":
            print('{"event": "result", "result": ' + "[" * 100_000, flush=True)
            time.sleep(600)
        say("stage", name="reading")
        say("progress", fraction=0.25, detail="T1")
        say("warning", text="Mind the gap.")
        say("result", result={"pid": os.getpid(), "asked": request})
"""

Answer = list[Event]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "worker.log"


@pytest.fixture
def worker(tmp_path: Path, log: Path) -> Iterator[WorkerProcess]:
    """The fake worker behind the client."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    process = WorkerProcess([sys.executable, str(script), str(ROOT)], log)
    yield process
    process.close()


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def first_progress(task: Task) -> str:
    """The detail of the first progress that the worker reports."""
    answers: Answer = []
    until(lambda: answers.extend(task.poll()) or [one for one in answers if one.kind == "progress"])
    return next(one.text for one in answers if one.kind == "progress")


def is_gone(pid: int) -> bool:
    """Whether no process has this id, or only one that has ended and waits to be read."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):  # it went between two looks
        return True


def test_what_is_said_and_the_answer(worker: WorkerProcess) -> None:
    task = worker.start({"study": Path("/data/Müller"), "output": "o"})
    answers: Answer = []
    result = task.wait(answers.append)
    assert answers == [
        Event("stage", "reading"),
        Event("progress", "T1", 0.25),
        Event("warning", "Mind the gap."),
        Event("result"),
    ]
    assert result["asked"] == {"study": str(Path("/data/Müller")), "output": "o"}
    assert task.done
    assert task.result is result
    assert task.poll() == []


def test_poll_never_blocks_and_gives_each_event_once(worker: WorkerProcess) -> None:
    task = worker.start({"do": "sleep"})
    began = time.perf_counter()
    task.poll()
    assert time.perf_counter() - began < 0.05
    assert not task.done
    with pytest.raises(RuntimeError, match="not done"):
        _ = task.result
    first_progress(task)
    assert task.poll() == []


def test_one_process_serves_one_request_after_the_other(worker: WorkerProcess) -> None:
    first = worker.start({}).wait()
    assert worker.start({"do": "garbage"}).wait()["pid"] == first["pid"]


def test_only_one_request_at_a_time(worker: WorkerProcess) -> None:
    task = worker.start({"do": "sleep"})
    with pytest.raises(RuntimeError, match="busy"):
        worker.start({})
    task.cancel()
    with pytest.raises(Cancelled):
        task.wait()
    assert worker.start({}).wait()["pid"]


def test_refusal_is_an_error_of_the_request_alone(worker: WorkerProcess) -> None:
    pid = worker.start({}).wait()["pid"]
    task = worker.start({"do": "refuse"})
    with pytest.raises(WorkerError, match=r"^That cannot be\.$") as refused:
        task.wait()
    assert refused.value.kind == "InputError"
    assert worker.start({}).wait()["pid"] == pid


def test_what_is_no_event_goes_to_the_log(worker: WorkerProcess, log: Path) -> None:
    answers: Answer = []
    worker.start({"do": "garbage"}).wait(answers.append)
    assert [one.kind for one in answers] == ["stage", "progress", "warning", "result"]
    kept = log.read_text(encoding="utf-8")
    for line in ("Loading library 1.2", "{broken", "[1]", '{"event": "dance"}', '{"no": 1}', "\ufffd"):
        assert f"(standard output) {line}" in kept


# --- a process that ends by itself ---------------------------------------------------------------------------------


def test_a_line_that_is_nested_without_end_is_passed_over(worker: WorkerProcess, log: Path) -> None:
    """It raises RecursionError in json, which once ended the thread that reads, and the task waited for ever."""
    assert worker.start({"do": "nested"}).wait()["asked"] == {"do": "nested"}
    assert "(standard output) [[[" in log.read_text()
    assert max(map(len, log.read_text().splitlines())) < 3000


def test_an_answer_that_cannot_be_read_is_an_error(worker: WorkerProcess) -> None:
    with pytest.raises(WorkerError, match="The worker's answer cannot be read"):
        worker.start({"do": "nested answer"}).wait()


@POSIX
@pytest.mark.parametrize(
    ("number", "sentence"),
    [(9, "most likely because the computer ran out of memory"), (11, r"The worker crashed \(SIGSEGV\)")],
)
def test_crash_is_one_sentence_with_the_log(worker: WorkerProcess, log: Path, number: int, sentence: str) -> None:
    pid = worker.start({}).wait()["pid"]
    task = worker.start({"do": "crash", "signal": number})
    answers: Answer = []
    with pytest.raises(WorkerError, match=sentence) as failed:
        task.wait(answers.append)
    text = str(failed.value)
    assert str(log) in text
    assert "\n" not in text
    assert [one.kind for one in answers] == ["error"]
    assert answers[0].text == text
    assert "about to crash" in log.read_text()
    assert worker.start({}).wait()["pid"] != pid, "the next request starts another process"


@POSIX
def test_children_of_a_crashed_worker_are_ended(worker: WorkerProcess) -> None:
    task = worker.start({"do": "sleep", "crash": True})
    child = int(first_progress(task).split()[1])
    with pytest.raises(WorkerError):  # although the child holds the pipe of standard output
        task.wait()
    until(lambda: is_gone(child))


def test_worker_that_dies_before_it_answers(worker: WorkerProcess, log: Path) -> None:
    task = worker.start({"do": "leave", "last": "ModuleNotFoundError: No module named 'torch'."})
    with pytest.raises(WorkerError) as failed:
        task.wait()
    assert str(failed.value) == (
        "The worker ended without an answer (exit status 3; ModuleNotFoundError: No module named 'torch'); "
        f"its log is {log}."
    )


def test_worker_that_ended_while_idle_is_started_again(worker: WorkerProcess) -> None:
    pid = worker.start({}).wait()["pid"]
    os.kill(pid, signal.SIGTERM)
    until(lambda: is_gone(pid))
    assert worker.start({}).wait()["pid"] != pid


def test_command_that_does_not_exist(tmp_path: Path) -> None:
    process = WorkerProcess([str(tmp_path / "nothing")], tmp_path / "log")
    task = process.start({})
    assert task.done
    assert [one.kind for one in task.poll()] == ["error"]
    with pytest.raises(WorkerError, match=r"nothing' could not be started \(No such file or directory\); log: "):
        task.wait()
    process.close()


# --- a process that is ended ---------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("deaf", [False, True])
def test_cancel_ends_the_whole_tree(worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, deaf: bool) -> None:
    monkeypatch.setattr(worker_process, "GRACE_S", 0.3)
    task = worker.start({"do": "sleep", "deaf": deaf})
    pids = [int(word) for word in first_progress(task).split()]
    began = time.perf_counter()
    task.cancel()
    task.cancel()
    assert time.perf_counter() - began < 0.05, "the caller does not wait"
    with pytest.raises(Cancelled, match="nothing half-written"):
        task.wait()
    until(lambda: all(is_gone(pid) for pid in pids), 1)
    assert [one.kind for one in task.poll()] == []


@POSIX
def test_answer_that_comes_while_it_is_cancelled_counts(worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "GRACE_S", 1)
    task = worker.start({"do": "late"})
    first_progress(task)
    task.cancel()
    pid = task.wait()["pid"]
    assert worker.start({}).wait()["pid"] != pid, "not given to the process that is being ended"
    until(lambda: is_gone(pid))


def test_cancel_after_the_end_changes_nothing(worker: WorkerProcess) -> None:
    task = worker.start({})
    result = task.wait()
    task.cancel()
    assert task.result is result
    assert worker.start({}).wait()["pid"] == result["pid"]


@pytest.mark.parametrize("before", [True, False], ids=["replacing", "new"])
def test_killed_worker_leaves_nothing_half_written(
    worker: WorkerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr(worker_process, "_ask_tree_to_stop", worker_process._kill_tree)  # as on Windows
    results = tmp_path / "results"
    (results / ".out.stranger.partial").mkdir(parents=True)  # of somebody else, who may be at work
    if before:
        (results / "out").mkdir()
        (results / "out" / "manifest.json").write_text('{"program": "GliomaSeg"}')
    task = worker.start({"do": "write", "output": str(results / "out")})
    first_progress(task)
    assert len(list(results.glob(".out.*.partial"))) == 2
    task.cancel()
    with pytest.raises(Cancelled):
        task.wait()
    assert sorted(path.name for path in results.iterdir()) == [".out.stranger.partial", *(["out"] if before else [])]


def test_results_that_were_being_replaced_are_put_back(worker: WorkerProcess, tmp_path: Path) -> None:
    output = tmp_path / "results" / "out"
    output.parent.mkdir()
    task = worker.start({"do": "sleep", "output": output})
    first_progress(task)
    (output.parent / ".out.x.old" / "out").mkdir(parents=True)
    task.cancel()
    with pytest.raises(Cancelled):
        task.wait()
    assert list(output.parent.iterdir()) == [output]


def test_what_interrupts_the_waiting_cancels(worker: WorkerProcess) -> None:
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    task = worker.start({"do": "sleep"})
    with pytest.raises(KeyboardInterrupt):
        task.wait(interrupted)
    until(lambda: task.done)
    with pytest.raises(Cancelled):
        _ = task.result


def test_close_ends_an_idle_and_a_busy_process(worker: WorkerProcess) -> None:
    pid = worker.start({}).wait()["pid"]
    worker.close()
    assert is_gone(pid)
    task = worker.start({"do": "sleep"})
    pids = [int(word) for word in first_progress(task).split()]
    worker.close()
    until(lambda: all(is_gone(pid) for pid in pids), 1)
    assert task.done
    worker.close()


def test_own_environment(tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text(
        "import json, os\ninput()\n"
        'print(json.dumps({"event": "result", "result": dict(os.environ)}), flush=True)\ninput()'
    )
    environment = {"PATH": os.environ["PATH"], "GLIOMASEG_MODELS": "/m"} | (
        {"SYSTEMROOT": os.environ["SYSTEMROOT"]} if os.name == "nt" else {}
    )
    process = WorkerProcess([sys.executable, str(script)], tmp_path / "log", environment)
    received = process.start({}).wait()
    process.close()
    assert received["GLIOMASEG_MODELS"] == "/m"
    assert "PYTEST_CURRENT_TEST" not in received


def test_log_does_not_grow_for_ever(worker: WorkerProcess, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.start({}).wait()
    worker.close()
    log.write_text("long ago")
    worker.start({}).wait()
    worker.close()
    assert log.read_text().startswith("long ago--- worker started ")
    monkeypatch.setattr(worker_process, "_LARGEST_LOG_BYTES", 3)
    worker.start({}).wait()
    assert log.read_text().startswith("--- worker started ")


# --- what an application may import that lacks our packages ----------------------------------------------------------

LIGHT = (
    "GliomaSegLib.case",
    "GliomaSegLib.errors",
    "GliomaSegLib.study.identification",
    "GliomaSegLib.io.terminology",
    "GliomaSegLib.labels",
    "GliomaSegLib.worker.client",
    "GliomaSegLib.options",
    "GliomaSegLib.zoo.recommend",
    "GliomaSegLib.zoo.store",
)
STANDARD_LIBRARY = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in {"GliomaSegLib"} | set(sys.stdlib_module_names) | {"_distutils_hack"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
for name in sys.argv[1:]:
    importlib.import_module(name)
from GliomaSegLib.study.identification import assign_names
from GliomaSegLib.io.terminology import segment_styles
print([guess.id for guess in assign_names({"a": "AX FLAIR"}).values()], len(segment_styles()))
print(*sorted({name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""


def test_light_modules_need_the_standard_library_alone() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STANDARD_LIBRARY, *LIGHT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    works, loaded = ended.stdout.splitlines()
    assert works == "['a'] 4"
    assert "GliomaSegLib" in loaded.split()
    assert not {"numpy", "SimpleITK", "nibabel", "pydantic", "pydicom", "torch"} & set(loaded.split())


# --- the real worker -----------------------------------------------------------------------------------------------


def test_command_starts_the_real_worker_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = WorkerProcess(worker_command(Path(sys.executable)), tmp_path / "log", environment)
    with pytest.raises(WorkerError, match=r"^Line 1 of the input is not valid: output: Field required\.$"):
        process.start({"study": "s"}).wait()
    process.close()
