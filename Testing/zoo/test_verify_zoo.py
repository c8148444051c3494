"""``python -m Testing.verify_zoo``: from a server of this computer to the figures and hashes of a card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.labels import Region
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card import Accuracy, Card
from GliomaSegLib.zoo.card_json import card_from, card_text
from Testing import verify_zoo
from Testing.support.published import published_at, served


@pytest.fixture
def made(small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The phantom in a small form, cards in a folder of their own, and a table with one case."""
    monkeypatch.setattr(verify_zoo, "make_phantom", lambda: small_phantom)
    monkeypatch.setattr(verify_zoo, "resource", lambda _: tmp_path)
    folder = tmp_path / "case"
    folder.mkdir()
    for sequence in (Modality.T1C, Modality.T2F):
        sitk.WriteImage(small_phantom.images[sequence], folder / f"{sequence.value}.nii.gz")
    sitk.WriteImage(small_phantom.reference, folder / "truth.nii.gz")
    (tmp_path / "cases.csv").write_text(
        "case,patient,hospital,t1n,t1c,t2w,t2f,truth,truth_of,scheme\n"
        "a,a,ours,,case/t1c.nii.gz,,case/t2f.nii.gz,case/truth.nii.gz,,gliomaseg\n"
    )
    return tmp_path


def test_a_model_is_installed_run_compared_and_written(
    toy_zoo: Card, toy_files: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = Accuracy(
        data="their cases", sequences=(Modality.T2F, Modality.T1C), dice={Region.WT: 0.99, Region.ET: 0.2}, source="x"
    )
    with served(toy_files) as address:
        card = replace(published_at(toy_zoo, address), published=(figure,))
        monkeypatch.setattr(catalogue, "all_cards", lambda: {"toy": card})
        (made / "toy.json").write_text(card_text(card))
        given = ["toy", "-o", str(made / "out"), "--store", str(made / "models"), "--cases", str(made / "cases.csv")]
        assert verify_zoo.main([*given, "--write"]) == 0
    said = capsys.readouterr().out
    assert "toy: Dice on the phantom WT 0." in said
    assert "on 1 cases of ours WT 0." in said
    assert "(published WT 0.990, ET 0.200 on their cases" in said
    far = verify_zoo._beside_published(card, [Modality.T1C, Modality.T2F], {Region.WT: 0.4, Region.ET: 0.3})
    assert "LOOK at the order of the sequences" in far
    found = json.loads((made / "out" / "toy.json").read_bytes())
    weights = hashlib.sha256((toy_files / "thresholds.txt").read_bytes()).hexdigest()
    assert found["sha256"] == {"thresholds.txt": weights}
    assert found["measured"][0]["sequences"] == ["t2f", "t1c"]
    written = card_from(json.loads((made / "toy.json").read_bytes()))
    assert written.status.value == "verified"
    assert written.weights.files[0].sha256 == weights
    assert written.measured[0].dice[Region.WT] == found["measured"][0]["dice"]["WT"]
    assert written.verification is not None


def test_a_model_that_cannot_be_had_is_named_with_the_reason(
    toy_zoo: Card, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = made / "nothing"
    empty.mkdir()
    given = ["toy", "-o", str(made / "out"), "--store", str(made / "models")]
    assert verify_zoo.main([*given, "--from", str(empty)]) == 1
    assert "toy: NOT VERIFIED: The weight file" in capsys.readouterr().out
    assert not (made / "out" / "toy.json").exists()
    assert verify_zoo.main(["no-such", "-o", str(made / "out")]) == 1
    assert capsys.readouterr().err.startswith("verify_zoo: There is no model 'no-such'")
