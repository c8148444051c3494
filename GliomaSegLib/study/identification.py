"""Which of several volumes is T1n, T1c, T2w and T2f by its words and its tags, how sure that is, and why.

Nothing is read here: files and series are :mod:`GliomaSegLib.study.reading`'s, and a panel has names alone.

Evidence is added up as log-odds. Words (series description, protocol, file name) and physics (TR, TE, TI) each speak
for a weighting - T1, T2, FLAIR or something else - and words and the contrast agent for or against contrast medium.
What contradicts lowers the confidence and is named in the reason. The rules are tables: to teach a hospital's
vocabulary, add a row. The ranges of TR, TE and TI are those of common clinical protocols at 1.5 and 3 T (as in the
consensus brain tumour imaging protocol, Ellingson 2015, doi:10.1093/neuonc/nov095), widened.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Sequence as Sequential
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from GliomaSegLib.case import Modality

if TYPE_CHECKING:
    from GliomaSegLib.io.dicom import DicomTags

ACCEPTED_CONFIDENCE = 0.6
"""A guess below this is not acted upon: the user is asked."""

CLEAR_MARGIN = 0.2
"""In confidence, between two that claim the same sequence."""

SURELY_NATIVE = 0.75
"""Above the confidence of a T1 that merely lacks a word for contrast."""


class Weighting(Enum):
    """What an image's contrast depends on; ``OTHER`` is anything that is none of the four sequences."""

    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"
    OTHER = "another kind of image"


@dataclass(frozen=True)
class Guess:
    """What a candidate seems to be: a sequence, or ``None`` for none of the four; how sure (0 to 1); why."""

    sequence: Modality | None
    confidence: float
    reason: str


# --- the evidence --------------------------------------------------------------------------------------------------


class WordRule(NamedTuple):
    """A pattern in the normalised words, for what it speaks and how strongly (log-odds).

    ``beside`` is the weight next to a word for T1, T2 or FLAIR, for words that people also put into file names.
    """

    pattern: str
    about: Weighting
    weight: float
    beside: float | None = None


_DARK_FLUID = r"(?:\w*flair\w*|dark ?fluid|tirm|tir(?:2d\w*)?|fluid att\w*)"

# 'sub 01' and 'sub p01' are subjects, 'sub' alone and 'sub t1' subtractions.
_NUMBERED = r"(?!t[12])[a-z]*\d+"

