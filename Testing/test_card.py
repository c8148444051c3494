"""Model cards: the ones that are shipped, what is refused, and what a case with missing sequences is told."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from GliomaSegLib.case import Sequence
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Accuracy, Card, all_cards, describe, find_card, read_card, schema_json
from GliomaSegLib.zoo.loaders import FAMILIES

T1N, T1C, T2W, T2F = Sequence.T1N, Sequence.T1C, Sequence.T2W, Sequence.T2F
CARDS = sorted(resource("models").glob("*.json"))


@pytest.mark.parametrize("path", CARDS, ids=[path.stem for path in CARDS])
def test_shipped_card(path: Path) -> None:
    card = read_card(path)
    assert card.id == path.stem
    assert card.network.family in FAMILIES
    assert set(card.thresholdable) <= set(card.regions)
    assert set(card.inputs.mandatory) | set(card.inputs.regions_without) <= set(card.inputs.sequences)
    assert all(file.sha256 for file in card.weights.files), "each file of the zoo is checked against its SHA-256"
    text = describe(card)
    assert card.citation in text
    assert card.weights.licence in text


def test_schema_file_is_that_of_the_classes() -> None:
    path = resource("card.schema.json")
    assert path.read_text(encoding="utf-8") == schema_json(), (
        "Card was changed and its schema file was not; run: python -c "
        "'from GliomaSegLib.zoo.card import schema_json; print(schema_json(), end=\"\")' > Resources/card.schema.json"
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"licence": None}, "licence"),
        ({"colour": "red"}, "colour"),
        ({"id": "Not an ID"}, "id"),
        ({"regions": ["XX"]}, "regions.0"),
        ({"space": {"frame": "native", "spacing_mm": [1, 1]}}, "space.spacing_mm.2"),
        ({"space": {"frame": "native", "spacing_mm": [1, 1, 1], "orientation": "up"}}, "space.orientation"),
        (
            {"weights": {"files": [{"name": "a", "url": "no"}], "licence": "x", "attribution": "y"}},
            "weights.files.0.url",
        ),
        ({"postprocessing": {"remove_islands_below_fraction": 2}}, "postprocessing.remove_islands_below_fraction"),
    ],
)
def test_wrong_card_is_refused_and_the_field_named(
    toy_card: Card, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(toy_card.model_dump(mode="json") | change))
    with pytest.raises(InputError) as refused:
        read_card(path)
    sentence = str(refused.value)
    assert sentence.startswith(f"The model card {path} is not valid: {field}: ")
    assert "\n" not in sentence


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe"])
def test_text_that_is_no_card_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"card\.json is not valid: the file: "):
        read_card(path)


def test_card_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"card\.json cannot be read \(No such file"):
        read_card(tmp_path / "card.json")


def test_unknown_model_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"no model 'nnn'.*ca-cnn-brats17"):
        find_card("nnn")
    assert list(all_cards()) == sorted(all_cards())


@pytest.mark.parametrize("present", [some for n in (1, 2, 3, 4) for some in combinations(Sequence, n)], ids=str)
def test_regions_of_any_subset(present: tuple[Sequence, ...]) -> None:
    card = find_card("ca-cnn-brats17")
    expected = tuple(Region(name) for name in ("WT", "TC", "ET")) if T1C in present else (Region.WT,)
    assert card.regions_given(present) == expected


def test_case_without_any_sequence_of_the_model_is_refused(toy_card: Card) -> None:
    with pytest.raises(InputError, match=r"'toy' needs at least one of FLAIR, T1 \+ contrast, and the case has none"):
        toy_card.regions_given({T1N, T2W})


def test_mandatory_sequence_is_demanded(toy_card: Card) -> None:
    demanding = toy_card.model_copy(update={"inputs": toy_card.inputs.model_copy(update={"mandatory": (T1C,)})})
    assert demanding.regions_given({T1C}) == demanding.regions
    with pytest.raises(InputError, match=r"'toy' cannot work without T1 \+ contrast \(t1c\)"):
        demanding.regions_given({T2F})


def test_nothing_missing_costs_nothing(toy_card: Card) -> None:
    assert toy_card.cost_of_missing({T1N, T1C, T2W, T2F}) is None


def test_cost_says_when_it_was_not_measured(toy_card: Card) -> None:
    cost = toy_card.cost_of_missing({T2F})
    assert cost == (
        "Missing: T1 + contrast. Without it TC and ET cannot be given. "
        "What that costs in accuracy has not been measured for this model."
    )


def test_cost_gives_the_figures_that_were_measured(toy_card: Card) -> None:
    def figure(dice: dict[str, float], *sequences: Sequence) -> Accuracy:
        return Accuracy(data="SET", cases=7, sequences=sequences, dice=dice, source="a test")

    measured = (figure({"WT": 0.9, "TC": 0.8, "ET": 0.7}, T1C, T2F), figure({"WT": 0.85}, T2F))
    card = toy_card.model_copy(update={"measured": measured})
    assert card.cost_of_missing({T2F, T2W}).endswith(
        "Mean Dice, all sequences → these alone, on 7 cases of SET: WT 0.90 → 0.85."
    )
    assert card.measured_with({T1C, T2F, T1N}) is measured[0]
    assert "not been measured" in card.cost_of_missing({T1C})
