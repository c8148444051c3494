"""What the panel allows, fills in and shows, decided from plain values: no Qt and no scene in this file.

The widget collects a :class:`Situation`, asks, and shows the answers. Every refusal is a sentence that says what to do;
it becomes the tooltip of the button that is switched off.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.options import ReviewState, Task
from GliomaSegLib.zoo.catalogue import Entry, Figure
from GliomaSegLib.zoo.input_requirements import cost_of_missing, regions_given
from GliomaSegLib.zoo.recommend import Recommendation, recommend
from GliomaSegPanel.words import _


class Work(Enum):
    """What the worker is busy with."""

    SEGMENT = "segment"
    INSTALL = "install"
    MEASURE = "measure"
    REVIEW = "review"
    COMPARE = "compare"
    DICOM = "dicom"


class Answer(NamedTuple):
    """Whether something may be done, and the sentence that says why not, or what it will do."""

    allowed: bool
    reason: str


@dataclass(frozen=True)
class Shown:
    """The result that the panel shows.

    Attributes:
        folder: of its files; ``None`` when the segmentation was not made by GliomaSeg.
        folder_exists: whether they are on this computer.
        review: draft, edited, approved or rejected.
        thresholdable: whether the whole tumour's probability map is at hand.
        edited: changed in the scene since the measures were taken.
        time_point: when its study was made, as was said when it was segmented.
        on_dicom: the DICOM series on which it lies is known.
        numbered: it takes part in a comparison, in which its lesions have numbers.
        outdated: one of the segmentations of that was changed since.
    """

    folder: Path | None
    folder_exists: bool
    review: str
    thresholdable: bool
    edited: bool = False
    can_undo: bool = False
    lesion_selected: bool = False
    time_point: TimePointKind = TimePointKind.UNKNOWN
    on_dicom: bool = False
    numbered: bool = False
    outdated: bool = False


@dataclass(frozen=True)
class Earlier:
    """The segmentation of the earlier study, or of the one between.

    Attributes:
        is_preoperative: it was made before surgery.
        is_shown: it is the result that the panel shows, or the other of the two.
        has_results: its folder of results is on this computer, so that its image is known.
        has_volume: its image is chosen.
    """

    is_preoperative: bool = True
    is_shown: bool = False
    has_results: bool = False
    has_volume: bool = False


@dataclass(frozen=True)
class Situation:
    """All that the decisions depend on.

    Attributes:
        chosen: the volume node (its id) that is chosen for each sequence.
        study_folder: instead of ``chosen``, when the images are taken from a folder.
        removable: the model's weights lie in the user's own store; a hospital's are not the user's to delete.
        own_python: the worker runs in an interpreter of the user's own, whose packages the panel does not look at.
        lacking: packages that the worker needs and Slicer's Python lacks.
        baseline: with which study response is compared, ``earlier`` or ``between``; ``first`` leaves it to the worker.
    """

    chosen: Mapping[Modality, str] = field(default_factory=dict)
    from_folder: bool = False
    study_folder: Path | None = None
    study_time: TimePointKind = TimePointKind.UNKNOWN
    entry: Entry | None = None
    installed: bool = False
    removable: bool = False
    lacking: tuple[str, ...] = ()
    own_python: bool = False
    work: Work | None = None
    shown: Shown | None = None
    earlier: Earlier | None = None
    between: Earlier | None = None
    baseline: str = "first"
    editing: bool = False
    reviewer: str = ""


# --- images ----------------------------------------------------------------------------------------------------------


class FilledIn(NamedTuple):
    """A volume that was chosen for the user, and the words that say why."""

    node_id: str
    tooltip: str


def fill_in(
    names: Mapping[str, str], chosen: Mapping[Modality, str], left_open: Collection[Modality] = ()
) -> dict[Modality, FilledIn]:
    """Volumes for the sequences that are not chosen yet, from their names.

    Args:
        names: of the volumes of the scene, by node id.
        chosen: what stays as it is; its volumes are not taken twice.
        left_open: sequences that the user has set to none.
    """
    from GliomaSegLib.study.identification import (
        assign_names,  # here: its tables are compiled when they are first needed
    )

    free = {node: name for node, name in names.items() if node not in chosen.values()}
    found = assign_names(free, t1c_given=Modality.T1C in chosen)
    return {
        sequence: FilledIn(guess.id, why_filled_in(guess.confidence, guess.reason))
        for sequence, guess in found.items()
        if sequence not in chosen and sequence not in left_open
    }


def why_filled_in(confidence: float, reason: str) -> str:
    """The tooltip of a selector that was filled in."""
    return _("Filled in: {reason} ({percent} % sure). Choose another volume if this is wrong.").format(
        reason=reason, percent=round(100 * confidence)
    )


def present(situation: Situation) -> tuple[Modality, ...]:
    """The sequences that are chosen, in their usual order."""
    return tuple(sequence for sequence in Modality if situation.chosen.get(sequence))


def cost(situation: Situation) -> str:
    """What the missing sequences cost with the chosen model; empty when nothing is missing or not yet known."""
    if situation.entry is None or situation.from_folder or not present(situation):
        return ""
    if lacking := _lacks_preoperative(situation.entry, situation):
        return lacking
    try:
        return cost_of_missing(situation.entry.needs, present(situation), earlier=True) or ""
    except InputError as error:
        return str(error)


def _lacks_preoperative(entry: Entry, situation: Situation) -> str:
    """A sentence when the model also looks at the study before surgery, and that is not chosen."""
    earlier = situation.earlier
    known = earlier is not None and earlier.is_preoperative and (earlier.has_results or earlier.has_volume)
    if not entry.needs.preoperative or known:
        return ""
    return _("This model also looks at the study before surgery; choose it under Earlier study, or another model.")


def twice(situation: Situation) -> str | None:
    """A sentence when one volume is chosen for two sequences."""
    given = present(situation)
    for position, sequence in enumerate(given):
        for other in given[position + 1 :]:
            if situation.chosen[sequence] == situation.chosen[other]:
                return _("{one} and {other} are the same volume; set one of them to another volume or to none.").format(
                    one=sequence.title, other=other.title
                )
    return None


# --- model -----------------------------------------------------------------------------------------------------------


class ModelChoice(NamedTuple):
    """One line of the list of models; ``fits`` is false when the images at hand do not suffice."""

    id: str
    text: str
    tooltip: str
    fits: bool


def model_choices(
    entries: Iterable[Entry], store: Path, situation: Situation, task: str = ""
) -> tuple[ModelChoice, ...]:
    """The models for ``task`` (all when empty), ranked as :func:`GliomaSegLib.zoo.recommend.recommend` does it."""
    known = () if situation.from_folder else present(situation)
    ranking = recommend(entries, store, known, task, situation.study_time, earlier=True)
    choices = [_model_choice(one, situation) for one in ranking]
    return tuple(sorted(choices, key=lambda choice: not choice.fits))  # one may lack the study before surgery


def _model_choice(ranked: Recommendation, situation: Situation) -> ModelChoice:
    entry = ranked.entry
    text = entry.title
    if entry.status == "unproven":
        text += _(", not tested yet")
    if entry.status == "demonstration":
        text += _(", a demonstration")
    if not ranked.installed:
        text += (
            _(" (its members are not installed)")
            if entry.members
            else _(" (download: {size})").format(size=megabytes(entry.size_mb))
        )
    unsuited = _why_unsuited(ranked, situation)
    return ModelChoice(entry.id, text, unsuited or f"{entry.summary}\n{ranked.why}", not unsuited)


def _why_unsuited(ranked: Recommendation, situation: Situation) -> str:
    """As the ranking says it, but in the user's language where it is about time, and with what only the panel knows."""
    entry = ranked.entry
    if situation.study_time is not TimePointKind.UNKNOWN and situation.study_time not in entry.time_points:
        meant = _(" or ").join(TIMES[kind] for kind in entry.time_points)
        return _("This model is made for studies {meant}; this one was made {time}.").format(
            meant=meant, time=TIMES[situation.study_time]
        )
    return _lacks_preoperative(entry, situation) or ranked.unsuited


