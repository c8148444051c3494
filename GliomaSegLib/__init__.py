"""GliomaSeg: a clinical brain MRI study in; a reviewed, measured tumour segmentation out.

>>> from GliomaSegLib import Job, run
>>> result = run(Job(study="study", model="ca-cnn-brats17", output="results"))

For research use; not a medical device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from GliomaSegLib.job import Job
    from GliomaSegLib.pipeline.run import run
    from GliomaSegLib.results.result import Result

NOTICE = "Not a medical device. For research use; every contour must be reviewed by a clinician."

__all__ = ["NOTICE", "Job", "Result", "run"]


def __getattr__(name: str) -> Any:
    """Import the pipeline only when it is asked for: ``gliomaseg --help`` must not wait for torch."""
    if name == "Job":
        from GliomaSegLib.job import Job

        return Job
    if name == "Result":
        from GliomaSegLib.results.result import Result

        return Result
    if name == "run":
        from GliomaSegLib.pipeline.run import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
