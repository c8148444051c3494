"""Downloads published weight files, and checks that a file is the published one.

Google Drive asks for confirmation before the download of a large file, which the optional package gdown handles;
without it, the user downloads the file with a browser.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.io.provenance import hash_of, sha256_of
from GliomaSegLib.zoo.archive import is_archive
from GliomaSegLib.zoo.card_weights import WeightFile

_GOOGLE_DRIVE = re.compile(r"https://drive\.google\.com/uc\?id=(?P<id>[\w-]+)")
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30
_MOST_BYTES = 8 << 30  # of a file whose size neither its card nor its server gives
_TRIES = 4

OnBytes = Callable[[int, int], None]
"""Called with the number of downloaded bytes and the total, 0 if not known."""


def check(path: Path, file: WeightFile, advice: str) -> str:
    """Check that ``path`` is the published file, by the size and hash that its publisher gives.

    Returns:
        its SHA-256.

    Raises:
        WeightsError: it is not; the message ends with ``advice``.
    """
    found = sha256_of(path)
    if reason := _why_refused(path, file, found):
        raise WeightsError(f"{path} is not the published file: {reason}; {advice}.")
    return found


def download(file: WeightFile, destination: Path, on_bytes: OnBytes) -> Path:
    """Download one file, resuming ``<destination>.part`` of an earlier attempt. Proxies are set by the environment
    (``HTTPS_PROXY`` and so on).

    Raises:
        WeightsError: it has no address, or could not be downloaded from it after several tries.
    """
    import requests  # here, so that listing models does not pay for it

    if destination.is_file() and not _why_refused(destination, file, sha256_of(destination)):
        return destination
    if file.url is None:
        raise WeightsError(f"No address of the weight file '{file.name}' is known; say where it is with '--from PATH'.")
    part = destination.with_name(destination.name + ".part")
    if drive := _GOOGLE_DRIVE.fullmatch(file.url):
        _fetch_from_google_drive(drive, part, on_bytes)
        return _accepted(part, destination, file)
    for attempt in range(1, _TRIES + 1):
        try:
            _fetch(file, part, on_bytes)
            break
        except requests.RequestException as error:
            answered_no = error.response is not None and 400 <= error.response.status_code < 500
            if attempt == _TRIES or answered_no:
                raise WeightsError(
                    f"{file.url} could not be downloaded ({_reason(error)}); check the network and proxy, or fetch "
                    "the files elsewhere and use '--from PATH'."
                ) from error
            time.sleep(2**attempt)
    return _accepted(part, destination, file)


class _TooMuch(WeightsError):
    """More came than the file has, perhaps without an end."""

    def __init__(self, file: WeightFile, part: Path, most: int) -> None:
        _discard(part)
        super().__init__(
            f"What comes from {file.url} is not the published file: it has more than {most} bytes; a proxy may be "
            "altering it: fetch the files elsewhere and use '--from PATH'."
        )


def _accepted(part: Path, destination: Path, file: WeightFile) -> Path:
    """Call what has been fetched ``destination`` when it is the published file.

    Raises:
        WeightsError: it is not.
    """
    if reason := _why_refused(part, file, sha256_of(part)):
        _discard(part)  # going on from a wrong beginning would never end well
        raise WeightsError(
            f"What came from {file.url} is not the published file: {reason}; try again, and if it persists a proxy may "
            "be altering it: fetch the files elsewhere and use '--from PATH'."
        )
    part.replace(destination)
    _discard(part)
    return destination


def _fetch(file: WeightFile, part: Path, on_bytes: OnBytes) -> None:
    import requests

    have = part.stat().st_size if part.is_file() else 0
    tag = _tag(part).read_text() if _tag(part).is_file() else ""
    headers = {"Accept-Encoding": "identity"}  # a range of a compressed file would not continue the part
    if have and (tag or file.hash_published):  # else nothing would notice halves of two different files
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag
    with requests.get(str(file.url), stream=True, timeout=_TIMEOUT_S, headers=headers) as reply:
        if "Range" in headers and reply.status_code == requests.codes.requested_range_not_satisfiable:
            return  # the part is already the whole file
        reply.raise_for_status()
        begin = have if reply.status_code == requests.codes.partial_content else 0
        _tag(part).write_text(_version(reply.headers))
        encoded = reply.headers.get("Content-Encoding", "identity") != "identity"
        named = reply.headers.get("Content-Length", "")
        length = int(named) if named.isascii() and named.isdigit() and not encoded else 0
        most = file.size_bytes or begin + length or _MOST_BYTES
        received = begin
        with part.open("ab" if begin else "wb") as stream:
            for chunk in reply.iter_content(_CHUNK_BYTES):
                received += len(chunk)
                if received > most:
                    raise _TooMuch(file, part, most)
                stream.write(chunk)
                on_bytes(received, begin + length if length else 0)
    if received - begin < length:
        raise requests.ConnectionError("the connection closed early")


def _fetch_from_google_drive(address: re.Match[str], part: Path, on_bytes: OnBytes) -> None:
    try:
        import gdown
    except ImportError as error:
        raise WeightsError(
            f"The weights are on Google Drive; run 'pip install GliomaSeg[drive]' and try again, or fetch {address[0]} "
            "with a browser and use '--from FILE'."
        ) from error
    import requests

    try:
        gdown.download(
            id=address["id"], output=str(part), quiet=True, use_cookies=False,
            progress=lambda done, total: on_bytes(done, total or 0),
        )  # fmt: skip
    except (gdown.exceptions.DownloadError, requests.RequestException) as error:
        raise WeightsError(
            f"{address[0]} could not be downloaded ({type(error).__name__}); its daily quota may be used up or the "
            "network be closed: try later, or fetch it with a browser and use '--from FILE'."
        ) from error


def _version(headers: Mapping[str, str]) -> str:
    """What the server calls this state of the file; only strong names may be used to go on."""
    tag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


def _why_refused(path: Path, file: WeightFile, sha256: str) -> str | None:
    """The reason why ``path`` cannot be the published file; ``None`` when there is none."""
    with path.open("rb") as stream:
        head = stream.read(256).lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "it is a web page"
    if file.size_bytes and (size := path.stat().st_size) != file.size_bytes:
        return f"it has {size} bytes instead of {file.size_bytes}"
    if file.sha256 and sha256 != file.sha256:
        return f"its SHA-256 is {sha256[:12]}… instead of {file.sha256[:12]}…"
    if file.md5 and (md5 := hash_of(path, "md5")) != file.md5:
        return f"its MD5 is {md5[:12]}… instead of {file.md5[:12]}…"
    if file.archive and not is_archive(path, file.archive):
        return f"it is no {file.archive} archive, or cut short"
    return None


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code}" if response is not None else type(error).__name__
