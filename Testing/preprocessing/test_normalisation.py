"""Normalisation: exactly zero means that nothing was measured."""

from __future__ import annotations

import numpy as np
import pytest

from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.normalisation import fill_with_noise, z_score


def test_z_score_looks_at_non_zero_voxels_only() -> None:
    image = np.zeros((4, 5, 6), np.float32)
    image[1:3] = np.random.default_rng(0).normal(500, 70, (2, 5, 6))
    scaled = z_score(image)
    assert scaled.dtype == np.float32
    assert not scaled[image == 0].any()
    assert scaled[image != 0].mean() == pytest.approx(0, abs=1e-6)
    assert scaled[image != 0].std() == pytest.approx(1, abs=1e-6)


def test_z_score_does_not_depend_on_scale_or_padding() -> None:
    image = np.random.default_rng(1).uniform(1, 9, (3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(z_score(image * 7), z_score(image), atol=1e-5)
    np.testing.assert_array_equal(z_score(np.pad(image, 2))[2:-2, 2:-2, 2:-2], z_score(image))


def test_z_score_is_exact_for_large_values() -> None:
    """A float32 sum of squares would lose the spread of 16-bit data far from zero."""
    image = (60_000 + np.arange(8_000) % 2).astype(np.float32).reshape(20, 20, 20)
    assert np.abs(z_score(image)).max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [0, 3])
def test_flat_image_is_refused_by_name(value: float) -> None:
    with pytest.raises(InputError, match="FLAIR is constant"):
        z_score(np.full((2, 2, 2), value, np.float32), "FLAIR")


def test_noise_fills_only_where_it_is_asked_for() -> None:
    image = np.full((10, 20, 30), 5, np.float32)
    where = np.zeros(image.shape, bool)
    where[3:] = True
    filled = fill_with_noise(image, where, np.random.default_rng(3))
    assert (filled[~where] == 5).all()
    assert (image == 5).all()
    assert filled[where].mean() == pytest.approx(0, abs=0.06)
    assert filled[where].std() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(filled, fill_with_noise(image, where, np.random.default_rng(3)))
    assert (filled != fill_with_noise(image, where, np.random.default_rng(4))).any()
