"""From a tiny training by each of the papers' recipes to a model of the zoo that segments."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import main
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.lattice import INSIDE, LatticeSpec, Placement
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing.scaling import LANDMARK_PERCENTILES
from GliomaSegLib.progress import Silent
from GliomaSegLib.training.dataset import CHANNELS, TrainingCase, write_case
from GliomaSegLib.training.export import export
from GliomaSegLib.training.exported_card import card_fields
from GliomaSegLib.training.loop import LAST, Training
from GliomaSegLib.training.pool import pool_case
from GliomaSegLib.training.preparation import Preparation
from GliomaSegLib.training.recipe import Recipe, find_recipe, read_recipe
from GliomaSegLib.training.sampling import View, take
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.store import Store
from Testing.support.published import predicted
from Testing.support.training_case import make_case

CPU = torch.device("cpu")
# What the recipes are reduced to: patch and voxels (z, y, x).
TINY: dict[str, dict[str, Any]] = {
    "eijgelaar2020-deepmedic": {"shape": (51, 51, 51), "spacing_mm": 1.0},
    "helland2023-agu-net": {"shape": (16, 32, 16), "spacing_mm": (3.0, 2.0, 3.0)},
    "helland2023-nnunet": {"shape": (16, 32, 32), "spacing_mm": (2.0, 1.0, 1.0)},
    "kurmukov2021-unet": {"shape": (16, 16, 24), "spacing_mm": 2.0},
    "shirokikh2019-unet": {"shape": (16, 16, 24), "spacing_mm": 1.5},
    "shirokikh2019-vnet": {"shape": (16, 16, 32), "spacing_mm": 2.0},
}


def tiny(name: str, plane_voxels: tuple[int, int] | None = None, **view: object) -> Recipe:
    recipe = read_recipe(find_recipe(name))
    network = recipe.network
    if plane_voxels:
        network = network.model_copy(update={"parameters": network.parameters | {"plane": plane_voxels}})
    return recipe.model_copy(
        update={
            "network": network,
            "view": recipe.view.model_copy(update=view),
            "iterations": 2,
            "batch": 2,
            "accumulate": 1,
            "validation": recipe.validation.model_copy(update={"every": 100}),
        }
    )


def trained(recipe: Recipe, folder: Path) -> Path:
    """The checkpoint of a run by the recipe on two small cases."""
    made = [make_case(seed=seed) for seed in range(2)]
    if recipe.preparation.histogram:
        paths = [folder.with_name(f"{number}.npz") for number in range(2)]
        for case, path in zip(made, paths, strict=True):
            write_case(case, "", path)
        recipe = recipe.model_copy(update={"preparation": recipe.preparation.learnt(paths)})
    cases = [pool_case(recipe.preparation.changed(case), recipe.view.view, recipe.regions) for case in made]
    Training(recipe, cases, [], CPU).run(folder, Silent())
    return folder / LAST


def written_card(fields: Mapping[str, Any], path: Path, file: Path) -> Card:
    """A card of the exported fields and what a recipe does not know."""
    rest = {
        "id": "our-model",
        "title": "Ours",
        "version": "1",
        "summary": "A test.",
        "task": "preoperative-glioma",
        "time_points": ["preoperative"],
        "training": "Trained on two made brains.",
        "weights": {"files": [{"name": file.name}], "licence": "CC0-1.0", "attribution": "us"},
        "licence": "CC0-1.0",
        "citation": "none",
        "status": "demonstration",
    }
    path.write_text(json.dumps(rest | dict(fields)), encoding="utf-8")
    return read_card(path)


def images_of(case: TrainingCase) -> dict[Modality, np.ndarray]:
    """The case as a run shows it: other grey values, 0 outside the brain, room around it."""
    brain = case.brain.astype(np.float32)
    return {
        one: np.pad((case.images[place].astype(np.float32) * 40 + 600) * brain, 6) for place, one in enumerate(CHANNELS)
    }


@pytest.mark.parametrize("name", TINY)
def test_a_run_by_a_papers_recipe_becomes_a_model(name: str, tmp_path: Path) -> None:
    recipe = tiny(name, **TINY[name])
    checkpoint = trained(recipe, tmp_path / "run")
    file = tmp_path / "ours.safetensors"
    fields = export({"network": checkpoint}, file)
    store = Store(tmp_path / "models")
    written_card(fields, tmp_path / "card.json", file)
    card = store.add(tmp_path / "card.json")
    store.install(card, file)
    case = make_case(seed=5)
    shown = {one: image for one, image in images_of(case).items() if one in recipe.sequences}
    found = predicted(card, store, shown)
    assert found.labels.shape == (52, 60, 52)
    assert tuple(found.probabilities) == recipe.regions
    inside = np.pad(case.brain, 6)
    for values in found.probabilities.values():
        assert np.ptp(values[inside]) > 0, "the network ran"
        assert not values[~inside].any()


@pytest.mark.parametrize("views", [("axial",), ("axial", "sagittal")])
def test_the_networks_of_ar_ca_become_a_cascade(views: tuple[str, ...], tmp_path: Path) -> None:
    stages = {}
    for region, network in (("wt", "wnet"), ("tc", "tnet"), ("et", "enet")):
        for view in views:
            shape = (19, 16, 16) if view == "axial" else (16, 16, 19)
            recipe = tiny(f"lotan2021-ar-ca-{network}", plane_voxels=(16, 16), shape=shape, plane=Plane(view))
            stages[f"{region}.{view}"] = trained(recipe, tmp_path / f"{network}-{view}")
    file = tmp_path / "ours.safetensors"
    fields = export(stages, file)
    assert fields["network"] == {"family": "ar-ca", "parameters": {"views": list(views)}}
    store, card = Store(tmp_path / "models"), written_card(fields, tmp_path / "card.json", file)
    store.install(card, file)
    assert store.weights(card).stat().st_size < file.stat().st_size * 2, "the branch of the autoencoder is left out"
    found = predicted(card, store, images_of(make_case(seed=5)))
    assert found.labels.shape == (52, 60, 52)
    assert set(found.probabilities) == {Region.WT, Region.TC, Region.ET}
    assert np.ptp(found.probabilities[Region.WT]) > 0


# --- what is shown is what was trained on --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacing", "frame"),
    [
        ((2.0, 2.0, 2.0), None),
        ((1.0, 0.5, 0.5), None),
        ((1.1, 1.5, 1.2), (48, 48, 48)),
        ((2.0, 2.0, 2.0), (24, 32, 24)),
    ],
)
def test_a_model_is_shown_what_its_training_saw(
    spacing: tuple[float, float, float], frame: tuple[int, int, int] | None
) -> None:
    case = make_case(seed=3)
    view = View(frame or (1, 1, 1), spacing, midsagittal=frame is not None)
    pooled = pool_case(case, view)
    channels, brain = case.images.astype(np.float32), case.brain
    place = Placement.of(LatticeSpec(spacing, frame, (8, 8, 8)), channels, brain, (1.0, 1.0, 1.0))
    seen = place.seen(torch.from_numpy(np.concatenate([channels, brain[None]])))
    view = dataclasses.replace(view, shape=place.shape)
    images, inside, _, _ = take(pooled, view, place.centre, place.rotation)
    same = (seen[-1:] > INSIDE) == (inside > 0.5)
    assert same.float().mean() > 0.9995, "but for rounding at the very edge"
    torch.testing.assert_close(seen[:-1] * inside, images, atol=5e-3, rtol=0)
    if frame is not None:
        assert pooled.pose is not None
        np.testing.assert_allclose(place.centre, pooled.pose.centre, atol=1e-2)


@pytest.mark.parametrize(
    ("spec", "least"),
    [
        (LatticeSpec((1.0, 1.0, 1.0)), 1.0),
        (LatticeSpec((1.0, 0.5, 0.5)), 0.99),
        (LatticeSpec((2.0, 2.0, 2.0)), 0.93),
        (LatticeSpec((1.1, 1.5, 1.2), (16, 16, 16), (16, 16, 16)), 0.95),
    ],
)
def test_what_is_found_on_the_lattice_comes_back_to_its_place(spec: LatticeSpec, least: float) -> None:
    case = make_case(seed=3)
    tumour = case.labels > 0
    place = Placement.of(spec, case.images.astype(np.float32), case.brain, (1.0, 1.0, 1.0))
    assert place.is_the_volumes_own == (least == 1.0)
    back = place.back(place.seen(torch.from_numpy(tumour[None].astype(np.float32))))[0].numpy() > 0.5
    assert back.shape == tumour.shape
    assert 2 * (back & tumour).sum() / (back.sum() + tumour.sum()) >= least


# --- the command line and what is refused --------------------------------------------------------------------------


def test_a_run_is_segmented_with_from_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From export to a result folder; the same store serves experiment and batch."""
    recipe = tiny("kurmukov2021-unet", shape=(16, 16, 16), spacing_mm=2.0)
    recipe = recipe.model_copy(update={"sequences": (Modality.T1C,)})
    network = recipe.network.model_copy(update={"parameters": {"channels": 1, "regions": 3}})
    recipe = recipe.model_copy(update={"network": network})
    file, store = tmp_path / "ours.safetensors", tmp_path / "models"
    written_card(export({"network": trained(recipe, tmp_path / "run")}, file), tmp_path / "card.json", file)
    assert main(["models", "add", str(tmp_path / "card.json"), "--store", str(store)]) == 0
    assert main(["models", "install", "our-model", "--from", str(file), "--store", str(store)]) == 0
    image = sitk.GetImageFromArray(images_of(make_case(seed=5))[Modality.T1C])
    image.SetSpacing((2.6, 2.6, 2.6))  # a brain's volume
    sitk.WriteImage(image, tmp_path / "t1c.nii.gz")
    given = [
        "--t1c",
        str(tmp_path / "t1c.nii.gz"),
        "--model",
        "our-model",
        "--store",
        str(store),
        "--brain",
        "stripped",
    ]
    status = main(["segment", *given, "--device", "cpu", "-o", str(tmp_path / "out")])
    assert status == 0, capfd.readouterr().err
    assert sitk.ReadImage(tmp_path / "out" / "segmentation.nii.gz").GetSize() == image.GetSize()


