"""Cards from JSON and to JSON with the standard library.

Cards were validated before: shipped cards by tests, a user's card when it was added
(:mod:`GliomaSegLib.zoo.card_check`). So only types and names are checked here, not ranges and patterns.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from GliomaSegLib.zoo.card import Card

# Fields that earlier versions wrote into added cards, with the values that had no effect. They are still accepted with
# these values.
_RETIRED: dict[tuple[str, str], Any] = {
    ("space", "frame"): "native",
    ("inference", "folds"): 1,
    ("output", "fill_holes"): False,
}


def card_from(content: Any) -> Card:
    """Make a card from JSON.

    Raises:
        ValueError, TypeError, AttributeError: it is no card.
    """
    return _of_type(Card, without_retired(content))


def card_text(card: Card) -> str:
    """A card as JSON."""
    return json.dumps(dataclasses.asdict(card), indent=2, ensure_ascii=False) + "\n"


def without_retired(content: Any) -> Any:
    """The content of a card without the fields that no longer exist.

    Old cards of SynthStrip's family have ``distance`` as ``output.activation``, which that family does not need.
    """
    if not isinstance(content, Mapping):
        return content
    kept = copy.deepcopy(dict(content))
    for block, name in _RETIRED:
        if isinstance(kept.get(block), dict):
            kept[block].pop(name, None)
    if isinstance(kept.get("output"), dict) and kept["output"].get("activation") == "distance":
        del kept["output"]["activation"]
    return kept


def retired_in(content: Any) -> str | None:
    """The first retired field with a value that would have had an effect, e.g. ``inference.folds``."""
    for (block, name), nothing in _RETIRED.items():
        part = content.get(block) if isinstance(content, Mapping) else None
        if isinstance(part, Mapping) and part.get(name, nothing) != nothing:
            return f"{block}.{name}"
    return None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _of_type(kind: Any, value: Any) -> Any:
    """Convert a JSON ``value`` to the type ``kind``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        (inner,) = (one for one in arguments if one is not types.NoneType)
        return None if value is None else _of_type(inner, value)
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_of_type(one, item) for one, item in zip(kinds, value, strict=True))
    if origin is dict:
        return {_of_type(arguments[0], key): _of_type(arguments[1], item) for key, item in value.items()}
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"'{value}' is none of {', '.join(map(str, arguments))}")
        return value
    if dataclasses.is_dataclass(kind):
        make = cast("Callable[..., Any]", kind)
        hints = _hints(make)
        return make(**{name: _of_type(hints.get(name, Any), item) for name, item in value.items()})
    if issubclass(kind, Enum):
        return kind(value)
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"'{value}' is not of the type {kind.__name__}")
    return value
