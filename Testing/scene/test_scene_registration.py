"""Registration by the application: the right direction, the same answer as the worker's, nothing left behind."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (pip install .[slicer])")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.io.grid import centre  # noqa: E402
from GliomaSegLib.phantom import Phantom  # noqa: E402
from GliomaSegLib.preprocessing.rigid import register  # noqa: E402
from GliomaSegLib.scene.registration import BrainsFit, BrainsFitRun, available, default_registrar  # noqa: E402
from GliomaSegLib.scene.transforms import insert_above, write_transform  # noqa: E402
from Testing.support.recorded_cli import Finder, RecordedApplication  # noqa: E402
from Testing.support.scene_host import LPS, SceneHost  # noqa: E402

AGREEMENT_MM = 0.01  # the same registration on both ways: what rounding in files may add


def euler(angles: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*angles)
    transform.SetTranslation(shift_mm)
    return transform


# A point of the reference -> the same point of the moving volume, LPS mm; no two axes alike.
MOVEMENT = euler((0.10, -0.20, 0.30), (12.0, -7.0, 25.0))


def by_simpleitk(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    return register(fixed, moving).transform or sitk.Transform(3, sitk.sitkIdentity)


def known(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    return MOVEMENT


class Pair:
    """A fixed and a moving volume in a scene, a transform node for the answer, and the application."""

    def __init__(
        self, host: SceneHost, fixed: sitk.Image, moving: sitk.Image, find: Finder = known, **behaviour: object
    ) -> None:
        self.host, self.scene = host, host.scene
        self.fixed, self.moving = host.add_volume(fixed, "T1c"), host.add_volume(moving, "FLAIR")
        self.transform = self.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "FLAIR to T1c")
        self.application = RecordedApplication(self.scene, find, **behaviour)

    def put_under(self, node: slicer.vtkMRMLTransformableNode, transform: sitk.Transform) -> None:
        """Move a node of the scene by a transform of points (LPS mm)."""
        self.host.add_transform(LPS @ matrix_of(transform) @ LPS, node)

    def nodes(self) -> set[str]:
        return {self.scene.GetNthNode(index).GetID() for index in range(self.scene.GetNumberOfNodes())}

    def start(self) -> BrainsFitRun:
        return default_registrar(self.application).start(self.fixed, self.moving, self.transform)

    def finish(self, run: BrainsFitRun) -> None:
        for _ in range(10):
            if run.poll():
                return
            self.application.advance()
        pytest.fail("the registration never ended")

    @property
    def matrix(self) -> np.ndarray:
        return slicer.util.arrayFromTransformMatrix(self.transform)

    def itk(self, folder: Path) -> sitk.Transform:
        """The answer as the worker gets it."""
        write_transform(self.matrix, folder / "flair.tfm")
        return sitk.ReadTransform(folder / "flair.tfm")


def matrix_of(transform: sitk.Transform) -> np.ndarray:
    """4 x 4 matrix of a linear transform, LPS mm."""
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis, step in enumerate(np.eye(3).tolist()):
        matrix[:3, axis] = np.array(transform.TransformPoint(step)) - matrix[:3, 3]
    return matrix


def landmarks(image: sitk.Image) -> list[tuple[float, float, float]]:
    """Points of a head, LPS mm, that lie on no axis of symmetry."""
    steps = [(-45, 10, 5), (50, 20, -30), (5, -60, 40), (-20, 65, -10)]
    return [tuple((np.array(centre(image)) + step).tolist()) for step in steps]


def distance_mm(found: sitk.Transform, true: sitk.Transform, image: sitk.Image) -> float:
    points = landmarks(image)
    return float(np.mean([math.dist(found.TransformPoint(p), true.TransformPoint(p)) for p in points]))


@pytest.fixture
def pair(host: SceneHost, random_image: sitk.Image) -> Pair:
    """Two volumes that are under no transform; the answer is :data:`MOVEMENT`."""
    return Pair(host, random_image, random_image + 1)


@pytest.mark.parametrize("sequence", [Modality.T1N, Modality.T2F])
def test_gives_the_same_as_the_workers_registration(
    host: SceneHost, small_phantom: Phantom, sequence: Modality, tmp_path: Path
) -> None:
    fixed, moving = small_phantom.images[Modality.T1C], small_phantom.images[sequence]
    pair = Pair(host, fixed, moving, by_simpleitk)
    run = pair.start()
    pair.finish(run)
    assert run.error is None
    assert distance_mm(pair.itk(tmp_path), register(fixed, moving).transform, fixed) < AGREEMENT_MM
    assert distance_mm(pair.itk(tmp_path), small_phantom.transforms[sequence], fixed) < 1.5


def test_registers_volumes_where_their_parents_put_them(
    host: SceneHost, small_phantom: Phantom, tmp_path: Path
) -> None:
    fixed, moving = small_phantom.images[Modality.T1C], small_phantom.images[Modality.T1N]
    pair = Pair(host, fixed, moving, by_simpleitk)
    over_fixed, over_moving = euler((0, 0, 0.1), (15, 0, -10)), euler((0.05, 0.08, 0), (-8, 20, 6))
    pair.put_under(pair.fixed, over_fixed)
    pair.put_under(pair.moving, over_moving)
    pair.finish(pair.start())
    true = sitk.CompositeTransform([over_moving, small_phantom.transforms[Modality.T1N], over_fixed.GetInverse()])
    points = [over_fixed.TransformPoint(point) for point in landmarks(fixed)]
    found = pair.itk(tmp_path)
    assert max(math.dist(found.TransformPoint(p), true.TransformPoint(p)) for p in points) < 1.5


@pytest.mark.parametrize("under_a_parent", [False, True])
def test_moves_landmarks_the_right_way(pair: Pair, under_a_parent: bool, tmp_path: Path) -> None:
    parent = euler((0.0, 0.2, 0.0), (3.0, 30.0, -4.0)) if under_a_parent else sitk.Euler3DTransform()
    if under_a_parent:
        pair.put_under(pair.moving, parent)
    pair.finish(pair.start())
    for_worker = pair.itk(tmp_path)
    insert_above(pair.moving, pair.transform, pair.matrix)
    for place in [(10.0, 20.0, 30.0), (-40.0, 5.0, 60.0)]:  # of a landmark in the fixed volume, LPS
        in_moving = MOVEMENT.TransformPoint(place)
        assert for_worker.TransformPoint(place) == pytest.approx(in_moving, abs=1e-6)
        of_voxel = parent.GetInverse().TransformPoint(in_moving)  # where the file of the moving volume has it
        shown = [0.0, 0.0, 0.0]
        pair.moving.TransformPointToWorld((LPS[:3, :3] @ of_voxel).tolist(), shown)
        assert shown == pytest.approx((LPS[:3, :3] @ place).tolist(), abs=1e-6)


def test_hands_brainsfit_what_was_found_safe(pair: Pair) -> None:
    pair.finish(pair.start())
    given = {name: value for name, value in pair.application.parameters.items() if not hasattr(value, "GetID")}
    assert given == {"useRigid": True, "initializeTransformMode": "useMomentsAlign", "samplingPercentage": 0.02}


def test_has_no_answer_before_it_is_completed(pair: Pair) -> None:
    run = pair.start()
    while pair.application.statuses[-1] != "Completing":
        assert not run.poll()
        pair.application.advance()
    assert not run.poll()
    assert (pair.matrix == np.eye(4)).all()
    pair.finish(run)
    assert not (pair.matrix == np.eye(4)).all()
    assert pair.application.statuses == ["Scheduled", "Running", "Completing", "Completed"]


@pytest.mark.parametrize("under_a_parent", [False, True])
def test_leaves_parents_and_scene_as_they_were(pair: Pair, under_a_parent: bool) -> None:
    if under_a_parent:
        pair.put_under(pair.fixed, euler((0, 0, 0.1), (1, 2, 3)))
        pair.put_under(pair.moving, euler((0, 0.1, 0), (3, 2, 1)))
    before = pair.nodes(), pair.fixed.GetTransformNodeID(), pair.moving.GetTransformNodeID()
    pair.finish(pair.start())
    assert (pair.nodes(), pair.fixed.GetTransformNodeID(), pair.moving.GetTransformNodeID()) == before


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (
            {"output_text": "PARSE ERROR: Argument: --samplingPercentage\n  Couldn't read it\n\nBrief USAGE:\n brains"},
            "PARSE ERROR: Argument: --samplingPercentage",
        ),
        ({"error_text": "itk::ExceptionObject: all samples map outside\n"}, "all samples map outside"),
        ({"error_text": "Could not find BRAINSFit executable\n", "starts": False}, "Could not find BRAINSFit"),
        ({"error_text": "", "starts": False}, "nothing"),
    ],
)
def test_failure_is_a_sentence_and_leaves_nothing(
    host: SceneHost, random_image: sitk.Image, behaviour: dict[str, object], message: str
) -> None:
    pair = Pair(host, random_image, random_image + 1, **behaviour)
    pair.put_under(pair.moving, euler((0, 0.1, 0), (3, 2, 1)))
    before = pair.nodes()
    run = pair.start()
    pair.finish(run)
    assert "'FLAIR' could not be registered" in run.error
    assert message in run.error
    assert "\n" not in run.error
    assert pair.nodes() == before
    assert (pair.matrix == np.eye(4)).all()


@pytest.mark.parametrize("steps", [0, 1])
def test_cancel_leaves_nothing(pair: Pair, steps: int) -> None:
    pair.put_under(pair.moving, euler((0, 0.1, 0), (3, 2, 1)))
    before = pair.nodes()
    run = pair.start()
    for _ in range(steps):
        pair.application.advance()
    run.cancel()
    assert not run.poll()  # the other thread may still read the volumes
    pair.finish(run)
    assert run.error == "The registration of 'FLAIR' was cancelled."
    assert pair.application.statuses[-2:] == ["Running" if steps else "Scheduled", "Cancelled"]
    assert pair.nodes() == before
    assert (pair.matrix == np.eye(4)).all()


def test_cancel_in_the_applications_own_way_is_no_answer(pair: Pair) -> None:
    run = pair.start()
    next(node for node in map(pair.scene.GetNodeByID, pair.nodes()) if node.GetName() == "BRAINSFit").Cancel()
    pair.finish(run)
    assert run.error == "'FLAIR' could not be registered: it was cancelled."


@pytest.mark.parametrize("which", ["fixed", "moving", "transform"])
def test_a_node_deleted_meanwhile_stops_it(pair: Pair, which: str) -> None:
    run = pair.start()
    before = pair.nodes()
    pair.scene.RemoveNode(getattr(pair, which))
    pair.finish(run)
    assert run.error.startswith("The registration of 'FLAIR' stopped: ")
    assert getattr(pair, which).GetName() in run.error
    assert len(pair.nodes()) == len(before) - 2  # that node and BRAINSFit's own


def test_closing_the_scene_stops_it(pair: Pair) -> None:
    run = pair.start()
    pair.scene.Clear(False)
    pair.finish(run)
    assert "was deleted" in run.error
    assert "Cancelled" in pair.application.statuses


def test_bad_volumes_are_refused_before_anything_is_made(pair: Pair) -> None:
    pair.put_under(pair.fixed, euler((0, 0.1, 0), (3, 2, 1)))
    bent = pair.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Warp")
    before = pair.nodes()
    pair.moving.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(InputError, match="'FLAIR' is under the transform 'Warp'"):
        pair.start()
    pair.moving.SetAndObserveTransformNodeID(None)
    pair.moving.SetAndObserveImageData(None)
    with pytest.raises(InputError, match="'FLAIR' is empty"):
        pair.start()
    assert pair.nodes() == before


def test_a_start_that_fails_leaves_nothing(pair: Pair) -> None:
    def run(*_: object, **__: object) -> None:
        raise RuntimeError("no more threads")

    before = pair.nodes()
    cli = SimpleNamespace(createNode=pair.application.cli.createNode, run=run)
    with pytest.raises(RuntimeError, match="no more threads"):
        BrainsFit(cli, pair.application.modules.brainsfit).start(pair.fixed, pair.moving, pair.transform)
    assert pair.nodes() == before


def test_is_there_only_where_the_application_has_it(pair: Pair) -> None:
    assert available(pair.application)
    assert default_registrar(SimpleNamespace(modules=SimpleNamespace())) is None
    assert default_registrar(SimpleNamespace(cli=pair.application.cli, modules=SimpleNamespace())) is None
