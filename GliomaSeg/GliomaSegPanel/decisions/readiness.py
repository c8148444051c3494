"""The line above Apply: the inputs of the next run, and open questions, with links."""

from __future__ import annotations

import html
from typing import NamedTuple

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.options import Task
from GliomaSegLib.zoo.card import Status
from GliomaSegPanel.decisions.images import name_conflicts
from GliomaSegPanel.decisions.models import wrong_time
from GliomaSegPanel.decisions.run import can_apply
from GliomaSegPanel.decisions.situation import Situation, chosen_sequences
from GliomaSegPanel.decisions.titles import TASKS, TIMES, download_size, elided, short_title
from GliomaSegPanel.translation import _

IMAGES, CASE, TIME, MODEL = "images", "case", "time", "model"
"""What a click leads to. After ``time:`` follows the time point that it states, after ``model:`` a model's id."""


class Point(NamedTuple):
    """A part of the line, as HTML; ``is_open``: whether the user should decide it."""

    text: str
    is_open: bool = False


def readiness(situation: Situation) -> tuple[Point, ...]:
    """The parts of the line, in the order of the panel; the last is ``ready`` if no question is open."""
    points = [*_images(situation), _time(situation), *_model(situation)]
    if not any(point.is_open for point in points):
        answer, ready = can_apply(situation), _("ready")
        refused = Point(html.escape(answer.reason, quote=False), is_open=True)
        points.append(Point(f"<b>{ready}</b>") if answer.allowed else refused)
    return tuple(points)


def readiness_html(points: tuple[Point, ...]) -> str:
    """The line as Qt's rich text."""
    return " · ".join(point.text for point in points)


def _link(target: str, text: str) -> str:
    return f"<a href='{target}'>{html.escape(text, quote=False)}</a>"


def _images(situation: Situation) -> list[Point]:
    if situation.from_folder:
        folder = situation.study_folder
        if folder is None:
            return [Point(_link(IMAGES, _("choose the study's folder")), True)]
        return [Point(_link(IMAGES, elided(folder.name)))]
    sequences = chosen_sequences(situation)
    if not sequences:
        return [Point(_link(IMAGES, _("no images yet")), True)]
    count = _("1 sequence") if len(sequences) == 1 else _("{count} sequences").format(count=len(sequences))
    doubts = name_conflicts(situation)
    names = Point(_link(IMAGES, _("check the names")), True) if doubts else Point(_("names agree"))
    case = Point(_link(CASE, elided(situation.case)))
    if not situation.case_is_known:
        case = Point(_link(CASE, _("call the case '{name}'?").format(name=elided(situation.case))), True)
    return [case, Point(_link(IMAGES, count)), names]


def _time(situation: Situation) -> Point:
    if situation.study_time is not TimePointKind.UNKNOWN:
        return Point(_link(IMAGES, TIMES[situation.study_time]))
    before, after = (
        _link(f"{TIME}:{kind.value}", TIMES[kind]) for kind in (TimePointKind.PREOPERATIVE, TimePointKind.POSTOPERATIVE)
    )
    return Point(_("made {before} or {after}?").format(before=before, after=after), True)


def _model(situation: Situation) -> list[Point]:
    card = situation.card
    if card is None:
        return [Point(_link(MODEL, _("choose a model")), True)]
    title = short_title(card.title)
    if not situation.installed:
        title = _("{model} (download: {size})").format(model=title, size=download_size(card.weights.size_bytes))
    if card.task not in (Task.PREOPERATIVE_GLIOMA, Task.POSTOPERATIVE_GLIOMA):
        title = _("{model} for {tumour}").format(model=title, tumour=TASKS[card.task])
    unsuited = bool(wrong_time(card, situation))
    doubtful = unsuited or card.status is Status.DEMONSTRATION  # which its title says
    points = [Point(_link(MODEL, _("{model} is not suited").format(model=title) if unsuited else title), doubtful)]
    if situation.better is not None:
        offered = _("{model} would do better (download: {size})").format(
            model=short_title(situation.better.title), size=download_size(situation.better.weights.size_bytes)
        )
        points.append(Point(_link(f"{MODEL}:{situation.better.id}", offered)))
    return points