def test_stages_that_are_no_model_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    deepmedic, wnet = (read_recipe(find_recipe(name)) for name in ("eijgelaar2020-deepmedic", "lotan2021-ar-ca-wnet"))
    with pytest.raises(InputError, match=r"such as wt\.axial=RUN"):
        card_fields({"network": wnet})
    with pytest.raises(InputError, match="no model that a card can be written for"):
        card_fields({"wt.axial": deepmedic})
    with pytest.raises(InputError, match=r"is not what its recipe .* trains \(wt\.axial\)"):
        card_fields({"tc.axial": wnet})
    with pytest.raises(InputError, match="names no network of AR-CA"):
        card_fields({"wt.oblique": wnet})
    enet = read_recipe(find_recipe("lotan2021-ar-ca-enet"))
    with pytest.raises(InputError, match="it and core and enhancing tumour in the same views"):
        card_fields({"wt.axial": wnet, "et.axial": enet})


def test_weights_of_another_network_or_without_its_parameters_are_refused(tmp_path: Path) -> None:
    recipe = tiny("shirokikh2019-unet", **TINY["shirokikh2019-unet"])
    file = tmp_path / "ours.safetensors"
    fields = export({"network": trained(recipe, tmp_path / "run")}, file)
    other = dict(
        fields,
        network={
            "family": "trained",
            "parameters": fields["network"]["parameters"]
            | {"network": {"name": "deepmedic", "parameters": {"channels": 1, "regions": 1}}},
        },
    )
    store, card = Store(tmp_path / "models"), written_card(other, tmp_path / "card.json", file)
    store.install(card, file)
    with pytest.raises(WeightsError, match="does not hold the weights of the network 'deepmedic'"):
        predicted(card, store, {Modality.T1C: np.ones((60, 60, 60), np.float32)})


def test_channels_of_one_region_become_its_labels() -> None:
    recipe = read_recipe(find_recipe("eijgelaar2020-deepmedic"))
    with pytest.raises(InputError, match="has no landmarks, which its training learns"):
        card_fields({"network": recipe})
    landmarks = {one: tuple(map(float, LANDMARK_PERCENTILES)) for one in Modality}
    recipe = recipe.model_copy(update={"preparation": Preparation(histogram=True, landmarks=landmarks)})
    fields = card_fields({"network": recipe})
    assert set(fields["network"]["parameters"]["landmarks"]) == {"t1n", "t1c", "t2w", "t2f"}
    assert fields["inference"]["patch"] == [105, 105, 105], "as DeepMedic's answers fit together"
    assert fields["output"]["channels"] == ["TC"]
    assert fields["inputs"]["mandatory"] == ["t1c"]
    whole = card_fields({"network": read_recipe(find_recipe("helland2023-agu-net"))})
    assert whole["inference"]["patch"] is None
    assert whole["network"]["parameters"]["frame"] == [128, 128, 144]
    assert whole["network"]["parameters"]["lattice_mm"] == [1.2, 1.5, 1.1]
    assert whole["inputs"]["mandatory"] == ["t1c", "t1n"]
