"""The code keeps its layers: imports point downwards, nothing imports in a circle, and files stay short.

The layers are declared in ``pyproject.toml`` for import-linter, with every exception and its reason.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 400
STATED_WITHIN = 30  # lines from the top of a file in which a reason for its length is looked for

# Longer than that and without a reason yet; to be emptied.
TOO_LONG = {"GliomaSegLib/networks/ca_cnn.py": "to be shortened"}


def test_imports_point_downwards_and_never_in_a_circle() -> None:
    """In a process of its own: import-linter sets up logging and with that silences the loggers that there are."""
    script = (
        "import sys\n"
        "from importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports('pyproject.toml', no_cache=True, no_logo=True))"
    )
    paths = os.pathsep.join((str(ROOT), str(ROOT / "GliomaSeg")))
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def product_files() -> list[Path]:
    return sorted(path for folder in ("GliomaSegLib", "GliomaSeg") for path in (ROOT / folder).rglob("*.py"))


def test_a_file_that_is_long_says_why_in_its_first_lines() -> None:
    """``Over 400 lines: REASON`` in a comment or in the module's docstring."""
    unexplained = {}
    for path in product_files():
        lines = path.read_text(encoding="utf-8").splitlines()
        top = " ".join(lines[:STATED_WITHIN])
        if len(lines) > LONGEST and not re.search(rf"\bover {LONGEST} lines: \w", top, re.IGNORECASE):
            unexplained[path.relative_to(ROOT).as_posix()] = len(lines)
    assert {name: length for name, length in unexplained.items() if name not in TOO_LONG} == {}
