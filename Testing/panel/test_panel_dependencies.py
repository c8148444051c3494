"""Packages are asked for before they are installed, and never imported to see whether they are there."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
import tomllib
from GliomaSegPanel import dependencies

from GliomaSegLib.errors import GliomaSegError

ROOT = Path(__file__).parents[2]


class Application:
    """The part of slicer that is asked; remembers what was installed."""

    def __init__(self, answer: bool = True, testing: bool = False, failure: Exception | None = None) -> None:
        self.questions: list[str] = []
        self.installed: list[str] = []
        self._answer, self._failure = answer, failure
        self.app = types.SimpleNamespace(testingEnabled=lambda: testing)
        self.util = types.SimpleNamespace(
            confirmOkCancelDisplay=self._asked, pip_install=self._install, WaitCursor=Wait
        )

    def _asked(self, text: str, windowTitle: str = "") -> bool:  # noqa: N803 - Slicer's name
        self.questions.append(text)
        return self._answer

    def _install(self, arguments: list[str]) -> None:
        if self._failure:
            raise self._failure
        self.installed += arguments


class Wait:
    """No cursor."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "lacking", lambda: ("pydantic>=2.7", "torch>=2.4"))


def use(monkeypatch: pytest.MonkeyPatch, application: Application) -> Application:
    module = types.ModuleType("slicer")
    module.__dict__.update(app=application.app, util=application.util, __path__=[])
    monkeypatch.setitem(sys.modules, "slicer", module)
    return application


def test_the_requirements_are_those_of_the_project_without_what_slicer_brings() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = {"numpy", "SimpleITK"}
    wanted = {line for line in project["dependencies"] if line.partition(">=")[0] not in brought}
    assert set(dependencies.requirements()) == wanted
    assert all(">=" in line and "==" not in line for line in wanted)


def test_what_is_there_and_new_enough_is_not_lacking() -> None:
    wanted = ["pytest>=1.0", "pytest>=1000.0", "there-is-no-such-package>=1.0"]
    assert dependencies.lacking(wanted) == tuple(wanted[1:])


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.4.1+cpu", (2, 4, 1)), ("1.0.0rc1", (1, 0, 0)), ("2.13.0.dev3", (2, 13, 0)), ("3", (3,))]
)
def test_versions_are_compared_as_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert dependencies._numbers(text) == numbers


@pytest.mark.usefixtures("lacking")
def test_nothing_is_installed_without_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    application = use(monkeypatch, Application(answer=False))
    with pytest.raises(dependencies.Declined, match="press Apply"):
        dependencies.ensure()
    assert "pydantic, torch" in application.questions[0]
    assert application.installed == []


def test_dicom_has_its_own_package_and_question(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert list(dependencies.DICOM_REQUIREMENTS) == extras["dicom"]
    monkeypatch.setattr(dependencies, "lacking", lambda wanted=None: tuple(wanted or ("torch>=2.4",)))
    declined = use(monkeypatch, Application(answer=False))
    with pytest.raises(dependencies.Declined, match="DICOM SEG and SR cannot be written"):
        dependencies.ensure_dicom()
    assert declined.installed == []
    agreed = use(monkeypatch, Application())
    dependencies.ensure_dicom()
    assert "highdicom" in agreed.questions[0]
    assert "torch" not in agreed.questions[0]
    assert agreed.installed == ["--prefer-binary", *dependencies.DICOM_REQUIREMENTS]


@pytest.mark.usefixtures("lacking")
def test_nothing_is_installed_or_asked_in_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    application = use(monkeypatch, Application(testing=True))
    with pytest.raises(dependencies.Declined):
        dependencies.ensure()
    assert application.questions == application.installed == []


@pytest.mark.usefixtures("lacking")
def test_with_consent_what_is_lacking_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    application = use(monkeypatch, Application())
    dependencies.ensure()
    assert application.installed == ["--prefer-binary", "pydantic>=2.7", "torch>=2.4"]


@pytest.mark.usefixtures("lacking")
def test_torch_comes_through_the_pytorch_extension_and_slicer_is_to_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    application, asked = use(monkeypatch, Application()), {}

    class PyTorchUtilsLogic:
        def installTorch(self, **options: object) -> None:  # noqa: N802 - the extension's name
            asked.update(options)

    extension = types.ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = PyTorchUtilsLogic
    extension.__spec__ = types.SimpleNamespace(name="PyTorchUtils")
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    with pytest.raises(dependencies.RestartNeeded, match="Restart Slicer"):
        dependencies.ensure()
    assert asked == {"torchVersionRequirement": ">=2.4"}
    assert application.installed == ["--prefer-binary", "pydantic>=2.7"]


@pytest.mark.usefixtures("lacking")
@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (RuntimeError("no route to host"), r"\(no route to host\).*proxy"),
        (subprocess.CalledProcessError(1, ["PythonSlicer", "-m", "pip"]), r"\(pip ended with exit status 1\)"),
    ],
)
def test_a_failure_of_pip_is_a_sentence(monkeypatch: pytest.MonkeyPatch, failure: Exception, says: str) -> None:
    use(monkeypatch, Application(failure=failure))
    with pytest.raises(GliomaSegError, match=says):
        dependencies.ensure()


def test_the_question_tells_the_size_of_pytorch_where_it_comes() -> None:
    assert "3 GB" in dependencies.consent_text(["pydantic>=2.7", "torch>=2.4"])
    assert "GB" not in dependencies.consent_text(["pydantic>=2.7"])


def test_nothing_lacking_means_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "lacking", lambda: ())
    application = use(monkeypatch, Application())
    dependencies.ensure()
    assert application.questions == []
