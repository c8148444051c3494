"""All model cards: those of GliomaSeg and those that were added to a store.

Standard library only, for the panel.
"""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path

from GliomaSegLib.errors import InputError
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_from
from GliomaSegLib.zoo.places import added_cards, default_store, shipped_cards

_LOG = logging.getLogger(__name__)

# Removed models, and what to use instead.
_WITHDRAWN = {
    "ams-meningioma": "it was never run with its weights, which are published nowhere; 'raidionics-meningioma' and "
    "'auto3dseg-brats-men' find meningioma",
    "gliomaseg-any-v1": "'gliomaseg-any-v2', trained on six times as many cases, takes its place",
    "gliomaseg-duo-v1": "'gliomaseg-duo-v2' takes its place",
}


def all_cards() -> dict[str, Card]:
    """All cards by ID, in alphabetical order: those of GliomaSeg, then those added to the user's and the site's stores.
    Damaged added cards are logged and skipped."""
    return dict(sorted((_added(default_store()) | _shipped()).items()))


def cards_of(store: Path | None) -> dict[str, Card]:
    """As :func:`all_cards`, with the cards added to ``store`` before those of the user's, as its weights count."""
    own = {model: card for model, card in _added(store).items() if model not in _shipped()} if store else {}
    return dict(sorted((all_cards() | own).items()))


def tumour_models(store: Path | None = None) -> tuple[Card, ...]:
    """The cards of :func:`cards_of` that segment tumours, without brain extractors."""
    return tuple(card for card in cards_of(store).values() if card.regions)


def find_card(model: str, store: Path | None = None) -> Card:
    """Find the card with the ID ``model``, also among those added to ``store``.

    Raises:
        InputError: there is no such model; the message lists the existing ones.
    """
    cards = cards_of(store)
    if model in cards:
        return cards[model]
    if model in _WITHDRAWN:
        raise InputError(f"The model '{model}' was withdrawn: {_WITHDRAWN[model]}.")
    raise InputError(f"There is no model '{model}'; the zoo has {', '.join(cards)}.")


@cache
def _shipped() -> dict[str, Card]:
    return {path.stem: card_from(json.loads(path.read_bytes())) for path in shipped_cards()}


def _added(store: Path) -> dict[str, Card]:
    cards: dict[str, Card] = {}
    for path in added_cards(store):
        if path.stem in cards:
            continue
        try:
            cards[path.stem] = card_from(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            _LOG.warning("The model card %s is not valid (%s); it is left out.", path, error)
    return cards
