"""The catalogue says the same as the cards, without the packages that the cards need."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import platformdirs
import pytest

from GliomaSegLib.case import Sequence
from GliomaSegLib.errors import InputError
from GliomaSegLib.zoo.card import Card, all_cards
from GliomaSegLib.zoo.catalogue import Entry, default_store, entries
from GliomaSegLib.zoo.store import Store
from GliomaSegLib.zoo.store import default_store as store_of_the_worker

ROOT = Path(__file__).parents[1]
CARDS = tuple(all_cards().values())
PAIRS = [pytest.param(entry, card, id=card.id) for entry, card in zip(entries(), CARDS, strict=True)]


@pytest.mark.parametrize(("entry", "card"), PAIRS)
def test_an_entry_is_its_card(entry: Entry, card: Card) -> None:
    for name in ("id", "title", "version", "summary", "task", "time_points", "thresholdable", "licence", "citation"):
        assert getattr(entry, name) == getattr(card, name), name
    assert entry.status == card.status.value
    assert entry.weights_licence == card.weights.licence
    assert entry.attribution == card.weights.attribution
    assert entry.size_mb == card.weights.size_bytes / 1e6
    for figures, wanted in ((entry.published, card.published), (entry.needs.measured, card.measured)):
        for figure, original in zip(figures, wanted, strict=True):
            for name in ("data", "cases", "sequences", "dice", "source", "remark"):
                assert getattr(figure, name) == getattr(original, name)


@pytest.mark.parametrize(("entry", "card"), PAIRS)
def test_what_is_missing_costs_the_same(entry: Entry, card: Card) -> None:
    for size in range(len(Sequence) + 1):
        for present in combinations(Sequence, size):
            assert answer(entry, present) == answer(card, present)


def answer(model: Entry | Card, present: tuple[Sequence, ...]) -> tuple[object, object]:
    try:
        return model.regions_given(present), model.cost_of_missing(present)
    except InputError as error:
        return InputError, str(error)


def test_the_default_store_is_the_worker_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GLIOMASEG_MODELS", raising=False)
    assert default_store() == store_of_the_worker()
    assert default_store() == platformdirs.user_data_path("GliomaSeg", appauthor=False) / "models"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_store() == store_of_the_worker()
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path / "shared"))
    assert default_store() == store_of_the_worker() == tmp_path / "shared"


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


def test_reading_the_catalogue_needs_the_standard_library_and_numpy_alone() -> None:
    script = (
        "import sys\n"
        "from GliomaSegLib.zoo.catalogue import default_store, entries\n"
        "assert entries() and default_store()\n"
        "print([name for name in ('pydantic', 'SimpleITK', 'torch', 'scipy', 'platformdirs') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]"
