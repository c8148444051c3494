"""Validates users' cards with pydantic, and generates the JSON schema of a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from GliomaSegLib.errors import InputError
from GliomaSegLib.record import not_valid, refused
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import retired_in, without_retired

_MOST_BYTES = 4 << 20
CARD: TypeAdapter[Card] = TypeAdapter(Card)


def read_card(path: Path, lenient: bool = False) -> Card:
    """Read and check a card.

    Args:
        lenient: see :func:`checked_card`.

    Raises:
        InputError: the file is not a valid card; the message names the first invalid field.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is larger than any model card; give the card's own file.")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"The model card {path} cannot be read ({error.strerror}).") from error
    try:
        return checked_card(from_json(content), f"The model card {path}", lenient)
    except ValueError as error:  # no JSON
        raise not_valid(f"The model card {path}", ("the file",), str(error)) from error


def checked_card(content: Any, source: str = "The model card", lenient: bool = False) -> Card:
    """Make a card from JSON; ``source`` is its origin, for errors.

    Args:
        lenient: fields that no longer exist are dropped whatever their value.

    Raises:
        InputError: it is invalid; the message names the first invalid field.
    """
    if not lenient and (retired := retired_in(content)):
        raise not_valid(source, (retired,), "there is no such key any more, and it never had an effect; leave it out")
    try:
        return CARD.validate_python(without_retired(content))
    except ValidationError as error:
        raise refused(source, error) from error
