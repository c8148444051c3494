"""Measures, reviews, agreement and thresholds of a result in the scene, with the real worker."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.labels import Label, Region  # noqa: E402
from GliomaSegLib.scene.edits import Edits  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from GliomaSegLib.scene.threshold import Rethreshold, load_probability, show_probability  # noqa: E402
from GliomaSegLib.scene.volumes import ijk_to_world  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost  # noqa: E402
from Testing.support.scene_runs import LogicMaker, finish  # noqa: E402
from Testing.support.study import toy_labels, volume  # noqa: E402


def test_review(logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any]) -> None:
    done = logic.segment(**nodes, **options).result
    logic.review(done.segmentation, "approved", "Dr. Weiß")
    review = review_of(done.segmentation)
    assert (review.state, review.by) == ("approved", "Dr. Weiß")
    assert review.when
    manifest = json.loads((done.output / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["review"] == "approved"
    assert "Dr. Weiß" in (done.output / "report.html").read_text(encoding="utf-8")

    edited = toy_labels()
    edited[0, 0, 0] = Label.SNFH
    set_labels(done.segmentation, edited)
    assert review_of(done.segmentation).state == "edited"
    logic.review(done.segmentation, "rejected", "Dr. Weiß")
    assert review_of(done.segmentation).state == "rejected"
    manifest = json.loads((done.output / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["review"] == "rejected"
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(done.output / "segmentation.nii.gz"))), edited
    )


def test_what_is_drawn_while_it_is_approved_is_not_approved(
    logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    done = logic.segment(**nodes, **options).result
    run = logic.review(done.segmentation, "approved", "Dr. Weiß", wait=False)
    run.poll()
    edited = toy_labels()
    edited[0, 0, 0] = Label.SNFH
    set_labels(done.segmentation, edited)
    finish(run)
    assert review_of(done.segmentation).state == "edited"
    assert logic.hasUnmeasuredEdits(done.segmentation)
    logic.measure(done.segmentation)
    assert not logic.hasUnmeasuredEdits(done.segmentation)
    manifest = json.loads((done.output / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["review"] == "edited", "the approval is void there too"


def test_edit_that_nobody_watched_is_measured_before_it_is_approved(
    make_logic: LogicMaker, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    first = make_logic()
    done = first.segment(**nodes, **options).result
    first.close()
    edited = toy_labels()
    edited[0, 0, 0] = Label.SNFH
    set_labels(done.segmentation, edited)
    make_logic().review(done.segmentation, "approved", "Dr. Weiß")
    kept = sitk.ReadImage(str(done.output / "segmentation.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(kept), edited)
    assert review_of(done.segmentation).state == "approved"


def test_compare(logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]) -> None:
    first = logic.segment(**nodes, **options).result
    second = logic.segment(**nodes, **options).result
    assert first.output != second.output, "earlier results are not touched"
    same = logic.compare(first.segmentation, second.segmentation)
    assert all(one.dice == 1 for one in same.values())
    half = toy_labels()
    half[:, :15] = 0
    set_labels(second.segmentation, half)
    agreement = logic.compare(first.segmentation, second.segmentation)[Region.WT]
    kept, whole = np.count_nonzero(half), np.count_nonzero(toy_labels())
    assert agreement.dice == pytest.approx(2 * kept / (kept + whole))
    assert agreement.other_ml == pytest.approx(kept * 27 / 1000)
    second.segmentation.SetAndObserveTransformNodeID(host.add_transform(MOVED).GetID())
    with pytest.raises(InputError, match="are on different grids"):
        logic.compare(first.segmentation, second.segmentation)


def test_threshold_from_the_workers_own_map(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    host.add_transform(MOVED, *nodes.values())
    done = logic.segment(**nodes, **options).result
    probability = load_probability(done.segmentation)
    flair = sitk.GetArrayFromImage(volume(Modality.T2F))
    expected = np.round(np.clip(flair / 545 / 2, 0, 1) * 255)  # the toy's map
    inside = probability > 0
    assert inside.sum() > np.count_nonzero(toy_labels())
    np.testing.assert_allclose(probability[inside], expected[inside], atol=1)
    assert not (expected[~inside] > 13).any()

    edits = Edits(done.segmentation)
    slider = Rethreshold(edits)
    slider.preview(0.3)
    assert np.count_nonzero(labels_of(done.segmentation)[0]) > 2 * np.count_nonzero(toy_labels())
    slider.preview(0.5)
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], toy_labels())
    slider.preview(0.35)
    slider.keep()
    lower = labels_of(done.segmentation)[0]
    np.testing.assert_array_equal(lower > 0, (probability >= 0.35 * 255) | (toy_labels() > 0))
    assert set(np.unique(lower[toy_labels() == 0])) == {0, Label.SNFH}
    edits.undo()
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], toy_labels())
    assert not edits.can_undo

    overlay = show_probability(host.scene, done.segmentation)
    shown = slicer.util.arrayFromVolume(overlay)
    k, j, i = np.unravel_index(np.argmax(shown), shown.shape)
    where = np.linalg.inv(ijk_to_world(nodes["t1c"])) @ ijk_to_world(overlay) @ [i, j, k, 1]
    i, j, k = np.round(where[:3]).astype(int)
    assert probability[k, j, i] == shown.max()


def test_without_a_map_a_sentence(logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any]) -> None:
    done = logic.segment(**nodes, **options, probabilities=False).result
    with pytest.raises(InputError, match="There is no probability map of 'head t1c segmentation'"):
        load_probability(done.segmentation)
