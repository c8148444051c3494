"""Started by torchrun in a test: one of several processes that train a small network together."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from GliomaSegLib.progress import Silent
from GliomaSegLib.training.loop import Training
from GliomaSegLib.training.pool import pool_case
from GliomaSegLib.training.processes import Processes
from Testing.support.training_case import make_case
from Testing.training.test_training_loop import small_recipe

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, device = Path(sys.argv[1]), torch.device("cpu")
    recipe, processes = small_recipe(iterations=2), Processes.of_environment()
    pool = [pool_case(make_case(name=f"case{seed}", seed=seed), recipe.view.view) for seed in range(2)]
    with processes.joined(device):
        training = Training(recipe, pool, [], device, processes=processes)
        training.run(folder / "run", Silent())
    torch.save(training.network.state_dict(), folder / f"rank{processes.rank}.pt")
