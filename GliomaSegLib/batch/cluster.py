"""Workers on the machines of a Dask cluster; each Dask worker keeps a worker process of its own.

The process is the same as on one machine, so that a crash or lack of memory ends the running case, not the Dask worker,
and the network is loaded once per Dask worker. Needs ``pip install 'GliomaSeg[cluster]'`` on all machines, and a file
system with the same paths on all of them.
"""

from __future__ import annotations

import hashlib
import queue
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from GliomaSegLib.batch.cases import BatchCase, request_of
from GliomaSegLib.batch.dispatch import CRASH, STARTED, CaseEvent, CaseEvents, failed, settled
from GliomaSegLib.batch.local import answer_of
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.worker.client import Event, Task, WorkerError, WorkerProcess, worker_command

try:
    from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, get_worker
except ImportError as error:
    raise InputError(
        "Dask is not installed; run \"pip install 'GliomaSeg[cluster]'\" here and on the cluster."
    ) from error

if TYPE_CHECKING:
    from dask.typing import Key

GPU = "GPU"
"""The Dask resource of workers with a GPU: ``dask worker --resources GPU=1``."""

_PREFIX = "gliomaseg-"  # of the keys of GliomaSeg's tasks
_CONNECT_S = 30
_RETRIES = 1  # after a crash: another machine may have more memory


class DaskWorkers:
    """The workers of a running cluster; their number may change.

    Args:
        scheduler: ``tcp://HOST:PORT`` (or ``tls://``) or the path of a scheduler file.
        needs_gpu: give cases only to workers with the resource :data:`GPU`.
        command: starts the worker process, instead of the usual command with the Dask worker's own interpreter.

    Raises:
        InputError: there is no such cluster, or its workers cannot load this version of GliomaSeg.
    """

    def __init__(self, scheduler: str, needs_gpu: bool = False, command: Iterable[str] = ()) -> None:
        self._client = _connected(scheduler)
        self._resources = {GPU: 1} if needs_gpu else {}
        self._plugin = KeptProcess(tuple(command))
        try:
            self._client.register_plugin(self._plugin)
        except Exception as error:  # of any kind, from the environment of the workers
            self._client.close()
            raise InputError(
                f"The Dask workers at {scheduler} cannot load GliomaSeg ({error}); install the same version there."
            ) from error

    @property
    def count(self) -> int:
        """The number of Dask workers that can run cases now; at least 1, as more may join."""
        workers = self._client.scheduler_info()["workers"].values()
        return max(1, sum(set(self._resources) <= set(worker.get("resources", ())) for worker in workers))

    def segment(self, cases: Sequence[BatchCase], overwrite: bool = False) -> CaseEvents:
        """See :class:`~GliomaSegLib.batch.dispatch.Workers`.

        Raises:
            InputError: the scheduler has gone.
        """
        batch = f"{_PREFIX}{uuid.uuid4().hex}"
        stages: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._client.subscribe_topic(batch, lambda message: stages.put(message[1]))
        futures = {
            self._client.submit(
                _segment, case, overwrite, self._plugin.name, batch, number,
                key=f"{batch}-{number}", resources=self._resources, retries=_RETRIES,
            ): case
            for number, case in enumerate(cases)
        }  # fmt: skip
        for future in futures:
            future.add_done_callback(ended.put)
        left = len(futures)
        try:
            while left:
                if not stages.empty():
                    one = stages.get()
                    yield CaseEvent(cases[one["number"]], Event("stage", one["stage"]), worker=one["by"])
                elif not ended.empty():
                    future, left = ended.get(), left - 1
                    yield _last_event(future, futures[future])
                else:
                    self._check_scheduler()
                    yield None
        finally:  # running cases are ended, and cleaned up, on their machines
            if self._client.status == "running":
                self._client.cancel([future for future in futures if not future.done()])
                self._client.unsubscribe_topic(batch)

    def close(self) -> None:
        """Disconnect. The worker processes, with their networks loaded, are kept for the next batch."""
        self._client.close()

    def _check_scheduler(self) -> None:
        if self._client.status != "running":
            raise _gone()


