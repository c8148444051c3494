"""Limits of the machine, tried for real: closed streams, full disks, long names, little memory, one processor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node.permissions import check_secret
from GliomaSegLib.errors import InputError, as_typed
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.store import Store
from Testing.support.node_site import write_images
from Testing.support.study import write_study

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


NAMES = [
    "plain",
    "with a space",
    "it's",
    'say "no"',
    "$HOME",
    "`id`",
    "a;b&c|d",
    "(1)",
    "back\\slash",
    "ä ö",
    "*",
    "#1",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_in_a_suggested_command_is_one_word(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    done = subprocess.run(f"printf %s {as_typed(path)}", shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == str(path)
    assert as_typed("/plain/path-1.nii.gz") == "/plain/path-1.nii.gz"


def test_a_suggested_command_works_as_it_stands(tmp_path: Path) -> None:
    folder = tmp_path / "my results"
    folder.mkdir()
    (folder / "password").write_text("x")
    (folder / "password").chmod(0o644)
    with pytest.raises(InputError, match="run: chmod 600") as raised:
        check_secret(folder / "password", "password file")
    subprocess.run(str(raised.value).partition("run: ")[2], shell=True, check=True)
    check_secret(folder / "password", "password file")


def test_control_characters_of_a_header_reach_no_terminal(tmp_path: Path) -> None:
    escape = {"PatientID": "A\x1b[31mB", "SeriesDescription": "scan \x1b]0;owned\x07", "StudyDate": "2020\x1b[2J"}
    write_images(tmp_path / "study", sequences=[Modality.T1C], **escape)
    exams = ran("exams", tmp_path / "study")
    assert "scan  ]0;owned" in exams.stdout
    refused = ran("segment", tmp_path / "study", "-o", tmp_path / "out", "--exam", "of nobody")
    assert "A [31mB" in refused.stderr
    assert "\x1b" not in exams.stdout + exams.stderr + refused.stderr


def test_a_home_that_cannot_be_written_is_needed_for_installing_alone(tmp_path: Path) -> None:
    nowhere = {"HOME": "/dev/null", "XDG_DATA_HOME": "", "GLIOMASEG_MODELS": ""}
    assert ran("models", "list", **nowhere).returncode == 0
    done = ran("models", "install", "synthstrip", "--from", tmp_path, **nowhere)
    assert done.returncode == 1
    assert "cannot be made" in done.stderr
    assert "--store" in done.stderr


# The command line with the toy model of the tests in its zoo.
_TOY = """
import json, sys
from GliomaSegLib.cli.main import main
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card_json import card_from
from GliomaSegLib.zoo.loaders import FAMILIES, Family
card = card_from(json.loads(sys.argv[1]))
catalogue.all_cards = lambda: {card.id: card}
FAMILIES[card.network.family] = Family("Testing.support.toy")
sys.exit(main(sys.argv[2:]))
"""

# Runs a command with a small disk mounted in a folder, says what is left on the disk, and ends as the command did.
_ON_SMALL_DISK = (
    'mount -t tmpfs -o size="$1" none "$2" || exit 77; disk=$2; shift 2; "$@"; was=$?; ls -A "$disk"; exit $was'
)


def on_small_disk(size: str, disk: Path, *command: object, **changed: str) -> subprocess.CompletedProcess[str]:
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", _ON_SMALL_DISK, "sh", size, str(disk)]
    try:
        done = subprocess.run(
            [*words, *map(str, command)], capture_output=True, text=True, check=False, env=os.environ | changed
        )
    except FileNotFoundError:
        pytest.skip("Linux alone mounts a small disk without being asked for a password")
    if done.returncode in (1, 77) and ("mount:" in done.stderr or "unshare:" in done.stderr):
        pytest.skip("no small disk can be mounted here: " + done.stderr)
    return done


@pytest.fixture
def toy_segment(toy_card: Card, toy_store: Store, tmp_path: Path) -> tuple[object, ...]:
    """The command that segments the tiny study, without its output."""
    study = write_study(tmp_path / "study")
    return (
        sys.executable, "-c", _TOY, card_text(toy_card), "segment", study, "--model", "toy", "--store", toy_store.root,
        "--brain", "stripped", "--no-registration",
    )  # fmt: skip


def test_a_disk_that_fills_at_any_stage_of_a_run_is_one_sentence_and_leaves_nothing(
    toy_segment: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    outcomes = []
    for size in ("4k", "40k", "120k", "400k", "20m"):
        done = on_small_disk(size, tmp_path / "disk", *toy_segment, "-o", tmp_path / "disk" / "out")
        outcomes.append(done.returncode)
        if done.returncode:
            *_, sentence = done.stderr.splitlines()
            assert sentence.startswith("gliomaseg: "), done.stderr
            assert "Traceback" not in done.stderr
            assert done.stdout == "", "nothing is left on the disk"
        else:
            assert done.stdout.splitlines()[-1] == "out"
    assert outcomes[:2] == [1, 1]
    assert outcomes[-1] == 0


def test_a_full_disk_for_temporary_files_is_no_obstacle(toy_segment: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (fill := tmp_path / "fill.sh").write_text(
        f'head -c 1M /dev/zero > {tmp_path / "disk"}/full 2> /dev/null\nexec "$@"'
    )
    done = on_small_disk(
        "4k", tmp_path / "disk", "sh", fill, *toy_segment, "-o", tmp_path / "out", TMPDIR=str(tmp_path / "disk")
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_a_decimal_comma_changes_no_file(toy_segment: tuple[object, ...], tmp_path: Path) -> None:
    """As an application around GliomaSeg may set it; the command itself does not."""
    localedef = shutil.which("localedef")
    made = localedef and subprocess.run(
        [localedef, "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("Linux alone makes a locale with a decimal comma, where its sources are installed")
    python, option, script, *words = toy_segment
    comma = "import locale\nlocale.setlocale(locale.LC_ALL, 'de_DE.UTF-8')\nassert locale.str(0.5) == '0,5'\n"
    for name, before in (("point", ""), ("comma", comma)):
        subprocess.run(
            [python, option, before + str(script), *map(str, words), "-o", str(tmp_path / name)],
            env=os.environ | {"LOCPATH": str(tmp_path)}, check=True, capture_output=True,
        )  # fmt: skip
    for name in ("segmentation.seg.nrrd", "segmentation.nii.gz"):
        first, second = (sitk.ReadImage(str(tmp_path / folder / name)) for folder in ("point", "comma"))
        assert sitk.Hash(first) == sitk.Hash(second)
        assert first.GetDirection() == second.GetDirection()
        assert first.GetSpacing() == second.GetSpacing()
        assert first.GetOrigin() == second.GetOrigin()


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
