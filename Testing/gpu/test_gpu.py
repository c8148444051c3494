"""The script for a graphics card, on the processor and at reduced size: packs, training, parts, measuring."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.labels import Region
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.training.checkpoint import read_checkpoint
from GliomaSegLib.training.loop import Training
from GliomaSegLib.training.pool import pool_case
from GliomaSegLib.training.recipe import Recipe, find_recipe, read_recipe
from Testing.gpu import measure, parts
from Testing.gpu.__main__ import main
from Testing.gpu.packs import TRAIN, WATCHED, read_packs, read_recipe_of, write_packs
from Testing.gpu.recipe import PlainRecipe, plain
from Testing.support.training_case import make_case

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def tiny(midsagittal: bool) -> Recipe:
    """A recipe of gliomaseg-any's with a small network and few steps."""
    recipe = read_recipe(find_recipe(f"gliomaseg-any-v2-{'coarse' if midsagittal else 'fine'}"))
    network = recipe.network.model_copy(
        update={"name": "any-unet", "parameters": {"widths": (4, 8, 8), "mirrored": midsagittal}}
    )
    view = {"shape": (24, 32, 24), "spacing_mm": 2.0} if midsagittal else {"shape": (16, 24, 24), "spacing_mm": 1.0}
    recipe = recipe.model_copy(
        update={
            "network": network,
            "view": recipe.view.model_copy(update=view),
            "shares": {},
            "synthetic": None,
            "pseudo_labels": None,
            "iterations": 6,
            "batch": 2,
            "precision": "float32",
            "validation": recipe.validation.model_copy(update={"every": 3, "cases": 1}),
        }
    )
    return Recipe.model_validate_json(recipe.model_dump_json())


def packed(recipe: Recipe, folder: Path, mib: float = 40) -> list[Path]:
    cases = [
        (role, pool_case(make_case(seed=seed, name=f"case{seed}"), recipe.view.view, recipe.regions))
        for seed, role in enumerate((TRAIN, TRAIN, TRAIN, WATCHED))
    ]
    return write_packs(cases, recipe.view.view, recipe.view.jitter_mm, plain(recipe), folder, int(mib * 2**20))


@pytest.mark.parametrize("midsagittal", [True, False])
def test_cases_come_out_of_packs_as_they_went_in(midsagittal: bool, tmp_path: Path) -> None:
    recipe = tiny(midsagittal)
    one = packed(recipe, tmp_path / "one")
    assert [path.name for path in one] == ["pack-01.zip"]
    small = one[0].stat().st_size / 2**20 / 2
    several = packed(recipe, tmp_path / "several", mib=small)
    assert len(several) > 1
    assert all(path.stat().st_size <= small * 2**20 for path in several)
    train, watched = read_packs(several)
    assert ([case.name for case in train], [case.name for case in watched]) == (["case0", "case1", "case2"], ["case3"])
    original = pool_case(make_case(seed=0, name="case0"), recipe.view.view, recipe.regions)
    start = np.round((train[0].first_mm - original.first_mm) / original.spacing_mm).astype(int)
    box = tuple(slice(first, first + size) for first, size in zip(start, train[0].masks.shape[1:], strict=True))
    assert torch.equal(train[0].masks, original.masks[(slice(None), *box)])
    images, expected = train[0].images.float(), original.images[(slice(None), *box)].float()
    assert torch.equal(images == 0, expected == 0), "what was not measured stays so"
    within = expected.abs() < 5
    assert (images - expected)[within].abs().max() < 0.03
    assert [len(places) for places in train[0].seeds] == [len(places) for places in original.seeds]
    with pytest.raises(InputError, match="alone has"):
        packed(recipe, tmp_path / "none", mib=0.01)


