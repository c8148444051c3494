"""The papers' recipes: what the papers say is in them, and each trains for two steps at reduced size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.slices import Plane
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.networks.ar_ca import Regularised
from GliomaSegLib.progress import Silent
from GliomaSegLib.training.dataset import CHANNELS, TrainingCase
from GliomaSegLib.training.loop import Training
from GliomaSegLib.training.losses import autoencoder, bce, central, chosen_loss, deep_supervision, dice, weighted_bce
from GliomaSegLib.training.pool import lesion_weights, pool_case, weigh_lesions
from GliomaSegLib.training.recipe import LossChoice, Recipe, find_recipe, read_recipe
from GliomaSegLib.training.sampling import PooledCase, View, choose_centre, take, take_weights
from GliomaSegLib.training.task import Task

CPU = torch.device("cpu")
# The smallest patch that the network takes.
REDUCED = {
    "eijgelaar2020-deepmedic": (51, 51, 51),
    "helland2023-agu-net": (32, 32, 16),
    "helland2023-nnunet": (16, 32, 32),
    "kurmukov2021-unet": (16, 16, 24),
    "lotan2021-ar-ca-enet": (19, 16, 16),
    "lotan2021-ar-ca-tnet": (19, 16, 16),
    "lotan2021-ar-ca-wnet": (19, 16, 16),
    "schwannoma": (16, 16, 24),
    "shirokikh2019-deepmedic": (51, 51, 51),
    "shirokikh2019-unet": (16, 16, 24),
    "shirokikh2019-vnet": (16, 16, 32),
}
# Large networks that test_trained_models.py trains too.
LARGE = ("helland2023-nnunet", "kurmukov2021-unet", "schwannoma", "shirokikh2019-vnet")


def _case(name: str, known: tuple[Region, ...] = (Region.WT, Region.TC, Region.ET), without: str = "") -> TrainingCase:
    """A brain of 2 mm with a tumour and a small second lesion of enhancing tumour."""
    rng = np.random.default_rng(len(name))
    z, y, x = np.mgrid[:44, :52, :48]
    brain = ((z - 22) / 21) ** 2 + ((y - 26) / 25) ** 2 + ((x - 24) / 22) ** 2 < 1
    distance = np.sqrt((z - 20) ** 2 + (y - 22) ** 2 + (x - 15) ** 2)
    labels = np.select([distance < 3, distance < 5, distance < 8], [Label.NETC, Label.ET, Label.SNFH], 0)
    labels[30:32, 30:32, 32:34] = Label.ET
    images = rng.normal(size=(4, *brain.shape)) + (labels > 0)
    images[[channel.value in without.split() for channel in CHANNELS]] = 0
    return TrainingCase(
        name, name, "phantom", (images * brain).astype(np.float16), brain, labels.astype(np.uint8), known, (2.0,) * 3
    )


def _pool(recipe: Recipe, *cases: TrainingCase) -> list[PooledCase]:
    return [pool_case(case, recipe.view.view, recipe.regions) for case in cases]


def _reduced(name: str, **view: object) -> Recipe:
    """The recipe with small patches of 2 mm, two per batch, for two iterations."""
    recipe = read_recipe(find_recipe(name))
    parameters = dict(recipe.network.parameters)
    shape = view.get("shape", REDUCED[name])
    if recipe.network.name == "ar-ca":
        parameters["plane"] = (16, 16)
    return recipe.model_copy(
        update={
            "network": recipe.network.model_copy(update={"parameters": parameters}),
            "view": recipe.view.model_copy(update={"spacing_mm": 2.0, **view, "shape": shape}),
            "iterations": 2,
            "batch": 2,
            "accumulate": min(recipe.accumulate, 2),
            "validation": recipe.validation.model_copy(update={"every": 2, "cases": 1}),
        }
    )


def test_every_recipe_that_ships_is_reduced_here_or_is_gliomasegs_own() -> None:
    folder = find_recipe("schwannoma").parent
    shipped = {path.stem for path in folder.glob("*.json") if not path.stem.endswith(("splits", "schema"))}
    assert {name for name in shipped if not name.startswith("gliomaseg-")} == REDUCED.keys()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in REDUCED]
)
def test_two_steps_at_reduced_size(name: str, tmp_path: Path) -> None:
    recipe = _reduced(name)
    cases = _pool(recipe, _case("complete"), _case("no FLAIR", without="t2f"))
    training = Training(recipe, cases, cases[:1], CPU)
    before = {key: value.clone() for key, value in training.network.state_dict().items()}
    training.run(tmp_path, Silent())
    losses = [float(line.split(",")[2]) for line in (tmp_path / "steps.csv").read_text().splitlines()[1:]]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    after = training.network.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before if before[key].is_floating_point())
    heading, row = (tmp_path / "validation.csv").read_text().splitlines()[:2]
    scores = dict(zip(heading.split(","), row.split(","), strict=True))
    assert {region.value for region in recipe.regions} == scores.keys() & {"WT", "TC", "ET"}
    # The command in the description names this recipe.
    assert f"gliomaseg train {recipe.name} " in recipe.description
    assert recipe.name == name


def test_a_killed_run_of_a_paper_goes_on_as_it_would_have(tmp_path: Path) -> None:
    """Also with batch normalisation, weights per lesion and everything else that the papers' recipes bring."""
    recipe = _reduced("shirokikh2019-unet")
    cases = _pool(recipe, _case("complete"), _case("another"))
    whole = Training(recipe, cases, [], CPU)
    whole.run(tmp_path / "whole", Silent())
    half = Training(recipe, cases, [], CPU)
    half._advance(tmp_path / "half")
    state = half.state()
    other = Training(recipe, cases, [], CPU)
    (tmp_path / "half").mkdir(exist_ok=True)
    torch.save(state, tmp_path / "half" / "last.pt")
    other.run(tmp_path / "half", Silent())
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[key]), key


