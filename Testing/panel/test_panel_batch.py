"""The batch of the panel."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from GliomaSegPanel.decisions.batch import can_batch, done_row, studies_in, waiting_rows
from GliomaSegPanel.decisions.situation import Situation, Work

from GliomaSegLib.zoo.catalogue import find_card

READY = Situation(card=find_card("gliomaseg-any-v2"), installed=True)


def test_every_folder_in_the_folder_is_a_study(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "list.csv").touch()
    assert [study.name for study in studies_in(tmp_path)] == ["a", "b"]
    assert studies_in(None) == studies_in(tmp_path / "gone") == []


def test_a_batch_needs_studies_a_place_and_an_installed_model(tmp_path: Path) -> None:
    studies = [tmp_path / "a", tmp_path / "b"]
    answer = can_batch(READY, studies, tmp_path)
    assert answer.allowed
    assert answer.reason.startswith("Segment 2 studies with GliomaSeg any-v2, one after the other.")
    assert "a folder for each study" in can_batch(READY, [], tmp_path).reason
    assert "folder for the results" in can_batch(READY, studies, None).reason
    for changes in ({"installed": False}, {"card": None}, {"work": Work.SEGMENT}, {"editing": True}):
        assert not can_batch(dataclasses.replace(READY, **changes), studies, tmp_path).allowed


def test_the_table_says_how_far_it_is_and_what_came_of_each_study() -> None:
    studies = [Path(name) for name in "abc"]
    assert [row.state for row in waiting_rows(studies)] == ["waiting"] * 3
    assert [row.state for row in waiting_rows(studies, "b")] == ["done", "running", "waiting"]
    measures = {"volumes": [{"name": "WT", "volume_ml": 41.23}]}
    assert done_row("a", {"measures": measures}, None) == ("a", "done", "41.2")
    assert done_row("b", None, "b holds no image.") == ("b", "b holds no image.", "")
