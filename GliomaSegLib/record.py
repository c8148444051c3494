"""The base class of JSON records (pydantic), and error messages for invalid JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from GliomaSegLib.errors import InputError


class Record(BaseModel):
    """Immutable, and unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=Record)


def read_record(kind: type[Kind], path: Path, called: str) -> Kind:
    """Read and validate a JSON file, such as a recipe or a card.

    Args:
        called: what the file is, for error messages.

    Raises:
        InputError: the file cannot be read or is invalid; the message names the first invalid field.
    """
    try:
        return kind.model_validate_json(path.read_bytes())  # the parser refuses invalid UTF-8
    except OSError as error:
        raise InputError(f"The {called} {path} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        raise refused(f"The {called} {path}", error) from error


def refused(source: str, error: ValidationError) -> InputError:
    """The error for the first invalid field of ``source``."""
    first = error.errors()[0]
    no_such_key = first["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    return not_valid(source, first["loc"] or ("the file",), "there is no such key" if no_such_key else first["msg"])


def not_valid(source: str, place: tuple[str | int, ...], what: str) -> InputError:
    """The error for the field of ``source`` at ``place`` (keys from the outermost to the innermost)."""
    where = ".".join(map(str, place)) + ": " if place else ""
    return InputError(f"{source} is not valid: {where}{what.removeprefix('Value error, ').rstrip('.')}.")
