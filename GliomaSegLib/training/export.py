"""From the checkpoints of trainings to the weights of a model: ``python -m GliomaSegLib.training.export``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.training.checkpoint import read_checkpoint
from GliomaSegLib.training.recipe import Recipe
from GliomaSegLib.zoo.loaders.any_unet import write_weights


def export(checkpoints: Mapping[str, Path], destination: Path) -> dict[str, dict[str, object]]:
    """Write the averaged weights of each stage of a model into one safetensors file, as float16, in one move.

    Args:
        checkpoints: of each stage, such as ``coarse`` and ``fine``; tensors are named ``STAGE.PARAMETER``.

    Returns:
        what the model's card says of each stage under ``network.parameters``, as far as its recipe knows.

    Raises:
        InputError: a checkpoint cannot be read.
    """
    states, parameters = {}, {}
    for stage, path in checkpoints.items():
        state = read_checkpoint(path)
        recipe = Recipe.model_validate_json(state["recipe"])
        states[stage] = state["average"]
        parameters[stage] = {
            "network": recipe.network.model_dump(),
            "spacing_mm": recipe.view.spacing_mm,
            "shape": recipe.view.shape,
        }
    partial = destination.with_suffix(".partial")
    try:
        write_weights(states, partial)
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    return parameters


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m GliomaSegLib.training.export", description=__doc__)
    parser.add_argument("stages", nargs="+", type=_stage, metavar="STAGE=PT", help="such as coarse=RUN/last.pt")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SAFETENSORS")
    parsed = parser.parse_args()
    print(export(dict(parsed.stages), parsed.output))
    print(f"{parsed.output}: {parsed.output.stat().st_size} bytes, SHA-256 {sha256_of(parsed.output)}")


def _stage(text: str) -> tuple[str, Path]:
    stage, equals, path = text.partition("=")
    if not (stage and equals and path):
        raise argparse.ArgumentTypeError(f"'{text}' is not STAGE=PT")
    return stage, Path(path)


if __name__ == "__main__":
    main()
