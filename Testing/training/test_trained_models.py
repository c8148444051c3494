"""From a tiny training by each of the papers' recipes to a model of the zoo that segments."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import main
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.inference.training_grid import INSIDE, GridSpec, Placement
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing.normalisation import LANDMARK_PERCENTILES
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.training.checkpoint import write_checkpoint
from GliomaSegLib.training.dataset import CHANNELS, TrainingCase, write_case
from GliomaSegLib.training.export import write_stages
from GliomaSegLib.training.exported_card import card_fields
from GliomaSegLib.training.loop import BEST, LAST, Training
from GliomaSegLib.training.own_model import write_model
from GliomaSegLib.training.pool import pool_case
from GliomaSegLib.training.preparation import Preparation
from GliomaSegLib.training.recipe import Recipe, find_recipe, read_recipe
from GliomaSegLib.training.sampling import View, take
from GliomaSegLib.zoo.card import Card, Status
from GliomaSegLib.zoo.card_network import NetworkSpec
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.checkpoint import read_converted
from GliomaSegLib.zoo.loaders import load
from GliomaSegLib.zoo.own import About
from GliomaSegLib.zoo.store import Store
from Testing.support.published import predicted
from Testing.support.training_case import make_case

CPU = torch.device("cpu")
NAMES = sorted(
    path.stem
    for path in resource("recipes").glob("*.json")
    if b'"optimiser"' in path.read_bytes() and "." not in path.stem
)
# Recipes of a network, view and task that another one has too: gliomaseg-any-v2-fine and -coarse, gliomaseg-mets-v1.
REPEATED = (
    *("gliomaseg-any-v1", "gliomaseg-any-v2-coarse-", "gliomaseg-any-v2-fine-"),
    *("gliomaseg-mets-bce", "gliomaseg-mets-dice", "gliomaseg-mets-iw"),
)
# What a recipe's view is reduced to, by the recipe or the name of its network: voxels (z, y, x).
TINY: dict[str, dict[str, Any]] = {
    "agu-net": {"shape": (16, 32, 16), "spacing_mm": (3.0, 2.0, 3.0)},
    "anisotropic-trio": {"shape": (12, 32, 32)},
    "any-unet": {"shape": (24, 32, 24), "spacing_mm": 2.0},
    "deepmedic": {"shape": (51, 51, 51)},
    "nnunet": {"shape": (16, 32, 32), "spacing_mm": (2.0, 1.0, 1.0)},
    "shirokikh2019-unet": {"shape": (16, 16, 24), "spacing_mm": 1.5},
    "unet": {"shape": (16, 16, 24), "spacing_mm": 2.0},
    "vnet": {"shape": (16, 16, 32), "spacing_mm": 2.0},
}


def tiny(name: str, plane_voxels: tuple[int, int] | None = None, **view: object) -> Recipe:
    recipe = read_recipe(find_recipe(name))
    network = recipe.network
    view = TINY.get(name, TINY.get(network.name, {})) | view
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
            **{"shares": {}, "synthetic": None, "pseudo_labels": None},  # of other cases than the two here
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


def model_of(*runs: Path, store: Store, like: str | None = None) -> Card:
    """The model of the zoo that the runs become."""
    with TemporaryDirectory() as folder:
        written = write_model(runs, About("our-model", "CC0-1.0"), Path(folder), store, like)
        return store.add(written[0], weights=written[1])


def images_of(case: TrainingCase) -> dict[Modality, np.ndarray]:
    """The case as a run shows it: other grey values, 0 outside the brain, room around it."""
    brain = case.brain.astype(np.float32)
    return {
        one: np.pad((case.images[place].astype(np.float32) * 40 + 600) * brain, 6) for place, one in enumerate(CHANNELS)
    }


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.startswith(REPEATED) else name
        for name in NAMES
        if "ar-ca" not in name
    ],
)
def test_a_run_by_every_recipe_that_ships_becomes_a_model(name: str, tmp_path: Path) -> None:
    recipe, store = tiny(name), Store(tmp_path / "models")
    card = model_of(trained(recipe, tmp_path / "run").parent, store=store)
    assert card.weights.licence == "CC0-1.0"
    assert card.status is Status.UNPROVEN
    assert card.citation == (recipe.citation or "none")
    case = make_case(seed=5)
    shown = {one: image for one, image in images_of(case).items() if one in recipe.sequences}
    found = predicted(card, store, shown)
    assert found.labels.shape == (52, 60, 52)
    assert tuple(found.probabilities) == recipe.regions
    inside = np.pad(case.brain, 6)
    for values in found.probabilities.values():
        assert np.ptp(values[inside]) > 0, "the network ran"
        assert not values[~inside].any()


@pytest.mark.parametrize("views", [pytest.param(("axial",), marks=pytest.mark.slow), ("axial", "sagittal")])
def test_the_networks_of_ar_ca_become_a_cascade(views: tuple[str, ...], tmp_path: Path) -> None:
    runs = []
    for network in ("wnet", "tnet", "enet"):
        for view in views:
            shape = (19, 16, 16) if view == "axial" else (16, 16, 19)
            recipe = tiny(f"lotan2021-ar-ca-{network}", plane_voxels=(16, 16), shape=shape, plane=Plane(view))
            runs.append(trained(recipe, tmp_path / f"{network}-{view}"))
    store = Store(tmp_path / "models")
    card = model_of(*runs, store=store)
    assert card.network == NetworkSpec(family="ar-ca", parameters={"views": list(views)})
    branch = "the branch of the autoencoder is left out"
    assert not any("branch" in name for name in read_converted(store.weights(card))[0]), branch
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
    place = Placement.of(GridSpec(spacing, frame, (8, 8, 8)), channels, brain, (1.0, 1.0, 1.0))
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
        (GridSpec((1.0, 1.0, 1.0)), 1.0),
        (GridSpec((1.0, 0.5, 0.5)), 0.99),
        (GridSpec((2.0, 2.0, 2.0)), 0.93),
        (GridSpec((1.1, 1.5, 1.2), (16, 16, 16), (16, 16, 16)), 0.95),
    ],
)
def test_what_is_found_on_the_training_grid_comes_back_to_its_place(spec: GridSpec, least: float) -> None:
    case = make_case(seed=3)
    tumour = case.labels > 0
    place = Placement.of(spec, case.images.astype(np.float32), case.brain, (1.0, 1.0, 1.0))
    assert place.is_the_volumes_own == (least == 1.0)
    back = place.back(place.seen(torch.from_numpy(tumour[None].astype(np.float32))))[0].numpy() > 0.5
    assert back.shape == tumour.shape
    assert 2 * (back & tumour).sum() / (back.sum() + tumour.sum()) >= least


# --- the command line and what is refused --------------------------------------------------------------------------


@pytest.mark.slow  # test_walk trains, adds and segments by the same commands
def test_a_run_is_segmented_with_from_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From export to a result folder; the same store serves experiment and batch."""
    recipe = tiny("kurmukov2021-unet", shape=(16, 16, 16), spacing_mm=2.0)
    recipe = recipe.model_copy(update={"sequences": (Modality.T1C,)})
    network = recipe.network.model_copy(update={"parameters": {"channels": 1, "regions": 3}})
    recipe = recipe.model_copy(update={"network": network})
    run, store = trained(recipe, tmp_path / "run").parent, tmp_path / "models"
    named = ["--id", "our-model", "--licence", "ours", "--store", str(store)]
    assert main(["models", "add", str(run), *named]) == 0
    assert "our-model is added and installed" in capfd.readouterr().out
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
    with pytest.raises(InputError, match="add the runs of the whole tumour, the core and the enhancing"):
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


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    recipe, store = tiny("shirokikh2019-unet"), Store(tmp_path / "models")
    card = model_of(trained(recipe, tmp_path / "run"), store=store)
    other = {"network": {"name": "deepmedic", "parameters": {"channels": 1, "regions": 1}}}
    spec = dataclasses.replace(card.network, parameters=card.network.parameters | other)
    with pytest.raises(WeightsError, match="does not hold the weights of the network 'deepmedic'"):
        predicted(dataclasses.replace(card, network=spec), store, {Modality.T1C: np.ones((60, 60, 60), np.float32)})


