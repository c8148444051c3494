"""What goes wrong in a run: nothing half-made is left, and a sentence says why."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.run import Run, in_thread  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from GliomaSegLib.zoo.card import Card  # noqa: E402
from Testing.support.scene_host import SceneHost, toy_worker  # noqa: E402
from Testing.support.scene_runs import CRASH, KILLED, SLOW, LogicMaker, cases, finish, until  # noqa: E402
from Testing.support.study import toy_labels  # noqa: E402


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
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], toy_labels())


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
    np.testing.assert_array_equal(labels_of(done.segmentation)[0], toy_labels())
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
    set_labels(done.segmentation, np.zeros_like(toy_labels()))
    for _ in range(2):  # the second time it finds the edit in the file
        with pytest.raises(GliomaSegError, match="division by zero"):
            logic.measure(done.segmentation)
        assert logic.hasUnmeasuredEdits(done.segmentation)


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


def test_bad_input_is_reported_at_once(
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
