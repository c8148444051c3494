"""``_``: the application's translation of a sentence, or the sentence itself where there is no Slicer (tests)."""

from __future__ import annotations

__all__ = ["_"]

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        """``text`` itself."""
        return text