# In this order; a match is taken out of the text, so that 'T2*' is no T2 and 'T2 FLAIR' says FLAIR alone.
_WEIGHTING_WORDS: tuple[WordRule, ...] = (
    WordRule(
        r"\b(dwi|dti|diff\w*|adc|eadc|trace\w*|tensor|b0|b ?[5-9]00|b ?[1-3][05]00|resolve)\b", Weighting.OTHER, 8
    ),
    WordRule(r"\b(swi|swan|swip|venobold|ha?emo\w*|t2 ?\*\w*|t2 ?star\w*|t2s|medic|qsm)(\b|\s|$)", Weighting.OTHER, 8),
    WordRule(
        r"\b(perf\w*|pwi|dsc|dce|p?c?asl|r?cb[fv]|mtt|ttp|tmax|ktrans|bold|f ?mri|twist|dyn\w*)\b",
        Weighting.OTHER,
        8,
    ),
    WordRule(r"\b(tof\w*|mra|mrv|\w*angio\w*|veno\w*|phase contrast|phase|pha|pca|pc3d|inhance)\b", Weighting.OTHER, 8),
    WordRule(
        rf"\b(mip|minip|sub(?! ?{_NUMBERED}\b)|subtr\w*|projection|screen\w*|fusion|fused|collage)\b",
        Weighting.OTHER,
        8,
    ),
    WordRule(
        r"\b(loc|locali[sz]er\w*|scout\w*|aa\w*scout|survey|scano\w*|(3|three) ?(plane|pl))\b", Weighting.OTHER, 8
    ),
    WordRule(r"\b(calibration|asset|prescan|shim\w*|field ?map\w*|b1 ?map)\b", Weighting.OTHER, 8),
    WordRule(r"\b(cal|coil|phantom|test|report|rest)\b", Weighting.OTHER, 8, 1.5),
    WordRule(
        r"\b(t[12] ?map\w*|relaxo\w*|inv ?[12]|mtr|mrs|spectro\w*|svs|csi)\b",
        Weighting.OTHER,
        8,
    ),
    WordRule(
        r"\b(\w*spine|spinal|hws|bws|lws|cervical|thoracic|lumbar|orbits?|orbita|neck|hals)\b", Weighting.OTHER, 6
    ),
    WordRule(r"\bdir\b", Weighting.OTHER, 6, 3),
    WordRule(r"\b(stir|double inversion|ciss|fiesta|cistern\w*|pd(w|wi|fs|t2)?|proton\w*|dp)\b", Weighting.OTHER, 6),
    WordRule(rf"\bs?t1[a-z]*\b(?!.*\bs?t2).*\b{_DARK_FLUID}\b", Weighting.T1, 5),
    WordRule(rf"\b{_DARK_FLUID}\b(?!.*\bs?t2).*\bs?t1[a-z]*\b", Weighting.T1, 4),
    WordRule(rf"\bs?t2[a-z]*\b.*\b{_DARK_FLUID}\b", Weighting.FLAIR, 6),
    WordRule(rf"\b{_DARK_FLUID}\b.*\bs?t2[a-z]*\b", Weighting.FLAIR, 6),
    WordRule(r"\b(\w*flair\w*|dark ?fluid|fluid att\w*|t2f|fla|flr)\b", Weighting.FLAIR, 6),
    WordRule(r"\b(tirm|tir(2d\w*)?)\b", Weighting.FLAIR, 3),
    WordRule(r"\b(c|ce)?s?t1[a-z]*\b", Weighting.T1, 4),
    WordRule(r"\b(mp ?2?rage\w*|mprage|\w*spgr\w*|bravo|tfl3d\w*|3d ?tfe)\b", Weighting.T1, 4),
    WordRule(r"\b(vibe|tfe|flash|spgr|efgre3d|se2d\w*)\b", Weighting.T1, 1.5),
    WordRule(r"\bs?t2[a-z]*\b", Weighting.T2, 4),
)

_AGENT = (
    r"(?:contrast\w*|kontrast\w*|km|gad\w*|gd\w*|dtpa|inj\w*|mdc|cm|enh\w*|dotarem|magnevist|prohance|omniscan|"
    r"multihance|clariscan|primovist|c)"
)

_WITHOUT = r"(?:without|wo|w o|no|non?|ohne|sans|sin|sem|senza|zonder|bez|before|avant|vor|prima|pre|prae)"

# Positive: with contrast medium. In this order, each match taken out, so that 'non contrast' is not also 'contrast'.
_CONTRAST_WORDS: tuple[tuple[str, float], ...] = (
    (rf"\b{_WITHOUT} ((?!post)\w+ )??{_AGENT}\b", -6),
    (r"\b(non|pre|un|no)(contrast\w*|kontrast\w*|enhanced|gad\w*|gd|inj\w*|con)\b", -6),
    (r"\bs?t1w?i?(n|nat\w*|pre)\b", -6),
    (r"\b(pre|nativ\w*|nat|plain|without|wo|ohne|sans)\b", -5),
    (r"\b(c|ce)t1w?\b|\bs?t1w?i? ?(c|ce|gd|gad\w*|km|post|pc|cm)\b|\bs?t1w?i?post\w*", 6),
    (rf"\+ ?{_AGENT}\b|\bc ?\+|\bt1w? ?\+", 6),
    (r"\b(ce|km|gd\w*|gad\w*|\w*contrast\w*|\w*kontrast\w*|mdc|inj\w*|enh\w*|postcon\w*|postg\w*)\b", 5),
    (r"\b(dotarem|magnevist|prohance|omniscan|multihance|clariscan|primovist|dtpa)\b", 5),
    (r"\b(post|pos|nach|apres|dopo|after|delayed)\b", 4),
)
# Log-odds that a T1 has contrast medium when nothing says so: it is native more often than not, and nearly always when
# another T1 of the study is known to have it.
_CONTRAST_PRIOR, _CONTRAST_PRIOR_BESIDE_T1C = -1.0, -3.0
_AGENT_GIVEN = 4.5  # less than an explicit 'pre': some scanners copy the agent to every series of the study
_NO_AGENT = re.compile(r"^\W*(no|none|non|without|n\W?a|0|ohne|null)?\W*$", re.IGNORECASE)

