"""Performing a request with its progress on standard error."""

from __future__ import annotations

from typing import Any


def perform_with_progress(request: Any) -> Any:
    """See :func:`GliomaSegLib.perform.perform`; its progress is shown on standard error."""
    from GliomaSegLib.perform import perform
    from GliomaSegLib.terminal import progress_for_stderr

    with progress_for_stderr() as progress:
        return perform(request, progress)
