"""Freed memory stays with the process during a run, and goes back to the system after it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Forty arrays of 10 MB, small enough to lie in the heap, freed: what the process holds inside the block and after it.
_PROGRAM = """
import numpy as np, psutil
from GliomaSegLib.pipeline.memory import freed_memory_kept

def held():
    return psutil.Process().memory_info().rss // 2**20

def fill():
    for array in [np.ones(10 * 2**20, np.uint8) for _ in range(40)]:
        array[0] = 2

def seen():
    before = held()
    fill()
    return held() - before

with freed_memory_kept():
    inside = held()
    fill()
    kept = held() - inside
print(kept, held() - inside, seen())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory is left to the system's library")
def test_freed_memory_is_kept_until_the_end_of_the_block() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    kept, after, usual = (int(one) for one in done.stdout.split())
    assert kept > 300, "MiB, though all was freed"
    assert after < 100
    assert usual < 150, "after the block the process behaves as before"
