"""Cards, downloads, packs and networks of others: what they could make this program do, and that it does not."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.pipeline.prediction import forget_models, load_model
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import checked_card, read_card
from GliomaSegLib.zoo.download import download
from GliomaSegLib.zoo.loaders import load
from GliomaSegLib.zoo.loaders import torchscript as torchscript_loader
from GliomaSegLib.zoo.loaders.onnx_session import onnx_session
from GliomaSegLib.zoo.store import Store

CPU = torch.device("cpu")


def changed(card: Card, place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The card as JSON with another value at a place, whose blocks are made."""
    content = json.loads(json.dumps(dataclasses.asdict(card)))
    block = content
    for key in place[:-1]:
        if isinstance(key, str) and block[key] is None:
            block[key] = {}
        block = block[key]
    block[place[-1]] = value
    return content


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((("space", "spacing_mm"), [1.0, 1.0, edge]) for edge in (float("nan"), -1.0, 0.0, 1e-9, 1e9, float("inf"))),
        (("inference", "patch"), [10**9, 64, 64]),
        (("inference", "margin_voxels"), 10**9),
        (("inference", "multiple_of"), 10**9),
        (("output", "threshold"), float("nan")),
        (("network", "parameters"), {"brain_voxels": [10**9, 64, 64]}),
        (("network", "parameters"), {"certainty": float("nan")}),
        *((("weights", "files", 0, "name"), name) for name in ("a\0b", "a\nb", "C:evil", "a" * 5000, "../evil", "a|b")),
        *(
            (("training_features",), {"path": path, "size_bytes": 1, "sha256": "0" * 64})
            for path in ("../../etc/passwd", "/etc/passwd", "C:/evil", "weights\\..\\..\\evil")
        ),
    ],
)
def test_a_card_with_a_value_that_no_model_has_is_refused(
    toy_card: Card, place: tuple[str | int, ...], value: Any
) -> None:
    with pytest.raises(InputError, match=f"is not valid: {place[0]}"):
        checked_card(changed(toy_card, place, value))


def test_a_file_that_is_no_card_by_its_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "card.json").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(InputError, match="is larger than any model card"):
        read_card(tmp_path / "card.json")


def test_a_deeply_nested_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"network":' * 50_000)
    with pytest.raises(InputError, match="is not valid"):
        read_card(tmp_path / "card.json")


# --- downloads -----------------------------------------------------------------------------------------------------


class Endless(HTTPServer):
    """Sends 64 kB again and again until the client has gone, with the ``Content-Length`` that is set."""

    length: str | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client has gone."""


class _EndlessHandler(BaseHTTPRequestHandler):
    server: Endless

    def do_GET(self) -> None:
        self.send_response(200)
        if self.server.length is not None:
            self.send_header("Content-Length", self.server.length)
        self.end_headers()
        for _ in range(2000):
            self.wfile.write(bytes(65536))

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endless]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Endless(("127.0.0.1", 0), _EndlessHandler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("length", [None, "abc", "-5"])
def test_an_endless_download_ends_at_the_size_of_the_file(
    toy_card: Card, endless: Endless, length: str | None, tmp_path: Path
) -> None:
    endless.length = length
    url = f"http://127.0.0.1:{endless.server_port}/weights"
    file = dataclasses.replace(toy_card.weights.files[0], url=url, size_bytes=3_000_000)
    most: list[int] = []
    with pytest.raises(WeightsError, match="has more than 3000000 bytes"):
        download(file, tmp_path / "weights", lambda received, expected: most.append(received))
    assert max(most) <= 3_000_000
    assert list(tmp_path.iterdir()) == [], "nothing of it stays"


# --- weights -------------------------------------------------------------------------------------------------------


def test_weights_that_are_exchanged_after_their_check_are_not_loaded(toy_store: Store, toy_zoo: Card) -> None:
    weights = toy_store.weights(toy_zoo)
    load(toy_zoo, weights, CPU, torch.float32)
    save_file({"thresholds": torch.zeros(3)}, weights)
    with pytest.raises(WeightsError, match="were exchanged after they had been checked"):
        load(toy_zoo, weights, CPU, torch.float32)
    forget_models()
    with pytest.raises(WeightsError, match="were exchanged"):
        load_model("toy", weights, CPU, torch.float32)
    with pytest.raises(WeightsError, match="are damaged"):
        toy_store.weights(toy_zoo)


@pytest.mark.skipif(os.name != "posix", reason="POSIX alone has such permissions")
@pytest.mark.parametrize("what", ["", "weights.safetensors", ".."])
def test_weights_that_every_user_can_change_are_remarked(
    toy_store: Store, toy_zoo: Card, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = toy_store.folder(toy_zoo) / what
    with caplog.at_level(logging.WARNING):
        toy_store.weights(toy_zoo)
        assert not caplog.records
        place.chmod(place.stat().st_mode | 0o002)
        toy_store.weights(toy_zoo)
    assert "Every user of this computer can change the weights" in caplog.text


@pytest.mark.parametrize("where", ["secret.bin", "../{folder}/secret.bin", "{path}"])
def test_a_network_cannot_read_other_files_as_its_weights(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX lets a network name files in which its tensors are."""
    import onnx

    (tmp_path / "secret.bin").write_bytes(bytes(16))
    monkeypatch.chdir(tmp_path)
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    location = where.format(folder=tmp_path.name, path=tmp_path / "secret.bin")
    tensor.external_data.add(key="location", value=location)
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    inputs, outputs = ([onnx.helper.make_tensor_value_info(name, 1, [4])] for name in "xy")
    graph = onnx.helper.make_graph([node], "g", inputs, outputs, [tensor])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(WeightsError, match="and a network must be one file"):
        onnx_session(model.SerializeToString(), CPU, tmp_path / "weights.safetensors")


