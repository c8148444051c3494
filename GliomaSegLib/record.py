"""The base of everything that is written as JSON: what cannot be is refused, and what was made is not changed."""

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
    """Read and validate a file (JSON) that people write, such as a recipe or a card.

    Args:
        called: what the file is, for the sentence.

    Raises:
        InputError: the file cannot be read or is no such record; the sentence names the first field that is wrong.
    """
    try:
        return kind.model_validate_json(path.read_bytes())  # wrong UTF-8 is the parser's to refuse
    except OSError as error:
        raise InputError(f"The {called} {path} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"] or ("the file",)
        what = "there is no such key" if first["type"] == "extra_forbidden" else first["msg"]
        raise not_valid(f"The {called} {path}", place, what) from error


def not_valid(source: str, place: tuple[str | int, ...], what: str) -> InputError:
    """The sentence on what pydantic refused in ``source``: where it stands, from outside to inside, and why."""
    where = ".".join(map(str, place)) + ": " if place else ""
    return InputError(f"{source} is not valid: {where}{what.removeprefix('Value error, ').rstrip('.')}.")
