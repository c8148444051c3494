"""What may be done to training cases: histogram standardisation, the common space; and what a model then is shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.training_grid import GridSpec, Placement
from GliomaSegLib.labels import Label
from GliomaSegLib.phantom.template import read_template
from GliomaSegLib.preprocessing.normalisation import learn_landmarks, standardise_histogram_inside
from GliomaSegLib.training.dataset import CHANNELS, TrainingCase, write_case
from GliomaSegLib.training.preparation import Preparation, in_common_space, learnt_landmarks, with_landmarks
from Testing.support.training_case import make_case


def test_two_scanners_become_alike_and_zeros_stay() -> None:
    """The same anatomy, seen with a curved response, has the other's grey values after standardisation."""
    rng = np.random.default_rng(0)
    first = np.zeros((20, 20, 20), np.float32)
    first[3:-3, 3:-3, 3:-3] = rng.gamma(4, 100, (14, 14, 14)) + 50
    second = np.where(first > 0, 30 * np.sqrt(first), 0).astype(np.float32)
    landmarks = learn_landmarks([first, second])
    assert landmarks[0] == 0
    assert landmarks[-1] == 100
    one, other = (standardise_histogram_inside(image, landmarks) for image in (first, second))
    assert not one[first == 0].any()
    inside = first > 0
    assert abs(one[inside].mean()) < 1e-3
    assert abs(one[inside].std() - 1) < 1e-3
    apart = np.abs(one - other)[inside].mean()
    plain = np.abs((first[inside] - first[inside].mean()) / first[inside].std() - _z(second)[inside]).mean()
    assert apart < plain / 3, "they were further apart before"


def _z(image: np.ndarray) -> np.ndarray:
    return (image - image[image > 0].mean()) / image[image > 0].std()


def test_a_missing_sequence_stays_a_missing_sequence(tmp_path: Path) -> None:
    complete, without = make_case(name="complete"), make_case(name="no FLAIR", seed=1)
    images = without.images.copy()
    images[CHANNELS.index(Modality.T2F)] = 0
    without = dataclasses.replace(without, images=images)
    paths = [tmp_path / "1.npz", tmp_path / "2.npz"]
    for case, path in zip((complete, without), paths, strict=True):
        write_case(case, "", path)
    landmarks = learnt_landmarks(paths)
    assert set(landmarks) == set(Modality)
    changed = with_landmarks(without, landmarks)
    assert not changed.images[CHANNELS.index(Modality.T2F)].any()
    assert changed.present.tolist() == [True, True, True, False]
    assert np.isfinite(changed.images).all()
    preparation = Preparation(histogram=True).learnt(paths)
    assert preparation.landmarks == landmarks
    assert preparation.learnt([]) is preparation, "given landmarks are kept"
    assert Preparation().learnt(paths).landmarks == {}
    only_t1 = {Modality.T1N: landmarks[Modality.T1N]}
    with pytest.raises(InputError, match=r"Case 'no FLAIR' has T1 \+ contrast, which no training case has"):
        with_landmarks(without, only_t1)


def test_landmarks_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="none of the training images"):
        learn_landmarks([np.zeros((4, 4, 4))])


def tilted_head() -> tuple[TrainingCase, sitk.Euler3DTransform]:
    """The template's brain at 3 mm, tilted and moved, with a tumour; and what took it there."""
    template = sitk.DICOMOrient(read_template("t1"), "LPS")
    there = sitk.Euler3DTransform()
    there.SetCenter(template.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in template.GetSize()]))
    there.SetRotation(0.15, -0.1, 0.2)
    there.SetTranslation((8.0, -6.0, 5.0))
    grid = sitk.Image([size // 3 for size in template.GetSize()], sitk.sitkFloat32)
    grid.SetSpacing((3.0, 3.0, 3.0))
    grid.SetOrigin(template.GetOrigin())
    image = sitk.GetArrayFromImage(sitk.Resample(template, grid, there, sitk.sitkLinear))
    brain = image > 20
    scaled = np.where(brain, (image - image[brain].mean()) / image[brain].std(), 0).astype(np.float16)
    labels = np.zeros(brain.shape, np.uint8)
    labels[30:36, 30:38, 20:28] = Label.SNFH
    labels *= brain
    images = np.stack([scaled, scaled, scaled * 0, scaled * 0])
    case = TrainingCase("tilted", "tilted", "made", images, brain, labels, make_case().known, (3.0, 3.0, 3.0))
    return case, there


def test_in_the_common_space_a_tilted_head_lies_as_the_template() -> None:
    case, _ = tilted_head()
    moved = in_common_space(case)
    assert moved.spacing_mm == (1.0, 1.0, 1.0)
    template = sitk.GetArrayFromImage(sitk.DICOMOrient(read_template("t1"), "LPS"))
    expected, found = np.cov(np.argwhere(template > 20).T), np.cov(np.argwhere(moved.brain).T)
    tilted = np.cov(np.argwhere(case.brain).T) * 9
    assert np.abs(found - expected).max() < 0.05 * expected.max()
    assert np.abs(tilted - expected).max() > 0.05 * expected.max(), "before it did not"
    voxels = (moved.labels > 0).sum() / ((case.labels > 0).sum() * 27)
    assert 0.9 < voxels < 1.1, "labels keep their volume"
    assert set(np.unique(moved.labels)) == {0, int(Label.SNFH)}
    assert moved.present.tolist() == [True, True, False, False]


def test_a_model_finds_its_way_to_the_common_space_and_back() -> None:
    case, _ = tilted_head()
    spec = GridSpec((1.0, 1.0, 1.0), common_space=True)
    place = Placement.of(spec, case.images.astype(np.float32), case.brain, case.spacing_mm)
    tumour = (case.labels > 0).astype(np.float32)
    back = place.back(place.seen(torch.from_numpy(tumour[None])))[0].numpy() > 0.5
    there = case.labels > 0
    assert 2 * (back & there).sum() / (back.sum() + there.sum()) > 0.95


def test_cases_of_another_preparation_are_kept_elsewhere(tmp_path: Path) -> None:
    assert Preparation().folder(tmp_path) == tmp_path
    assert Preparation(histogram=True).folder(tmp_path) == tmp_path, "the histogram is moved when they are read"
    assert Preparation(bias_correction=True, common_space=True).folder(tmp_path) == tmp_path / "n4-mni152"
