"""Errors that a user can mend: each is one sentence that names what is wrong and what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence


class GliomaSegError(Exception):
    """Base of every error that a user may cause and can mend. Its text is one sentence, shown as it is."""


class InputError(GliomaSegError):
    """A file, folder or option that was given cannot be used."""


class WeightsError(GliomaSegError):
    """A model's weights are missing, damaged or not the ones its card names."""


class Cancelled(GliomaSegError):
    """The user stopped the run; nothing was written."""


def of_the_machine(error: OSError | MemoryError) -> str:
    """The sentence on an error of the file system or of the memory that nothing else has explained."""
    if isinstance(error, MemoryError):
        return "The memory that this process may take is not enough; close other programs, or raise the limit (ulimit)."
    where = error.filename or "A file or folder"
    return f"{where} cannot be used ({error.strerror or error}); check the path, the room on the disk and your rights."


def printable(text: object) -> str:
    """``text`` with a space for every character, other than the end of a line, that a terminal would obey."""
    text = str(text)
    if text.isprintable():  # as nearly every value of the many thousands of a study's headers
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def as_typed(path: object) -> str:
    """A path as one word of a command that a sentence suggests, in double quotes where the shell needs them."""
    text, windows = str(path), os.name == "nt"
    if not re.search(r"[^\w:./~\\-]" if windows else r"[^\w@%+=:,./-]", text):
        return text
    return f'"{text}"' if windows else '"' + re.sub(r'([$`"\\])', r"\\\1", text) + '"'


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names for a sentence: at most so many, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
