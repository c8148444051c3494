"""Model cards: everything that is known of a model, as data.

A card is one JSON file in ``Resources/models``, or in a user's store (``gliomaseg models add``). Adding a model is
adding a card; only a new kind of network needs code (a family, see :mod:`GliomaSegLib.zoo.loaders`). The classes below
are the schema; ``Resources/card.schema.json`` is generated from them for editors and other tools.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from enum import Enum
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, HttpUrl, PositiveInt, model_validator

from GliomaSegLib.case import Modality, Preoperative, TimePointKind
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Task, Vote
from GliomaSegLib.record import Record, read_record
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo import input_requirements
from GliomaSegLib.zoo.catalogue import added_cards, default_store, shipped_cards

_LOG = logging.getLogger(__name__)


class Status(str, Enum):
    """How far a card is proven."""

    VERIFIED = "verified"  # ran on real images with the real weights
    PARITY = "parity"  # equal to its own package on generated weights
    UNPROVEN = "unproven"
    DEMONSTRATION = "demonstration"  # trained on too little to be of use; shows the road


class Inputs(Record):
    """The sequences that the network takes, in channel order, and what happens without some of them."""

    sequences: tuple[Modality, ...]
    preoperative: tuple[Preoperative, ...] = Field(
        default=(), description="Further channels, after the sequences, from the study before surgery."
    )
    mandatory: tuple[Modality, ...] = ()
    sets: tuple[tuple[Modality, ...], ...] = Field(
        default=(),
        description="Where it works with certain combinations of sequences only, perhaps with a network for each: the "
        "combinations, best first. A case is given the first that it has wholly.",
    )
    regions_without: dict[Modality, tuple[Region, ...]] = Field(
        default_factory=dict, description="Per missing sequence the regions that the model can still give."
    )


_AXES = ("[LR]", "[AP]", "[SI]")
_ORIENTATIONS = f"^({'|'.join(map(''.join, permutations(_AXES)))})$"


class Space(Record):
    """The grid that the network sees. ``native``: in the reference image's own space."""

    frame: Literal["native"]
    spacing_mm: tuple[float, float, float] | None = Field(
        description="Along the three voxel axes; null: the published files say it."
    )
    orientation: Annotated[str, Field(pattern=_ORIENTATIONS)] = Field(
        default="LPS",
        description="Where each voxel axis runs: left or right, anterior or posterior, superior or inferior.",
    )
    brain: Literal["stripped", "head"] = "stripped"


class NetworkSpec(Record):
    """Which code runs the model, and its parameters."""

    family: str
    parameters: dict[str, Any] = Field(default_factory=dict)


ENSEMBLE = "ensemble"
"""The family of cards that have no network of their own and fuse the answers of others."""


class Ensemble(Record):
    """The parameters of the family ``ensemble``: how several answers become one, region by region."""

    vote: Vote


class Normalisation(Record):
    """What is done to the grey values of each sequence on its own, before the network sees them."""

    method: Literal["z-score", "percentiles", "landmarks", "published", "none"] = Field(
        description="percentiles: these two become 0 and 1; landmarks: histogram standardisation, then z-score; "
        "published: as the model's own files say."
    )
    over: Literal["all", "non-zero", "above-mean"] = Field(
        default="all", description="Voxels from which the statistics are taken."
    )
    percentiles: tuple[float, float] | None = None
    clip: bool = Field(default=False, description="Cut off what lies beyond the percentiles.")
    landmarks: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _has_its_numbers(self) -> Normalisation:
        if self.method == "percentiles" and self.percentiles is None:
            raise ValueError("the method 'percentiles' needs 'percentiles', such as [0.5, 99.5]")
        if self.method == "landmarks" and not self.landmarks:
            raise ValueError("the method 'landmarks' needs 'landmarks'")
        return self


