"""The state of the panel as plain values, on which all decisions depend, and shared refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from GliomaSegLib.case import Modality, StudyIdentity, TimePointKind
from GliomaSegLib.options import Task
from GliomaSegLib.zoo.card import Card
from GliomaSegPanel.translation import _


class Work(Enum):
    """The current work of the worker process."""

    SEGMENT = "segment"
    INSTALL = "install"
    MEASURE = "measure"
    REVIEW = "review"
    COMPARE = "compare"
    DICOM = "dicom"
    BATCH = "batch"
    OPEN = "open"


class Answer(NamedTuple):
    """Whether an action is allowed, and the sentence that says why not, or what it will do."""

    allowed: bool
    reason: str


@dataclass(frozen=True)
class ShownResult:
    """The result that the panel shows.

    Attributes:
        folder: its folder of results; ``None`` if the segmentation is no result of GliomaSeg.
        has_files: whether its files are on this computer or in the scene.
        review: draft, edited, approved or rejected.
        thresholdable: whether the whole tumour's probability map is available.
        edited: whether it was changed since it was last measured.
        time_point: of its study, as stated for the segmentation.
        on_dicom: whether the DICOM series of its reference image is known.
        numbered: whether its lesions have numbers from a comparison.
        outdated: whether a segmentation of that comparison was changed since.
    """

    folder: Path | None
    has_files: bool
    review: str
    thresholdable: bool
    edited: bool = False
    can_undo: bool = False
    can_redo: bool = False
    lesion_selected: bool = False
    time_point: TimePointKind = TimePointKind.UNKNOWN
    on_dicom: bool = False
    numbered: bool = False
    outdated: bool = False


@dataclass(frozen=True)
class EarlierStudy:
    """The segmentation of the earlier study, or of the study between that and the current one.

    Attributes:
        is_preoperative: whether its study was made before surgery.
        is_shown: whether it is the shown result, or the same as the other earlier study.
        has_results: whether its files are known, and with them its image.
        has_volume: whether its image is chosen.
    """

    is_preoperative: bool = True
    is_shown: bool = False
    has_results: bool = False
    has_volume: bool = False


@dataclass(frozen=True)
class Situation:
    """The state of the panel.

    Attributes:
        chosen: ID of the volume node chosen for each modality.
        names: the names of these volumes.
        study_folder: used instead of ``chosen`` with ``from_folder``.
        case: the name of the case in the scene, the report and file names.
        case_is_known: whether ``case`` was entered or is from DICOM, and not just the name of a volume.
        identity: patient and study, of images from DICOM.
        keeps_identity: whether the identity is shown and stored with results.
        better: a better model than ``card`` that is not installed.
        removable: the model's weights are in the user's own store; a site's store is read-only.
        own_python: whether the worker runs in the user's own interpreter, whose packages are not checked.
        lacking: packages that the worker needs and Slicer's Python lacks.
        baseline: the baseline study for response, ``earlier`` or ``between``; with ``first`` the worker chooses.
    """

    chosen: Mapping[Modality, str] = field(default_factory=dict)
    names: Mapping[Modality, str] = field(default_factory=dict)
    from_folder: bool = False
    study_folder: Path | None = None
    study_time: TimePointKind = TimePointKind.UNKNOWN
    case: str = ""
    case_is_known: bool = True
    identity: StudyIdentity = field(default_factory=StudyIdentity)
    keeps_identity: bool = True
    card: Card | None = None
    better: Card | None = None
    installed: bool = False
    removable: bool = False
    lacking: tuple[str, ...] = ()
    own_python: bool = False
    work: Work | None = None
    shown: ShownResult | None = None
    earlier: EarlierStudy | None = None
    between: EarlierStudy | None = None
    baseline: str = "first"
    editing: bool = False
    reviewer: str = ""


def chosen_sequences(situation: Situation) -> tuple[Modality, ...]:
    """The chosen modalities, in their usual order."""
    return tuple(sequence for sequence in Modality if situation.chosen.get(sequence))


def is_postoperative(situation: Situation) -> bool:
    """Whether the chosen study was made after surgery: as the user states, else as the model's task implies."""
    if situation.study_time is not TimePointKind.UNKNOWN:
        return situation.study_time is TimePointKind.POSTOPERATIVE
    return situation.card is not None and situation.card.task == Task.POSTOPERATIVE_GLIOMA


def shows_earlier(situation: Situation) -> bool:
    """Whether to ask for an earlier study: if this study, or that of the shown result, is post-operative."""
    shown = situation.shown
    return is_postoperative(situation) or (shown is not None and shown.time_point is TimePointKind.POSTOPERATIVE)


def lacks_preoperative(card: Card, situation: Situation) -> str:
    """A sentence if the model needs a pre-operative study and none is chosen, else empty."""
    earlier = situation.earlier
    known = earlier is not None and earlier.is_preoperative and (earlier.has_results or earlier.has_volume)
    if not card.inputs.preoperative or known:
        return ""
    return _("This model also looks at the study before surgery; choose it under Earlier study, or another model.")


# --- refusals that several decisions share ---------------------------------------------------------------------------


def refuse_while_busy(situation: Situation) -> Answer | None:
    """The refusal while there is no result, or it is being processed or edited."""
    if situation.shown is None:
        return Answer(False, _("There is no result yet."))
    if situation.work or situation.editing:
        return Answer(False, _("Finish what is under way first."))
    return None


def refuse_without_files(situation: Situation) -> Answer | None:
    """The refusal while there are no files of a result that could be reviewed or exported."""
    if refused := refuse_while_busy(situation):
        return refused
    if not situation.shown.has_files:
        return Answer(False, why_no_files(situation.shown))
    return None


def why_no_files(shown: ShownResult) -> str:
    """The sentence for a result whose folder does not exist."""
    if shown.folder is None:
        return _("This segmentation was not made by GliomaSeg.")
    return _("The files of this result are neither in {folder} nor in the scene; run the case again.").format(
        folder=shown.folder
    )


def packages_first(situation: Situation) -> Answer | None:
    """The tooltip of an enabled button that will ask to install missing packages."""
    if situation.lacking and not situation.own_python:
        text = _("First asks to install what GliomaSeg needs: {names}.")
        return Answer(True, text.format(names=_shortened(situation.lacking)))
    return None


def _shortened(requirements: tuple[str, ...], most: int = 4) -> str:
    names = [line.partition(">=")[0] for line in requirements]
    more = _(" and {count} more").format(count=len(names) - most) if len(names) > most else ""
    return ", ".join(names[:most]) + more
