"""Model cards: everything that is known of a model, as data.

A card is one JSON file in ``Resources/models``. Adding a model is adding a card; only a new kind of network needs
code (a family, see :mod:`GliomaSegLib.zoo.loaders`). The classes below are the schema; ``Resources/card.schema.json``
is generated from them for editors and other tools.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, HttpUrl, ValidationError, model_validator

from GliomaSegLib.case import Sequence, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.record import Record
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo import missing


class Status(str, Enum):
    """How far a card is proven."""

    VERIFIED = "verified"  # ran on real images with the real weights
    PARITY = "parity"  # equal to its own package on generated weights
    UNPROVEN = "unproven"


class Inputs(Record):
    """The sequences that the network takes, in channel order, and what happens without some of them."""

    sequences: tuple[Sequence, ...]
    mandatory: tuple[Sequence, ...] = ()
    regions_without: dict[Sequence, tuple[Region, ...]] = Field(
        default_factory=dict, description="Per missing sequence the regions that the model can still give."
    )


class Space(Record):
    """The grid that the network sees. ``native`` keeps the reference's axes, ``atlas`` first aligns it to MNI152."""

    frame: Literal["native", "atlas"]
    spacing_mm: tuple[float, float, float] = Field(description="x, y, z")
    orientation: Annotated[str, Field(pattern="^[LR][AP][SI]$")] = "LPS"
    brain: Literal["stripped", "head"] = "stripped"


class NetworkSpec(Record):
    """Which code runs the model, and its parameters."""

    family: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Postprocessing(Record):
    """What is done to the labels after the model's own contract; zero switches a step off."""

    fill_holes_below_mm3: float = Field(default=0, ge=0)
    remove_islands_below_fraction: float = Field(default=0, ge=0, lt=1, description="of the largest component")
    remove_objects_below_mm3: float = Field(default=0, ge=0)


class WeightFile(Record):
    """One published file. ``sha256`` is ``None`` where its publisher gives none."""

    name: str
    url: HttpUrl
    size_bytes: int | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class ShippedFile(Record):
    """Weights that come with GliomaSeg, ready to be loaded: there is nothing to install."""

    path: str = Field(description="Below Resources.")
    size_bytes: int
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Weights(Record):
    """Where a model's weights come from and what may be done with them."""

    files: tuple[WeightFile, ...] = Field(default=(), description="What is fetched and converted.")
    shipped: ShippedFile | None = None
    licence: str
    attribution: str

    @model_validator(mode="after")
    def _come_from_one_place(self) -> Weights:
        if bool(self.files) == bool(self.shipped):
            raise ValueError("weights are either fetched ('files') or come with GliomaSeg ('shipped')")
        return self

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes, in bytes; files of unknown size count as zero."""
        return self.shipped.size_bytes if self.shipped else sum(file.size_bytes or 0 for file in self.files)


class Accuracy(Record):
    """Mean Dice per region on a named set of cases with the named sequences present."""

    data: str
    cases: int | None = None
    sequences: tuple[Sequence, ...]
    dice: dict[Region, float]
    source: str = Field(description="A publication, or the command that makes the figure.")
    date: str | None = None
    remark: str | None = None


class Card(Record):
    """A model of the zoo."""

    id: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9.-]*$")]
    title: str
    version: str
    summary: str
    task: Literal["preoperative-glioma", "postoperative-glioma", "metastasis", "meningioma", "schwannoma"]
    time_points: tuple[TimePointKind, ...]
    inputs: Inputs
    space: Space
    network: NetworkSpec
    regions: tuple[Region, ...]
    thresholdable: tuple[Region, ...] = Field(
        default=(), description="Regions whose probability map may be thresholded again by a reader."
    )
    postprocessing: Postprocessing = Postprocessing()
    weights: Weights
    licence: str
    citation: str
    published: tuple[Accuracy, ...] = ()
    measured: tuple[Accuracy, ...] = ()
    status: Status

    def regions_given(self, present: Collection[Sequence]) -> tuple[Region, ...]:
        """See :func:`GliomaSegLib.zoo.missing.regions_given`."""
        return missing.regions_given(self._needs, present)

    def measured_with(self, present: Collection[Sequence]) -> Accuracy | None:
        """See :func:`GliomaSegLib.zoo.missing.measured_with`."""
        return missing.measured_with(self._needs, present)

    def cost_of_missing(self, present: Collection[Sequence]) -> str | None:
        """See :func:`GliomaSegLib.zoo.missing.cost_of_missing`."""
        return missing.cost_of_missing(self._needs, present)

    @property
    def _needs(self) -> missing.Needs[Accuracy]:
        return missing.Needs(
            model=self.id,
            sequences=self.inputs.sequences,
            regions=self.regions,
            mandatory=self.inputs.mandatory,
            regions_without=self.inputs.regions_without,
            measured=self.measured,
        )


def read_card(path: Path) -> Card:
    """Read and validate a card.

    Raises:
        InputError: the file is not a valid card; the sentence names the first field that is wrong.
    """
    try:
        return Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"The model card {path} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"The model card {path} is not valid: {where}: {first['msg']}.") from error


def all_cards() -> dict[str, Card]:
    """Every card of the zoo by its id, in alphabetical order."""
    cards = (read_card(path) for path in sorted(resource("models").glob("*.json")))
    return {card.id: card for card in cards}


def find_card(model: str) -> Card:
    """The card with the id ``model``.

    Raises:
        InputError: there is no such model; the sentence names those that exist.
    """
    cards = all_cards()
    if model not in cards:
        raise InputError(f"There is no model '{model}'; the zoo has {', '.join(cards)}.")
    return cards[model]


def schema_json() -> str:
    """The JSON schema of a card, as kept in ``Resources/card.schema.json``."""
    return json.dumps(Card.model_json_schema(), indent=2) + "\n"


def describe(card: Card) -> str:
    """A card as text for a terminal."""
    lines = [
        f"{card.title} ({card.id} {card.version}, {card.status.value})",
        card.summary,
        "",
        f"Task        {card.task}; time point: {', '.join(kind.value for kind in card.time_points)}",
        f"Sequences   {', '.join(sequence.title for sequence in card.inputs.sequences)}{_mandatory(card)}",
        f"Regions     {', '.join(region.value for region in card.regions)}",
        f"Weights     {card.weights.size_bytes / 1e6:.0f} MB, {card.weights.licence}. {card.weights.attribution}",
        f"Licence     {card.licence}",
        f"Citation    {card.citation}",
    ]
    for sequence, regions in card.inputs.regions_without.items():
        lines.append(f"Without {sequence.title}: {', '.join(region.value for region in regions)} only")
    for title, figures in (("Published", card.published), ("Measured", card.measured)):
        if figures:
            lines += ["", f"{title} mean Dice"]
            lines += [_figure(figure) for figure in figures]
    return "\n".join(lines)


def _mandatory(card: Card) -> str:
    if not card.inputs.mandatory:
        return " (any of them may be missing)"
    return f" ({', '.join(sequence.title for sequence in card.inputs.mandatory)} mandatory)"


def _figure(figure: Accuracy) -> str:
    dice = "  ".join(f"{region.value} {value:.3f}" for region, value in figure.dice.items())
    cases = f", {figure.cases} cases" if figure.cases else ""
    sequences = " + ".join(sequence.title for sequence in figure.sequences)
    return f"  {sequences:<32} {dice:<32} {figure.data}{cases} ({figure.source})"
