"""Collects the situation, on which all decisions depend, from the panel and the scene."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import slicer

from GliomaSegLib.case import StudyIdentity, TimePointKind
from GliomaSegLib.scene import dicom
from GliomaSegLib.scene.attributes import OUTPUT, TIME_POINT
from GliomaSegLib.scene.keeping import has_files
from GliomaSegLib.scene.review import review_of
from GliomaSegLib.scene.threshold import has_probability
from GliomaSegLib.zoo.store import Store
from GliomaSegPanel.decisions.situation import EarlierStudy, ShownResult, Situation
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.parameters import (
    GliomaSegParameterNode,
    ImagesFrom,
    case_name,
    chosen_volumes,
    reference_volume,
)


def collect_situation(panel: Panel) -> Situation:
    """The present state of everything that the panel's decisions depend on."""
    parameters = panel.parameters
    if parameters is None:
        return Situation(work=panel.runner.work)
    volumes, keeps_identity = chosen_volumes(parameters), panel.options.keeps_identity
    reference = reference_volume(parameters)
    known = reference is not None and keeps_identity
    named = case_name(parameters) or (dicom.case_name(reference) if known else "")
    situation = Situation(
        chosen={sequence: volume.GetID() for sequence, volume in volumes.items()},
        names={sequence: volume.GetName() for sequence, volume in volumes.items()},
        from_folder=parameters.imagesFrom is ImagesFrom.FOLDER,
        study_folder=Path(parameters.studyFolder) if parameters.studyFolder else None,
        study_time=parameters.timePoint.value,
        case=named or (reference.GetName() if reference is not None else ""),
        case_is_known=bool(named),
        identity=dicom.identity_of(reference) if known else StudyIdentity(),
        keeps_identity=keeps_identity,
        lacking=panel.lacking,
        own_python=panel.options.python is not None,
        work=panel.runner.work,
        shown=_shown_result(panel),
        earlier=_earlier(panel, parameters),
        between=_between(panel, parameters),
        baseline=parameters.baseline.value,
        editing=panel.correct.editing,
        reviewer=panel.review.reviewer,
    )
    (card, better), store = panel.model.cards_for(situation), Store(panel.options.store)
    if card is None:
        return situation
    installed, removable = store.is_installed(card), store.is_removable(card)
    return dataclasses.replace(situation, card=card, better=better, installed=installed, removable=removable)


def _shown_result(panel: Panel) -> ShownResult | None:
    node, logic = panel.result.node, panel.logic
    if node is None:
        return None
    compared = logic.comparisonWith(node)
    return ShownResult(
        folder=Path(node.GetAttribute(OUTPUT)) if node.GetAttribute(OUTPUT) else None,
        has_files=has_files(node),
        review=review_of(node).state,
        thresholdable=has_probability(node),
        edited=logic.hasUnmeasuredEdits(node),
        can_undo=panel.result.can_undo,
        can_redo=panel.result.can_redo,
        lesion_selected=panel.result.lesion is not None,
        time_point=TimePointKind(node.GetAttribute(TIME_POINT) or TimePointKind.UNKNOWN),
        on_dicom=logic.isOnDicom(node),
        numbered=compared is not None,
        outdated=compared is not None and compared[1],
    )


def _earlier(panel: Panel, parameters: GliomaSegParameterNode) -> EarlierStudy | None:
    is_preoperative = parameters.earlierTime.value is TimePointKind.PREOPERATIVE
    others = [panel.result.node]
    volume = parameters.preoperativeVolume
    return _study(parameters.preoperativeSegmentation, volume, is_preoperative, others)


def _between(panel: Panel, parameters: GliomaSegParameterNode) -> EarlierStudy | None:
    others = [panel.result.node, parameters.preoperativeSegmentation]
    return _study(parameters.betweenSegmentation, parameters.betweenVolume, False, others)


def _study(
    segmentation: slicer.vtkMRMLSegmentationNode | None,
    volume: slicer.vtkMRMLScalarVolumeNode | None,
    is_preoperative: bool,
    others: list[slicer.vtkMRMLSegmentationNode | None],
) -> EarlierStudy | None:
    if segmentation is None:
        return None
    return EarlierStudy(
        is_preoperative=is_preoperative,
        is_shown=any(segmentation is other for other in others),
        has_results=has_files(segmentation),
        has_volume=volume is not None,
    )
