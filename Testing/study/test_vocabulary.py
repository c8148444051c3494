"""Words of many languages and scanners: a wrong sequence is never acted upon, and few need to be asked about."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from GliomaSegLib.io.tags import DicomTags
from GliomaSegLib.study.identification import ACCEPTED_CONFIDENCE, guess
from GliomaSegLib.study.vocabulary import UNREADABLE, normalised, unfamiliar

MOST_ASKED = 1 / 6

# Descriptions of spin echo series with a short TR and TE, as in T1, and what they show.
DESCRIPTIONS = [
    ("T1 utan kontrast", "t1n"),
    ("T1 uten kontrast", "t1n"),
    ("T1 voor contrast", "t1n"),
    ("T1 s/ contraste", "t1n"),
    ("T1 c/ contraste", "t1c"),
    ("T1 m.d.c.", "t1c"),
    ("T1 tra IVKM", "t1c"),
    ("acq-gd_T1w", "t1c"),
    ("T1 z kontrastem", "t1c"),
    ("T1 be kontrasto", "t1n"),
    ("T1 ar kontrastu", "t1c"),
    ("T1 bez kontrasta", "t1n"),
    ("T1 cu contrast", "t1c"),
    ("T1 fara contrast", "t1n"),
    ("T1 ilman tehostetta", "t1n"),
    ("T1 tehosteen jälkeen", "t1c"),
    ("T1 με σκιαγραφικό", "t1c"),
    ("T1 χωρίς σκιαγραφικό", "t1n"),
    ("T1 造影前", "t1n"),
    ("T1 造影後", "t1c"),
    ("T1 조영전", "t1n"),
    ("T1 조영후", "t1c"),
    ("T1 kontrast öncesi", "t1n"),
    ("T1 kontrast sonrası", "t1c"),
    ("T1 kontrasztanyag nélkül", "t1n"),
    ("T1 kontrasztos", "t1c"),
    ("T1 ennen tehostetta", "t1n"),
    ("T1 prije kontrasta", "t1n"),
    ("T1 pred k.l.", "t1n"),
    ("T1 po k.l.", "t1c"),
    ("T1 s KL", "t1c"),
    ("T1 no GAD", "t1n"),
    ("T1 W Contrast", "t1c"),
    ("T1 w/contrast", "t1c"),
    ("T1 +", "t1c"),
    ("T1+GD", "t1c"),
    ("T1 Gd 5ml", "t1c"),
    ("AX T1 NC", "t1n"),
    ("AX T1 NON CON", "t1n"),
    ("T1 unenhanced", "t1n"),
    ("T1 vor Gabe", "t1n"),
    ("T1 nach Gabe", "t1c"),
    ("T1 nach KM-Gabe", "t1c"),
    ("T1 KM-frei", "t1n"),
    ("T1 nativ vor KM", "t1n"),
    ("T1 orbits fs +C", "none"),
    ("T1 cor sella dyn", "none"),
    ("T1 sag sella post gad", "none"),
    ("AX T1 IAC +C", "none"),
    ("T1 hires IAM post", "none"),
    ("Ax T1 internal auditory canals", "none"),
    ("sub T1 gd", "none"),
    ("T1 subtraction", "none"),
    ("T1 MAP MOLLI", "none"),
    ("T1 map", "none"),
    ("T1_mapping", "none"),
    ("Sag T1 c-spine", "none"),
    ("T1 DIXON opp", "none"),
    ("t1_vibe_dixon_tra_p2_opp", "none"),
    ("t1_vibe_dixon_tra_in", "none"),
    ("T1 Dixon fat", "none"),
    ("t1_vibe_dixon_tra_W", "t1n"),
    ("WATER: Ax T1 LAVA FLEX", "t1n"),
    ("OutPhase: Ax T1 LAVA", "none"),
    ("T1 dynamisch KM", "none"),
    ("T1 с контрастным усилением", "t1c"),
    ("T1 без контрастного усиления", "t1n"),
    ("Т1 до контраста", "t1n"),
    ("Т1 после введения контраста", "t1c"),
    ("T1 平扫", "t1n"),
    ("T1 增强后", "t1c"),
    ("T1 增强前", "t1n"),
    ("T1 inject?", "t1c"),
    ("T1 inject�", "t1c"),
    ("T1 contrast free", "t1n"),
    ("T1 contrasto no", "t1n"),
    ("T1 contrasto si", "t1c"),
    ("T1 basale", "t1n"),
    ("T1 MPR post contrast", "t1c"),
    ("AX T1 C MINUS", "t1n"),
    ("T1 late enhancement", "t1c"),
    ("T1 pre-gad", "t1n"),
    ("Gd T1 tra 3mm", "t1c"),
    ("3D T1 GADOLINIO", "t1c"),
    ("3D T1 SIN GADOLINIO", "t1n"),
    ("T1 avant injection", "t1n"),
    ("T1 avant gado", "t1n"),
    ("T1 apres gado", "t1c"),
    ("T1 efter iv kontrast", "t1c"),
    ("T1 før kontrast", "t1n"),
    ("T1 före kontrast", "t1n"),
    ("T1 etter kontrast", "t1c"),
    ("T1 antes contraste", "t1n"),
    ("T1 después de contraste", "t1c"),
    ("T1 önce", "t1n"),
    ("T1 kontrastlı değil", "t1n"),
    ("T1 kontrastlı", "t1c"),
    ("T1 IV+", "t1c"),
    ("T1 IV-", "t1n"),
    ("Dynamic T1 pituitary", "none"),
    ("T1 TMJ", "none"),
    ("T1 neck post", "none"),
    ("T1 parotid", "none"),
    ("relCBF", "none"),
    ("MR T1 subtraktion", "none"),
]


def spin_echo(**more: object) -> DicomTags:
    return DicomTags(
        repetition_time_ms=500,
        echo_time_ms=12,
        scanning_sequence=("SE",),
        image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
        body_part="HEAD",
        **more,
    )


def answer(words: str, tags: DicomTags | None) -> str:
    """The sequence that is acted upon, ``none``, or ``ask``."""
    found = guess(words, tags)
    if found.sequence is None:
        return "none"
    return found.sequence.value if found.confidence >= ACCEPTED_CONFIDENCE else "ask"


def check(answers: Iterable[tuple[str, str, str]]) -> None:
    """Of (description, what is right, what was answered)."""
    answers = list(answers)
    wrong = [one for one in answers if one[2] not in (one[1], "ask")]
    assert not wrong
    assert sum(one[2] == "ask" for one in answers) <= MOST_ASKED * len(answers)


def test_words_of_many_languages() -> None:
    check((words, expected, answer(words, spin_echo())) for words, expected in DESCRIPTIONS)


def test_headers_of_many_scanners(shared: Path) -> None:
    """Sets of header values with the right answer."""
    rows = json.loads((shared / "facts" / "series-headers.json").read_text(encoding="utf-8"))
    check((row["series_description"], row["expected"], answer(*described(row))) for row in rows)


def described(row: dict) -> tuple[str, DicomTags]:
    tags = DicomTags(
        description=row["series_description"],
        sequence_name=row.get("sequence_name", ""),
        scanning_sequence=tuple(row.get("scanning_sequence", ())),
        image_type=tuple(row.get("image_type", ())),
        repetition_time_ms=row.get("repetition_time_ms"),
        echo_time_ms=row.get("echo_time_ms"),
        inversion_time_ms=row.get("inversion_time_ms"),
        contrast_agent=row.get("contrast_agent"),
        body_part=row.get("body_part", ""),
    )
    return f"{tags.description} {tags.sequence_name}", tags


@pytest.mark.parametrize("words", ["T1 injekcja podana", "T1 qwxz", "T1 ภาพ"])
def test_words_that_nobody_knows_are_asked_about(words: str) -> None:
    assert answer(words, spin_echo()) == "ask"


def test_beside_a_t1_with_contrast_an_unknown_word_is_none_for_contrast() -> None:
    assert guess("T1 Sequenz Basler", spin_echo(), beside_t1c=True).confidence >= ACCEPTED_CONFIDENCE


def test_a_name_in_a_file_name_is_no_reason_to_ask() -> None:
    assert answer("smith_T1", None) == "t1n"


def test_flair_that_is_timed_as_t1_is_asked_about() -> None:
    timed_as_t1 = DicomTags(
        repetition_time_ms=2200, echo_time_ms=24, inversion_time_ms=860, scanning_sequence=("SE", "IR")
    )
    assert answer("Ax FLAIR", timed_as_t1) == "ask"
    assert answer("Ax T1 FLAIR", timed_as_t1) == "t1n"


@pytest.mark.parametrize("value", ["FAT", "SUB", "T1 MAP", "P", "ADC"])
def test_an_image_type_excludes_whatever_the_words_say(value: str) -> None:
    tags = DicomTags(
        image_type=("DERIVED", "PRIMARY", value), repetition_time_ms=500, echo_time_ms=12, scanning_sequence=("SE",)
    )
    assert guess("Ax T1 +C", tags).sequence is None


def test_another_part_of_the_body_excludes_and_beside_the_brain_is_asked_about() -> None:
    spine = DicomTags(repetition_time_ms=500, echo_time_ms=12, scanning_sequence=("SE",), body_part="CSPINE")
    assert answer("SAG T1", spine) == "none"
    assert answer("T1 brain and orbits", spin_echo()) == "ask"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("T1 kontrasts\u0131z", "t1 kontrastsiz"),
        ("T1\u589e\u5f3a", "t1 \u589e\u5f3a"),
        ("T1 \uc870\uc601", "t1 \uc870\uc601"),
        ("T1 m.d.c.", "t1 mdc"),
        ("sub-01_acq-gd_T1w", "gd t1w"),
        ("sub-01_acq-highres_T1w", "t1w"),
        ("POST - PRE", "subtraction"),
        ("T1 inject\ufffd", f"t1 {UNREADABLE}"),
    ],
)
def test_letters_keep_their_meaning(words: str, expected: str) -> None:
    assert normalised(words) == expected


def test_a_technicians_words_are_familiar() -> None:
    assert unfamiliar(normalised("t1_mprage_sag_p2_iso_1mm_WIP fatnav 3D thin slab")) == []
    assert unfamiliar("t1 basler 3d") == ["basler"]