# --- TorchScript ---------------------------------------------------------------------------------------------------


class Plain(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + 1


def torchscript(line: str = "", rename: Callable[[str], str] = str, **parts: bytes) -> bytes:
    """A network in TorchScript with one more line of code, other names of its records, or other records."""
    buffer, out = io.BytesIO(), io.BytesIO()
    torch.jit.save(torch.jit.script(Plain()), buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(out, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".py"):
                content = content.replace(b"    return", f"    {line}\n    return".encode()) if line else content
            changed.writestr(rename(name), parts.get(Path(name).stem, content) if name.endswith(".pkl") else content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('k = torch.from_file("{file}", True, 4)', "from_file"),
        ('k = torch . from_file("{file}", True, 4)', "from_file"),
        ('k = ops.aten.from_file("{file}", True, 4)', "from_file"),
        ('k = images.from_file("{file}", True, 4)', "from_file"),
        ('k = getattr(torch, "from_file")("{file}", True, 4)', "from_file"),
        ('k = getattr(torch, "from" "_file")("{file}", True, 4)', "from_file"),
        ('ops.aten.save(images, "{file}")', "save"),
        ('images.save("{file}")', "save"),
        ("print('{{}}')", "print"),
        ("k = ops.c10d.barrier", "c10d"),
        ("k = ops\n    j = k.c10d.barrier", "c10d"),
        ("k = torch.classes.ours.Store", "torch.classes"),
        ("k = __torch__.torch.classes.c10d.Store", "torch.classes"),
        ("k = torch", "torch."),
        ("k = " + "(" * 50_000 + "1" + ")" * 50_000, "what cannot be read"),
        ('k = "\u00e9"', "what cannot be read"),
    ],
)
def test_a_torchscript_that_does_more_than_a_network_is_not_loaded(line: str, names: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(WeightsError, match=rf"was not loaded: its code .* has '{re.escape(names)}"):
        torchscript_loader._loaded(torchscript(line.format(file=file)), tmp_path / "network.ts")
    assert not file.exists()


class Named(torch.nn.Module):
    """Has parts whose names are those of torch's own things."""

    def __init__(self) -> None:
        super().__init__()
        self.ops = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.ReLU())
        self.table = torch.nn.Embedding(2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.ops(images) + self.table(torch.zeros(1, dtype=torch.long)).sum()


@pytest.mark.parametrize("version", ["archive/version", "archive/.data/version"])
def test_names_that_only_look_like_those_of_operations_are_no_obstacle(version: str, tmp_path: Path) -> None:
    """torch writes its version in either place."""
    network = torch.jit.script(Named())
    buffer, out = io.BytesIO(), io.BytesIO()
    torch.jit.save(network, buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(out, "w") as moved:
        for name in archive.namelist():
            moved.writestr(version if name.endswith("version") else name, archive.read(name))
    images = torch.ones(1, 1, 2, 2, 2)
    loaded = torchscript_loader._loaded(out.getvalue(), tmp_path / "network.ts")
    assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize("rename", [lambda name: name.replace(".py", ".PY"), lambda name: name.replace(".py", ".py/")])
def test_code_that_is_hidden_from_python_is_hidden_from_torch(rename: Callable[[str], str], tmp_path: Path) -> None:
    """torch does not mind upper case in the names of an archive."""
    content = torchscript(f'ops.aten.save(images, "{tmp_path / "file"}")', rename)
    with pytest.raises(WeightsError):
        torchscript_loader._loaded(content, tmp_path / "network.ts")(torch.zeros(1))
    assert not (tmp_path / "file").exists()


def test_what_python_reads_twice_torch_reads_once(tmp_path: Path) -> None:
    evil, good = (torchscript(line) for line in (f'ops.aten.save(images, "{tmp_path / "file"}")', ""))
    both = io.BytesIO()
    with zipfile.ZipFile(both, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in (evil, good):
            with zipfile.ZipFile(io.BytesIO(content)) as opened:
                for name in opened.namelist():
                    archive.writestr(name, opened.read(name))
    assert torchscript_loader._loaded(both.getvalue(), tmp_path / "network.ts")(torch.zeros(1)).item() == 1
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"data": b"\x80\x02K\x01" + b"\x85" * 200_000 + b"."}, "torch crashes over it"),
        ({"constants": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."}, "torch crashes over it"),
        ({"data": b"\x80\x02X\xff\xff\xff\x7fshort"}, "what cannot be read"),
        ({"data": b"\x80\x02c__torch__.torch.classes.c10d\nStore\n)\x81."}, "torch.classes"),
        ({"data": b"\x80\x02h\x55."}, "cannot be loaded as TorchScript"),
    ],
)
def test_a_torchscript_that_would_crash_torch_is_refused(parts: dict[str, bytes], says: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=says):
        torchscript_loader._loaded(torchscript(**parts), tmp_path / "network.ts")


def test_a_torchscript_that_would_grow_is_refused(tmp_path: Path) -> None:
    bomb = io.BytesIO(torchscript())
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("archive/code/large.py", bytes(200 << 20))
    with pytest.raises(WeightsError, match="is no TorchScript file"):
        torchscript_loader._loaded(bomb.getvalue(), tmp_path / "network.ts")


# --- packs ---------------------------------------------------------------------------------------------------------


def test_a_pack_that_would_grow_is_refused(toy_store: Store, toy_zoo: Card, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("toy/installed.json", "{}")
        opened.writestr("toy/weights.safetensors", bytes(50_000_000))
    with pytest.raises(WeightsError, match="would grow when it is unpacked"):
        toy_store.install(toy_zoo, tmp_path / "pack.zip")
    assert toy_store.is_installed(toy_zoo), "what was installed stays"


@pytest.mark.parametrize("name", ["..\\licence.txt", "licence\n.txt", "C:licence"])
def test_names_in_a_pack_are_of_files_in_its_folder(toy_store: Store, toy_zoo: Card, name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as opened:
        opened.writestr("toy/installed.json", "{}")
        opened.writestr(f"toy/{name}", "free")
    with pytest.raises(WeightsError, match="holds a name that is no file's"):
        toy_store.install(toy_zoo, tmp_path / "pack.zip")


def test_a_damaged_pack_is_one_sentence(toy_store: Store, toy_zoo: Card, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as opened:
        opened.writestr("toy/installed.json", "{}")
    content = bytearray((tmp_path / "pack.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 2] = 0
    (tmp_path / "pack.zip").write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        toy_store.install(toy_zoo, tmp_path / "pack.zip")
