"""Makes the card and weights of a model from training runs (``gliomaseg models add RUN``)."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GliomaSegLib.errors import InputError
from GliomaSegLib.training.checkpoint import read_checkpoint
from GliomaSegLib.training.export import write_stages
from GliomaSegLib.training.exported_card import card_fields
from GliomaSegLib.training.loop import BEST, LAST, RECIPE, VALIDATION
from GliomaSegLib.training.recipe import NetworkChoice, Recipe
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.catalogue import cards_of, find_card
from GliomaSegLib.zoo.checkpoint import read_stages
from GliomaSegLib.zoo.loaders import any_unet, stretched_brain, trained
from GliomaSegLib.zoo.own import About
from GliomaSegLib.zoo.store import Store

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class _Run:
    """A checkpoint of a run, with its recipe and state."""

    path: Path
    recipe: Recipe
    state: Mapping[str, Any]


def write_model(
    sources: Sequence[Path], about: About, folder: Path, store: Store, like: str | None = None
) -> tuple[Path, Path]:
    """Write the card and the weights of the model that was trained in one or several runs into ``folder``.

    Args:
        sources: checkpoints, or folders of runs (their best checkpoint, without a validation the last one): a single
            one, AR-CA's networks, or stages of a model such as gliomaseg-any.
        about: title, author and licence of the model.
        store: has the weights of the other stages, if the runs trained only some.
        like: the model of which the runs trained stages; by default the one that a run started from.

    Returns:
        the card (JSON) and the weights (safetensors, float16).

    Raises:
        InputError: a run has no checkpoint yet, or the runs do not make a model.
        WeightsError: the weights of the model that a run started from are missing.
    """
    runs = [_read(source) for source in sources]
    base = _base(runs, like, store)
    if base is None:
        fields = card_fields({_stage(one.recipe, len(runs)): one.recipe for one in runs})
        states = {_stage(one.recipe, len(runs)): one.state["average"] for one in runs}
    else:
        named = {_stage_like(base, one): one for one in runs}
        if len(named) < len(runs):
            raise InputError(f"Two of the runs trained the stage '{min(named)}' of '{base.id}'; name one of them.")
        fields = _fields_like(base)
        # A new network also takes the place of the base's own network for cases without FLAIR.
        replaced = {other for stage, other in any_unet.WITHOUT_FLAIR.items() if stage in named} - set(named)
        for stage in replaced & set(fields["network"]["parameters"]):
            del fields["network"]["parameters"][stage]
        states = {stage: one.state["average"] for stage, one in named.items()}
        if missing := [stage for stage in _stages(base) if stage not in replaced | set(states)]:
            states |= read_stages(store.weights(base), missing)
    card = fields | _described(runs, about, base)
    path, weights = folder / "card.json", folder / WEIGHTS
    write_stages(states, weights)
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path, weights


def is_run(source: Path) -> bool:
    """Whether a path is the folder of a run, or one of its checkpoints."""
    return source.suffix == ".pt" or (source / RECIPE).is_file()


def _read(source: Path) -> _Run:
    path = source
    if source.is_dir():
        path = next((source / name for name in (BEST, LAST) if (source / name).is_file()), source / LAST)
        if not path.is_file():
            raise InputError(
                f"The run {source} was stopped before its first checkpoint; repeat its 'gliomaseg train' command, "
                "which goes on, and add it once 'last.pt' is there."
            )
    state = read_checkpoint(path)
    return _Run(path, Recipe.model_validate_json(state["recipe"]), state)


def _base(runs: Sequence[_Run], like: str | None, store: Store) -> Card | None:
    """The card of the model whose stages the runs trained; ``None`` for a new model."""
    if like is not None:
        base = find_card(like, store.root)
        if not _stages(base):
            raise InputError(
                f"'{base.id}' is of the family '{base.network.family}', whose stages no recipe trains; leave '--like' "
                "out."
            )
        return base
    origins = {str(one.state.get("initial") or "").partition(":")[0] for one in runs}
    known = cards_of(store.root)
    found = [known[one] for one in origins if one in known and _stages(known[one])]
    return found[0] if len(found) == 1 else None


def _stages(card: Card) -> dict[str, Mapping[str, Any]]:
    """The trainable stages of a model, each with its ``network``; empty for families that recipes cannot train."""
    if card.network.family == "any-unet":
        return {name: card.network.parameters[name] for name in any_unet.ALL_STAGES if name in card.network.parameters}
    return {stretched_brain.STAGE: card.network.parameters} if card.network.family == "stretched-brain" else {}


def _stage_like(base: Card, run: _Run) -> str:
    """The stage of ``base`` that has the run's network: the one from which the run started, else the first."""
    own = run.recipe.network.model_dump(mode="json")
    alike = [
        stage
        for stage, said in _stages(base).items()
        if NetworkChoice.model_validate(said["network"]).model_dump(mode="json") == own
    ]
    first = str(run.state.get("initial") or "").removeprefix(f"{base.id}:")
    if alike:
        return first if first in alike else alike[0]
    raise InputError(
        f"The network of the recipe '{run.recipe.name}' is that of no stage of '{base.id}', which it started from; "
        "take the recipe of that stage, or train from fresh weights."
    )


