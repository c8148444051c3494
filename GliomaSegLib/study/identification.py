"""Identifies T1n, T1c, T2w and T2f among volumes by their names and DICOM tags, with a confidence and a reason.

No files are read here: :mod:`GliomaSegLib.study.volumes` finds files and series; the panel has only names.

Evidence is added up as log-odds. Words (:mod:`GliomaSegLib.study.vocabulary`) and physics (TR, TE, TI) each support a
weighting - T1, T2, FLAIR or something else - and words and the contrast agent for or against contrast medium. Some
evidence (a subtraction, a map, another part of the body) excludes a volume whatever else is found. Contradicting
evidence lowers the confidence and is named in the reason; if words and physics indicate different weightings, or words
next to contrast medium are not understood, the confidence is too low for acceptance and the user is asked. The ranges
of TR, TE and TI are those of common clinical protocols at 1.5 and 3 T (as in the consensus brain tumour imaging
protocol, Ellingson 2015, doi:10.1093/neuonc/nov095), widened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from GliomaSegLib.case import Modality
from GliomaSegLib.io.tags import DicomTags
from GliomaSegLib.study.vocabulary import (
    BRAIN_WORDS,
    CONTRAST_WORDS,
    EXCLUDING_IMAGE_TYPES,
    OTHER_BODY_PARTS,
    PLANNING,
    SCANNERS_WORDS,
    UNCLEAR_MP2RAGE,
    UNREADABLE,
    WEIGHTING_WORDS,
    Weighting,
    WordRule,
    is_foreign,
    neighbours_not_understood,
    normalised,
    unfamiliar,
)

ACCEPTED_CONFIDENCE = 0.6
"""Below this confidence a guess is not used: the user is asked."""

CLEAR_MARGIN = 0.2
"""Difference in confidence from which one of two volumes for the same modality is clearly better."""

SURELY_NATIVE = 0.75
"""Confidence that a T1 without any word for contrast medium does not reach."""


@dataclass(frozen=True)
class Guess:
    """The modality that a volume seems to have (``None``: none of the four), the confidence (0 to 1) and the reason."""

    sequence: Modality | None
    confidence: float
    reason: str


# --- the evidence --------------------------------------------------------------------------------------------------

# Log-odds of contrast medium in a T1 without evidence: it is usually native, and nearly always if another T1 of the
# study is known to have contrast medium.
_CONTRAST_PRIOR, _CONTRAST_PRIOR_BESIDE_T1C = -1.0, -3.0
_AGENT_GIVEN = 4.5  # less than an explicit 'pre': some scanners copy the agent to every series of the study
# Normalised texts in the header's field for the agent that say that none was given.
_NO_AGENT = re.compile(
    r"(n|n ?a|0|null|pre|un ?enhanced)?"
    r"|(no|non|none|not|nil|without|ohne|kein\w*|sans|aucun\w*|sin|ningun\w*|sem|nenhum\w*|senza|nessun\w*|zonder|geen|bez"
    r"|brak|utan|uden|uten|ingen|нет|без|не|无|無|没有?|沒有?|なし|없음)( .*)?"
)


class PhysicsRule(NamedTuple):
    """Ranges of TR, TE and TI in ms (``ti_ms=None``: no inversion); Scanning Sequence values it needs or excludes."""

    text: str
    about: Weighting
    weight: float
    tr_ms: tuple[float, float]
    te_ms: tuple[float, float]
    ti_ms: tuple[float, float] | None = None
    needs: frozenset[str] = frozenset()
    excludes: frozenset[str] = frozenset()


_CLEAR_PHYSICS = 5  # weight of timing that only one weighting has
_GR, _EP, _IR = frozenset({"GR"}), frozenset({"EP"}), frozenset({"IR"})
_GR_EP_IR = _GR | _EP | _IR
_ANY = (0.0, math.inf)

# The first rule that fits is used.
_PHYSICS: tuple[PhysicsRule, ...] = (
    PhysicsRule(
        "an inversion that nulls water, with a long TE", Weighting.FLAIR, 6, (3500, 20000), (60, 700), (1400, 3500)
    ),
    PhysicsRule("an inversion that nulls fat", Weighting.OTHER, 5, (1500, 20000), (8, 200), (60, 320)),
    PhysicsRule("one of several inversions, as of MP2RAGE", Weighting.T1, 1, (3600, 20000), (0, 12), (320, 1400), _GR),
    PhysicsRule("a T1 inversion with a short TE", Weighting.T1, 5, (0, 9000), (0, 45), (320, 1400)),
    PhysicsRule("echo-planar", Weighting.OTHER, _CLEAR_PHYSICS, _ANY, _ANY, None, _EP),
    PhysicsRule("a gradient echo with a long TE (T2*)", Weighting.OTHER, 4, _ANY, (12, 100), None, _GR),
    PhysicsRule("an ultra-short echo, as for bone", Weighting.OTHER, 4, _ANY, (0, 0.5), None, _GR),
    PhysicsRule("a spoiled gradient echo", Weighting.T1, 2, (2, 60), (0, 12), None, _GR),
    PhysicsRule("a gradient echo with short TR and TE", Weighting.T1, 4, (60, 800), (0, 12), None, _GR),
    PhysicsRule("an inversion of unknown time with a long TE", Weighting.FLAIR, 3, (3500, 20000), (60, 700), None, _IR),
    PhysicsRule("short TR and TE", Weighting.T1, 5, (200, 1200), (0, 40), excludes=_GR_EP_IR),
    PhysicsRule("long TR and TE", Weighting.T2, 5, (1700, 20000), (60, 700), excludes=_GR_EP_IR),
    PhysicsRule(
        "a long TR with a short TE (proton density)", Weighting.OTHER, 4, (1500, 20000), (0, 50), excludes=_GR_EP_IR
    ),
)

_CLEAR_WORD = 4  # weight of a word that alone decides about contrast medium
_SURELY_EXCLUDED = 0.99  # confidence that an image is none of the four
_ASKED = 0.5  # confidence of a guess about which the user is asked
_NO_EVIDENCE = "nothing speaks of contrast medium"
_BOTH = "called both with and without contrast medium"
_NAMES_IT = 3  # weight of a word that is the name of a weighting, rather than of a pulse sequence used for it


class Clue(NamedTuple):
    """One piece of evidence for a weighting, as log-odds and in words; ``excludes``: it alone decides."""

    about: Weighting
    weight: float
    text: str
    excludes: bool = False


def guess(words: str, tags: DicomTags | None = None, beside_t1c: bool = False) -> Guess:
    """Guess the modality of a volume, without its pixels.

    Args:
        words: file name and series description.
        tags: from its header, if it has one.
        beside_t1c: another volume of the study is known to be T1 with contrast.
    """
    pulse = normalised(tags.sequence_name.lstrip("*")) if tags else ""  # '*tse2d1' behind 'T2' is no T2*
    words = normalised(words.removesuffix(tags.sequence_name) if tags else words)
    named, physics = word_clues(f"{words} {pulse}"), _tag_clues(tags)
    excluding = [clue for clue in (*named, *physics) if clue.excludes]
    if tags is not None and (said := SCANNERS_WORDS.search(words)):
        excluding.append(Clue(Weighting.OTHER, 8, f"called '{said[said.lastindex or 0]}'", excludes=True))
    part = OTHER_BODY_PARTS.search(f"{words} {normalised(tags.body_part) if tags else ''}")
    if part is not None and not BRAIN_WORDS.search(words):
        excluding.append(Clue(Weighting.OTHER, 8, f"called '{part.group().strip()}'", excludes=True))
    if excluding:
        others = [clue.text for clue in (*named, *physics) if clue.about is not Weighting.OTHER]
        return Guess(None, _SURELY_EXCLUDED, _reason([clue.text for clue in excluding], others))
    clues = named + physics
    weighting, confidence = _most_likely(clues)
    if weighting is None:
        return Guess(None, 1 - confidence, "neither its name nor its tags say what it is")
    supporting = [clue.text for clue in clues if clue.about is weighting]
    against = [clue.text for clue in clues if clue.about is not weighting]
    doubts = _doubts(named, physics, part)
    if UNCLEAR_MP2RAGE.search(f"{words} {' '.join(tags.image_type).lower() if tags else ''}"):
        doubts.append("an MP2RAGE has several images, of which the T1 is called 'UNI'")
    sequence = {Weighting.T2: Modality.T2W, Weighting.FLAIR: Modality.T2F}.get(weighting)
    if weighting is Weighting.T1:
        probability, contrast_clues = _contrast(words, tags, beside_t1c)
        enhanced = probability > 0.5
        sequence = Modality.T1C if enhanced else Modality.T1N
        confidence *= probability if enhanced else 1 - probability
        supporting += [text for weight, text in contrast_clues if (weight > 0) is enhanced]
        against += [text for weight, text in contrast_clues if (weight > 0) is not enhanced]
        doubts += _words_not_understood(words, tags, contrast_clues, beside_t1c)
    if doubts:
        confidence = min(confidence, _ASKED)
    return Guess(sequence, confidence, _reason(supporting, against + doubts))


def _doubts(named: list[Clue], physics: list[Clue], part: re.Match[str] | None) -> list[str]:
    """Reasons to ask the user about a guess, however strong the evidence is."""
    doubts = [f"called '{part.group().strip()}'"] if part is not None else []
    said = {clue.about for clue in named if clue.weight >= _NAMES_IT and clue.about is not Weighting.OTHER}
    measured = [clue for clue in physics if clue.weight >= _CLEAR_PHYSICS]
    if said & {Weighting.T2, Weighting.FLAIR}:  # FLAIR is a T2 with an inversion, which words or header may leave out
        said |= {Weighting.T2, Weighting.FLAIR}
    return doubts + [clue.text for clue in measured if said and clue.about not in said]


def _words_not_understood(
    words: str, tags: DicomTags | None, clues: list[tuple[float, str]], beside_t1c: bool
) -> list[str]:
    """Why it is not certain whether a T1 has contrast medium: unknown words, words for both, or a use (planning) for
    which it is usually given."""
    strange, doubts = neighbours_not_understood(words), []
    if not strange and not beside_t1c and all(text == _NO_EVIDENCE for _, text in clues):
        # Unknown words in file names are often names of people and places; in a scanner's description they are not.
        strange = [word for word in unfamiliar(words) if tags is not None or is_foreign(word) or word == UNREADABLE]
        if planning := PLANNING.search(words):
            doubts.append(f"{_said(planning)}, for which contrast medium is mostly given")
        if tags is not None and tags.contrast_agent is not None:
            doubts.append(f"contrast agent '{tags.contrast_agent}' is not understood")
    both = {weight > 0 for weight, _ in _contrast_words(words) if abs(weight) >= _CLEAR_WORD}
    doubts += [_BOTH] * (len(both) > 1)
    return [f"'{word}' is not understood" for word in strange] + doubts


def _reason(supporting: list[str], against: list[str]) -> str:
    reason = ", ".join(dict.fromkeys(supporting))
    return f"{reason}; against it: {', '.join(dict.fromkeys(against))}" if against else reason


def word_clues(words: str) -> list[Clue]:
    """The evidence for a weighting in :func:`normalised` words."""
    found: list[tuple[WordRule, str]] = []
    for rule in WEIGHTING_WORDS:
        if match := re.search(rule.pattern, words):
            found.append((rule, _said(match)))
            words = re.sub(rule.pattern, " ", words)
    named = any(rule.about is not Weighting.OTHER and rule.weight >= _NAMES_IT for rule, _ in found)
    clues = []
    for rule, text in found:
        beside = rule.beside if named else None
        excludes = rule.about is Weighting.OTHER and beside is None
        clues.append(Clue(rule.about, rule.weight if beside is None else beside, text, excludes))
    return clues


def _tag_clues(tags: DicomTags | None) -> list[Clue]:
    if tags is None:
        return []
    clues = []
    if tags.angiography:
        clues.append(Clue(Weighting.OTHER, 8, "flagged as angiography", excludes=True))
    if tags.b_value is not None:
        clues.append(Clue(Weighting.OTHER, 8, f"diffusion b-value {tags.b_value:g}", excludes=True))
    derived = [value for value in tags.image_type[2:] if value.upper() in EXCLUDING_IMAGE_TYPES]
    clues += [Clue(Weighting.OTHER, 8, f"of image type '{value}'", excludes=True) for value in derived]
    rule = next((rule for rule in _PHYSICS if _fits(rule, tags)), None)
    if rule is not None:
        clues.append(Clue(rule.about, rule.weight, f"{_timing(tags)} ({rule.text})"))
    return clues


def _fits(rule: PhysicsRule, tags: DicomTags) -> bool:
    kinds = {kind.upper() for kind in tags.scanning_sequence}
    if not rule.needs <= kinds or rule.excludes & kinds:
        return False
    if tags.repetition_time_ms is None or tags.echo_time_ms is None:
        return False
    timed = [(tags.repetition_time_ms, rule.tr_ms), (tags.echo_time_ms, rule.te_ms)]
    if rule.ti_ms is not None:
        if tags.inversion_time_ms is None:
            return False
        timed.append((tags.inversion_time_ms, rule.ti_ms))
    elif tags.inversion_time_ms is not None and not rule.needs:
        return False
    return all(low <= value <= high for value, (low, high) in timed)


def _timing(tags: DicomTags) -> str:
    values = (("TR", tags.repetition_time_ms), ("TE", tags.echo_time_ms), ("TI", tags.inversion_time_ms))
    return ", ".join(f"{name} {value:.0f} ms" for name, value in values if value is not None)


def _most_likely(clues: Iterable[Clue]) -> tuple[Weighting | None, float]:
    """The weighting with the most evidence and its probability; ``None`` when there is no evidence for any."""
    scores = dict.fromkeys(Weighting, 0.0)
    for clue in clues:
        scores[clue.about] += clue.weight
    best = max(scores, key=lambda weighting: scores[weighting])
    if scores[best] < 1:
        return None, 0.0
    nothing_known = math.e
    return best, math.exp(scores[best]) / (nothing_known + sum(math.exp(score) for score in scores.values()))


def _contrast(words: str, tags: DicomTags | None, beside_t1c: bool) -> tuple[float, list[tuple[float, str]]]:
    """Probability of contrast medium, and the evidence for it (positive log-odds) and against it."""
    clues = _contrast_words(words)
    if tags is not None and tags.contrast_agent is not None and not _is_lost(tags.contrast_agent):
        agent = normalised(tags.contrast_agent)
        none_given = _NO_AGENT.fullmatch(agent) or sum(weight for weight, _ in _contrast_words(agent)) < 0
        clues.append((-3 if none_given else _AGENT_GIVEN, f"contrast agent '{tags.contrast_agent}'"))
    prior = _CONTRAST_PRIOR_BESIDE_T1C if beside_t1c else _CONTRAST_PRIOR
    log_odds = prior + sum(weight for weight, _ in clues)
    return 1 / (1 + math.exp(-log_odds)), clues or [(prior, _NO_EVIDENCE)]


def _is_lost(text: str) -> bool:
    """Whether all letters of a text were replaced by question marks, as with a wrong character set."""
    return bool(text) and not text.strip("? ")


def _contrast_words(words: str) -> list[tuple[float, str]]:
    clues = []
    for pattern, weight in CONTRAST_WORDS:
        if match := re.search(pattern, words):
            clues.append((weight, _said(match)))
            words = re.sub(pattern, " ", words)
    return clues


def contrast_given(words: str, tags: DicomTags | None = None) -> bool:
    """Whether words or header indicate that the volume was made after contrast medium."""
    return _contrast(normalised(words), tags, beside_t1c=False)[0] > 0.5


def _said(match: re.Match[str]) -> str:
    return f"called '{match.group().strip()}'"


# --- several volumes of one study ----------------------------------------------------------------------------------


# Names of masks and results: some as a word anywhere, others only as the last word (such as '_wt').
_LABEL_WORDS = re.compile(
    r"(^|[_\-. ])(d?seg|segmentation|segm|[a-z]*masks?|labels?|labelmap|roi|annotation|contours?|[gcp]tv[a-z]*"
    r"|groundtruth|lesions?|prob|probability|probabilities|probseg)([_\-. ]|\d*$)"
    r"|(^|[_\-. ])(wt|tc|et|gt|truth|enhancing|pred|prediction|tumou?rs?|[oe]?edema|necrosis)\d*$",
    re.IGNORECASE,
)


def is_label_name(stem: str) -> bool:
    """Whether a file (without its suffix) or node is named like a label map, a mask or a probability map."""
    return _LABEL_WORDS.search(stem) is not None


def is_reformat(words: str, image_type: Collection[str] = ()) -> bool:
    """Whether a volume is a multi-planar reformat of another series. Siemens' ``t1_mpr`` is none, but an MPRAGE."""
    values = {value.upper() for value in image_type}
    return bool(
        values & {"MPR", "REFORMATTED", "DERIVED"} or re.search(r"(?<!t1 )\bmpr\b|\breformat", normalised(words))
    )


