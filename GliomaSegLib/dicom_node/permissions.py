"""File permissions: patients' images and secrets are readable by the node's user only.

Where the system has no such permissions (Windows), these checks pass.
"""

from __future__ import annotations

import os
from pathlib import Path

from GliomaSegLib.errors import InputError, as_typed

_OTHERS = 0o077
_ALL_USERS = 0o027  # a group, such as ssl-cert, may read a secret
_HAS_MODES = os.name == "posix"


def keep_private(path: Path) -> None:
    """Remove the permissions of the group and of others from a file or folder.

    Raises:
        InputError: they cannot be removed, as on a file system without permissions.
    """
    if not _HAS_MODES or not path.exists() or not path.stat().st_mode & _OTHERS:
        return
    try:
        path.chmod(path.stat().st_mode & ~_OTHERS)
    except OSError as error:
        raise _not_private(path) from error
    if path.stat().st_mode & _OTHERS:
        raise _not_private(path)


def check_secret(path: Path, what: str) -> None:
    """Make sure that only its owner, or a group, can read a file.

    Args:
        what: what the file is, for the error, such as ``password file``.

    Raises:
        InputError: others can read it.
    """
    if _HAS_MODES and path.exists() and path.stat().st_mode & _ALL_USERS:
        raise InputError(
            f"The {what} {path} is open to other users (mode {path.stat().st_mode & 0o777:04o}); run: chmod 600 "
            f"{as_typed(path)}"
        )


def create_privately() -> None:
    """Set the umask, so that only the user can read new files and folders of this process and its children."""
    os.umask(_OTHERS)


def _not_private(path: Path) -> InputError:
    return InputError(
        f"{path} can be read by others (mode {path.stat().st_mode & 0o777:04o}) and that cannot be changed; give the "
        "node's user a folder of its own, or mount the disk with uid=, fmask=0177 and dmask=0077."
    )
