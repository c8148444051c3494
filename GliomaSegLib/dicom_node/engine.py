"""The engine: processes complete studies into answers that are ready to be sent, one step per tick.

The clock and the worker are arguments, so that a test needs no time and no network. The study's row in the queue is its
state, and the output of a step appears as a whole: a step that was interrupted by a kill is repeated, or found done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydicom import dcmread

from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.completeness import Completeness
from GliomaSegLib.dicom_node.config import Config
from GliomaSegLib.dicom_node.drift import record_of
from GliomaSegLib.dicom_node.header import StudyHeader, read_header
from GliomaSegLib.dicom_node.queue import SETTLED, Origin, Queue, State, Study
from GliomaSegLib.dicom_node.receiver import Receiver
from GliomaSegLib.dicom_node.retention import Retention
from GliomaSegLib.dicom_node.rules import Rule
from GliomaSegLib.dicom_node.storage import Storage
from GliomaSegLib.dicom_node.transitions import Transitions
from GliomaSegLib.dicom_node.triage import Triage
from GliomaSegLib.errors import Cancelled
from GliomaSegLib.io.folder import MANIFEST, is_result_folder
from GliomaSegLib.results.layout import MEASURES_JSON
from GliomaSegLib.worker.client import Task, WorkerError

_RETRY_S = 60.0
_LOOKS_S = 2.0  # between two checks of the running study

# The kinds of errors that the study itself causes; trying again would fail again.
_OF_THE_STUDY = ("InputError", "WeightsError")

_FAILED = "GliomaSeg failed unexpectedly with it; report that with the log, and start the node with --again later"

_PAUSE_S = 0.05


class Worker(Protocol):
    """What :class:`~GliomaSegLib.worker.client.WorkerProcess` offers."""

    def start(self, request: Mapping[str, Any]) -> Task:
        """Hand over a request."""

    def close(self) -> None:
        """End it."""


@dataclass
class _Running:
    """The current step of the worker: a study's segmentation or export; times are monotonic."""

    study: Study
    header: StudyHeader
    step: Literal["segment", "export"]
    task: Task
    began: float
    looked: float
    overdue: bool = False


@dataclass
class StepCounts:
    """The number of finished steps and their total duration in seconds."""

    runs: int = 0
    seconds: float = 0.0


