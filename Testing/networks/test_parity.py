"""What the comparisons with the models' own packages share; the packages themselves are not here."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.catalogue import find_card
from Testing.parity.comparison import Answers, Found, mismatches, reported, run

MODEL = "monai-brats18-segresnet"
SURE, DOUBTFUL = 0.9, 0.505


def answers() -> Answers:
    """Ours finds four voxels; the package leaves out one of which ours is sure, and one of which it is not."""
    probability = np.zeros((2, 3, 4), np.float32)
    probability[0, 0] = SURE, SURE, SURE, DOUBTFUL
    ours = np.where(probability >= 0.5, np.uint8(Label.SNFH), np.uint8(0))
    theirs = ours.copy()
    theirs[0, 0, 2:] = 0
    return Answers.of(Prediction(ours, {Region.WT: probability}), theirs)


def compare(given: argparse.Namespace) -> Iterator[Found]:
    yield reported(find_card(MODEL), "numpy", [answers()], "a test", f"with {given.image}")


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model's card, which the comparisons take for the one that ships."""
    monkeypatch.setattr("Testing.parity.comparison.resource", lambda _name: tmp_path)
    return Path(shutil.copy(resource("models") / f"{MODEL}.json", tmp_path))


def test_what_is_in_doubt_is_no_mismatch() -> None:
    assert mismatches(answers()) == (2, 1)
    assert mismatches(answers(), threshold=0.7) == (2, 2)


@pytest.mark.parametrize("recording", [True, False])
def test_only_what_is_to_be_recorded_goes_into_the_card(
    card: Path, recording: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads(card.read_text(encoding="utf-8"))
    monkeypatch.setattr(sys, "argv", ["parity", "--image", "F", *(["--record"] if recording else [])])
    run(compare, "a test", image={"required": True})
    assert f"{MODEL}: 2 voxels differ; the package's labels are [0, 2]" in capsys.readouterr().out
    after = json.loads(card.read_text(encoding="utf-8"))
    if not recording:
        assert after == before
        return
    found = read_card(card)
    assert (found.parity.package, found.parity.voxels, found.parity.mismatches) == ("numpy", 24, 1)
    assert found.parity.remark == "with F"
    assert found.status.value == "unproven", "one voxel differs"
    changed = ("parity", "status")
    assert {**after, **dict.fromkeys(changed)} == {**before, **dict.fromkeys(changed)}, "nothing else has changed"


def test_a_package_that_finds_nothing_proves_nothing() -> None:
    nothing = answers()._replace(theirs=np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(SystemExit, match="finds nothing"):
        reported(find_card(MODEL), "numpy", [nothing], "a test", "")
