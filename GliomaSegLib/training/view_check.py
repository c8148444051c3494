"""Checks by tensor shapes that a recipe's network fits its view, before any case is prepared."""

from __future__ import annotations

import torch

from GliomaSegLib.errors import InputError
from GliomaSegLib.training.losses import finest
from GliomaSegLib.training.recipe import Recipe


def check_view(recipe: Recipe) -> None:
    """Run the network on torch's ``meta`` device, where tensors have shapes but no values.

    Raises:
        InputError: it does not accept the recipe's patch size or modalities, or has another number of output regions.
    """
    shape = [recipe.view.shape[axis] for axis in recipe.view.plane.axes]
    with torch.device("meta"):
        network = recipe.network.build().train()
        try:
            answer = finest(network(torch.empty(recipe.batch, len(recipe.sequences), *shape)))
        except (RuntimeError, ValueError) as error:
            steps = getattr(network, "multiple", None)
            hint = f"; its edges are multiples of {steps} (z, y, x)" if steps else ""
            said = str(error).strip().partition("\n")[0].rstrip(".")
            raise InputError(
                f"The recipe '{recipe.name}' shows its network '{recipe.network.name}' batches of {recipe.batch} with "
                f"{len(recipe.sequences)} channels of {tuple(recipe.view.shape)} voxels (z, y, x), which it cannot "
                f"take{hint}. The network says: {said}."
            ) from error
    if answer.shape[1] != len(recipe.regions):
        raise InputError(
            f"The recipe '{recipe.name}' asks for {len(recipe.regions)} regions, and its network answers for "
            f"{answer.shape[1]}; make 'regions' of the network's parameters the same."
        )
