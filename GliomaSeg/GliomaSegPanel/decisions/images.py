"""The choice of volumes for the modalities, conflicts with their names, and the cost of missing modalities."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, listed
from GliomaSegLib.zoo.expectation import cost_of_missing
from GliomaSegPanel.decisions.situation import Situation, chosen_sequences, lacks_preoperative
from GliomaSegPanel.translation import _

if TYPE_CHECKING:
    from GliomaSegLib.scene.dicom import SeriesNote
    from GliomaSegLib.study.better_volume import VolumeShape
    from GliomaSegLib.study.identification import Guess

# The tables of GliomaSegLib.study.identification are compiled when they are first needed: imported in the functions.


class FilledIn(NamedTuple):
    """A volume that was chosen for the user.

    Attributes:
        node_id: of the volume; empty if the user must choose among several.
        tooltip: why it was chosen.
        question: a sentence if other volumes are possible too, else empty.
    """

    node_id: str
    tooltip: str
    question: str = ""


def fill_in(
    names: Mapping[str, str],
    chosen: Mapping[Modality, str],
    left_open: Collection[Modality] = (),
    shapes: Mapping[str, VolumeShape] | None = None,
) -> dict[Modality, FilledIn]:
    """Choose volumes for modalities without one, by their names.

    If several volumes have names of one modality, the better one by its voxels is chosen and the user is asked.

    Args:
        names: of the volumes of the scene, by node id.
        chosen: choices that are kept; these volumes are not used for other modalities.
        left_open: modalities that the user has set to none.
        shapes: of the volumes, by node id.
    """
    from GliomaSegLib.study.identification import assign_names

    free = {node: name for node, name in names.items() if node not in chosen.values()}
    t1c_given = Modality.T1C in chosen
    found = assign_names(free, t1c_given)
    filled = {}
    for sequence in Modality:
        if sequence in chosen or sequence in left_open:
            continue
        if guess := found.get(sequence):
            filled[sequence] = FilledIn(guess.id, why_filled_in(guess.confidence, guess.reason))
        elif one := _filled_in_of_several(sequence, free, t1c_given, shapes or {}):
            filled[sequence] = one
    return filled


def _filled_in_of_several(
    sequence: Modality, names: Mapping[str, str], t1c_given: bool, shapes: Mapping[str, VolumeShape]
) -> FilledIn | None:
    """The best of the volumes with names of one modality, with a question; ``None`` if there is none."""
    from GliomaSegLib.study.better_volume import VolumeShape, why_better
    from GliomaSegLib.study.identification import guess_together, is_label_name, rivals_for, voxels_may_decide

    scans = {node: name for node, name in names.items() if not is_label_name(name)}
    guesses = guess_together([(name, None) for name in scans.values()], t1c_given)
    rivals = rivals_for(sequence, guesses)
    if len(rivals) < 2:
        return None
    nodes = list(scans)
    titles = listed([f"'{scans[nodes[index]]}'" for index in rivals])
    if not voxels_may_decide(sequence, guesses[rivals[0]]):
        question = _("{count} volumes may be {sequence}: {names}; choose one.")
        return FilledIn("", "", question.format(count=len(rivals), sequence=sequence.title, names=titles))
    shape = {index: shapes.get(nodes[index], VolumeShape()) for index in rivals}
    best = next(
        (
            index
            for index in rivals
            if all(why_better(sequence, shape[index], shape[other]) for other in rivals if other != index)
        ),
        rivals[0],
    )
    question = _("{count} volumes may be {sequence}: {names}; '{chosen}' is chosen, choose another one if it is wrong.")
    name, guess = scans[nodes[best]], guesses[best]
    return FilledIn(
        nodes[best],
        why_filled_in(guess.confidence, guess.reason),
        question.format(count=len(rivals), sequence=sequence.title, names=titles, chosen=name),
    )


def why_filled_in(confidence: float, reason: str) -> str:
    """The tooltip of a selector that the panel has filled in."""
    return _("Filled in: {reason} ({percent} % sure). Choose another volume if this is wrong.").format(
        reason=reason, percent=round(100 * confidence)
    )


def series_title(series: SeriesNote) -> str:
    """A DICOM series: its number, description and number of images."""
    text = _("Series {number}: {description}, {count} images") if series.number else _("{description}, {count} images")
    return text.format(number=series.number, description=series.description, count=series.images)


def missing_cost(situation: Situation) -> str:
    """A sentence on the loss of accuracy by missing modalities with the chosen model; may be empty."""
    if situation.card is None or situation.from_folder or not chosen_sequences(situation):
        return ""
    if lacking := lacks_preoperative(situation.card, situation):
        return lacking
    try:
        return cost_of_missing(situation.card, chosen_sequences(situation), earlier=True) or ""
    except InputError as error:
        return str(error)


def name_conflicts(situation: Situation) -> tuple[str, ...]:
    """A sentence for each volume whose name indicates another modality than the one for which it is chosen."""
    wrong = {
        sequence: guess
        for sequence in chosen_sequences(situation)
        if (guess := _contradicting(sequence, situation.names.get(sequence, ""))) is not None
    }
    sentences, done = [], set()
    for sequence, guess in wrong.items():
        other = guess.sequence
        if sequence in done:
            continue
        name = situation.names[sequence]
        if other in wrong and wrong[other].sequence is sequence:
            text = _("{one} and {other} seem to be swapped: '{name}' is chosen as {one}, '{second}' as {other}.")
            sentences.append(
                text.format(one=sequence.title, other=other.title, name=name, second=situation.names[other])
            )
            done |= {sequence, other}
        elif other is None:
            text = _("'{name}' is chosen as {sequence}, but by its name it is no such image ({reason}); check it.")
            sentences.append(text.format(name=name, sequence=sequence.title, reason=guess.reason))
        else:
            text = _("'{name}' is chosen as {sequence}, but by its name it is {other} ({reason}); check it.")
            sentences.append(text.format(name=name, sequence=sequence.title, other=other.title, reason=guess.reason))
    return (*sentences, *_apart(tuple(situation.names.get(one, "") for one in chosen_sequences(situation))))


@lru_cache(maxsize=64)
def _apart(names: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence if two of the names are those of different patients or examinations."""
    from GliomaSegLib.study.patient_names import named_apart

    for one, other in combinations(names, 2):
        if called := named_apart(one, other):
            text = _("'{one}' and '{other}' are named {names}; check that both are of one patient and examination.")
            return (text.format(one=one, other=other, names=called),)
    return ()


@lru_cache(maxsize=64)
def _contradicting(sequence: Modality, name: str) -> Guess | None:
    """The guess from a name, if it clearly is another modality than ``sequence``."""
    from GliomaSegLib.study.identification import ACCEPTED_CONFIDENCE, SURELY_NATIVE, guess, word_clues
    from GliomaSegLib.study.vocabulary import normalised

    found = guess(name)
    if found.sequence is sequence:
        return None
    if found.sequence is None:
        return found if any(clue.excludes for clue in word_clues(normalised(name))) else None
    # Many names of T1 with contrast do not mention it.
    merely_silent = sequence is Modality.T1C and found.sequence is Modality.T1N
    return found if found.confidence >= (SURELY_NATIVE if merely_silent else ACCEPTED_CONFIDENCE) else None


def chosen_twice(situation: Situation) -> str | None:
    """A sentence if one volume is chosen for two modalities."""
    given = chosen_sequences(situation)
    for position, sequence in enumerate(given):
        for other in given[position + 1 :]:
            if situation.chosen[sequence] == situation.chosen[other]:
                return _("{one} and {other} are the same volume; set one of them to another volume or to none.").format(
                    one=sequence.title, other=other.title
                )
    return None
