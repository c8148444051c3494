"""The transforms of a run: by the worker, by the user, by the application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of  # noqa: E402
from GliomaSegLib.scene.transforms import read_transform, write_transform  # noqa: E402
from GliomaSegLib.scene.volumes import ijk_to_world  # noqa: E402
from Testing.support.recorded_cli import RecordedApplication  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost, ijk_to_ras, rigid  # noqa: E402
from Testing.support.scene_runs import LogicMaker, finish  # noqa: E402
from Testing.support.study import toy_labels, volume  # noqa: E402


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
        2
        * np.count_nonzero((array > 0) & (toy_labels() > 0))
        / (np.count_nonzero(array) + np.count_nonzero(toy_labels()))
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
    assert (labels_of(done.segmentation)[0] > 0).sum() == pytest.approx((toy_labels() > 0).sum(), rel=0.05)
