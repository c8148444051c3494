"""GliomaSeg: segments and measures brain tumours in clinical MRI studies.

>>> from GliomaSegLib import Job, Result, run, segment_arrays
>>> run(Job(study="study", model="ca-cnn-brats17", output="results"))      # files
>>> result = Result.load("results")
>>> result = segment_arrays({"t1c": t1c, "t2f": flair}, affine)            # arrays
>>> result.volume("WT").ml

For research use; not a medical device.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from GliomaSegLib.job import Job
    from GliomaSegLib.pipeline.arrays import segment_arrays
    from GliomaSegLib.pipeline.run import run
    from GliomaSegLib.results.job_result import JobResult
    from GliomaSegLib.results.reading import read_probabilities
    from GliomaSegLib.results.result import Result, to_array

NOTICE = "Not a medical device. For research use; every contour must be reviewed by a clinician."

__all__ = ["NOTICE", "Job", "JobResult", "Result", "read_probabilities", "run", "segment_arrays", "to_array"]

_MODULES = {
    "Job": "job",
    "JobResult": "results.job_result",
    "Result": "results.result",
    "read_probabilities": "results.reading",
    "run": "pipeline.run",
    "segment_arrays": "pipeline.arrays",
    "to_array": "results.result",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: ``gliomaseg --help`` must not wait for torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
