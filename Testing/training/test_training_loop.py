"""The training: it learns, goes on exactly where it was, and says plainly why it stopped."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from GliomaSegLib.datasets.case_table import CaseRow, read_splits, same_patient, training_and_validation
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.training import loop
from GliomaSegLib.training.checkpoint import read_checkpoint, write_checkpoint
from GliomaSegLib.training.loop import BEST, LAST, Training, TrainingError, chosen_loss
from GliomaSegLib.training.pool import pool_case
from GliomaSegLib.training.recipe import LossChoice, Recipe, find_recipe, read_recipe
from GliomaSegLib.training.sampling import PooledCase
from GliomaSegLib.training.schedule import Constant, Milestones, Poly
from Testing.support.schemas import recipe_schema
from Testing.support.training_case import make_case

_CPU = torch.device("cpu")


def small_recipe(**changes: object) -> Recipe:
    small = {
        "name": "small",
        "description": "For tests.",
        "network": {"name": "any-unet", "parameters": {"widths": [4, 8], "mirrored": True}},
        "view": {"shape": [16, 16, 16], "spacing_mm": 2.0, "midsagittal": True, "jitter_mm": [1, 1, 1]},
        "sparsification": {"sampler": "any-subset"},
        "optimiser": {"learning_rate": 0.01, "schedule": {"name": "poly"}},
        "iterations": 4,
        "average": 0.9,
        "validation": {"every": 2, "subsets": [["t1n", "t1c", "t2w", "t2f"], ["t1c"]]},
    }
    return Recipe.model_validate_json(json.dumps(small | changes))


def _pool(recipe: Recipe, count: int = 2) -> list[PooledCase]:
    return [pool_case(make_case(name=f"case{seed}", seed=seed), recipe.view.view) for seed in range(count)]


def _training(recipe: Recipe) -> Training:
    return Training(recipe, _pool(recipe), _pool(recipe, 1), _CPU)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_network_learns_what_it_is_shown(tmp_path: Path) -> None:
    recipe = small_recipe(iterations=60, sparsification={"sampler": "none"}, validation={"every": 60})
    _training(recipe).run(tmp_path, Silent())
    losses = [float(row["loss"]) for row in _rows(tmp_path / "steps.csv")]
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:10])
    assert float(_rows(tmp_path / "validation.csv")[0]["WT"]) > 0.3


@pytest.mark.parametrize("quick", [torch.float32, torch.bfloat16])
def test_bfloat16_is_used_where_it_is_quick(quick: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "choose_precision", lambda _: quick)
    training, used = _training(small_recipe(precision="bfloat16")), []
    training.network.register_forward_hook(lambda _network, _images, answer: used.append(answer.dtype))
    training._advance(Path())
    assert used == [quick]


def test_a_killed_training_goes_on_as_if_nothing_had_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(iterations=6)
    _training(recipe).run(tmp_path / "straight", Silent())

    class Killed(Exception):
        pass

    advance = Training._advance

    def dies(self: Training, folder: Path) -> tuple[float, str]:
        if self.step == 4:
            raise Killed
        result = advance(self, folder)
        if self.step == 3:
            write_checkpoint(self.state(), folder / LAST)
        return result

    monkeypatch.setattr(Training, "_advance", dies)
    with pytest.raises(Killed):
        _training(recipe).run(tmp_path / "killed", Silent())
    monkeypatch.setattr(Training, "_advance", advance)
    assert len(_rows(tmp_path / "killed" / "steps.csv")) == 4  # one more than the checkpoint knows of
    _training(recipe).run(tmp_path / "killed", Silent())
    straight, resumed = (read_checkpoint(tmp_path / name / LAST) for name in ("straight", "killed"))
    for part in ("network", "average"):
        for name, value in straight[part].items():
            assert torch.equal(value, resumed[part][name]), name
    curves = [
        [(row["step"], row["loss"], row["samples"]) for row in _rows(tmp_path / name / "steps.csv")]
        for name in ("straight", "killed")
    ]
    assert curves[0] == curves[1]


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    _training(small_recipe()).run(tmp_path, Silent())
    with pytest.raises(InputError, match="of another recipe"):
        _training(small_recipe(seed=7)).run(tmp_path, Silent())


def test_a_run_goes_on_with_its_own_cases_alone(tmp_path: Path) -> None:
    recipe = small_recipe()
    _training(recipe).run(tmp_path, Silent())
    cases = _pool(recipe, 3)
    for trained, other in ((cases, "case2"), (cases[:1], "case1")):
        with pytest.raises(InputError, match=rf"was trained on other cases .* \({other}\)"):
            Training(recipe, trained, cases[:1], _CPU).run(tmp_path, Silent())
    Training(recipe, cases[1::-1], cases[2:], _CPU).run(tmp_path, Silent())
    state = read_checkpoint(tmp_path / LAST)
    del state["cases"]  # as an earlier version wrote it
    write_checkpoint(state, tmp_path / LAST)
    Training(recipe, cases, [], _CPU).run(tmp_path, Silent())


def test_the_weights_of_a_run_can_be_started_from(tmp_path: Path) -> None:
    recipe = small_recipe()
    _training(recipe).run(tmp_path, Silent())
    average = read_checkpoint(tmp_path / LAST)["average"]
    started = Training(recipe, _pool(recipe), [], _CPU, initial=average)
    assert all(torch.equal(value, average[name]) for name, value in started.network.state_dict().items())
    other = small_recipe(network={"name": "any-unet", "parameters": {"widths": [4, 16]}})
    with pytest.raises(InputError, match="does not fit"):
        Training(other, _pool(other), [], _CPU, initial=average)


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    _training(small_recipe(iterations=2, batch=2, accumulate=2)).run(tmp_path, Silent())
    rows = _rows(tmp_path / "steps.csv")
    assert len(rows) == 2
    assert len(rows[0]["samples"].split()) == 4


def test_a_loss_that_is_not_a_number_names_the_batch_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(checkpoint_minutes=1e-9)
    training = _training(recipe)

    def poisoned(choice: LossChoice, logits: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        return logits.sum() * (float("nan") if training.step == 2 else 0.0)

    monkeypatch.setattr(loop, "chosen_loss", poisoned)
    with pytest.raises(TrainingError, match=r"loss of step 3 is not a number \(samples case\d:") as raised:
        training.run(tmp_path, Silent())
    assert str(tmp_path / LAST) in str(raised.value)
    kept = read_checkpoint(tmp_path / LAST)
    assert kept["step"] == 2
    assert all(value.isfinite().all() for value in kept["network"].values())


def test_running_out_of_memory_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = _training(small_recipe())

    def too_large(*arguments: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "chosen_loss", too_large)
    with pytest.raises(TrainingError, match=r"Memory ran out at step 1 .* raise 'accumulate'"):
        training.run(tmp_path, Silent())


def test_training_without_a_case_is_refused() -> None:
    with pytest.raises(InputError, match="no case to train on"):
        Training(small_recipe(), [], [], _CPU)


def test_it_stops_early_when_nothing_gets_better(tmp_path: Path) -> None:
    still = small_recipe(
        iterations=40,
        optimiser={"learning_rate": 1e-30},
        validation={"every": 1, "early_stop": {"patience": 3}},
    )
    _training(still).run(tmp_path, Silent())
    assert read_checkpoint(tmp_path / LAST)["step"] == 4  # the first validation is the best, then three that are not
    assert read_checkpoint(tmp_path / BEST)["step"] == 1


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LAST
    write_checkpoint({"step": 1}, path)

    def breaks(state: object, stream: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", breaks)
    with pytest.raises(InputError, match="No space left"):
        write_checkpoint({"step": 2}, path)
    assert read_checkpoint(path)["step"] == 1
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(path)


def test_dice_of_regions_that_nobody_has_can_be_left_out() -> None:
    logits = torch.zeros(1, 3, 4, 4, 4, requires_grad=True)
    targets = torch.zeros(1, 3, 4, 4, 4)
    targets[:, 0, :2] = 1
    known = torch.ones(1, 3, 4, 4, 4)
    chosen_loss(LossChoice(name="dice", dice_of_absent_regions=False), logits, targets, known).backward()
    assert logits.grad[:, 0].abs().sum() > 0
    assert logits.grad[:, 1:].abs().sum() == 0
    logits.grad = None
    chosen_loss(LossChoice(name="dice"), logits, targets, known).backward()
    assert logits.grad[:, 1].abs().sum() > 0


def test_several_outputs_are_all_judged() -> None:
    targets = torch.zeros(1, 3, 8, 8, 8)
    targets[:, :, :4] = 1
    known = torch.ones(1, 3, 8, 8, 8)
    outputs = [torch.zeros(1, 3, size, size, size, requires_grad=True) for size in (8, 4)]
    chosen_loss(LossChoice(dice_of_absent_regions=False), outputs, targets, known).backward()
    assert all(output.grad.abs().sum() > 0 for output in outputs)


def test_schedules() -> None:
    assert Constant().factor(500, 1000) == 1
    poly = Poly(power=0.9, warmup=9)
    assert poly.factor(0, 1000) == pytest.approx(0.1, rel=0.01)
    assert poly.factor(500, 1000) == pytest.approx(0.5**0.9)
    assert poly.factor(999, 1000) < 0.01
    halving = Milestones(at=(5000, 10000, 15000, 16500))
    assert [halving.factor(step, 30000) for step in (4999, 5000, 15000, 29999)] == [1, 0.5, 0.125, 0.0625]


def test_every_recipe_that_comes_along_is_valid_and_the_schema_is_up_to_date() -> None:
    names = [path.stem for path in resource("recipes").glob("*.json") if path.name not in _NO_RECIPES]
    assert "gliomaseg-any-v1-coarse" in names
    for name in names:
        assert read_recipe(find_recipe(name)).name == name
    assert (resource("recipes") / "recipe.schema.json").read_text(encoding="utf-8") == recipe_schema()


_NO_RECIPES = ("splits.json", "mets-splits.json", "any-splits.json", "recipe.schema.json")


def test_a_recipe_with_an_unknown_key_or_a_wrong_value_is_one_sentence(tmp_path: Path) -> None:
    given = json.loads(small_recipe().model_dump_json())
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(given | {"itterations": 5}), encoding="utf-8")
    with pytest.raises(InputError, match="itterations: there is no such key"):
        read_recipe(path)
    path.write_text(json.dumps(given | {"iterations": 0}), encoding="utf-8")
    with pytest.raises(InputError, match="iterations: Input should be greater than 0"):
        read_recipe(path)
    with pytest.raises(InputError, match=r"no recipe 'alchemy'; .* one of .*gliomaseg-any-v1-coarse"):
        find_recipe("alchemy")


def test_a_network_that_is_not_there_or_wrongly_parametrised() -> None:
    with pytest.raises(InputError, match="no network 'perceptron'"):
        _training(small_recipe(network={"name": "perceptron"}))
    with pytest.raises(InputError, match="does not take these parameters"):
        _training(small_recipe(network={"name": "any-unet", "parameters": {"depth": 3}}))


def _row(case: str, patient: str, hospital: str) -> CaseRow:
    return CaseRow(case, patient, hospital, {}, Path("truth"), None, LabelScheme.GLIOMASEG)


def test_splits_are_by_patient(tmp_path: Path) -> None:
    rows = [_row("a1", "a", "x"), _row("a2", "a", "y"), _row("b1", "b", "x"), _row("c1", "c", "z")]
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": ["a"], "test": ["b"], "validation": ["c"]}), encoding="utf-8")
    train, watched = training_and_validation(rows, read_splits(path), "test")
    assert [row.case for row in train] == ["a1", "a2"]
    assert [row.case for row in watched] == ["b1"]
    path.write_text(json.dumps({"train": ["a"], "test": ["a"], "validation": []}), encoding="utf-8")
    with pytest.raises(InputError, match="patient 'a' twice"):
        read_splits(path)
    path.write_text(json.dumps({"train": ["a"], "test": [], "validation": []}), encoding="utf-8")
    with pytest.raises(InputError, match="'b' of case 'b1' is in no split"):
        training_and_validation(rows, read_splits(path), "test")


def test_a_hospital_is_held_out_with_all_scans_of_its_patients() -> None:
    rows = [_row("a1", "a", "x"), _row("a2", "a", "y"), _row("b1", "b", "x"), _row("c1", "c", "z")]
    train, watched = training_and_validation(rows, {}, "test", hold_out="x")
    assert [row.case for row in watched] == ["a1", "b1"]
    assert [row.case for row in train] == ["c1"]  # a2 is another scan of a patient of x
    with pytest.raises(InputError, match="No case is from 'q'"):
        training_and_validation(rows, {}, "test", hold_out="q")


def test_the_real_splits_hold_every_patient_of_the_development_table_once() -> None:
    folder = resource("recipes")
    with (folder / "development-cases.csv").open(newline="", encoding="utf-8") as stream:
        patients = {same_patient(row["patient"]): row["hospital"] for row in csv.DictReader(stream)}
    splits = read_splits(folder / "splits.json")
    assert sorted(itertools.chain(*splits.values())) == sorted(patients)
    assert {patients[patient] for patient in splits["validation"]} == {"brats-other"}
    assert "brats-other" not in {patients[patient] for patient in splits["train"]}


def test_two_processes_are_one_training(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(__file__).parents[1] / "support" / "train_together.py"
    subprocess.run([*launcher, str(script), str(tmp_path)], check=True, timeout=300, capture_output=True)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    rows = _rows(tmp_path / "run" / "steps.csv")
    assert [row["step"] for row in rows] == ["1", "2"]
    alone = _training(small_recipe(iterations=2))
    alone.run(tmp_path / "alone", Silent())
    network = alone.network.state_dict()
    assert not all(torch.equal(value, network[name]) for name, value in first.items())


def test_a_recipe_and_a_checkpoint_that_call_pseudo_labels_a_teacher_are_still_read(tmp_path: Path) -> None:
    new = read_recipe(find_recipe("gliomaseg-any-v1-fine"))
    before = new.model_dump_json().replace('"pseudo_labels"', '"teacher"')
    assert '"teacher":"ca-cnn-brats17"' in before
    (tmp_path / "old.json").write_text(before)
    assert read_recipe(tmp_path / "old.json") == new
    assert new.is_that_of(before)


def test_a_finished_training_is_lengthened_and_says_what_it_started_from(tmp_path: Path) -> None:
    _training(small_recipe(iterations=2)).run(tmp_path, Silent())
    longer = small_recipe(iterations=4)
    _training(longer).run(tmp_path, Silent())
    assert [row["step"] for row in _rows(tmp_path / "steps.csv")] == ["1", "2", "3", "4"]
    state = read_checkpoint(tmp_path / LAST)
    assert state["step"] == 4
    assert state["initial"] is None
    _training(small_recipe(iterations=2)).run(tmp_path, Silent())
    assert read_checkpoint(tmp_path / LAST)["step"] == 4, "a shorter one has nothing to do"
