"""Every card of the zoo: those that come with GliomaSeg and those that were added to a store.

Standard library only: the command line, a run and a panel read the same cards by the same code.
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

# Models that there were, and what to do instead.
_WITHDRAWN = {
    "ams-meningioma": "it was never run with its weights, which are published nowhere; 'raidionics-meningioma' and "
    "'auto3dseg-brats-men' find meningioma",
    "gliomaseg-any-v1": "'gliomaseg-any-v2', trained on six times as many cases, takes its place",
    "gliomaseg-duo-v1": "'gliomaseg-duo-v2' takes its place",
}


def all_cards() -> dict[str, Card]:
    """Every card of the zoo by its id, in alphabetical order: those that come with GliomaSeg, then those that were
    added to the user's store and the site's. A damaged one of these is reported in the log and left out."""
    return dict(sorted((_added(default_store()) | _shipped()).items()))


def cards_of(store: Path | None) -> dict[str, Card]:
    """As :func:`all_cards`, and those that were added to ``store``."""
    return all_cards() if store is None else dict(sorted((_added(store) | all_cards()).items()))


def tumour_models(store: Path | None = None) -> tuple[Card, ...]:
    """The cards of :func:`cards_of` that give regions: not those of brain extractors."""
    return tuple(card for card in cards_of(store).values() if card.regions)


def find_card(model: str, store: Path | None = None) -> Card:
    """The card with the id ``model``, which may have been added to ``store``.

    Raises:
        InputError: there is no such model; the sentence names those that exist.
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
