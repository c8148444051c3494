"""The door for other programs: the panel, the batch and the cluster start this and read what it says.

``gliomaseg worker JOB`` runs the job in the file JOB; ``gliomaseg worker -`` does what each line of standard input asks
until it ends, keeping its network loaded from case to case. A line is a JSON object:

* a :class:`~GliomaSegLib.job.Job`, with or without ``"do": "segment"``;
* ``{"do": "measure", "output": DIR}`` after an edit of the results in DIR;
* ``{"do": "review", "output": DIR, "state": "approved", "by": NAME}``, or ``rejected``, or ``draft``;
* ``{"do": "install", "model": ID, "store": DIR, "source": PATH}``, where ``store`` and ``source`` may be left out;
* ``{"do": "compare", "studies": [{"path": DIR}, {"path": DIR}], "output": DIR}``, see
  :class:`~GliomaSegLib.job.Compare`;
* ``{"do": "export", "results": DIR, "output": DIR, "kinds": ["seg", "rtstruct", "sr", "overlay"]}``, see
  :class:`~GliomaSegLib.job.Export`.

What happens is told on standard output, one JSON object per line, each with the key ``event``:

* ``stage`` (``name``), ``progress`` (``fraction``, ``detail``), ``warning`` (``text``) meanwhile;
* at the end ``result`` or ``error`` (``kind``, ``text``). The ``result`` is a :class:`~GliomaSegLib.job.Result`;
  ``{"model": ID}`` of what was installed; ``{"page": FILE, "comparison": ...}`` of a comparison, see
  :class:`~GliomaSegLib.followup.compare.Comparison`; ``{"files": {KIND: PATH}}`` of an export.

Terminating the process cancels what runs; nothing half-written is left.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from GliomaSegLib.errors import Cancelled, GliomaSegError
from GliomaSegLib.progress import Progress

if TYPE_CHECKING:  # heavy imports are made where they are needed: the stand-in speaks through this module as well
    from GliomaSegLib.job import Compare, Export, Install, Request
    from GliomaSegLib.zoo.card import WeightFile

Asked = TypeVar("Asked")


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
    """Do what is asked in the file ``source``, or in the lines of standard input if it is ``-``.

    Returns:
        the number of requests that failed.

    Raises:
        Cancelled: the process was told to stop.
    """
    from GliomaSegLib.job import parse_request, read_request

    lines = JsonLines(output)
    if source != "-":
        return serve([lambda: read_request(Path(source))], _answer, lines)
    texts = ((f"Line {number} of the input", line) for number, line in enumerate(sys.stdin, start=1) if line.strip())
    asked = ((lambda line=line, where=where: parse_request(line, where)) for where, line in texts)
    return serve(asked, _answer, lines)


def serve(
    asked: Iterable[Callable[[], Asked]], answer: Callable[[Asked, Progress], dict[str, Any]], lines: JsonLines
) -> int:
    """Read and answer one request after the other, telling errors as they are told.

    Returns:
        the number of requests that failed.

    Raises:
        Cancelled: the process was told to stop.
    """
    return sum(not _succeeds(read, answer, lines) for read in asked)


def _succeeds(read: Callable[[], Asked], answer: Callable[[Asked, Progress], dict[str, Any]], lines: JsonLines) -> bool:
    try:
        result = answer(read(), lines)
    except GliomaSegError as error:
        lines.say("error", kind=type(error).__name__, text=str(error))
        if isinstance(error, Cancelled):  # the process is to end: no next request
            raise
        return False
    except Exception as error:  # a defect of ours: the details go to the log, and the next request is not lost
        traceback.print_exc()
        lines.say("error", kind=type(error).__name__, text=f"GliomaSeg failed unexpectedly: {error}")
        return False
    lines.say("result", result=result)
    return True


def _answer(request: Request, progress: Progress) -> dict[str, Any]:
    """Each kind imports what it needs, so that a wrong request is refused without waiting for torch."""
    from GliomaSegLib.job import Compare, Export, Job, Measure, Review

    if isinstance(request, Job):
        from GliomaSegLib.pipeline.run import run

        result = run(request, progress)
    elif isinstance(request, Measure):
        from GliomaSegLib.results.update import refresh

        result = refresh(request.output, progress)
    elif isinstance(request, Review):
        from GliomaSegLib.results.update import review

        result = review(request.output, request.state, request.by, progress)
    elif isinstance(request, Compare):
        return _compared(request, progress)
    elif isinstance(request, Export):
        return _exported(request, progress)
    else:
        return _installed(request, progress)
    return result.model_dump(mode="json")


def _installed(request: Install, progress: Progress) -> dict[str, Any]:
    from GliomaSegLib.zoo.card import find_card
    from GliomaSegLib.zoo.store import Store, default_store

    store = Store(request.store or default_store())
    card = find_card(request.model, store.root)
    store.install(card, request.source, _InMegabytes(progress, card.weights.files))
    return {"model": card.id}


def _compared(request: Compare, progress: Progress) -> dict[str, Any]:
    from GliomaSegLib.followup.compare import compare
    from GliomaSegLib.followup.page import write_comparison
    from GliomaSegLib.io.folder import check_output
    from GliomaSegLib.results.time_point import read_exam

    check_output(request.output, overwrite=False)
    progress.stage("reading")
    exams = [read_exam(one.path, one.image, one.scheme, one.when) for one in request.studies]
    aligned = compare(exams, request.in_place, request.baseline, progress, request.deformable)
    page = write_comparison(request.output, aligned)
    return {"page": str(page), "comparison": aligned.comparison.model_dump(mode="json")}


def _exported(request: Export, progress: Progress) -> dict[str, Any]:
    from GliomaSegLib.dicom_export.export import export
    from GliomaSegLib.io.folder import check_output

    check_output(request.output, overwrite=False)
    progress.stage("dicom")
    files = export(request.results, request.output, request.kinds, request.series, request.by, request.comparison)
    return {"files": {kind.value: str(path) for kind, path in files.items()}}


class _InMegabytes:
    """A progress of a download that tells how much is there instead of the file's name, where all sizes are known."""

    def __init__(self, listener: Progress, files: Iterable[WeightFile]) -> None:
        self._listener = listener
        self._bytes = {file.name: file.size_bytes for file in files}
        self.stage, self.warn = listener.stage, listener.warn

    def advance(self, fraction: float, detail: str = "") -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        if detail in self._bytes and None not in self._bytes.values():
            size_mb = sum(self._bytes.values()) / 1e6
            detail = f"{fraction * size_mb:.1f} of {size_mb:.1f} MB"
        self._listener.advance(fraction, detail)
