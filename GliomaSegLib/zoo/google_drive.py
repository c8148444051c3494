"""Weights that their authors keep on Google Drive, which asks a browser's questions before it gives a large file.

The library gdown answers them. It is an extra, because few models need it; without it a browser fetches the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from GliomaSegLib.errors import WeightsError

_ADDRESS = re.compile(r"https://drive\.google\.com/uc\?id=(?P<id>[\w-]+)")


def holds(url: str) -> bool:
    """Whether ``url`` is of a file on Google Drive, ``https://drive.google.com/uc?id=...``."""
    return _ADDRESS.fullmatch(url) is not None


def fetch(url: str, destination: Path, told: Callable[[int, int], None]) -> None:
    """Fetch one file.

    Args:
        told: hears how many bytes are there, and of how many; 0 where that is not known.

    Raises:
        WeightsError: gdown is not installed, or the file could not be had.
    """
    try:
        import gdown
    except ImportError as error:
        raise WeightsError(
            f"The weights are on Google Drive; run 'pip install GliomaSeg[drive]' and try again, or fetch {url} with a "
            "browser and use '--from FILE'."
        ) from error
    import requests

    match = _ADDRESS.fullmatch(url)
    assert match is not None, url
    try:
        gdown.download(
            id=match["id"],
            output=str(destination),
            quiet=True,
            use_cookies=False,
            progress=lambda done, total: told(done, total or 0),
        )
    except (gdown.exceptions.DownloadError, requests.RequestException) as error:
        raise WeightsError(
            f"{url} could not be downloaded ({type(error).__name__}); its daily quota may be used up or the network be "
            "closed: try later, or fetch it with a browser and use '--from FILE'."
        ) from error
