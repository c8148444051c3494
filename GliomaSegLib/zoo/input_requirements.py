"""What a model can still do when sequences are missing, and what that costs.

On plain values, so that the cards (:mod:`GliomaSegLib.zoo.card`) and a panel that has nothing but the standard library
(:mod:`GliomaSegLib.zoo.catalogue`) say the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from GliomaSegLib.case import Modality, Preoperative, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region


class Figure(Protocol):
    """Mean Dice per region on ``cases`` cases of ``data`` with just ``sequences`` present."""

    @property
    def data(self) -> str: ...

    @property
    def cases(self) -> int | None: ...

    @property
    def sequences(self) -> tuple[Modality, ...]: ...

    @property
    def dice(self) -> Mapping[Region, float]: ...


AFigure = TypeVar("AFigure", bound=Figure)


@dataclass(frozen=True)
class InputRequirements(Generic[AFigure]):
    """What a card says of its model's inputs.

    Attributes:
        model: the card's id.
        sequences: those that the network takes.
        mandatory: those of them without which it gives nothing.
        regions: what it gives when all are there.
        regions_without: per missing sequence the regions that it can still give; by default all.
        measured: its accuracy on various subsets of the sequences.
        sets: where it works with certain combinations of sequences only, these, best first; else empty.
        preoperative: what it also takes from the study before surgery.
    """

    model: str
    sequences: tuple[Modality, ...]
    regions: tuple[Region, ...]
    mandatory: tuple[Modality, ...] = ()
    regions_without: Mapping[Modality, tuple[Region, ...]] = field(default_factory=dict)
    measured: tuple[AFigure, ...] = ()
    sets: tuple[tuple[Modality, ...], ...] = ()
    preoperative: tuple[Preoperative, ...] = ()


def used(needs: InputRequirements, present: Collection[Modality]) -> tuple[Modality, ...]:
    """The sequences that the model looks at when only ``present`` ones are there, in its own order.

    Where it works with certain combinations only, the first that is there wholly; empty when none is.
    """
    if needs.sets:
        return next((combination for combination in needs.sets if set(combination) <= set(present)), ())
    return tuple(sequence for sequence in needs.sequences if sequence in present)


def regions_given(needs: InputRequirements, present: Collection[Modality], earlier: bool = False) -> tuple[Region, ...]:
    """The regions that the model gives when only ``present`` sequences are there.

    Args:
        earlier: whether the study before surgery is there.

    Raises:
        InputError: the model cannot work without one that is missing, or does not look for tumour at all.
    """
    if not needs.regions:
        raise InputError(f"The model '{needs.model}' finds the brain and no tumour; choose another one for the tumour.")
    if needs.preoperative and not earlier:
        wanted = " and ".join(channel.title for channel in needs.preoperative)
        raise InputError(
            f"The model '{needs.model}' also takes {wanted}; give the study before surgery (--preoperative), or choose "
            "another model (gliomaseg models list)."
        )
    missing = _missing(needs, present)
    refused = [sequence for sequence in missing if sequence in needs.mandatory]
    if len(missing) == len(needs.sequences):
        raise InputError(
            f"The model '{needs.model}' needs at least one of {_titles(needs.sequences)}, and the case has none of "
            "them."
        )
    if refused:
        raise InputError(
            f"The model '{needs.model}' cannot work without {refused[0].title} ({refused[0].value}), which the case "
            "does not have; choose another model (gliomaseg models list) or give the sequence."
        )
    if not used(needs, present):
        known = "; or ".join(_titles(combination) for combination in needs.sets)
        raise InputError(
            f"The model '{needs.model}' cannot work with {_titles(present)} alone; it needs {known} (gliomaseg models "
            "list shows others)."
        )
    allowed = [needs.regions_without.get(sequence, needs.regions) for sequence in missing]
    return tuple(region for region in needs.regions if all(region in one for one in allowed))


def figures_with(needs: InputRequirements[AFigure], present: Collection[Modality]) -> tuple[AFigure, ...]:
    """Every measured accuracy on just the ``present`` sequences."""
    wanted = set(used(needs, present))
    return tuple(figure for figure in needs.measured if set(figure.sequences) == wanted)


def measured_with(needs: InputRequirements[AFigure], present: Collection[Modality]) -> AFigure | None:
    """The first of :func:`figures_with`, if there is one."""
    return next(iter(figures_with(needs, present)), None)


def wrong_time(model: str, time_points: Collection[TimePointKind], kind: TimePointKind) -> str | None:
    """A sentence when the model is not made for studies of this time point; ``None`` when it is, or nobody knows."""
    if kind is TimePointKind.UNKNOWN or kind in time_points:
        return None
    meant = " or ".join(one.value for one in time_points)
    return f"The model '{model}' is made for {meant} studies; this one is {kind.value}."


def cost_of_missing(needs: InputRequirements, present: Collection[Modality], earlier: bool = False) -> str | None:
    """One paragraph on what is missing and what that costs in accuracy; ``None`` when nothing is missing.

    Raises:
        InputError: as :func:`regions_given`.
    """
    missing = _missing(needs, present)
    if not missing:
        return None
    given = regions_given(needs, present, earlier)
    text = f"Missing: {_titles(missing)}."
    if unused := [one.title for one in needs.sequences if one in present and one not in used(needs, present)]:
        text += f" {' and '.join(unused)} cannot be used without {'it' if len(missing) == 1 else 'them'}."
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


def _missing(needs: InputRequirements, present: Collection[Modality]) -> list[Modality]:
    return [sequence for sequence in needs.sequences if sequence not in present]


def _titles(sequences: Collection[Modality]) -> str:
    return ", ".join(sequence.title for sequence in sequences)