# What the papers say


def test_eijgelaars_schedule() -> None:
    recipe = read_recipe(find_recipe("eijgelaar2020-deepmedic"))
    schedule = recipe.optimiser.schedule
    rates = [
        0.001 * schedule.factor(step, 30000)
        for step in (0, 4999, 5000, 10000, 14999, 15000, 16499, 16500, 18000, 29999)
    ]
    halvings = [0, 0, 1, 2, 2, 3, 3, 4, 5, 12]
    np.testing.assert_allclose(rates, [0.001 / 2**n for n in halvings])
    rng = np.random.default_rng(0)
    sample = recipe.sparsification.build()
    kept = np.mean([sample(np.ones(4, bool), rng) for _ in range(4000)], axis=0)
    np.testing.assert_allclose(kept, [0.8, 1, 0.8, 0.8], atol=0.03)


def test_hellands_batch_is_thirty_two() -> None:
    recipe = read_recipe(find_recipe("helland2023-agu-net"))
    assert recipe.batch * recipe.accumulate == 32
    assert recipe.validation.early_stop.patience == 30
    assert recipe.sequences == (Modality.T1C, Modality.T1N)
    extent = np.array(recipe.view.shape) * recipe.view.spacing_mm
    assert (extent >= (155, 190, 150)).all()  # mm: the whole brain


def test_the_ar_ca_networks_take_the_channels_of_the_published_ones() -> None:
    from GliomaSegLib.zoo.loaders.ca_cnn import CHANNEL_ORDER

    for letter, twice in (("wnet", True), ("tnet", True), ("enet", False)):
        recipe = read_recipe(find_recipe(f"lotan2021-ar-ca-{letter}"))
        assert recipe.sequences == CHANNEL_ORDER
        assert recipe.network.build().segmentation.downsample_twice is twice


# What a network sees and segments


def test_a_task_chooses_and_turns() -> None:
    task = Task((Modality.T2F, Modality.T1C), (Region.ET,), Plane.SAGITTAL)
    images, targets = torch.arange(4 * 3 * 4 * 5.0).reshape(1, 4, 3, 4, 5), torch.randn(1, 3, 3, 4, 5)
    seen = task.seen(images)
    assert seen.shape == (1, 2, 5, 3, 4)
    assert seen[0, 0, 2, 1, 3] == images[0, CHANNELS.index(Modality.T2F), 1, 3, 2]
    assert seen[0, 1, 2, 1, 3] == images[0, CHANNELS.index(Modality.T1C), 1, 3, 2]
    assert torch.equal(task.asked(targets)[0, 0], targets[0, 2].permute(2, 0, 1))


