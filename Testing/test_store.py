"""The store of models: installing from a folder and over HTTP, whole or not at all, and what is noticed later."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo import store as store_module
from GliomaSegLib.zoo.card import Card, ShippedFile, Weights
from GliomaSegLib.zoo.store import Store, default_store
from Testing import toy

# The toy's converter reads numbers and skips white space, so its file can have any length.
PUBLISHED = b"680 500 800" + b" " * 100_000
CHUNK_BYTES = 10_000


class Server(ThreadingHTTPServer):
    """Serves ``content``, and misbehaves as told.

    Attributes:
        close_after: bytes after which each of the next ``closures`` replies is cut off.
        requested: the ``Range`` header of every request, in order.
        encodings: the ``Accept-Encoding`` header likewise.
    """

    daemon_threads = True
    content = PUBLISHED
    status = 200
    knows_ranges = True
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
        if begin >= len(self.server.content):
            self.send_error(416)
            return
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        body = self.server.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.closures:
            self.server.closures -= 1
            body = body[: self.server.close_after]
        self.wfile.write(body)

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(store_module, "_CHUNK_BYTES", CHUNK_BYTES)
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
    monkeypatch.setattr("GliomaSegLib.zoo.store.time.sleep", made.append)
    return made


@pytest.fixture
def online(toy_zoo: Card, server: Server) -> Card:
    """The toy's card, its file published by the server."""
    return published_at(toy_zoo, server.url)


def published_at(card: Card, url: str, content: bytes = PUBLISHED) -> Card:
    file = card.weights.files[0].model_copy(
        update={"url": url, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    )
    return card.model_copy(update={"weights": card.weights.model_copy(update={"files": (file,)})})


class Fractions(Silent):
    """Remembers how far each step had come."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    def advance(self, fraction: float, detail: str = "") -> None:
        self.heard.append(fraction)


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


def test_licence_file_is_kept_beside_the_weights(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    (toy_files / "LICENCE").write_text("free")
    licence = toy_zoo.weights.files[0].model_copy(update={"name": "LICENCE", "sha256": None, "size_bytes": None})
    weights = toy_zoo.weights.model_copy(update={"files": (*toy_zoo.weights.files, licence)})
    folder = Store(tmp_path / "models").install(toy_zoo.model_copy(update={"weights": weights}), toy_files)
    assert (folder / "LICENCE").read_text() == "free"


def test_second_install_does_nothing(toy_store: Store, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "convert", lambda *_: pytest.fail("installed twice"))
    toy_store.install(toy_zoo)


def test_wrong_file_is_refused_and_nothing_left(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    (toy_files / toy.PUBLISHED_FILE).write_bytes(b"1 2 3")
    store = Store(tmp_path / "models")
    with pytest.raises(WeightsError, match=r"thresholds\.txt is not the published one .*; get it again from http"):
        store.install(toy_zoo, toy_files)
    assert models_in(store) == []


def test_missing_file_is_refused(toy_zoo: Card, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"empty/thresholds\.txt is missing; it is published at http://localhost"):
        Store(tmp_path / "models").install(toy_zoo, tmp_path / "empty")
    with pytest.raises(WeightsError, match="nowhere is not a folder; give the folder that holds the weight files"):
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


# --- over the network ----------------------------------------------------------------------------------------------


def test_install_over_http_tells_its_progress(online: Card, server: Server, tmp_path: Path) -> None:
    progress = Fractions()
    store = Store(tmp_path)
    store.install(online, progress=progress)
    assert store.weights(online).is_file()
    assert not (tmp_path / ".toy.download").exists()
    assert len(progress.heard) > len(PUBLISHED) / CHUNK_BYTES
    assert progress.heard == sorted(progress.heard)
    assert progress.heard[-1] == 1
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
    assert progress.heard == sorted(progress.heard)
    assert len(waits) == 2
    assert server.encodings == ["identity"] * 3  # compressed bytes could not be gone on with


def test_next_install_goes_on_from_what_an_earlier_one_left(
    online: Card, server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.close_after, server.closures = 15_000, 4
    with pytest.raises(WeightsError, match=r"could not be downloaded \(.*use '--from FOLDER'"):
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


def test_wrong_bytes_are_refused_and_nothing_left(online: Card, server: Server, tmp_path: Path) -> None:
    server.content = b"<html>Please log in</html>"
    with pytest.raises(WeightsError, match=r"/thresholds\.txt is not the published file .*proxy may be altering it"):
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

    monkeypatch.setattr(store_module, "_fetch", fetch)
    with pytest.raises(InputError, match=rf"'toy' could not be installed in {tmp_path} \(No space left on device\)"):
        Store(tmp_path).install(online)


# --- two at once, and places that cannot be written ----------------------------------------------------------------

INSTALLER = """
import os, shutil, sys, time, types
from pathlib import Path
from GliomaSegLib.zoo import store
from GliomaSegLib.zoo.card import read_card

card, files, root, meeting = map(Path, sys.argv[1:])

def once_both_are_there(source, destination):
    print("converts", flush=True)
    while len(list(meeting.iterdir())) < 2:
        time.sleep(0.05)
    time.sleep(0.5)
    shutil.copyfile(next(source.iterdir()), destination)

store.family = lambda name: types.SimpleNamespace(convert=once_both_are_there)
(meeting / str(os.getpid())).touch()
store.Store(root).install(read_card(card), files)
"""


def test_two_processes_install_once(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(toy_zoo.model_dump_json())
    (tmp_path / "meeting").mkdir()
    given = [tmp_path / "card.json", toy_files, tmp_path / "models", tmp_path / "meeting"]
    command = [sys.executable, "-c", INSTALLER, *given]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) for _ in range(2)
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
    monkeypatch.setattr("GliomaSegLib.zoo.store.os.access", lambda *_: False)
    with pytest.raises(InputError, match=f"{tmp_path} cannot be written; name another folder with --store"):
        Store(tmp_path).install(toy_zoo, toy_files)


def test_disk_without_room_is_refused_before_the_download(toy_zoo: Card, tmp_path: Path) -> None:
    file = toy_zoo.weights.files[0].model_copy(update={"size_bytes": 10**18})
    card = toy_zoo.model_copy(update={"weights": toy_zoo.weights.model_copy(update={"files": (file,)})})
    with pytest.raises(InputError, match=r"MB free and 'toy' needs .* MB while it is installed"):
        Store(tmp_path).install(card)


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
    monkeypatch.setattr(store_module, "resource", lambda name: tmp_path / name)
    file = ShippedFile(path=path.name, size_bytes=7, sha256=hashlib.sha256(b"weights").hexdigest())
    return toy_zoo.model_copy(update={"weights": Weights(shipped=file, licence="CC0-1.0", attribution="none")})


def test_weights_that_come_with_gliomaseg_are_at_hand_without_an_install(shipped: Card, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.is_installed(shipped)
    assert store.weights(shipped) == tmp_path / "weights.safetensors"
    assert store.install(shipped) == store.folder(shipped) == tmp_path
    with pytest.raises(InputError, match="come with GliomaSeg"):
        store.remove(shipped)
    assert not store.root.exists()
    assert shipped.weights.size_bytes == 7


def test_damaged_weights_that_came_with_gliomaseg_are_refused(shipped: Card, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"weighty")
    with pytest.raises(WeightsError, match="damaged"):
        Store(tmp_path / "store").weights(shipped)


def test_weights_come_from_one_place() -> None:
    with pytest.raises(ValueError, match="either fetched"):
        Weights(licence="CC0-1.0", attribution="none")
