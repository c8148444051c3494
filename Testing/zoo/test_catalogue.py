"""The catalogue and the store: which models there are and which are installed, with the standard library alone."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import checked_card, read_card
from GliomaSegLib.zoo.card_json import card_from, card_text
from GliomaSegLib.zoo.catalogue import all_cards, cards_of, find_card, tumour_models
from GliomaSegLib.zoo.places import default_store, shipped_cards, site_stores
from GliomaSegLib.zoo.store import Store

ROOT = Path(__file__).parents[2]
IDS = [card.id for card in tumour_models()]


@pytest.mark.parametrize("path", shipped_cards(), ids=lambda path: path.stem)
def test_a_card_is_the_same_with_the_standard_library_and_with_pydantic(path: Path) -> None:
    card = read_card(path)
    assert card_from(json.loads(path.read_bytes())) == card == find_card(card.id)
    assert card_from(json.loads(card_text(card))) == card


@pytest.mark.parametrize(
    ("platform", "variable", "place"),
    [
        ("linux", None, ".local/share"),
        ("linux", "XDG_DATA_HOME", "own"),
        ("darwin", None, "Library/Application Support"),
        ("win32", None, "AppData/Local"),
        ("win32", "LOCALAPPDATA", "own"),
    ],
)
def test_the_default_store_is_where_the_platform_keeps_a_user_s_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str | None, place: str
) -> None:
    for name in ("GLIOMASEG_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "own"))
    assert default_store() == tmp_path / place / "GliomaSeg" / "models"
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path / "shared"))
    assert default_store() == tmp_path / "shared"


def test_a_model_is_installed_when_its_record_is_there(tmp_path: Path) -> None:
    store, card = Store(tmp_path), find_card(IDS[0])
    folder = store.folder(card)
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"half")
    assert not store.is_installed(card)
    (folder / "installed.json").write_text("{}")
    assert store.is_installed(card)
    assert store.is_removable(card)
    store.remove(card)
    assert not folder.exists()


def test_what_the_site_provides_is_installed_and_not_the_user_s_to_remove(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card = find_card(IDS[0])
    sites = (tmp_path / "hospital", tmp_path / "laboratory")
    assert site_stores() == ()
    monkeypatch.setenv("GLIOMASEG_SITE_MODELS", os.pathsep.join(map(str, sites)))
    assert site_stores() == sites
    assert not Store(tmp_path).is_installed(card)
    folder = sites[1] / card.id
    folder.mkdir(parents=True)
    (folder / "installed.json").write_text("{}")
    assert Store(tmp_path).is_installed(card)
    assert not Store(tmp_path).is_removable(card)
    assert Store(tmp_path).folder(card) == folder
    (tmp_path / card.id).mkdir()
    (tmp_path / card.id / "installed.json").write_text("{}")
    assert Store(tmp_path).is_removable(card)
    assert Store(tmp_path).folder(card) == tmp_path / card.id


def test_added_models_are_listed_and_damaged_cards_are_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_card: Card, caplog: pytest.LogCaptureFixture
) -> None:
    site = tmp_path / "site"
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path / "own"))
    monkeypatch.setenv("GLIOMASEG_SITE_MODELS", str(site))
    for store, name, text in (
        (tmp_path / "own", "toy", card_text(toy_card)),
        (tmp_path / "own", "broken", "{"),
        (tmp_path / "own", "wrong", '{"id": "wrong"}'),
        (tmp_path / "own", IDS[0], card_text(toy_card)),
        (site, "other", card_text(replace(toy_card, id="other"))),
        (tmp_path / "named", "third", card_text(replace(toy_card, id="third"))),
        (tmp_path / "named", "toy", card_text(replace(toy_card, title="another, of the same name"))),
        (tmp_path / "named", IDS[0], card_text(toy_card)),
    ):
        (store / ".cards").mkdir(parents=True, exist_ok=True)
        (store / ".cards" / f"{name}.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert [card.id for card in tumour_models()] == sorted([*IDS, "other", "toy"])
    assert [f"{name}.json is not valid" in caplog.text for name in ("broken", "wrong", "toy")] == [True, True, False]
    assert [card.id for card in tumour_models(tmp_path / "named")] == sorted([*IDS, "other", "third", "toy"])
    assert cards_of(tmp_path / "named")[IDS[0]] == find_card(IDS[0]), "an added card does not replace a shipped one"
    assert find_card("toy") == toy_card
    assert find_card("toy", tmp_path / "named").title == "another, of the same name", "as the weights there are"


@pytest.mark.parametrize(
    "change",
    [
        {"task": "dentistry"},
        {"regions": ["XX"]},
        {"space": {"spacing_mm": [1, 1]}},
        {"space": {"spacing_mm": "1"}},
        {"colour": "red"},
        {"version": 2},
        {"inputs": {"sequences": ["t2f"], "mandatory": ["t1c"]}},
        {"inference": {"window": "round"}},
        {"network": ["nnunet"]},
    ],
    ids=str,
)
def test_a_card_that_was_damaged_after_it_was_added_is_noticed_without_pydantic(
    toy_card: Card, change: dict[str, Any]
) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        card_from(json.loads(card_text(toy_card)) | change)


def test_a_card_that_an_earlier_version_added_is_still_read(toy_card: Card) -> None:
    """Version 0.1.0 wrote every field into the store, also those that have gone since."""
    content = json.loads(card_text(toy_card))
    content["space"]["frame"] = "native"
    content["inference"] = {"patch": [64, 64, 64], "folds": 5, "bfloat16": True}
    content["output"] = {"activation": "sigmoid", "channels": ["WT"], "threshold": 0.4, "fill_holes": True}
    card = card_from(content)
    assert (card.space, card.inference.patch, card.output.threshold) == (toy_card.space, (64, 64, 64), 0.4)
    distance = {"activation": "distance", "channels": ["brain"], "threshold": 1}
    assert card_from(content | {"output": distance}).output.activation is None


@pytest.mark.parametrize(
    ("block", "field", "effective", "nothing"),
    [("inference", "folds", 5, 1), ("output", "fill_holes", True, False), ("space", "frame", "atlas", "native")],
)
def test_a_field_that_never_had_an_effect_is_refused_where_it_asks_for_one(
    toy_card: Card, block: str, field: str, effective: object, nothing: object
) -> None:
    content = json.loads(card_text(toy_card))
    part = content[block] or {}
    sentence = f"{block}.{field}: there is no such key any more, and it never had an effect; leave it out"
    with pytest.raises(InputError, match=f"^The model card is not valid: {sentence}"):
        checked_card(content | {block: part | {field: effective}})
    assert checked_card(content | {block: part | {field: nothing}}).space == toy_card.space


def test_the_model_that_was_withdrawn_says_which_to_use() -> None:
    with pytest.raises(InputError, match=r"'ams-meningioma' was withdrawn: .*'raidionics-meningioma' and"):
        find_card("ams-meningioma")
    assert "raidionics-meningioma" in all_cards()


def test_brain_extractors_are_not_offered_as_models_of_tumour(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_card: Card
) -> None:
    brain = json.loads(card_text(toy_card)) | {"id": "brain", "task": "brain-extraction", "regions": []}
    card = checked_card(brain | {"thresholdable": [], "inputs": {"sequences": ["t1c"]}})
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path))
    (tmp_path / ".cards").mkdir()
    (tmp_path / ".cards" / "brain.json").write_text(card_text(card))
    assert "brain" in all_cards()
    assert "brain" not in {card.id for card in tumour_models()}
    with pytest.raises(InputError, match="'brain' finds the brain and no tumour"):
        card.regions_given({Modality.T1C})


def test_reading_and_ranking_the_zoo_needs_the_standard_library_alone() -> None:
    """As in 3D Slicer's own process, before any package is installed there."""
    script = (
        "import sys\n"
        "from GliomaSegLib.case import Modality\n"
        "from GliomaSegLib.zoo.catalogue import tumour_models\n"
        "from GliomaSegLib.zoo.places import default_store\n"
        "from GliomaSegLib.zoo.recommend import recommend\n"
        "from GliomaSegLib.zoo.store import Store\n"
        "assert recommend(tumour_models(), Store(default_store()), tuple(Modality))\n"
        "ours = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in ours if not name.startswith('_')))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-c", script]  # no site-packages, and nothing of theirs at the start
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "['GliomaSegLib']"
