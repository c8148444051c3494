"""Output folders are written completely or not at all, and foreign folders stay untouched."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from GliomaSegLib.errors import Cancelled, InputError
from GliomaSegLib.io.folder import (
    MANIFEST,
    PROGRAM,
    check_output,
    clear_up,
    is_result_folder,
    unfinished,
    written_whole,
)
from GliomaSegLib.io.provenance import sha256_of

ROOT = Path(__file__).parents[2]
EARLIER = json.dumps({"program": "GliomaSeg", "case_id": "earlier"})


def earlier_results(folder: Path) -> Path:
    folder.mkdir()
    (folder / MANIFEST).write_text(EARLIER)
    (folder / "old").touch()
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_appears_only_at_the_end(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "down" / "out"
    with written_whole(output) as folder:
        (folder / MANIFEST).write_text("new")
        assert not output.exists()
        assert folder.parent == output.parent  # so that the rename stays on one disk
    assert contents(output) == {MANIFEST: "new"}
    assert list(output.parent.iterdir()) == [output]
    assert stat.S_IMODE(output.stat().st_mode) & 0o755 == 0o755  # readable as the user's other folders


@pytest.mark.parametrize("end", [ValueError, InputError, Cancelled, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("replaces", [False, True])
def test_what_is_broken_off_leaves_all_as_it_was(tmp_path: Path, end: type[BaseException], replaces: bool) -> None:
    output = earlier_results(tmp_path / "out") if replaces else tmp_path / "out"
    with pytest.raises(end), written_whole(output, overwrite=replaces) as folder:  # noqa: PT012 - it raises inside
        (folder / MANIFEST).write_text("half")
        raise end("stop")
    assert list(tmp_path.iterdir()) == ([output] if replaces else [])
    if replaces:
        assert contents(output) == {MANIFEST: EARLIER, "old": ""}


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out could not be written \(No space left on device\)"):  # noqa: SIM117
        with written_whole(tmp_path / "out"):
            raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_overwriting_replaces_all_of_the_earlier_results(tmp_path: Path) -> None:
    output = earlier_results(tmp_path / "out")
    with written_whole(output, overwrite=True) as folder:
        (folder / MANIFEST).write_text("new")
        assert contents(output) == {MANIFEST: EARLIER, "old": ""}
    assert contents(output) == {MANIFEST: "new"}
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("end", [PermissionError(13, "Permission denied"), Cancelled("A signal came between.")])
def test_earlier_results_come_back_when_the_last_step_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    output = earlier_results(tmp_path / "out")
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise end
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises((InputError, Cancelled)), written_whole(output, overwrite=True) as folder:
        (folder / MANIFEST).write_text("new")
    assert contents(output) == {MANIFEST: EARLIER, "old": ""}
    assert list(tmp_path.iterdir()) == [output]


def test_existing_results_are_not_replaced_unasked(tmp_path: Path) -> None:
    output = earlier_results(tmp_path / "out")
    with pytest.raises(InputError, match=r"out exists already; name another folder or say '--overwrite'\."):
        check_output(output, overwrite=False)
    check_output(output, overwrite=True)


def results_of_a_person(output: Path, by_hand: str) -> Path:
    """Earlier results that somebody has reviewed, or whose labels were saved since they were measured."""
    output.mkdir()
    (output / "labels").write_text("as written")
    manifest = {"program": PROGRAM, "review": "draft", "sha256": {"labels": sha256_of(output / "labels"), "gone": "0"}}
    if by_hand == "saved":
        (output / "labels").write_text("drawn anew")
    else:
        manifest["review"] = by_hand
    (output / MANIFEST).write_text(json.dumps(manifest))
    return output


@pytest.mark.parametrize("by_hand", ["saved", "edited", "approved", "rejected"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_person_has_edited_or_reviewed_is_not_replaced(tmp_path: Path, by_hand: str, overwrite: bool) -> None:
    output = results_of_a_person(tmp_path / "out", by_hand)
    before, state = contents(output), by_hand.replace("saved", "edited")
    with pytest.raises(InputError, match=f"were {state} by hand and are not replaced; .* --state draft --by NAME'"):  # noqa: SIM117
        with written_whole(output, overwrite):
            pass
    assert contents(output) == before
    with written_whole(output, overwrite=True, revises=True) as folder:  # as a review does
        (folder / "new").touch()
    assert contents(output) == {"new": ""}


def test_results_that_nobody_has_touched_are_replaced(tmp_path: Path) -> None:
    check_output(results_of_a_person(tmp_path / "out", "draft"), overwrite=True)


@pytest.mark.parametrize("by_hand", ["saved", "approved"])
def test_what_is_reviewed_during_a_run_is_not_replaced_by_it(tmp_path: Path, by_hand: str) -> None:
    output = earlier_results(tmp_path / "out")
    with pytest.raises(InputError, match="lies in"), written_whole(output, overwrite=True) as folder:  # noqa: PT012
        (folder / MANIFEST).write_text("mine")
        shutil.rmtree(output)
        results_of_a_person(output, by_hand)
    assert (output / "labels").is_file()
    assert contents(tmp_path / "out_2") == {MANIFEST: "mine"}


def test_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    output = tmp_path / "holiday"
    output.mkdir()
    check_output(output, overwrite=True)  # empty: nothing can be lost
    (output / "picture.jpg").touch()
    with pytest.raises(InputError, match=r"holiday is not a folder of GliomaSeg results .*not overwritten"):
        check_output(output, overwrite=True)


@pytest.mark.parametrize(
    "manifest", ["", "{", "[]", '"GliomaSeg"', '{"name": "a web page"}', '{"program": "other"}', '{"a":' * 100_000]
)
def test_manifest_of_another_program_is_foreign(tmp_path: Path, manifest: str) -> None:
    output = tmp_path / "page"
    output.mkdir()
    (output / MANIFEST).write_text(manifest)
    assert not is_result_folder(output)
    with pytest.raises(InputError, match="page is not a folder of GliomaSeg results"):
        check_output(output, overwrite=True)


def test_own_results_are_known(tmp_path: Path) -> None:
    assert is_result_folder(earlier_results(tmp_path / "out"))
    assert not is_result_folder(tmp_path)
    assert not is_result_folder(tmp_path / "nowhere")


def test_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    with pytest.raises(InputError, match="letter is not a folder of GliomaSeg results"):
        check_output(tmp_path / "letter", overwrite=True)


def test_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "out", tmp_path / "file" / "deep" / "out"):
        with pytest.raises(InputError, match=r"out cannot be written \(.*\); name a folder where you may write\."):
            check_output(output, overwrite=False)


def test_parent_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("GliomaSegLib.io.folder.tempfile.mkdtemp", refused)
    with pytest.raises(InputError, match=r"out cannot be written \(Permission denied\)"):
        check_output(tmp_path / "out", overwrite=False)


def test_a_name_that_is_too_long_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        check_output(tmp_path / ("x" * 250), overwrite=False)


def test_what_is_written_beside_under_a_longer_name_is_left(tmp_path: Path) -> None:
    with written_whole(tmp_path / "P1.2") as folder:
        assert unfinished(tmp_path / "P1.2") == {folder}
        assert unfinished(tmp_path / "P1") == set()


def test_killed_writer_is_cleared_up_after(tmp_path: Path) -> None:
    output = tmp_path / "out"
    (tmp_path / ".other.x.partial").mkdir()
    (tmp_path / ".out.txt").touch()
    with written_whole(output):
        (half,) = unfinished(output)
    assert unfinished(output) == set()

    half.mkdir()
    (tmp_path / ".out.y.old").mkdir()
    output.rename(tmp_path / ".out.y.old" / "out")  # killed between the two steps of the replacement
    clear_up(output, unfinished(output))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.x.partial", ".out.txt", "out"]
    assert unfinished(tmp_path / "nowhere" / "out") == set()


# --- others that write to the same place ---------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("theirs", ["a folder", "an empty folder", "a file", "a link that leads nowhere"])
def test_what_another_program_has_made_meanwhile_is_left_and_the_result_kept_beside(
    tmp_path: Path, overwrite: bool, theirs: str
) -> None:
    output = tmp_path / "out"
    (tmp_path / "out_2").touch()
    with pytest.raises(InputError, match=r"was made or changed by others .* lies in .*out_3\."):  # noqa: SIM117, PT012
        with written_whole(output, overwrite) as folder:
            (folder / MANIFEST).write_text("mine")
            if theirs == "a file":
                output.write_text("theirs")
            elif theirs == "a link that leads nowhere":
                output.symlink_to(tmp_path / "nowhere")
            else:
                output.mkdir()
                if theirs == "a folder":
                    (output / "file").write_text("theirs")
                elif overwrite:
                    (output / "file").touch()  # an empty one may be replaced
    assert contents(tmp_path / "out_3") == {MANIFEST: "mine"}
    assert output.is_symlink() or output.exists()
    if theirs == "a folder":
        assert contents(output) == {"file": "theirs"}
    assert {one.name for one in tmp_path.iterdir()} == {"out", "out_2", "out_3"}


def test_of_two_writers_with_one_output_neither_result_is_lost(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(InputError, match="lies in"), written_whole(output) as mine:  # noqa: PT012 - it raises at the end
        (mine / MANIFEST).write_text("mine")
        with written_whole(output) as theirs:
            (theirs / MANIFEST).write_text("theirs")
    assert contents(output) == {MANIFEST: "theirs"}
    assert contents(tmp_path / "out_2") == {MANIFEST: "mine"}


_WRITER = """
import json, sys, time
from pathlib import Path
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import MANIFEST, written_whole
output, number, overwrite = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
try:
    with written_whole(output, overwrite) as folder:
        (folder / MANIFEST).write_text(json.dumps({"program": "GliomaSeg", "number": number}))
        print("ready", flush=True)
        sys.stdin.readline()
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_many_processes_with_one_output_no_result_is_lost(tmp_path: Path, overwrite: bool) -> None:
    """What one of them was allowed to replace is earlier results; each is there, or was replaced by another."""
    output, count = tmp_path / "out", 8
    if overwrite:
        earlier_results(output)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(output), str(number), str(overwrite)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for number in range(count)
    ]  # fmt: skip
    for one in writers:
        assert one.stdout.readline() == "ready\n"
    for one in writers:
        one.stdin.close()  # all at once
    said = [one.stdout.read() for one in writers]
    assert [one.wait() for one in writers] == [0] * count
    kept = {path.name: json.loads((path / MANIFEST).read_text()).get("number") for path in tmp_path.iterdir()}
    assert kept.pop("out") is not None, "the earlier results are replaced"
    for number, sentence in enumerate(said):
        if sentence:
            assert "lies in" in sentence
            assert kept.pop(Path(sentence.rstrip(".\n").rpartition(" ")[2]).name) == str(number)
    assert kept == {}
    assert overwrite or sum(map(bool, said)) == count - 1


def test_results_that_became_a_foreign_folder_are_not_overwritten(tmp_path: Path) -> None:
    output = earlier_results(tmp_path / "out")
    with pytest.raises(InputError, match="lies in"), written_whole(output, overwrite=True) as folder:  # noqa: PT012
        (folder / MANIFEST).write_text("mine")
        (output / MANIFEST).write_text("{}")  # another program's
    assert contents(output) == {MANIFEST: "{}", "old": ""}
    assert contents(tmp_path / "out_2") == {MANIFEST: "mine"}
