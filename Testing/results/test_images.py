"""Images of a result: probabilities as they are stored."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.io.grid import array_on, same_grid
from GliomaSegLib.results.images import as_stored


def test_probabilities_are_stored_in_255_steps_wherever_they_lie() -> None:
    values = np.zeros((12, 14, 16), np.float32)
    values[3:9, 2:14, 5:11] = np.random.default_rng(0).uniform(-0.1, 1.1, (6, 12, 6))
    values[4, 4, 6:9] = 0.5 / 255, 1.5 / 255, 254.5 / 255
    grid = sitk.Image(16, 14, 12, sitk.sitkUInt8)
    grid.SetOrigin((4.0, -3.0, 2.0))
    for given in (values, values * 0):
        stored = as_stored(array_on(given, grid))
        expected = np.round(np.clip(given, 0, 1) * 255).astype(np.uint8)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(stored), expected)
        assert same_grid(stored, grid)
        assert as_stored(stored) is stored
