"""Worker processes on this machine. Standard library only."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from GliomaSegLib.batch.cases import BatchCase, request_of
from GliomaSegLib.batch.dispatch import CRASH, STARTED, CaseEvent, CaseEvents, failed, settled
from GliomaSegLib.errors import Cancelled
from GliomaSegLib.worker.client import Event, Task, WorkerError, WorkerProcess

_PAUSE_S = 0.05


class LocalWorkers:
    """Worker processes that are kept from case to case, with their network loaded.

    Args:
        processes: one per simultaneous case; :meth:`close` ends them.
        devices: assigned to the processes in turn, e.g. ``cuda:0`` and ``cuda:1``; by default that of each job.
    """

    def __init__(self, processes: Sequence[WorkerProcess], devices: Sequence[str] = ()) -> None:
        self._processes = list(processes)
        self._devices = [devices[place % len(devices)] if devices else None for place in range(len(processes))]

    @property
    def count(self) -> int:
        """How many cases are segmented at once."""
        return len(self._processes)

    def segment(self, cases: Sequence[BatchCase], overwrite: bool = False) -> CaseEvents:
        """See :class:`~GliomaSegLib.batch.dispatch.Workers`."""
        waiting = deque(cases)
        running: dict[int, tuple[BatchCase, Task]] = {}
        try:
            while waiting or running:
                events: list[CaseEvent] = []
                for place in range(self.count):
                    if place in running:
                        events += self._poll(running, place)
                    if place not in running and waiting:
                        events.append(self._start(running, place, waiting.popleft(), overwrite))
                yield from events
                if not events:
                    yield None
        except Cancelled:
            for _, task in running.values():
                task.cancel()
            while not all(task.done for _, task in running.values()):
                yield None
            raise
        finally:  # also when the caller closes the generator
            for _, task in running.values():
                task.cancel()
            while not all(task.done for _, task in running.values()):
                time.sleep(_PAUSE_S)

    def close(self) -> None:
        """End the processes, cancelling what runs."""
        for process in self._processes:
            process.close()

    def _start(
        self, running: dict[int, tuple[BatchCase, Task]], place: int, case: BatchCase, overwrite: bool
    ) -> CaseEvent:
        last = settled(case, overwrite)
        if last is not None:
            return last
        device = self._devices[place]
        try:
            request = request_of(case) | ({"device": device} if device else {})
            running[place] = (case, self._processes[place].start(request))
        except (OSError, TypeError, ValueError) as error:  # its folder cannot be read, or its job is not JSON
            return failed(case, f"{case.where}: it cannot be handed to a worker ({error}).", "InputError")
        return CaseEvent(case, Event("stage", STARTED), worker=_name(place))

    def _poll(self, running: dict[int, tuple[BatchCase, Task]], place: int) -> list[CaseEvent]:
        case, task = running[place]
        done = task.done  # before its events are fetched, so that none gets lost
        events = [CaseEvent(case, event, worker=_name(place)) for event in task.poll()]
        events = [event for event in events if not event.is_last]
        if done:
            del running[place]
            events.append(answer_of(case, task, _name(place)))
        return events


def answer_of(case: BatchCase, task: Task, worker: str) -> CaseEvent:
    """The last event of a case whose task is done."""
    try:
        return CaseEvent(case, Event("result"), task.result, worker=worker)
    except WorkerError as error:
        return failed(case, str(error), error.kind, worker)
    except Cancelled:  # by another program: segment() would not ask after its own cancel
        sentence = "The worker was told to stop by another program; start the batch again to do this case."
        return failed(case, sentence, CRASH, worker)


def _name(place: int) -> str:
    return f"worker {place + 1}"


def local_workers(command: Sequence[str], count: int, logs: Path, devices: Sequence[str] = ()) -> LocalWorkers:
    """``count`` worker processes that ``command`` starts (:func:`~GliomaSegLib.worker.client.worker_command`).

    Args:
        logs: folder of a log for each.
    """
    processes = [WorkerProcess(command, logs / f"worker-{number}.log") for number in range(1, count + 1)]
    return LocalWorkers(processes, devices)


def threads_of_each(count: int) -> int:
    """The number of threads for each of ``count`` workers, so that together they use all processors at most."""
    return max(1, _processors() // count)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # those that a scheduler has granted, which may be fewer than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
