"""Errors that a user can correct: each is one sentence that names what is wrong and what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence


class GliomaSegError(Exception):
    """Base of the errors that a user can cause and correct. The message is one sentence, shown unchanged."""


class InputError(GliomaSegError):
    """A given file, folder or option cannot be used."""


class WeightsError(GliomaSegError):
    """A model's weights are missing, damaged or not the ones its card names."""


class Cancelled(GliomaSegError):
    """The user stopped the run; nothing was written."""


def of_the_machine(error: OSError | MemoryError) -> str:
    """The sentence for an unexpected error of the file system or of memory."""
    if isinstance(error, MemoryError):
        return "The memory that this process may take is not enough; close other programs, or raise the limit (ulimit)."
    where = error.filename or "A file or folder"
    return f"{where} cannot be used ({error.strerror or error}); check the path, the room on the disk and your rights."


def printable(text: object) -> str:
    """``text`` with a space for every control character except line breaks."""
    text = str(text)
    if text.isprintable():  # fast path: nearly all of the many header values of a study
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def as_typed(path: object) -> str:
    """A path as an argument of a command in a message, in double quotes if the shell needs them."""
    text, windows = str(path), os.name == "nt"
    if not re.search(r"[^\w:./~\\-]" if windows else r"[^\w@%+=:,./-]", text):
        return text
    return f'"{text}"' if windows else '"' + re.sub(r'([$`"\\])', r"\\\1", text) + '"'


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names for a sentence: at most ``most``, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
