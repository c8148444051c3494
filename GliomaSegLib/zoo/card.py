"""Model cards: purpose, inputs, network, weights, licence and accuracy of a model, as data.

A card is one JSON file in ``Resources/models``, or in a user's store (``gliomaseg models add``). A new model needs only
a card; a new kind of network needs code (a family, see :mod:`GliomaSegLib.zoo.loaders`).

The classes here and in :mod:`.card_network` and :mod:`.card_weights` are plain dataclasses, so that a panel reads the
zoo with the standard library alone (:mod:`.catalogue`). A user's card is checked with pydantic when it is added
(:mod:`.card_check`); ``Resources/card.schema.json`` is generated from these classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from GliomaSegLib.case import Modality, Preoperative, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Option, Postprocessing, Task, Vote
from GliomaSegLib.zoo.card_network import CardPart, Inference, NetworkSpec, Normalisation, Output, Space, checked
from GliomaSegLib.zoo.card_weights import ShippedFile, Weights

ENSEMBLE = "ensemble"
"""The family of cards without a network that fuse the predictions of other models; its one parameter is ``vote``
(:class:`GliomaSegLib.options.Vote`)."""


class Status(Option):
    """How far the model of a card was tested."""

    VERIFIED = "verified"  # ran on real images with the real weights
    PARITY = "parity"  # equal to its own package on generated weights
    UNPROVEN = "unproven"
    DEMONSTRATION = "demonstration"  # trained on too little to be of use; shows how it is done


@dataclass(frozen=True, kw_only=True)
class Inputs(CardPart):
    """The input channels of the network, and what it can do without some of them."""

    sequences: tuple[Modality, ...]
    preoperative: tuple[Preoperative, ...] = checked(
        (), "Further channels, after the sequences, from the study before surgery."
    )
    mandatory: tuple[Modality, ...] = ()
    sets: tuple[tuple[Modality, ...], ...] = checked(
        (),
        "Where it works with certain combinations of sequences only, perhaps with a network for each: the "
        "combinations, best first. A case is given the first whose sequences it has.",
    )
    regions_without: dict[Modality, tuple[Region, ...]] = dataclasses.field(
        default_factory=dict,
        metadata={"description": "Per missing sequence the regions that the model can still give."},
    )


@dataclass(frozen=True, kw_only=True)
class RegionAccuracy(CardPart):
    """More on one region than its mean Dice, over the cases whose reference has it."""

    cases: int = checked(gt=0)
    missed: int = checked(about="Cases in which less than a tenth of the reference was found.", ge=0)
    volume_error: tuple[float, float] = checked(
        about="5th and 95th percentile of (volume - reference) / reference; -0.5: half of it is lacking."
    )


@dataclass(frozen=True, kw_only=True)
class Accuracy(CardPart):
    """Mean Dice per region on a named set of cases with the named sequences present."""

    data: str
    cases: int | None = None
    sequences: tuple[Modality, ...]
    preoperative: tuple[Preoperative, ...] = ()
    dice: dict[Region, float]
    regions: dict[Region, RegionAccuracy] = dataclasses.field(default_factory=dict)
    balanced_accuracy: float | None = checked(None, "Of residual tumour against gross total resection, per patient.")
    source: str = checked(about="A publication, or the command that makes the figure.")
    date: str | None = None
    remark: str | None = None


@dataclass(frozen=True, kw_only=True)
class Parity(CardPart):
    """A comparison with the model's own package: the same generated weights, the same image, the labels compared."""

    package: str
    version: str
    date: str
    voxels: int = checked(about="compared", gt=0)
    mismatches: int = checked(about="Different labels further than 0.01 of probability from the threshold.", ge=0)
    command: str
    remark: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verification(CardPart):
    """A run on real images with the real weights, and what was seen."""

    data: str
    cases: int = checked(gt=0)
    date: str
    command: str
    finding: str