def tasks(entries: Iterable[Entry]) -> dict[str, str]:
    """The tasks that the zoo has models for, with their names."""
    return {entry.task: TASKS.get(entry.task, entry.task) for entry in entries}


def can_download(situation: Situation) -> Answer:
    """Whether the chosen model's weights may be fetched now."""
    if situation.entry is None:
        return Answer(False, _("Choose a model first."))
    if situation.installed:
        return Answer(False, _("The model is on this computer already."))
    if situation.work:
        return Answer(False, _("Wait until the running work has ended."))
    if first := _packages(situation):
        return first
    text = _("Download it ({size}), check it and keep it on this computer. The arrow: install it without a network.")
    return Answer(True, text.format(size=megabytes(situation.entry.size_mb)))


def can_remove_model(situation: Situation) -> Answer:
    """Whether the chosen model's weights may be deleted from this computer."""
    if situation.entry is None or not situation.installed:
        return Answer(False, _("The model is not on this computer."))
    if situation.entry.shipped:
        return Answer(False, _("The model comes with GliomaSeg, and goes with it."))
    if not situation.removable:
        return Answer(False, _("The model is provided by your site, and is not yours to delete."))
    if situation.work:
        return Answer(False, _("Wait until the running work has ended."))
    return Answer(True, _("Delete the model's files from this computer; they can be downloaded again."))


