"""Bias correction of what cannot be corrected."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.bias import correct_bias

GREY = np.random.default_rng(0).normal(100, 5, (24, 24, 24)).astype(np.float32)
BOX = np.zeros((24, 24, 24), np.uint8)
BOX[2:22, 2:22, 2:22] = 1


@pytest.mark.parametrize(
    ("grey", "brain"),
    [(GREY, np.zeros_like(BOX)), (GREY * (BOX == 0), BOX), (np.where(np.arange(24) < 6, GREY, 0), BOX)],
    ids=["no brain", "nothing shown in the brain", "the brain's edge shown"],
)
def test_an_image_that_shows_too_little_of_the_brain_is_refused(grey: np.ndarray, brain: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"bias field of flair\.nii cannot be estimated.*leave the bias correction"):
        correct_bias(sitk.GetImageFromArray(grey.astype(np.float32)), sitk.GetImageFromArray(brain), "flair.nii")


def test_a_small_brain_is_enough() -> None:
    corrected = sitk.GetArrayFromImage(correct_bias(sitk.GetImageFromArray(GREY), sitk.GetImageFromArray(BOX)))
    assert np.isfinite(corrected).all()
    assert np.median(corrected[BOX > 0]) == pytest.approx(100, rel=0.2)