# --- stages of a model that ships, and what a run is not ----------------------------------------------------------


def stage_run(folder: Path, initial: str | None, recipe: str = "gliomaseg-any-site", best: bool = False) -> Path:
    """A run that trained a stage, as it leaves its folder, with a validation at step 50."""
    chosen = read_recipe(find_recipe(recipe))
    torch.manual_seed(3)
    average = chosen.network.build().state_dict()
    folder.mkdir()
    (folder / "recipe.json").write_text(chosen.model_dump_json())
    state = {"step": 50, "recipe": chosen.model_dump_json(), "average": average, "initial": initial}
    write_checkpoint(state, folder / (BEST if best else LAST))
    (folder / "validation.csv").write_text(
        "step,seconds,case,subset,WT,TC,ET\n25,1,a,t1c,0.1,0.1,0.1\n50,2,a,t1c,0.8,0.6,\n50,2,b,t1c,0.6,0.7,\n"
        "50,2,a,t1c+t2f,0.9,0.7,0.5\n"
    )
    return folder


def test_a_stage_that_was_trained_on_takes_its_place_in_the_model_and_the_others_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    card = model_of(stage_run(tmp_path / "run", "gliomaseg-any-v2:coarse", best=True), store=store)
    base = find_card("gliomaseg-any-v2")
    kept = {name: one for name, one in base.network.parameters.items() if name != "coarse_without_flair"}
    assert dict(card.network.parameters) == kept, "the new network is also for cases without FLAIR"
    assert card.inputs == base.inputs
    assert card.training_features is None, "they were those of other weights"
    assert base.weights.attribution in card.weights.attribution
    assert base.weights.licence in card.weights.attribution
    assert [(one.sequences, dict(one.dice), one.cases) for one in card.measured] == [
        ((Modality.T1C,), {Region.WT: 0.7, Region.TC: 0.65}, 2),
        ((Modality.T1C, Modality.T2F), {Region.WT: 0.9, Region.TC: 0.7, Region.ET: 0.5}, 1),
    ]
    own, before = (read_converted(store.weights(one))[0] for one in (card, base))
    assert own.keys() == {name for name in before if not name.startswith("coarse_without_flair.")}
    assert all(torch.equal(own[name], before[name]) for name in own if not name.startswith("coarse."))
    assert not torch.equal(own["coarse.stem.conv.weight"], before["coarse.stem.conv.weight"])
    found = predicted(card, store, images_of(make_case(seed=5)))
    assert found.labels.shape == (52, 60, 52)


