"""The choice of device and number format, and what happens when memory is short."""

from __future__ import annotations

from pathlib import Path

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


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty tree of control groups; the file ``own`` beside it says which ones the process is in."""
    monkeypatch.setattr(device_module, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(device_module, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path / "groups"


def _limit(group: Path, limit: str, used: int, cached: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon {used - cached}\ninactive_file {cached}\n")


def _old_limit(group: Path, limit: int, used: int, cached: int) -> None:
    """As version 1 has it, where a group's own cache is distinguished from that of the groups in it."""
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (group / "memory.usage_in_bytes").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"inactive_file 0\ntotal_inactive_file {cached}\n")


def test_a_container_limit_counts(groups: Path) -> None:
    unlimited = free_memory_bytes(CPU)
    (groups.parent / "own").write_text("0::/\n")
    _limit(groups, "5000", used=3000, cached=500)
    assert free_memory_bytes(CPU) == 2500 < unlimited
    _limit(groups, "max", used=3000, cached=500)
    assert free_memory_bytes(CPU) > 2500


def test_the_least_limit_of_all_groups_around_counts(groups: Path) -> None:
    (groups.parent / "own").write_text("0::/slurm/job_1/step_0\n")
    _limit(groups / "slurm" / "job_1" / "step_0", "max", used=300, cached=0)
    _limit(groups / "slurm" / "job_1", "5000", used=3000, cached=500)
    _limit(groups / "slurm", "9000", used=8000, cached=0)
    _limit(groups / "other", "10", used=0, cached=0)
    assert free_memory_bytes(CPU) == 1000
    _limit(groups / "slurm" / "job_1" / "step_0", "400", used=300, cached=0)
    assert free_memory_bytes(CPU) == 100


def test_old_control_groups_count(groups: Path) -> None:
    (groups.parent / "own").write_text("7:cpu,cpuacct:/cpus\n4:memory:/pbs/job_1\n1:name=systemd:/\n0::/\n")
    _old_limit(groups / "memory", 0x7FFFFFFFFFFFF000, used=9000, cached=0)
    _old_limit(groups / "memory" / "cpus", 10, used=0, cached=0)
    _old_limit(groups / "memory" / "pbs" / "job_1", 5000, used=3000, cached=500)
    assert free_memory_bytes(CPU) == 2500


def test_a_group_that_only_the_host_sees_is_passed_over(groups: Path) -> None:
    (groups.parent / "own").write_text("4:memory:/docker/0123\n")
    _old_limit(groups / "memory", 5000, used=3000, cached=500)
    assert free_memory_bytes(CPU) == 2500
