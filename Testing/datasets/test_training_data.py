"""Case tables, prepared cases, and the samples that are taken from them."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.cli import train
from GliomaSegLib.datasets import folds
from GliomaSegLib.datasets.case_table import (
    CaseRow,
    read_left_out,
    read_splits,
    read_table,
    training_and_validation,
)
from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import from_internal, to_internal
from GliomaSegLib.labels import TUMOUR_REGIONS, Label, LabelScheme, Region
from GliomaSegLib.preprocessing.midsagittal import find_midsagittal
from GliomaSegLib.preprocessing.normalisation import clipped_z_score
from GliomaSegLib.preprocessing.torch_resampling import averaged, resample
from GliomaSegLib.progress import Silent
from GliomaSegLib.training import dataset
from GliomaSegLib.training.augment import change_images, random_axes
from GliomaSegLib.training.dataset import CHANNELS, TrainingCase
from GliomaSegLib.training.pool import believed, pool_case
from GliomaSegLib.training.pseudo_labels import add_pseudo_labels, with_pseudo_labels
from GliomaSegLib.training.recipe import Augmentation, find_recipe, read_recipe
from GliomaSegLib.training.sampling import CaseSampler, View, choose_centre, take
from GliomaSegLib.training.synthesis import pool
from Testing.support.training_case import make_case

_HEADING = "case,patient,hospital,t1n,t1c,t2w,t2f,truth,truth_of,scheme"


def _table(folder: Path, *rows: str, heading: str = _HEADING) -> Path:
    table = folder / "cases.csv"
    table.write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8")
    return table


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("t1c", "t2f", "truth"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    return tmp_path


def test_a_row_says_what_a_case_has(files: Path) -> None:
    (row,) = read_table(_table(files, "a,p,h,,t1c.nii.gz,,t2f.nii.gz,truth.nii.gz,t2f,whole-tumour"))
    assert set(row.images) == {Modality.T1C, Modality.T2F}
    assert (row.patient, row.hospital, row.drawn_on) == ("p", "h", Modality.T2F)
    assert row.regions == (Region.WT,)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,p,h,,t1c.nii.gz,,,,,gliomaseg", "has no labels"),
        ("a,p,h,,,,,truth.nii.gz,,gliomaseg", "has no image"),
        ("a,p,h,,gone.nii.gz,,,truth.nii.gz,,gliomaseg", "gone.nii.gz does not exist"),
        ("a,p,h,,t1c.nii.gz,,,truth.nii.gz,,brats1999", "'scheme' is one of"),
        ("a,p,h,,t1c.nii.gz,,,truth.nii.gz,t2w,gliomaseg", "drawn on t2w, which the row does not give"),
        ("a,p,h,,t1c.nii.gz", "shorter than the heading"),
        ("a,p,Oslo, Norway,,t1c.nii.gz,,,truth.nii.gz,,gliomaseg", "longer than the heading"),
        (",p,h,,t1c.nii.gz,,,truth.nii.gz,,gliomaseg", "the case has no name"),
    ],
)
def test_a_bad_row_is_one_sentence(files: Path, row: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_table(_table(files, row))
    assert "line 2" in str(raised.value)


def test_a_table_without_a_column_twice_the_same_case_or_no_rows(files: Path) -> None:
    with pytest.raises(InputError, match="no column 'hospital'"):
        read_table(_table(files, heading="case,patient"))
    good = "a,p,h,,t1c.nii.gz,,,truth.nii.gz,,gliomaseg"
    with pytest.raises(InputError, match="case 'a' twice"):
        read_table(_table(files, good, good))
    with pytest.raises(InputError, match="case 'A' twice"):
        read_table(_table(files, good.replace("a,", "A,", 1), good))
    with pytest.raises(InputError, match="no rows"):
        read_table(_table(files))


@pytest.mark.parametrize(
    ("train", "test"),
    [(["A"], ["A"]), (["A", "A"], []), (["TCGA_DU_A5TW"], ["TCGA-DU-A5TW"]), (["tcga.du.a5tw"], ["TCGA_DU_A5TW_1998"])],
)
def test_a_patient_in_two_splits_is_refused_whatever_it_is_called(
    tmp_path: Path, train: list[str], test: list[str]
) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": train, "test": test, "validation": []}), encoding="utf-8")
    with pytest.raises(InputError, match="twice"):
        read_splits(path)


def test_scans_of_a_tcga_patient_are_of_one_patient_whatever_they_are_called(files: Path) -> None:
    rest = "h,,t1c.nii.gz,,,truth.nii.gz,,gliomaseg"
    names = ("a,TCGA_DU_A5TW_1998", "b,TCGA-DU-A5TW", "TCGA-DU-A5TW-2,", "c,TCGA-DU-0000", "d,p1")
    rows = read_table(_table(files, *(f"{one},{rest}" for one in names)))
    for fold in folds.patient_folds(rows, 3, seed=1):
        train, watched = folds.divided(rows, fold)
        assert not {row.patient for row in train} & {row.patient for row in watched}
        assert [row.case for row in watched] in (["a", "b", "TCGA-DU-A5TW-2"], ["c"], ["d"])
    splits = files / "splits.json"
    splits.write_text('{"train": ["tcga.du.a5tw", "p1"], "validation": ["TCGA_DU_0000"]}')
    train, watched = training_and_validation(rows, read_splits(splits), "validation")
    assert [row.case for row in watched] == ["c"]
    assert len(train) == 4


def test_the_label_maps_that_training_must_not_see_are_read(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"label_maps_left_out": ["B"]}), encoding="utf-8")
    assert read_left_out(path) == ["B"]


def test_an_enhancing_mask_knows_enhancing_tumour_alone() -> None:
    assert LabelScheme.ENHANCING.regions == (Region.ET,)
    assert to_internal(np.array([0, 1], np.uint8), LabelScheme.ENHANCING).tolist() == [0, Label.ET]
    every = np.array([0, Label.NETC, Label.SNFH, Label.ET], np.uint8)
    assert from_internal(every, LabelScheme.ENHANCING).tolist() == [0, 0, 0, 1]
    with pytest.raises(InputError, match="holds the label 2"):
        to_internal(np.array([0, 2], np.uint8), LabelScheme.ENHANCING, "mask")


def test_a_prepared_case_comes_back_as_it_was_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    case = make_case()
    path = tmp_path / "case.npz"
    dataset.write_case(case, "key", path)
    again = dataset.read_prepared(path)
    for field in dataclasses.fields(TrainingCase):
        assert np.array_equal(getattr(again, field.name), getattr(case, field.name)), field.name
    assert dataset.stored_key(path) == "key"
    path.write_bytes(path.read_bytes()[:100])
    assert dataset.stored_key(path) is None
    with pytest.raises(InputError, match="cannot be read"):
        dataset.read_prepared(path)
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_a_case_stay_in_the_cache_whatever_it_is_called(files: Path) -> None:
    rest = ",p,h,,t1c.nii.gz,,,truth.nii.gz,,gliomaseg"
    rows = read_table(_table(files, *(f"{name}{rest}" for name in ("site/a", "site_a", "../a", "C:a", "a b", ".a"))))
    paths = [dataset.prepared_path(row, files / "cache") for row in rows]
    assert {path.parent for path in paths} == {files / "cache"}
    assert len({path.name.casefold() for path in paths}) == 6
    assert [path.name for path in (paths[1], paths[4])] == ["site_a.npz", "a b.npz"], "other names stay as they are"


def test_a_prepared_case_follows_the_table_in_patient_and_hospital(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def prepare(row: CaseRow, *_: object) -> TrainingCase:
        made.append(row.case)
        return dataclasses.replace(make_case(name=row.case), patient=row.patient, hospital=row.hospital)

    monkeypatch.setattr(dataset, "prepare_training_case", prepare)
    for patient, hospital in (("p", "h"), ("p", "Oslo"), ("q", "Oslo")):
        rows = read_table(_table(files, f"a,{patient},{hospital},,t1c.nii.gz,,,truth.nii.gz,,gliomaseg"))
        dataset.prepare_all(rows, files / "cache", torch.device("cpu"))
        case = dataset.read_prepared(files / "cache" / "a.npz")
        assert (case.patient, case.hospital) == (patient, hospital)
        assert np.array_equal(case.images, make_case(name="a").images)
    assert made == ["a"], "once"


def test_synthetic_cases_are_made_anew_for_other_training_cases(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = ",,t1c.nii.gz,,,truth.nii.gz,,gliomaseg"
    rows = read_table(_table(files, f"a,a,h{rest}", f"b,b,h{rest}"))
    for row in rows:
        dataset.write_case(make_case(name=row.case), row.case, dataset.prepared_path(row, files))
    recipe = read_recipe(find_recipe("gliomaseg-any-v1-coarse-2"))
    assert recipe.synthetic
    made: list[tuple[list[str], Path]] = []

    def write(cases: Iterable[TrainingCase], folder: Path, *_: object) -> list[Path]:
        made.append(([case.name for case in cases], folder))
        return []

    monkeypatch.setattr(pool, "write_pool", write)
    parsed = argparse.Namespace(cache=files, label_maps=None, splits=None)
    finer = recipe.model_copy(update={"synthetic": recipe.synthetic.model_copy(update={"spacing_mm": 1.0})})
    for one, given in ((recipe, rows), (recipe, rows[:1]), (recipe, rows[1:]), (finer, rows), (recipe, rows)):
        train._synthetic(parsed, one, given, rows, Silent())
    assert [names for names, _ in made] == [["a", "b"], ["a"], ["b"], ["a", "b"], ["a", "b"]]
    folders = [folder for _, folder in made]
    assert len(set(folders[:4])) == 4, "what one training holds out does not return in the cases of another"
    assert folders[4] == folders[0]


def test_standardising_keeps_zero_and_does_not_let_a_few_voxels_set_the_scale() -> None:
    image = np.random.default_rng(0).normal(100, 10, (20, 20, 20)).astype(np.float32)
    image[:5] = 0
    bright = image.copy()
    bright[10, 10, 10] = 1e6
    for one in (image, bright):
        scaled = clipped_z_score(one)
        assert not scaled[:5].any()
        assert scaled[5:].std() == pytest.approx(1, abs=0.01)
        assert np.abs(scaled).max() < 5


def test_resampling_turns_scales_and_keeps_sides_apart() -> None:
    volume = torch.zeros(1, 9, 11, 13)
    volume[0, 4, 5, 2] = 1  # 4 voxels before the middle along x
    middle = np.array([4.0, 5.0, 6.0])
    same = resample(volume, np.ones(3), (9, 11, 13), 1.0, middle, np.eye(3))
    assert torch.allclose(same, volume, atol=1e-5)
    flipped = resample(volume, np.ones(3), (9, 11, 13), 1.0, middle, np.diag([1.0, 1.0, -1.0]))
    assert torch.allclose(flipped, volume.flip(-1), atol=1e-5)
    swapped = resample(volume, np.ones(3), (9, 13, 11), 1.0, middle, np.eye(3)[:, [0, 2, 1]])
    assert torch.allclose(swapped, volume.transpose(2, 3), atol=1e-5)
    finer = resample(volume, np.ones(3), (17, 21, 25), 0.5, middle, np.eye(3))
    assert finer[0, 8, 10, 4] == pytest.approx(1)


def test_averaging_fills_the_far_ends_with_nothing() -> None:
    assert averaged(torch.ones(1, 3, 2, 2), (2, 2, 2)).flatten().tolist() == [1, 0.5]


@pytest.mark.parametrize(("yaw", "roll", "shift"), [(0, 0, 0), (9, -6, 3), (-5, 8, -4)])
def test_the_midsagittal_plane_of_a_turned_head_is_found(yaw: float, roll: float, shift: float) -> None:
    case = make_case(shape=(72, 112, 96))
    turn = sitk.Euler3DTransform((47.5, 55.5, 35.5), 0, np.radians(roll), np.radians(yaw), (shift, 0, 0))

    def turned(array: np.ndarray) -> np.ndarray:
        image = sitk.GetImageFromArray(array.astype(np.float32))
        return sitk.GetArrayFromImage(sitk.Resample(image, image, turn))

    brain = turned(case.brain) > 0.5
    pose = find_midsagittal(np.stack([turned(case.images[1]) * brain]), brain, (1.0, 1.0, 1.0))
    normal = np.array(turn.GetInverse().TransformVector((1.0, 0.0, 0.0), (0, 0, 0)))[::-1]
    found = pose.rotation[:, 2]
    assert np.degrees(np.arccos(abs(found @ normal))) < 2
    middle = np.array(turn.GetInverse().TransformPoint((47.5, 55.5, 35.5)))[::-1]
    assert abs((pose.centre - middle) @ normal) < 1.5


def test_pseudo_labels_count_inside_the_reference_tumour_and_where_they_are_certain() -> None:
    case = make_case(known=(Region.WT,))
    whole = case.labels > 0
    inside = tuple(np.argwhere(whole)[:3].T)

    class Parts:
        def parts(self, images, tumour, progress, seed):
            assert np.array_equal(tumour, whole)
            core = np.full(whole.shape, 0.95, np.float32)
            core[inside] = 0.05, 0.5, 0.97
            return {Region.TC: core, Region.ET: np.zeros_like(core)}

    targets, sure, known = believed(with_pseudo_labels(case, Parts()))
    assert known.all()
    core = TUMOUR_REGIONS.index(Region.TC)
    assert targets[core][inside].tolist() == [False, False, True]
    assert sure[core][inside].tolist() == [True, False, True]
    assert not targets[core][~whole].any()
    assert sure[core][~whole].all()
    assert sure[0].all()


def test_pseudo_labels_are_those_of_the_row_and_the_weights(files: Path) -> None:
    class Parts:
        asked = 0

        def parts(self, images, tumour, progress, seed):
            Parts.asked += 1
            return {Region.TC: np.zeros(tumour.shape, np.float32), Region.ET: np.zeros(tumour.shape, np.float32)}

    def labelled(scheme: str, weights: str) -> tuple[str, int]:
        (row,) = read_table(_table(files, f"a,p,h,,t1c.nii.gz,,,truth.nii.gz,,{scheme}"))
        dataset.write_case(make_case(known=row.regions[:3]), row.key, dataset.prepared_path(row, files))
        (path,) = add_pseudo_labels([row], files, "model", weights, Parts())
        return path.name, Parts.asked

    assert labelled("whole-tumour", "1") == ("a.model.npz", 1)
    assert labelled("whole-tumour", "1") == ("a.model.npz", 1)
    assert labelled("whole-tumour", "2") == ("a.model.npz", 2), "of other weights"
    assert labelled("gliomaseg", "2") == ("a.npz", 2), "the reference has the parts now"


def test_pseudo_labels_of_a_model_that_gives_no_parts_are_refused(tmp_path: Path) -> None:
    recipe = read_recipe(find_recipe("gliomaseg-any-v1-fine"))
    recipe = recipe.model_copy(update={"pseudo_labels": "gliomaseg-any-v2"})
    parsed = argparse.Namespace(cache=tmp_path, store=tmp_path)
    with pytest.raises(InputError, match="'gliomaseg-any-v2' does not divide a given tumour into its parts"):
        train._labelled(parsed, recipe, [], torch.device("cpu"), Silent())


def test_without_pseudo_labels_the_parts_of_such_a_tumour_are_unknown() -> None:
    case = make_case(known=(Region.WT,))
    view = View((16, 16, 16), 1.0, False)
    pooled = pool_case(case, view)
    centre, axes = choose_centre(pooled, view, 1.0, (0, 0, 0), np.random.default_rng(0))
    *_, known = take(pooled, view, centre, axes)
    assert known.amin((1, 2, 3)).tolist() == known.amax((1, 2, 3)).tolist() == [1, 0, 0]


def test_patches_are_centred_on_every_region_alike() -> None:
    case = make_case()
    view = View((8, 8, 8), 1.0, False)
    pooled = pool_case(case, view)
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        centre, _ = choose_centre(pooled, view, 1.0, (0, 0, 0), rng)
        hits += case.labels[tuple(np.round(centre).astype(int))] == Label.ET
    assert hits > 200 / 3 * 0.7  # ET is a small part of WT, and is looked at as often as WT and TC


def test_images_and_targets_of_a_sample_stay_together_whatever_the_pose() -> None:
    case = make_case()
    bright = np.where(case.labels > 0, 3.0, 0.5) * case.brain
    case = dataclasses.replace(case, images=np.stack([bright.astype(np.float16)] * 4))
    view = View((24, 24, 24), 1.0, True)
    pooled = pool_case(case, view)
    rng = np.random.default_rng(3)
    for _ in range(5):
        centre, axes = choose_centre(pooled, view, 1.0, (3, 3, 3), rng)
        images, _, targets, _ = take(pooled, view, centre, axes @ random_axes(Augmentation(), rng))
        seen = (images[0] > 1.75).float()
        overlap = 2 * (seen * targets[0]).sum() / (seen.sum() + targets[0].sum())
        assert overlap > 0.9


def test_a_hospital_gets_the_share_of_the_recipe() -> None:
    view = View((8, 8, 8), 2.0, False)
    cases = [pool_case(dataclasses.replace(make_case(), hospital=name), view) for name in ("a", "b", "b", "c")]
    sampler = CaseSampler(cases, {"a": 0.7})
    rng = np.random.default_rng(0)
    drawn = [sampler.draw(rng).hospital for _ in range(1000)]
    assert drawn.count("a") == pytest.approx(700, abs=50)
    assert drawn.count("b") == pytest.approx(200, abs=45)
    with pytest.raises(InputError, match="no training case is from there"):
        CaseSampler(cases, {"z": 0.1})
    with pytest.raises(InputError, match="more than 1"):
        CaseSampler(cases, {"a": 0.7, "b": 0.7})


def test_augmentation_keeps_zero_zero_and_changes_everything_else() -> None:
    brain = torch.zeros(1, 24, 24, 24)
    brain[:, 4:20, 4:20, 4:20] = 1
    images = torch.randn(4, 24, 24, 24, generator=torch.Generator().manual_seed(0)) * brain
    images[CHANNELS.index(Modality.T2W)] = 0
    always = Augmentation(gamma=1, contrast=1, bias_field=1, blur=1, thick_slices=1, noise=1)
    changed = change_images(images, brain, 2.0, always, np.random.default_rng(1))
    assert not changed[:, brain[0] == 0].any()
    assert not changed[CHANNELS.index(Modality.T2W)].any()
    assert not torch.allclose(changed[0], images[0])
    assert torch.equal(changed, change_images(images, brain, 2.0, always, np.random.default_rng(1)))
    never = Augmentation(gamma=0, contrast=0, bias_field=0, blur=0, thick_slices=0, noise=0)
    assert torch.equal(change_images(images, brain, 2.0, never, np.random.default_rng(1)), images)


def test_random_axes_scale_turn_and_flip_within_bounds() -> None:
    how = Augmentation(flip=1.0, rotation_degrees=(0, 0, 10), scale=(0.9, 1.1))
    for seed in range(20):
        axes = random_axes(how, np.random.default_rng(seed))
        size = np.abs(np.linalg.det(axes)) ** (1 / 3)
        assert 1 / 1.1 - 1e-9 <= size <= 1 / 0.9 + 1e-9
        assert np.linalg.det(axes) < 0
        assert np.allclose(axes[:, 2] / size, [0, 0, -1])  # about x alone


def test_a_split_that_the_file_does_not_name_is_empty_and_none_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": ["A"]}), encoding="utf-8")
    assert read_splits(path) == {"train": ["A"], "test": [], "validation": []}
    for content in ({}, {"training": ["A"]}, {"train": []}):
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(InputError, match="names no patient"):
            read_splits(path)
    for text, said in (
        ("[]", "does not hold lists of patients; write it as"),
        ('{"train": 5}', "does not hold lists of patients"),
        ('{"train": "A1"}', "does not hold lists of patients"),
        ("nonsense", "cannot be read"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            read_splits(path)