def test_a_network_for_cases_without_flair_is_trained_on_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    card = model_of(stage_run(tmp_path / "run", "gliomaseg-any-v2:coarse_without_flair"), store=store)
    base = find_card("gliomaseg-any-v2")
    assert card.network == base.network
    own, before = (read_converted(store.weights(one))[0] for one in (card, base))
    changed = {name.partition(".")[0] for name in own if not torch.equal(own[name], before[name])}
    assert changed == {"coarse_without_flair"}


def test_runs_from_fresh_weights_become_a_model_like_one_that_ships(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    runs = [stage_run(tmp_path / name, None, f"gliomaseg-any-v2-{name}") for name in ("fine", "coarse")]
    card = model_of(*runs, store=store, like="gliomaseg-any-v2")
    assert "gliomaseg-any-v2 (" not in card.weights.attribution, "nothing of its weights is left"
    assert {name.partition(".")[0] for name in read_converted(store.weights(card))[0]} == {"coarse", "fine"}
    mets = model_of(stage_run(tmp_path / "mets", None, "gliomaseg-mets-v1"), store=store, like="gliomaseg-mets-v1")
    assert mets.network.family == "stretched-brain"
    assert predicted(mets, store, images_of(make_case(seed=5))).labels.shape == (52, 60, 52)
    alone = model_of(runs[1], store=store)
    assert alone.network.family == "trained", "a stage alone is a model too"
    with pytest.raises(InputError, match="that of no stage of 'gliomaseg-mets-v1'"):
        model_of(runs[1], store=store, like="gliomaseg-mets-v1")
    with pytest.raises(InputError, match="whose stages no recipe trains"):
        model_of(runs[1], store=store, like="ca-cnn-brats17")
    with pytest.raises(InputError, match="Several runs are one model where"):
        model_of(*runs, store=store)
    with pytest.raises(InputError, match="Two of the runs trained the stage 'coarse'"):
        model_of(runs[1], runs[1], store=store, like="gliomaseg-any-v2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN"], "was stopped before its first checkpoint; repeat its 'gliomaseg train' command"),
        (["nothing"], "nothing does not exist"),
        (["empty"], "neither a card (JSON), nor the run of a training"),
        (["RUN", "--id", ""], "Say the licence of the weights with --licence"),
    ],
)
def test_what_is_no_run_with_a_checkpoint_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "recipe.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    licence = [] if "--id" in words else ["--licence", "ours", "--id", "ours"]
    assert main(["models", "add", *words, *licence, "--store", str(tmp_path / "models")]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "models" / ".cards").exists()