def megabytes(size: float) -> str:
    """A size for people: ``23 MB`` or ``1.4 GB``; some publishers do not say it."""
    if not size:
        return _("unknown size")
    return f"{size / 1000:.1f} GB" if size >= 1000 else f"{size:.0f} MB"


def card_html(entry: Entry, installed: bool) -> str:
    """The card of a model as a page of Qt's rich text."""
    everything, needed = _titles(entry.needs.sequences), _titles(entry.needs.mandatory)
    rows = [
        (_("For"), TASKS.get(entry.task, entry.task)),
        (_("Sequences"), f"{everything} ({_('needed: {names}').format(names=needed)})" if needed else everything),
        (_("Gives"), ", ".join(region_title(region) for region in entry.needs.regions)),
        (_("Size"), f"{megabytes(entry.size_mb)}, {_where(entry, installed)}"),
        (_("Licence"), entry.licence),
        (_("Weights"), f"{entry.weights_licence}. {entry.attribution}"),
        (_("Please cite"), entry.citation),
        (_("Tested"), STATUSES.get(entry.status, entry.status)),
    ]
    if entry.training:
        rows.insert(1, (_("Trained"), entry.training))
    for sequence, regions in entry.needs.regions_without.items():
        what = ", ".join(region_title(region).lower() for region in regions)
        rows.append((_("Without {name}").format(name=sequence.title), _("{regions} only").format(regions=what)))
    table = "".join(
        f"<tr><td style='padding-right:8px'><b>{html.escape(title)}</b></td><td>{html.escape(text)}</td></tr>"
        for title, text in rows
    )
    return (
        f"<h4>{html.escape(entry.title)} {html.escape(entry.version)}</h4><p>{html.escape(entry.summary)}</p>"
        f"<table cellpadding='2'>{table}</table>{_accuracy_html(entry)}"
    )


def _where(entry: Entry, installed: bool) -> str:
    if entry.shipped:
        return _("comes with GliomaSeg")
    return _("on this computer") if installed else _("to be downloaded")


def _titles(sequences: Collection[Modality], between: str = ", ") -> str:
    return between.join(sequence.title for sequence in Modality if sequence in sequences)


def _accuracy_html(entry: Entry) -> str:
    parts = []
    published, measured = _("Published accuracy (mean Dice)"), _("Measured accuracy (mean Dice)")
    for title, figures in ((published, entry.published), (measured, entry.needs.measured)):
        if not figures:
            continue
        head = "".join(f"<th align='left'>{region.value}</th>" for region in entry.needs.regions)
        rows = "".join(_figure_html(figure, entry) for figure in figures)
        sets = dict.fromkeys(_cases(figure) for figure in figures)
        remarks = dict.fromkeys(figure.remark for figure in figures if figure.remark)
        notes = html.escape("; ".join(sets) + ". " + " ".join(remarks))
        parts.append(
            f"<p><b>{title}</b></p><table cellpadding='2'><tr><th align='left'>{_('With')}</th>{head}</tr>{rows}"
            f"</table><p><small>{notes}</small></p>"
        )
    return "".join(parts)


