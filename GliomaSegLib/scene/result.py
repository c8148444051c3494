"""Loads a folder of results into the scene: segmentation, table of volumes, transforms, state of review."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import slicer

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.results.layout import FILES
from GliomaSegLib.scene.attributes import CREATED, DAYS, RESULT_LABELS, SERIES, TABLE, TIME_POINT, volume_role
from GliomaSegLib.scene.edit_state import set_measured, set_measured_review
from GliomaSegLib.scene.hierarchy import own_reference, place_beside
from GliomaSegLib.scene.keeping import Files, keep, packed
from GliomaSegLib.scene.placement import RunTransforms, place_volumes
from GliomaSegLib.scene.review import DRAFT, Review
from GliomaSegLib.scene.run import in_thread
from GliomaSegLib.scene.segmentation import labels_of, volumes_of
from GliomaSegLib.scene.segmentation_files import read_result, show_result
from GliomaSegLib.scene.session import Session
from GliomaSegLib.scene.tables import fill_volumes_table
from GliomaSegLib.worker.client import Event


@dataclass(frozen=True)
class SegmentationResult:
    """A result in the scene and on disk.

    Attributes:
        transforms: new nodes above the volumes that had to be moved; the user may correct them.
        volumes: the images, by modality.
        output: the folder of results.
        result: :class:`~GliomaSegLib.results.job_result.JobResult` as JSON.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    table: slicer.vtkMRMLTableNode
    transforms: Mapping[Modality, slicer.vtkMRMLLinearTransformNode]
    volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode]
    output: Path
    result: Mapping[str, Any]


def read_manifest(result: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest in the folder of a :class:`~GliomaSegLib.results.job_result.JobResult` (as JSON)."""
    return json.loads(Path(result["files"]["manifest"]).read_text(encoding="utf-8"))


def stored_result(output: Path) -> dict[str, Any]:
    """The fields of a folder's :class:`~GliomaSegLib.results.job_result.JobResult` (as JSON) that the scene shows.

    Raises:
        InputError: it is no folder of results, or damaged.
    """
    files = {key: str(output / name) for key, name in FILES.items()}
    try:
        manifest, measures = (
            json.loads(Path(files[key]).read_text(encoding="utf-8")) for key in ("manifest", "measures_json")
        )
        return {
            **{key: manifest.get(key) for key in ("case_id", "review", "reviews", "warnings")},
            "training": manifest["model"].get("training"),
            "output": str(output),
            "files": files,
            "measures": measures,
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{output} is no folder of results, or damaged; choose one that GliomaSeg made.") from error


def add_result(
    session: Session,
    result: Mapping[str, Any],
    volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode],
    placed: RunTransforms,
    undo: ExitStack,
) -> Generator[Event | None, None, SegmentationResult]:
    """Steps that put a result into the scene; ``undo`` removes it again.

    Args:
        result: :class:`~GliomaSegLib.results.job_result.JobResult` as JSON.
        volumes: the images; those that were deleted meanwhile are passed over with a warning.

    Raises:
        InputError: the files are damaged, or the reference image has moved.
    """
    there = {sequence: node for sequence, node in volumes.items() if node.GetScene() is session.scene}
    for sequence in volumes.keys() - there.keys():
        yield Event("warning", f"{sequence.title} was deleted from the scene; its transform is not shown.")
    manifest = read_manifest(result)
    of_reference, record = next((Modality(s), r) for s, r in manifest["sequences"].items() if r["is_reference"])
    reference = there.get(of_reference)
    read = read_result(result)
    yield None
    segmentation = show_result(session.scene, read, result, reference)
    undo.callback(session.remove_node, segmentation)
    yield None
    table = session.add_node("vtkMRMLTableNode", f"{result['case_id']} volumes", undo)
    segmentation.SetNodeReferenceID(TABLE, table.GetID())
    segmentation.SetAttribute(TIME_POINT, manifest["time_point"])
    days = manifest["days_since_surgery"]
    segmentation.SetAttribute(DAYS, None if days is None else f"{days:g}")
    segmentation.SetAttribute(SERIES, record["series_uid"])
    segmentation.SetAttribute(CREATED, manifest["created"])
    for sequence, node in there.items():
        segmentation.SetNodeReferenceID(volume_role(sequence), node.GetID())
    made = place_volumes(session, Path(result["output"]) / "transforms", there, placed, undo)
    if reference is not None:
        for node in (segmentation, table, *made.values()):
            place_beside(node, reference)
    set_measured(segmentation, labels_of(segmentation)[0])
    shown = yield from shown_measures(segmentation, result)
    undo.callback(session.remove_node, segmentation.GetNodeReference(Files.RESULT.role))
    return replace(shown, transforms=made, volumes=there)


def keep_files(segmentation: slicer.vtkMRMLSegmentationNode, output: Path) -> Generator[None, None, None]:
    """Steps that store the present files of a folder of results in the scene."""
    files = yield from in_thread(partial(packed, output))
    if segmentation.GetScene() is None:
        raise InputError(f"'{segmentation.GetName()}' was deleted while GliomaSeg was at work, so it stopped.")
    place_beside(keep(segmentation, Files.RESULT, files), segmentation)


def shown_measures(
    segmentation: slicer.vtkMRMLSegmentationNode, result: Mapping[str, Any]
) -> Generator[None, None, SegmentationResult]:
    """Steps that show the measured volumes and the state of review of a result, and store its files in the scene."""
    segmentation.SetAttribute(RESULT_LABELS, read_manifest(result).get("labels_sha256") or None)
    yield from keep_files(segmentation, Path(result["output"]))
    table = own_reference(segmentation, TABLE)
    if table is None:  # the user has deleted it, or has copied the segmentation
        table = segmentation.GetScene().AddNewNodeByClass("vtkMRMLTableNode", f"{result['case_id']} volumes")
        segmentation.SetNodeReferenceID(TABLE, table.GetID())
    fill_volumes_table(table, result["measures"])
    last = (result.get("reviews") or [{}])[-1]
    # The segmentation may have been edited while the worker was busy: that is neither measured nor approved.
    set_measured_review(segmentation, Review(result.get("review", DRAFT), last.get("by") or "", last.get("when", "")))
    return SegmentationResult(segmentation, table, {}, volumes_of(segmentation), Path(result["output"]), result)
