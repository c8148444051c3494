"""The training loop: samples, steps, validation, checkpoints.

The random numbers of a step are seeded by (seed, step, batch, process), so that a resumed training takes the same steps
as one without interruption. The folder of a run holds ``recipe.json``, ``steps.csv``, ``validation.csv``, ``last.pt``
(to resume from) and, after a validation, ``best.pt``.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from GliomaSegLib import case
from GliomaSegLib.errors import GliomaSegError, InputError, listed
from GliomaSegLib.inference.device import choose_precision
from GliomaSegLib.labels import Region
from GliomaSegLib.networks.memory_format import channels_last
from GliomaSegLib.progress import Progress
from GliomaSegLib.training.augment import change_images, random_axes
from GliomaSegLib.training.checkpoint import read_checkpoint, write_checkpoint
from GliomaSegLib.training.losses import central, chosen_loss
from GliomaSegLib.training.processes import Processes
from GliomaSegLib.training.sampling import CHANNELS, CaseSampler, PooledCase, Sample, choose_centre, take, take_weights

if TYPE_CHECKING:
    from GliomaSegLib.training.recipe import Optimiser, Recipe

LAST, BEST = "last.pt", "best.pt"
RECIPE, STEPS, VALIDATION = "recipe.json", "steps.csv", "validation.csv"
_SHOWN_EVERY = 10  # steps
_SLOW_S = 5.0  # longer steps are always shown


class TrainingError(GliomaSegError):
    """The training cannot continue; the last checkpoint is kept."""


class Training:
    """Trains one network by one recipe.

    Args:
        cases: training cases.
        watched: validation cases; if empty there is no validation.
        initial: state dict of the network to start from.
        processes: of a distributed training; by default this process alone.
        initial_from: name of the weights ``initial``, which is stored in the checkpoints.
    """

    def __init__(
        self,
        recipe: Recipe,
        cases: Sequence[PooledCase],
        watched: Sequence[PooledCase],
        device: torch.device,
        initial: dict[str, Tensor] | None = None,
        processes: Processes | None = None,
        initial_from: str | None = None,
    ) -> None:
        if not cases:
            raise InputError("There is no case to train on; check the case table, the split and the hospital left out.")
        self.task = recipe.task
        cases, watched = self.task.usable(cases), self.task.usable(watched)
        if recipe.loss.name == "iw-bce":
            from GliomaSegLib.training.pool import weigh_lesions  # slow to import (connected components)

            cases = weigh_lesions(cases)
        if device.type == "cuda":  # making samples is about 100 times as fast there
            cases = [case.on(device) for case in cases]
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.processes = processes or Processes()
        self.network = channels_last(recipe.network.build().to(device))
        if initial is not None:
            _load(self.network, initial, "the weights to start from")
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = make_optimiser(recipe.optimiser, self.network)
        self.step, self.seconds, self.initial_from = 0, 0.0, initial_from
        self._names = sorted(one.name for one in cases)
        self._sampler, self._sparsify = CaseSampler(cases, recipe.shares), recipe.sparsification.build()
        self._watched = _spread(watched, recipe.validation.cases)
        self._best, self._since_best = -math.inf, 0

    def state(self) -> dict[str, object]:
        """The complete state for :meth:`resume`."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "recipe": self.recipe.model_dump_json(),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "best": self._best,
            "since_best": self._since_best,
            "initial": self.initial_from,
            "cases": self._names,
        }

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint of the same recipe and cases; only the number of iterations may differ.

        Raises:
            InputError: it cannot be read, has another recipe, or was trained on other cases.
        """
        state = read_checkpoint(path)
        if not self.recipe.is_that_of(state["recipe"]):
            raise InputError(
                f"{path} is of another recipe than the one given; give its own, or train into a new folder."
            )
        trained = state.get("cases", self._names)  # earlier versions did not store them
        if other := sorted(set(trained) ^ set(self._names)):
            raise InputError(
                f"{path} was trained on other cases than those of this table and split ({listed(other)}); give its "
                "own, or train into a new folder, from its weights with --initial."
            )
        _load(self.network, state["network"], str(path))
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self._best, self._since_best = state["best"], state["since_best"]
        self.initial_from = state.get("initial")

    def run(self, folder: Path, progress: Progress) -> None:
        """Train to the end of the recipe (or its early stop), into ``folder``; resumes from ``last.pt`` if it exists.

        Raises:
            TrainingError: the loss is not a number, or memory ran out.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / LAST).is_file():
            self.resume(folder / LAST)
        leads = self.processes.rank == 0
        if leads:
            (folder / RECIPE).write_text(self.recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
        steps, validations = (Curve(folder / name, self.step, leads) for name in (STEPS, VALIDATION))
        progress.stage("training")
        saved = time.monotonic()
        while self.step < self.recipe.iterations and not self._stops_early():
            began = time.monotonic()
            loss, names = self._advance(folder)
            self.seconds += time.monotonic() - began
            steps.add({"step": self.step, "seconds": round(self.seconds, 1), "loss": loss, "samples": names})
            if self.step % _SHOWN_EVERY == 0 or self.step == 1 or time.monotonic() - began > _SLOW_S:
                progress.advance(self.step / self.recipe.iterations, self._described(loss))
            if self.step % self.recipe.validation.every == 0 and self._watched:
                self._validate(folder, validations, progress)
            if leads and time.monotonic() - saved > 60 * self.recipe.checkpoint_minutes:
                write_checkpoint(self.state(), folder / LAST)
                saved = time.monotonic()
        if leads:
            write_checkpoint(self.state(), folder / LAST)

    def _described(self, loss: float) -> str:
        left = self.seconds / max(self.step, 1) * (self.recipe.iterations - self.step)
        return f"step {self.step} of {self.recipe.iterations}, loss {loss:.3f}, {left / 60:.0f} min left"

    def _advance(self, folder: Path) -> tuple[float, str]:
        """Do one step of the optimiser; returns its loss and the names of its samples."""
        self.network.train()
        self._seed()
        rate = self.recipe.optimiser.learning_rate * self.recipe.optimiser.schedule.factor(
            self.step, self.recipe.iterations
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        total, names = 0.0, []
        for part in range(self.recipe.accumulate):
            samples = [self._draw(part, place) for place in range(self.recipe.batch)]
            described = " ".join(sample.name for sample in samples)
            with self._enough_memory(described, folder):
                loss = self._loss(samples)
                (loss / self.recipe.accumulate).backward()
            total += float(loss.detach()) / self.recipe.accumulate
            names.append(described)
        parameters = [one for one in self.network.parameters() if one.grad is not None]
        self.processes.mean([one.grad for one in parameters if one.grad is not None])
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.optimiser.clip_gradient)
        if not math.isfinite(total) or not torch.isfinite(norm):
            raise TrainingError(
                f"The loss of step {self.step + 1} is not a number (samples {' '.join(names)}); the last good "
                f"checkpoint is {folder / LAST}: go on from there with a smaller learning rate and look at these cases."
            )
        self.optimiser.step()
        self.step += 1
        self._follow()
        return total, " ".join(names)

    def _follow(self) -> None:
        """Update the exponential moving average of the weights, with a smaller decay in the first steps."""
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.detach(), 1 - decay)
            else:
                self.average[name].copy_(value)

    def _draw(self, part: int, place: int) -> Sample:
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, self.step, part, place, self.processes.rank])
        drawn = self._sampler.draw(rng)
        centre, axes = choose_centre(drawn, recipe.view.view, recipe.view.tumour_fraction, recipe.view.jitter_mm, rng)
        axes = axes @ random_axes(recipe.augmentation, rng)
        images, brain, targets, known = take(drawn, recipe.view.view, centre, axes)
        images = change_images(images, brain, recipe.view.spacing_mm, recipe.augmentation, rng)
        weights = take_weights(drawn, recipe.view.view, centre, axes)
        kept = self._sparsify(drawn.present & self.task.own, rng)
        images[torch.from_numpy(~kept).to(images.device)] = 0
        seen = "+".join(channel.value for channel, here in zip(CHANNELS, kept, strict=True) if here)
        return Sample(f"{drawn.name}:{seen}", images, targets, known, weights)

    def _loss(self, samples: Sequence[Sample]) -> Tensor:
        images = self.task.seen(torch.stack([sample.images for sample in samples])).to(self.device)
        targets = self.task.asked(torch.stack([sample.targets for sample in samples])).to(self.device)
        known = self.task.asked(torch.stack([sample.known for sample in samples])).to(self.device)
        given = [sample.weights for sample in samples if sample.weights is not None]
        weights = self.task.asked(torch.stack(given)).to(self.device) if given else None
        with _precision(self.recipe, self.device):
            answer = self.network(images.contiguous(memory_format=torch.channels_last_3d))
        return chosen_loss(self.recipe.loss, answer, targets, known, weights)

    def _seed(self) -> None:
        """Seed torch's random numbers, such as those of dropout, by the step."""
        state = np.random.SeedSequence([self.recipe.seed, self.step, self.processes.rank]).generate_state(1)
        torch.manual_seed(int(state[0]))

    @contextmanager
    def _enough_memory(self, described: str, folder: Path) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            raise TrainingError(
                f"Memory ran out at step {self.step + 1} (samples {described}); make the view or the batch of the "
                f"recipe smaller and raise 'accumulate' instead. The last good checkpoint is {folder / LAST}."
            ) from error

    def _stops_early(self) -> bool:
        stop = self.recipe.validation.early_stop
        return stop is not None and self._since_best >= stop.patience

    def _validate(self, folder: Path, curve: Curve, progress: Progress) -> None:
        """Validate the averaged weights by Dice at the resolution of the view; write ``best.pt`` if they are better."""
        rows = self.scores(self._watched)
        defined = [
            cast(float, value)
            for row in rows
            for region, value in row.items()
            if region in self.task.regions and value != ""
        ]
        mean = float(np.mean(defined)) if defined else 0.0
        better = mean > self._best
        self._best, self._since_best = max(mean, self._best), 0 if better else self._since_best + 1
        for row in rows:
            curve.add({"step": self.step, "seconds": round(self.seconds, 1), **row})
        progress.advance(self.step / self.recipe.iterations, f"step {self.step}, validation mean Dice {mean:.3f}")
        if better and self.processes.rank == 0:
            write_checkpoint(self.state(), folder / BEST)

    def scores(self, cases: Sequence[PooledCase]) -> list[dict[str, object]]:
        """Rows per case and subset of modalities with the Dice per region; empty for regions that the case lacks."""
        network = channels_last(self.recipe.network.build().to(self.device))
        network.load_state_dict(self.average)
        network.eval()
        view, rows = replace(self.recipe.view.view, shape=self.recipe.shown), []
        for watched in cases:
            centre, axes = choose_centre(watched, view, 1.0, (0.0, 0.0, 0.0), np.random.default_rng(0))
            images, brain, targets, _ = take(watched, view, centre, axes)
            known = torch.from_numpy(watched.known)[:, None, None, None]
            reference, inside = (self.task.asked(each[None]) for each in (targets * known, brain.expand_as(targets)))
            for subset in self.recipe.validation.subsets:
                here = torch.tensor([channel in subset for channel in CHANNELS]) & torch.from_numpy(self.task.own)
                kept = here & torch.from_numpy(watched.present)
                if not kept.any():
                    continue
                seen = torch.where(kept[:, None, None, None], images, torch.zeros(()))
                with torch.inference_mode(), _precision(self.recipe, self.device):
                    given = self.task.seen(seen[None]).to(self.device)
                    answer = network(given.contiguous(memory_format=torch.channels_last_3d)).float().cpu()
                found = (answer[0] > 0) & (central(inside, answer)[0] > 0)
                dice = _dice(found, central(reference, answer)[0] > 0.5, self.task.regions)
                rows.append({"case": watched.name, "subset": _names(subset), **dice})
        return rows