def _figure_html(figure: Figure, entry: Entry) -> str:
    values = [figure.dice.get(region) for region in entry.needs.regions]
    cells = "".join("<td>–</td>" if value is None else f"<td>{value:.2f}</td>" for value in values)
    return f"<tr><td style='padding-right:8px'>{_titles(figure.sequences, ' + ')}</td>{cells}</tr>"


def _cases(figure: Figure) -> str:
    return _("{count} cases of {data}").format(count=figure.cases, data=figure.data) if figure.cases else figure.data


TASKS = {
    Task.PREOPERATIVE_GLIOMA: _("glioma before surgery"),
    Task.POSTOPERATIVE_GLIOMA: _("glioma after surgery"),
    Task.PEDIATRIC_GLIOMA: _("glioma of children"),
    Task.METASTASIS: _("metastases"),
    Task.MENINGIOMA: _("meningioma"),
    Task.SCHWANNOMA: _("vestibular schwannoma"),
    Task.RESECTION_CAVITY: _("resection cavity"),
}

TIMES = {
    TimePointKind.UNKNOWN: _("not said"),
    TimePointKind.PREOPERATIVE: _("before surgery"),
    TimePointKind.POSTOPERATIVE: _("after surgery"),
}

STATUSES = {
    "verified": _("on real images with the real weights"),
    "parity": _("equal to its own package on generated weights"),
    "unproven": _("not yet"),
    "demonstration": _("a demonstration, trained on too little to be of use"),
}


def is_postoperative(situation: Situation) -> bool:
    """Whether the study that is chosen was made after surgery: as the user says, else as the model supposes."""
    if situation.study_time is not TimePointKind.UNKNOWN:
        return situation.study_time is TimePointKind.POSTOPERATIVE
    return situation.entry is not None and situation.entry.task == Task.POSTOPERATIVE_GLIOMA


def shows_earlier(situation: Situation) -> bool:
    """An earlier study is asked for when this one, or the one whose result is shown, was made after surgery."""
    shown = situation.shown
    return is_postoperative(situation) or (shown is not None and shown.time_point is TimePointKind.POSTOPERATIVE)


# --- apply -----------------------------------------------------------------------------------------------------------


def can_apply(situation: Situation) -> Answer:
    """Whether Apply may be pressed. Missing packages and weights are asked for when it is."""
    if situation.work:
        return Answer(False, _("Wait until the running work has ended, or cancel it."))
    if situation.from_folder:
        if situation.study_folder is None or not situation.study_folder.is_dir():
            return Answer(False, _("Choose the folder of the study: DICOM, NIfTI or NRRD."))
    elif not present(situation):
        return Answer(False, _("Load the patient's MRI and choose at least one sequence."))
    elif same := twice(situation):
        return Answer(False, same)
    if situation.entry is None:
        return Answer(False, _("Choose a model."))
    if lacking := _lacks_preoperative(situation.entry, situation):
        return Answer(False, lacking)
    if not situation.from_folder:
        try:
            regions_given(situation.entry.needs, present(situation), earlier=True)
        except InputError as error:
            return Answer(False, str(error))
    if situation.editing:
        return Answer(False, _("Finish correcting the segmentation first."))
    if first := _packages(situation):
        return first
    return Answer(True, _("Segment the tumour. This takes from seconds to minutes; Slicer can be used meanwhile."))


def _packages(situation: Situation) -> Answer | None:
    """What the button that needs packages says while they lack."""
    if situation.lacking and not situation.own_python:
        text = _("First asks to install what GliomaSeg needs: {names}.")
        return Answer(True, text.format(names=_few(situation.lacking)))
    return None


def _few(requirements: tuple[str, ...], most: int = 4) -> str:
    names = [line.partition(">=")[0] for line in requirements]
    more = _(" and {count} more").format(count=len(names) - most) if len(names) > most else ""
    return ", ".join(names[:most]) + more