def test_a_recipe_without_pydantic_says_the_same(tmp_path: Path) -> None:
    recipe = read_recipe(find_recipe("gliomaseg-any-v1-coarse"))
    there = PlainRecipe(json.loads(json.dumps(plain(recipe))))
    assert (there.task, there.view.view, there.shares) == (recipe.task, recipe.view.view, recipe.shares)
    for step in (0, 10, recipe.iterations // 2, recipe.iterations - 1):
        assert there.optimiser.schedule.factor(step, recipe.iterations) == pytest.approx(
            recipe.optimiser.schedule.factor(step, recipe.iterations), abs=1e-8
        )
    present = np.ones(4, bool)
    mine, theirs = recipe.sparsification.build(), there.sparsification.build()
    for seed in range(20):
        assert (mine(present, np.random.default_rng(seed)) == theirs(present, np.random.default_rng(seed))).all()
    assert recipe.is_that_of(there.model_dump_json())
    assert there.is_that_of(recipe.model_dump_json())
    assert not there.is_that_of(recipe.model_copy(update={"seed": 9}).model_dump_json())


@pytest.mark.parametrize("midsagittal", [True, False])
def test_one_command_trains_stops_in_time_and_goes_on(
    midsagittal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run has time for nothing, the second ends the training; what comes back is gliomaseg train's own."""
    recipe = tiny(midsagittal)
    packs = [str(path) for path in packed(recipe, tmp_path / "packs")]
    first, second = tmp_path / "first", tmp_path / "second"
    common = ["run", *packs, "--device", "cpu", "--work"]
    main([*common, str(tmp_path / "work1"), "--minutes", "5", "-o", str(first)])
    returned = sorted(path.name for path in first.iterdir())
    assert returned == ["part-1", "parts.json", "steps.csv", "validation.csv"]
    whole = read_checkpoint(parts.joined(first, tmp_path / "joined"))
    assert whole["step"] == 6

    monkeypatch.setattr("GliomaSegLib.training.loop._SHOWN_EVERY", 1)
    monkeypatch.setattr("Testing.gpu.__main__._FINISHING_S", 0.0)
    monkeypatch.setattr("Testing.gpu.train.Deadline.advance", _cancelling_after(2))
    main([*common, str(tmp_path / "work2"), "--minutes", "5", "-o", str(second)])
    assert read_checkpoint(parts.joined(second, tmp_path / "half"))["step"] == 2
    monkeypatch.undo()
    third = tmp_path / "third"
    main([*common, str(tmp_path / "work3"), "--resume", str(second), "--minutes", "5", "-o", str(third)])
    again = read_checkpoint(parts.joined(third, tmp_path / "rest"))
    for name, value in whole["network"].items():
        torch.testing.assert_close(again["network"][name], value, rtol=0, atol=0)

    here = Training(recipe, read_packs([Path(one) for one in packs])[0], [], CPU)
    here.resume(tmp_path / "joined" / "last.pt")  # by gliomaseg train itself
    assert here.step == 6


def _cancelling_after(steps: int) -> object:
    from GliomaSegLib.errors import Cancelled

    calls = []

    def advance(self: object, fraction: float, detail: str = "") -> None:
        calls.append(fraction)
        if len(calls) == steps:
            raise Cancelled("the time is up")

    return advance


def test_training_on_the_card_needs_numpy_and_torch_alone() -> None:
    code = """
import sys
from importlib.abc import MetaPathFinder
BLOCKED = {"pydantic", "SimpleITK", "cc3d", "scipy", "monai", "skimage", "safetensors", "psutil", "filelock"}
class Blocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import Testing.gpu.__main__, Testing.gpu.train, GliomaSegLib.networks.any_unet, GliomaSegLib.networks.anisotropic_trio
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_checkpoint_in_parts_is_checked_when_it_is_joined(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(bytes(range(256)) * 10)
    out = tmp_path / "out"
    assert [path.name for path in parts.split(tmp_path / "last.pt", out, 1000)] == ["part-1", "part-2", "part-3"]
    assert parts.joined(out, tmp_path / "back").read_bytes() == (tmp_path / "last.pt").read_bytes()
    (out / "part-2").write_bytes(bytes(1000))
    with pytest.raises(InputError, match="are damaged"):
        parts.joined(out, tmp_path / "back")
    (out / "part-2").unlink()
    with pytest.raises(InputError, match="not complete"):
        parts.joined(out, tmp_path / "back")
    with pytest.raises(InputError, match="more than 4 parts"):
        parts.split(tmp_path / "last.pt", out, 100)


def test_packs_of_two_recipes_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    one, other = packed(tiny(True), tmp_path / "one"), packed(tiny(False), tmp_path / "other")
    with pytest.raises(InputError, match="of different recipes"):
        read_recipe_of([*one, *other])
    one[0].write_bytes(b"nonsense")
    with pytest.raises(SystemExit, match=r"pack-01\.zip cannot be read"):
        main(["run", str(one[0]), "--device", "cpu", "--work", str(tmp_path / "w"), "-o", str(tmp_path / "o")])


# --- measuring -----------------------------------------------------------------------------------------------------


class Thresholding:
    """A model whose answer on the card may be wrong by ``error``."""

    def __init__(self, device: torch.device, error: float = 0.0) -> None:
        self.error = error

    def predict(self, images: Mapping[Modality, NDArray[np.float32]], progress: Progress, seed: int) -> Prediction:
        probability = images[Modality.T1C] / 1000 + np.float32(self.error)
        labels = np.where(probability > 0.5, 2, 0).astype(np.uint8)
        return Prediction(labels, {Region.WT: probability}, "cpu", "float32")


def ramp() -> dict[Modality, NDArray[np.float32]]:
    image = np.linspace(1, 1000, 20**3, dtype=np.float32).reshape(20, 20, 20)
    return {Modality.T1C: image}


def test_card_and_processor_are_compared_by_labels_or_with_generated_weights_by_probabilities() -> None:
    same = measure.measure("m", Thresholding, ramp(), CPU, generated=False)
    assert same.agreement == 1.0
    assert same.is_the_same
    assert "differs" not in same.to_markdown()
    calls = iter((0.0, 0.01))
    off = measure.measure("m", lambda device: Thresholding(device, next(calls)), ramp(), CPU, generated=False)
    assert 0.98 < off.agreement < measure.LEAST_DICE
    assert "**differs**" in off.to_markdown()
    calls = iter((0.0, 0.01))
    generated = measure.measure("m", lambda device: Thresholding(device, next(calls)), ramp(), CPU, generated=True)
    assert generated.agreement == pytest.approx(0.01, abs=1e-5)
    assert generated.is_the_same
    assert "generated weights" in generated.to_markdown()


def test_images_are_kept_for_the_measurement(tmp_path: Path) -> None:
    measure.write_images(ramp(), tmp_path / "images.npz")
    back = measure.read_images(tmp_path / "images.npz")
    assert set(back) == {Modality.T1C}
    np.testing.assert_allclose(back[Modality.T1C], ramp()[Modality.T1C], atol=0.05)


def test_what_cannot_run_here_is_named_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(device: torch.device) -> object:
        raise ModuleNotFoundError("No module named 'cc3d'", name="cc3d")

    def broken(device: torch.device) -> object:
        return SimpleNamespace(predict=lambda *_: 1 / 0)

    three = [("a", lacking, False), ("b", broken, False), ("c", Thresholding, False)]
    monkeypatch.setattr(measure, "models", lambda store: three)
    rows = list(measure.measured(ramp(), CPU, None))
    assert rows[0] == "a: not measured, cc3d is not installed."
    assert rows[1].startswith("b: failed, ZeroDivisionError")
    assert isinstance(rows[2], measure.Row)
    text = measure.table(rows, CPU)
    assert text.count("| c |") == 1
    assert text.endswith("b: failed, ZeroDivisionError: division by zero\n")


def test_the_model_that_ships_is_measured_with_its_own_weights() -> None:
    """On a small brain; the same processor twice gives the same labels."""
    case = make_case((48, 56, 48))
    brain = case.brain.astype(np.float32)
    images = {one: (case.images[place].astype(np.float32) * 40 + 600) * brain for place, one in enumerate(Modality)}
    names = [name for name, _, _ in measure.models(None)]
    assert any(name.startswith("gliomaseg-any") for name in names)
    assert "SegResNet (monai-brats18-segresnet)" in names
    name, loading, generated = next(one for one in measure.models(None) if one[0].startswith("gliomaseg-any"))
    row = measure.measure(name, loading, images, CPU, generated)
    assert row.is_the_same
    assert row.peak_bytes == 0
    assert loading(CPU).predict(images, Silent(), 0).labels.shape == (48, 56, 48)