class Inference(Record):
    """How the network is led over the volume."""

    patch: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        default=None, description="x, y, z in voxels; null: the whole field in one pass."
    )
    overlap: float = Field(default=0.5, ge=0, lt=1, description="of neighbouring patches, as a share of the patch")
    window: Literal["gaussian", "constant"] = Field(default="gaussian", description="Weights inside a patch.")
    axes: Literal["xyz", "zyx"] = Field(default="xyz", description="Order in which the network takes the axes.")
    field: Literal["full", "brain"] = Field(
        default="full",
        description="What is shown to it: the whole grid, or the box of non-zero voxels. Group and instance "
        "normalisation depend on it.",
    )
    margin_voxels: int = Field(default=0, ge=0, description="around that box")
    multiple_of: PositiveInt = Field(default=1, description="Sides are padded to multiples of this.")
    mirrors: tuple[Literal["x", "y", "z"], ...] = Field(default=(), description="Axes flipped at test time.")
    folds: PositiveInt = Field(default=1, description="Networks whose probabilities are averaged.")
    bfloat16: bool = Field(default=False, description="Whether this precision was checked to give the same labels.")


Channel = Literal["background", "NETC", "SNFH", "ET", "RC", "WT", "TC", "brain"]


class Output(Record):
    """What the network's channels mean and how they become labels."""

    activation: Literal["sigmoid", "softmax", "distance"] = Field(
        description="sigmoid: a region per channel; softmax: exclusive labels, the largest wins; distance: mm from the "
        "surface, negative inside."
    )
    channels: tuple[Channel, ...] = Field(min_length=1)
    threshold: float = Field(
        default=0.5,
        description="Of a probability, which must reach it; of a distance in mm, which must lie below. With softmax it "
        "counts only where there are two channels.",
    )
    largest_component: bool = Field(default=False, description="Keep that alone, by the model's own contract.")
    fill_holes: bool = Field(default=False, description="By the model's own contract.")

    @model_validator(mode="after")
    def _means_something(self) -> Output:
        exclusive = {"background", "NETC", "SNFH"} & set(self.channels)
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("a channel is named twice")
        if self.activation == "softmax" and self.channels[0] != "background":
            raise ValueError("with softmax the first channel is the background")
        if self.activation == "sigmoid" and exclusive:
            raise ValueError(f"with sigmoid a channel is a region, and '{min(exclusive)}' is none")
        return self


class Postprocessing(Record):
    """What is done to the labels after the model's own contract; zero switches a step off."""

    fill_holes_below_mm3: float = Field(default=0, ge=0)
    remove_islands_below_fraction: float = Field(default=0, ge=0, lt=1, description="of the largest component")
    remove_objects_below_mm3: float = Field(default=0, ge=0)


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class WeightFile(Record):
    """One published file. Hashes are those that its publisher gives; without any, the SHA-256 of what came is kept."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][^/\\]*$")]
    url: HttpUrl | None = Field(default=None, description="null: no address is known, the user has the file.")
    size_bytes: PositiveInt | None = None
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    archive: Literal["zip", "tar"] | None = Field(
        default=None, description="What is unpacked before the weights are read, into a folder of the file's stem."
    )

    @property
    def hash_published(self) -> bool:
        """Whether its publisher says what the right file is."""
        return bool(self.sha256 or self.md5)


class ShippedFile(Record):
    """A file that comes with GliomaSeg, ready to be loaded: there is nothing to install."""

    path: str = Field(description="Below Resources.")
    size_bytes: int
    sha256: Sha256

    def found(self) -> Path:
        """Where it lies.

        Raises:
            WeightsError: it is missing.
        """
        try:
            return resource(self.path)
        except FileNotFoundError as error:
            raise WeightsError(str(error)) from error

    def sound(self) -> Path:
        """Where it lies, after checking its SHA-256.

        Raises:
            WeightsError: it is missing or damaged.
        """
        path = self.found()
        if sha256_of(path) != self.sha256:
            raise WeightsError(
                f"GliomaSeg's own file {path} is damaged (its SHA-256 is not the card's); install GliomaSeg again."
            )
        return path


class PackagedWeights(Record):
    """Weights inside a Python package of their publisher, which pip installs."""

    name: str = Field(description="On the Python Package Index.")
    version: str = Field(description="The one that this card describes.")
    size_bytes: int | None = None


class Weights(Record):
    """Where a model's weights come from and what may be done with them."""

    files: tuple[WeightFile, ...] = Field(default=(), description="What is fetched and converted.")
    shipped: ShippedFile | None = None
    package: PackagedWeights | None = None
    members: tuple[str, ...] = Field(default=(), description="Of an ensemble: the models whose answers are fused.")
    licence: str = Field(description="Of the weights; 'unknown' where their publisher gives none.")
    attribution: str

    @model_validator(mode="after")
    def _come_from_one_place(self) -> Weights:
        if sum(map(bool, (self.files, self.shipped, self.package, self.members))) != 1:
            raise ValueError(
                "weights are either fetched ('files'), come with GliomaSeg ('shipped') or inside a package "
                "('package'), or are those of an ensemble's members ('members')"
            )
        if len(self.members) == 1 or len(set(self.members)) < len(self.members):
            raise ValueError("an ensemble has at least two members, each named once")
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("two weight files have one name")
        return self

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes, in bytes; what is unknown counts as zero."""
        one = self.shipped or self.package
        return one.size_bytes or 0 if one else sum(file.size_bytes or 0 for file in self.files)


class Accuracy(Record):
    """Mean Dice per region on a named set of cases with the named sequences present."""

    data: str
    cases: int | None = None
    sequences: tuple[Modality, ...]
    preoperative: tuple[Preoperative, ...] = ()
    dice: dict[Region, float]
    balanced_accuracy: float | None = Field(
        default=None, description="Of telling residual tumour from gross total resection, patient by patient."
    )
    source: str = Field(description="A publication, or the command that makes the figure.")
    date: str | None = None
    remark: str | None = None


class Parity(Record):
    """A comparison with the model's own package: the same generated weights, the same image, the labels compared."""

    package: str
    version: str
    date: str
    voxels: PositiveInt = Field(description="compared")
    mismatches: int = Field(ge=0, description="Different labels further than 0.01 of probability from the threshold.")
    command: str
    remark: str | None = None


