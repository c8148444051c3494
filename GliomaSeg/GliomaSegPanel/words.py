"""The panel's words: translated by Slicer, and as they are where there is no Slicer (tests)."""

from __future__ import annotations

__all__ = ["_"]

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        """``text`` itself."""
        return text
