"""The module's self-test, run on a real scene with recorded answers and an imitation of the application's widgets."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.errors import WeightsError  # noqa: E402
from Testing.support import panel_host, qt_imitation  # noqa: E402
from Testing.support.scene_host import ROOT, SceneHost  # noqa: E402

TESTS = (
    *("test_panel", "test_comparison_and_dicom", "test_three_studies", "test_what_could_mislead", "test_logic"),
    *("test_review_by_keys", "test_without_the_folder", "test_cancel", "test_scene_closed", "test_refusals"),
)


@pytest.fixture
def module(host: SceneHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[types.ModuleType]:
    """``GliomaSeg.py`` in an application that lacks the worker's packages, so that the recorded answers are used."""
    application = panel_host.Application(host)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = i18n.translate = lambda *texts: texts[-1]
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    wrapper.parameterNodeWrapper, wrapper.WithinRange = panel_host.parameter_node_wrapper, lambda *limits: limits
    for name, stub in (
        ("qt", qt_imitation.qt_module()),
        ("slicer.i18n", i18n),
        ("slicer.parameterNodeWrapper", wrapper),
        ("slicer.ScriptedLoadableModule", panel_host.module_bases(application)),
    ):
        monkeypatch.setitem(sys.modules, name, stub)
    plots = types.SimpleNamespace(logic=lambda: types.SimpleNamespace(ShowChartInLayout=application.show_chart))
    for name, value in (
        ("app", application),
        ("mrmlScene", host.scene),
        ("modules", types.SimpleNamespace(plots=plots)),
    ):
        monkeypatch.setattr(slicer, name, value, raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("GliomaSeg", "GliomaSegPanel")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(ROOT / "GliomaSeg"))
    loaded = importlib.import_module("GliomaSeg")
    opened: list[Any] = []

    def module_widget(name: str) -> Any:
        if not opened:
            opened.append(loaded.GliomaSegWidget(types.SimpleNamespace(isEntered=True)))
            opened[0].setup()
            opened[0].enter()
        return opened[0]

    bundle = tmp_path / "scene.mrb"
    functions = {
        "loadUI": lambda path: qt_imitation.Widget(),
        "childWidgetVariables": lambda widget: qt_imitation.widgets(),
        "selectModule": lambda name: None,
        "getModuleWidget": module_widget,
        "saveScene": lambda path: host.scene.WriteToMRB(str(bundle), None),
        "loadScene": lambda path: host.scene.ReadFromMRB(str(bundle), True),
        "mainWindow": qt_imitation.Widget,
        "resetSliceViews": lambda: None,
        "setSliceViewerLayers": lambda **layers: None,
        "confirmOkCancelDisplay": application.confirm(True),
        "confirmYesNoDisplay": application.confirm(False),
    }
    for name, function in functions.items():
        monkeypatch.setattr(slicer.util, name, function, raising=False)
    monkeypatch.setattr("GliomaSegPanel.dependencies.lacking", lambda wanted=None: ("torch>=2.4",))
    loaded.application = application
    yield loaded
    for widget in opened:
        widget.cleanup()
    application.close()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("GliomaSeg", "GliomaSegPanel")]:
        del sys.modules[name]


