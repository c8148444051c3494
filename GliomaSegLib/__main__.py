"""The process of the command line: ``gliomaseg`` and ``python -m GliomaSegLib``."""

from __future__ import annotations

import gc
import os
import sys

from GliomaSegLib.cli.main import main

# New objects after which Python looks for circular garbage; its own 700 make it look hundreds of times while modules
# are imported, which leaves none: together with the look at the end, which serves nobody, 0.8 s of the processor.
_COLLECT_AFTER = 50_000

# How long torch's threads wait busily for the next operation: a quarter of a millisecond, which is longer than from one
# to the next within a network. By itself it is 15 times as long: half a second of the processor in a run.
_BUSY_WAIT = "20000"


def start() -> int:
    """See :func:`~GliomaSegLib.cli.main.main`."""
    os.environ.setdefault("GOMP_SPINCOUNT", _BUSY_WAIT)
    gc.set_threshold(_COLLECT_AFTER)
    try:
        return main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(start())
