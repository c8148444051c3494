"""The module as Slicer loads it: light, whole, and its code and its .ui file use names that are there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from GliomaSegLib.results.layout import FILES

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "GliomaSeg"
UI = ElementTree.parse(MODULE / "Resources" / "UI" / "GliomaSeg.ui").getroot()
SOURCES = {path: path.read_text(encoding="utf-8") for path in MODULE.rglob("*.py")}
HEAVY = ("torch", "monai", "pydantic", "SimpleITK", "scipy", "skimage", "nibabel", "pydicom", "jinja2", "requests")

# Just enough of the application for the import; what Slicer itself has loaded already is not counted.
STUBS = """
import sys, time, types
import numpy

class Anything:
    def __init__(self, *arguments, **named): pass

def stub(name, **content):
    module = sys.modules[name] = types.ModuleType(name)
    module.__dict__.update(content)
    return module

nodes = dict.fromkeys(('vtkMRMLScalarVolumeNode', 'vtkMRMLSegmentationNode', 'vtkMRMLNode'), Anything)
slicer = stub('slicer', **nodes)
slicer.__path__ = []
same = lambda *texts: texts[-1]
slicer.i18n = stub('slicer.i18n', tr=same, translate=same)
bases = ('ScriptedLoadableModule', 'ScriptedLoadableModuleLogic', 'ScriptedLoadableModuleTest',
         'ScriptedLoadableModuleWidget')
stub('slicer.ScriptedLoadableModule', **{name: type(name, (), {'__init__': Anything.__init__}) for name in bases})
stub('slicer.util', VTKObservationMixin=type('VTKObservationMixin', (), {}))
stub('vtk', vtkCommand=Anything, VTK_OBJECT=13, calldata_type=lambda kind: lambda function: function)
stub('qt')
"""


def python(script: str, *arguments: str) -> str:
    """Standard output of a script in an interpreter of its own, in a folder apart from the checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd="/",
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_importing_the_module_takes_under_a_tenth_of_a_second_and_nothing_heavy() -> None:
    script = STUBS + (
        "sys.path = [card for card in sys.path if 'GliomaSeg' not in card] + [sys.argv[1]]\n"
        "before, began = set(sys.modules), time.process_time()\n"
        "import GliomaSeg\n"
        "print(time.process_time() - began, *sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    outputs = [python(script, str(MODULE)).split() for _ in range(3)]
    assert min(float(output[0]) for output in outputs) < 0.1
    assert set(outputs[0]).isdisjoint(HEAVY)
    assert "GliomaSegLib" not in outputs[0]  # nothing of it is needed before the panel is opened


def test_a_source_checkout_needs_no_installation() -> None:
    script = STUBS + (
        "from pathlib import Path\n"
        "apart = [card for card in sys.path if not (Path(card) / 'GliomaSegLib').exists()]\n"
        "sys.path = [card for card in apart if 'site-packages' not in card] + [sys.argv[1]]\n"
        "sys.meta_path = [one for one in sys.meta_path if 'editable' not in repr(one)]\n"
        "import GliomaSeg, GliomaSegLib\n"
        "from GliomaSegPanel import decisions, dependencies\n"
        "from GliomaSegLib.zoo.catalogue import tumour_models\n"
        "print(GliomaSegLib.__file__, len(tumour_models()), dependencies.requirements()[0])\n"
    )
    assert python(script, str(MODULE)).startswith(str(ROOT / "GliomaSegLib"))


def test_nothing_heavy_is_imported_at_the_head_of_a_panel_file() -> None:
    for path, source in SOURCES.items():
        for node in ast.parse(source).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names}.isdisjoint(HEAVY), path


def test_every_widget_that_the_code_uses_is_in_the_ui_file() -> None:
    named = {widget.get("name") for widget in UI.iter("widget")}
    used = {name for source in SOURCES.values() for name in re.findall(r"\bui\.(\w+)", source)}
    selectors = {f"{sequence}Selector" for sequence in ("t1n", "t1c", "t2w", "t2f")}
    assert used
    assert (used | selectors) - named == set()


def test_every_bound_parameter_exists() -> None:
    bound = {
        element.findtext("string") for element in UI.iter("property") if element.get("name") == "SlicerParameterName"
    }
    (fields,) = re.findall(
        r"class GliomaSegParameterNode:(.*?)\n\n\ndef", SOURCES[MODULE / "GliomaSegPanel" / "parameters.py"], re.DOTALL
    )
    declared = set(re.findall(r"^    (\w+): (?!.*their)", fields, re.MULTILINE))
    assert {"t1c", "segmentation", "threads"} <= bound <= declared


def test_every_mrml_widget_gets_the_scene() -> None:
    receivers = {connection.findtext("receiver") for connection in UI.iter("connection")}
    selectors = {widget.get("name") for widget in UI.iter("widget") if widget.get("class") == "qMRMLNodeComboBox"}
    assert selectors <= receivers
    assert {connection.findtext("slot") for connection in UI.iter("connection")} == {"setMRMLScene(vtkMRMLScene*)"}


def test_every_control_explains_itself() -> None:
    """By a tooltip in the file, or by one that the decisions give it."""
    allowed = {name for source in SOURCES.values() for name in re.findall(r"set_enabled\(self\._ui\.(\w+)", source)}
    allowed |= {"acceptLesionButton", "deleteLesionButton", "approveButton", "rejectButton", "draftButton"}
    passive = {"QLabel", "QFrame", "QProgressBar", "QTextBrowser", "ctkCollapsibleButton", "qMRMLWidget"}
    silent = [
        widget.get("name")
        for widget in UI.iter("widget")
        if widget.get("class") not in {*passive, "QGroupBox", "qMRMLSegmentEditorWidget"}
        and not any(element.get("name") == "toolTip" for element in widget.findall("property"))
        and widget.get("name") not in allowed
    ]
    assert silent == ["thresholdSlider"]  # its group box has the tooltip


def test_what_is_exported_are_files_of_the_result() -> None:
    names = re.findall(r'"([\w.]+\.(?:gz|nrrd|html|json|csv))"', SOURCES[MODULE / "GliomaSegPanel" / "export.py"])
    assert set(names) <= set(FILES.values())
    assert {"segmentation.nii.gz", "segmentation.seg.nrrd", "report.html"} <= set(names)


@pytest.mark.parametrize("feature", [r"\bqt\.Signal\b", r"QTextCodec", r"QRegExp", r"^import imp\b", r"\.exec_\("])
def test_nothing_that_one_of_the_qt_versions_lacks(feature: str) -> None:
    for path, source in SOURCES.items():
        assert not re.search(feature, source, re.MULTILINE), path