class KeptProcess(WorkerPlugin):
    """A worker process beside each Dask worker, one case at a time, however many threads the Dask worker has."""

    idempotent = True  # a second batch uses the processes of the first

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self.name = f"gliomaseg-{hashlib.sha256(repr(command).encode()).hexdigest()[:8]}"

    def setup(self, worker: Worker) -> None:
        """Called on every Dask worker, also on those that join later."""
        self._process = WorkerProcess(
            self._command or worker_command(Path(sys.executable)), Path(worker.local_directory) / "gliomaseg-worker.log"
        )
        self._turn, self._ending, self._ended = threading.Lock(), threading.Lock(), False
        self._running: dict[str, Task] = {}
        self._unwanted: set[str] = set()

    def teardown(self, worker: Worker) -> None:
        """Called when the Dask worker ends."""
        with self._ending:
            self._ended = True
            self._process.close()

    def transition(self, key: Key, start: str, finish: str, **more: Any) -> None:
        """End a running case that is released because the batch was stopped or died."""
        if finish == "executing":
            self._unwanted.discard(str(key))
        elif (start, finish) == ("executing", "released") and str(key).startswith(_PREFIX):
            self._unwanted.add(str(key))
            if running := self._running.get(str(key)):
                running.cancel()

    def segment(self, key: str, case: BatchCase, overwrite: bool, on_stage: Callable[[str], None]) -> CaseEvent:
        """Segment a case; returns its last event.

        Raises:
            WorkerError: the worker process crashed; it may be tried again.
        """
        with self._turn:
            last = failed(case, "It was stopped.", CRASH) if key in self._unwanted else settled(case, overwrite)
            if last is not None:
                return last
            on_stage(STARTED)
            with self._ending:
                if self._ended:  # nobody would end a process started now
                    raise WorkerError("The Dask worker has ended.")
                self._running[key] = task = self._process.start(request_of(case))
            if key in self._unwanted:  # released while the process started: transition() did not see the case run yet
                task.cancel()
            try:
                task.wait(lambda event: on_stage(event.text) if event.kind == "stage" else None)
            except GliomaSegError:
                pass  # it is in the last event
            finally:
                del self._running[key]
            last = answer_of(case, task, "")
            if last.error == CRASH:
                raise WorkerError(last.text)
            return last


def _segment(case: BatchCase, overwrite: bool, plugin: str, topic: str, number: int) -> CaseEvent:
    """The task that runs on the Dask worker."""
    worker = get_worker()

    def on_stage(stage: str) -> None:
        worker.log_event(topic, {"number": number, "stage": stage, "by": str(worker.name)})

    return cast(KeptProcess, worker.plugins[plugin]).segment(str(worker.get_current_task()), case, overwrite, on_stage)


def _last_event(future: Future, case: BatchCase) -> CaseEvent:
    if future.cancelled():  # by the scheduler: segment() would not ask after its own cancel
        raise _gone()
    try:
        return future.result()
    except KilledWorker as error:
        sentence = (
            f"The Dask workers that had this case died one after the other (the last was {error.last_worker.address}), "
            "most likely for lack of memory; give them more."
        )
        return failed(case, sentence, CRASH)
    except WorkerError as error:
        return failed(case, str(error), error.kind)
    except Exception as error:  # of any kind, from another environment; concerns this case only
        return failed(case, f"The Dask worker could not do it ({error}); check that it has this GliomaSeg.", CRASH)


def _gone() -> InputError:
    return InputError("The Dask scheduler has gone or was restarted; when it is there, start the same batch once more.")


def _connected(scheduler: str) -> Client:
    try:
        if "://" in scheduler:
            return Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
        if not Path(scheduler).is_file():
            raise InputError(f"The scheduler file {scheduler} does not exist; give it, or tcp://HOST:PORT.")
        return Client(scheduler_file=scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"There is no Dask scheduler at {scheduler} ({error}); start it, or check the address."
        ) from error
