"""An imitation of the application around the module's panel, on a real scene (slicer-core).

The self-test runs in it (Testing/panel/test_self_test_runs.py) before it does in a real application
(Testing/SLICER.md).
"""

from __future__ import annotations

import types
import unittest
from collections.abc import Callable
from typing import Any

import slicer
import vtk

from Testing.support.qt_imitation import NodeSelector, Timer, Widget, process_events
from Testing.support.scene_host import ROOT, SceneHost


class ParameterNode:
    """What ``@parameterNodeWrapper`` makes of a class: typed values with defaults; observers are called on a change.

    All wrappers of one node share its values and observers, kept in a namespace.
    """

    _defaults: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, node: types.SimpleNamespace) -> None:
        self.__dict__["_node"] = node

    def __getattr__(self, name: str) -> Any:
        try:
            return self._node.values.get(name, self._defaults[name])
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        changed = getattr(self, name) != value
        self._node.values[name] = value
        if changed:
            for selector in self._node.selectors.get(name, ()):
                selector.setCurrentNode(value)
            for observer in list(self._node.observers.values()):
                observer(self, "ModifiedEvent")

    def AddObserver(self, event: Any, observer: Callable[..., None], priority: float = 0.0) -> int:  # noqa: N802
        tag = max(self._node.observers, default=0) + 1
        self._node.observers[tag] = observer
        return tag

    def RemoveObserver(self, tag: int) -> None:  # noqa: N802
        self._node.observers.pop(tag, None)

    def connectGui(self, ui: Any) -> int:  # noqa: N802
        self._node.selectors = {}
        for widget in vars(ui).values():
            if isinstance(widget, NodeSelector):
                self._node.selectors.setdefault(widget.property("SlicerParameterName"), []).append(widget)
        return 1

    def disconnectGui(self, tag: int) -> None:  # noqa: N802
        self._node.selectors = {}


def parameter_node_wrapper(kind: type) -> type:
    """The decorator ``parameterNodeWrapper``."""
    defaults = {}
    for name, annotation in kind.__annotations__.items():
        empty = "" if annotation == "str" else [] if annotation == "list[str]" else None
        defaults[name] = getattr(kind, name, empty)
    return type(kind.__name__, (ParameterNode,), {"_defaults": defaults})


class Application:
    """``slicer.app``, and what ``slicer.util`` and ``slicer.modules`` ask of an application, on a scene."""

    def __init__(self, host: SceneHost) -> None:
        self._host = host
        self._settings: dict[str, Any] = {}
        self._parameters: Any = None
        for kind in (slicer.vtkMRMLPlotChartNode, slicer.vtkMRMLPlotSeriesNode, slicer.vtkMRMLPlotViewNode):
            host.scene.RegisterNodeClass(kind())
        self._tag = host.scene.AddObserver(slicer.vtkMRMLScene.EndCloseEvent, self._on_closed)
        self.questions: list[str] = []
        self.interactor = vtk.vtkObject()
        self._layouts = slicer.vtkMRMLLayoutLogic()
        self._layouts.SetMRMLScene(host.scene)
        self._view("vtkMRMLSliceNode")

    def close(self) -> None:
        """End of the application; to be called before the scene goes."""
        Timer.running.clear()
        self._layouts.SetMRMLScene(None)
        self._host.scene.RemoveObserver(self._tag)

    def _on_closed(self, caller: object, event: str) -> None:
        self._parameters = None
        self._view("vtkMRMLSliceNode")

    def testingEnabled(self) -> bool:  # noqa: N802
        return True

    def processEvents(self) -> None:  # noqa: N802
        process_events()

    def settings(self) -> Any:
        return types.SimpleNamespace(value=self._settings.get, setValue=self._settings.__setitem__)

    def coreIOManager(self) -> Any:  # noqa: N802
        return types.SimpleNamespace(forceFileNameValidCharacters=lambda name: name.replace("/", "_"))

    def layoutManager(self) -> Any:  # noqa: N802
        plot = types.SimpleNamespace(mrmlPlotViewNode=lambda: self._view("vtkMRMLPlotViewNode"))
        red = types.SimpleNamespace(
            mrmlSliceNode=lambda: self._view("vtkMRMLSliceNode"),
            sliceView=lambda: types.SimpleNamespace(interactor=lambda: self.interactor),
        )
        return types.SimpleNamespace(
            sliceWidget=lambda name: red, plotWidget=lambda index: plot, sliceViewNames=lambda: ["Red"],
            threeDWidget=lambda index: types.SimpleNamespace(threeDView=Widget), layoutLogic=lambda: self._layouts,
        )  # fmt: skip

    def _view(self, kind: str) -> Any:
        """The node of a view; it is made again when the scene was closed."""
        return self._host.scene.GetFirstNodeByClass(kind) or self._host.scene.AddNewNodeByClass(kind)

    def show_chart(self, chart: Any) -> None:
        """``slicer.modules.plots.logic().ShowChartInLayout``."""
        self._view("vtkMRMLPlotViewNode").SetPlotChartNodeID(chart.GetID())

    def parameter_node(self) -> types.SimpleNamespace:
        """``ScriptedLoadableModuleLogic.getParameterNode``; it is kept as long as the scene."""
        if self._parameters is None:
            self._parameters = types.SimpleNamespace(values={}, observers={}, selectors={})
        return self._parameters

    def confirm(self, answer: bool) -> Callable[..., bool]:
        """A question box as it answers in a test."""

        def ask(text: str, windowTitle: str = "") -> bool:  # noqa: N803
            self.questions.append(text)
            return answer

        return ask


def module_bases(application: Application) -> types.ModuleType:
    """``slicer.ScriptedLoadableModule``."""
    bases = types.ModuleType("slicer.ScriptedLoadableModule")

    class ScriptedLoadableModule:
        def __init__(self, parent: Any = None) -> None:
            self.parent = parent

    class ScriptedLoadableModuleLogic:
        def __init__(self, parent: Any = None) -> None:
            pass

        def getParameterNode(self) -> Any:  # noqa: N802
            return application.parameter_node()

    class ScriptedLoadableModuleWidget:
        def __init__(self, parent: Any = None) -> None:
            self.parent, self.layout = parent, Widget()

        def setup(self) -> None:
            """Developers' buttons, in the application."""

        def resourcePath(self, name: str) -> str:  # noqa: N802
            return str(ROOT / "GliomaSeg" / "Resources" / name)

    class ScriptedLoadableModuleTest(unittest.TestCase):
        def delayDisplay(self, text: str) -> None:  # noqa: N802
            print(text)

    for one in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleTest,
    ):
        setattr(bases, one.__name__, one)
    return bases