class Engine:
    """Processes the studies of one queue; not thread-safe.

    Args:
        before_clearing: called with a study before its images are deleted to make room; a GliomaSegError keeps them.
    """

    def __init__(
        self,
        config: Config,
        rules: Sequence[Rule],
        storage: Storage,
        queue: Queue,
        receiver: Receiver,
        completeness: Completeness,
        worker: Worker,
        clock: Clock,
        before_clearing: Callable[[Study], None] = lambda study: None,
    ) -> None:
        self._config, self._rules, self._storage, self._queue = config, rules, storage, queue
        self._receiver, self._completeness, self._worker, self._clock = receiver, completeness, worker, clock
        self._transitions = Transitions(queue, storage, clock)
        self._triage = Triage(config, rules, storage, queue, completeness, self._transitions)
        self._retention = Retention(storage, queue, clock, config.keep, before_clearing)
        self._running: _Running | None = None
        self._not_before: dict[str, float] = {}
        self.steps = StepCounts()

    @property
    def busy(self) -> bool:
        """Whether the worker is busy."""
        return self._running is not None

    def recover(self) -> None:
        """Make the queue agree with the disk: after a start, and when a storage that was gone is back.

        Raises:
            StorageError: the storage is gone.
        """
        self._storage.check()
        self._storage.sweep()
        rules = json.dumps([self._config.kinds, *(rule.model_dump(mode="json") for rule in self._rules)])
        changed = self._queue.recall("rules") not in (None, rules)
        known = {study.key: study for study in self._queue.studies()}
        for study in known.values():
            with self._transitions.failing(study, _FAILED):
                self._recover(study, changed)
        self._queue.remember("rules", rules)
        for key in self._storage.studies():
            if key not in known:
                self._adopt(key)

    def again(self) -> None:
        """Process the studies again that failed or that no rule fitted.

        Raises:
            StorageError: the storage is gone.
        """
        for study in self._queue.studies((State.FAILED, State.UNMATCHED)):
            if not study.cleared and self._storage.image_files(study.key):
                self._receiver.reopen(study.key, study.uid, study.origin)

    def tick(self) -> bool:
        """Do the steps that are possible now, without waiting; whether there was one.

        Raises:
            StorageError: the storage is gone.
        """
        self._storage.check()
        decided = self._triage.decide()
        ended = self._follow()
        self._retention.make_room()
        return self._begin() or decided or ended

    def stop(self) -> None:
        """Cancel the case that runs; it is processed again after the next start."""
        if self._running is not None:
            self._running.task.cancel()
            while not self._running.task.done:
                time.sleep(_PAUSE_S)
            self._running = None

    # --- after a start ----------------------------------------------------------------------------------------------

    def _recover(self, study: Study, rules_changed: bool) -> None:
        if study.cleared and study.state in SETTLED:
            self._storage.clear(study.key)
            return
        count = len(self._storage.image_files(study.key))
        if study.state is State.ARRIVING:
            self._completeness.image_received(study.key)
            self._completeness.sender_aborted(study.key, study.broken_off)
        elif count > study.images:  # one was written in the moment of the kill
            self._receiver.reopen(study.key, study.uid, study.origin)
        elif (
            rules_changed
            and study.state in (State.WAITING, State.RUNNING)
            and not is_result_folder(self._storage.results(study.key, study.revision))
        ):
            self._completeness.image_received(study.key)
            self._transitions.move(study, State.ARRIVING, "The rules were changed and are applied again.")

    def _adopt(self, key: str) -> None:
        """Queue images whose study is not in the queue: the node was killed, or the queue was damaged and made anew."""
        for path in self._storage.image_files(key):
            try:
                uid = str(dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
            except Exception:  # pydicom raises whatever comes of a malformed file
                continue
            origin: Origin = "orthanc" if self._config.receive is None else "dicom"
            self._receiver.reopen(key, uid, origin, self._storage.current_revision(key))
            return
        self._storage.clear(key)

    # --- the worker -------------------------------------------------------------------------------------------------

    def _begin(self) -> bool:
        if self._running is not None:
            return False
        for left in self._queue.studies((State.RUNNING,)):  # the node was killed, or its disk was full at the end
            self._transitions.move(left, State.WAITING)
        now = self._clock.monotonic()
        due = [one for one in self._queue.studies((State.WAITING,)) if self._not_before.get(one.key, now) <= now]
        # What was begun most often comes last, so that a study that brings the computer down holds up no other.
        study = min(due, key=lambda one: (one.starts, one.turn), default=None)
        if study is None:
            return False
        self._storage.check_room()
        running = self._transitions.move(study, State.RUNNING, starts=study.starts + 1)
        if running is not None:
            self._go_on(running)
        return True

    def _go_on(self, study: Study) -> None:
        """Start the next step, as determined by the files on the disk."""
        with self._transitions.failing(study, "Its files on the node cannot be read; send it again"):
            self._start(study, read_header(self._storage.images(study.key)))

    def _start(self, study: Study, header: StudyHeader) -> None:
        results, answers = self._where(study)
        now = self._clock.monotonic()
        if answers.exists():
            self._transitions.move(study, State.SENDING)
        elif is_result_folder(results):
            self._keep_figures(study, results, header)
            task = self._worker.start(self._export(study, results, answers))
            self._running = _Running(study, header, "export", task, now, now)
        else:
            task = self._worker.start(self._segment(study, results))
            self._running = _Running(study, header, "segment", task, now, now)

    def _segment(self, study: Study, results: Path) -> dict[str, Any]:
        machine = {"device": self._config.device, "threads": self._config.threads}
        own = {"study": str(self._storage.images(study.key)), "output": str(results), "case_id": study.key}
        return {"do": "segment", "model": "auto"} | machine | study.plan["job"] | own

    def _export(self, study: Study, results: Path, answers: Path) -> dict[str, Any]:
        how = {"kinds": list(study.plan["kinds"]), "by": self._config.by}
        return {"do": "export", "results": str(results), "output": str(answers)} | how

    def _where(self, study: Study) -> tuple[Path, Path]:
        return self._storage.results(study.key, study.revision), self._storage.answers(study.key, study.revision)

    def _follow(self) -> bool:
        running = self._running
        if running is None:
            return False
        if not running.task.done:
            self._watch(running)
            return False
        running.task.poll()
        self._running = None
        self.steps.runs += 1
        self.steps.seconds += self._clock.monotonic() - running.began
        with self._transitions.failing(running.study, _FAILED):
            self._on_end(running)
        return True

    def _on_end(self, running: _Running) -> None:
        try:
            _ = running.task.result
        except WorkerError as error:
            self._failed(running, error)
        except Cancelled:
            self._cancelled(running)
        else:
            if self._is_current(running.study):
                self._go_on(running.study)

    def _watch(self, running: _Running) -> None:
        """Cancel a step that is of no use any more (images came late, or were deleted), or that takes too long."""
        now = self._clock.monotonic()
        if now - running.looked < _LOOKS_S:
            return
        running.looked = now
        study = running.study
        running.overdue = now - running.began > self._config.longest_s
        deleted = len(self._storage.image_files(study.key)) < study.images
        if running.overdue or deleted or not self._is_current(study):
            running.task.cancel()

    def _is_current(self, study: Study) -> bool:
        """Whether the study's version and state in the queue are still those of ``study``."""
        now = self._queue.study(study.key)
        return now is not None and (now.revision, now.state) == (study.revision, study.state)

    def _cancelled(self, running: _Running) -> None:
        study = running.study
        self._storage.check()
        if running.overdue:
            sentence = f"The worker had not ended after {self._config.longest_s / 60:.0f} minutes and was stopped."
            self._failed(running, WorkerError(sentence))
        elif len(self._storage.image_files(study.key)) < study.images:
            self._withdraw(study)
        else:
            self._transitions.move(study, State.WAITING)  # nothing happens if it has become a new version

    def _withdraw(self, study: Study) -> None:
        self._transitions.move(study, State.WITHDRAWN, "Its images were deleted from the node while it ran.")

    def _failed(self, running: _Running, error: WorkerError) -> None:
        study = running.study
        self._storage.check_room()  # a full or missing disk is not the study's failure: it waits
        results, answers = self._where(study)
        made = is_result_folder(results) if running.step == "segment" else answers.exists()
        if made and self._is_current(study):
            # The worker of a node that was killed before had gone on, and finished before this one.
            self._go_on(study)
            return
        if len(self._storage.image_files(study.key)) < study.images:
            self._withdraw(study)
            return
        sentence = running.header.shown(str(error)).replace(str(self._storage.folder), "the node's folder")
        failures = study.failures + 1
        if error.kind in _OF_THE_STUDY or failures > self._config.retries:
            self._transitions.move(study, State.FAILED, sentence, failures=failures)
            return
        self._not_before[study.key] = self._clock.monotonic() + _RETRY_S * failures
        self._transitions.move(study, State.WAITING, f"It is tried again: {sentence}", failures=failures)

    def _keep_figures(self, study: Study, results: Path, header: StudyHeader) -> None:
        manifest = json.loads((results / MANIFEST).read_bytes())
        measures = json.loads((results / MEASURES_JSON).read_bytes())
        self._queue.finish(study, record_of(manifest, measures, header), self._clock.wall())