class Verification(Record):
    """A run on real images with the real weights, and what was seen."""

    data: str
    cases: PositiveInt
    date: str
    command: str
    finding: str


class Card(Record):
    """A model of the zoo."""

    id: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9.-]*$")]
    title: str
    version: str
    summary: str
    task: Task
    time_points: tuple[TimePointKind, ...]
    inputs: Inputs
    space: Space | None = Field(default=None, description="null: an ensemble's, whose members have their own.")
    normalisation: Normalisation | None = Field(default=None, description="null: the family's own.")
    network: NetworkSpec
    inference: Inference | None = Field(default=None, description="null: the family's own.")
    output: Output | None = Field(default=None, description="null: the family's own.")
    training: str | None = Field(
        default=None, description="A sentence on what it was trained on, shown wherever its result is shown."
    )
    regions: tuple[Region, ...] = Field(description="What it finds; none for a brain extractor.")
    thresholdable: tuple[Region, ...] = Field(
        default=(), description="Regions whose probability map may be thresholded again by a reader."
    )
    postprocessing: Postprocessing = Postprocessing()
    weights: Weights
    training_features: ShippedFile | None = Field(
        default=None,
        description="What the network makes of its training cases, by which a case's distance to them is measured "
        "(python -m GliomaSegLib.cli.training_features); null: it cannot be told.",
    )
    licence: str
    citation: str
    published: tuple[Accuracy, ...] = ()
    measured: tuple[Accuracy, ...] = ()
    parity: Parity | None = None
    verification: Verification | None = None
    status: Status

    @model_validator(mode="after")
    def _says_what_its_status_rests_on(self) -> Card:
        if self.status is Status.PARITY and self.parity is None:
            raise ValueError("the status 'parity' needs 'parity': what was compared with which package")
        if self.status is Status.PARITY and self.parity.mismatches:
            raise ValueError("the status 'parity' needs a comparison without mismatches")
        if self.status is Status.VERIFIED and not (self.verification or self.measured):
            raise ValueError("the status 'verified' needs 'verification' or 'measured'")
        return self

    @model_validator(mode="after")
    def _is_an_ensemble_or_a_network(self) -> Card:
        if (self.network.family == ENSEMBLE) is not bool(self.weights.members):
            raise ValueError(f"the family '{ENSEMBLE}' and 'weights.members' belong together")
        if self.weights.members:
            Ensemble.model_validate(self.network.parameters)
        elif self.space is None:
            raise ValueError("'space' says which grid the network sees; only an ensemble has none of its own")
        return self

    @model_validator(mode="after")
    def _names_its_own_sequences_and_regions(self) -> Card:
        takes = set(self.inputs.sequences)
        named = {*self.inputs.mandatory, *self.inputs.regions_without}.union(*self.inputs.sets)
        if foreign := sorted(sequence.value for sequence in named - takes):
            raise ValueError(f"'{foreign[0]}' is named in 'inputs' and is none of its sequences")
        if bool(self.regions) == (self.task is Task.BRAIN_EXTRACTION):
            raise ValueError("a model finds regions, a brain extractor none")
        return self

    @property
    def contract(self) -> dict[str, Any]:
        """What a loader is told: the network's own parameters and, typed, what the card says of its data."""
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

    def sequences_used(self, present: Collection[Modality]) -> tuple[Modality, ...]:
        """See :func:`GliomaSegLib.zoo.input_requirements.used`."""
        return input_requirements.used(self._needs, present)

    def regions_given(self, present: Collection[Modality], earlier: bool = False) -> tuple[Region, ...]:
        """See :func:`GliomaSegLib.zoo.input_requirements.regions_given`."""
        return input_requirements.regions_given(self._needs, present, earlier)

    def measured_with(self, present: Collection[Modality]) -> Accuracy | None:
        """See :func:`GliomaSegLib.zoo.input_requirements.measured_with`."""
        return input_requirements.measured_with(self._needs, present)

    def cost_of_missing(self, present: Collection[Modality], earlier: bool = False) -> str | None:
        """See :func:`GliomaSegLib.zoo.input_requirements.cost_of_missing`."""
        return input_requirements.cost_of_missing(self._needs, present, earlier)

    @property
    def _needs(self) -> input_requirements.InputRequirements[Accuracy]:
        return input_requirements.InputRequirements(
            model=self.id,
            sequences=self.inputs.sequences,
            regions=self.regions,
            mandatory=self.inputs.mandatory,
            regions_without=self.inputs.regions_without,
            measured=self.measured,
            sets=self.inputs.sets,
            preoperative=self.inputs.preoperative,
        )


