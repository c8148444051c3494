"""Exports the weights of a released model from checkpoints: ``python -m GliomaSegLib.training.export``.

Users add their own model by ``gliomaseg models add RUN`` (:mod:`GliomaSegLib.training.own_model`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.training.checkpoint import read_checkpoint
from GliomaSegLib.training.recipe import Recipe
from GliomaSegLib.zoo.loaders.any_unet import write_weights


def write_stages(states: Mapping[str, Mapping[str, Tensor]], destination: Path) -> None:
    """Write the averaged weights of each stage into one safetensors file, as float16, atomically.

    Args:
        states: state dicts by stage; in the file, tensors are named ``STAGE.PARAMETER``.

    Raises:
        InputError: it cannot be written.
    """
    partial = destination.with_suffix(".partial")
    try:
        write_weights(states, partial)
        partial.replace(destination)
    except (OSError, SafetensorError) as error:
        raise InputError(f"The weights {destination} could not be written ({error}); make room.") from error
    finally:
        partial.unlink(missing_ok=True)


def export(checkpoints: Mapping[str, Path], destination: Path) -> dict[str, Any]:
    """Write the weights of all stages of a model, such as ``coarse`` and ``fine``, from their checkpoints.

    Returns:
        by stage the card fields ``network``, ``spacing_mm`` and ``shape``.

    Raises:
        InputError: a checkpoint cannot be read.
    """
    states = {stage: read_checkpoint(path) for stage, path in checkpoints.items()}
    recipes = {stage: Recipe.model_validate_json(state["recipe"]) for stage, state in states.items()}
    write_stages({stage: state["average"] for stage, state in states.items()}, destination)
    return {
        stage: {
            "network": recipe.network.model_dump(),
            "spacing_mm": recipe.view.spacing_mm,
            "shape": recipe.view.shape,
        }
        for stage, recipe in recipes.items()
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m GliomaSegLib.training.export", description=__doc__)
    parser.add_argument("stages", nargs="+", type=_stage, metavar="STAGE=PT", help="e.g. coarse=RUN/last.pt")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SAFETENSORS")
    parsed = parser.parse_args()
    print(json.dumps(export(dict(parsed.stages), parsed.output), indent=2))
    print(f"{parsed.output}: {parsed.output.stat().st_size} bytes, SHA-256 {sha256_of(parsed.output)}")


def _stage(text: str) -> tuple[str, Path]:
    stage, equals, path = text.partition("=")
    if not (stage and equals and path):
        raise argparse.ArgumentTypeError(f"'{text}' is not STAGE=PT")
    return stage, Path(path)


if __name__ == "__main__":
    main()
