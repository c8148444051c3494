"""Grey values are normalised over the voxels that a card names; compared with MONAI and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import NormalizeIntensity, ScaleIntensityRangePercentiles

from GliomaSegLib.errors import InputError
from GliomaSegLib.zoo.card_network import Normalisation
from GliomaSegLib.zoo.inference_spec import scaling_of

IMAGE = np.zeros((12, 12, 12), np.float32)
IMAGE[3:9, 3:9, 3:9] = np.random.default_rng(0).normal(100, 10, (6, 6, 6))


@pytest.mark.parametrize("over", ["all", "non-zero"])
def test_z_scores_are_monais(over: str) -> None:
    found = scaling_of(Normalisation(method="z-score", over=over))(IMAGE, "T1")
    wanted = NormalizeIntensity(nonzero=over == "non-zero")(IMAGE)
    assert np.allclose(found, np.asarray(wanted), atol=1e-4)


def test_percentiles_are_monais_or_those_of_the_named_voxels() -> None:
    found = scaling_of(Normalisation(method="percentiles", percentiles=(1.0, 99.0), clip=True))(IMAGE, "T1")
    wanted = ScaleIntensityRangePercentiles(1, 99, 0, 1, clip=True)(IMAGE)
    assert np.allclose(found, np.asarray(wanted), atol=1e-4)
    inside = scaling_of(Normalisation(method="percentiles", percentiles=(1.0, 99.0), over="non-zero"))(IMAGE, "T1")
    low, high = np.percentile(IMAGE[IMAGE != 0], (1, 99))
    assert np.allclose(inside, (IMAGE - low) / (high - low), atol=1e-4)


@pytest.mark.parametrize("over", ["all", "non-zero", "above-mean"])
@pytest.mark.parametrize("how", [{"method": "z-score"}, {"method": "percentiles", "percentiles": (1.0, 99.0)}])
def test_an_image_without_contrast_is_one_sentence(over: str, how: dict) -> None:
    for image in (np.zeros((4, 4, 4), np.float32), np.full((4, 4, 4), 7.0, np.float32)):
        with pytest.raises(InputError, match=r"T1 .*cannot be normalised"):
            scaling_of(Normalisation(over=over, **how))(image, "T1")
