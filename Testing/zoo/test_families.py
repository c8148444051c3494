"""What a family of networks takes from a card: a field that it would ignore is refused when the card is added."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from GliomaSegLib.errors import InputError
from GliomaSegLib.zoo.card import ENSEMBLE, Card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.catalogue import all_cards, find_card
from GliomaSegLib.zoo.loaders import FAMILIES, family, fault_of
from GliomaSegLib.zoo.store import Store

NNUNET, BUNDLE = find_card("tumorsegmentator-t1-t1c"), find_card("monai-brats18-segresnet")
OF_A_FAMILY = [card for card in all_cards().values() if card.network.family in (*FAMILIES, ENSEMBLE)]


def content(card: Card, **changes: Any) -> dict[str, Any]:
    """The card as JSON of a user's own model."""
    return json.loads(card_text(card)) | {"id": "mine"} | changes


def added(tmp_path: Path, described: dict[str, Any]) -> Card:
    (tmp_path / "mine.json").write_text(json.dumps(described))
    return Store(tmp_path / "store").add(tmp_path / "mine.json")


@pytest.mark.parametrize("card", OF_A_FAMILY, ids=lambda card: card.id)
def test_a_shipped_card_says_what_its_family_needs_and_nothing_that_it_ignores(card: Card) -> None:
    assert fault_of(card) is None


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_the_functions_that_it_promises(name: str) -> None:
    assert callable(family(name).load)


@pytest.mark.parametrize(
    ("card", "changes", "said"),
    [
        (NNUNET, {"inference": {"overlap": 0.25}}, "has 'inference.overlap', which the family 'nnunet' does not use"),
        (NNUNET, {"inference": {"axes": "zyx", "mirrors": ["x"]}}, "has 'inference.axes'"),
        (NNUNET, {"output": {"channels": ["WT"]}}, "has 'output.channels'"),
        (NNUNET, {"normalisation": {"method": "z-score"}}, "has 'normalisation.method'"),
        (NNUNET, {"network": {"family": "nnunet"}}, "lacks 'network.parameters.labels', which the family 'nnunet'"),
        (
            NNUNET,
            {"network": {"family": "nnunet", "parameters": {"labels": {"1": "ET"}, "folds": 5}}},
            r"has 'network.parameters.folds', .* does not use \(it knows: labels\)",
        ),
        (BUNDLE, {"output": None}, "lacks 'output.activation', which the family 'monai-bundle' needs"),
        (BUNDLE, {"inference": None}, "lacks 'inference'"),
        (
            BUNDLE,
            {"output": {"activation": "softmax", "channels": ["background", "ET"]}},
            r"has the region 'WT', which its channels \(background, ET\) do not give",
        ),
        (BUNDLE, {"output": {"activation": "sigmoid", "channels": ["TC", "WT"]}}, "has the region 'ET', which"),
        (
            NNUNET,
            {"network": {"family": "nnunet", "parameters": {"labels": {"1": "ET"}}}},
            r"has the region 'WT', which its channels \(ET\) do not give",
        ),
        (
            NNUNET,
            {"network": {"family": "nnunet", "parameters": {"labels": {"1": "edema"}}}},
            "has 'edema' in 'network.parameters.labels', which is none of",
        ),
        (
            BUNDLE,
            {"inputs": {"sequences": ["t1c"], "preoperative": ["preoperative-t1c"]}},
            "has 'inputs.preoperative'",
        ),
    ],
    ids=str,
)
def test_a_card_with_a_field_too_many_or_too_few_is_refused(
    tmp_path: Path, card: Card, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=rf"mine\.json {said}.*; see docs/models\.md\.$"):
        added(tmp_path, content(card, **changes))
    assert not (tmp_path / "store").exists()


def test_what_a_family_takes_may_be_said_and_so_may_the_defaults(tmp_path: Path) -> None:
    changes = {
        "normalisation": {"method": "published"},
        "inference": {"mirrors": ["x"], "overlap": 0.5},
        "output": {"largest_component": True},
    }
    card = added(tmp_path, content(NNUNET, **changes))
    assert (card.inference.mirrors, card.output.largest_component) == (("x",), True)


def test_a_pack_of_an_earlier_version_is_accepted_with_fields_that_have_no_effect(tmp_path: Path) -> None:
    """That version let them through, and packed them with the card."""
    old = content(NNUNET, inference={"axes": "zyx", "folds": 5}, output={"channels": ["WT"], "fill_holes": True})
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as pack:
        pack.writestr("mine/installed.json", "{}")
        pack.writestr("mine/card.json", json.dumps(old))
    store = Store(tmp_path / "store")
    card = store.add_carried(tmp_path / "pack.zip", "mine")
    assert card == find_card("mine", store.root)
    assert card.inference.axes == "zyx"
    with pytest.raises(InputError, match=r"inference\.folds: there is no such key any more"):
        added(tmp_path, old)


def test_a_card_in_a_pack_cannot_be_written_outside_the_store(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as pack:
        pack.writestr("mine/installed.json", "{}")
        pack.writestr("mine/card.json", json.dumps(content(NNUNET) | {"id": "../../escaped"}))
    with pytest.raises(InputError, match="is not valid: id: "):
        Store(tmp_path / "in" / "store").add_carried(tmp_path / "pack.zip", "mine")
    assert list(tmp_path.rglob("escaped*")) == []
