"""What a model can still do when sequences are missing, and what that costs.

On plain values, so that the cards (:mod:`GliomaSegLib.zoo.card`) and a panel that has nothing but the standard library
(:mod:`GliomaSegLib.zoo.catalogue`) say the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from GliomaSegLib.case import Sequence
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region


class Figure(Protocol):
    """Mean Dice per region on ``cases`` cases of ``data`` with just ``sequences`` present."""

    @property
    def data(self) -> str: ...

    @property
    def cases(self) -> int | None: ...

    @property
    def sequences(self) -> tuple[Sequence, ...]: ...

    @property
    def dice(self) -> Mapping[Region, float]: ...


AFigure = TypeVar("AFigure", bound=Figure)


@dataclass(frozen=True)
class Needs(Generic[AFigure]):
    """What a card says of its model's inputs.

    Attributes:
        model: the card's id.
        sequences: those that the network takes.
        mandatory: those of them without which it gives nothing.
        regions: what it gives when all are there.
        regions_without: per missing sequence the regions that it can still give; by default all.
        measured: its accuracy on various subsets of the sequences.
    """

    model: str
    sequences: tuple[Sequence, ...]
    regions: tuple[Region, ...]
    mandatory: tuple[Sequence, ...] = ()
    regions_without: Mapping[Sequence, tuple[Region, ...]] = field(default_factory=dict)
    measured: tuple[AFigure, ...] = ()


def regions_given(needs: Needs, present: Collection[Sequence]) -> tuple[Region, ...]:
    """The regions that the model gives when only ``present`` sequences are there.

    Raises:
        InputError: the model cannot work without one that is missing.
    """
    missing = _missing(needs, present)
    refused = [sequence for sequence in missing if sequence in needs.mandatory]
    if len(missing) == len(needs.sequences):
        wanted = ", ".join(sequence.title for sequence in needs.sequences)
        raise InputError(f"The model '{needs.model}' needs at least one of {wanted}, and the case has none of them.")
    if refused:
        raise InputError(
            f"The model '{needs.model}' cannot work without {refused[0].title} ({refused[0].value}), which the case "
            "does not have; choose another model (gliomaseg models list) or give the sequence."
        )
    allowed = [needs.regions_without.get(sequence, needs.regions) for sequence in missing]
    return tuple(region for region in needs.regions if all(region in one for one in allowed))


def measured_with(needs: Needs[AFigure], present: Collection[Sequence]) -> AFigure | None:
    """The measured accuracy on just the ``present`` sequences, if there is one."""
    wanted = {sequence for sequence in needs.sequences if sequence in present}
    return next((figure for figure in needs.measured if set(figure.sequences) == wanted), None)


def cost_of_missing(needs: Needs, present: Collection[Sequence]) -> str | None:
    """One paragraph on what is missing and what that costs in accuracy; ``None`` when nothing is missing.

    Raises:
        InputError: as :func:`regions_given`.
    """
    missing = _missing(needs, present)
    if not missing:
        return None
    given = regions_given(needs, present)
    text = f"Missing: {', '.join(sequence.title for sequence in missing)}."
    withheld = [region.value for region in needs.regions if region not in given]
    if withheld:
        text += f" Without {'it' if len(missing) == 1 else 'them'} {' and '.join(withheld)} cannot be given."
    full, now = measured_with(needs, needs.sequences), measured_with(needs, present)
    if full is None or now is None:
        return text + " What that costs in accuracy has not been measured for this model."
    changes = ", ".join(
        f"{region.value} {full.dice[region]:.2f} → {now.dice[region]:.2f}"
        for region in given
        if region in full.dice and region in now.dice
    )
    return text + f" Mean Dice, all sequences → these alone, on {now.cases} cases of {now.data}: {changes}."


def _missing(needs: Needs, present: Collection[Sequence]) -> list[Sequence]:
    return [sequence for sequence in needs.sequences if sequence not in present]
