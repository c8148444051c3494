"""A scene carries its results: on another computer, or with the folder of results gone, everything still works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.labels import Label  # noqa: E402
from GliomaSegLib.scene.attributes import COMPARISON, OUTPUT  # noqa: E402
from GliomaSegLib.scene.keeping import Files, file_of, has_files, has_folder, measures_of  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from GliomaSegLib.scene.threshold import has_probability, load_probability  # noqa: E402
from Testing.support.scene_host import SceneHost  # noqa: E402
from Testing.support.scene_runs import LogicMaker  # noqa: E402
from Testing.support.study import toy_labels  # noqa: E402


@pytest.fixture
def elsewhere(
    make_logic: LogicMaker, host: SceneHost, nodes: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> Any:
    """A result in a scene that was saved, and read where there are no files of it, and its probability map."""
    logic = make_logic()
    node = logic.segment(**nodes, **options).result.segmentation
    before = logic.segment(**nodes, **options).result.segmentation
    logic.compareStudies(node, before, in_place=True)
    logic.review(node, "approved", "Dr. Weiß")
    probability, name = load_probability(node), node.GetName()
    logic.close()
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    shutil.rmtree(tmp_path / "cases")
    return host.scene.GetFirstNodeByName(name), probability


def test_measures_probability_and_comparison_are_read_from_the_scene(elsewhere: Any, make_logic: LogicMaker) -> None:
    node, probability = elsewhere
    assert not has_folder(node)
    assert has_files(node)
    assert measures_of(node)["volumes"]
    assert make_logic().lesions(node)[0].long_mm is not None
    assert has_probability(node)
    np.testing.assert_array_equal(load_probability(node), probability)
    assert json.loads(file_of(node, "comparison.json", Files.COMPARISON))["answers"]
    assert make_logic().resultFolder(node, Files.COMPARISON).joinpath("comparison.html").is_file()


def test_measure_review_and_comparison_write_the_folder_anew(elsewhere: Any, make_logic: LogicMaker) -> None:
    node, _ = elsewhere
    logic = make_logic()
    edited = toy_labels()
    edited[0, 0, 0] = Label.SNFH
    set_labels(node, edited)
    done = logic.measure(node).result
    assert done.output.parent.parent == logic.folder
    assert node.GetAttribute(OUTPUT) == str(done.output)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(done.output / "segmentation.nii.gz")))
    np.testing.assert_array_equal(written, edited)
    assert review_of(node).state == "edited"
    logic.review(node, "approved", "Dr. Schwarz")
    manifest = json.loads((done.output / "manifest.json").read_text(encoding="utf-8"))
    assert [one["by"] for one in manifest["reviews"] if one["by"]] == ["Dr. Weiß", "Dr. Schwarz"]
    assert json.loads(file_of(node, "manifest.json"))["review"] == "approved"
    shutil.rmtree(logic.folder / done.output.parent.name)
    assert json.loads(file_of(node, "manifest.json"))["review"] == "approved", "the scene follows"
    before = node.GetNodeReference("GliomaSeg.ComparedWith")
    assert logic.compareStudies(node, before, in_place=True).result.answers


def test_the_folder_of_another_result_at_the_same_path_is_not_used(elsewhere: Any, make_logic: LogicMaker) -> None:
    node, _ = elsewhere
    folder = Path(node.GetAttribute(OUTPUT))
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"created": "2020-01-01T00:00:00+00:00"}))
    (folder / "measures.json").write_text(json.dumps({"volumes": []}))
    assert measures_of(node)["volumes"]
    assert make_logic().measure(node).result.output != folder
    assert json.loads((folder / "measures.json").read_text()) == {"volumes": []}


def test_kept_files_that_were_tampered_with_are_not_there(elsewhere: Any, make_logic: LogicMaker) -> None:
    node, _ = elsewhere
    for text in ("!", "AAAA", "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA"):
        node.GetNodeReference(Files.RESULT.role).SetText(text)
        assert not has_files(node)
        assert measures_of(node) is None
        with pytest.raises(InputError, match="put it back, or segment the case again"):
            make_logic().resultFolder(node)


def test_a_deleted_result_takes_its_files_out_of_the_scene(
    elsewhere: Any, host: SceneHost, make_logic: LogicMaker
) -> None:
    node, _ = elsewhere
    make_logic()
    before = host.scene.GetNumberOfNodesByClass("vtkMRMLTextNode")
    assert node.GetAttribute(COMPARISON)
    host.scene.RemoveNode(node)
    assert host.scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == before - 2
    assert labels_of(host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))[0].any()