def can_cancel(situation: Situation) -> Answer:
    """Whether there is something to cancel."""
    if situation.work is None:
        return Answer(False, _("Nothing is running."))
    return Answer(True, _("Stop. Nothing half-made is left."))


# The share of a run's time that each stage takes (a raw exam of four sequences, as measured for README).
_STAGES: dict[str, tuple[str, float]] = {
    "export": (_("Handing over the images"), 0.03),
    "reading": (_("Reading the images"), 0.04),
    "registration": (_("Aligning the images"), 0.15),
    "brain extraction": (_("Finding the brain"), 0.18),
    "segmentation": (_("Segmenting the tumour"), 0.55),
    "measures and report": (_("Measuring and writing the report"), 0.04),
    "scene": (_("Loading the result"), 0.01),
}


class Bar:
    """The progress bar of one piece of work: remembers the stage, and never runs backwards.

    Args:
        work: the stages of a segmentation share the bar; other work has it to itself.
    """

    def __init__(self, work: Work = Work.SEGMENT) -> None:
        self._stages = _STAGES if work is Work.SEGMENT else {}
        self.stage = ""
        self.detail = ""
        self.percent: int | None = None
        """0 to 100; ``None`` while nothing is known, which a bar shows as busy."""

    @property
    def text(self) -> str:
        """The stage in plain words, and what of it is done."""
        known = _STAGES.get(self.stage)
        title = known[0] if known else OTHER_STAGES.get(self.stage, self.stage.capitalize())
        return f"{title}: {self.detail}" if self.detail else title

    def enter(self, stage: str) -> None:
        """A stage begins."""
        self.stage, self.detail = stage, ""
        if stage in self._stages:
            self._reach(0.0)

    def advance(self, fraction: float, detail: str = "") -> None:
        """The stage has come to ``fraction`` (0 to 1)."""
        self.detail = detail
        self._reach(fraction)

    def _reach(self, fraction: float) -> None:
        if self.stage in self._stages:
            position = list(self._stages).index(self.stage)
            before = sum(share for _text, share in list(self._stages.values())[:position])
            fraction = before + fraction * self._stages[self.stage][1]
        self.percent = max(self.percent or 0, min(round(100 * fraction), 100))


OTHER_STAGES = {
    "install": _("Installing the model"),
    "starting": _("Starting"),
    "measure": _("Measuring"),
    "review": _("Keeping the review"),
    "compare": _("Comparing the studies"),
    "deformation": _("Finding the deformation"),
    "lesions, resection and response": _("Following the lesions"),
    "dicom": _("Writing DICOM"),
}


# --- result ----------------------------------------------------------------------------------------------------------


def region_title(region: Region) -> str:
    """The name of a region for the reader."""
    return VOLUME_TITLES[region.value]


VOLUME_TITLES = {
    "WT": _("Whole tumour"),
    "TC": _("Tumour core"),
    "ET": _("Enhancing tumour"),
    "RC": _("Resection cavity"),
    "NETC": _("Necrosis / non-enhancing core"),
    "SNFH": _("Edema / infiltration"),
}


class VolumeRow(NamedTuple):
    """One line of the volumes table, as text."""

    title: str
    volume_ml: str
    brain_percent: str


def volume_rows(measures: Mapping[str, Any]) -> tuple[VolumeRow, ...]:
    """The lines of the volumes table from the measures of a result."""
    return tuple(
        VolumeRow(
            VOLUME_TITLES.get(volume["name"], volume["name"]),
            _ml(volume["volume_ml"]),
            f"{100 * volume['brain_ratio']:.1f}" if volume.get("brain_ratio") is not None else "–",
        )
        for volume in measures["volumes"]
    )


def _ml(volume_ml: float) -> str:
    return f"{volume_ml:.1f}" if volume_ml >= 0.05 or not volume_ml else "< 0.1"


class LesionRow(NamedTuple):
    """One line of the lesion table, as text."""

    number: str
    volume_ml: str
    long_mm: str
    where: str
    accepted: str


