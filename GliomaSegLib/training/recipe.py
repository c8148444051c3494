"""Recipes: the complete configuration of a training, without its cases.

A recipe is a JSON file; those of GliomaSeg are in ``Resources/recipes``. The JSON schema
``Resources/recipes/recipe.schema.json`` is generated from the classes below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field
from torch import nn

from GliomaSegLib import networks
from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.record import Record, read_record
from GliomaSegLib.resources import resource
from GliomaSegLib.training.modality_dropout import Sampler, any_subset, eijgelaar2020, keep_all
from GliomaSegLib.training.preparation import Preparation
from GliomaSegLib.training.sampling import View
from GliomaSegLib.training.schedule import Constant, Schedule
from GliomaSegLib.training.task import Task

Length = Annotated[float, Field(gt=0)]
Voxels = Annotated[int, Field(gt=0)]

# Other files in the folder of the recipes.
_NO_RECIPES = ("recipe.schema.json", "splits.json", "mets-splits.json", "any-splits.json")


class NetworkChoice(Record):
    """Which network, and its parameters."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    def build(self) -> nn.Module:
        """The network with fresh weights.

        Raises:
            InputError: there is no such network, or it has no such parameter.
        """
        return networks.build(self.name, self.parameters)


class ViewChoice(Record):
    """What the network sees of a case."""

    shape: tuple[Voxels, Voxels, Voxels] = Field(description="voxels, z, y, x")
    spacing_mm: Length | tuple[Length, Length, Length] = Field(description="of cubic voxels, or along z, y and x")
    midsagittal: bool = Field(default=False, description="the whole brain, halved by the grid's middle plane")
    tumour_fraction: float = Field(default=0.8, ge=0, le=1, description="of the patches, centred on a tumour voxel")
    jitter_mm: tuple[float, float, float] = Field(
        default=(8.0, 8.0, 8.0), description="largest displacement along z, y and x"
    )

    centred_on: Literal["regions", "lesions"] = Field(
        default="regions", description="what the patches on tumour choose from: the regions, or their lesions"
    )
    plane: Plane = Field(default=Plane.AXIAL, description="in which the network's slices lie")

    @property
    def view(self) -> View:
        """The grid."""
        return View(self.shape, self.spacing_mm, self.midsagittal, self.centred_on == "lesions")


class KeepAll(Record):
    """No sparsification."""

    sampler: Literal["none"] = "none"

    def build(self) -> Sampler:
        """The sampler."""
        return keep_all


class Eijgelaar2020(Record):
    """T1c is kept, the other sequences are dropped independently."""

    sampler: Literal["eijgelaar2020"]
    probability: float = Field(default=0.2, ge=0, le=1)

    def build(self) -> Sampler:
        """The sampler."""
        return eijgelaar2020(self.probability)


class AnySubset(Record):
    """Any non-empty subset of what a case has."""

    sampler: Literal["any-subset"]
    complete: float = Field(default=0.25, ge=0, le=1, description="probability of everything that the case has")
    without: dict[Modality, float] = Field(
        default_factory=dict, description="times as often as a subset that has the sequence"
    )

    def build(self) -> Sampler:
        """The sampler."""
        return any_subset(self.complete, self.without)


Sparsification = Annotated[KeepAll | Eijgelaar2020 | AnySubset, Field(discriminator="sampler")]


class Synthetic(Record):
    """Synthetic cases, generated once from the training cases; their hospital is ``synthetic``."""

    count: int = Field(gt=0)
    spacing_mm: float = Field(gt=0)
    seed: int = 1


class Augmentation(Record):
    """How much is changed, and how often. Probabilities are per sample for the pose, per sequence for the rest."""

    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a flip left to right")
    rotation_degrees: tuple[float, float, float] = Field(
        default=(15.0, 15.0, 15.0), description="largest, about z, y and x"
    )
    scale: tuple[float, float] = Field(default=(0.85, 1.2), description="least and largest size of the head")
    gamma: float = Field(default=0.3, ge=0, le=1)
    contrast: float = Field(default=0.5, ge=0, le=1)
    bias_field: float = Field(default=0.3, ge=0, le=1)
    blur: float = Field(default=0.1, ge=0, le=1)
    thick_slices: float = Field(default=0.25, ge=0, le=1)
    slice_mm: float = Field(default=7.0, gt=0, description="thickest simulated slice")
    noise: float = Field(default=0.3, ge=0, le=1)


