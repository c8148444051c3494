"""Renames go through although another program holds the file open for a moment, where the system refuses that."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from GliomaSegLib.errors import InputError
from GliomaSegLib.io import renaming
from GliomaSegLib.io.folder import MANIFEST, PROGRAM, written_whole

only_windows = pytest.mark.skipif(os.name != "nt", reason="only on Windows: files that are open cannot be replaced")


class Refusals:
    """Refuses the first renames, as Windows does with a file that is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.left = count
        really = Path.replace

        def replace(source: Path, target: Path) -> Path:
            if self.left:
                self.left -= 1
                raise PermissionError(13, "The process cannot access the file because it is being used")
            return really(source, target)

        monkeypatch.setattr(Path, "replace", replace)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renaming, "_REFUSES_OPEN_FILES", True)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("new", "old"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    return tmp_path / "new", tmp_path / "old"


@pytest.mark.usefixtures("windows")
def test_a_file_that_is_open_for_a_moment_is_replaced(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(monkeypatch, 3)
    renaming.rename(*files)
    assert refusals.left == 0
    assert files[1].read_text(encoding="utf-8") == "new"
    assert not files[0].exists()


@pytest.mark.usefixtures("windows")
def test_a_file_that_stays_open_is_an_error_and_stays(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "WAIT_S", 0.05)
    Refusals(monkeypatch, 1000)
    with pytest.raises(PermissionError):
        renaming.rename(*files)
    assert [file.read_text(encoding="utf-8") for file in files] == ["new", "old"]


def test_where_open_files_can_be_replaced_a_refusal_is_final(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_REFUSES_OPEN_FILES", False)
    refusals = Refusals(monkeypatch, 2)
    with pytest.raises(PermissionError):
        renaming.rename(*files)
    assert refusals.left == 1


def write_result(output: Path, text: str) -> None:
    with written_whole(output, overwrite=True) as folder:
        (folder / MANIFEST).write_text(f'{{"program": "{PROGRAM}"}}', encoding="utf-8")
        (folder / "report.html").write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("refused", [1, 2, 5])
def test_results_that_are_open_for_a_moment_are_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    write_result(tmp_path / "out", "first")
    Refusals(monkeypatch, refused)
    write_result(tmp_path / "out", "second")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("windows")
def test_results_that_stay_open_are_left_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_result(tmp_path / "out", "first")
    monkeypatch.setattr(renaming, "WAIT_S", 0.05)
    Refusals(monkeypatch, 1000)
    with pytest.raises(InputError, match="could not be written"):
        write_result(tmp_path / "out", "second")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@only_windows
def test_windows_waits_until_a_real_file_is_closed(files: tuple[Path, Path]) -> None:
    stream = files[1].open("rb")
    threading.Timer(0.5, stream.close).start()
    begin = time.monotonic()
    renaming.rename(*files)
    assert time.monotonic() - begin > 0.4
    assert files[1].read_text(encoding="utf-8") == "new"
