"""The client of :mod:`GliomaSegLib.worker.server`: starts the process, sends requests, reads events, and ends it.

Standard library only, and never blocks, so that the panel can use it in Slicer: a thread reads the events, and a timer
of the caller fetches them by :meth:`Task.poll`.

>>> worker = WorkerProcess(worker_command(Path(sys.executable)), log=Path("worker.log"))
>>> task = worker.start({"study": "study", "model": "ca-cnn-brats17", "output": "results"})
>>> result = task.wait(on_event=print)
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, cast

from GliomaSegLib.errors import Cancelled, GliomaSegError
from GliomaSegLib.io.folder import clear_up, unfinished

GRACE_S = 3.0
"""Seconds that a process may take to clean up after it was asked to stop; then it is killed."""

_LARGEST_LOG_BYTES = 4 << 20
_LONGEST_LINE = 64 << 20  # characters; the answer to a comparison of many lesions has some thousands
_LONGEST_NOTE = 2000
_ANSWERS = ('{"event": "result"', '{"event": "error"')
_WINDOWS = sys.platform == "win32"
_NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # only on Windows
_STOPPED = "Stopped; nothing half-written is left."

# Runs a module of this package, whatever the interpreter has installed; its folder is appended to the search path, so
# that it does not precede the packages of the interpreter.
_RUN_MODULE = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


class WorkerError(GliomaSegError):
    """The worker refused a request, or ended without an answer. ``kind`` is the name of the error in the worker."""

    def __init__(self, sentence: str, kind: str = "WorkerError") -> None:
        super().__init__(sentence)
        self.kind = kind


@dataclass(frozen=True)
class Event:
    """One event of the worker.

    Attributes:
        text: the name of the stage, the detail of the progress, the warning or the error; empty for a result.
        fraction: of the current stage, 0 to 1; only of a progress.
    """

    kind: Literal["stage", "progress", "warning", "result", "error"]
    text: str = ""
    fraction: float | None = None


def worker_command(python: Path) -> list[str]:
    """The command that starts the worker with the interpreter ``python`` (in Slicer: PythonSlicer)."""
    return [str(python), "-c", _RUN_MODULE, str(Path(__file__).resolve().parents[1]), "GliomaSegLib", "worker", "-"]


class Task:
    """One request, its events and its result, made by :meth:`WorkerProcess.start`; not thread-safe."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._result: dict[str, Any] = {}
        self._error: GliomaSegError | None = None
        self._stop: Callable[[], None] = lambda: None
        self._output = Path(request["output"]).expanduser().absolute() if request.get("output") else None
        self._of_others = unfinished(self._output) if self._output else set()
        self._stopped = False

    @property
    def done(self) -> bool:
        """Whether there is an answer, or the request has failed; :meth:`poll` may still return events."""
        return self._ended.is_set()

    @property
    def result(self) -> dict[str, Any]:
        """The answer as JSON; of a job a :class:`~GliomaSegLib.results.job_result.JobResult`.

        Raises:
            RuntimeError: it is not done.
            WorkerError: it failed; the text is one sentence.
            Cancelled: it was cancelled.
        """
        if not self.done:
            raise RuntimeError("the request is not done")
        if self._error is not None:
            raise self._error
        return self._result

    def poll(self) -> list[Event]:
        """The events since the last call; returns at once. The last event is a ``result`` or an ``error``."""
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    def wait(self, on_event: Callable[[Event], None] | None = None) -> dict[str, Any]:
        """Wait for the answer, calling ``on_event`` with every event; an exception cancels the request.

        Raises:
            WorkerError: it failed; the text is one sentence.
            Cancelled: it was cancelled.
        """
        try:
            while not (self.done and self._events.empty()):
                with contextlib.suppress(queue.Empty):
                    event = self._events.get(timeout=0.1)  # without a timeout, Windows ignores Ctrl-C
                    if on_event is not None:
                        on_event(event)
        except BaseException:
            self.cancel()
            raise
        return self.result

    def cancel(self) -> None:
        """End the worker with all its child processes. Returns at once; the task is done when they have ended.

        An answer that arrives before that is used, as its results are written.
        """
        if not self.done and not self._stopped:
            self._stopped = True
            self._stop()

    def _begin(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def _on_message(self, message: Mapping[str, Any]) -> None:
        kind, text = message["event"], str(message.get("text", ""))
        if self.done:
            raise ValueError("an event after the answer")
        if kind == "result":
            self._result = message["result"]
            self._end(Event("result"))
        elif kind == "error" and message.get("kind") == Cancelled.__name__:
            self._stopped = True  # done only when the process has ended, so that no second one is started beside it
        elif kind == "error":
            self._fail(WorkerError(text, str(message.get("kind"))))
        elif kind == "stage":
            self._events.put(Event("stage", str(message["name"])))
        elif kind == "progress":
            self._events.put(Event("progress", str(message.get("detail", "")), float(message["fraction"])))
        elif kind == "warning":
            self._events.put(Event("warning", text))
        else:
            raise ValueError(f"unknown event {kind}")

    def _on_unreadable_answer(self) -> None:
        if not self.done:
            self._fail(WorkerError("The worker's answer cannot be read; its beginning is in the log."))

    def _process_ended(self, sentence: str) -> None:
        if self.done:
            return
        if self._output is not None:  # what it was writing when it was killed
            clear_up(self._output, unfinished(self._output) - self._of_others)
        self._fail(Cancelled(_STOPPED) if self._stopped else WorkerError(sentence))

    def _fail(self, error: GliomaSegError) -> None:
        self._error = error
        self._end(Event("error", str(error)))

    def _end(self, event: Event) -> None:
        self._events.put(event)
        self._ended.set()


class WorkerProcess:
    """A worker that is started by the first request and kept for the next ones, with its network loaded.

    Args:
        command: starts the worker; see :func:`worker_command`.
        log: file to which its standard error is appended; its folder is made.
        environment: of the process; by default that of this process.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._log = Path(log).absolute()
        self._environment = dict(environment) if environment is not None else None
        self._process: _Process | None = None
        self._task: Task | None = None

    def start(self, request: Mapping[str, Any]) -> Task:
        """Send a request, such as a :class:`~GliomaSegLib.job.Job`, as plain data.

        If the process cannot be started, that is an error of the task, like other failures.

        Raises:
            RuntimeError: the last request is not done yet.
        """
        if self._task is not None and not self._task.done:
            raise RuntimeError("the worker is busy: wait for its task, or cancel it")
        line = json.dumps(request, default=str)  # str: of paths; ASCII is independent of the encoding of the pipe
        self._task = task = Task(request)
        try:
            self._hand_over(task, line)
        except OSError as error:
            what = error.strerror or error
            task._fail(WorkerError(f"The worker '{self._command[0]}' could not be started ({what}); log: {self._log}."))
        return task

    def close(self) -> None:
        """Cancel the request, end the process and its children, and wait for their end."""
        if self._task is not None:
            self._task.cancel()
        if self._process is not None:
            self._process.close()
            self._process = None

    def _hand_over(self, task: Task, line: str) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):  # it ended without a request
                self._process.take(task, line)
                return
        self._process = _Process(self._command, self._log, self._environment)
        self._process.take(task, line)


class _Process:
    """One running worker, with a thread that reads its events and one that waits for its end."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None) -> None:
        self._log = log
        self._task: Task | None = None
        self._stopping = self._gone = False
        self._lock = threading.Lock()
        with _opened_log(log) as stderr:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment,
                encoding="utf-8", errors="replace", bufsize=1,
                # A process group of its own, so that it can be ended with all its children.
                start_new_session=not _WINDOWS, creationflags=_NO_WINDOW,
            )  # fmt: skip
        self._stdin, self._stdout = cast(IO[str], self._popen.stdin), cast(IO[str], self._popen.stdout)  # both piped
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._reader.start()
        self._watcher.start()

    def take(self, task: Task, line: str) -> None:
        """Send it a request.

        Raises:
            OSError: it has ended, or is about to.
        """
        with self._lock:
            if self._stopping or self._gone or self._popen.poll() is not None:
                raise BrokenPipeError
            self._task = task
            task._begin(self.stop)
        try:
            self._stdin.write(line + "\n")
            self._stdin.flush()
        except OSError:  # it has just ended, and cannot answer
            with self._lock:
                if task.done:
                    return
                self._task = None
            raise

    def stop(self) -> None:
        """Begin to end it; returns at once."""
        self._stopping = True
        threading.Thread(target=self._end_gently).start()

    def close(self) -> None:
        """End it and wait."""
        if self._task is None or self._task.done:
            _kill_tree(self._popen)  # idle: nothing to clean up
        else:
            self._end_gently()
        self._watcher.join()

    def _end_gently(self) -> None:
        _ask_tree_to_stop(self._popen)
        try:
            self._popen.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            _kill_tree(self._popen)

    def _read(self) -> None:
        while line := self._stdout.readline(_LONGEST_LINE):
            task = self._task
            try:
                cast(Task, task)._on_message(json.loads(line))
            except Exception:  # output of a library, or too deeply nested JSON
                self._note(line[:_LONGEST_NOTE])
                if task is not None and line.startswith(_ANSWERS):
                    task._on_unreadable_answer()

    def _watch(self) -> None:
        status = self._popen.wait()
        _kill_tree(self._popen)  # children may outlive a crash and keep the pipe open
        self._reader.join()
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._stdout.close()
        with self._lock:
            self._gone = True
            if self._task is not None:
                self._task._process_ended(_why_it_ended(status, self._log))

    def _note(self, line: str) -> None:
        with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
            log.write(f"(standard output) {line.rstrip()}\n")


