"""From the checkpoints of a training to the weights of a model: ``python -m GliomaSegLib.training.export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from GliomaSegLib.errors import InputError
from GliomaSegLib.training.checkpoint import read_checkpoint
from GliomaSegLib.training.dataset import CHANNELS, REGIONS
from GliomaSegLib.training.recipe import Recipe
from GliomaSegLib.zoo.loaders import any_unet
from GliomaSegLib.zoo.store import sha256_of


def export(checkpoints: dict[str, Path], destination: Path) -> dict[str, dict[str, object]]:
    """Write the averaged weights of each stage into one file, as float16, in one move.

    Args:
        checkpoints: ``coarse`` and perhaps ``fine``.

    Returns:
        what the model's card says of each stage under ``network.parameters``.

    Raises:
        InputError: a checkpoint cannot be read or is of another network.
    """
    states, parameters = {}, {}
    for stage, path in checkpoints.items():
        state = read_checkpoint(path)
        recipe = Recipe.model_validate_json(state["recipe"])
        if recipe.regions != REGIONS or recipe.sequences != CHANNELS:
            raise InputError(f"{path} is not of a network for all four sequences and WT, TC and ET; train such a one.")
        states[stage] = state["average"]
        parameters[stage] = {
            "network": recipe.network.model_dump(),
            "spacing_mm": recipe.view.spacing_mm,
            "shape": recipe.view.shape,
        }
    partial = destination.with_suffix(".partial")
    try:
        any_unet.write_weights(states, partial)
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    return parameters


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m GliomaSegLib.training.export", description=__doc__)
    parser.add_argument("--coarse", type=Path, required=True, metavar="PT")
    parser.add_argument("--fine", type=Path, metavar="PT")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SAFETENSORS")
    parsed = parser.parse_args()
    given = {"coarse": parsed.coarse, "fine": parsed.fine}
    parameters = export({stage: path for stage, path in given.items() if path}, parsed.output)
    print(parameters)
    print(f"{parsed.output}: {parsed.output.stat().st_size} bytes, SHA-256 {sha256_of(parsed.output)}")


if __name__ == "__main__":
    main()
