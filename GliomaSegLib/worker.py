"""The door for other programs: the panel, the batch and the cluster start this and read what it says.

``gliomaseg worker JOB`` runs the job in the file JOB; ``gliomaseg worker -`` runs one job per line of standard input
until it ends, keeping its network loaded from case to case. What happens is told on standard output, one JSON object
per line, each with the key ``event``:

* ``stage`` (``name``), ``progress`` (``fraction``, ``detail``), ``warning`` (``text``) while a job runs;
* ``result`` (``result``: see :class:`~GliomaSegLib.job.Result`) or ``error`` (``kind``, ``text``) when it has ended.

Terminating the process cancels the job; nothing half-written is left.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from GliomaSegLib.errors import Cancelled, GliomaSegError
from GliomaSegLib.job import Job, parse_job, read_job


class JsonLines:
    """A progress that writes each word as one JSON object per line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, event: str, **content: Any) -> None:
        """Write one line and make sure that the reader gets it now."""
        print(json.dumps({"event": event, **content}), file=self._stream, flush=True)

    def stage(self, name: str) -> None:
        """See :class:`Progress`."""
        self.say("stage", name=name)

    def advance(self, fraction: float, detail: str = "") -> None:
        """See :class:`Progress`."""
        self.say("progress", fraction=round(fraction, 4), detail=detail)

    def warn(self, sentence: str) -> None:
        """See :class:`Progress`."""
        self.say("warning", text=sentence)


def work(source: str, output: TextIO) -> int:
    """Run the job in the file ``source``, or the jobs on standard input if it is ``-``.

    Returns:
        the number of jobs that failed.

    Raises:
        Cancelled: the process was told to stop.
    """
    lines = JsonLines(output)
    if source != "-":
        return int(not _succeeds(lambda: read_job(Path(source)), lines))
    texts = ((f"Line {number} of the input", line) for number, line in enumerate(sys.stdin, start=1) if line.strip())
    return sum(not _succeeds(lambda: parse_job(line, where), lines) for where, line in texts)  # noqa: B023 - run at once


def _succeeds(read: Callable[[], Job], lines: JsonLines) -> bool:
    try:
        job = read()
        from GliomaSegLib.pipeline import run  # here: a wrong job file is refused without waiting for torch

        result = run(job, lines)
    except GliomaSegError as error:
        lines.say("error", kind=type(error).__name__, text=str(error))
        if isinstance(error, Cancelled):  # the process is to end: no next job
            raise
        return False
    except Exception as error:  # a defect of ours: the details go to the log, and the next job is not lost
        traceback.print_exc()
        lines.say("error", kind=type(error).__name__, text=f"GliomaSeg failed unexpectedly: {error}")
        return False
    lines.say("result", result=result.model_dump(mode="json"))
    return True