def guess_together(described: Sequence[tuple[str, DicomTags | None]], t1c_given: bool = False) -> list[Guess]:
    """Guess the modality of each volume of one study from its words and tags.

    A T1 without evidence is more likely native if the study has a T1 with contrast (or ``t1c_given``).
    """
    alone = [guess(*one, beside_t1c=t1c_given) for one in described]
    if not any(one.sequence is Modality.T1C and one.confidence >= ACCEPTED_CONFIDENCE for one in alone):
        return alone
    return [
        first if first.sequence is Modality.T1C else guess(*one, beside_t1c=True)
        for one, first in zip(described, alone, strict=True)
    ]


def rivals_for(sequence: Modality, guesses: Sequence[Guess]) -> list[int]:
    """The indices of the guesses for ``sequence`` that are not clearly worse than the best one, which comes first.

    Empty when there is no guess for it, or the confidence of the best one is too low.
    """
    claims = [index for index, one in enumerate(guesses) if one.sequence is sequence]
    claims.sort(key=lambda index: -guesses[index].confidence)
    if not claims or guesses[claims[0]].confidence < ACCEPTED_CONFIDENCE:
        return []
    best = guesses[claims[0]].confidence
    rivals = [index for index in claims if best - guesses[index].confidence < CLEAR_MARGIN]
    if sequence is Modality.T1N:  # one that may have contrast medium must not win by better voxels
        rivals = [index for index in rivals if guesses[index].confidence >= SURELY_NATIVE] or rivals
    return rivals


