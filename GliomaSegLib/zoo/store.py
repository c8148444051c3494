"""The store: where installed weights live, one folder per model, each checked against its card.

Weights that come with GliomaSeg (see :class:`GliomaSegLib.zoo.card.ShippedFile`) are always at hand and never copied.

A model's folder holds ``weights.safetensors``, the published licence file if the card lists one, and
``installed.json`` with the hashes. It appears whole or not at all: files are fetched into a folder beside it, checked,
converted and renamed. A download that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card, ShippedFile, WeightFile
from GliomaSegLib.zoo.loaders import family

STORE_VARIABLE = "GLIOMASEG_MODELS"
_WEIGHTS = "weights.safetensors"
_RECORD = "installed.json"
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30
_TRIES = 4


def default_store() -> Path:
    """The user's store: the folder named by ``GLIOMASEG_MODELS``, else the platform's place for user data."""
    if named := os.environ.get(STORE_VARIABLE):
        return Path(named)
    from platformdirs import user_data_path  # here, so that ``--help`` does not pay for it

    return user_data_path("GliomaSeg", appauthor=False) / "models"


@dataclass(frozen=True)
class Store:
    """A folder of installed models."""

    root: Path

    def folder(self, card: Card) -> Path:
        """Where ``card``'s files are, or will be."""
        if card.weights.shipped:
            return _shipped(card.weights.shipped).parent
        return self.root / card.id

    def is_installed(self, card: Card) -> bool:
        """Whether the model is there; :meth:`weights` also checks that it is sound."""
        return card.weights.shipped is not None or (self.folder(card) / _RECORD).is_file()

    def weights(self, card: Card) -> Path:
        """The model's weight file, after checking its SHA-256 against the one recorded when it was installed.

        Raises:
            WeightsError: the model is not installed, damaged, or of another version of the card.
        """
        if card.weights.shipped:
            return _sound(_shipped(card.weights.shipped), card.weights.shipped)
        folder = self.folder(card)
        if not self.is_installed(card):
            raise WeightsError(
                f"The weights of '{card.id}' are not installed; run 'gliomaseg models install {card.id}', or add "
                "'--from FOLDER' where there is no network."
            )
        try:
            record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            intact = sha256_of(folder / _WEIGHTS) == record["sha256"]
            published = record["published"]
        except (OSError, ValueError, KeyError, TypeError):
            intact, published = False, {}
        if not intact:
            raise WeightsError(
                f"The weights in {folder} are damaged (their SHA-256 is not the recorded one); run "
                f"'gliomaseg models remove {card.id}' and install them again."
            )
        if any(file.sha256 and published.get(file.name) != file.sha256 for file in card.weights.files):
            raise WeightsError(
                f"The weights in {folder} are not those that the card of '{card.id}' names; run "
                f"'gliomaseg models remove {card.id}' and install them again."
            )
        return folder / _WEIGHTS

    def install(self, card: Card, source: Path | None = None, progress: Progress | None = None) -> Path:
        """Install a model from its public addresses, or from the folder ``source`` where its files lie.

        Nothing is done when it is already installed and sound. Safe when two processes install at once.

        Raises:
            WeightsError: a file is missing, has another SHA-256, or could not be fetched.
            InputError: the store cannot be written, or its disk is full.
        """
        if card.weights.shipped:
            return self.weights(card).parent
        self._make_root(card)
        try:
            with FileLock(self.root / f".{card.id}.lock"):
                if self.is_installed(card):
                    self.weights(card)
                else:
                    self._install(card, source, progress or Silent())
        except OSError as error:
            raise InputError(
                f"The model '{card.id}' could not be installed in {self.root} ({error.strerror or error}); make room, "
                f"or name another folder with --store or {STORE_VARIABLE}."
            ) from error
        return self.folder(card)

    def remove(self, card: Card) -> None:
        """Delete an installed model, also a damaged one.

        Raises:
            InputError: it is not installed, or comes with GliomaSeg.
        """
        if card.weights.shipped:
            raise InputError(f"The weights of '{card.id}' come with GliomaSeg and go with it; nothing was removed.")
        if not self.folder(card).exists():
            raise InputError(f"The model '{card.id}' is not installed in {self.root}; there is nothing to remove.")
        shutil.rmtree(self.folder(card))

    def _install(self, card: Card, source: Path | None, progress: Progress) -> None:
        progress.stage("install")
        downloads = self.root / f".{card.id}.download"
        published = self._collect(card, source, downloads, progress)
        self._place(card, source or downloads, published)
        shutil.rmtree(downloads, ignore_errors=True)

    def _make_root(self, card: Card) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.root).free
        except OSError as error:
            raise InputError(
                f"The model store {self.root} cannot be made ({error.strerror}); name another folder with "
                f"--store or {STORE_VARIABLE}."
            ) from error
        if not os.access(self.root, os.W_OK):
            raise InputError(
                f"The model store {self.root} cannot be written; name another folder with --store or {STORE_VARIABLE}."
            )
        if free < 2 * card.weights.size_bytes:
            raise InputError(
                f"The disk of the model store {self.root} has {free / 1e6:.0f} MB free and '{card.id}' needs "
                f"{2 * card.weights.size_bytes / 1e6:.0f} MB while it is installed; make room or use --store."
            )

    def _collect(self, card: Card, source: Path | None, downloads: Path, progress: Progress) -> dict[str, str]:
        """Have every published file in one folder and checked; returns the SHA-256 of each by name."""
        if source is None:
            downloads.mkdir(exist_ok=True)
        elif not source.is_dir():
            raise WeightsError(f"{source} is not a folder; give the folder that holds the weight files of '{card.id}'.")
        published, done = {}, 0
        for file in card.weights.files:
            start = done

            def told(received: int, file: WeightFile = file, start: int = start) -> None:
                progress.advance((start + received) / max(card.weights.size_bytes, 1), file.name)

            path = source / file.name if source else download(file, downloads / file.name, told)
            published[file.name] = _checked(path, file)
            done += file.size_bytes or 0
            told(file.size_bytes or 0)
        return published

    def _place(self, card: Card, source: Path, published: dict[str, str]) -> None:
        """Convert into a temporary folder of the store and rename it into place."""
        temporary = Path(tempfile.mkdtemp(prefix=f".{card.id}.", dir=self.root))
        try:
            family(card.network.family).convert(source, temporary / _WEIGHTS)
            for file in card.weights.files:
                if "licen" in file.name.lower():
                    shutil.copyfile(source / file.name, temporary / file.name)
            record = {
                "model": card.id,
                "version": card.version,
                "sha256": sha256_of(temporary / _WEIGHTS),
                "published": published,
                "licence": card.weights.licence,
                "installed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            }
            (temporary / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            temporary.chmod(0o755)  # mkdtemp makes it private; a shared store is read by others
            shutil.rmtree(self.folder(card), ignore_errors=True)  # remains without a record are no installation
            temporary.rename(self.folder(card))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _shipped(file: ShippedFile) -> Path:
    try:
        return resource(file.path)
    except FileNotFoundError as error:
        raise WeightsError(str(error)) from error


def _sound(path: Path, file: ShippedFile) -> Path:
    if sha256_of(path) != file.sha256:
        raise WeightsError(
            f"The weights {path} are damaged (their SHA-256 is not the card's); install GliomaSeg again."
        )
    return path


def _checked(path: Path, file: WeightFile) -> str:
    if not path.is_file():
        raise WeightsError(f"The weight file {path} is missing; it is published at {file.url}.")
    found = sha256_of(path)
    if file.sha256 and found != file.sha256:
        raise WeightsError(
            f"The weight file {path} is not the published one (SHA-256 {found[:12]}… instead of {file.sha256[:12]}…); "
            f"get it again from {file.url}."
        )
    return found


def download(file: WeightFile, destination: Path, told: Callable[[int], None]) -> Path:
    """Fetch one file, going on from what an earlier try left in ``<destination>.part``; proxies come from the
    environment. ``told`` hears the number of bytes that are there.

    Raises:
        WeightsError: the address did not answer with the file after several tries.
    """
    import requests  # here, so that listing models does not pay for it

    if destination.is_file():
        return destination
    part = destination.with_name(destination.name + ".part")
    for attempt in range(1, _TRIES + 1):
        try:
            _fetch(str(file.url), part, told)
            break
        except requests.RequestException as error:
            answered_no = error.response is not None and 400 <= error.response.status_code < 500
            if attempt == _TRIES or answered_no:
                raise WeightsError(
                    f"{file.url} could not be downloaded ({_reason(error)}); check the network and proxy, or fetch "
                    "the files elsewhere and use '--from FOLDER'."
                ) from error
            time.sleep(2**attempt)
    if file.sha256 and sha256_of(part) != file.sha256:
        part.unlink()  # going on from a wrong beginning would never end well
        raise WeightsError(
            f"What came from {file.url} is not the published file (its SHA-256 differs); try again, and if it "
            "persists a proxy may be altering it: fetch the files elsewhere and use '--from FOLDER'."
        )
    part.replace(destination)
    return destination


def _fetch(url: str, part: Path, told: Callable[[int], None]) -> None:
    import requests

    have = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"}  # a range of a compressed file would not continue the part
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, stream=True, timeout=_TIMEOUT_S, headers=headers) as reply:
        if have and reply.status_code == requests.codes.requested_range_not_satisfiable:
            return  # the part is already the whole file
        reply.raise_for_status()
        resumed = have and reply.status_code == requests.codes.partial_content
        received = have if resumed else 0
        with part.open("ab" if resumed else "wb") as stream:
            for chunk in reply.iter_content(_CHUNK_BYTES):
                stream.write(chunk)
                received += len(chunk)
                told(received)
    expected = reply.headers.get("Content-Length")
    encoded = reply.headers.get("Content-Encoding", "identity") != "identity"
    if expected and not encoded and received - (have if resumed else 0) < int(expected):
        raise requests.ConnectionError("the connection closed early")


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code}" if response is not None else type(error).__name__