class LossChoice(Record):
    """What is minimised, for the regions that a case's reference labels have."""

    name: Literal["dice", "bce", "dice-bce", "iw-bce"] = "dice-bce"
    dice_over_batch: bool = Field(default=True, description="one Dice per batch and region, or one per case")
    autoencoder_weight: float = Field(default=0.1, ge=0, description="of the branch that gives the image back (AR-CA)")
    dice_of_absent_regions: bool = Field(
        default=True,
        description="Whether Dice also judges a region that no case of the batch has. With one case per batch that "
        "rewards silence, and cross-entropy alone is enough against false alarms.",
    )


class Optimiser(Record):
    """How the weights follow the gradient."""

    name: Literal["adamw", "adam", "sgd-nesterov"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.99, ge=0, lt=1, description="of sgd-nesterov")
    clip_gradient: float = Field(default=12.0, gt=0, description="largest norm of the gradient")
    schedule: Schedule = Constant()


# DeepMedic's output is the centre of its input: in training a cube of 9 voxels, which is too small for a validation. A
# larger input gives the same outputs, faster.
_SHOWN_AT_LEAST = {"deepmedic": 105}


class EarlyStop(Record):
    """When to stop before the last iteration."""

    patience: int = Field(gt=0, description="validations without a better mean Dice")


class Validation(Record):
    """How the training is watched."""

    split: Literal["test", "validation"] = "validation"
    every: int = Field(default=500, gt=0, description="iterations")
    cases: int = Field(default=6, gt=0, description="at most, spread over the split")
    subsets: tuple[tuple[Modality, ...], ...] = (tuple(Modality),)
    early_stop: EarlyStop | None = None


class Recipe(Record):
    """A training, apart from its cases."""

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9.-]*$")]
    description: str
    citation: str | None = None
    network: NetworkChoice
    sequences: tuple[Modality, ...] = tuple(Modality)
    regions: tuple[Region, ...] = TUMOUR_REGIONS
    view: ViewChoice
    preparation: Preparation = Preparation()
    shares: dict[str, float] = Field(
        default_factory=dict, description="Per hospital its share of the samples; the others' cases share the rest."
    )
    pseudo_labels: str | None = Field(
        default=None,
        validation_alias=AliasChoices("pseudo_labels", "teacher"),  # the second in older recipes and checkpoints
        description="A model of the zoo that labels core and enhancing tumour where the reference is the whole alone.",
    )
    synthetic: Synthetic | None = None
    sparsification: Sparsification = KeepAll()
    augmentation: Augmentation = Augmentation()
    loss: LossChoice = LossChoice()
    optimiser: Optimiser = Optimiser()
    iterations: int = Field(gt=0, description="steps of the optimiser")
    batch: int = Field(default=1, gt=0)
    accumulate: int = Field(default=1, gt=0, description="batches per step of the optimiser")
    average: float = Field(default=0.0, ge=0, lt=1, description="decay of the running mean of the weights; 0 is none")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="bfloat16 counts where the hardware computes it faster; elsewhere it is float32"
    )
    seed: int = 1
    validation: Validation = Validation()
    checkpoint_minutes: float = Field(default=5.0, gt=0)

    @property
    def task(self) -> Task:
        """The network's inputs and outputs."""
        return Task(self.sequences, self.regions, self.view.plane)

    @property
    def shown(self) -> tuple[int, int, int]:
        """Input size (voxels z, y, x) of the network in validation and segmentation."""
        z, y, x = (max(edge, _SHOWN_AT_LEAST.get(self.network.name, 0)) for edge in self.view.shape)
        return z, y, x

    def is_that_of(self, checkpoint: str) -> bool:
        """Whether it equals the recipe (JSON) of a checkpoint, except for the number of iterations: a training can be
        lengthened. Fields missing there have their defaults."""
        theirs = Recipe.model_validate_json(checkpoint)
        return theirs.model_copy(update={"iterations": self.iterations}) == self


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        InputError: the file is not a valid recipe; the message names the first invalid field.
    """
    return read_record(Recipe, path, "recipe")


def find_recipe(name: str) -> Path:
    """The path of a recipe, given its path or the name of one of GliomaSeg's recipes.

    Raises:
        InputError: there is no such recipe; the message lists those of GliomaSeg.
    """
    if Path(name).is_file():
        return Path(name)
    own = {path.stem: path for path in sorted(resource("recipes").glob("*.json")) if path.name not in _NO_RECIPES}
    if name not in own:
        raise InputError(f"There is no recipe '{name}'; give a file, or one of {', '.join(own)}.")
    return own[name]
