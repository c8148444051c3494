"""The tables of a result, and whether its outline, its lesions and its voxels may be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from GliomaSegLib.case import Modality, StudyIdentity
from GliomaSegLib.labels import Region
from GliomaSegPanel.decisions.situation import Answer, Situation, refuse_while_busy, why_no_files
from GliomaSegPanel.decisions.titles import SIDES, VOLUME_TITLES, millilitres
from GliomaSegPanel.translation import _

_SHOWN_EMPTY = (Region.WT.value, Region.ET.value)


class VolumeRow(NamedTuple):
    """One line of the volumes table, as text, and the short name of its region or label."""

    name: str
    title: str
    volume_ml: str
    brain_percent: str


def volume_rows(measures: Mapping[str, Any]) -> tuple[VolumeRow, ...]:
    """The rows of the volumes table: regions and labels with voxels, and always the enhancing tumour.

    Args:
        measures: :class:`~GliomaSegLib.measures.volumes.Measures` as JSON.
    """
    return tuple(
        VolumeRow(
            volume["name"],
            VOLUME_TITLES.get(volume["name"], volume["name"]),
            millilitres(volume["volume_ml"]),
            f"{100 * volume['brain_ratio']:.1f}" if volume.get("brain_ratio") is not None else "–",
        )
        for volume in measures["volumes"]
        if volume["volume_ml"] or volume["name"] in _SHOWN_EMPTY
    )


class LesionRow(NamedTuple):
    """One line of the lesion table, as text."""

    number: str
    volume_ml: str
    long_mm: str
    side: str
    certainty: str
    accepted: str


def lesion_row(lesion: Any) -> LesionRow:
    """The row of a :class:`GliomaSegLib.scene.lesions.Lesion`; ``–`` for values that an edit has made unknown."""
    return LesionRow(
        str(lesion.id),
        millilitres(lesion.volume_ml),
        "–" if lesion.long_mm is None else f"{lesion.long_mm:.0f} × {lesion.perpendicular_mm:.0f}",
        SIDES.get(lesion.side, "–") + ("" if lesion.midline_mm is None else f", {lesion.midline_mm:.0f} mm"),
        "–" if lesion.certainty is None else f"{100 * lesion.certainty:.0f} %",
        _("accepted") if lesion.accepted else "",
    )


def image_text(position: int | None, image_numbers: Sequence[int]) -> str:
    """The image of the series on which a lesion was measured; empty if its slices are no images."""
    number = image_numbers[position] if position is not None and position < len(image_numbers) else 0
    return _("measured on image {number}").format(number=number) if number else ""


def identity_of(manifest: Mapping[str, Any]) -> StudyIdentity:
    """Patient and study of a result, from its manifest."""
    kept = manifest.get("identity") or {}
    return StudyIdentity(**{one.name: kept[one.name] for one in fields(StudyIdentity) if one.name in kept})


def sequence_titles(manifest: Mapping[str, Any]) -> list[str]:
    """The names of the images of a result, from its manifest."""
    return [
        f"{Modality(sequence).title}: {record['name']}"
        for sequence, record in manifest.get("sequences", {}).items()
        if record.get("name")
    ]


def can_threshold(situation: Situation) -> Answer:
    """Whether the threshold of the whole tumour's outline may be changed."""
    if situation.shown is None:
        return Answer(False, _("There is no result yet."))
    if not situation.shown.thresholdable:
        return Answer(False, _("The model gives no probability map for this result."))
    if situation.work or situation.editing:
        return Answer(False, _("Finish what is under way first."))
    return Answer(True, _("Lower: the outline grows. Higher: it shrinks. Voxels that are gained become edema."))


def can_change_lesion(situation: Situation) -> Answer:
    """Whether the selected lesion may be accepted, deleted or thresholded."""
    if refused := refuse_while_busy(situation):
        return refused
    if not situation.shown.lesion_selected:
        return Answer(False, _("Select a lesion in the table."))
    return Answer(True, "")


def can_undo(situation: Situation) -> Answer:
    """Whether the last change of the outline or of a lesion may be undone."""
    allowed = refuse_while_busy(situation) is None and situation.shown.can_undo
    return Answer(allowed, _("Take back the last change. Key: Z") if allowed else _("There is nothing to take back."))


def can_redo(situation: Situation) -> Answer:
    """Whether the last undone change may be redone."""
    allowed = refuse_while_busy(situation) is None and situation.shown.can_redo
    return Answer(allowed, _("Make the change again. Key: Y") if allowed else _("Nothing was taken back."))


def can_click(situation: Situation) -> Answer:
    """Whether parts may be added and removed by a click; and how."""
    if refused := refuse_while_busy(situation):
        return refused
    return Answer(True, _("Press Add or Remove, then click in a slice view; or point there and press I or X."))


def can_edit(situation: Situation) -> Answer:
    """Whether the Segment Editor may be opened on the result."""
    if situation.shown is None:
        return Answer(False, _("There is no result yet."))
    if situation.work:
        return Answer(False, _("Wait until the running work has ended."))
    return Answer(True, _("Correct the segmentation by hand with the Segment Editor's tools."))


def can_finish(situation: Situation) -> Answer:
    """Whether the editor may be closed (always if nothing runs), and the tooltip of the button."""
    answer = can_measure(situation)
    if answer.allowed or situation.work or situation.shown is None:
        return answer
    return Answer(True, _("Close the editor; nothing is measured. {reason}").format(reason=answer.reason))


def can_measure(situation: Situation) -> Answer:
    """Whether the measures may be updated."""
    if situation.shown is None:
        return Answer(False, _("There is no result yet."))
    if situation.work:
        return Answer(False, _("Wait until the running work has ended."))
    if not situation.shown.has_files:
        return Answer(False, why_no_files(situation.shown))
    return Answer(True, _("Measure what the segmentation is now, and write table, report and files anew."))