SIDES = {"left": _("left"), "right": _("right"), "midline": _("midline")}


def lesion_row(lesion: Any) -> LesionRow:
    """The line of a :class:`GliomaSegLib.scene.lesions.Lesion`; what is not measured since an edit is ``–``."""
    return LesionRow(
        str(lesion.id),
        _ml(lesion.volume_ml),
        "–" if lesion.long_mm is None else f"{lesion.long_mm:.0f} × {lesion.perpendicular_mm:.0f}",
        SIDES.get(lesion.side, "–"),
        _("accepted") if lesion.accepted else "",
    )


def can_threshold(situation: Situation) -> Answer:
    """Whether the outline of the whole tumour may be moved with the slider."""
    if situation.shown is None:
        return Answer(False, _("There is no result yet."))
    if not situation.shown.thresholdable:
        return Answer(False, _("The model gives no probability map for this result."))
    if situation.work or situation.editing:
        return Answer(False, _("Finish what is under way first."))
    return Answer(True, _("Lower: the outline grows. Higher: it shrinks. Voxels that are gained become edema."))


def can_change_lesion(situation: Situation) -> Answer:
    """Whether the selected lesion may be accepted, deleted or outlined anew."""
    if refused := _no_result_at_rest(situation):
        return refused
    if not situation.shown.lesion_selected:
        return Answer(False, _("Select a lesion in the table."))
    return Answer(True, "")


def _no_result_at_rest(situation: Situation) -> Answer | None:
    """The refusal while there is no result, or one that is being worked on."""
    if situation.shown is None:
        return Answer(False, _("There is no result yet."))
    if situation.work or situation.editing:
        return Answer(False, _("Finish what is under way first."))
    return None


def can_undo(situation: Situation) -> Answer:
    """Whether the last change of the outline or of a lesion may be taken back."""
    allowed = situation.shown is not None and situation.shown.can_undo and not situation.work and not situation.editing
    return Answer(allowed, _("Take back the last change.") if allowed else _("There is nothing to take back."))


# --- comparison ------------------------------------------------------------------------------------------------------


def can_compare(situation: Situation) -> Answer:
    """Whether the shown result may be compared with the earlier study."""
    if refused := _no_files_at_rest(situation):
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
    """One line of the table of the studies, as text; ``between_ml`` is empty where two were compared."""

    title: str
    earlier_ml: str
    between_ml: str
    now_ml: str
    change: str


def compared_rows(comparison: Mapping[str, Any]) -> tuple[ComparedRow, ...]:
    """The regions that a comparison (as JSON) knows in the first study and the last."""
    volumes = [{row["name"]: row["volume_ml"] for row in study["volumes"]} for study in comparison["studies"]]
    before, after, between = volumes[0], volumes[-1], (volumes[1] if len(volumes) > 2 else None)
    both = [region.value for region in Region if region.value in before and region.value in after]
    return tuple(
        ComparedRow(
            VOLUME_TITLES[name],
            _ml(before[name]),
            "" if between is None else _ml(between[name]) if name in between else "–",
            _ml(after[name]),
            _change(before[name], after[name]),
        )
        for name in both
    )


def _change(before_ml: float, after_ml: float) -> str:
    if not before_ml:
        return "–" if not after_ml else _("new")
    return f"{100 * (after_ml - before_ml) / before_ml:+.0f} %".replace("-", "\N{MINUS SIGN}")


def answers_html(comparison: Mapping[str, Any]) -> str:
    """What a comparison answers, the first sentence as a headline."""
    first, *others = map(html.escape, comparison["answers"])
    return "".join(f"<p style='margin: 3px 0'>{sentence}</p>" for sentence in (f"<b>{first}</b>", *others))


# --- correct, review, export -----------------------------------------------------------------------------------------


def can_edit(situation: Situation) -> Answer:
    """Whether the Segment Editor may be opened on the result."""
    if situation.shown is None:
        return Answer(False, _("There is no result yet."))
    if situation.work:
        return Answer(False, _("Wait until the running work has ended."))
    return Answer(True, _("Correct the segmentation by hand with the Segment Editor's tools."))


