"""The fields of a model card that follow from a recipe: inputs, grid, network, windows and output channels.

The other fields, such as title, licence and credits, are not in the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.networks.ca_cnn import WINDOW_SLICES
from GliomaSegLib.training.recipe import Eijgelaar2020, KeepAll, Recipe
from GliomaSegLib.zoo.loaders import ar_ca, trained

_PREPARED_MM = [1.0, 1.0, 1.0]  # as training cases are, see GliomaSegLib.datasets.prepared_case
_OVERLAP = 0.5


def card_fields(recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """The fields ``inputs``, ``space``, ``network``, ``inference``, ``output`` and ``regions``, as a card's JSON.

    Args:
        recipes: by stage: only ``network``, or AR-CA's networks by region and view, such as ``wt.axial``, at least
            one of the whole tumour.

    Raises:
        InputError: no model family has such stages.
    """
    if set(recipes) == {trained.STAGE}:
        return _of_one(recipes[trained.STAGE])
    if recipes and all(recipe.network.name == "ar-ca" for recipe in recipes.values()):
        return _of_cascade(recipes)
    raise InputError(
        f"The stages {', '.join(recipes)} are no model that a card can be written for: name one '{trained.STAGE}', or "
        "AR-CA's networks by region and view, such as wt.axial, tc.axial and et.axial."
    )


def _of_one(recipe: Recipe) -> dict[str, Any]:
    if recipe.network.name == "ar-ca":
        raise InputError(
            f"'{recipe.name}' trains one network of AR-CA's cascade; add the runs of the whole tumour, the core and "
            "the enhancing tumour together."
        )
    network = recipe.network.build()
    multiple = max(getattr(network, "multiple", (1, 1, 1)))
    z, y, x = recipe.shown
    spacing = recipe.view.spacing_mm
    grid_mm = [spacing] * 3 if isinstance(spacing, float) else list(reversed(spacing))
    whole = recipe.view.midsagittal
    answers_for_middle = any(getattr(network, "margin", (0, 0, 0)))
    return {
        "inputs": _inputs(recipe),
        "space": {"spacing_mm": _PREPARED_MM, "orientation": "LPS", "brain": "stripped"},
        "network": {
            "family": "trained",
            "parameters": {"network": recipe.network.model_dump(), "lattice_mm": grid_mm}
            | ({"frame": [x, y, z]} if whole else {})
            | ({"plane": recipe.view.plane.value} if recipe.view.plane is not Plane.AXIAL else {})
            | _preparation(recipe),
        },
        "inference": {
            "patch": None if whole else [x, y, z],
            "overlap": 0.0 if answers_for_middle else _OVERLAP,
            "window": "constant" if answers_for_middle else "gaussian",
            "axes": "zyx",
            "multiple_of": multiple,
        },
        "output": {"activation": "sigmoid", "channels": [region.value for region in recipe.regions]},
        "regions": [region.value for region in recipe.regions],
    }


def _preparation(recipe: Recipe) -> dict[str, Any]:
    """Preprocessing options of the recipe, which also apply to the cases that the model segments."""
    wish = recipe.preparation
    if wish.histogram and not wish.landmarks:
        raise InputError(
            f"The recipe '{recipe.name}' of this checkpoint has no landmarks, which its training learns; export "
            "'last.pt' of a run."
        )
    landmarks = {one.value: list(wish.landmarks[one]) for one in recipe.sequences if one in wish.landmarks}
    chosen = {
        "bias_correction": wish.bias_correction,
        "common_space": wish.common_space,
        "landmarks": landmarks if wish.histogram else {},
    }
    return {name: value for name, value in chosen.items() if value}


def _of_cascade(recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    for stage, recipe in recipes.items():
        named = ar_ca.region_and_view(stage)
        own = recipe.regions[0], recipe.view.plane
        if named != own or len(recipe.regions) > 1:
            raise InputError(
                f"The stage '{stage}' is not what its recipe '{recipe.name}' trains ({own[0].value.lower()}."
                f"{own[1].value}); name it so."
            )
        if _preparation(recipe):
            raise InputError(
                f"'{recipe.name}' prepares its cases in a way that the cascade does not; train it without."
            )
        if recipe.view.spacing_mm != 1.0 or recipe.view.shape[recipe.view.plane.axes[0]] != WINDOW_SLICES:
            raise InputError(
                f"The cascade takes networks of {WINDOW_SLICES} slices of 1 mm, and '{recipe.name}' has others."
            )
    found = {ar_ca.region_and_view(stage) for stage in recipes}
    views = [view for view in Plane if (Region.WT, view) in found]
    regions = [Region.WT] if {region for region, _ in found} == {Region.WT} else list(TUMOUR_REGIONS)
    if not views or found != {(region, view) for region in regions for view in views}:
        raise InputError(
            "A cascade is the whole tumour alone, or it and core and enhancing tumour in the same views; name such "
            "stages, e.g. wt.axial, tc.axial and et.axial."
        )
    first = next(iter(recipes.values()))
    if any(recipe.sequences != first.sequences for recipe in recipes.values()):
        raise InputError("The networks of a cascade take the same sequences in the same order, and these do not.")
    return {
        "inputs": _inputs(first),
        "space": {"spacing_mm": _PREPARED_MM, "orientation": "LPS", "brain": "stripped"},
        "network": {"family": "ar-ca", "parameters": {"views": [view.value for view in views]}},
        "regions": [region.value for region in regions],
    }


def _inputs(recipe: Recipe) -> dict[str, Any]:
    """The modalities, and those that training never dropped."""
    mandatory: tuple[Modality, ...] = ()
    if isinstance(recipe.sparsification, KeepAll):
        mandatory = recipe.sequences
    elif isinstance(recipe.sparsification, Eijgelaar2020):
        mandatory = tuple(one for one in recipe.sequences if one is Modality.T1C)
    return {"sequences": [one.value for one in recipe.sequences], "mandatory": [one.value for one in mandatory]}