# Words about treatment or the whole examination, not the image; and names of what an image was registered to.
_MISLEADING = re.compile(
    r"\b(post|pre|after|before|nach|vor) ?(op\w*|surg\w*|rt|radi\w*|chemo\w*|treat\w*|therap\w*|resec\w*|rx|biops\w*"
    r"|crani\w*|fossa)\b"
    r"|\b(head|brain|kopf) (and |und )?(neck|hals)\b"
    r"|\b(w|with) ?(and|or|\+)? ?(without|wo|w o)\b( contrast\w*| gad\w*)?"
    r"|\b(to|reg|registered( to)?|coreg|in|onto) ?s?t[12]\w*( space)?\b|2t[12]\w*"
)


class PhysicsRule(NamedTuple):
    """Ranges of TR, TE and TI in ms (``ti_ms=None``: no inversion) and kinds of scanning sequence."""

    text: str
    about: Weighting
    weight: float
    tr_ms: tuple[float, float]
    te_ms: tuple[float, float]
    ti_ms: tuple[float, float] | None = None
    needs: frozenset[str] = frozenset()
    excludes: frozenset[str] = frozenset()


_GR, _EP, _IR = frozenset({"GR"}), frozenset({"EP"}), frozenset({"IR"})
_ANY = (0.0, math.inf)

# The first that fits speaks.
_PHYSICS: tuple[PhysicsRule, ...] = (
    PhysicsRule(
        "an inversion that nulls water, with a long TE", Weighting.FLAIR, 6, (3500, 20000), (60, 700), (1400, 3500)
    ),
    PhysicsRule("an inversion that nulls fat", Weighting.OTHER, 5, (1500, 20000), (8, 200), (60, 320)),
    PhysicsRule("a T1 inversion with a short TE", Weighting.T1, 5, (0, 3600), (0, 45), (320, 1400)),
    PhysicsRule("echo-planar", Weighting.OTHER, 4, _ANY, _ANY, None, _EP),
    PhysicsRule("a gradient echo with a long TE (T2*)", Weighting.OTHER, 4, _ANY, (12, 100), None, _GR),
    PhysicsRule("a spoiled gradient echo", Weighting.T1, 3, (2, 60), (0, 12), None, _GR),
    PhysicsRule("a gradient echo with short TR and TE", Weighting.T1, 4, (60, 800), (0, 12), None, _GR),
    PhysicsRule("an inversion of unknown time with a long TE", Weighting.FLAIR, 3, (3500, 20000), (60, 700), None, _IR),
    PhysicsRule("short TR and TE", Weighting.T1, 5, (200, 1200), (0, 40), None, frozenset(), _GR | _EP | _IR),
    PhysicsRule("long TR and TE", Weighting.T2, 5, (1700, 20000), (60, 700), None, frozenset(), _GR | _EP | _IR),
    PhysicsRule(
        "a long TR with a short TE (proton density)",
        Weighting.OTHER,
        4,
        (1500, 20000),
        (0, 50),
        None,
        frozenset(),
        _GR | _EP | _IR,
    ),
)


_NAMES_IT = 3  # weight of a word that is the name of a weighting, rather than of a pulse sequence used for it


class Clue(NamedTuple):
    """One piece of evidence, in words."""

    about: Weighting
    weight: float
    text: str


def guess(words: str, tags: DicomTags | None = None, beside_t1c: bool = False) -> Guess:
    """Say which sequence a volume seems to be; pixels are not looked at.

    Args:
        words: all text that may say what it is: name of the file, description of the series.
        tags: what its header says, where it has one.
        beside_t1c: another volume of the study is known to be T1 with contrast.
    """
    words = normalised(words)
    clues = word_clues(words) + _tag_clues(tags)
    weighting, confidence = _most_likely(clues)
    if weighting is None:
        return Guess(None, 1 - confidence, "neither its name nor its tags say what it is")
    supporting = [clue.text for clue in clues if clue.about is weighting]
    against = [clue.text for clue in clues if clue.about is not weighting]
    sequence = {Weighting.T2: Modality.T2W, Weighting.FLAIR: Modality.T2F}.get(weighting)
    if weighting is Weighting.T1:
        probability, contrast_clues = _contrast(words, tags, beside_t1c)
        enhanced = probability > 0.5
        sequence = Modality.T1C if enhanced else Modality.T1N
        confidence *= probability if enhanced else 1 - probability
        supporting += [text for weight, text in contrast_clues if (weight > 0) is enhanced]
        against += [text for weight, text in contrast_clues if (weight > 0) is not enhanced]
    return Guess(sequence, confidence, _reason(supporting, against))


