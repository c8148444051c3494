"""A scene that was saved by an earlier version (``Testing/data/scene-0.1.0``, of the first version with a panel).

Two volumes under a transform, an approved result with an accepted lesion, and its folder of results. It knows neither
when the study was made nor which voxels were measured, and holds no files.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.labels import Label  # noqa: E402
from GliomaSegLib.scene.attributes import OUTPUT  # noqa: E402
from GliomaSegLib.scene.keeping import has_files, has_folder  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels, volumes_of  # noqa: E402
from GliomaSegLib.scene.threshold import load_probability  # noqa: E402
from GliomaSegLib.scene.volumes import ijk_to_world  # noqa: E402
from Testing.support.scene_host import ROOT, SceneHost  # noqa: E402
from Testing.support.scene_runs import LogicMaker  # noqa: E402
from Testing.support.study import toy_labels  # noqa: E402

SAVED = Path(__file__).parents[1] / "data" / "scene-0.1.0"


@pytest.fixture
def node(host: SceneHost) -> Any:
    """The segmentation in the scene as it was read."""
    assert host.scene.ReadFromMRB(str(SAVED / "scene.mrb"), True)
    return host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")


def test_labels_place_review_and_lesions_are_as_they_were(node: Any, make_logic: LogicMaker) -> None:
    labels, matrix = labels_of(node)
    np.testing.assert_array_equal(labels, toy_labels())
    np.testing.assert_allclose(matrix, ijk_to_world(next(iter(volumes_of(node).values()))), atol=1e-6)
    assert review_of(node).by == "Dr. Test"
    (lesion,) = make_logic().lesions(node)
    assert lesion.accepted
    assert lesion.long_mm is None, "the folder of results is not on this computer"


def test_without_its_folder_a_sentence_says_what_to_do(node: Any, make_logic: LogicMaker) -> None:
    assert not has_files(node)
    with pytest.raises(InputError, match=r"\(/home/reader/.*\); put it back, or segment the case again"):
        make_logic().measure(node)


def test_with_its_folder_it_is_measured_and_from_then_on_the_scene_carries_it(
    node: Any, make_logic: LogicMaker, host: SceneHost, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(SAVED / "results", folder)
    node.SetAttribute(OUTPUT, str(folder))
    logic = make_logic()
    assert logic.lesions(node)[0].long_mm is not None
    assert load_probability(node).any()
    edited = toy_labels()
    edited[0, 0, 0] = Label.SNFH
    set_labels(node, edited)
    assert review_of(node).state == "edited"
    logic.measure(node)
    logic.close()
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    shutil.rmtree(folder)
    again = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert not has_folder(again)
    assert make_logic().lesions(again)[0].long_mm is not None


def test_the_choices_that_it_holds_still_have_their_names() -> None:
    """Slicer keeps the names of the parameters and of their values in the scene."""
    source = (ROOT / "GliomaSeg" / "GliomaSegPanel" / "parameters.py").read_text(encoding="utf-8")
    names = set(re.findall(r"^    (\w+)(?:: | = )", source, re.MULTILINE))
    assert {
        "imagesFrom", "studyFolder", "t1n", "t1c", "t2w", "t2f", "leftOpen", "preoperativeVolume",
        "preoperativeSegmentation", "task", "model", "timePoint", "registration", "brain", "device", "threads",
        "segmentation", "VOLUMES", "FOLDER", "UNKNOWN", "PREOPERATIVE", "POSTOPERATIVE", "AUTOMATIC", "WORKER", "OFF",
        "DEEPBET", "HDBET", "STRIPPED", "AUTO", "CPU", "CUDA", "MPS",
    } <= names  # fmt: skip