def can_measure(situation: Situation) -> Answer:
    """Whether the measures may be brought up to date."""
    if situation.shown is None:
        return Answer(False, _("There is no result yet."))
    if situation.work:
        return Answer(False, _("Wait until the running work has ended."))
    if not situation.shown.folder_exists:
        return Answer(False, _gone(situation.shown))
    return Answer(True, _("Measure what the segmentation is now, and write table, report and files anew."))


def _gone(shown: Shown) -> str:
    if shown.folder is None:
        return _("This segmentation was not made by GliomaSeg.")
    return _("The result's folder {folder} is not on this computer; run the case again.").format(folder=shown.folder)


REVIEW_TITLES = {
    ReviewState.DRAFT: _("Draft: nobody has reviewed it"),
    ReviewState.EDITED: _("Edited: not approved"),
    ReviewState.APPROVED: _("Approved"),
    ReviewState.REJECTED: _("Rejected"),
}


def review_text(state: str, by: str = "", when: str = "") -> str:
    """The state of the review in words."""
    text = REVIEW_TITLES.get(state, state)
    if by:
        text += _(" by {name}").format(name=by)
    return text + (_(", {when}").format(when=when) if when else "")


def _no_files_at_rest(situation: Situation) -> Answer | None:
    """The refusal while there are no files of a result that could be reviewed or exported."""
    if refused := _no_result_at_rest(situation):
        return refused
    if not situation.shown.folder_exists:
        return Answer(False, _gone(situation.shown))
    return None


def can_review(situation: Situation, state: str) -> Answer:
    """Whether the review may be set to ``state`` (approved, rejected or draft)."""
    if refused := _no_files_at_rest(situation):
        return refused
    shown = situation.shown
    if shown.review == state:
        return Answer(False, _("That is its state already."))
    if state == "draft":
        return Answer(True, _("Take the decision back."))
    if not situation.reviewer.strip():
        return Answer(False, _("Enter your name first."))
    if state == "approved" and shown.edited:
        return Answer(False, _("Update the measures first, so that what you approve is what was measured."))
    if state == "approved":
        return Answer(True, _("You have looked at every contour and find it right. A later edit voids this."))
    return Answer(True, _("It is not to be used."))


NO_SERIES = _(
    "The images are no DICOM files that Slicer knows (such as NIfTI), so that the result cannot be exported as DICOM; "
    "only if they were made from a DICOM series, name its folder."
)


def can_keep_numbers(situation: Situation) -> Answer:
    """Whether the lesions of the shown result have numbers that stay from study to study."""
    shown = situation.shown
    if shown is None or not shown.numbered:
        return Answer(False, _("Compare the result with an earlier study first: there its lesions get their numbers."))
    return Answer(True, "")


def can_export(
    situation: Situation,
    folder: Path | None,
    kinds: Collection[str],
    dicom: Collection[str] = (),
    series: Path | None = None,
    numbers: bool = False,
) -> Answer:
    """Whether the chosen files may be written to ``folder``.

    Args:
        kinds: files of the result.
        dicom: DICOM objects.
        series: folder of the DICOM series, where it is not known.
        numbers: in these, lesions are to have the numbers of the comparison.
    """
    if refused := _no_files_at_rest(situation):
        return refused
    shown = situation.shown
    if shown.edited:
        return Answer(False, _("Update the measures first, so that the files hold what you see."))
    if not kinds and not dicom:
        return Answer(False, _("Choose at least one kind of file."))
    if folder is None or not folder.is_dir():
        return Answer(False, _("Choose a folder to write to."))
    if dicom and shown.review == "rejected":
        return Answer(
            False, _("The result was rejected, so it is not written as DICOM; correct it or review it again.")
        )
    if dicom and not shown.on_dicom and (series is None or not series.is_dir()):
        return Answer(False, NO_SERIES)
    if dicom and numbers and shown.outdated:
        return Answer(
            False, _("The comparison is out of date: compare again, or export without the numbers of the comparison.")
        )
    return Answer(True, _("Write the chosen files to {folder}.").format(folder=folder))
