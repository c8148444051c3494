"""Hundreds of hostile files: the process lives, in bounded memory, and each is refused with a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="POSIX alone measures the memory of a process that has ended")

from Testing.support.hostile import HOW_MANY, KINDS

MOST_MB = 500
"""More than this, reading hostile files must not add to the process."""


def outcomes(kind: str, folder: Path) -> dict[str, Any]:
    """What :mod:`Testing.support.hostile` prints; its process has been killed where this fails."""
    command = [sys.executable, "-W", "ignore", "-m", "Testing.support.hostile", kind, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", list(KINDS))
def test_hostile_files_are_refused_and_the_process_lives(kind: str, tmp_path: Path) -> None:
    """A file with a few changed bytes may still be sound; one that aims at a weakness never is."""
    found = outcomes(kind, tmp_path)
    assert found["outcomes"].keys() <= {"refused", "read"}, found
    assert sum(found["outcomes"].values()) == HOW_MANY
    assert found["mb"] < MOST_MB
    assert list(tmp_path.rglob("*evil*")) == list(tmp_path.parent.glob("*evil*")) == [], "nothing is written outside"
