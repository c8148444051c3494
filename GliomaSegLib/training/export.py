"""From the checkpoints of trainings to the weights of a model: ``python -m GliomaSegLib.training.export``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.training.checkpoint import read_checkpoint
from GliomaSegLib.training.exported_card import card_fields
from GliomaSegLib.training.recipe import Recipe
from GliomaSegLib.zoo.loaders import trained
from GliomaSegLib.zoo.loaders.any_unet import write_weights


def export(checkpoints: Mapping[str, Path], destination: Path) -> dict[str, Any]:
    """Write the averaged weights of each stage of a model into one safetensors file, as float16, in one move.

    Args:
        checkpoints: of each stage: ``network`` where there is one; of AR-CA by region and view, as ``wt.axial``; of
            gliomaseg-any ``coarse`` and ``fine``. Tensors are named ``STAGE.PARAMETER``.

    Returns:
        what the model's card says, as far as the recipes know it: its fields (:func:`.exported_card.card_fields`) of a
        stage called ``network`` or of stages such as ``wt.axial``, else the ``network.parameters`` of each stage.

    Raises:
        InputError: a checkpoint cannot be read, or the stages are of no model.
    """
    states, recipes = {}, {}
    for stage, path in checkpoints.items():
        state = read_checkpoint(path)
        states[stage], recipes[stage] = state["average"], Recipe.model_validate_json(state["recipe"])
    is_a_whole_model = any(stage == trained.STAGE or "." in stage for stage in recipes)
    told = card_fields(recipes) if is_a_whole_model else {stage: _parameters(one) for stage, one in recipes.items()}
    partial = destination.with_suffix(".partial")
    try:
        write_weights(states, partial)
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    return told


def _parameters(recipe: Recipe) -> dict[str, Any]:
    return {
        "network": recipe.network.model_dump(),
        "spacing_mm": recipe.view.spacing_mm,
        "shape": recipe.view.shape,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m GliomaSegLib.training.export", description=__doc__)
    parser.add_argument(
        "stages",
        nargs="+",
        type=_stage,
        metavar="STAGE=PT",
        help="network=RUN/last.pt; of AR-CA wt.axial=RUN/last.pt ...; of gliomaseg-any coarse=... fine=...",
    )
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
