"""Limits of the machine, tried for real: closed streams, full disks, long names, little memory, one processor."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from GliomaSegLib.errors import InputError
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.store import Store

resource = pytest.importorskip("resource", reason="POSIX alone has such limits")

COMMAND = (sys.executable, "-m", "GliomaSegLib")


def ran(*words: object, before: Callable[[], None] | None = None, **changed: str) -> subprocess.CompletedProcess[str]:
    """A command that has ended; ``before`` runs in its process before it starts."""
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, preexec_fn=before,
        env=os.environ | changed, timeout=120,
    )  # fmt: skip


def is_one_sentence(text: str) -> bool:
    return text.startswith("gliomaseg: ") and text.count("\n") == 1


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_are_no_error(closed: tuple[int, ...], tmp_path: Path) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    assert ran("models", "list", before=close).returncode == 0
    assert ran("exams", tmp_path / "nowhere", before=close).returncode == 1


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    listing = subprocess.Popen([*COMMAND, "models", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    assert b"Traceback" not in listing.stderr.read()
    listing.wait()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
def test_a_full_disk_behind_standard_output_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "models", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert is_one_sentence(done.stderr), done.stderr
    assert "No space left on device" in done.stderr


def test_a_name_that_no_disk_takes_is_one_sentence(tmp_path: Path) -> None:
    done = ran("segment", tmp_path, "-o", tmp_path / ("n" * 300))
    assert done.returncode == 1
    assert is_one_sentence(done.stderr), done.stderr
    assert "File name too long" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_is_needed_for_installing_alone(tmp_path: Path) -> None:
    nowhere = {"HOME": "/dev/null", "XDG_DATA_HOME": "", "GLIOMASEG_MODELS": ""}
    assert ran("models", "list", **nowhere).returncode == 0
    done = ran("models", "install", "synthstrip", "--from", tmp_path, **nowhere)
    assert done.returncode == 1
    assert "cannot be made" in done.stderr
    assert "--store" in done.stderr


def test_a_disk_that_fills_while_a_model_is_installed_leaves_nothing(
    toy_zoo: Card, toy_files: Path, tmp_path: Path
) -> None:
    """By a limit on the size of files, which every write beyond it meets as it meets a full disk."""
    store, before = Store(tmp_path / "models"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(InputError, match="could not be installed in"):
            store.install(toy_zoo, toy_files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not store.is_installed(toy_zoo)
    assert [path.name for path in store.root.iterdir() if not path.name.endswith(".lock")] == []
    store.install(toy_zoo, toy_files)


def test_a_pack_that_came_to_be_there_meanwhile_is_not_replaced(
    toy_store: Store, toy_zoo: Card, tmp_path: Path
) -> None:
    class Rival(Silent):
        def advance(self, fraction: float, detail: str = "") -> None:
            (tmp_path / "pack.zip").write_text("another program's")

    with pytest.raises(InputError, match="was made by another program meanwhile"):
        toy_store.export([toy_zoo], tmp_path / "pack.zip", Rival())
    assert (tmp_path / "pack.zip").read_text() == "another program's"
    assert list(tmp_path.glob(".pack.zip.*")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone keeps to this limit")
def test_the_memory_estimate_sees_a_limit_of_the_address_space() -> None:
    """Batch systems set it, and a process that exceeds it crashes."""
    script = (
        "import resource, torch\n"
        "from GliomaSegLib.inference.device import free_memory_bytes\n"
        "cpu = torch.device('cpu')\n"
        "before = free_memory_bytes(cpu)\n"
        "import psutil\n"
        "more = 300_000_000\n"
        "taken = psutil.Process().memory_info().vms\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + more, resource.RLIM_INFINITY))\n"
        "print(free_memory_bytes(cpu) <= more < before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "True"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone grants a process some of the processors")
def test_of_many_processors_those_that_are_granted_are_used() -> None:
    script = (
        "import SimpleITK, torch\n"
        "from GliomaSegLib.batch.local import threads_of_each\n"
        "of_itk = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()\n"
        "print(torch.get_num_threads(), of_itk, threads_of_each(1))\n"
    )
    one = {min(os.sched_getaffinity(0))}
    environment = {
        name: value
        for name, value in os.environ.items()
        if "THREADS" not in name  # which would hide what is tested
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, timeout=120,
        preexec_fn=lambda: os.sched_setaffinity(0, one),
    )  # fmt: skip
    assert done.stdout.split() == ["1", "1", "1"]
