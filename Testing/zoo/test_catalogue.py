"""The catalogue says the same as the cards, without the packages that the cards need."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.zoo.card import Card, all_cards
from GliomaSegLib.zoo.catalogue import Entry, default_store, entries, site_stores
from GliomaSegLib.zoo.store import Store

ROOT = Path(__file__).parents[2]
CARDS = tuple(card for card in all_cards().values() if card.regions)
PAIRS = [pytest.param(entry, card, id=card.id) for entry, card in zip(entries(), CARDS, strict=True)]


@pytest.mark.parametrize(("entry", "card"), PAIRS)
def test_an_entry_is_its_card(entry: Entry, card: Card) -> None:
    for name in ("id", "title", "version", "summary", "task", "time_points", "thresholdable", "licence", "citation"):
        assert getattr(entry, name) == getattr(card, name), name
    assert entry.status == card.status.value
    assert entry.weights_licence == card.weights.licence
    assert entry.attribution == card.weights.attribution
    assert entry.size_mb == card.weights.size_bytes / 1e6
    assert entry.shipped is (card.weights.shipped is not None)
    assert entry.training == (card.training or "")
    for figures, wanted in ((entry.published, card.published), (entry.needs.measured, card.measured)):
        for figure, original in zip(figures, wanted, strict=True):
            for name in ("data", "cases", "sequences", "dice", "source", "remark"):
                assert getattr(figure, name) == getattr(original, name)


@pytest.mark.parametrize(("entry", "card"), PAIRS)
def test_what_is_missing_costs_the_same(entry: Entry, card: Card) -> None:
    for size in range(len(Modality) + 1):
        for present in combinations(Modality, size):
            assert answer(entry, present) == answer(card, present)


def answer(model: Entry | Card, present: tuple[Modality, ...]) -> tuple[object, object]:
    try:
        return model.regions_given(present), model.cost_of_missing(present)
    except InputError as error:
        return InputError, str(error)


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


def test_installed_is_what_the_store_calls_installed(tmp_path: Path) -> None:
    entry, card = entries()[0], CARDS[0]
    assert entry.folder(tmp_path) == Store(tmp_path).folder(card)
    assert not entry.is_installed(tmp_path)
    folder = entry.folder(tmp_path)
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"half")
    assert entry.is_installed(tmp_path) is Store(tmp_path).is_installed(card) is False
    (folder / "installed.json").write_text("{}")
    assert entry.is_installed(tmp_path) is Store(tmp_path).is_installed(card) is True
    entry.remove(tmp_path)
    assert not folder.exists()
    entry.remove(tmp_path)  # nothing there: nothing happens


def test_what_the_site_provides_is_installed_and_not_the_user_s_to_remove(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry, card = entries()[0], CARDS[0]
    sites = (tmp_path / "hospital", tmp_path / "laboratory")
    assert site_stores() == ()
    monkeypatch.setenv("GLIOMASEG_SITE_MODELS", os.pathsep.join(map(str, sites)))
    assert site_stores() == sites
    assert not entry.is_installed(tmp_path)
    folder = sites[1] / card.id
    folder.mkdir(parents=True)
    (folder / "installed.json").write_text("{}")
    assert entry.is_installed(tmp_path)
    assert not entry.is_removable(tmp_path)
    assert Store(tmp_path).folder(card) == folder
    (tmp_path / card.id).mkdir()
    (tmp_path / card.id / "installed.json").write_text("{}")
    assert entry.is_removable(tmp_path)
    assert Store(tmp_path).folder(card) == tmp_path / card.id


def test_added_models_are_listed_and_damaged_cards_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_card: Card
) -> None:
    site = tmp_path / "site"
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path / "own"))
    monkeypatch.setenv("GLIOMASEG_SITE_MODELS", str(site))
    for store, name, text in (
        (tmp_path / "own", "toy", toy_card.model_dump_json()),
        (tmp_path / "own", "broken", "{"),
        (tmp_path / "own", "wrong", '{"id": "wrong"}'),
        (tmp_path / "own", CARDS[0].id, toy_card.model_dump_json()),
        (site, "other", toy_card.model_copy(update={"id": "other"}).model_dump_json()),
        (tmp_path / "named", "third", toy_card.model_copy(update={"id": "third"}).model_dump_json()),
    ):
        (store / ".cards").mkdir(parents=True, exist_ok=True)
        (store / ".cards" / f"{name}.json").write_text(text)
    ids = [card.id for card in CARDS]
    assert [entry.id for entry in entries()] == sorted([*ids, "other", "toy"])
    assert [entry.id for entry in entries(tmp_path / "named")] == sorted([*ids, "other", "third"])
    assert {card.id for card in all_cards().values() if card.regions} == {*ids, "other", "toy"}


def test_brain_extractors_are_not_offered_as_models_of_tumour(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_card: Card
) -> None:
    brain = toy_card.model_dump(mode="json") | {"id": "brain", "task": "brain-extraction", "regions": []}
    card = Card.model_validate(brain | {"thresholdable": [], "inputs": {"sequences": ["t1c"]}})
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path))
    (tmp_path / ".cards").mkdir()
    (tmp_path / ".cards" / "brain.json").write_text(card.model_dump_json())
    assert "brain" in all_cards()
    assert "brain" not in {entry.id for entry in entries()}
    with pytest.raises(InputError, match="'brain' finds the brain and no tumour"):
        card.regions_given({Modality.T1C})


def test_reading_the_catalogue_needs_the_standard_library_and_numpy_alone() -> None:
    script = (
        "import sys\n"
        "from GliomaSegLib.zoo.catalogue import default_store, entries\n"
        "assert entries() and default_store()\n"
        "print([name for name in ('pydantic', 'SimpleITK', 'torch', 'scipy') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]"
