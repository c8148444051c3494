"""The logic in a real scene with the real worker: the same answer as ``run``, and nothing half-made when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError  # noqa: E402
from GliomaSegLib.io.images import read_labels  # noqa: E402
from GliomaSegLib.labels import Label, Region  # noqa: E402
from GliomaSegLib.pipeline.run import run  # noqa: E402
from GliomaSegLib.scene.edits import Edits  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from GliomaSegLib.scene.run import Run, in_thread  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from GliomaSegLib.scene.threshold import Rethreshold, load_probability, show_probability  # noqa: E402
from GliomaSegLib.scene.transforms import read_transform, write_transform  # noqa: E402
from GliomaSegLib.scene.volumes import ijk_to_world  # noqa: E402
from GliomaSegLib.zoo.card import Card  # noqa: E402
from GliomaSegLib.zoo.store import Store  # noqa: E402
from Testing.support.recorded_cli import RecordedApplication  # noqa: E402
from Testing.support.scene_host import ROOT, SceneHost, ijk_to_ras, rigid, toy_worker  # noqa: E402
from Testing.support.study import toy_job, truth, volume, write_study  # noqa: E402

MOVED = rigid((10, -20, 30), (5, -40, 12))
GIVEN = {"brain": "stripped", "registration": False}

# A network that waits to be stopped, one that crashes, and one with children.
SLOW = "import Testing.support.toy as t, time; t.Thresholds.predict = lambda *a: time.sleep(60)"
CRASH = "import Testing.support.toy as t, os; t.Thresholds.predict = lambda *a: os.kill(os.getpid(), 11)"
KILLED = "import Testing.support.toy as t, os; t.Thresholds.predict = lambda *a: os.kill(os.getpid(), 9)"


@pytest.fixture(autouse=True)
def _no_traceback(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """What fails in an observer is only printed."""
    yield
    assert "Traceback" not in capfd.readouterr().err


LogicMaker = Callable[..., SceneLogic]


@pytest.fixture
def make_logic(host: SceneHost, toy_card: Card, tmp_path: Path) -> Iterator[LogicMaker]:
    """Logics with the real worker and the toy model; closed at the end."""
    made: list[SceneLogic] = []

    def make(first: str = "", **options: Any) -> SceneLogic:
        command = toy_worker(toy_card, tmp_path, first)
        made.append(SceneLogic(host.scene, folder=tmp_path / "cases", worker_command=command, **options))
        return made[-1]

    yield make
    for logic in made:
        logic.close()


@pytest.fixture
def logic(make_logic: LogicMaker) -> SceneLogic:
    return make_logic()


@pytest.fixture
def nodes(host: SceneHost) -> dict[str, Any]:
    """T1c and FLAIR of the tiny study as volume nodes."""
    return {s.value: host.add_volume(volume(s), f"head {s.value}") for s in (Modality.T1C, Modality.T2F)}


@pytest.fixture
def options(toy_store: Store) -> dict[str, Any]:
    return {"model": "toy", "store": str(toy_store.root), **GIVEN}


def cases(tmp_path: Path) -> list[str]:
    """What lies in the folder of cases but the log."""
    folder = tmp_path / "cases"
    return sorted(path.name for path in folder.iterdir() if path.name != "worker.log") if folder.is_dir() else []


@pytest.fixture
def assert_nothing_left(host: SceneHost, nodes: dict[str, Any], tmp_path: Path) -> Callable[[], None]:
    """Says after a run that failed whether the scene is as it was before, and no folder of a case is left."""
    before = host.names()

    def check() -> None:
        assert host.names() == before
        assert cases(tmp_path) == []

    return check


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
    np.testing.assert_array_equal(array, truth())
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
    assert sorted(path.name for path in (done.output.parent / "inputs").iterdir()) == ["t1c.nrrd", "t2f.nrrd"]
    assert events[-1].kind == "result"
    stages = [event.text for event in events if event.kind == "stage"]
    assert stages[0] == "export"
    assert "segmentation" in stages
    assert stages[-1] == "scene"
    assert review_of(done.segmentation).state == "draft"
    assert not logic.has_unmeasured_edits(done.segmentation)


def test_oblique_volumes_under_transforms(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    parent = host.add_transform(MOVED, *nodes.values())
    done = logic.segment(**nodes, **options).result
    array, matrix = labels_of(done.segmentation)
    np.testing.assert_array_equal(array, truth())
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
    np.testing.assert_array_equal(labels_of(segmentation)[0], truth())
    assert review_of(segmentation).state == "draft"
    assert not logic.has_unmeasured_edits(segmentation)

    edited = truth()
    edited[edited == Label.ET] = Label.NETC
    set_labels(segmentation, edited)
    assert review_of(segmentation).state == "edited", "it is watched again"
    assert logic.has_unmeasured_edits(segmentation)
    done = logic.measure(segmentation).result
    assert not logic.has_unmeasured_edits(segmentation)
    assert done.table is host.scene.GetFirstNodeByClass("vtkMRMLTableNode")
    volumes = {row["name"]: row["volume_ml"] for row in done.result["measures"]["volumes"]}
    assert volumes["ET"] == 0
    rows = {
        done.table.GetCellText(row, 0): done.table.GetCellText(row, 2) for row in range(done.table.GetNumberOfRows())
    }
    assert float(rows["ET"]) == 0
    kept = sitk.ReadImage(done.result["files"]["label_map"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(kept), edited)


def test_review(logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any]) -> None:
    done = logic.segment(**nodes, **options).result
    logic.review(done.segmentation, "approved", "Dr. Weiß")
    review = review_of(done.segmentation)
    assert (review.state, review.by) == ("approved", "Dr. Weiß")
    assert review.when
    manifest = json.loads((done.output / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["review"] == "approved"
    assert "Dr. Weiß" in (done.output / "report.html").read_text(encoding="utf-8")

    edited = truth()
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
    edited = truth()
    edited[0, 0, 0] = Label.SNFH
    set_labels(done.segmentation, edited)
    finish(run)
    assert review_of(done.segmentation).state == "edited"
    assert logic.has_unmeasured_edits(done.segmentation)
    logic.measure(done.segmentation)
    assert not logic.has_unmeasured_edits(done.segmentation)
    manifest = json.loads((done.output / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["review"] == "edited", "the approval is void there too"


def test_edit_that_nobody_watched_is_measured_before_it_is_approved(
    make_logic: LogicMaker, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    first = make_logic()
    done = first.segment(**nodes, **options).result
    first.close()
    edited = truth()
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
    half = truth()
    half[:, :15] = 0
    set_labels(second.segmentation, half)
    agreement = logic.compare(first.segmentation, second.segmentation)[Region.WT]
    kept, whole = np.count_nonzero(half), np.count_nonzero(truth())
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
    assert inside.sum() > np.count_nonzero(truth())
    np.testing.assert_allclose(probability[inside], expected[inside], atol=1)
    assert not (expected[~inside] > 13).any()

    edits = Edits(done.segmentation)
    slider = Rethreshold(edits)
    slider.preview(0.3)
    assert np.count_nonzero(labels_of(done.segmentation)[0]) > 2 * np.count_nonzero(truth())
    slider.preview(0.5)
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], truth())
    slider.preview(0.35)
    slider.keep()
    lower = labels_of(done.segmentation)[0]
    np.testing.assert_array_equal(lower > 0, (probability >= 0.35 * 255) | (truth() > 0))
    assert set(np.unique(lower[truth() == 0])) == {0, Label.SNFH}
    edits.undo()
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], truth())
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


# --- transforms -----------------------------------------------------------------------------------------------------


def moved_pair(host: SceneHost, move: np.ndarray) -> dict[str, Any]:
    """T1c in place and FLAIR whose geometry says that the head lay elsewhere: ``move`` takes it back (RAS)."""
    flair = host.add_volume(volume(Modality.T2F), "FLAIR")
    flair.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.linalg.inv(move) @ ijk_to_ras(volume(Modality.T2F))))
    return {"t1c": host.add_volume(volume(Modality.T1C), "T1c"), "t2f": flair}


MOVE = rigid((4, 0, 3), (6, -3, 3))


@pytest.mark.parametrize("under", [False, True], ids=["", "under a transform"])
def test_registration_by_the_worker_is_shown_as_a_transform(
    logic: SceneLogic, host: SceneHost, options: dict[str, Any], under: bool
) -> None:
    nodes = moved_pair(host, MOVE)
    if under:
        host.add_transform(MOVED, *nodes.values(), name="scanner")
    done = logic.segment(**nodes, **(options | {"registration": True})).result
    node = done.transforms[Modality.T2F]
    assert nodes["t2f"].GetParentTransformNode() is node
    assert (node.GetParentTransformNode() is not None) is under
    placed, expected = ijk_to_world(nodes["t2f"]), ijk_to_world(nodes["t1c"])
    corners = np.array([[0, 0, 0, 1], [31, 35, 19, 1], [31, 0, 0, 1], [0, 35, 0, 1]])
    apart_mm = np.linalg.norm((corners @ placed.T - corners @ expected.T)[:, :3], axis=1)
    assert apart_mm.max() < 3, "within a voxel of this coarse study"
    file = read_transform(done.output / "transforms" / "t2f.tfm")
    above = MOVED if under else np.eye(4)
    np.testing.assert_allclose(
        slicer.util.arrayFromTransformMatrix(node), np.linalg.inv(above) @ file @ above, atol=1e-6
    )


@pytest.mark.parametrize("how", ["node", "node above the volume", "file", "node beside a parent"])
def test_transform_of_the_users_own_is_respected(
    logic: SceneLogic, host: SceneHost, options: dict[str, Any], tmp_path: Path, how: str
) -> None:
    nodes = moved_pair(host, MOVE)
    own = host.add_transform(MOVE, name="mine")
    given: Any = own
    if how == "node above the volume":
        nodes["t2f"].SetAndObserveTransformNodeID(own.GetID())
    elif how == "file":
        given = tmp_path / "mine.tfm"
        write_transform(MOVE, given)
    elif how == "node beside a parent":
        turned = rigid((0, 0, 40), (0, 0, 0))
        nodes["t2f"].SetIJKToRASMatrix(
            slicer.util.vtkMatrixFromArray(np.linalg.inv(turned) @ ijk_to_world(nodes["t2f"]))
        )
        host.add_transform(turned, nodes["t2f"], name="scanner")
    done = logic.segment(**nodes, **(options | {"registration": True}), transforms={"t2f": given}).result
    np.testing.assert_allclose(ijk_to_world(nodes["t2f"]), ijk_to_world(nodes["t1c"]), atol=1e-5)
    array, _ = labels_of(done.segmentation)
    agreement = (
        2 * np.count_nonzero((array > 0) & (truth() > 0)) / (np.count_nonzero(array) + np.count_nonzero(truth()))
    )
    assert agreement > 0.99
    np.testing.assert_allclose(slicer.util.arrayFromTransformMatrix(own), MOVE, atol=1e-12)


def test_registration_in_the_application(make_logic: LogicMaker, host: SceneHost, options: dict[str, Any]) -> None:
    from GliomaSegLib.scene.registration import BrainsFit

    nodes = moved_pair(host, MOVE)
    ras = np.diag([-1.0, -1, 1, 1])
    itk = ras @ np.linalg.inv(MOVE) @ ras  # a point of the reference to the moving image, LPS
    answer = sitk.AffineTransform(3)
    answer.SetMatrix(itk[:3, :3].ravel().tolist())
    answer.SetTranslation(itk[:3, 3].tolist())
    application = RecordedApplication(host.scene, lambda fixed, moving: answer)
    logic = make_logic(registrar=BrainsFit(application.cli, application.modules.brainsfit))
    run = logic.segment(**nodes, **(options | {"registration": True}), wait=False)
    finish(run, application.advance)
    done = run.result
    assert nodes["t2f"].GetParentTransformNode() is done.transforms[Modality.T2F]
    np.testing.assert_allclose(ijk_to_world(nodes["t2f"]), ijk_to_world(nodes["t1c"]), atol=1e-4)
    assert done.transforms[Modality.T2F].GetName() == "FLAIR to T1c"
    assert (labels_of(done.segmentation)[0] > 0).sum() == pytest.approx((truth() > 0).sum(), rel=0.05)


def finish(run: Any, between: Callable[[], Any] = lambda: None, limit_s: float = 300) -> None:
    end = time.monotonic() + limit_s
    while not run.done:
        assert time.monotonic() < end
        run.poll()
        between()
        time.sleep(0.01)


# --- what goes wrong ------------------------------------------------------------------------------------------------


def until(run: Any, stage: str, limit_s: float = 300) -> None:
    """Poll until the worker has come to a stage."""
    end = time.monotonic() + limit_s
    while True:
        events = run.poll()
        if any(event.kind == "stage" and event.text == stage for event in events):
            return
        assert not run.done, events
        assert time.monotonic() < end
        time.sleep(0.01)


def test_cancelled_run_leaves_nothing(
    make_logic: LogicMaker, nodes: dict[str, Any], options: dict[str, Any], assert_nothing_left: Callable[[], None]
) -> None:
    logic = make_logic(SLOW)
    run = logic.segment(**nodes, **options, wait=False)
    until(run, "segmentation")
    began = time.monotonic()
    run.cancel()
    assert time.monotonic() - began < 0.1
    with pytest.raises(InputError, match="still at work"):
        logic.segment(**nodes, **options)
    finish(run)
    with pytest.raises(Cancelled, match="nothing half-made is left"):
        run.wait()
    assert_nothing_left()


def test_the_next_run_works_after_a_cancelled_one(
    make_logic: LogicMaker, nodes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    flag = tmp_path / "slow"
    flag.touch()
    slow_once = (
        "import Testing.support.toy as t, time, os; was = t.Thresholds.predict\n"
        f"t.Thresholds.predict = lambda *a: time.sleep(60) if os.path.exists({str(flag)!r}) else was(*a)"
    )
    logic = make_logic(slow_once)
    run = logic.segment(**nodes, **options, wait=False)
    until(run, "segmentation")
    run.cancel()
    finish(run)
    flag.unlink()
    done = logic.segment(**nodes, **options).result
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], truth())


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("how", "says"), [(CRASH, "crashed"), (KILLED, "out of memory")])
def test_crash_is_a_sentence_with_the_log(
    make_logic: LogicMaker,
    nodes: dict[str, Any],
    options: dict[str, Any],
    assert_nothing_left: Callable[[], None],
    how: str,
    says: str,
) -> None:
    logic = make_logic(how)
    with pytest.raises(GliomaSegError, match=says) as caught:
        logic.segment(**nodes, **options)
    assert str(logic.log) in str(caught.value)
    assert_nothing_left()


def test_reference_deleted_meanwhile(
    make_logic: LogicMaker, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    logic = make_logic(SLOW)
    run = logic.segment(**nodes, **options, wait=False)
    until(run, "segmentation")
    host.scene.RemoveNode(nodes["t1c"])
    finish(run)
    with pytest.raises(InputError, match="'head t1c' was deleted while GliomaSeg was at work, so it stopped"):
        run.wait()
    assert host.names() == ["ScalarVolumeNode head t2f"]
    assert cases(tmp_path) == []


def test_other_volume_deleted_meanwhile(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    events: list[Any] = []
    run = logic.segment(**nodes, **options, wait=False, on_event=events.append)
    until(run, "reading")
    host.scene.RemoveNode(nodes["t2f"])
    done = run.wait()
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], truth())
    assert list(done.volumes) == [Modality.T1C]
    assert [event.text for event in events if event.kind == "warning"] == [
        "FLAIR was deleted from the scene; its transform is not shown."
    ]


def test_scene_closed_meanwhile(
    make_logic: LogicMaker, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    logic = make_logic(SLOW)
    run = logic.segment(**nodes, **options, wait=False)
    until(run, "segmentation")
    host.scene.Clear(False)
    finish(run)
    with pytest.raises(Cancelled, match="The scene was closed, so GliomaSeg stopped"):
        run.wait()
    assert host.names() == []
    assert cases(tmp_path) == []


def test_segmentation_deleted_while_it_is_measured(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    done = logic.segment(**nodes, **options).result
    run = logic.measure(done.segmentation, wait=False)
    run.poll()
    run.poll()
    host.scene.RemoveNode(done.segmentation)
    finish(run)
    with pytest.raises(InputError, match="was deleted while GliomaSeg was at work"):
        run.wait()


def test_edit_that_could_not_be_measured_is_still_to_be_measured(
    make_logic: LogicMaker, nodes: dict[str, Any], options: dict[str, Any]
) -> None:
    logic = make_logic("import GliomaSegLib.results.update as r; r.refresh = lambda *a: 1 / 0")
    done = logic.segment(**nodes, **options).result
    set_labels(done.segmentation, np.zeros_like(truth()))
    for _ in range(2):  # the second time it finds the edit in the file
        with pytest.raises(GliomaSegError, match="division by zero"):
            logic.measure(done.segmentation)
        assert logic.has_unmeasured_edits(done.segmentation)


def test_what_another_thread_does_is_waited_for() -> None:
    free = threading.Event()
    run = Run(in_thread(lambda: free.wait(60) and "read"))
    assert run.poll() == []
    assert not run.done
    free.set()
    assert run.wait() == "read"


def test_cancelled_run_is_done_when_its_thread_is() -> None:
    free, written = threading.Event(), []
    run = Run(in_thread(lambda: written.append(free.wait(60))))
    run.poll()
    run.cancel()
    run.poll()
    assert not run.done, "it is still writing"
    free.set()
    with pytest.raises(Cancelled):
        run.wait()
    assert written == [True]


def test_volume_that_moved_meanwhile(
    make_logic: LogicMaker, nodes: dict[str, Any], options: dict[str, Any], assert_nothing_left: Callable[[], None]
) -> None:
    logic = make_logic()
    run = logic.segment(**nodes, **options, wait=False)
    until(run, "reading")
    nodes["t1c"].SetOrigin(0, 0, 0)
    finish(run)
    with pytest.raises(InputError, match=r"'head t1c' has another grid or place than .* segment the case again"):
        run.wait()
    assert_nothing_left()


def test_bad_input_is_told_at_once(
    logic: SceneLogic, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="No volume was chosen"):
        logic.segment(**options)
    empty = host.add_volume(sitk.Image(4, 5, 6, sitk.sitkInt16), "nothing")
    with pytest.raises(InputError, match="'nothing' is empty"):
        logic.segment(t1c=nodes["t1c"], t2f=empty, **options)
    with pytest.raises(InputError, match="A transform was given for T2, but no such volume"):
        logic.segment(**nodes, **options, transforms={"t2w": tmp_path / "t.tfm"})
    host.add_transform(np.diag([2.0, 1, 1, 1]), nodes["t2f"], name="scaled")
    with pytest.raises(InputError, match="'head t2f' is under the transform 'scaled', which is not rigid"):
        logic.segment(**nodes, **options)
    assert cases(tmp_path) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"model": "none-such"}, "There is no model 'none-such'"),
        ({"store": "/nowhere"}, "toy"),
        ({"brain": "wool"}, "brain"),
    ],
)
def test_what_the_worker_refuses_is_its_sentence(
    logic: SceneLogic,
    nodes: dict[str, Any],
    options: dict[str, Any],
    assert_nothing_left: Callable[[], None],
    wrong: dict[str, Any],
    says: str,
) -> None:
    events: list[Any] = []
    with pytest.raises(GliomaSegError, match=says) as caught:
        logic.segment(**nodes, **(options | wrong), on_event=events.append)
    assert events[-1].kind == "error"
    assert events[-1].text == str(caught.value)
    assert "\n" not in str(caught.value)
    assert_nothing_left()


def test_folder_that_cannot_be_made(
    host: SceneHost, toy_card: Card, nodes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    logic = SceneLogic(host.scene, folder=tmp_path / "file", worker_command=toy_worker(toy_card, tmp_path))
    with pytest.raises(InputError, match="cannot be made"):
        logic.segment(**nodes, **options)
    logic.close()


def test_listener_that_fails_stops_the_run(
    make_logic: LogicMaker, nodes: dict[str, Any], options: dict[str, Any], assert_nothing_left: Callable[[], None]
) -> None:
    def listen(event: Any) -> None:
        if event.text == "segmentation":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_logic(SLOW).segment(**nodes, **options, on_event=listen)
    assert_nothing_left()


def test_main_thread_is_never_held_long(logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any]) -> None:
    run = logic.segment(**nodes, **options, wait=False)
    longest = 0.0
    while not run.done:
        began = time.thread_time()  # of this thread alone: other programs on the machine do not count
        run.poll()
        longest = max(longest, time.thread_time() - began)
        time.sleep(0.01)
    assert run.result
    assert longest < 0.1


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
    np.testing.assert_array_equal(array, truth())
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
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], truth())
    shown = slicer.util.arrayFromVolume(done.volumes[Modality.T1C])
    np.testing.assert_array_equal(shown, np.round(sitk.GetArrayFromImage(volume(Modality.T1C))))


def test_batch(logic: SceneLogic, host: SceneHost, options: dict[str, Any], tmp_path: Path) -> None:
    good, bad, other = (tmp_path / name for name in ("good", "bad", "other"))
    write_study(good)
    bad.mkdir()
    write_study(other, [Modality.T2F])
    events: list[Any] = []
    items = logic.processBatch([good, bad, other], tmp_path / "out", **options, on_event=events.append).result
    assert [item.study for item in items] == ["good", "bad", "other"]
    assert [item.result is not None for item in items] == [True, False, True]
    assert "bad" in items[1].error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good", "other"]
    assert [event.text for event in events if "of 3" in event.text] == [
        "good (1 of 3)",
        "bad (2 of 3)",
        "other (3 of 3)",
    ]
    assert host.names() == []


def test_environment_of_the_worker(host: SceneHost, tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text('import json, os; input(); print(json.dumps({"event": "result", "result": dict(os.environ)}))')
    given = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ} | {"GIVEN": "yes"}
    logic = SceneLogic(host.scene, folder=tmp_path, worker_command=[sys.executable, str(script)], environment=given)
    environment = logic.install("any").result
    logic.close()
    assert environment["GIVEN"] == "yes"
    assert "PYTEST_CURRENT_TEST" not in environment


def test_batch_can_be_cancelled(make_logic: LogicMaker, options: dict[str, Any], tmp_path: Path) -> None:
    studies = [write_study(tmp_path / name) for name in ("a", "b")]
    run = make_logic(SLOW).processBatch(studies, tmp_path / "out", **options, wait=False)
    until(run, "segmentation")
    run.cancel()
    finish(run)
    with pytest.raises(Cancelled):
        run.wait()
    assert list((tmp_path / "out").iterdir()) == []


def test_installing_a_model(make_logic: LogicMaker, tmp_path: Path) -> None:
    install = (
        "import GliomaSegLib.zoo.store as s\n"
        "def install(self, card, source=None, progress=None):\n"
        "    progress.advance(0.5, 'half of it')\n"
        "    (self.root / card.id).mkdir(parents=True)\n"
        "s.Store.install = install"
    )
    logic, events = make_logic(install), []
    assert logic.install("toy", tmp_path / "store", on_event=events.append).result["model"] == "toy"
    assert (tmp_path / "store" / "toy").is_dir()
    assert any(event.text.startswith("half of it") and event.fraction == 0.5 for event in events)
    with pytest.raises(GliomaSegError, match="There is no model 'none-such'"):
        logic.install("none-such", tmp_path / "store")