def test_every_test_of_the_self_test_is_run_here(module: types.ModuleType) -> None:
    assert {name for name in dir(module.GliomaSegTest) if name.startswith("test_")} == set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_self_test(module: types.ModuleType, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    test = module.GliomaSegTest(name)
    test.setUp()
    try:
        getattr(test, name)()
    finally:
        test.tearDown()
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err, captured.err


def test_the_tooltip_of_the_folder_says_which_files_of_it_were_not_used(module: types.ModuleType) -> None:
    widget = slicer.util.getModuleWidget("GliomaSeg")
    folder, plain = widget.ui.studyFolderEdit, widget.ui.studyFolderEdit.toolTip
    widget.images.show_passed_over(["2 files of 'T1 <post>' do not count: they are empty."])
    assert folder.toolTip == f"{plain}<p>2 files of &#x27;T1 &lt;post&gt;&#x27; do not count: they are empty.</p>"
    folder.emit("currentPathChanged(QString)", "/another/study")
    assert folder.toolTip == plain


def test_a_model_for_another_time_is_asked_about_once(
    module: types.ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    from GliomaSegPanel.parameters import Brain, StudyTime

    test = module.GliomaSegTest("test_panel")
    test.setUp()
    importlib.import_module("GliomaSegPanel.self_test_head").load_head()
    widget = test._opened_panel()
    card = widget.situation().card
    other = next(time for time in StudyTime if time.value.value in ("preoperative", "postoperative")
                 and time.value not in card.time_points)  # fmt: skip
    widget.parameters.brain, widget.parameters.timePoint = Brain.STRIPPED, other
    for _ in range(2):
        test._press(widget, widget.ui.applyButton)
    calls = slicer.util.confirmOkCancelDisplay.call_args_list
    asked = [call for call in calls if "Use it all the same?" in call.args[0]]
    assert len(asked) == 1
    assert widget.parameters.segmentation is not None
    test.tearDown()


def test_what_another_module_draws_is_not_lost_with_a_threshold_that_was_being_tried(
    module: types.ModuleType,
) -> None:
    from GliomaSegLib.scene.segmentation import labels_of, set_labels

    test = module.GliomaSegTest("test_panel")
    test.setUp()
    importlib.import_module("GliomaSegPanel.self_test_head").load_head()
    widget = test._opened_panel()
    widget.parameters.brain = importlib.import_module("GliomaSegPanel.parameters").Brain.STRIPPED
    test._press(widget, widget.ui.applyButton)
    node, slider = widget.parameters.segmentation, widget.ui.thresholdSlider
    slider.value = 30
    widget.result._on_preview()
    widget.exit()
    drawn, _ = labels_of(node)
    drawn[0, 0, 0] = 3
    set_labels(node, drawn)
    widget.enter()
    for threshold in (40, 50):
        slider.value = threshold
        widget.result._on_preview()
    assert labels_of(node)[0][0, 0, 0] == 3
    test.tearDown()


def test_a_tick_of_the_timer_updates_the_progress_bar_alone(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranking the models and looking at all sections ten times a second would be felt."""
    test = module.GliomaSegTest("test_panel")
    test.setUp()
    importlib.import_module("GliomaSegPanel.self_test_head").load_head()
    widget = test._opened_panel()
    calls: list[str] = []
    for owner, method in ((widget.run, "show_progress"), (widget, "refresh")):
        monkeypatch.setattr(owner, method, _recorded(getattr(owner, method), calls))
    running = types.SimpleNamespace(done=False, poll=lambda: [], wait=lambda: None, cancel=lambda: None)
    situation = importlib.import_module("GliomaSegPanel.decisions.situation")
    widget.runner.follow(situation.Work.SEGMENT, running, lambda result: None, lambda error: None)
    calls.clear()
    for _ in range(5):
        widget.runner._poll()
    assert calls == ["show_progress"] * 5
    widget.runner.stop_following()
    test.tearDown()


def _recorded(method: Any, calls: list[str]) -> Any:
    def call() -> None:
        calls.append(method.__name__)
        method()

    return call


def test_after_surgery_a_new_result_is_compared_at_once_with_the_study_that_was_chosen(
    module: types.ModuleType,
) -> None:
    from GliomaSegPanel.parameters import Brain, StudyTime
    from GliomaSegPanel.self_test_head import drawn_like, load_head

    test = module.GliomaSegTest("test_panel")
    test.setUp()
    head, widget = load_head(), test._opened_panel()
    widget.parameters.brain = Brain.STRIPPED
    widget.parameters.timePoint = StudyTime.POSTOPERATIVE
    test._press(widget, widget.ui.applyButton)
    assert widget.ui.answersLabel.text == "", "nothing was chosen to compare with"
    drawn = drawn_like(widget.parameters.segmentation, head["t1c"])
    widget.parameters.preoperativeSegmentation, widget.parameters.preoperativeVolume = drawn, head["t1c"]
    test._press(widget, widget.ui.applyButton)
    test._until(lambda: bool(widget.ui.answersLabel.text))
    test._wait(widget)
    (first, *_others) = widget.logic.comparisonOf(widget.parameters.segmentation)["answers"]
    assert first in widget.ui.messageLabel.text
    test.tearDown()


def test_a_batch_fills_its_table_and_opens_a_result(module: types.ModuleType, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "studies" / name).mkdir(parents=True)
    test = module.GliomaSegTest("test_panel")
    test.setUp()
    widget = test._opened_panel()
    assert "a folder for each study" in widget.ui.batchButton.toolTip
    widget.ui.batchFolderEdit.currentPath = str(tmp_path / "studies")
    widget.ui.batchOutputEdit.currentPath = str(tmp_path / "out")
    assert [widget.ui.batchTable.item(row, 1).text() for row in (0, 1)] == ["waiting", "waiting"]
    test._press(widget, widget.ui.batchButton)
    assert [widget.ui.batchTable.item(row, 1).text() for row in (0, 1)] == ["done", "done"], widget.ui.messageLabel.text
    widget.batch.open(1)
    test._wait(widget)
    assert widget.parameters.segmentation is not None, widget.ui.messageLabel.text
    assert widget.ui.volumesTable.rowCount > 0
    test.tearDown()


def test_the_phantom_of_sample_data_fills_in_all_sequences(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_data, registered = importlib.import_module("GliomaSegPanel.sample_data"), {}
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: registered.update(source))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    monkeypatch.setattr(slicer.util, "tryWithErrorDisplay", lambda *_, **__: contextlib.nullcontext(), raising=False)
    sample_data.register()
    assert registered["uris"] == registered["fileNames"] == [], "nothing is downloaded"
    assert Path(registered["thumbnailFileName"]).is_file()
    test = module.GliomaSegTest("test_panel")
    test.setUp()
    widget = test._opened_panel()
    nodes = sample_data.load_phantom(spacing_mm=4.0)
    widget.images.fill_in()
    assert [getattr(widget.parameters, name) for name in ("t1n", "t1c", "t2w", "t2f")] == nodes
    assert "4 sequences" in widget.ui.readinessLabel.text
    assert "names agree" in widget.ui.readinessLabel.text
    test.tearDown()


def test_a_download_that_fails_is_said_without_an_address(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise WeightsError("https://example.org/a.pth could not be downloaded; run 'gliomaseg models install a'.")

    test = module.GliomaSegTest("test_panel")
    test.setUp()
    widget = test._opened_panel()
    running = types.SimpleNamespace(done=True, poll=lambda: [], wait=fail, cancel=lambda: None)
    monkeypatch.setattr(type(widget.logic), "install", lambda self, model, **_: running, raising=False)
    for source, shown in ((None, "may be offline"), (Path("a.pth"), "https://example.org")):
        widget.model.install(source=source)
        test._until(lambda: widget.runner.work is None)
        assert shown in widget.ui.messageLabel.text
        assert ("gliomaseg models" in widget.ui.messageLabel.text) is (source is not None)
    assert "https://example.org" in caplog.text
    test.tearDown()


def test_whose_study_it_is_stands_in_the_panel_until_it_is_switched_off(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from GliomaSegPanel.parameters import Brain
    from GliomaSegPanel.self_test_head import load_head

    test = module.GliomaSegTest("test_panel")
    test.setUp()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Eva")
    study = hierarchy.CreateStudyItem(patient, "brain")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientID", "4711")
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", "20240531")
    for number, node in enumerate(load_head().values(), start=6):
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
        hierarchy.SetItemParent(item, study)
        hierarchy.SetItemAttribute(item, "DICOM.SeriesNumber", str(number))
        node.SetAttribute("DICOM.instanceUIDs", f"2.{number}.1 2.{number}.2")
    database = types.SimpleNamespace(
        isOpen=True, fileForInstance=lambda uid: "", instanceValue=lambda uid, tag: {"0008,0050": "A-9"}.get(tag, "")
    )
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    widget = test._opened_panel()
    ui = widget.ui
    assert (ui.identityLabel.visible, ui.identityLabel.text) == (
        True, "Eva · patient 4711 · study of 2024-05-31 · accession A-9"
    )  # fmt: skip
    assert "<p>Series 6: T1 post gad, 2 images</p>" in ui.t1cSelector.toolTip
    assert "4711 2024-05-31" in ui.readinessLabel.text

    widget.parameters.brain = Brain.STRIPPED
    test._press(widget, ui.applyButton)
    manifest = Path(widget.logic.resultFolder(widget.parameters.segmentation), "manifest.json")
    content = json.loads(manifest.read_text(encoding="utf-8"))
    lesion = widget.result.lesions[0]
    numbers = [0] * lesion.slice + [57]
    content["identity"] = {"patient_id": "4711", "study_date": "20240531", "image_numbers": numbers, "later": 1}
    content["sequences"]["t1c"]["name"] = "AX T1 POST (series 6)"
    manifest.write_text(json.dumps(content), encoding="utf-8")
    widget.result.show_measures()
    assert (ui.resultIdentityLabel.visible, ui.resultIdentityLabel.text) == (
        True, "patient 4711 · study of 2024-05-31"
    )  # fmt: skip
    assert "T1 + contrast: AX T1 POST (series 6)" in ui.resultIdentityLabel.toolTip
    assert ui.lesionsTable.item(0, 0).toolTip == "measured on image 57"

    ui.identityCheckBox.checked = False
    assert not ui.identityLabel.visible
    assert not ui.resultIdentityLabel.visible
    assert "call the case 'T1 post gad'?" in ui.readinessLabel.text
    assert "Series 6" not in ui.t1cSelector.toolTip
    assert widget.run_options(widget.situation())["identity"] is False
    test.tearDown()
