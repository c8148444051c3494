"""``gliomaseg train``: prepares the cases of a table and trains a network by a recipe."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib.cli.arguments import add_root
from GliomaSegLib.errors import InputError, as_typed

if TYPE_CHECKING:
    import torch

    from GliomaSegLib.datasets.case_table import CaseRow
    from GliomaSegLib.progress import Progress
    from GliomaSegLib.training.recipe import Recipe


_SHOWN_EVERY_S = 10.0  # step, loss and time left, in a log file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg train``."""
    parser.description = (
        "Train a network by a recipe. The cases are prepared once and kept in CACHE. A run that was stopped goes on "
        "where it was; several processes or graphics cards train together under torch's launcher "
        "(torchrun -m GliomaSegLib train ...)."
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one that comes with GliomaSeg")
    parser.add_argument("--cases", type=Path, required=True, metavar="CSV", help="the case table")
    add_root(parser)
    parser.add_argument(
        "--splits", type=Path, metavar="JSON",
        help="patients of train, test and validation; with --hold-out, --cross-validation and --folds those of test "
        "are left out and all others divided anew",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder for the prepared cases")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument(
        "--initial", metavar="PT", help="start from a run's checkpoint, or from a stage of a model, as in MODEL:coarse"
    )
    parser.add_argument(
        "--label-maps", type=Path, metavar="NPZ", help="tumour label maps of further patients, for synthetic cases"
    )
    parser.add_argument(
        "--iterations", type=int, metavar="N",
        help="steps of the optimiser, instead of the recipe's number; a run that is finished goes on when N is larger",
    )  # fmt: skip
    parser.add_argument("--prepare-only", action="store_true", help="prepare the cases and stop")
    apart = parser.add_mutually_exclusive_group()
    apart.add_argument("--hold-out", metavar="HOSPITAL", help="validate on this hospital and train on the others")
    apart.add_argument(
        "--cross-validation", action="store_true", help="hold out every hospital in turn, each into RUN/HOSPITAL"
    )
    apart.add_argument(
        "--folds", type=int, metavar="N",
        help="cross-validation with N folds, each into RUN/fold-1 and so on; RUN/folds.csv says who is in which",
    )  # fmt: skip
    parser.add_argument(
        "--folds-of", choices=("hospitals", "patients"), default="hospitals",
        help="whether a fold holds out whole hospitals, with about as many patients as the others, or random patients",
    )  # fmt: skip
    parser.add_argument(
        "--test-hospital", action="append", default=[], metavar="HOSPITAL",
        help="with --folds: kept for the test, in no fold; may be given again",
    )  # fmt: skip
    parser.add_argument("--store", type=Path, metavar="DIR", help="folder of installed models, for pseudo-labels")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1 (and so on)")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Prepare and train; the exit status."""
    import torch

    from GliomaSegLib.datasets.case_table import read_table
    from GliomaSegLib.inference.device import choose_device
    from GliomaSegLib.terminal import progress_for_stderr
    from GliomaSegLib.training.recipe import find_recipe, read_recipe
    from GliomaSegLib.training.view_check import check_view

    if parsed.threads:
        torch.set_num_threads(parsed.threads)
    recipe = read_recipe(find_recipe(parsed.recipe))
    if parsed.iterations is not None:
        if parsed.iterations < 1:
            raise InputError(f"--iterations is {parsed.iterations}; give at least 1.")
        recipe = recipe.model_copy(update={"iterations": parsed.iterations})
    check_view(recipe)
    rows = read_table(parsed.cases, parsed.root)
    device = choose_device(parsed.device)
    parsed.cache = recipe.preparation.folder(parsed.cache)
    with progress_for_stderr(_SHOWN_EVERY_S) as progress:
        for part in _parts(parsed, recipe, rows):
            _prepare(parsed, recipe, [*part.train, *part.watched], device, progress)
            labelled = _labelled(parsed, recipe, part.train, device, progress)
            paths = [*labelled, *_synthetic(parsed, recipe, part.train, rows, progress)]
            if parsed.prepare_only:
                continue
            _train(parsed, recipe, paths, part.watched, part.folder, device, progress)
            print(
                f"{recipe.name} is trained; see {part.folder}. 'gliomaseg models add {as_typed(part.folder)} --id NAME'"
                " makes a model of it; the same command with a larger --iterations trains on.",
                file=output,
            )
    return 0


@dataclass(frozen=True)
class _Part:
    """One training: its cases, those that it holds out, and the folder of its run."""

    train: list[CaseRow]
    watched: list[CaseRow]
    folder: Path


def _parts(parsed: argparse.Namespace, recipe: Recipe, rows: list[CaseRow]) -> list[_Part]:
    """The trainings that were asked for: one, one for each hospital, or one for each fold."""
    from GliomaSegLib.datasets import folds
    from GliomaSegLib.datasets.case_table import read_splits, training_and_validation
    from GliomaSegLib.io.names import file_stem

    if parsed.test_hospital and parsed.folds is None:
        raise InputError("--test-hospital is of --folds; without folds name the test patients in --splits.")
    splits = read_splits(parsed.splits) if parsed.splits else {}
    if not (parsed.folds is not None or parsed.cross_validation or parsed.hold_out is not None):
        return [_Part(*training_and_validation(rows, splits, recipe.validation.split), parsed.output)]
    left = [row for row in rows if row.patient not in splits.get("test", ())]
    if parsed.folds is None:
        hospitals = sorted({row.hospital for row in left}) if parsed.cross_validation else [parsed.hold_out]
        return [
            _Part(
                *training_and_validation(left, {}, recipe.validation.split, hospital),
                parsed.output / file_stem(hospital) if parsed.cross_validation else parsed.output,
            )
            for hospital in hospitals
        ]
    left = folds.without_hospitals(left, parsed.test_hospital) if parsed.test_hospital else left
    if parsed.folds_of == "hospitals":
        found = folds.hospital_folds(left, parsed.folds)
    else:
        found = folds.patient_folds(left, parsed.folds, recipe.seed)
    folds.write_folds(rows, found, parsed.output / folds.TABLE)
    return [_Part(*folds.divided(left, fold), parsed.output / fold.name) for fold in found]


def _prepare(
    parsed: argparse.Namespace, recipe: Recipe, rows: list[CaseRow], device: torch.device, progress: Progress
) -> None:
    from GliomaSegLib.training.dataset import prepare_all
    from GliomaSegLib.training.preparation import in_common_space

    wish = recipe.preparation
    if wish.common_space and (lost := next((row for row in rows if row.placeholder), None)):
        raise InputError(
            f"Case '{lost.case}': its geometry is a placeholder, so that it cannot be registered to the template; set "
            "'preparation.common_space' of the recipe to false."
        )
    further = {"then": in_common_space} if wish.common_space else {}
    prepare_all(rows, parsed.cache, device, progress, wish.bias_correction, **further)


def _labelled(
    parsed: argparse.Namespace, recipe: Recipe, rows: list[CaseRow], device: torch.device, progress: Progress
) -> list[Path]:
    """The prepared training cases, with pseudo-labels of the model that the recipe names, if any."""
    from GliomaSegLib.inference.cascade import SliceCascade
    from GliomaSegLib.inference.device import choose_precision
    from GliomaSegLib.pipeline.prediction import load_model
    from GliomaSegLib.training.dataset import prepared_path
    from GliomaSegLib.training.pseudo_labels import add_pseudo_labels
    from GliomaSegLib.zoo.catalogue import find_card
    from GliomaSegLib.zoo.places import default_store
    from GliomaSegLib.zoo.store import Store

    if recipe.pseudo_labels is None:
        return [prepared_path(row, parsed.cache) for row in rows]
    card, store = find_card(recipe.pseudo_labels, parsed.store), Store(parsed.store or default_store())
    weights = store.weights(card)
    segmenter = load_model(card.id, weights, device, choose_precision(device), parsed.store)
    if not isinstance(segmenter, SliceCascade):
        raise InputError(
            f"The model '{card.id}' does not divide a given tumour into its parts, as pseudo-labels need it; name "
            "'ca-cnn-brats17' in the recipe."
        )
    return add_pseudo_labels(rows, parsed.cache, card.id, store.weights_sha256(card), segmenter, progress)


def _synthetic(
    parsed: argparse.Namespace, recipe: Recipe, rows: list[CaseRow], everyone: list[CaseRow], progress: Progress
) -> list[Path]:
    """The recipe's synthetic cases, drawn from those that are trained on and from no others of the table or splits."""
    from GliomaSegLib.datasets.case_table import read_left_out, read_splits
    from GliomaSegLib.io.provenance import sha256_of
    from GliomaSegLib.training.dataset import prepared_path, read_prepared, stored_key
    from GliomaSegLib.training.synthesis.pool import pool_folder, write_pool

    if recipe.synthetic is None:
        return []
    prepared = [prepared_path(row, parsed.cache) for row in rows]
    wish = recipe.synthetic
    maps, made_from = [], [*map(stored_key, prepared)]
    if parsed.label_maps is not None:
        from GliomaSegLib.training.synthesis.label_maps import read_label_maps

        splits = read_splits(parsed.splits) if parsed.splits else {}
        trained = {row.patient for row in rows}
        held_out = {*splits.get("test", ()), *splits.get("validation", ())} - trained
        held_out |= {name for row in everyone if row.patient not in trained for name in (row.case, row.patient)}
        left_out = [*(read_left_out(parsed.splits) if parsed.splits else ()), *sorted(held_out)]
        maps = read_label_maps(parsed.label_maps, wish.spacing_mm, left_out)
        made_from += [sha256_of(parsed.label_maps), *left_out]
    folder = pool_folder(parsed.cache, made_from, wish.spacing_mm, wish.seed)
    return write_pool(map(read_prepared, prepared), folder, wish.spacing_mm, wish.count, wish.seed, progress, maps)


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
    from GliomaSegLib.training.loop import Training
    from GliomaSegLib.training.pool import read_pool
    from GliomaSegLib.training.processes import Processes

    recipe = recipe.model_copy(update={"preparation": recipe.preparation.learnt(train)})
    view, changed = recipe.view.view, recipe.preparation.changed
    processes = Processes.of_environment()
    with processes.joined(device):
        training = Training(
            recipe,
            read_pool(train, view, recipe.regions, changed),
            read_pool([prepared_path(row, parsed.cache) for row in watched], view, recipe.regions, changed),
            device,
            initial=initial_weights(parsed.initial, parsed.store) if parsed.initial else None,
            processes=processes,
            initial_from=parsed.initial,
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
    tensors = load_file(Store(store or default_store()).weights(find_card(model, store)))
    parts = {tuple(name.split(".")): value.float() for name, value in tensors.items()}
    own = {name: value for name, value in parts.items() if stage in name}
    if not own:
        raise InputError(f"The model '{model}' has no stage '{stage}'; its first weights are '{min(tensors)}'.")
    return {".".join(part for part in name if part != stage): value for name, value in own.items()}
