"""The engine: from a complete study to an answer that is ready to be sent, one step per tick.

The clock and the worker are handed in, so that a test needs no time and no network. The study's row in the queue is its
state, and the output of a step appears whole: so a step that was cut off by a kill is repeated, or is found done.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.completeness import Completeness
from GliomaSegLib.dicom_node.config import Config
from GliomaSegLib.dicom_node.drift import record_of
from GliomaSegLib.dicom_node.header import StudyHeader, read_header
from GliomaSegLib.dicom_node.queue import SETTLED, Queue, State, Study
from GliomaSegLib.dicom_node.receiver import Receiver
from GliomaSegLib.dicom_node.rules import Rule, decide
from GliomaSegLib.dicom_node.storage import Storage
from GliomaSegLib.errors import Cancelled, GliomaSegError
from GliomaSegLib.io.folder import MANIFEST, is_result_folder
from GliomaSegLib.results.layout import MEASURES_JSON
from GliomaSegLib.worker.client import Task, WorkerError

_RETRY_S = 60.0
_LOOKS_S = 2.0  # between two counts of the images of the study that runs
_CLEARS_S = 10.0  # between two looks at what may be deleted

# The kinds of errors that the study itself causes; trying again would give the same.
_OF_THE_STUDY = ("InputError", "WeightsError")

_PAUSE_S = 0.05
_LOG = logging.getLogger(__name__)


class Worker(Protocol):
    """What :class:`~GliomaSegLib.worker.client.WorkerProcess` offers."""

    def start(self, request: Mapping[str, Any]) -> Task:
        """Hand over a request."""

    def close(self) -> None:
        """End it."""


@dataclass
class _Running:
    """What the worker does: a study's segmentation or export, and since when (monotonic)."""

    study: Study
    header: StudyHeader
    step: Literal["segment", "export"]
    task: Task
    began: float
    looked: float
    overdue: bool = False


@dataclass
class StepCounts:
    """The number of finished steps, and the seconds that they took."""

    runs: int = 0
    seconds: float = 0.0


