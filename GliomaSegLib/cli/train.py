"""``gliomaseg train``: prepares the cases of a table and trains a network by a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib.errors import InputError

if TYPE_CHECKING:
    import torch

    from GliomaSegLib.datasets.case_table import CaseRow
    from GliomaSegLib.progress import Progress
    from GliomaSegLib.training.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg train``."""
    parser.description = (
        "Train a network by a recipe. The cases are prepared once and kept in CACHE. A run that was stopped goes on "
        "where it was; several processes or graphics cards train together under torch's launcher "
        "(torchrun -m GliomaSegLib train ...)."
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one that comes with GliomaSeg")
    parser.add_argument("--cases", type=Path, required=True, metavar="CSV", help="the case table")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the table's paths, if not the table's own")
    parser.add_argument("--splits", type=Path, metavar="JSON", help="patients of train, test and validation")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder for the prepared cases")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--initial", metavar="PT", help="start from a run's checkpoint, or from a stage of a model, as in MODEL:coarse"
    )
    parser.add_argument(
        "--label-maps", type=Path, metavar="NPZ", help="tumour label maps of further patients, for synthetic cases"
    )
    parser.add_argument("--prepare-only", action="store_true", help="prepare the cases and stop")
    apart = parser.add_mutually_exclusive_group()
    apart.add_argument("--hold-out", metavar="HOSPITAL", help="validate on this hospital and train on the others")
    apart.add_argument(
        "--cross-validation", action="store_true", help="hold out every hospital in turn, each into RUN/HOSPITAL"
    )
    parser.add_argument("--store", type=Path, metavar="DIR", help="folder of installed models, for a recipe's teacher")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1 (and so on)")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Prepare and train; the exit status."""
    import torch

    from GliomaSegLib.cli.terminal import progress_for_stderr
    from GliomaSegLib.datasets.case_table import read_splits, read_table, training_and_validation
    from GliomaSegLib.inference.device import choose_device
    from GliomaSegLib.training.dataset import prepare_all
    from GliomaSegLib.training.recipe import find_recipe, read_recipe

    if parsed.threads:
        torch.set_num_threads(parsed.threads)
    recipe = read_recipe(find_recipe(parsed.recipe))
    rows = read_table(parsed.cases, parsed.root)
    splits = read_splits(parsed.splits) if parsed.splits else {}
    device = choose_device(parsed.device)
    with progress_for_stderr() as progress:
        for held_out, folder in _folds(parsed, rows):
            train, watched = training_and_validation(rows, splits, recipe.validation.split, held_out)
            prepare_all([*train, *watched], parsed.cache, device, progress)
            taught = _taught(parsed, recipe, train, device, progress)
            paths = [*taught, *_synthetic(parsed, recipe, train, held_out, progress)]
            if parsed.prepare_only:
                continue
            _train(parsed, recipe, paths, watched, folder, device, progress)
            print(f"{recipe.name} is trained; see {folder}.", file=output)
    return 0


def _folds(parsed: argparse.Namespace, rows: list[CaseRow]) -> list[tuple[str | None, Path]]:
    """The hospital to hold out, if any, and the folder of each training."""
    if not parsed.cross_validation:
        return [(parsed.hold_out, parsed.output)]
    return [(hospital, parsed.output / hospital) for hospital in sorted({row.hospital for row in rows})]


def _taught(
    parsed: argparse.Namespace, recipe: Recipe, rows: list[CaseRow], device: torch.device, progress: Progress
) -> list[Path]:
    """The prepared training cases, with the answer of the recipe's teacher where their truth needs one."""
    from GliomaSegLib.inference.device import choose_precision
    from GliomaSegLib.pipeline.prediction import load_model
    from GliomaSegLib.training.dataset import prepared_path
    from GliomaSegLib.training.pseudo_labels import taught_path, teach_all
    from GliomaSegLib.zoo.catalogue import find_card
    from GliomaSegLib.zoo.places import default_store
    from GliomaSegLib.zoo.store import Store

    plain = [prepared_path(row, parsed.cache) for row in rows]
    if recipe.teacher is None:
        return plain
    card = find_card(recipe.teacher)
    weights = Store(parsed.store or default_store()).weights(card)
    teacher = load_model(card.id, weights, device, choose_precision(device))
    teach_all(rows, parsed.cache, card.id, teacher, progress)
    taught = [taught_path(row, parsed.cache, card.id) for row in rows]
    return [there if there.is_file() else path for there, path in zip(taught, plain, strict=True)]


def _synthetic(
    parsed: argparse.Namespace, recipe: Recipe, rows: list[CaseRow], held_out: str | None, progress: Progress
) -> list[Path]:
    """The recipe's synthetic cases, drawn from those that are trained on and from no others."""
    from GliomaSegLib.datasets.case_table import read_left_out
    from GliomaSegLib.training.dataset import prepared_path, read_prepared
    from GliomaSegLib.training.synthesis.pool import write_pool

    if recipe.synthetic is None:
        return []
    cases = (read_prepared(prepared_path(row, parsed.cache)) for row in rows)
    wish = recipe.synthetic
    folder = parsed.cache / (f"synthetic-without-{held_out}" if held_out else f"synthetic-{wish.seed}")
    maps = []
    if parsed.label_maps is not None:
        from GliomaSegLib.training.synthesis.label_maps import read_label_maps

        left_out = read_left_out(parsed.splits) if parsed.splits else ()
        maps = read_label_maps(parsed.label_maps, wish.spacing_mm, left_out)
    return write_pool(cases, folder, wish.spacing_mm, wish.count, wish.seed, progress, maps)


def _train(
    parsed: argparse.Namespace,
    recipe: Recipe,
    train: list[Path],
    watched: list[CaseRow],
    folder: Path,
    device: torch.device,
    progress: Progress,
) -> None:
    from GliomaSegLib.training.dataset import prepared_path
    from GliomaSegLib.training.loop import Processes, Training
    from GliomaSegLib.training.sampling import read_pool

    view = recipe.view.view
    processes = Processes.of_environment()
    with processes.joined(device):
        training = Training(
            recipe,
            read_pool(train, view, recipe.regions),
            read_pool([prepared_path(row, parsed.cache) for row in watched], view, recipe.regions),
            device,
            initial=initial_weights(parsed.initial, parsed.store) if parsed.initial else None,
            processes=processes,
        )
        training.run(folder, progress)


def initial_weights(source: str, store: Path | None) -> dict[str, torch.Tensor]:
    """The weights to start from: a checkpoint's averaged ones, or ``MODEL:STAGE`` of the zoo (a site's fine-tuning).

    Raises:
        InputError: there is no such checkpoint, model or stage.
    """
    from safetensors.torch import load_file

    from GliomaSegLib.training.checkpoint import read_checkpoint
    from GliomaSegLib.zoo.catalogue import find_card
    from GliomaSegLib.zoo.places import default_store
    from GliomaSegLib.zoo.store import Store

    if Path(source).is_file():
        return read_checkpoint(Path(source))["average"]
    model, _, stage = source.partition(":")
    tensors = load_file(Store(store or default_store()).weights(find_card(model)))
    parts = {tuple(name.split(".")): value.float() for name, value in tensors.items()}
    own = {name: value for name, value in parts.items() if stage in name}
    if not own:
        raise InputError(f"The model '{model}' has no stage '{stage}'; its first weights are '{min(tensors)}'.")
    return {".".join(part for part in name if part != stage): value for name, value in own.items()}