def read_card(path: Path) -> Card:
    """Read and validate a card.

    Raises:
        InputError: the file is not a valid card; the sentence names the first field that is wrong.
    """
    return read_record(Card, path, "model card")


def all_cards() -> dict[str, Card]:
    """Every card of the zoo by its id, in alphabetical order: those that come with GliomaSeg, then those that were
    added to the user's store and the site's. A damaged one of these is told to the log and left out."""
    cards = {path.stem: read_card(path) for path in shipped_cards()}
    return dict(sorted((_added(default_store()) | cards).items()))


def cards_of(store: Path | None) -> dict[str, Card]:
    """As :func:`all_cards`, and those that were added to ``store``."""
    return all_cards() if store is None else dict(sorted((_added(store) | all_cards()).items()))


def find_card(model: str, store: Path | None = None) -> Card:
    """The card with the id ``model``, which may have been added to ``store``.

    Raises:
        InputError: there is no such model; the sentence names those that exist.
    """
    cards = cards_of(store)
    if model not in cards:
        raise InputError(f"There is no model '{model}'; the zoo has {', '.join(cards)}.")
    return cards[model]


def _added(store: Path) -> dict[str, Card]:
    cards: dict[str, Card] = {}
    for path in added_cards(store):
        try:
            cards.setdefault(path.stem, read_card(path))
        except InputError as error:
            _LOG.warning("%s It is left out.", error)
    return cards


def schema_json() -> str:
    """The JSON schema of a card, as kept in ``Resources/card.schema.json``."""
    return json.dumps(Card.model_json_schema(), indent=2) + "\n"
