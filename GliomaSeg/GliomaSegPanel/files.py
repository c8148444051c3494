"""File paths in the panel, and copies of a result's files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from GliomaSegLib.errors import InputError
from GliomaSegPanel.translation import _


def path_of(edit: Any) -> Path | None:
    """The path in a ctkPathLineEdit; ``None`` when it is empty."""
    text = edit.currentPath.strip()
    return Path(text) if text else None


def copy_files(source: Path, names: Iterable[str], target: Path) -> list[Path]:
    """Copy files into another folder, which is made if needed; existing files are replaced atomically.

    Raises:
        InputError: a file does not exist or cannot be written; then none is replaced.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=target) as partial:
            copies = [Path(shutil.copy2(source / name, partial)) for name in names]
            return [copy.replace(target / copy.name) for copy in copies]
    except OSError as error:
        raise InputError(
            _("{name} could not be written to {folder} ({why}); choose another folder.").format(
                name=Path(error.filename or "").name or _("The result"), folder=target, why=error.strerror
            )
        ) from error
