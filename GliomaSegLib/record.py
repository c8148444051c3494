"""Records that are written as JSON and read back, and the sentences about JSON that is refused."""

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
        raise refused(f"The {called} {path}", error) from error


def refused(source: str, error: ValidationError) -> InputError:
    """The sentence on the first field of ``source`` that pydantic refused."""
    first = error.errors()[0]
    no_such_key = first["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    return not_valid(source, first["loc"] or ("the file",), "there is no such key" if no_such_key else first["msg"])


def not_valid(source: str, place: tuple[str | int, ...], what: str) -> InputError:
    """The sentence on what is wrong in ``source``: the place, from the outermost key to the innermost, and why."""
    where = ".".join(map(str, place)) + ": " if place else ""
    return InputError(f"{source} is not valid: {where}{what.removeprefix('Value error, ').rstrip('.')}.")