def _reason(supporting: list[str], against: list[str]) -> str:
    reason = ", ".join(dict.fromkeys(supporting))
    return f"{reason}; against it: {', '.join(dict.fromkeys(against))}" if against else reason


def normalised(words: str) -> str:
    """Lower case without accents, separators and misleading phrases; ``+`` and ``*`` carry meaning and stay."""
    text = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    text = re.sub(r"(?<=[a-z])(?=T[12]|FLAIR|ADC|CB[FV])", " ", text).lower()  # as in 'AxT1'
    text = re.sub(r"(?<![a-z0-9])(sub|ses|run|acq|dir|rec|task)-[a-z0-9]+", " ", text)  # BIDS entities
    text = re.sub(r"\bw/o\b|\bc-(?=\s|$|_|\))", " without ", text)
    text = re.sub(r"\bk\.m\.?|\bc\.m\.?", "km", text)
    text = re.sub(r"[^a-z0-9+*]+", " ", text)
    return " ".join(_MISLEADING.sub(" ", text).split())


def word_clues(words: str) -> list[Clue]:
    """What the :func:`normalised` words say about the weighting."""
    found: list[tuple[WordRule, str]] = []
    for rule in _WEIGHTING_WORDS:
        if match := re.search(rule.pattern, words):
            found.append((rule, _said(match)))
            words = re.sub(rule.pattern, " ", words)
    named = any(rule.about is not Weighting.OTHER and rule.weight >= _NAMES_IT for rule, _ in found)
    return [
        Clue(rule.about, rule.beside if named and rule.beside is not None else rule.weight, text)
        for rule, text in found
    ]


def _tag_clues(tags: DicomTags | None) -> list[Clue]:
    if tags is None:
        return []
    clues = []
    if tags.angiography:
        clues.append(Clue(Weighting.OTHER, 8, "flagged as angiography"))
    if tags.b_value is not None:
        clues.append(Clue(Weighting.OTHER, 8, f"diffusion b-value {tags.b_value:g}"))
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
    """The weighting with the most evidence and its share; ``None`` when there is no evidence for any."""
    scores = dict.fromkeys(Weighting, 0.0)
    for clue in clues:
        scores[clue.about] += clue.weight
    best = max(scores, key=lambda weighting: scores[weighting])
    if scores[best] < 1:
        return None, 0.0
    nothing_known = math.e
    return best, math.exp(scores[best]) / (nothing_known + sum(math.exp(score) for score in scores.values()))


def _contrast(words: str, tags: DicomTags | None, beside_t1c: bool) -> tuple[float, list[tuple[float, str]]]:
    """Probability of contrast medium, and what was found for it (positive) and against it."""
    clues: list[tuple[float, str]] = []
    for pattern, weight in _CONTRAST_WORDS:
        if match := re.search(pattern, words):
            clues.append((weight, _said(match)))
            words = re.sub(pattern, " ", words)
    if tags is not None and tags.contrast_agent is not None:
        none_given = _NO_AGENT.match(tags.contrast_agent) is not None
        clues.append((-3 if none_given else _AGENT_GIVEN, f"contrast agent '{tags.contrast_agent}'"))
    prior = _CONTRAST_PRIOR_BESIDE_T1C if beside_t1c else _CONTRAST_PRIOR
    log_odds = prior + sum(weight for weight, _ in clues)
    return 1 / (1 + math.exp(-log_odds)), clues or [(prior, "nothing speaks of contrast medium")]


def _said(match: re.Match[str]) -> str:
    return f"called '{match.group().strip()}'"


