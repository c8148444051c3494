"""Packs from a case table, as ``gliomaseg train`` prepares it; where the library is installed whole."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import SimpleITK as sitk
import torch

from GliomaSegLib.datasets.case_table import CaseRow, read_splits, read_table, training_and_validation
from GliomaSegLib.datasets.prepared_case import prepare_case
from GliomaSegLib.errors import InputError
from GliomaSegLib.training.dataset import prepare_all, prepared_path, read_prepared
from GliomaSegLib.training.pool import pool_case
from GliomaSegLib.training.pseudo_labels import pseudo_labelled_path
from GliomaSegLib.training.recipe import Recipe, find_recipe, read_recipe
from GliomaSegLib.training.sampling import PooledCase
from GliomaSegLib.training.synthesis.pool import HOSPITAL as SYNTHETIC
from Testing.gpu import measure
from Testing.gpu.packs import TRAIN, WATCHED, write_packs
from Testing.gpu.recipe import plain

CPU = torch.device("cpu")


def pack(parsed: argparse.Namespace) -> list[Path]:
    """Write the packs of a recipe's cases, and the images of the case that inference is measured with.

    Raises:
        InputError: a case cannot be prepared, is not in the table, or is too large for a pack.
    """
    recipe = read_recipe(find_recipe(parsed.recipe))
    if recipe.preparation.common_space or recipe.loss.name == "iw-bce":
        raise InputError(f"'{recipe.name}' has a common space or weights per lesion, which packs do not carry.")
    if recipe.synthetic is not None:
        print("Packs hold no synthetic cases; their share of the samples goes to the others.")
        shares = {hospital: share for hospital, share in recipe.shares.items() if hospital != SYNTHETIC}
        recipe = recipe.model_copy(update={"synthetic": None, "shares": shares})
    rows = read_table(parsed.cases, parsed.root)
    splits = read_splits(parsed.splits) if parsed.splits else {}
    train, watched = training_and_validation(rows, splits, recipe.validation.split)
    watched = watched[: recipe.validation.cases]
    prepare_all([*train, *watched], parsed.cache, CPU, bias_correction=recipe.preparation.bias_correction)
    preparation = recipe.preparation.learnt([prepared_path(row, parsed.cache) for row in train])
    recipe = recipe.model_copy(update={"preparation": preparation})
    written = write_packs(
        _pooled(recipe, train, watched, parsed.cache),
        recipe.view.view,
        recipe.view.jitter_mm,
        plain(recipe),
        parsed.output,
        int(parsed.mib * 2**20),
    )
    if parsed.inference_case:
        row = next((row for row in rows if row.case == parsed.inference_case), None)
        if row is None:
            raise InputError(f"The case table has no case '{parsed.inference_case}'.")
        images = {one: sitk.GetArrayFromImage(image) for one, image in prepare_case(row, CPU).images.items()}
        measure.write_images(images, parsed.output / "inference.npz")
        written.append(parsed.output / "inference.npz")
    return written


def _pooled(
    recipe: Recipe, train: list[CaseRow], watched: list[CaseRow], cache: Path
) -> Iterator[tuple[str, PooledCase]]:
    for role, rows in ((TRAIN, train), (WATCHED, watched)):
        for row in rows:
            path = prepared_path(row, cache)
            if recipe.pseudo_labels and (own := pseudo_labelled_path(row, cache, recipe.pseudo_labels)).is_file():
                path = own
            case = recipe.preparation.changed(read_prepared(path))
            yield role, pool_case(case, recipe.view.view, recipe.regions)