@dataclass(frozen=True, kw_only=True)
class Card(CardPart):
    """A model of the zoo."""

    id: str = checked(pattern="^[a-z0-9][a-z0-9.-]*$")
    title: str
    version: str
    summary: str
    task: Task
    time_points: tuple[TimePointKind, ...]
    inputs: Inputs
    space: Space | None = checked(None, "null: an ensemble's, whose members have their own.")
    normalisation: Normalisation | None = checked(None, "null: the family's own.")
    network: NetworkSpec
    inference: Inference | None = checked(None, "null: the family's own.")
    output: Output | None = checked(None, "null: the family's own.")
    training: str | None = checked(None, "A sentence on what it was trained on, shown wherever its result is shown.")
    regions: tuple[Region, ...] = checked(about="What it finds; none for a brain extractor.")
    thresholdable: tuple[Region, ...] = checked(
        (), "Regions whose probability map may be thresholded again by a reader."
    )
    postprocessing: Postprocessing = dataclasses.field(default_factory=Postprocessing)
    weights: Weights
    training_features: ShippedFile | None = checked(
        None,
        "What the network makes of its training cases, by which a case's distance to them is measured "
        "(python -m GliomaSegLib.cli.training_features); null: it is not measured.",
    )
    licence: str
    citation: str
    published: tuple[Accuracy, ...] = ()
    measured: tuple[Accuracy, ...] = ()
    parity: Parity | None = None
    verification: Verification | None = None
    status: Status

    def __post_init__(self) -> None:
        self._check_status()
        self._check_network()
        self._check_names()

    def _check_status(self) -> None:
        if self.status is Status.PARITY and self.parity is None:
            raise ValueError("the status 'parity' needs 'parity': what was compared with which package")
        if self.status is Status.PARITY and self.parity and self.parity.mismatches:
            raise ValueError("the status 'parity' needs a comparison without mismatches")
        if self.status is Status.VERIFIED and not (self.verification or self.measured):
            raise ValueError("the status 'verified' needs 'verification' or 'measured'")

    def _check_network(self) -> None:
        if (self.network.family == ENSEMBLE) is not bool(self.weights.members):
            raise ValueError(f"the family '{ENSEMBLE}' and 'weights.members' belong together")
        if self.weights.members:
            if self.network.parameters.get("vote") not in Vote.values() or len(self.network.parameters) > 1:
                raise ValueError(
                    f"an ensemble's 'network.parameters' are 'vote' alone, one of {', '.join(Vote.values())}"
                )
        elif self.space is None:
            raise ValueError("'space' says which grid the network sees; only an ensemble has none of its own")

    def _check_names(self) -> None:
        named = {*self.inputs.mandatory, *self.inputs.regions_without}.union(*self.inputs.sets)
        if foreign := sorted(sequence.value for sequence in named - set(self.inputs.sequences)):
            raise ValueError(f"'{foreign[0]}' is named in 'inputs' and is none of its sequences")
        if bool(self.regions) == (self.task is Task.BRAIN_EXTRACTION):
            raise ValueError("a model finds regions, a brain extractor none")

    @property
    def loader_parameters(self) -> dict[str, Any]:
        """The parameters for a family's ``load``: those of the network, and the typed blocks of the card."""
        return self.network.parameters | {
            "sequences": self.inputs.sequences,
            "sets": self.inputs.sets,
            "preoperative": self.inputs.preoperative,
            "space": self.space,
            "normalisation": self.normalisation,
            "inference": self.inference,
            "output": self.output,
            "training_features": self.training_features,
        }

    # --- regions and accuracy with the sequences that are present -------------------------------------------------

    def sequences_used(self, present: Collection[Modality]) -> tuple[Modality, ...]:
        """The sequences that the network is given when only ``present`` ones are there, in its own order.

        Where it works with certain combinations only, the first whose sequences are all present; empty when there is
        none.
        """
        if self.inputs.sets:
            return next((one for one in self.inputs.sets if set(one) <= set(present)), ())
        return tuple(sequence for sequence in self.inputs.sequences if sequence in present)

    def regions_given(self, present: Collection[Modality], earlier: bool = False) -> tuple[Region, ...]:
        """The regions that the model gives when only ``present`` sequences are there.

        Args:
            earlier: whether the study before surgery is there.

        Raises:
            InputError: the model cannot work without one that is missing, or is a brain extractor.
        """
        inputs = self.inputs
        if not self.regions:
            raise InputError(f"The model '{self.id}' finds the brain and no tumour; choose another one for the tumour.")
        if inputs.preoperative and not earlier:
            wanted = " and ".join(channel.title for channel in inputs.preoperative)
            raise InputError(
                f"The model '{self.id}' also takes {wanted}; give the study before surgery (--preoperative), or choose "
                "another model (gliomaseg models list)."
            )
        missing = self.missing(present)
        if len(missing) == len(inputs.sequences):
            raise InputError(
                f"The model '{self.id}' needs at least one of {listed_titles(inputs.sequences)}, and the case has "
                "none of them."
            )
        if refused := [sequence for sequence in missing if sequence in inputs.mandatory]:
            raise InputError(
                f"The model '{self.id}' cannot work without {refused[0].title} ({refused[0].value}), which the case "
                "does not have; choose another model (gliomaseg models list) or give the sequence."
            )
        if not self.sequences_used(present):
            known = "; or ".join(listed_titles(combination) for combination in inputs.sets)
            raise InputError(
                f"The model '{self.id}' cannot work with {listed_titles(present)} alone; it needs {known} (gliomaseg "
                "models list shows others)."
            )
        allowed = [inputs.regions_without.get(sequence, self.regions) for sequence in missing]
        return tuple(region for region in self.regions if all(region in one for one in allowed))

    def figures_with(self, present: Collection[Modality]) -> tuple[Accuracy, ...]:
        """Every measured accuracy on just the sequences that it uses of the ``present`` ones."""
        wanted = set(self.sequences_used(present))
        return tuple(figure for figure in self.measured if set(figure.sequences) == wanted)

    def wrong_time(self, kind: TimePointKind) -> str | None:
        """A sentence when the model is not made for studies of this time point; ``None`` when it is, or when the time
        point is not known."""
        if kind is TimePointKind.UNKNOWN or kind in self.time_points:
            return None
        meant = " or ".join(one.value for one in self.time_points)
        return f"The model '{self.id}' is made for {meant} studies; this one is {kind.value}."

    def missing(self, present: Collection[Modality]) -> list[Modality]:
        """The sequences that it takes and that are not ``present``."""
        return [sequence for sequence in self.inputs.sequences if sequence not in present]


def listed_titles(sequences: Collection[Modality]) -> str:
    """As in "T1, FLAIR"."""
    return ", ".join(sequence.title for sequence in sequences)
