"""Undo and a threshold that was moved there and back cost no approval; one result is visible at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegPanel.recorded_worker import replay_command  # noqa: E402
from GliomaSegPanel.self_test_head import drawn_like, load_head, remove_upper_half  # noqa: E402

from GliomaSegLib.errors import GliomaSegError  # noqa: E402
from GliomaSegLib.scene.attributes import COMPARISON_OUTDATED  # noqa: E402
from GliomaSegLib.scene.edit_state import restore_if_unchanged  # noqa: E402
from GliomaSegLib.scene.edits import Edits  # noqa: E402
from GliomaSegLib.scene.lesions import delete_lesion  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from GliomaSegLib.scene.threshold import MODEL_THRESHOLD, Rethreshold  # noqa: E402
from GliomaSegLib.scene.visibility import show_only  # noqa: E402
from Testing.support.scene_host import SceneHost  # noqa: E402


@pytest.fixture
def head(host: SceneHost, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The generated head of the module's self-test in the scene."""
    monkeypatch.setattr(slicer, "mrmlScene", host.scene, raising=False)
    return load_head()


@pytest.fixture
def logic(host: SceneHost, tmp_path: Path) -> Iterator[SceneLogic]:
    """A logic with the worker's recorded answers for that head."""
    command = replay_command(Path(sys.executable))
    made = SceneLogic(host.scene, folder=tmp_path / "cases", worker_command=command)
    yield made
    made.close()


@pytest.fixture
def result(logic: SceneLogic, head: dict[str, Any]) -> Any:
    """A result that was approved, before any edit."""
    node = logic.segment(**head, model="any").result.segmentation
    logic.review(node, "approved", "Dr. Test")
    return node


def test_undo_to_the_same_voxels_keeps_the_approval(logic: SceneLogic, result: Any) -> None:
    approval, edits = review_of(result), Edits(result)
    (lesion,) = logic.lesions(result)
    delete_lesion(edits, lesion)
    assert review_of(result).state == "edited"
    assert logic.hasUnmeasuredEdits(result)
    assert not restore_if_unchanged(result)
    edits.undo()
    assert restore_if_unchanged(result)
    assert review_of(result) == approval
    assert approval.by == "Dr. Test"
    assert not logic.hasUnmeasuredEdits(result)


def test_a_threshold_that_was_moved_there_and_back_keeps_the_approval(logic: SceneLogic, result: Any) -> None:
    approval, slider = review_of(result), Rethreshold(Edits(result))
    slider.preview(0.3)
    slider.preview(0.8)
    assert review_of(result).state == "edited"
    slider.preview(MODEL_THRESHOLD)
    assert restore_if_unchanged(result)
    assert review_of(result) == approval
    slider.preview(0.3)
    slider.keep()
    assert not restore_if_unchanged(result)


def test_after_a_measured_edit_the_old_voxels_are_an_edit(logic: SceneLogic, result: Any) -> None:
    before, _ = labels_of(result)
    remove_upper_half(result)
    logic.measure(result)
    assert not logic.hasUnmeasuredEdits(result)
    set_labels(result, before)
    assert not restore_if_unchanged(result)
    assert logic.hasUnmeasuredEdits(result)


def test_an_undone_edit_does_not_date_a_comparison_and_a_measured_one_does(
    logic: SceneLogic, head: dict[str, Any], result: Any
) -> None:
    logic.compareStudies(result, drawn_like(result, head["t1c"]), head["t1c"])
    before, _ = labels_of(result)
    remove_upper_half(result)
    assert result.GetAttribute(COMPARISON_OUTDATED)
    set_labels(result, before)
    assert restore_if_unchanged(result)
    assert result.GetAttribute(COMPARISON_OUTDATED) is None
    remove_upper_half(result)
    logic.measure(result)
    halved, _ = labels_of(result)
    set_labels(result, np.zeros_like(halved))
    set_labels(result, halved)
    assert restore_if_unchanged(result)
    assert result.GetAttribute(COMPARISON_OUTDATED), "the comparison was of the voxels before"


def test_after_a_measurement_that_failed_nothing_is_restored(
    logic: SceneLogic, result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = labels_of(result)
    remove_upper_half(result)
    with monkeypatch.context() as patch:
        patch.setattr("GliomaSegLib.scene.measuring.save_labels", _fail)
        with pytest.raises(GliomaSegError, match="disk is full"):
            logic.measure(result)
    set_labels(result, before)
    assert not restore_if_unchanged(result), "the files may hold other voxels"
    assert logic.hasUnmeasuredEdits(result)


def _fail(*arguments: object) -> bool:
    raise GliomaSegError("The disk is full.")


def test_one_result_is_visible_and_none_is_deleted(
    logic: SceneLogic, host: SceneHost, head: dict[str, Any], result: Any
) -> None:
    drawing = drawn_like(result, head["t1c"])
    second = logic.segment(**head, model="any").result.segmentation
    show_only(second)
    nodes = (result, second, drawing)
    assert [bool(node.GetDisplayNode().GetVisibility()) for node in nodes] == [False, True, True]
    show_only(result)
    assert [bool(node.GetDisplayNode().GetVisibility()) for node in nodes] == [True, False, True]
    assert all(node.GetScene() is host.scene for node in nodes)