@contextlib.contextmanager
def _opened_log(log: Path) -> Iterator[Any]:
    log.parent.mkdir(parents=True, exist_ok=True)
    too_long = log.is_file() and log.stat().st_size > _LARGEST_LOG_BYTES
    with log.open("w" if too_long else "a", encoding="utf-8") as stream:
        stream.write(f"--- worker started {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        stream.flush()
        yield stream


def _why_it_ended(status: int, log: Path) -> str:
    """The sentence for a process that ended with ``status`` without an answer."""
    number = -status if status < 0 else status - 128 if 128 < status < 160 else 0  # a launcher gives 128 + signal
    if number == getattr(signal, "SIGKILL", 9):
        return (
            "The worker was killed, most likely because the computer ran out of memory; close other programs and try "
            f"again (log: {log})."
        )
    if number:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"The worker crashed ({name}); try again, and if it persists report it with its log {log}."
    last = _last_line(log)
    return f"The worker ended without an answer (exit status {status}{last and f'; {last}'}); its log is {log}."


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 2000))
            lines = stream.read().decode("utf-8", "replace").split("--- worker started")[-1].splitlines()[1:]
    except OSError:
        return ""
    return next((line.strip()[:200].rstrip(".") for line in reversed(lines) if line.strip()), "")


# --- ending a process with its children -----------------------------------------------------------------------------


def _ask_tree_to_stop(process: subprocess.Popen) -> None:
    if _WINDOWS:  # cannot ask a process without a window
        _kill_tree(process)
    else:
        _signal_group(process, signal.SIGTERM)


def _kill_tree(process: subprocess.Popen) -> None:
    if _WINDOWS:
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(process.pid)],
            capture_output=True, check=False, creationflags=_NO_WINDOW,
        )  # fmt: skip
    else:
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM when only zombies are left
        os.killpg(process.pid, number)