# --- several volumes of one study ----------------------------------------------------------------------------------


# Names of masks and results: a whole word anywhere, or the last word alone (as in '_wt').
_LABEL_WORDS = re.compile(
    r"(^|[_\-. ])(seg|segmentation|segm|mask|masks|label|labels|labelmap|brainmask|roi|annotation|groundtruth|lesions?"
    r"|prob|probability|probabilities)([_\-. ]|\d*$)|(^|[_\-. ])(wt|tc|et|gt|truth|enhancing|pred|prediction)\d*$",
    re.IGNORECASE,
)


def is_label_name(stem: str) -> bool:
    """Whether a file (without its suffix) or node is called like a label map, a mask or a probability map."""
    return _LABEL_WORDS.search(stem) is not None


def is_reformat(words: str, image_type: Collection[str] = ()) -> bool:
    """Computed from another series of the study (a multi-planar reformat). Siemens' ``t1_mpr`` is an MPRAGE."""
    values = {value.upper() for value in image_type}
    return bool(values & {"MPR", "REFORMATTED", "DERIVED"}) or bool(
        re.search(r"(?<!t1 )\bmpr\b|\breformat", normalised(words))
    )


def guess_together(described: Sequential[tuple[str, DicomTags | None]], t1c_given: bool = False) -> list[Guess]:
    """A guess for the words and tags of each volume of one study.

    Whether a plain T1 is native depends on whether the study has a T1 with contrast (or ``t1c_given`` besides).
    """
    alone = [guess(*one, beside_t1c=t1c_given) for one in described]
    if not any(one.sequence is Modality.T1C and one.confidence >= ACCEPTED_CONFIDENCE for one in alone):
        return alone
    return [
        first if first.sequence is Modality.T1C else guess(*one, beside_t1c=True)
        for one, first in zip(described, alone, strict=True)
    ]


def rivals_for(sequence: Modality, guesses: Sequential[Guess]) -> list[int]:
    """The indices of the guesses that claim ``sequence``, without those that the best is clearly better than.

    The best comes first. None when there is no claim, or the best is too unsure.
    """
    claims = [index for index, one in enumerate(guesses) if one.sequence is sequence]
    claims.sort(key=lambda index: -guesses[index].confidence)
    if not claims or guesses[claims[0]].confidence < ACCEPTED_CONFIDENCE:
        return []
    best = guesses[claims[0]].confidence
    rivals = [index for index in claims if best - guesses[index].confidence < CLEAR_MARGIN]
    if sequence is Modality.T1N:  # better voxels are no argument for one that may have contrast medium
        rivals = [index for index in rivals if guesses[index].confidence >= SURELY_NATIVE] or rivals
    return rivals


def may_be_told_by_voxels(sequence: Modality, best: Guess) -> bool:
    """Whether among rivals the better volume may be taken, or one of them may show something else."""
    return sequence is not Modality.T1N or best.confidence >= SURELY_NATIVE


@dataclass(frozen=True)
class NameGuess:
    """The volume (by its key) that was taken for a sequence by its name, how sure that is (0 to 1) and why."""

    id: str
    confidence: float
    reason: str


def assign_names(names: Mapping[str, str], t1c_given: bool = False) -> dict[Modality, NameGuess]:
    """Find the sequences among volumes of which only the names are known.

    As :func:`GliomaSegLib.study.reading.identify`, but what that would refuse is left open: a sequence that is
    unsure, or that two volumes claim equally well.

    Args:
        names: by a key of the caller's, such as the id of a node.
        t1c_given: another volume is known to be T1 with contrast.
    """
    scans = {key: name for key, name in names.items() if not is_label_name(name)}
    keys, guesses = list(scans), guess_together([(name, None) for name in scans.values()], t1c_given)
    found = {}
    for sequence in Modality:
        rivals = rivals_for(sequence, guesses)
        originals = [index for index in rivals if not is_reformat(scans[keys[index]])]
        if len(rivals) > 1 and len(originals) == 1 and may_be_told_by_voxels(sequence, guesses[rivals[0]]):
            rivals = originals
        if len(rivals) == 1:
            best = guesses[rivals[0]]
            found[sequence] = NameGuess(keys[rivals[0]], best.confidence, best.reason)
    return found
