"""Words of many languages and scanners: a wrong sequence is never acted upon, and few need to be asked about."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from GliomaSegLib.io.tags import DicomTags
from GliomaSegLib.study.identification import ACCEPTED_CONFIDENCE, guess
from GliomaSegLib.study.vocabulary import UNREADABLE, normalised, unfamiliar

DATA = Path(__file__).parent.parent / "data"

MOST_ASKED = 1 / 6


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
    """Descriptions of spin echo series with a short TR and TE, as in T1, and what they show."""
    lines = (DATA / "t1_descriptions.tsv").read_text(encoding="utf-8").splitlines()
    check((words, expected, answer(words, spin_echo())) for words, expected in (line.split("\t") for line in lines))


# TR, TE and TI in ms, and the scanning sequence, of a protocol at 1.5 or 3 T.
TIMINGS: dict[str, tuple[float, float, float | None, str]] = {
    "mprage": (2300, 2.98, 900, "GR IR"),
    "mp2rage": (5000, 2.98, 700, "GR IR"),
    "spgr": (8, 3.2, None, "GR"),
    "gret1": (250, 2.5, None, "GR"),
    "petra": (3.3, 0.07, None, "GR"),
    "tof": (22, 3.8, None, "GR"),
    "gre": (650, 20, None, "GR"),
    "se": (500, 12, None, "SE"),
    "pd": (3000, 15, None, "SE"),
    "t2": (5000, 100, None, "SE"),
    "t1flair": (2200, 24, 860, "SE IR"),
    "flair": (9000, 120, 2500, "SE IR"),
    "stir": (4500, 60, 160, "SE IR"),
    "psir": (4500, 12, 400, "SE IR"),
    "dir": (7500, 320, 3000, "SE IR"),
    "epi": (5000, 90, None, "EP"),
}


def test_descriptions_of_whole_examinations_of_many_vendors() -> None:
    """Descriptions, how they were timed (``none``: a name without a header), the contrast agent of the header, and the
    right answer, which was decided first. Where it is ``ask`` nothing may be acted upon."""
    answers = []
    for line in (DATA / "series_descriptions.tsv").read_text(encoding="utf-8").splitlines():
        words, timing, agent, expected = line.split("\t")
        tags = None
        if timing != "none":
            tr, te, ti, kinds = TIMINGS[timing]
            tags = DicomTags(
                description=words,
                repetition_time_ms=tr,
                echo_time_ms=te,
                inversion_time_ms=ti,
                scanning_sequence=tuple(kinds.split()),
                contrast_agent=agent or None,
                image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
                body_part="HEAD",
            )
        found = answer(words, tags)
        answers.append((words, expected, "ask" if (expected, found) == ("ask", "none") else found))
    check(answers)


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
    return tags.description, tags


def test_a_pulse_sequence_behind_the_description_is_no_part_of_it() -> None:
    tags = DicomTags(sequence_name="*tse2d1_15", repetition_time_ms=5000, echo_time_ms=100, scanning_sequence=("SE",))
    assert answer("AX T2", tags) == "t2w", "'T2 *' is T2*"
    assert answer("T1", spin_echo(sequence_name="memp")) == "t1n", "a name that the maker gave is no word for contrast"


@pytest.mark.parametrize(
    "words",
    [
        "T1 injekcja podana",
        "T1 qwxz",
        "T1 ภาพ",
        "T1 x KM",
        "T1 qwx KM",
        "T1 +/- KM",
        "T1 -KM",
        "T1 IV",
        "T1 pre and post Gd",
        "T1 z gado",
        "T1 kontrastxyz",
        "T1 qwxcontrast",
    ],
)
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


@pytest.mark.parametrize("value", ["FAT", "F", "IP", "OP", "SUB", "T1 MAP", "P", "ADC"])
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
        ("sub-01_acq-highres_T1w", "highres t1w"),
        ("sub-01_acq-postcontrast_T1w", "post contrast t1w"),
        ("sub-01_ses-2_space-T1w_FLAIR", "flair"),
        ("T1-SPACE-post", "t1 space post"),
        ("AX T1FLAIR", "ax t1 flair"),
        ("POST - PRE", "subtraction"),
        ("T1 inject\ufffd", f"t1 {UNREADABLE}"),
    ],
)
def test_letters_keep_their_meaning(words: str, expected: str) -> None:
    assert normalised(words) == expected


def test_a_technicians_words_are_familiar() -> None:
    assert unfamiliar(normalised("t1_mprage_sag_p2_iso_1mm_WIP fatnav 3D thin slab")) == []
    assert unfamiliar(normalised("ADNI wave-caipi PROP PROMO t1_mx3d quick3d MPV starVIBE iMSDE DANTE RMS")) == []
    assert unfamiliar("t1 basler 3d") == ["basler"]
