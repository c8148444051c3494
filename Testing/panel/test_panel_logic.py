"""The module's logic on a real scene (slicer-core), with as much of the application as it asks for."""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.scene.attributes import COMPARISON, OUTPUT  # noqa: E402
from GliomaSegLib.scene.comparison import link_comparison, mark_outdated  # noqa: E402
from GliomaSegLib.scene.keeping import Files, keep, packed  # noqa: E402
from GliomaSegLib.scene.session import Session  # noqa: E402
from Testing.support.scene_host import SceneHost  # noqa: E402

MODULE = Path(__file__).parents[2] / "GliomaSeg"
BASES = ("", "Logic", "Test", "Widget")
MODULES = ("GliomaSeg", *(f"GliomaSegPanel.{name}" for name in ("logic", "self_test", "self_test_head")))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """``GliomaSeg.py`` as the application would have loaded it, in an empty scene."""
    host = SceneHost()
    bases = types.ModuleType("slicer.ScriptedLoadableModule")
    for ending in BASES:
        name = f"ScriptedLoadableModule{ending}"
        setattr(bases, name, type(name, (), {"__init__": lambda self, *arguments: None}))
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = i18n.translate = lambda *texts: texts[-1]
    application = types.SimpleNamespace(
        testingEnabled=lambda: False,
        coreIOManager=lambda: types.SimpleNamespace(forceFileNameValidCharacters=lambda name: name.replace("/", "_")),
        processEvents=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "slicer.ScriptedLoadableModule", bases)
    monkeypatch.setitem(sys.modules, "slicer.i18n", i18n)
    monkeypatch.setattr(slicer, "app", application, raising=False)
    monkeypatch.setattr(slicer, "mrmlScene", host.scene, raising=False)
    monkeypatch.syspath_prepend(str(MODULE))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("GliomaSeg")
    for name in MODULES:
        sys.modules.pop(name, None)
    host.close()


