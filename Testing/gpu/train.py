"""Training from packs until a time is up, going on from parts of an earlier checkpoint; NumPy and torch alone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from GliomaSegLib.errors import Cancelled
from GliomaSegLib.training.checkpoint import read_checkpoint, write_checkpoint
from GliomaSegLib.training.loop import LAST, Training
from Testing.gpu import packs, parts
from Testing.gpu.recipe import PlainRecipe

if TYPE_CHECKING:
    from GliomaSegLib.training.recipe import Recipe

_CURVES = ("steps.csv", "validation.csv")


class Deadline:
    """A :class:`GliomaSegLib.progress.Progress` that prints now and then and stops the training when time is up."""

    def __init__(self, seconds: float, every_s: float = 20.0) -> None:
        self._end, self._every, self._told = time.monotonic() + seconds, every_s, 0.0

    def stage(self, name: str) -> None:
        print(name, flush=True)

    def advance(self, fraction: float, detail: str = "") -> None:
        """Raises Cancelled when time is up."""
        now = time.monotonic()
        if now - self._told > self._every:
            print(f"{100 * fraction:5.1f} %  {detail}", flush=True)
            self._told = now
        if now > self._end:
            raise Cancelled("the time is up")

    def warn(self, sentence: str) -> None:
        print(sentence, flush=True)


def train(
    given: Sequence[Path],
    out: Path,
    work: Path,
    seconds: float,
    device: torch.device,
    resume: Path | None = None,
    initial: Path | None = None,
) -> Training:
    """Train for ``seconds`` at most and leave parts of the checkpoint and the curves in ``out``.

    Args:
        given: the packs.
        work: folder of the run, gone on from where it is kept between two calls.
        initial: a checkpoint whose averaged weights a training from its beginning starts with.
        resume: folder with the parts of an earlier checkpoint of the same recipe, from here or ``gliomaseg train``.

    Raises:
        InputError: a pack or a part is damaged or of another recipe.
    """
    began = time.monotonic()
    recipe = PlainRecipe(packs.read_recipe_of(given))
    cases, watched = packs.read_packs(given)
    print(
        f"{len(cases)} cases to train on, {len(watched)} to watch, read in {time.monotonic() - began:.0f} s", flush=True
    )
    if resume is not None:
        parts.joined(resume, work)
    weights = read_checkpoint(initial)["average"] if initial else None
    training = Training(cast("Recipe", recipe), cases, watched, device, weights)
    try:
        training.run(work, Deadline(seconds - (time.monotonic() - began)))
    except Cancelled:
        write_checkpoint(training.state(), work / LAST)
    parts.split(work / LAST, out)
    for name in _CURVES:
        if (work / name).is_file():
            shutil.copyfile(work / name, out / name)
    per_step = training.seconds / max(training.step, 1)
    print(f"step {training.step} of {recipe.iterations}, {per_step:.3f} s a step", flush=True)
    return training
