"""Compares a result with earlier studies of the patient, and two segmentations of one image with each other."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from GliomaSegLib.batch.cases import folder_name
from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import dice, region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.scene.comparison import compared_with, link_comparison
from GliomaSegLib.scene.comparison_nodes import ComparisonNodes, show_comparison
from GliomaSegLib.scene.earlier_study import export_study
from GliomaSegLib.scene.hierarchy import place_beside
from GliomaSegLib.scene.keeping import Files, has_files, keep, packed
from GliomaSegLib.scene.measuring import up_to_date
from GliomaSegLib.scene.review import EditWatch
from GliomaSegLib.scene.run import Steps, in_thread
from GliomaSegLib.scene.segmentation import labels_of
from GliomaSegLib.scene.segmenting import check_earlier
from GliomaSegLib.scene.session import Session, make_folder
from GliomaSegLib.worker.client import Event

# Subfolders of a comparison, for the exported earlier studies.
_STUDY_FOLDERS = ("earlier", "between")


@dataclass(frozen=True)
class Agreement:
    """How two segmentations agree in one region: Dice, 0 to 1 (1 when absent from both), and each one's volume."""

    dice: float
    volume_ml: float
    other_ml: float


@dataclass(frozen=True)
class StudyComparison:
    """The result of a comparison of studies in the scene and on disk.

    Attributes:
        answers: a sentence each: residual tumour, extent of resection, lesions, response.
        page: the HTML report.
        comparison: :class:`~GliomaSegLib.followup.comparison.TimePointComparison` as JSON.
    """

    answers: tuple[str, ...]
    warnings: tuple[str, ...]
    nodes: ComparisonNodes
    page: Path
    comparison: Mapping[str, Any]


@dataclass(frozen=True)
class EarlierStudy:
    """A study to compare with. ``volume`` is its T1 + contrast, not needed for a result whose files are known."""

    segmentation: slicer.vtkMRMLSegmentationNode
    volume: slicer.vtkMRMLScalarVolumeNode | None
    time_point: str | None


def check_studies(
    segmentation: slicer.vtkMRMLSegmentationNode,
    studies: Sequence[EarlierStudy],
    baseline: slicer.vtkMRMLSegmentationNode | None,
) -> int | None:
    """The index of the baseline among the earlier studies; ``None`` when none was chosen.

    Raises:
        InputError: a segmentation was chosen twice, the image of a study is not known, or the baseline is not among
            the earlier studies.
    """
    compared = [study.segmentation for study in studies]
    for one, other in combinations([*compared, segmentation], 2):
        if one is other:
            raise InputError(f"'{one.GetName()}' cannot be compared with itself; choose that of another study.")
    for study in studies:
        check_earlier(study.segmentation, study.volume)
    if baseline is None:
        return None
    if baseline not in compared:
        raise InputError(
            f"Response cannot be compared with '{baseline.GetName()}', which is no earlier study here; choose that "
            "of one that is."
        )
    return compared.index(baseline)


def compare_steps(
    session: Session,
    segmentation: slicer.vtkMRMLSegmentationNode,
    when: Mapping[str, Any],
    earlier: Sequence[EarlierStudy],
    settings: Mapping[str, Any],
) -> Steps:
    """Steps that export the studies, have the worker compare them and show the :class:`StudyComparison` they return.

    Args:
        when: ``time_point`` and ``days_since_surgery`` of ``segmentation``; ``None`` for what its folder says.
        settings: further fields of :class:`~GliomaSegLib.job.Compare`.
    """
    compared = [study.segmentation for study in earlier]
    with ExitStack() as watching, ExitStack() as undo:
        edited: list[slicer.vtkMRMLSegmentationNode] = []
        for node in (segmentation, *compared):
            watching.callback(EditWatch(node, edited.append).stop)
        yield Event("stage", "export")
        yield None
        output = yield from up_to_date(session, segmentation)
        name = segmentation.GetName().removesuffix(" segmentation")
        case = session.new_case_folder(f"{name} comparison", undo)
        before = []
        for study, folder in zip(earlier, _STUDY_FOLDERS, strict=False):
            before.append((yield from _study_request(session, study, case / folder)))
        request = {
            **settings,
            "do": "compare",
            "studies": [*before, {"path": str(output), **when}],
            "output": str(case / "results"),
        }
        answer = yield from session.request(request, segmentation)
        yield Event("stage", "scene")
        comparison = answer["comparison"]
        files = yield from in_thread(partial(packed, case / "results"))
        nodes = show_comparison(session.scene, comparison, name)
        for node in nodes.all:
            undo.callback(session.remove_node, node)
            place_beside(node, segmentation)
        link_comparison(segmentation, compared, nodes, case / "results", outdated=bool(edited))
        place_beside(keep(segmentation, Files.COMPARISON, files), segmentation)
        for node in compared_with(segmentation):
            session.watch(node)
        undo.pop_all()
    return StudyComparison(
        tuple(comparison["answers"]), tuple(comparison["warnings"]), nodes, Path(answer["page"]), comparison
    )


def _study_request(
    session: Session, study: EarlierStudy, folder: Path
) -> Generator[Event | None, None, dict[str, Any]]:
    """A :class:`~GliomaSegLib.job.ComparedStudy` as JSON; a segmentation without a result is exported to ``folder``."""
    if has_files(study.segmentation):
        files = {"path": str((yield from up_to_date(session, study.segmentation)))}
    else:
        name = folder_name(study.segmentation.GetName()) or "case"
        files = export_study(study.segmentation, study.volume, make_folder(folder), name)
        yield None
    return {**files, "time_point": study.time_point}


def agreement(
    segmentation: slicer.vtkMRMLSegmentationNode, other: slicer.vtkMRMLSegmentationNode
) -> dict[Region, Agreement]:
    """How two segmentations on the same grid agree, region by region.

    Raises:
        InputError: their grids differ, or a segment is unknown.
    """
    (labels, matrix), (others, place) = labels_of(segmentation), labels_of(other)
    if labels.shape != others.shape or not np.allclose(matrix, place, atol=0.01):
        raise InputError(
            f"'{segmentation.GetName()}' and '{other.GetName()}' are on different grids; compare segmentations of "
            "the same volume."
        )
    voxel_ml = abs(np.linalg.det(matrix[:3, :3])) / 1000
    masks = {region: (region_mask(labels, region), region_mask(others, region)) for region in Region}
    return {
        region: Agreement(dice(*both), *(int(mask.sum()) * voxel_ml for mask in both)) for region, both in masks.items()
    }