def _stage(recipe: Recipe, count: int) -> str:
    if recipe.network.name == "ar-ca":
        return f"{recipe.regions[0].value.lower()}.{recipe.view.plane.value}"
    if count > 1:
        raise InputError(
            "Several runs are one model where they trained AR-CA's networks, or the stages of a model that '--like' "
            "names; add the others one by one."
        )
    return trained.STAGE


def _fields_like(base: Card) -> dict[str, Any]:
    """The fields of ``base`` on inputs, processing and outputs, without its measured figures."""
    kept = ("inputs", "space", "normalisation", "network", "inference", "output", "regions", "thresholdable")
    content = json.loads(card_text(base))
    return {name: content[name] for name in (*kept, "postprocessing") if content[name] is not None}


def _described(runs: Sequence[_Run], about: About, base: Card | None) -> dict[str, Any]:
    """The fields on the model's identity, origin and validation figures."""
    first = runs[0].recipe
    names = ", ".join(dict.fromkeys(one.recipe.name for one in runs))
    steps = ", ".join(str(one.state["step"]) for one in runs)
    training = f"Trained by the recipe{'s' * (len(runs) > 1)} {names} ({steps} steps)."
    title = about.model if names == about.model else f"{about.model} ({names})"
    fields = about.fields(title, "whoever trained it", WEIGHTS)
    if base is not None and any(str(one.state.get("initial") or "").startswith(f"{base.id}:") for one in runs):
        training = f"{training[:-1]}, from the weights of {base.id}."
        before = f"Trained on from {base.id} ({base.weights.licence}): {base.weights.attribution}"
        fields["weights"]["attribution"] = f"{fields['weights']['attribution'].rstrip('.')}. {before}"
    return fields | {
        "summary": first.description.partition(" Command:")[0],
        "training": training,
        "citation": first.citation or (base.citation if base else "none"),
        "measured": _measured(runs),
    }


def _measured(runs: Sequence[_Run]) -> list[dict[str, Any]]:
    """Per subset of modalities the mean validation Dice at the step of the checkpoint."""
    values: dict[tuple[str, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    cases: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for one in runs:
        own = [sequence.value for sequence in one.recipe.sequences]
        for row in _validated(one):
            subset = tuple(name for name in own if name in row["subset"].split("+"))
            for region in one.recipe.regions:
                if row.get(region.value):
                    values[subset][region.value].append(float(row[region.value]))
                    cases[subset].add(row["case"])
    return [
        {
            "data": "the cases that the training was validated on",
            "cases": len(cases[subset]),
            "sequences": list(subset),
            "dice": {region: round(sum(dice) / len(dice), 3) for region, dice in found.items()},
            "source": f"{VALIDATION} of the run",
            "remark": "mean Dice in what the network is shown at once, not of whole results; the step was chosen by it",
        }
        for subset, found in values.items()
    ]


def _validated(run: _Run) -> list[dict[str, str]]:
    path = run.path.parent / VALIDATION
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row.get("step") == str(run.state["step"])]
