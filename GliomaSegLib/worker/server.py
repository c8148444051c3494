"""``gliomaseg worker``: performs requests for other programs (the panel, a batch, a cluster, the DICOM node).

``gliomaseg worker JOB`` performs the request in the file JOB; ``gliomaseg worker -`` performs the request in each line
of standard input until it ends, and keeps its network loaded from case to case. A request is a JSON object:

* a :class:`~GliomaSegLib.job.Job`, with or without ``"do": "segment"``;
* ``{"do": "measure", "output": DIR}`` after an edit of the results in DIR;
* ``{"do": "review", "output": DIR, "state": "approved", "by": NAME}``, or ``rejected``, or ``draft``;
* ``{"do": "install", "model": ID, "store": DIR, "source": PATH}``, where ``store`` and ``source`` may be left out;
* ``{"do": "compare", "studies": [{"path": DIR}, {"path": DIR}], "output": DIR}``, see
  :class:`~GliomaSegLib.job.Compare`;
* ``{"do": "export", "results": DIR, "output": DIR, "kinds": ["seg", "rtstruct", "sr", "overlay"]}``, see
  :class:`~GliomaSegLib.job.Export`.

Events are written to standard output, one JSON object per line, each with the key ``event``:

* ``stage`` (``name``), ``progress`` (``fraction``, ``detail``) and ``warning`` (``text``) while the request runs;
* at its end ``result`` or ``error`` (``kind``, ``text``). The ``result`` is a
  :class:`~GliomaSegLib.results.job_result.JobResult`;
  ``{"model": ID}`` of what was installed; ``{"page": FILE, "comparison": ...}`` of a comparison, see
  :class:`~GliomaSegLib.followup.comparison.TimePointComparison`; ``{"files": {KIND: PATH}}`` of an export.

Terminating the process cancels the request; no partial results are left.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError, of_the_machine
from GliomaSegLib.progress import Progress

Request = TypeVar("Request")


class JsonLines:
    """A progress that writes each event as one line of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: str, **content: Any) -> None:
        """Write one event and flush it."""
        print(json.dumps({"event": event, **content}), file=self._stream, flush=True)

    def stage(self, name: str) -> None:
        """See :class:`Progress`."""
        self.emit("stage", name=name)

    def advance(self, fraction: float, detail: str = "") -> None:
        """See :class:`Progress`."""
        self.emit("progress", fraction=round(fraction, 4), detail=detail)

    def warn(self, sentence: str) -> None:
        """See :class:`Progress`."""
        self.emit("warning", text=sentence)


def work(source: str, output: TextIO) -> int:
    """Perform the request in the file ``source``, or those in the lines of standard input if it is ``-``.

    Returns:
        the number of requests that failed.

    Raises:
        Cancelled: the process received SIGTERM.
    """
    from GliomaSegLib.job import parse_request, read_request

    lines = JsonLines(output)
    if source != "-":
        return serve([lambda: read_request(Path(source))], _perform, lines)
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")  # a line in another encoding is refused; reading goes on
    texts = ((f"Line {number} of the input", line) for number, line in enumerate(sys.stdin, start=1) if line.strip())
    requests = ((lambda line=line, where=where: parse_request(line, where)) for where, line in texts)
    return serve(requests, _perform, lines)


def _perform(request: Any, progress: Progress) -> Any:
    from pydantic_core import to_jsonable_python

    from GliomaSegLib.perform import perform

    return to_jsonable_python(perform(request, progress))


def serve(
    requests: Iterable[Callable[[], Request]], perform: Callable[[Request, Progress], Any], lines: JsonLines
) -> int:
    """Read and perform one request after the other; an error ends its request and no other.

    Args:
        requests: functions that each read one request.
        perform: performs a request and returns plain data.

    Returns:
        the number of requests that failed.

    Raises:
        Cancelled: the process received SIGTERM.
    """
    return sum(not _succeeds(read, perform, lines) for read in requests)


def _succeeds(read: Callable[[], Request], perform: Callable[[Request, Progress], Any], lines: JsonLines) -> bool:
    try:
        result = perform(read(), lines)
    except GliomaSegError as error:
        lines.emit("error", kind=type(error).__name__, text=str(error))
        if isinstance(error, Cancelled):  # the process ends: no further request
            raise
        return False
    except (OSError, MemoryError) as error:
        traceback.print_exc()
        lines.emit("error", kind=InputError.__name__, text=of_the_machine(error))
        return False
    except Exception as error:  # a defect of GliomaSeg: details go to the log; the next request is performed
        traceback.print_exc()
        lines.emit("error", kind=type(error).__name__, text=f"GliomaSeg failed unexpectedly: {error}")
        return False
    lines.emit("result", result=result)
    return True