@pytest.fixture
def result(module: types.ModuleType, tmp_path: Path) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation node that shows a folder of results."""
    folder = tmp_path / "case" / "results"
    folder.mkdir(parents=True)
    (folder / "measures.json").write_text(json.dumps({"case_id": "A/B", "volumes": []}))
    (folder / "report.html").write_text("new")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumour")
    node.SetAttribute(OUTPUT, str(folder))
    return node


def test_the_files_are_exported_into_a_folder_of_the_case(
    module: types.ModuleType, result: slicer.vtkMRMLSegmentationNode, tmp_path: Path
) -> None:
    logic = module.GliomaSegLogic()
    target = logic.exportFolder(result, tmp_path)
    assert target == tmp_path / "A_B"
    target.mkdir()
    (target / "report.html").write_text("old")
    (target / "notes.txt").write_text("the reader's own")
    written = logic.exportFiles(result, tmp_path, ["report.html", "measures.json"])
    assert written == [target / "report.html", target / "measures.json"]
    assert (target / "report.html").read_text() == "new"
    assert {path.name for path in target.iterdir()} == {"report.html", "measures.json", "notes.txt"}


def test_an_export_that_fails_leaves_what_was_there(
    module: types.ModuleType, result: slicer.vtkMRMLSegmentationNode, tmp_path: Path
) -> None:
    logic = module.GliomaSegLogic()
    target = logic.exportFolder(result, tmp_path)
    target.mkdir()
    (target / "report.html").write_text("old")
    with pytest.raises(InputError, match=r"measures\.csv could not be written"):
        logic.exportFiles(result, tmp_path, ["report.html", "measures.csv"])
    assert [path.name for path in target.iterdir()] == ["report.html"]
    assert (target / "report.html").read_text() == "old"


def test_measures_are_those_of_the_folder(
    module: types.ModuleType, result: slicer.vtkMRMLSegmentationNode, tmp_path: Path
) -> None:
    logic = module.GliomaSegLogic()
    assert logic.measuresOf(result)["case_id"] == "A/B"
    foreign = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "foreign")
    with pytest.raises(InputError, match="The folder of results of 'foreign' is not there; put it back"):
        logic.resultFolder(foreign)
    assert logic.measuresOf(foreign) is None
    result.SetAttribute(OUTPUT, str(tmp_path / "gone"))
    assert logic.measuresOf(result) is None


def test_comparison_is_that_of_its_folder(
    module: types.ModuleType, result: slicer.vtkMRMLSegmentationNode, tmp_path: Path
) -> None:
    logic = module.GliomaSegLogic()
    assert logic.comparisonOf(result) is None
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "comparison.json").write_text(json.dumps({"answers": [name]}))
        result.SetAttribute(COMPARISON, str(folder))
        assert logic.comparisonOf(result) == {"answers": [name]}
    result.SetAttribute(COMPARISON, str(tmp_path / "gone"))
    assert logic.comparisonOf(result) is None


def test_a_comparison_of_another_scene_in_the_same_place_is_not_shown(
    module: types.ModuleType, result: slicer.vtkMRMLSegmentationNode, tmp_path: Path
) -> None:
    logic, other = module.GliomaSegLogic(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    for node, answer in ((result, "one"), (other, "two")):
        (tmp_path / answer).mkdir()
        (tmp_path / answer / "comparison.json").write_text(json.dumps({"answers": [answer]}))
        keep(node, Files.COMPARISON, packed(tmp_path / answer))
        node.SetAttribute(COMPARISON, str(tmp_path / "on another computer"))
        assert logic.comparisonOf(node) == {"answers": [answer]}


def test_comparison_with_a_later_study_counts_while_its_folder_is_there(
    module: types.ModuleType, result: slicer.vtkMRMLSegmentationNode, tmp_path: Path
) -> None:
    logic = module.GliomaSegLogic()
    assert logic.comparisonWith(result) is None
    later = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "later")
    nodes = types.SimpleNamespace(all=())
    link_comparison(later, [result], nodes, tmp_path, outdated=False)
    assert logic.comparisonWith(result) == logic.comparisonWith(later) == (later, False)
    mark_outdated(result)
    assert logic.comparisonWith(result) == logic.comparisonWith(later) == (later, True)
    assert logic.resultFolder(later, Files.COMPARISON) == tmp_path
    link_comparison(later, [result], nodes, tmp_path / "gone", outdated=False)
    assert logic.comparisonWith(result) is None


def test_dicom_is_found_in_slicers_database(
    module: types.ModuleType, result: slicer.vtkMRMLSegmentationNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logic = module.GliomaSegLogic()
    assert logic.dicomFiles(result) == []
    assert not logic.isOnDicom(result)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1c")
    volume.SetAttribute("DICOM.instanceUIDs", "1.1 1.2")
    result.SetNodeReferenceID(result.GetReferenceImageGeometryReferenceRole(), volume.GetID())
    assert not logic.isOnDicom(result), "no database is open"
    database = types.SimpleNamespace(isOpen=True, fileForInstance=lambda uid: str(tmp_path / uid))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    assert not logic.isOnDicom(result), "its files are gone"
    (tmp_path / "1.1").touch()
    assert logic.dicomFiles(result) == [], "one of them is gone"
    (tmp_path / "1.2").touch()
    assert logic.dicomFiles(result) == [tmp_path / "1.1", tmp_path / "1.2"]
    assert logic.isOnDicom(result)


def test_dicom_gets_a_new_folder_each_time(
    module: types.ModuleType, result: slicer.vtkMRMLSegmentationNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logic, asked = module.GliomaSegLogic(), []
    scene = types.SimpleNamespace(
        exportDicom=lambda *given, **options: asked.append((given, options)),
        measuresOf=lambda node: {"case_id": "A/B"},
    )
    monkeypatch.setattr(module.GliomaSegLogic, "scene", scene)
    logic.exportDicom(result, tmp_path, ["seg"])
    (tmp_path / "A_B" / "DICOM").mkdir(parents=True)
    logic.exportDicom(result, tmp_path, ["seg"], tmp_path / "series", wait=False)
    assert asked == [
        ((result, tmp_path / "A_B" / "DICOM", ["seg"], None), {}),
        ((result, tmp_path / "A_B" / "DICOM-2", ["seg"], tmp_path / "series"), {"wait": False}),
    ]


def test_another_setting_is_taken_by_the_next_run(module: types.ModuleType, tmp_path: Path) -> None:
    logic = module.GliomaSegLogic()
    logic.configure(results=tmp_path)
    first = logic.scene
    assert first.folder == tmp_path
    logic.configure(results=tmp_path)
    assert logic.scene is first
    logic.configure(results=tmp_path / "other")
    first._run = types.SimpleNamespace(done=False, cancel=lambda: None)
    assert logic.scene is first  # what runs is not disturbed
    first._run = types.SimpleNamespace(done=True, cancel=lambda: None)
    assert logic.scene.folder == tmp_path / "other"
    logic.close()


@pytest.mark.skipif(os.name == "nt", reason="a script as interpreter")
@pytest.mark.parametrize("own", [True, False], ids=["own Python", "Slicer's Python"])
def test_a_python_of_the_users_own_does_not_load_slicers_libraries(
    module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    from GliomaSegLib.scene import logic as scene_logic

    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\nimport json, os\ninput()\n"
        'print(json.dumps({"event": "result", "result": {"path": os.environ.get("PYTHONPATH")}}))\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", "slicers")
    before = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: before)
    monkeypatch.setattr(scene_logic, "default_python", lambda: script)
    logic = module.GliomaSegLogic()
    logic.configure(python=script if own else None, results=tmp_path / "results")
    assert logic.install("any").result == {"path": None if own else "slicers"}
    logic.close()


def test_only_a_test_without_packages_replays_recorded_answers(
    module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from GliomaSegPanel import dependencies

    logic = module.GliomaSegLogic()
    logic.configure(store=tmp_path)
    assert not logic.usesRecording
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: True)
    monkeypatch.setattr(dependencies, "lacking", lambda: ())
    assert not logic.usesRecording
    monkeypatch.setattr(dependencies, "lacking", lambda: ("torch>=2.4",))
    assert logic.usesRecording
    logic.configure(python=Path("/usr/bin/python3"))  # has packages of its own
    assert not logic.usesRecording


def test_the_store_of_the_panel_goes_into_the_requests(
    module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(Session, "request", lambda self, request: iter([asked.append(request)]))
    logic = module.GliomaSegLogic()
    logic.install("m")
    logic.configure(store=tmp_path)
    logic.install("m")
    logic.install("m", tmp_path / "mine")
    logic.close()
    assert [request.get("store") for request in asked] == [None, str(tmp_path), str(tmp_path / "mine")]