def voxels_may_decide(sequence: Modality, best: Guess) -> bool:
    """Whether the better volume of several rivals may be chosen: not if a T1 may have contrast medium after all."""
    return sequence is not Modality.T1N or best.confidence >= SURELY_NATIVE


@dataclass(frozen=True)
class NameGuess:
    """The volume (``id`` is its key) that was chosen for a modality by its name, the confidence (0 to 1) and why."""

    id: str
    confidence: float
    reason: str


def assign_names(names: Mapping[str, str], t1c_given: bool = False) -> dict[Modality, NameGuess]:
    """Identify modalities among volumes of which only the names are known.

    As :func:`GliomaSegLib.study.selection.identify`, but without errors: a modality that is uncertain, or for which
    several volumes are equally likely, is missing in the result.

    Args:
        names: by any key, such as a node ID.
        t1c_given: another volume is known to be T1 with contrast.
    """
    scans = {key: name for key, name in names.items() if not is_label_name(name)}
    keys, guesses = list(scans), guess_together([(name, None) for name in scans.values()], t1c_given)
    found = {}
    for sequence in Modality:
        rivals = rivals_for(sequence, guesses)
        originals = [index for index in rivals if not is_reformat(scans[keys[index]])]
        if len(rivals) > 1 and len(originals) == 1 and voxels_may_decide(sequence, guesses[rivals[0]]):
            rivals = originals
        if len(rivals) == 1:
            best = guesses[rivals[0]]
            found[sequence] = NameGuess(keys[rivals[0]], best.confidence, best.reason)
    return found
