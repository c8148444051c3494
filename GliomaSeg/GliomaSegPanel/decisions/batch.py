"""Whether a batch may be started, and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from GliomaSegPanel.decisions.situation import Answer, Situation
from GliomaSegPanel.decisions.titles import millilitres
from GliomaSegPanel.translation import _


def studies_in(folder: Path | None) -> list[Path]:
    """The study folders in a folder."""
    if folder is None or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def can_batch(situation: Situation, studies: Sequence[Path], output: Path | None) -> Answer:
    """Whether the studies may be segmented into folders in ``output``."""
    if situation.work or situation.editing:
        return Answer(False, _("Finish what is under way first."))
    if not studies:
        return Answer(False, _("Choose a folder that holds a folder for each study."))
    if output is None:
        return Answer(False, _("Choose a folder for the results."))
    if situation.card is None or not situation.installed:
        return Answer(False, _("Choose a model that is on this computer."))
    text = _("Segment {count} studies with {model}, one after the other. What is done already is not done again.")
    return Answer(True, text.format(count=len(studies), model=situation.card.title.partition(":")[0]))


class BatchRow(NamedTuple):
    """One line of the table, as text."""

    study: str
    state: str
    tumour_ml: str


def waiting_rows(studies: Sequence[Path], running: str = "") -> tuple[BatchRow, ...]:
    """The table while a batch runs; ``running`` is the study that is being segmented."""
    names = [study.name for study in studies]
    begun = names.index(running) if running in names else -1
    states = {-1: _("done"), 0: _("running"), 1: _("waiting")}
    return tuple(BatchRow(name, states[(place > begun) - (place < begun)], "") for place, name in enumerate(names))


def done_row(study: str, result: Mapping[str, Any] | None, error: str | None) -> BatchRow:
    """The row of a study that was segmented, or that failed with a sentence."""
    if result is None:
        return BatchRow(study, error or "", "")
    volumes = {row["name"]: row["volume_ml"] for row in result["measures"]["volumes"]}
    return BatchRow(study, _("done"), millilitres(volumes["WT"]) if "WT" in volumes else "–")
