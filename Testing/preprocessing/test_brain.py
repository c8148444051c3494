"""What counts as a brain, and where the extractors run."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.preprocessing.brain import find_brain, is_stripped, near_brain, strip

CPU = torch.device("cpu")


def ball(radius_mm: float, value: float = 100.0) -> sitk.Image:
    """A ball of one grey value with 0 around it, on 4 mm voxels."""
    z, y, x = (np.mgrid[:60, :60, :60] - 29.5) * 4.0
    image = sitk.GetImageFromArray(np.where(z**2 + y**2 + x**2 < radius_mm**2, value, 0).astype(np.float32))
    image.SetSpacing((4.0, 4.0, 4.0))
    return image


def volume_ml(mask: sitk.Image) -> float:
    return float(sitk.GetArrayFromImage(mask).sum() * np.prod(mask.GetSpacing()) / 1000)


class Finds:
    """An extractor that has its answer ready."""

    name = "finds"

    def __init__(self, mask: sitk.Image) -> None:
        self._mask = mask

    def extract(self, image: sitk.Image) -> sitk.Image:
        return self._mask


def test_what_is_said_to_be_stripped_gives_its_own_voxels_with_holes_filled() -> None:
    image = ball(68)
    image[30, 30, 30] = 0
    brain = find_brain(image, None)
    assert volume_ml(brain) == pytest.approx(4 / 3 * np.pi * 6.8**3, rel=0.02)
    assert brain[30, 30, 30] == 1


@pytest.mark.parametrize(("radius_mm", "fill"), [(100, "fill 4"), (30, "fill 1"), (0, "fill 0 mL")])
def test_what_is_said_to_be_stripped_must_be_of_a_brains_size(radius_mm: float, fill: str) -> None:
    with pytest.raises(InputError, match=f"skull-stripped, {fill}.*leave '--brain stripped' out if it shows the skull"):
        find_brain(ball(radius_mm), None)


def test_a_head_said_to_be_stripped_is_refused(small_phantom: Phantom) -> None:
    with pytest.raises(InputError, match="leave '--brain stripped' out"):
        find_brain(sitk.Cast(small_phantom.images[Modality.T1C], sitk.sitkFloat32), None)


def test_what_turns_out_to_be_stripped_must_be_of_a_brains_size() -> None:
    found = sitk.Cast(ball(83) > 0, sitk.sitkUInt8)  # 2.4 L, and 3 mm around it are 2.7 L
    assert volume_ml(find_brain(ball(83), Finds(found))) == volume_ml(found)
    with pytest.raises(InputError, match="which counts as skull-stripped, fill 2"):
        find_brain(ball(86), Finds(found))


def test_the_extractor_that_finds_no_brain_is_named() -> None:
    with pytest.raises(InputError, match=r"No brain was found in the reference image \(finds: 10 mL"):
        find_brain(ball(83), Finds(sitk.Cast(ball(14.2) > 0, sitk.sitkUInt8)))


def test_stripping_with_the_surroundings_at_hand_is_the_same() -> None:
    brain = sitk.Cast(ball(68) > 0, sitk.sitkUInt8)
    near = near_brain(brain)
    assert 4 / 3 * np.pi * 7.0**3 < volume_ml(near) < 4 / 3 * np.pi * 7.5**3
    for radius_mm, stripped in ((71, True), (90, False)):
        image = ball(radius_mm)
        assert is_stripped(image, brain) is is_stripped(image, brain, near) is stripped
        results = [sitk.GetArrayFromImage(strip(image, brain, *given)) for given in ((), (near,))]
        np.testing.assert_array_equal(*results)
        assert (results[0] != 0).sum() == (sitk.GetArrayFromImage(image if stripped else brain) != 0).sum()
