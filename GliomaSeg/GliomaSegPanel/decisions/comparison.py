"""Whether studies may be compared, and the tables and sentences of a comparison."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, NamedTuple

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegPanel.decisions.situation import Answer, Situation, is_postoperative, refuse_without_files
from GliomaSegPanel.decisions.titles import VOLUME_TITLES, millilitres
from GliomaSegPanel.translation import _


def can_compare(situation: Situation) -> Answer:
    """Whether the shown result may be compared with the earlier study."""
    if refused := refuse_without_files(situation):
        return refused
    shown, earlier = situation.shown, situation.earlier
    if shown.time_point is TimePointKind.PREOPERATIVE:
        return Answer(False, _("This result is of a study before surgery; show that of the later study."))
    if shown.time_point is TimePointKind.UNKNOWN and not is_postoperative(situation):
        return Answer(False, _("Say first that the study was made after surgery (Images, Made)."))
    if shown.edited:
        return Answer(False, _("Update the measures first, so that what you see is compared."))
    if earlier is None:
        return Answer(
            False,
            _("Choose the segmentation of the earlier study (Images); if there is none, segment that study first."),
        )
    if earlier.is_shown:
        return Answer(False, _("The earlier segmentation is the one that is shown; choose that of the other study."))
    if not earlier.has_results and not earlier.has_volume:
        return Answer(False, _("Choose the T1 + contrast of the earlier study too: by it the studies are registered."))
    if refused := _why_not_between(situation) or _why_no_baseline(situation):
        return Answer(False, refused)
    return Answer(
        True,
        _("Register the studies to each other and say what became of the tumour: residual, lesions, response."),
    )


def _why_not_between(situation: Situation) -> str:
    between = situation.between
    if between is None:
        return ""
    if between.is_shown:
        return _("The study between is one of the other two; choose the segmentation of a third study, or none.")
    if not between.has_results and not between.has_volume:
        return _("Choose the T1 + contrast of the study between too: by it the studies are registered.")
    return ""


def _why_no_baseline(situation: Situation) -> str:
    if situation.baseline == "between" and situation.between is None:
        return _("Response is to be compared with the study between; choose that, or another baseline.")
    if situation.baseline == "earlier" and situation.earlier is not None and situation.earlier.is_preoperative:
        return _("Response cannot be compared with a study before surgery; choose another baseline.")
    return ""


class ComparedRow(NamedTuple):
    """One row of the table of volumes, as text; ``between_ml`` is empty for two studies."""

    title: str
    earlier_ml: str
    between_ml: str
    now_ml: str
    change: str


def compared_rows(comparison: Mapping[str, Any]) -> tuple[ComparedRow, ...]:
    """The rows of the regions that are known in the first and last study of a comparison (JSON)."""
    volumes = [{row["name"]: row["volume_ml"] for row in study["volumes"]} for study in comparison["studies"]]
    before, after, between = volumes[0], volumes[-1], (volumes[1] if len(volumes) > 2 else None)
    both = [region.value for region in Region if region.value in before and region.value in after]
    return tuple(
        ComparedRow(
            VOLUME_TITLES[name],
            millilitres(before[name]),
            "" if between is None else millilitres(between[name]) if name in between else "–",
            millilitres(after[name]),
            _change(before[name], after[name]),
        )
        for name in both
    )


def _change(before_ml: float, after_ml: float) -> str:
    if not before_ml:
        return "–" if not after_ml else _("new")
    return f"{100 * (after_ml - before_ml) / before_ml:+.0f} %".replace("-", "\N{MINUS SIGN}")


def answers_html(comparison: Mapping[str, Any]) -> str:
    """The answers of a comparison as HTML, the first sentence as a headline."""
    first, *others = map(html.escape, comparison["answers"])
    return "".join(f"<p style='margin: 3px 0'>{sentence}</p>" for sentence in (f"<b>{first}</b>", *others))
