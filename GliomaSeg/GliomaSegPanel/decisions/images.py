"""Which loaded volume is which sequence, and what missing sequences cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.zoo.input_requirements import cost_of_missing
from GliomaSegPanel.decisions.situation import Situation, chosen_sequences, lacks_preoperative
from GliomaSegPanel.translation import _


class FilledIn(NamedTuple):
    """A volume that was chosen for the user, and the tooltip that says why."""

    node_id: str
    tooltip: str


def fill_in(
    names: Mapping[str, str], chosen: Mapping[Modality, str], left_open: Collection[Modality] = ()
) -> dict[Modality, FilledIn]:
    """Volumes for the sequences that are not chosen yet, identified by their names.

    Args:
        names: of the volumes of the scene, by node id.
        chosen: what stays as it is; these volumes are not used for another sequence.
        left_open: sequences that the user has set to none.
    """
    # Imported here: its tables are compiled when they are first needed.
    from GliomaSegLib.study.identification import assign_names

    free = {node: name for node, name in names.items() if node not in chosen.values()}
    found = assign_names(free, t1c_given=Modality.T1C in chosen)
    return {
        sequence: FilledIn(guess.id, why_filled_in(guess.confidence, guess.reason))
        for sequence, guess in found.items()
        if sequence not in chosen and sequence not in left_open
    }


def why_filled_in(confidence: float, reason: str) -> str:
    """The tooltip of a selector that was filled in."""
    return _("Filled in: {reason} ({percent} % sure). Choose another volume if this is wrong.").format(
        reason=reason, percent=round(100 * confidence)
    )


def missing_cost(situation: Situation) -> str:
    """What the missing sequences cost with the chosen model; empty when nothing is missing or not yet known."""
    if situation.entry is None or situation.from_folder or not chosen_sequences(situation):
        return ""
    if lacking := lacks_preoperative(situation.entry, situation):
        return lacking
    try:
        return cost_of_missing(situation.entry.needs, chosen_sequences(situation), earlier=True) or ""
    except InputError as error:
        return str(error)


def chosen_twice(situation: Situation) -> str | None:
    """A sentence when one volume is chosen for two sequences."""
    given = chosen_sequences(situation)
    for position, sequence in enumerate(given):
        for other in given[position + 1 :]:
            if situation.chosen[sequence] == situation.chosen[other]:
                return _("{one} and {other} are the same volume; set one of them to another volume or to none.").format(
                    one=sequence.title, other=other.title
                )
    return None
