"""Two nodes of one result (a copy, or the folder opened again), and edits that nobody watched: each keeps its own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.labels import Label  # noqa: E402
from GliomaSegLib.scene.keeping import file_of, measures_of  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.result import SegmentationResult  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from Testing.support.scene_host import SceneHost  # noqa: E402
from Testing.support.scene_runs import LogicMaker  # noqa: E402
from Testing.support.study import toy_labels  # noqa: E402


@pytest.fixture
def done(logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any]) -> SegmentationResult:
    """A result that was approved."""
    made = logic.segment(**nodes, **options).result
    logic.review(made.segmentation, "approved", "Dr. Weiß")
    return made


def copied(node: Any, host: SceneHost) -> Any:
    """A copy, as the subject hierarchy's Clone makes it."""
    copy = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.Copy(node)
    copy.SetName("copy")
    return copy


def edited(place: int = 0) -> np.ndarray:
    labels = toy_labels()
    labels[0, 0, place] = Label.SNFH
    return labels


def written(folder: Any) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "segmentation.nii.gz")))


def test_an_edit_that_nobody_watched_voids_the_approval(
    logic: SceneLogic, make_logic: LogicMaker, done: SegmentationResult
) -> None:
    logic.close()  # as before the module is first opened
    set_labels(done.segmentation, edited())
    assert review_of(done.segmentation).state == "approved"
    after = make_logic()
    assert review_of(done.segmentation).state == "edited"
    assert after.hasUnmeasuredEdits(done.segmentation)


def test_an_edit_of_a_copy_voids_its_approval_alone(
    logic: SceneLogic, host: SceneHost, done: SegmentationResult
) -> None:
    copy = copied(done.segmentation, host)
    assert review_of(copy).state == "approved"
    set_labels(copy, edited())  # before anybody asks for its edits
    assert (review_of(copy).state, review_of(done.segmentation).state) == ("edited", "approved")
    assert logic.hasUnmeasuredEdits(copy)
    assert not logic.hasUnmeasuredEdits(done.segmentation)


def test_a_copy_that_is_filled_before_it_is_added_is_watched_too(
    logic: SceneLogic, host: SceneHost, done: SegmentationResult
) -> None:
    copy = slicer.vtkMRMLSegmentationNode()
    copy.Copy(done.segmentation)
    host.scene.AddNode(copy)
    assert not logic.hasUnmeasuredEdits(copy)
    set_labels(copy, edited())
    assert logic.hasUnmeasuredEdits(copy)
    assert review_of(copy).state == "edited"


def test_asking_for_edits_changes_nothing(logic: SceneLogic, host: SceneHost, done: SegmentationResult) -> None:
    copy = copied(done.segmentation, host)
    logic.close()  # nothing is watched any more
    set_labels(copy, edited())
    assert not logic.hasUnmeasuredEdits(copy)
    assert review_of(copy).state == "approved"


def test_measuring_a_copy_leaves_table_and_files_of_the_first(
    logic: SceneLogic, host: SceneHost, done: SegmentationResult
) -> None:
    copy, before = copied(done.segmentation, host), measures_of(done.segmentation)
    shown = done.table.GetCellText(0, 4)
    set_labels(copy, edited())
    other = logic.measure(copy).result.output
    assert other != done.output
    np.testing.assert_array_equal(written(done.output), toy_labels())
    np.testing.assert_array_equal(written(other), edited())
    assert json.loads((done.output / "manifest.json").read_bytes())["review"] == "approved"
    assert measures_of(copy) != before
    assert measures_of(done.segmentation) == before
    assert json.loads(file_of(done.segmentation, "manifest.json"))["review"] == "approved"
    assert done.table.GetCellText(0, 4) == shown
    host.scene.RemoveNode(copy)
    assert measures_of(done.segmentation) == before


def test_rejecting_a_copy_leaves_the_approval_of_the_first(
    logic: SceneLogic, host: SceneHost, done: SegmentationResult
) -> None:
    copy = copied(done.segmentation, host)
    logic.review(copy, "rejected", "Dr. Groß")
    assert (review_of(done.segmentation).state, review_of(copy).state) == ("approved", "rejected")
    assert json.loads((done.output / "manifest.json").read_bytes())["review"] == "approved"
    host.scene.RemoveNode(done.segmentation)
    assert json.loads(file_of(copy, "manifest.json"))["review"] == "rejected"


def test_two_nodes_of_one_folder_do_not_overwrite_each_others_edits(
    logic: SceneLogic, done: SegmentationResult
) -> None:
    second = logic.openResult(done.output).result.segmentation
    set_labels(done.segmentation, edited(1))
    logic.measure(done.segmentation)
    set_labels(second, edited(2))
    other = logic.measure(second).result.output
    assert other != done.output
    np.testing.assert_array_equal(written(done.output), edited(1))
    np.testing.assert_array_equal(written(other), edited(2))
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], edited(1))
    assert logic.measure(done.segmentation).result.output == done.output