class Engine:
    """Works on the studies of one queue; for one thread.

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
        self._before_clearing = before_clearing
        self._running: _Running | None = None
        self._not_before: dict[str, float] = {}
        self._cleared_at = -_CLEARS_S
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
        known = {study.key: study for study in self._queue.studies()}
        for study in known.values():
            self._recover(study)
        for key in self._storage.studies():
            if key not in known:
                self._adopt(key)

    def again(self) -> None:
        """Decide anew on the studies that failed or that no rule fitted.

        Raises:
            StorageError: the storage is gone.
        """
        for study in self._queue.studies((State.FAILED, State.UNMATCHED)):
            if not study.cleared and self._storage.image_files(study.key):
                self._receiver.reopen(study.key, study.uid, study.origin)

    def tick(self) -> bool:
        """Do what can be done now without waiting; whether anything was.

        Raises:
            StorageError: the storage is gone.
        """
        self._storage.check()
        decided = self._decide()
        ended = self._follow()
        self._make_room()
        return self._begin() or decided or ended

    def stop(self) -> None:
        """Cancel what runs; it will be done again."""
        if self._running is not None:
            self._running.task.cancel()
            while not self._running.task.done:
                time.sleep(_PAUSE_S)
            self._running = None

    # --- after a start ----------------------------------------------------------------------------------------------

    def _recover(self, study: Study) -> None:
        if study.cleared and study.state in SETTLED:
            self._storage.clear(study.key)
            return
        count = len(self._storage.image_files(study.key))
        if study.state is State.ARRIVING:
            self._completeness.image_received(study.key)
            self._completeness.sender_aborted(study.key, study.broken_off)
        elif count > study.images:  # one was written in the moment of the kill
            self._receiver.reopen(study.key, study.uid, study.origin)
        elif study.state is State.RUNNING:
            self._move(study, State.WAITING)

    def _adopt(self, key: str) -> None:
        """Queue images whose study was not in the queue yet when the node was killed."""
        for path in self._storage.image_files(key):
            with contextlib.suppress(InvalidDicomError, OSError):
                uid = str(dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
                self._receiver.reopen(key, uid, "orthanc" if self._config.receive is None else "dicom")
                return
        self._storage.clear(key)

    # --- complete? then what is to be done? -------------------------------------------------------------------------

    def _decide(self) -> bool:
        done = False
        for study in self._queue.studies((State.ARRIVING,)):
            with self._completeness.if_complete(study.key) as complete:
                if complete:
                    self._settle_or_queue(study)
                    self._completeness.forget(study.key)
                    done = True
        return done

    def _settle_or_queue(self, study: Study) -> None:
        count = len(self._storage.image_files(study.key))
        if not count:
            self._move(study, State.WITHDRAWN, "Its images were deleted from the node before it began.")
            return
        if study.cleared and count < study.images:
            self._move(
                study,
                State.FAILED,
                f"{count} of its images came after its {study.images} had been deleted here to make room; send the "
                "whole study again.",
            )
            return
        if study.broken_off:
            self._queue.note(study.key, "Its sender broke off and did not come back; images may be missing.")
        header = read_header(self._storage.images(study.key))
        decision = decide(header, self._rules)
        fields = {"images": count, "reason": decision.reason, "cleared": 0, "broken_off": 0}
        rule = decision.rule
        if rule is None:
            sentence = "No rule fits this study; add one to the routing and start the node with --again."
            self._move(study, State.UNMATCHED, sentence, **fields)
        elif rule.job is None:
            self._move(study, State.IGNORED, rule.ignore or "", rule=rule.name, **fields)
        else:
            plan = {"job": rule.job, "kinds": rule.kinds or self._config.kinds}
            self._move(study, State.WAITING, rule=rule.name, plan=plan, **fields)

    # --- the worker -------------------------------------------------------------------------------------------------

    def _begin(self) -> bool:
        if self._running is not None:
            return False
        now = self._clock.monotonic()
        due = [one for one in self._queue.studies((State.WAITING,)) if self._not_before.get(one.key, now) <= now]
        # What was begun most often comes last, so that a study that brings the computer down holds up no other.
        study = min(due, key=lambda one: (one.starts, one.turn), default=None)
        if study is None:
            return False
        self._storage.check_room()
        running = self._move(study, State.RUNNING, starts=study.starts + 1)
        if running is not None:
            self._go_on(running)
        return True

    def _go_on(self, study: Study) -> None:
        """Start the step that is next by what is on the disk."""
        try:
            self._start(study, read_header(self._storage.images(study.key)))
        except (OSError, ValueError, KeyError, TypeError) as error:  # its files are not as they were written
            self._storage.check()
            sentence = f"Its files on the node cannot be read ({type(error).__name__}); send it again."
            self._move(study, State.FAILED, sentence)

    def _start(self, study: Study, header: StudyHeader) -> None:
        results, answers = self._where(study)
        now = self._clock.monotonic()
        if answers.exists():
            self._move(study, State.SENDING)
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
        return (
            self._storage.results(study.key, study.revision),
            self._storage.answers(study.key, study.revision),
        )

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
        try:
            _ = running.task.result
        except WorkerError as error:
            self._failed(running, error)
        except Cancelled:
            self._cancelled(running)
        else:
            if self._is_current(running.study):
                self._go_on(running.study)
        return True

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
        """Whether nothing has happened to a study that was begun."""
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
            self._move(study, State.WAITING)  # nothing happens if it has become a new version

    def _withdraw(self, study: Study) -> None:
        self._move(study, State.WITHDRAWN, "Its images were deleted from the node while it ran.")

    def _failed(self, running: _Running, error: WorkerError) -> None:
        study = running.study
        self._storage.check_room()  # if it was the disk, the study is not to blame, and waits for it
        results, answers = self._where(study)
        made = is_result_folder(results) if running.step == "segment" else answers.exists()
        if made and self._is_current(study):
            # The worker of a node that was killed ended its work after all, and was quicker than this one.
            self._go_on(study)
            return
        if len(self._storage.image_files(study.key)) < study.images:
            self._withdraw(study)
            return
        sentence = running.header.shown(str(error)).replace(str(self._storage.folder), "the node's folder")
        failures = study.failures + 1
        if error.kind in _OF_THE_STUDY or failures > self._config.retries:
            self._move(study, State.FAILED, sentence, failures=failures)
            return
        self._not_before[study.key] = self._clock.monotonic() + _RETRY_S * failures
        self._move(study, State.WAITING, f"It is tried again: {sentence}", failures=failures)

    def _keep_figures(self, study: Study, results: Path, header: StudyHeader) -> None:
        manifest = json.loads((results / MANIFEST).read_bytes())
        measures = json.loads((results / MEASURES_JSON).read_bytes())
        self._queue.finish(study, record_of(manifest, measures, header), self._clock.wall())

    # --- room -------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Delete the images and results of what was settled first: beyond those to be kept, or while the disk is full.

        By their order, not by their age: a clock that jumps must not delete anything.
        """
        now = self._clock.monotonic()
        if now - self._cleared_at < _CLEARS_S and not self._storage.is_full:
            return
        self._cleared_at = now
        settled = self._queue.with_images()
        for place, study in enumerate(settled):
            if len(settled) - place <= self._config.keep and not self._storage.is_full:
                return
            try:
                self._before_clearing(study)
            except GliomaSegError:  # later, then
                return
            self._queue.cleared(study)
            self._storage.clear(study.key)

    def _move(self, study: Study, state: State, sentence: str = "", **fields: Any) -> Study | None:
        moved = self._queue.move(study, state, self._clock.wall(), sentence=sentence, **fields)
        if moved is not None:
            why = "; ".join(filter(None, (fields.get("reason"), sentence)))
            _LOG.info("study %s: %s%s", study.key, state.value, f": {why}" if why else "")
        return moved