class Curve:
    """A CSV file to which rows are appended; rows after ``step``, from a killed training, are removed first.

    Of several processes only one has ``written`` set and writes the file.
    """

    def __init__(self, path: Path, step: int, written: bool = True) -> None:
        self._path, self._written = path, written
        if not written or not path.is_file():
            return
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row.get("step", "").isdigit() and int(row["step"]) <= step]
        path.unlink()
        for row in rows:
            self.add(row)

    def add(self, row: dict[str, object]) -> None:
        """Append a row; the first one gives the heading."""
        if not self._written:
            return
        new = not self._path.is_file()
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()})


def make_optimiser(choice: Optimiser, network: nn.Module) -> torch.optim.Optimizer:
    """Make the optimiser of a recipe; weight decay applies to weights with several axes, not to norms and biases."""
    decaying = [one for one in network.parameters() if one.ndim > 1]
    others = [one for one in network.parameters() if one.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": choice.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if choice.name == "sgd-nesterov":
        return torch.optim.SGD(groups, lr=choice.learning_rate, momentum=choice.momentum, nesterov=True)
    kind = torch.optim.AdamW if choice.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=choice.learning_rate)


def _load(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{source} does not fit the recipe's network; take the recipe that it was made with."
        ) from error


def _precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The recipe's precision; float32 where bfloat16 would have to be emulated, which takes several times as long."""
    is_quick = choose_precision(device) is torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=is_quick and recipe.precision == "bfloat16")


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a GPU by torch's error class, on a CPU by the message of the allocator."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _spread(cases: Sequence[PooledCase], most: int) -> list[PooledCase]:
    """At most ``most`` cases, evenly spread over the list."""
    if len(cases) <= most:
        return list(cases)
    return [cases[round(place)] for place in np.linspace(0, len(cases) - 1, most)]


def _names(subset: Sequence[case.Modality]) -> str:
    return "+".join(sequence.value for sequence in subset)


def _dice(found: Tensor, reference: Tensor, regions: Sequence[Region]) -> dict[str, object]:
    scores: dict[str, object] = {}
    for region, seen, true in zip(regions, found, reference, strict=True):
        scores[region.value] = float(2 * (seen & true).sum() / (seen.sum() + true.sum())) if true.any() else ""
    return scores
