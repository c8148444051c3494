"""Runs GliomaSeg's self-tests in a 3D Slicer application: ``python Testing/run_in_slicer.py LAUNCHER``.

LAUNCHER is the program that starts Slicer: ``Slicer`` on Linux, ``Slicer.exe`` on Windows,
``Slicer.app/Contents/MacOS/Slicer`` on macOS. The standard library is enough. The exit status is 0 when all tests have
passed, 1 when one has failed or the application ended otherwise, 2 when the application cannot be used.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEAST_VERSION = (5, 10)
PASSED, FAILED, UNUSABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; the exit status."""
    parser = argparse.ArgumentParser(description="Run GliomaSeg's self-tests in a 3D Slicer application.")
    parser.add_argument("launcher", type=Path, help="the program that starts Slicer")
    parser.add_argument("--timeout", type=int, default=1800, metavar="S", help="seconds for the tests (default 1800)")
    parser.add_argument("--any-version", action="store_true", help=f"also older than {_text(LEAST_VERSION)}")
    parsed = parser.parse_args(arguments)
    if not parsed.launcher.is_file():
        return _unusable(f"{parsed.launcher} does not exist; give the program that starts Slicer.")
    version = slicer_version(parsed.launcher)
    if version is None:
        return _unusable(f"{parsed.launcher} --version names no version; give the program that starts Slicer.")
    if version < LEAST_VERSION and not parsed.any_version:
        return _unusable(f"This is Slicer {_text(version)}; GliomaSeg needs {_text(LEAST_VERSION)} or later.")
    print(f"Self-tests in Slicer {_text(version)}", flush=True)
    return run_tests(parsed.launcher, parsed.timeout)


def slicer_version(launcher: Path) -> tuple[int, int] | None:
    """Major and minor version of the application; ``None`` when it names none."""
    try:
        printed = subprocess.run(
            [str(launcher), "--version"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(\d+)\.(\d+)\.\d+", printed.stdout + printed.stderr)
    return (int(found[1]), int(found[2])) if found else None


def run_tests(launcher: Path, timeout_s: int) -> int:
    """The self-tests of the module, with settings of their own so that a user's extensions play no part."""
    with tempfile.TemporaryDirectory(prefix="gliomaseg-slicer-", ignore_cleanup_errors=True) as folder:
        command = [
            *_screen(),
            *(str(launcher), "--no-splash", "--testing"),  # testing: no settings and no start-up script of the user
            *("--additional-module-paths", str(ROOT / "GliomaSeg")),
            *("--python-code", "import slicer.testing; slicer.testing.runUnitTest([], 'GliomaSeg')"),
        ]
        environment = os.environ | {"GLIOMASEG_MODELS": str(Path(folder) / "models"), "TMPDIR": folder}
        try:
            ended = subprocess.run(command, env=environment, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            print(f"The self-tests did not end within {timeout_s} s.", file=sys.stderr)
            return FAILED
    if ended.returncode:
        print(f"The self-tests failed: Slicer ended with status {ended.returncode}.", file=sys.stderr)
        return FAILED
    print("The self-tests passed.")
    return PASSED


def _screen() -> tuple[str, ...]:
    """A virtual screen in front of the command where Linux has none of its own."""
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or shutil.which("xvfb-run") is None:
        return ()
    return ("xvfb-run", "--auto-servernum", "--server-args=-screen 0 1600x1200x24")


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _unusable(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
