"""The state of the progress bar."""

from __future__ import annotations

from GliomaSegPanel.decisions.situation import Work
from GliomaSegPanel.translation import _

# Fraction of the time of a run that each stage takes (measured with four unregistered images).
_STAGES: dict[str, tuple[str, float]] = {
    "export": (_("Handing over the images"), 0.03),
    "reading": (_("Reading the images"), 0.04),
    "registration": (_("Aligning the images"), 0.15),
    "brain extraction": (_("Finding the brain"), 0.18),
    "segmentation": (_("Segmenting the tumour"), 0.55),
    "measures and report": (_("Measuring and writing the report"), 0.04),
    "scene": (_("Loading the result"), 0.01),
}

_OTHER_STAGES = {
    "install": _("Installing the model"),
    "starting": _("Starting"),
    "measure": _("Measuring"),
    "review": _("Keeping the review"),
    "compare": _("Comparing the studies"),
    "deformation": _("Finding the deformation"),
    "lesions, resection and response": _("Following the lesions"),
    "dicom": _("Writing DICOM"),
    "batch": _("Segmenting the studies"),
    "open": _("Opening the result"),
}


class ProgressState:
    """The progress of one piece of work: the current stage and a percentage that never decreases.

    Args:
        work: the stages of a segmentation share the bar; a stage of other work has the whole bar.
    """

    def __init__(self, work: Work = Work.SEGMENT) -> None:
        self._stages = _STAGES if work is Work.SEGMENT else {}
        self.stage = ""
        self.detail = ""
        self.percent: int | None = None
        """0 to 100; ``None`` while nothing is known, which is shown as a busy bar."""

    @property
    def text(self) -> str:
        """The title of the stage and its progress."""
        known = _STAGES.get(self.stage)
        title = known[0] if known else _OTHER_STAGES.get(self.stage, self.stage.capitalize())
        return f"{title}: {self.detail}" if self.detail else title

    def enter(self, stage: str) -> None:
        """A stage begins."""
        self.stage, self.detail = stage, ""
        if stage in self._stages:
            self._reach(0.0)

    def advance(self, fraction: float, detail: str = "") -> None:
        """The stage has reached ``fraction`` (0 to 1)."""
        self.detail = detail
        self._reach(fraction)

    def _reach(self, fraction: float) -> None:
        if self.stage in self._stages:
            position = list(self._stages).index(self.stage)
            before = sum(share for _title, share in list(self._stages.values())[:position])
            fraction = before + fraction * self._stages[self.stage][1]
        self.percent = max(self.percent or 0, min(round(100 * fraction), 100))
