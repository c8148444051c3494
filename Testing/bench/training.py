"""How fast networks train: samples per second of the recipes that come with GliomaSeg, on made cases."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import torch

from GliomaSegLib.errors import GliomaSegError
from GliomaSegLib.inference.device import choose_device
from GliomaSegLib.progress import Silent
from GliomaSegLib.training.loop import Training
from GliomaSegLib.training.pool import pool_case
from GliomaSegLib.training.recipe import Recipe, find_recipe, read_recipe
from Testing.support.training_case import make_case

RECIPES = ("gliomaseg-any-v1-coarse", "gliomaseg-any-v1-fine")
STEPS = 3


def throughput() -> None:
    """Samples per second of the shipped model's recipes: the whole step, augmentation included."""
    devices = [torch.device("cpu")]
    if (best := choose_device()).type != "cpu":
        devices.append(best)
    for name in RECIPES:
        recipe = _alone(read_recipe(find_recipe(name)))
        for device in devices:
            for precision in ("float32", "bfloat16"):
                chosen = recipe.model_copy(update={"precision": precision})
                try:
                    rate = _rate(chosen, device)
                except GliomaSegError as error:
                    print(f"{name:<26} {device} {precision:<9} {error}")
                    continue
                voxels = int(np.prod(recipe.view.shape))
                print(
                    f"{name:<26} {device} {precision:<9} {rate:6.2f} samples/s, {rate * voxels / 1e6:6.2f} million "
                    f"voxels/s ({torch.get_num_threads()} threads, median of {STEPS} steps)",
                    flush=True,
                )


def _alone(recipe: Recipe) -> Recipe:
    """The recipe without what needs other cases than the made one."""
    return recipe.model_copy(update={"shares": {}, "pseudo_labels": None, "synthetic": None})


def _rate(recipe: Recipe, device: torch.device) -> float:
    """Samples per second, from the run's own curve; the first step, which warms up, does not count."""
    pooled = pool_case(make_case(shape=(140, 172, 140)), recipe.view.view)
    short = recipe.model_copy(update={"iterations": STEPS + 1})
    with tempfile.TemporaryDirectory() as folder:
        Training(short, [pooled], [], device).run(Path(folder), Silent())
        with (Path(folder) / "steps.csv").open(newline="", encoding="utf-8") as stream:
            ended = [float(row["seconds"]) for row in csv.DictReader(stream)]
    return recipe.batch * recipe.accumulate / float(np.median(np.diff(ended)))
