"""Two or three studies compared in the scene, with the real worker."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")


from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError  # noqa: E402
from GliomaSegLib.labels import Label  # noqa: E402
from GliomaSegLib.scene.attributes import COMPARISON, COMPARISON_OUTDATED, TIME_POINT  # noqa: E402
from GliomaSegLib.scene.comparison import chart_of, compared_with, comparison_with  # noqa: E402
from GliomaSegLib.scene.comparison_nodes import _curves, show_comparison  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from GliomaSegLib.scene.segmentation import set_labels  # noqa: E402
from GliomaSegLib.zoo.card import Card  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost, mask_on, toy_worker  # noqa: E402
from Testing.support.study import CORE, VOXEL_ML, toy_labels, volume, write_study  # noqa: E402

SLOW = "import GliomaSegLib.followup.compare as c, time; c.compare = lambda *a, **k: time.sleep(60)"


@pytest.fixture
def drawn(host: SceneHost, nodes: dict[str, Any]) -> Callable[..., Any]:
    """Segmentations that a person drew before surgery on the T1c, as the Segment Editor leaves them."""

    def draw(labels: np.ndarray, *names: str) -> Any:
        node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
        node.SetReferenceImageGeometryParameterFromVolumeNode(nodes["t1c"])
        for name in names:
            segment = slicer.vtkSegment()
            segment.SetName(name)
            mask = labels > 0 if name == "SNFH" and len(names) == 1 else labels == Label[name]
            segment.AddRepresentation("Binary labelmap", mask_on(nodes["t1c"], mask))
            node.GetSegmentation().AddSegment(segment)
        return node

    return draw


def resected() -> np.ndarray:
    """The toy labels with half of the enhancing core taken out."""
    labels = toy_labels()
    labels[CORE[0], CORE[1], CORE[2].start : (CORE[2].start + CORE[2].stop) // 2] = Label.BACKGROUND
    return labels


def volume_of(labels: np.ndarray, label: Label) -> float:
    return float(np.count_nonzero(labels == label)) * VOXEL_ML


def cell(table: Any, column: str, row: int) -> str:
    return table.GetTable().GetColumnByName(column).GetVariantValue(row).ToString()


# --- comparing --------------------------------------------------------------------------------------------------------


def test_two_results_are_compared(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    before = logic.segment(**nodes, **options, time_point="preoperative").result.segmentation
    after = logic.segment(**nodes, **options, time_point="postoperative", days_since_surgery=1).result.segmentation
    assert before.GetAttribute(TIME_POINT) == "preoperative"
    set_labels(after, resected())  # an edit: it is measured first
    unreviewed = logic.compareStudies(after, before, in_place=True).result
    assert unreviewed.answers[0].startswith("Residual tumour is not judged, because the model of study 2")
    logic.review(after, "approved", "Dr. Test")  # the toy was made for studies before surgery
    done = logic.compareStudies(after, before, in_place=True).result

    small, large = volume_of(resected(), Label.ET), volume_of(toy_labels(), Label.ET)
    extent = next(one for one in done.comparison["resection"]["extents"] if one["region"] == "ET")
    assert (extent["before_ml"], extent["after_ml"]) == (pytest.approx(large), pytest.approx(small))
    assert "residual" in done.answers[0].lower()
    assert any(answer.startswith("Extent of resection: ") for answer in done.answers)
    assert not logic.hasUnmeasuredEdits(after)
    assert done.page.is_file()
    assert after.GetAttribute(COMPARISON) == str(done.page.parent)

    studies, lesions = done.nodes.studies, done.nodes.lesions
    assert [cell(studies, "Made", row) for row in range(2)] == ["before surgery", "1 day after surgery"]
    column = next(
        studies.GetTable().GetColumnName(index)
        for index in range(studies.GetTable().GetNumberOfColumns())
        if studies.GetTable().GetColumnName(index).lower().startswith("enhancing")
    )
    assert [float(cell(studies, column, row)) for row in range(2)] == pytest.approx([large, small], abs=0.005)
    assert lesions.GetTable().GetNumberOfRows() == 1
    assert float(cell(lesions, "Study 2 (mL)", 0)) == pytest.approx(small, abs=0.005)
    assert cell(lesions, "Became", 0) == "shrunk"
    chart = chart_of(after)
    assert chart is done.nodes.chart
    assert chart.GetNumberOfPlotSeriesNodes() == 1
    growth = chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert float(cell(growth, "All lesions (mL)", 0)) == pytest.approx(large)


def test_with_a_segmentation_drawn_by_hand(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], drawn: Callable[..., Any]
) -> None:
    after = logic.segment(**nodes, **options).result.segmentation
    drawing = drawn(toy_labels(), "ET", "NETC", "SNFH")
    host.add_transform(MOVED, nodes["t1c"], drawing)  # both: they stay on each other
    when = {"earlier_time_point": "preoperative", "time_point": "postoperative", "days_since_surgery": 2}
    done = logic.compareStudies(after, drawing, nodes["t1c"], **when).result
    extent = done.comparison["resection"]["extents"][0]
    assert extent["fraction"] == pytest.approx(0)
    # Registered: the transform that moved the earlier study is found again.
    assert done.comparison["studies"][0]["moved_mm"] > 20
    (track,) = done.comparison["course"]["tracks"]
    assert all(track["lesions"])


def test_a_drawing_without_parts_says_nothing_of_enhancement(
    logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any], drawn: Callable[..., Any]
) -> None:
    after = logic.segment(**nodes, **options).result.segmentation
    done = logic.compareStudies(after, drawn(toy_labels(), "SNFH"), nodes["t1c"], in_place=True).result
    assert done.comparison["region"] == "WT"
    names = [volume["name"] for volume in done.comparison["studies"][0]["volumes"]]
    assert "WT" in names
    assert "ET" not in names
    done = logic.compareStudies(after, drawn(toy_labels(), "ET"), nodes["t1c"], in_place=True).result
    assert done.comparison["region"] == "ET"
    assert "WT" not in [volume["name"] for volume in done.comparison["studies"][0]["volumes"]]


def test_models_that_look_at_the_study_before_surgery_are_shown_it(
    logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any], drawn: Callable[..., Any], tmp_path: Path
) -> None:
    """The toy does not look at it; what it would be shown are the T1c and the core that was drawn on it."""
    before = logic.segment(**nodes, **options).result
    drawing = drawn(toy_labels(), "ET", "NETC", "SNFH")
    after = logic.segment(**nodes, **options, preoperative=drawing, preoperative_volume=nodes["t1c"]).result
    job = json.loads((after.output / "manifest.json").read_text())["job"]
    core = sitk.ReadImage(job["preoperative_mask"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(core) > 0, np.isin(toy_labels(), (Label.ET, Label.NETC)))
    image = sitk.ReadImage(job["preoperative"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(volume(Modality.T1C)))
    np.testing.assert_allclose(core.GetOrigin(), volume(Modality.T1C).GetOrigin())
    assert after.segmentation.GetAttribute(TIME_POINT) == "postoperative"
    again = logic.segment(**nodes, **options, preoperative=before.segmentation).result
    job = json.loads((again.output / "manifest.json").read_text())["job"]
    assert (job["preoperative"], job["preoperative_mask"]) == (str(before.output), None)
    core = toy_labels()
    core[core == Label.NETC] = Label.ET
    set_labels(before.segmentation, core)  # an edit that is not measured yet
    logic.segmentStudy(write_study(tmp_path / "study"), **options, preoperative=before.segmentation)
    assert not logic.hasUnmeasuredEdits(before.segmentation)
    with pytest.raises(InputError, match="choose also the volume"):
        logic.segment(**nodes, **options, preoperative=drawing)
    with pytest.raises(InputError, match="does not tell enhancing tumour and necrosis apart"):
        logic.segment(**nodes, **options, preoperative=drawn(toy_labels(), "SNFH"), preoperative_volume=nodes["t1c"])


def test_the_next_comparison_takes_the_place_of_the_last(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    before = logic.segment(**nodes, **options).result.segmentation
    after = logic.segment(**nodes, **options).result.segmentation
    first = logic.compareStudies(after, before, in_place=True).result
    names = host.names()
    set_labels(after, resected())
    assert after.GetAttribute(COMPARISON_OUTDATED)
    second = logic.compareStudies(after, before, in_place=True).result
    assert after.GetAttribute(COMPARISON_OUTDATED) is None
    assert host.names() == names
    assert first.nodes.chart.GetScene() is None
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 1
    assert first.page.is_file(), "earlier results are not touched"
    assert second.page != first.page


def test_comparison_is_behind_when_the_earlier_study_is_edited(
    logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any], drawn: Callable[..., Any]
) -> None:
    before = logic.segment(**nodes, **options).result.segmentation
    after = logic.segment(**nodes, **options).result.segmentation
    logic.compareStudies(after, before, in_place=True)
    assert comparison_with(after) == comparison_with(before) == (after, False)
    set_labels(before, resected())
    assert after.GetAttribute(COMPARISON_OUTDATED)
    assert comparison_with(before) == (after, True)
    assert before.GetAttribute(COMPARISON_OUTDATED) is None, "it was compared with nothing earlier"
    logic.compareStudies(after, before, in_place=True)
    assert after.GetAttribute(COMPARISON_OUTDATED) is None

    drawing = drawn(toy_labels(), "ET", "NETC", "SNFH")
    logic.compareStudies(after, drawing, nodes["t1c"], in_place=True)
    set_labels(before, toy_labels())
    assert after.GetAttribute(COMPARISON_OUTDATED) is None, "another one is compared now"
    set_labels(drawing, resected())
    assert after.GetAttribute(COMPARISON_OUTDATED)
    assert review_of(drawing).state == "draft", "it is no result"
    assert not logic.hasUnmeasuredEdits(drawing)


def test_what_is_drawn_during_a_comparison_is_not_in_it(
    logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any], drawn: Callable[..., Any]
) -> None:
    after, drawing = logic.segment(**nodes, **options).result.segmentation, drawn(toy_labels(), "ET", "NETC", "SNFH")
    run = logic.compareStudies(after, drawing, nodes["t1c"], in_place=True, wait=False)
    while not any(event.text == "reading" for event in run.poll()):
        assert not run.done
    set_labels(drawing, resected())
    run.wait()
    assert after.GetAttribute(COMPARISON_OUTDATED)


def test_three_studies_with_a_baseline_and_a_deformation(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], drawn: Callable[..., Any]
) -> None:
    early = drawn(toy_labels(), "ET", "NETC", "SNFH")
    between = logic.segment(**nodes, **options, time_point="postoperative", days_since_surgery=30).result.segmentation
    set_labels(between, resected())  # an edit: it is measured first
    after = logic.segment(**nodes, **options, time_point="postoperative", days_since_surgery=90).result.segmentation
    given = {"earlier_time_point": "postoperative", "between": between, "deformable": True}
    first = logic.compareStudies(after, early, nodes["t1c"], **given).result.comparison
    assert [study["days_since_surgery"] for study in first["studies"]] == [None, 30, 90]
    assert first["baseline"] == 0
    assert "demons" in first["deformation"]
    assert first["studies"][0]["bent_mm"] is not None
    second = logic.compareStudies(after, early, nodes["t1c"], baseline=between, **given).result.comparison
    assert second["baseline"] == 1
    (was, now), (small, large) = (
        [row["volume_ml"] for study in second["studies"][1:] for row in study["volumes"] if row["name"] == "ET"],
        [volume_of(labels, Label.ET) for labels in (resected(), toy_labels())],
    )
    assert (was, now) == (pytest.approx(small), pytest.approx(large))
    set_labels(between, toy_labels())
    assert after.GetAttribute(COMPARISON_OUTDATED)
    names = host.names()
    with pytest.raises(InputError, match="cannot be compared with itself"):
        logic.compareStudies(after, early, nodes["t1c"], between=early)
    with pytest.raises(InputError, match="is no earlier study here"):
        logic.compareStudies(after, early, nodes["t1c"], baseline=between)
    with pytest.raises(InputError, match="choose also the volume that it was drawn on"):
        logic.compareStudies(after, between, between=early)
    with pytest.raises(GliomaSegError, match="cannot be the baseline of response"):
        logic.compareStudies(
            after, early, nodes["t1c"], earlier_time_point="preoperative", between=between, baseline=early
        )
    assert host.names() == names


def test_comparison_is_saved_with_the_scene(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    for kind in (slicer.vtkMRMLPlotChartNode, slicer.vtkMRMLPlotSeriesNode):
        host.scene.RegisterNodeClass(kind())
    before = logic.segment(**nodes, **options).result.segmentation
    after = logic.segment(**nodes, **options).result.segmentation
    done = logic.compareStudies(after, before, in_place=True).result
    name, page = after.GetName(), done.page
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    (node,) = (
        one
        for one in (host.scene.GetNthNodeByClass(i, "vtkMRMLSegmentationNode") for i in range(2))
        if one.GetAttribute(COMPARISON)
    )
    assert node.GetName() == name
    assert Path(node.GetAttribute(COMPARISON)) == page.parent
    assert chart_of(node).GetNthPlotSeriesNode(0).GetTableNode() is not None
    (earlier,) = compared_with(node)
    set_labels(earlier, resected())
    assert node.GetAttribute(COMPARISON_OUTDATED), "both are watched again"


def test_the_curve_of_a_lesion_outside_an_image_is_not_at_nothing_and_of_one_that_is_gone_stays_there() -> None:
    lesions = [[{"volume_ml": 2.0}, None, None], [{"volume_ml": 1.0}, None, None]]
    steps = [[{"change": "outside the other image", "before": [1]}, {"change": "gone", "before": [2]}], []]
    tracks = [{"id": number, "lesions": one} for number, one in enumerate(lesions, start=1)]
    curves = _curves({"course": {"tracks": tracks, "steps": steps}, "studies": [None] * 3})
    assert [str(one) for one in curves["Lesion 1 (mL)"]] == ["2.0", "nan", "nan"]
    assert curves["Lesion 2 (mL)"] == [1.0, 0.0, 0.0]


def test_what_cannot_be_compared_is_a_sentence(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], drawn: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    after = logic.segment(**nodes, **options).result.segmentation
    drawing = drawn(toy_labels(), "ET")
    names, folders = host.names(), sorted(path.name for path in (tmp_path / "cases").iterdir())
    with pytest.raises(InputError, match="cannot be compared with itself"):
        logic.compareStudies(after, after)
    with pytest.raises(InputError, match="choose also the volume that it was drawn on"):
        logic.compareStudies(after, drawing)
    moved = host.add_volume(volume(Modality.T1C), "moved")
    host.add_transform(MOVED, moved)
    names = host.names()
    with pytest.raises(InputError, match="'by hand' lies on another grid than the volume 'moved'"):
        logic.compareStudies(after, drawing, moved)
    with pytest.raises(InputError, match="folder of results of 'by hand' is not there"):
        logic.compareStudies(drawing, after)
    with pytest.raises(GliomaSegError, match="was made before"):
        logic.compareStudies(
            after, drawing, nodes["t1c"], earlier_time_point="postoperative", time_point="preoperative"
        )
    assert host.names() == names
    assert sorted(path.name for path in (tmp_path / "cases").iterdir()) == folders
    assert after.GetAttribute(COMPARISON) is None


def test_cancelled_comparison_leaves_nothing(
    host: SceneHost, toy_card: Card, nodes: dict[str, Any], options: dict[str, Any], drawn: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    logic = SceneLogic(host.scene, folder=tmp_path / "cases", worker_command=toy_worker(toy_card, tmp_path, SLOW))
    after = logic.segment(**nodes, **options).result.segmentation
    drawing = drawn(toy_labels(), "ET")
    names, folders = host.names(), sorted(path.name for path in (tmp_path / "cases").iterdir())
    run = logic.compareStudies(after, drawing, nodes["t1c"], wait=False)
    while not any(event.text == "reading" for event in run.poll()):
        assert not run.done
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait()
    assert host.names() == names
    assert sorted(path.name for path in (tmp_path / "cases").iterdir()) == folders
    logic.close()


def lesion(ml: float, **changes: Any) -> dict[str, Any]:
    return {"volume_ml": ml, "long_mm": 12.0, "perpendicular_mm": 8.0, "side": "left",
            "centre_ras_mm": [-30.0, 10.0, 5.0]} | changes  # fmt: skip


def test_lesions_that_come_go_and_merge(host: SceneHost) -> None:
    study = {"kind": "postoperative", "days_since_surgery": None, "date": None, "volumes": [], "foci": 2}
    comparison = {
        "studies": [study | {"name": f"s{day}", "day": float(day)} for day in (0, 30, 60)],
        "region": "ET",
        "course": {
            "tracks": [
                {"id": 1, "lesions": [lesion(4.0), lesion(5.0), lesion(9.0)]},
                {"id": 2, "lesions": [lesion(2.0), lesion(3.0), None]},
                {"id": 3, "lesions": [lesion(1.0), None, None]},
                {"id": 4, "lesions": [None, None, lesion(0.5)]},
            ],
            "steps": [
                [{"change": "grown", "before": [1], "after": [1]}, {"change": "grown", "before": [2], "after": [2]},
                 {"change": "gone", "before": [3], "after": []}],
                [{"change": "merged", "before": [1, 2], "after": [1]}, {"change": "new", "before": [], "after": [4]}],
            ],
        },
    }  # fmt: skip
    shown = show_comparison(host.scene, comparison, "P1")
    growth = shown.growth.GetTable()
    curves = {
        growth.GetColumnName(i): [growth.GetValue(row, i).ToDouble() for row in range(3)]
        for i in range(growth.GetNumberOfColumns())
    }
    assert curves["Day"] == [0, 30, 60]
    assert curves["All lesions (mL)"] == [7, 8, 9.5]
    assert curves["Lesion 3 (mL)"] == [1, 0, 0], "as on the page"
    assert curves["Lesion 2 (mL)"][:2] == [2, 3]
    assert math.isnan(curves["Lesion 2 (mL)"][2]), "it is part of another: it has not gone"
    assert [cell(shown.lesions, "Became", row) for row in range(4)] == ["merged (1, 2)", "merged (1, 2)", "gone", "new"]
    assert [series.GetName() for series in shown.series] == [
        "All lesions", "Lesion 1", "Lesion 2", "Lesion 3", "Lesion 4"
    ]  # fmt: skip
