"""Renames files and folders so that it also works on Windows while another program holds one of them open.

POSIX renames onto open files. Windows refuses that with ``PermissionError`` as long as any program has the file, or a
file in the folder, open; a virus scanner or an indexer may do so for a moment after a write. So there the rename is
repeated for some seconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

WAIT_S = 5.0
_FIRST_PAUSE_S = 0.01
_REFUSES_OPEN_FILES = os.name == "nt"


def rename(source: Path, target: Path) -> None:
    """Give ``source`` the name ``target`` on the same disk, in one step; a file that has that name is replaced.

    Raises:
        OSError: it cannot be renamed; on Windows after :data:`WAIT_S` seconds in which another program had it open.
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
