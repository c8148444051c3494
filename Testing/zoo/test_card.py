"""Model cards: the ones that are shipped, what is refused, and what is said of a case with missing sequences."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Accuracy, Card, Status
from GliomaSegLib.zoo.card_check import checked_card, read_card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.card_network import Output
from GliomaSegLib.zoo.catalogue import all_cards, find_card
from GliomaSegLib.zoo.expectation import cost_of_missing
from GliomaSegLib.zoo.loaders import FAMILIES, family
from GliomaSegLib.zoo.page import describe, table
from Testing.support.schemas import card_schema
from Testing.support.zoo_table import PAGE, renewed

PARITY = {"package": "p", "version": "1", "date": "2026-11-21", "voxels": 9, "mismatches": 0, "command": "c"}


def weights_with(**fields: object) -> dict[str, object]:
    file = {"name": "a.pth", "url": "https://localhost/a.pth"} | fields
    return {"weights": {"files": [file], "licence": "x", "attribution": "y"}}


def ensemble_of(*members: str, vote: str = "mean", family: str = "ensemble") -> dict[str, object]:
    weights = {"members": members, "licence": "x", "attribution": "y"}
    return {"space": None, "weights": weights, "network": {"family": family, "parameters": {"vote": vote}}}


T1N, T1C, T2W, T2F = Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F
CARDS = sorted(resource("models").glob("*.json"))


@pytest.mark.parametrize("card", [one for one in all_cards().values() if one.regions], ids=lambda card: card.id)
def test_a_model_says_on_what_kind_of_tumour_it_was_trained(card: Card) -> None:
    assert card.training
    assert "trained on" in card.training.lower()
    assert card.training in describe(card)


@pytest.mark.parametrize("path", CARDS, ids=[path.stem for path in CARDS])
def test_shipped_card(path: Path) -> None:
    card = read_card(path)
    assert card.id == path.stem
    assert card.network.family in FAMILIES or card.weights.package or card.weights.members
    assert set(card.thresholdable) <= set(card.regions)
    known = all(file.url or file.hash_published for file in card.weights.files)
    assert known or card.status is Status.UNPROVEN, "nobody could tell the right file"
    assert not card.weights.shipped or card.space.spacing_mm
    text = describe(card)
    assert card.citation in text
    assert card.weights.licence in text


OF_A_FAMILY = [card for card in all_cards().values() if not (card.weights.package or card.weights.members)]


@pytest.mark.parametrize("card", OF_A_FAMILY, ids=lambda card: card.id)
def test_family_of_a_card_can_do_what_the_card_needs(card: Card) -> None:
    module = family(card.network.family)
    assert callable(module.load)
    assert card.weights.shipped or callable(module.convert)
    assert card.space.spacing_mm or callable(module.spacing_mm)


def test_schema_file_is_that_of_the_classes() -> None:
    path = resource("card.schema.json")
    assert path.read_text(encoding="utf-8") == card_schema(), (
        "The classes of a card were changed and the schema file was not; run: python -m Testing.support.schemas"
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"licence": None}, "licence"),
        ({"colour": "red"}, "colour"),
        ({"id": "Not an ID"}, "id"),
        ({"regions": ["XX"]}, "regions.0"),
        ({"space": {"spacing_mm": [1, 1]}}, "space.spacing_mm.2"),
        ({"space": {"spacing_mm": [1, 1, 1], "orientation": "up"}}, "space.orientation"),
        ({"space": {"spacing_mm": [1, 1, 1], "orientation": "LRS"}}, "space.orientation"),
        (
            {"weights": {"files": [{"name": "a", "url": "no"}], "licence": "x", "attribution": "y"}},
            "weights.files.0.url",
        ),
        ({"postprocessing": {"remove_islands_below_fraction": 2}}, "postprocessing.remove_islands_below_fraction"),
        (weights_with(name="../evil.pth"), "weights.files.0.name"),
        (weights_with(name=".."), "weights.files.0.name"),
        (weights_with(md5="abc"), "weights.files.0.md5"),
        (weights_with(archive="rar"), "weights.files.0.archive"),
        ({"normalisation": {"method": "percentiles"}}, "normalisation"),
        ({"normalisation": {"method": "landmarks"}}, "normalisation"),
        ({"inference": {"patch": [0, 1, 1]}}, "inference"),
        ({"inference": {"overlap": 1}}, "inference.overlap"),
        ({"output": {"activation": "softmax", "channels": ["WT"]}}, "output"),
        ({"output": {"activation": "softmax", "channels": ["background", "WT"]}}, "output"),
        ({"output": {"activation": "sigmoid", "channels": ["background", "WT"]}}, "output"),
        ({"output": {"activation": "sigmoid", "channels": ["WT", "WT"]}}, "output"),
        ({"output": {"activation": "sigmoid", "channels": []}}, "output"),
        ({"inputs": {"sequences": ["t2f"], "mandatory": ["t1c"]}}, "the file"),
        ({"inputs": {"sequences": ["t2f"], "sets": [["t1c"]]}}, "the file"),
        ({"regions": [], "thresholdable": []}, "the file"),
        ({"task": "brain-extraction"}, "the file"),
        ({"status": "parity"}, "the file"),
        ({"status": "parity", "parity": PARITY | {"mismatches": 3}}, "the file"),
        ({"status": "verified"}, "the file"),
        ({"space": None}, "the file"),
        ({"network": {"family": "ensemble", "parameters": {"vote": "mean"}}}, "the file"),
        (ensemble_of("a", "b", family="toy"), "the file"),
        (ensemble_of("a"), "weights"),
        (ensemble_of("a", "a"), "weights"),
        (ensemble_of("a", "b", vote="dice"), "the file"),
    ],
)
def test_wrong_card_is_refused_and_the_field_named(
    toy_card: Card, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    path = tmp_path / "card.json"
    path.write_text(json.dumps(json.loads(card_text(toy_card)) | change))
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


@pytest.mark.parametrize("present", [some for n in (1, 2, 3, 4) for some in combinations(Modality, n)], ids=str)
def test_regions_of_any_subset(present: tuple[Modality, ...]) -> None:
    card = find_card("ca-cnn-brats17")
    expected = tuple(Region(name) for name in ("WT", "TC", "ET")) if T1C in present else (Region.WT,)
    assert card.regions_given(present) == expected


def test_case_without_any_sequence_of_the_model_is_refused(toy_card: Card) -> None:
    with pytest.raises(InputError, match=r"'toy' needs at least one of FLAIR, T1 \+ contrast, and the case has none"):
        toy_card.regions_given({T1N, T2W})


def test_mandatory_sequence_is_demanded(toy_card: Card) -> None:
    demanding = replace(toy_card, inputs=replace(toy_card.inputs, mandatory=(T1C,)))
    assert demanding.regions_given({T1C}) == demanding.regions
    with pytest.raises(InputError, match=r"'toy' cannot work without T1 \+ contrast \(t1c\)"):
        demanding.regions_given({T2F})


def test_nothing_missing_costs_nothing(toy_card: Card) -> None:
    assert cost_of_missing(toy_card, {T1N, T1C, T2W, T2F}) is None


def test_cost_says_when_it_was_not_measured(toy_card: Card) -> None:
    cost = cost_of_missing(toy_card, {T2F})
    assert cost == (
        "Missing: T1 + contrast. Without it TC and ET cannot be given. "
        "What that costs in accuracy has not been measured for this model."
    )


def test_cost_gives_the_figures_that_were_measured(toy_card: Card) -> None:
    def figure(dice: dict[str, float], *sequences: Modality) -> Accuracy:
        return Accuracy(data="SET", cases=7, sequences=sequences, dice=dice, source="a test")

    measured = (figure({"WT": 0.9, "TC": 0.8, "ET": 0.7}, T1C, T2F), figure({"WT": 0.85}, T2F))
    card = replace(toy_card, measured=measured)
    assert cost_of_missing(card, {T2F, T2W}).endswith(
        "Mean Dice, all sequences → these alone, on 7 cases (SET): WT 0.90 → 0.85."
    )
    assert card.figures_with({T1C, T2F, T1N})[0] is measured[0]
    assert "not been measured" in cost_of_missing(card, {T1C})


# --- networks for several combinations of sequences ---------------------------------------------------------------


@pytest.fixture
def sets_card(toy_card: Card) -> Card:
    """A model with a network for T1c + T1 + FLAIR and one for T1c alone."""
    inputs = {"sequences": ["t1n", "t1c", "t2f"], "sets": [["t1n", "t1c", "t2f"], ["t1c"]]}
    return checked_card(json.loads(card_text(toy_card)) | {"inputs": inputs})


def test_a_case_goes_to_the_first_network_that_it_suffices_for(sets_card: Card) -> None:
    assert sets_card.sequences_used(tuple(Modality)) == (T1N, T1C, T2F)
    assert sets_card.sequences_used({T1C, T2F}) == (T1C,)
    assert sets_card.regions_given({T1C, T2F}) == sets_card.regions


def test_a_case_that_suffices_for_no_network_is_refused(sets_card: Card) -> None:
    needed = r"it needs T1, T1 \+ contrast, FLAIR; or T1 \+ contrast \("
    with pytest.raises(InputError, match=f"'toy' cannot work with T2, FLAIR alone; {needed}"):
        sets_card.regions_given((T2W, T2F))


def test_what_cannot_be_used_without_the_missing_one_is_said(sets_card: Card) -> None:
    cost = cost_of_missing(sets_card, {T1C, T2F})
    assert cost.startswith("Missing: T1. FLAIR cannot be used without it.")


def test_figures_of_a_combination_are_those_of_the_network_that_runs(sets_card: Card) -> None:
    alone = Accuracy(data="SET", cases=7, sequences=(T1C,), dice={"WT": 0.5}, source="a test")
    card = replace(sets_card, measured=(alone,))
    assert card.figures_with({T1C, T2F})[0] == alone


def test_a_model_that_wants_the_study_before_surgery_is_refused(toy_card: Card) -> None:
    inputs = json.loads(card_text(toy_card))["inputs"] | {"preoperative": ["preoperative-t1c", "preoperative-tumour"]}
    card = checked_card(json.loads(card_text(toy_card)) | {"inputs": inputs})
    with pytest.raises(
        InputError, match="also takes T1 \\+ contrast before surgery and the tumour before surgery; give"
    ):
        card.regions_given(tuple(Modality))
    assert card.regions_given(tuple(Modality), earlier=True) == card.regions


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LIA", "PIR", "SLP"])
def test_voxel_axes_may_run_in_any_order(toy_card: Card, orientation: str) -> None:
    space = {"space": {"spacing_mm": None, "orientation": orientation}}
    assert checked_card(json.loads(card_text(toy_card)) | space).space.orientation == orientation


# --- what a loader is given, and what people read ------------------------------------------------------------------


def test_a_loader_is_given_the_network_s_parameters_and_what_the_card_says(toy_card: Card) -> None:
    output = Output(activation="sigmoid", channels=("WT", "TC", "ET"))
    network = replace(toy_card.network, parameters={"widths": [1, 2]})
    parameters = replace(toy_card, network=network, output=output).loader_parameters
    assert parameters["widths"] == [1, 2]
    assert parameters["sequences"] == (T2F, T1C)
    assert parameters["output"] is output
    assert parameters["space"] == toy_card.space
    assert parameters["inference"] is None


def test_description_tells_what_was_proven_and_which_hashes_are_published(toy_card: Card) -> None:
    file = replace(toy_card.weights.files[0], sha256=None, size_bytes=None)
    weights = replace(toy_card.weights, files=(file,), licence="unknown")
    proven = {"parity": PARITY, "status": "parity", "training": "Trained on phantoms."}
    card = replace(checked_card(json.loads(card_text(toy_card)) | proven), weights=weights)
    text = describe(card)
    assert "compared with p 1 on generated weights: 0 of 9 voxels differ (2026-11-21; c)" in text
    assert "size not published; hash not published, kept at the first install" in text
    assert "Weights     size not published, unknown." in text
    assert "Trained on phantoms." in text
    assert "hash not published; SHA-256 when it was installed abc" in describe(card, {file.name: "abc"})


def test_the_table_has_a_row_for_each_model() -> None:
    rows = table(all_cards().values()).splitlines()
    assert [row.split("`")[1] for row in rows[2:]] == list(all_cards())
    assert {row.count(" | ") for row in rows[2:]} == {5}
    assert all(
        row.rstrip(" |").endswith(card.status.value) for row, card in zip(rows[2:], all_cards().values(), strict=True)
    )


def test_the_card_that_the_documentation_shows_is_valid(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = text[text.index("```json\n") + len("```json\n") :]
    (tmp_path / "card.json").write_text(shown[: shown.index("```")])
    card = read_card(tmp_path / "card.json")
    assert card.network.family in FAMILIES
    assert card.id == "our-nnunet"


def test_the_documentation_has_the_table_of_the_cards() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{model}`: " in page for model in all_cards()), "run: python -m Testing.support.zoo_table"
    assert page == renewed(page), "run: python -m Testing.support.zoo_table"


def test_the_ensemble_that_the_documentation_shows_is_valid(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8").partition("### An ensemble")[2]
    shown = text[text.index("```json\n") + len("```json\n") :]
    (tmp_path / "card.json").write_text(shown[: shown.index("```")])
    assert read_card(tmp_path / "card.json").weights.members == ("ca-cnn-brats17", "our-nnunet")