def test_an_id_that_cannot_be_used_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, store = stage_run(tmp_path / "run", "gliomaseg-any-v2:coarse"), tmp_path / "models"
    for name, said in (("Our Model", "id: String should match"), ("gliomaseg-any-v2", "give it another id")):
        assert main(["models", "add", str(run), "--id", name, "--licence", "ours", "--store", str(store)]) == 1
        assert said in capsys.readouterr().err
    assert not store.exists() or not any(store.glob("**/*.safetensors"))


def test_a_network_of_coronal_slices_is_shown_these(tmp_path: Path) -> None:
    recipe = tiny("shirokikh2019-unet", shape=(16, 24, 16), plane=Plane.CORONAL)
    store = Store(tmp_path / "models")
    card = model_of(trained(recipe, tmp_path / "run").parent, store=store)
    segmenter: Any = load(card, store.weights(card), CPU, torch.float32)
    shown: list[torch.Tensor] = []
    segmenter._inner._networks[0].register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    across = np.broadcast_to(100 + np.arange(48, dtype=np.float32)[:, None], (40, 48, 40))  # brighter along y
    segmenter.predict(dict.fromkeys(recipe.sequences, across), Silent(), 1)
    first = next(one for one in shown if one.device.type != "meta")[0, 0]  # of memory, it is asked without values
    assert tuple(first.shape) == (24, 16, 16)
    inside = first[2:-2, 6:10, 6:10]
    assert torch.all(inside.diff(dim=0) > 0)
    assert torch.allclose(inside.diff(dim=1), torch.zeros(()), atol=1e-5)
    assert torch.allclose(inside.diff(dim=2), torch.zeros(()), atol=1e-5)


def test_weights_beyond_half_precision_are_kept(tmp_path: Path) -> None:
    state = {"running_var": torch.tensor([1e6, 1.0]), "weight": torch.tensor([0.5])}
    write_stages({"network": state}, tmp_path / "w.safetensors")
    found, _ = read_converted(tmp_path / "w.safetensors")
    assert found["network.running_var"].tolist() == [1e6, 1.0]
    assert found["network.weight"].dtype is torch.float16


def test_a_network_without_t1c_needs_none() -> None:
    recipe = tiny("eijgelaar2020-deepmedic")
    landmarks = {Modality.T2F: tuple(map(float, LANDMARK_PERCENTILES))}
    preparation = Preparation(histogram=True, landmarks=landmarks)
    recipe = recipe.model_copy(update={"sequences": (Modality.T2F,), "preparation": preparation})
    assert card_fields({"network": recipe})["inputs"] == {"sequences": ["t2f"], "mandatory": []}


def test_channels_of_one_region_become_its_labels() -> None:
    recipe = read_recipe(find_recipe("eijgelaar2020-deepmedic"))
    with pytest.raises(InputError, match="has no landmarks, which its training learns"):
        card_fields({"network": recipe})
    landmarks = {one: tuple(map(float, LANDMARK_PERCENTILES)) for one in Modality}
    recipe = recipe.model_copy(update={"preparation": Preparation(histogram=True, landmarks=landmarks)})
    fields = card_fields({"network": recipe})
    assert set(fields["network"]["parameters"]["landmarks"]) == {"t1n", "t1c", "t2w", "t2f"}
    assert fields["inference"]["patch"] == [105, 105, 105], "as DeepMedic's outputs fit together"
    assert fields["output"]["channels"] == ["TC"]
    assert fields["inputs"]["mandatory"] == ["t1c"]
    whole = card_fields({"network": read_recipe(find_recipe("helland2023-agu-net"))})
    assert whole["inference"]["patch"] is None
    assert whole["network"]["parameters"]["frame"] == [128, 128, 144]
    assert whole["network"]["parameters"]["lattice_mm"] == [1.2, 1.5, 1.1]
    assert whole["inputs"]["mandatory"] == ["t1c", "t1n"]