@pytest.mark.parametrize(("plane", "shape"), [("sagittal", (16, 16, 19)), ("coronal", (16, 19, 16))])
def test_the_other_views_train_too(plane: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    recipe = _reduced("lotan2021-ar-ca-enet", plane=Plane(plane), shape=shape)
    cases = _pool(recipe, _case("complete"))
    Training(recipe, cases, cases, CPU).run(tmp_path, Silent())
    assert (tmp_path / "best.pt").is_file()


def test_cases_that_cannot_serve_are_left_out_and_none_is_an_error() -> None:
    recipe = _reduced("shirokikh2019-unet")
    whole_tumour, without = _case("whole tumour only", (Region.WT,)), _case("no T1c", without="t1c")
    good, *bad = _pool(recipe, _case("complete"), whole_tumour, without)
    assert [case.name for case in recipe.task.usable([good, *bad])] == ["complete"]
    with pytest.raises(InputError, match=r"None of the 2 cases has T1 \+ contrast and reference labels of ET"):
        Training(recipe, bad, [], CPU)


# Lesions


def test_every_lesion_is_centred_on_equally_often() -> None:
    """The tumour has hundreds of enhancing voxels, the second lesion eight; by region it is hardly ever chosen."""
    share = {}
    for on_lesions in (False, True):
        view = View((16, 16, 16), 2.0, midsagittal=False, on_lesions=on_lesions)
        case = pool_case(_case("complete"), view, (Region.ET,))
        rng = np.random.default_rng(0)
        centres = np.array([choose_centre(case, view, 1.0, (0.0, 0.0, 0.0), rng)[0] for _ in range(400)]) / 2
        share[on_lesions] = np.mean((centres >= (30, 30, 32)).all(1))
    assert share[False] < 0.1
    assert 0.4 < share[True] < 0.6


def test_weights_are_those_of_the_whole_case_and_lie_on_their_lesions() -> None:
    view = View((16, 16, 16), 2.0, midsagittal=False)
    original = _case("complete")
    cases = [pool_case(original, view), pool_case(_case("whole tumour only", (Region.WT,)), view)]
    first, second = weigh_lesions(cases)
    enhancing = original.labels == Label.ET
    # The second case does not know ET and does not count for its beta.
    expected = lesion_weights(enhancing, enhancing.mean())
    np.testing.assert_allclose(first.weights[2].float().numpy(), expected, rtol=4e-3)
    centre = np.array((31.0, 31, 33)) * 2
    targets, weights = take(first, view, centre, np.eye(3))[2], take_weights(first, view, centre, np.eye(3))
    whole = expected[30, 30, 32]
    assert whole > 10
    np.testing.assert_allclose(np.unique(weights[2][targets[2] > 0.5]), [whole], rtol=4e-3)
    assert take_weights(cases[0], view, centre, np.eye(3)) is None
    assert not second.known[2]


def test_a_speck_beside_a_large_tumour_has_a_finite_weight() -> None:
    view = View((16, 16, 16), 1.0, midsagittal=False)
    masks = torch.zeros((4, 60, 60, 60), dtype=torch.uint8)
    masks[0] = masks[1:, 5:47, 5:47, 5:47] = 255
    masks[1:, 55, 55, 55] = 255
    case = replace(pool_case(_case("complete"), view), masks=masks, images=torch.zeros(4, 60, 60, 60).half())
    (weighted,) = weigh_lesions([case])
    whole = 42**3 + 1
    assert whole > torch.finfo(torch.float16).max
    assert weighted.weights[0, 55, 55, 55].item() == pytest.approx(whole, rel=4e-3)
    assert weighted.weights[0, 20, 20, 20].item() == pytest.approx(1, rel=4e-3)


def test_a_lattice_of_uneven_voxels_shows_the_same_place() -> None:
    case = _case("complete")
    fine = View((20, 40, 40), (2.0, 1.0, 1.0), midsagittal=False)
    even = View((20, 20, 20), 2.0, midsagittal=False)
    centre = np.array((20.0, 22, 15)) * 2
    volumes = [take(pool_case(case, view), view, centre, np.eye(3))[2] for view in (fine, even)]
    halved = torch.nn.functional.avg_pool3d(volumes[0], (1, 2, 2))
    assert volumes[0].shape == (3, 20, 40, 40)
    assert (halved - volumes[1]).abs().mean() < 0.02
    assert halved.sum() == pytest.approx(volumes[1].sum().item(), rel=0.03)


# The criterion


def test_the_criterion_of_every_kind_of_answer() -> None:
    torch.manual_seed(0)
    targets, known = (torch.rand(2, 1, 12, 12, 12) < 0.3).float(), torch.ones(2, 1, 12, 12, 12)
    whole, middle, coarse = torch.randn(2, 1, 12, 12, 12), torch.randn(2, 1, 4, 12, 12), torch.randn(2, 1, 6, 6, 6)
    both = LossChoice(name="dice-bce")
    torch.testing.assert_close(chosen_loss(both, whole, targets, known), dice(whole, targets) + bce(whole, targets))
    torch.testing.assert_close(
        chosen_loss(LossChoice(name="bce"), middle, targets, known), bce(middle, targets[:, :, 4:8])
    )
    torch.testing.assert_close(
        chosen_loss(LossChoice(name="dice"), (whole, coarse), targets, known),
        deep_supervision(dice, (whole, coarse), targets),
    )
    weights = torch.rand_like(targets)
    torch.testing.assert_close(
        chosen_loss(LossChoice(name="iw-bce"), middle, targets, known, weights),
        weighted_bce(middle, targets[:, :, 4:8], weights[:, :, 4:8]),
    )
    image, mean, log_variance = torch.randn(2, 4, 4, 12, 12), torch.randn(2, 8), torch.randn(2, 8)
    answer = Regularised(middle, image, image + 0.3, mean, log_variance)
    branch = autoencoder(image, image + 0.3, mean, log_variance)
    torch.testing.assert_close(
        chosen_loss(LossChoice(name="dice", autoencoder_weight=0.2), answer, targets, known),
        dice(middle, targets[:, :, 4:8]) + 0.2 * branch,
    )


def test_the_middle_of_a_volume() -> None:
    volume = torch.arange(9.0).reshape(1, 1, 9, 1, 1)
    assert central(volume, torch.empty(1, 1, 3, 1, 1)).flatten().tolist() == [3, 4, 5]
    assert central(volume, volume).equal(volume)
