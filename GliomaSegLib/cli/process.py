"""The process of a command: SIGTERM stops it in order, and nothing but its results goes to standard output."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from typing import TextIO

from GliomaSegLib.errors import Cancelled


def cancel_when_terminated() -> None:
    """Let SIGTERM raise :class:`~GliomaSegLib.errors.Cancelled` in the main thread, so that what runs clears up."""

    def cancel(signal_number: int, frame: object) -> None:
        raise Cancelled("The process was told to stop.")

    signal.signal(signal.SIGTERM, cancel)


@contextlib.contextmanager
def results_only_on_stdout() -> Iterator[TextIO]:
    """Yield the real standard output; whatever libraries print meanwhile, in C too, goes to standard error."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(real, "w", encoding="utf-8", closefd=False) as output, contextlib.redirect_stdout(sys.stderr):
            yield output
    finally:
        with contextlib.suppress(OSError, TypeError):  # Windows has no such library of the process itself
            ctypes.CDLL(None).fflush(None)  # what C holds back must not come out after the results
        os.dup2(real, 1)
        os.close(real)
