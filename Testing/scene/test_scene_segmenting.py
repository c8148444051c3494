"""Segmenting in a real scene with the real worker: the same answer as ``run``, in the right place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.io.images import read_labels  # noqa: E402
from GliomaSegLib.labels import Label  # noqa: E402
from GliomaSegLib.pipeline.run import run  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from GliomaSegLib.scene.volumes import ijk_to_world  # noqa: E402
from GliomaSegLib.worker.client import Event  # noqa: E402
from GliomaSegLib.zoo.store import Store  # noqa: E402
from Testing.support.scene_host import MOVED, ROOT, SceneHost, ijk_to_ras  # noqa: E402
from Testing.support.study import toy_job, toy_labels, volume, write_study  # noqa: E402


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, slicer\n"
        "before = set(sys.modules)\n"
        "import GliomaSegLib.scene.logic\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    heavy = {"torch", "pydantic", "nibabel", "jinja2", "skimage", "scipy", "SimpleITK", "cc3d", "pydicom", "qt"}
    assert not heavy & set(eval(printed.splitlines()[-1]))


def test_labels_are_those_of_the_command_line(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], toy_store: Store, tmp_path: Path
) -> None:
    events: list[Any] = []
    done = logic.segment(**nodes, **options, on_event=events.append).result
    alone = run(toy_job(toy_store, tmp_path / "alone", study=write_study(tmp_path / "study")))

    expected = sitk.GetArrayFromImage(read_labels(alone.files["label_map"]))
    array, matrix = labels_of(done.segmentation)
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(array, toy_labels())
    np.testing.assert_allclose(matrix, ijk_to_ras(volume(Modality.T1C)), atol=1e-9)
    assert done.result["measures"]["volumes"] == json.loads(alone.measures.model_dump_json())["volumes"]

    assert host.names() == [
        "ScalarVolumeNode head t1c",
        "ScalarVolumeNode head t2f",
        "SegmentationNode head t1c segmentation",
        "TableNode head t1c volumes",
    ]
    assert done.table.GetCellText(0, 0) == "WT"
    assert float(done.table.GetCellText(0, 2)) == pytest.approx(alone.measures.volume("WT").volume_ml)
    assert done.output == tmp_path / "cases" / "head_t1c" / "results"
    copies = sorted((done.output.parent / "inputs").iterdir())
    assert [path.name for path in copies] == ["t1c.nrrd", "t2f.nrrd"]
    assert all(b"encoding: gzip" in path.read_bytes() for path in copies)
    assert events[-1].kind == "result"
    stages = [event.text for event in events if event.kind == "stage"]
    assert stages[0] == "export"
    assert "segmentation" in stages
    assert stages[-1] == "scene"
    assert review_of(done.segmentation).state == "draft"
    assert not logic.hasUnmeasuredEdits(done.segmentation)
    host.scene.RemoveNode(done.segmentation)
    assert [path.name for path in done.output.parent.iterdir()] == ["results"], "the copies go with the case"


def test_oblique_volumes_under_transforms(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    parent = host.add_transform(MOVED, *nodes.values())
    done = logic.segment(**nodes, **options).result
    array, matrix = labels_of(done.segmentation)
    np.testing.assert_array_equal(array, toy_labels())
    np.testing.assert_allclose(matrix, ijk_to_world(nodes["t1c"]), atol=1e-9)
    assert done.segmentation.GetParentTransformNode() is parent
    written = sitk.ReadImage(done.result["files"]["slicer_segmentation"])
    np.testing.assert_allclose(ijk_to_ras(written), MOVED @ ijk_to_ras(volume(Modality.T1C)), atol=1e-6)


def test_side_of_the_tumour(logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]) -> None:
    """The tiny study's tumour is at LPS x > 0, so on the patient's left: R < 0."""
    done = logic.segment(**nodes, **options).result
    (lesion,) = logic.lesions(done.segmentation)
    assert lesion.centre_ras_mm[0] < -5
    assert lesion.side == "left"
    assert lesion.midline_mm is None or lesion.midline_mm > 0
    assert lesion.long_mm > 0


def test_beside_its_source_in_the_subject_hierarchy(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Anna")
    study = hierarchy.CreateStudyItem(subject, "brain")
    for node in nodes.values():
        hierarchy.CreateItem(study, node)
    done = logic.segment(**nodes, **options).result
    for node in (done.segmentation, done.table):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_scene_is_saved_and_reloaded_and_goes_on(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    host.add_transform(MOVED, *nodes.values())
    logic.segment(**nodes, **options)
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    segmentation = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    np.testing.assert_array_equal(labels_of(segmentation)[0], toy_labels())
    assert review_of(segmentation).state == "draft"
    assert not logic.hasUnmeasuredEdits(segmentation)

    edited = toy_labels()
    edited[edited == Label.ET] = Label.NETC
    set_labels(segmentation, edited)
    assert review_of(segmentation).state == "edited", "it is watched again"
    assert logic.hasUnmeasuredEdits(segmentation)
    done = logic.measure(segmentation).result
    assert not logic.hasUnmeasuredEdits(segmentation)
    assert done.table is host.scene.GetFirstNodeByClass("vtkMRMLTableNode")
    volumes = {row["name"]: row["volume_ml"] for row in done.result["measures"]["volumes"]}
    assert volumes["ET"] == 0
    rows = {
        done.table.GetCellText(row, 0): done.table.GetCellText(row, 2) for row in range(done.table.GetNumberOfRows())
    }
    assert float(rows["ET"]) == 0
    kept = sitk.ReadImage(done.result["files"]["label_map"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(kept), edited)


# --- studies on disk ------------------------------------------------------------------------------------------------


def test_study_on_disk(logic: SceneLogic, host: SceneHost, options: dict[str, Any], tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    done = logic.segmentStudy(study, **options).result
    assert host.names() == [
        "ScalarVolumeNode study FLAIR",
        "ScalarVolumeNode study T1 + contrast",
        "SegmentationNode study segmentation",
        "TableNode study volumes",
    ]
    array, matrix = labels_of(done.segmentation)
    np.testing.assert_array_equal(array, toy_labels())
    t1c = done.volumes[Modality.T1C]
    np.testing.assert_allclose(ijk_to_world(t1c), matrix, atol=1e-9)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(t1c), sitk.GetArrayFromImage(volume(Modality.T1C)))


def test_dicom_study_on_disk(logic: SceneLogic, options: dict[str, Any], tmp_path: Path, write_series: Any) -> None:
    for sequence, name in ((Modality.T1C, "AX T1 POST"), (Modality.T2F, "AX FLAIR")):
        image = volume(sequence)
        array = np.round(sitk.GetArrayFromImage(image)).astype(np.int16)
        place = {"origin_mm": image.GetOrigin(), "spacing_mm": image.GetSpacing()}
        write_series(array, folder=f"study/{name}", SeriesDescription=name, **place)
    done = logic.segmentStudy(tmp_path / "study", **options).result
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], toy_labels())
    shown = slicer.util.arrayFromVolume(done.volumes[Modality.T1C])
    np.testing.assert_array_equal(shown, np.round(sitk.GetArrayFromImage(volume(Modality.T1C))))


def test_dicom_series_are_shown_as_they_were_read(
    logic: SceneLogic, options: dict[str, Any], tmp_path: Path, write_series: Any
) -> None:
    study = tmp_path / "study"
    for sequence, name in ((Modality.T1C, "AX T1 POST"), (Modality.T2F, "AX FLAIR")):
        image = volume(sequence)
        place = {"origin_mm": image.GetOrigin(), "spacing_mm": image.GetSpacing()}
        write_series(np.round(sitk.GetArrayFromImage(image)).astype(np.int16), "study", SeriesDescription=name, **place)
    (study / "other").mkdir()
    for path in sorted(study.glob("*.dcm"))[::2]:
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
        path.rename(study / "other" / path.name)
    done = logic.segmentStudy(study, **options).result
    for sequence, node in done.volumes.items():
        expected = volume(sequence)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), np.round(sitk.GetArrayFromImage(expected)))
        np.testing.assert_allclose(np.linalg.norm(ijk_to_world(node)[:3, :3], axis=0), expected.GetSpacing())
    assert set(done.volumes) == {Modality.T1C, Modality.T2F}
    for path in study.rglob("*.dcm"):
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
    events: list[Event] = []
    opened = logic.openResult(done.output, on_event=events.append).result
    assert not opened.volumes
    assert sum("not the image that was segmented" in event.text for event in events) == 2
