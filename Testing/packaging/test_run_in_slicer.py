"""The script that runs the self-tests in an application, with a program in Slicer's place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from Testing import run_in_slicer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a script as launcher: POSIX alone")


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Says that it is Slicer 5.10.0, writes down its arguments and ends with the status in ``STATUS``."""
    monkeypatch.setenv("DISPLAY", ":0")  # no virtual screen around it
    monkeypatch.setenv("STATUS", "0")
    path = tmp_path / "Slicer"
    path.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then echo "Slicer ${VERSION:-5.10.0}"; exit 0; fi\n'
        f'printf "%s\\n" "$@" > "{tmp_path}/arguments"\n[ "$STATUS" = slow ] && exec sleep 60\nexit "$STATUS"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def test_the_self_tests_of_the_module_are_run(launcher: Path, tmp_path: Path) -> None:
    assert run_in_slicer.main([str(launcher)]) == run_in_slicer.PASSED
    arguments = (tmp_path / "arguments").read_text(encoding="utf-8").splitlines()
    module = Path(arguments[arguments.index("--additional-module-paths") + 1])
    assert (module / "GliomaSeg.py").is_file()
    assert arguments[-1] == "import slicer.testing; slicer.testing.runUnitTest([], 'GliomaSeg')"


def test_a_test_that_fails_or_never_ends_fails_the_script(launcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS", "1")
    assert run_in_slicer.main([str(launcher)]) == run_in_slicer.FAILED
    monkeypatch.setenv("STATUS", "slow")
    assert run_in_slicer.main([str(launcher), "--timeout", "1"]) == run_in_slicer.FAILED


def test_an_application_that_cannot_be_used_is_reported_in_a_sentence(
    launcher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_in_slicer.main([str(tmp_path / "nowhere")]) == run_in_slicer.UNUSABLE
    assert "nowhere does not exist" in capsys.readouterr().err
    monkeypatch.setenv("VERSION", "5.8.1")
    assert run_in_slicer.main([str(launcher)]) == run_in_slicer.UNUSABLE
    assert "Slicer 5.8; GliomaSeg needs 5.10" in capsys.readouterr().err
    assert run_in_slicer.main([str(launcher), "--any-version"]) == run_in_slicer.PASSED
    monkeypatch.setenv("VERSION", "unknown")
    assert run_in_slicer.main([str(launcher)]) == run_in_slicer.UNUSABLE
