"""A recipe where pydantic is not: the values as :class:`GliomaSegLib.training.recipe.Recipe` has them, complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import nn

from GliomaSegLib import networks
from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import Region
from GliomaSegLib.training.modality_dropout import Sampler, any_subset, eijgelaar2020, keep_all
from GliomaSegLib.training.sampling import View
from GliomaSegLib.training.task import Task

if TYPE_CHECKING:
    from GliomaSegLib.training.recipe import Recipe


def plain(recipe: Recipe) -> dict[str, object]:
    """The recipe with every default, the factor of the learning rate at every step, and what is shown at once."""
    steps = range(recipe.iterations)
    factors = [round(recipe.optimiser.schedule.factor(step, recipe.iterations), 9) for step in steps]
    return {"recipe": recipe.model_dump_json(), "factors": factors, "shown": recipe.shown}


class PlainRecipe(SimpleNamespace):
    """Has for :class:`GliomaSegLib.training.loop.Training` what a recipe has.

    Args:
        packed: what :func:`plain` gave.
    """

    def __init__(self, packed: Mapping[str, Any]) -> None:
        self._text, factors = packed["recipe"], packed["factors"]
        said = json.loads(self._text)
        super().__init__(**{name: _namespace(value) for name, value in said.items()})
        self.shares = said["shares"]
        self.network = SimpleNamespace(build=lambda: _built(said["network"]))
        seen = said["view"]
        spacing = seen["spacing_mm"] if isinstance(seen["spacing_mm"], float) else tuple(seen["spacing_mm"])
        view = View(tuple(seen["shape"]), spacing, seen["midsagittal"], seen["centred_on"] == "lesions")
        self.view.view, self.view.spacing_mm = view, spacing
        self.shown = tuple(packed["shown"])
        self.task = Task(
            tuple(map(Modality, said["sequences"])), tuple(map(Region, said["regions"])), Plane(seen["plane"])
        )
        self.optimiser.schedule = SimpleNamespace(factor=lambda step, _: factors[step])
        self.sparsification = SimpleNamespace(build=lambda: _sampler(said["sparsification"]))
        self.validation.subsets = [tuple(map(Modality, subset)) for subset in said["validation"]["subsets"]]

    def model_dump_json(self, indent: int | None = None) -> str:
        """The recipe as JSON."""
        return json.dumps(json.loads(self._text), indent=indent)

    def is_that_of(self, checkpoint: str) -> bool:
        """Whether it is the recipe (JSON) of a checkpoint, which may lack later fields or have other iterations."""
        mine, theirs = json.loads(self._text), json.loads(checkpoint)
        if "teacher" in theirs:  # its name before
            theirs["pseudo_labels"] = theirs.pop("teacher")
        return all(mine.get(name) == value for name, value in theirs.items() if name != "iterations")


def _built(network: Mapping[str, Any]) -> nn.Module:
    try:
        return networks.build(network["name"], network["parameters"])
    except ImportError as error:
        raise InputError(f"The network '{network['name']}' needs {error.name}, which is not installed here.") from error


def _sampler(said: Mapping[str, Any]) -> Sampler:
    if said["sampler"] == "any-subset":
        return any_subset(said["complete"], {Modality(name): value for name, value in said["without"].items()})
    return eijgelaar2020(said["probability"]) if said["sampler"] == "eijgelaar2020" else keep_all


def _namespace(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{name: _namespace(inner) for name, inner in value.items()})
    return value
