"""Renames files and folders, also on Windows while another program has them open for a moment.

POSIX renames onto open files. Windows refuses with ``PermissionError`` while any program, such as a virus scanner, has
the file or a file in the folder open: there the rename is repeated for some seconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

WAIT_S = 5.0
_FIRST_PAUSE_S = 0.01
_REFUSES_OPEN_FILES = os.name == "nt"


def rename(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target`` on the same disk atomically; an existing file is replaced.

    Raises:
        OSError: it cannot be renamed; on Windows after :data:`WAIT_S` seconds.
    """
    give_up_at, pause = time.monotonic() + WAIT_S, _FIRST_PAUSE_S
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if not _REFUSES_OPEN_FILES or time.monotonic() + pause > give_up_at:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
