"""Names of images that seem to be of different patients or examinations. Standard library only, for the panel too."""

from __future__ import annotations

import re

from GliomaSegLib.study.identification import word_clues
from GliomaSegLib.study.vocabulary import normalised, unfamiliar

# Entities of BIDS that tell images of one examination apart; words; numbers of series; codes of patients and times.
_ENTITIES = re.compile(r"(?<![a-z0-9])(acq|ce|desc|dir|echo|inv|part|rec|run|space|task)-[a-z0-9]+")
_WORDS = re.compile(r"(?:sub|ses)-[a-z0-9]+|[^\W_]+")
_SERIES_NUMBER = re.compile(r"(s|se|ser|series|im|i|e)\d+|[1-9]\d{,3}")
_CODE = re.compile(
    r"(sub|ses)-.*|[a-z]*\d{2,}|(pat|case|subj)[a-z]*\d*"
    r"|(time|visit|session|week|month|day|fu)[a-z]*\d+|(pre|post|intra)op|baseline|follow\w*"
)


def named_apart(first: str, second: str) -> str | None:
    """A clause if two names (without suffixes) begin with different names or numbers: ``'pata' and 'patb'``."""
    names = _patient_words(first), _patient_words(second)
    return " and ".join(f"'{' '.join(words)}'" for words in names) if all(names) and names[0] != names[1] else None


def _patient_words(name: str) -> list[str]:
    """The words of a name before the one that tells the modality, without those of protocols and series numbers."""
    words = _WORDS.findall(_ENTITIES.sub("", name.casefold()))
    of_modality = next((place for place, word in enumerate(words) if word_clues(normalised(word))), 0)
    return [
        word
        for word in words[:of_modality]
        if not _SERIES_NUMBER.fullmatch(word) and (_CODE.fullmatch(word) or unfamiliar(normalised(word)))
    ]
