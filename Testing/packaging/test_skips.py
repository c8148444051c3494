"""A test that is skipped for a reason nobody wrote down fails a strict run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

@pytest.mark.skipif(True, reason="{reason}")
def test_something(): ...

def test_another(): ...
"""


def run_tests(folder: Path, reason: str, *options: str, module: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs one test that is skipped for ``reason``, or a module of it that is, beside one that passes."""
    folder.mkdir()
    (folder / "conftest.py").write_text('pytest_plugins = ["Testing.support.skips"]\n', encoding="utf-8")
    (folder / "test_it.py").write_text(TESTS.format(reason=reason), encoding="utf-8")
    if module:
        skipped = f"import pytest\npytest.skip({reason!r}, allow_module_level=True)\n"
        (folder / "test_module.py").write_text(skipped, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(folder / "pytest.ini")]
    return subprocess.run(
        [*command, *options, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    "workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["one process", "two workers"]
)
def test_an_unlisted_skip_fails_a_strict_run_alone(tmp_path: Path, workers: tuple[str, ...]) -> None:
    listed, unlisted = "no shared data in /nowhere", "it did not suit me"
    assert run_tests(tmp_path / "a", listed, "--strict-skips", *workers).returncode == 0
    assert run_tests(tmp_path / "b", unlisted, *workers).returncode == 0
    failed = run_tests(tmp_path / "c", unlisted, "--strict-skips", *workers)
    assert failed.returncode == 1
    assert f"test_it.py::test_something: {unlisted}" in failed.stdout


def test_a_skipped_module_counts_too(tmp_path: Path) -> None:
    failed = run_tests(tmp_path / "a", "a package is missing", "--strict-skips", "-n", "2", module=True)
    assert failed.returncode == 1
    assert "test_module.py: a package is missing" in failed.stdout
