"""The choice of device and number format, and what happens when memory is short."""

from __future__ import annotations

import pytest
import torch

from GliomaSegLib.errors import InputError
from GliomaSegLib.inference import device as device_module
from GliomaSegLib.inference.device import choose_device, choose_precision, free_memory_bytes, place
from GliomaSegLib.progress import Silent

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Listener(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def _free(monkeypatch: pytest.MonkeyPatch, cpu: int, cuda: int) -> None:
    monkeypatch.setattr(device_module, "free_memory_bytes", lambda d: cuda if d.type == "cuda" else cpu)


@pytest.mark.usefixtures("no_gpu")
def test_auto_falls_to_the_processor() -> None:
    assert choose_device() == CPU


def test_auto_takes_the_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device().type == "cuda"
    with pytest.raises(InputError, match="no usable device 'cuda:3'"):
        choose_device("cuda:3")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("wish", ["cuda", "mps", "cuda:1"])
def test_what_is_not_there_is_refused(wish: str) -> None:
    with pytest.raises(InputError, match=f"no usable device '{wish}'"):
        choose_device(wish)


@pytest.mark.parametrize("wish", ["gpu", "xla", "meta", ""])
def test_what_is_no_device_is_refused(wish: str) -> None:
    with pytest.raises(InputError, match="give auto, cpu, cuda or mps"):
        choose_device(wish)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"avx2": True, "amx_bf16": False}, torch.float32),
    ],
)
def test_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision(CPU) is precision


@pytest.mark.parametrize(("capability", "precision"), [((8, 0), torch.bfloat16), ((7, 5), torch.float32)])
def test_precision_follows_the_graphics_card(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_precision(CUDA) is precision


def test_enough_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, cpu=10, cuda=10)
    listener = Listener()
    assert place(CUDA, 10, listener) == CUDA
    assert place(CPU, 10, listener) == CPU
    assert not listener.warnings


def test_small_graphics_card_gives_way_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, cpu=8 << 30, cuda=1 << 30)
    listener = Listener()
    assert place(CUDA, 2 << 30, listener) == CPU
    assert "has 1.0 GiB free and the network needs about 2.0 GiB" in listener.warnings[0]


def test_too_little_memory_is_said_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    _free(monkeypatch, cpu=1 << 30, cuda=0)
    with pytest.raises(InputError, match=r"needs about 2\.0 GiB of memory for this case and 1\.0 GiB are free"):
        place(CPU, 2 << 30, Listener())


def test_a_container_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(device_module, "_CGROUP", tmp_path)
    unlimited = free_memory_bytes(CPU)
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 2000\ninactive_file 500\n")
    assert free_memory_bytes(CPU) == 2500 < unlimited
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_bytes(CPU) > 2500
