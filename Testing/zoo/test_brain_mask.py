"""A brain extractor of the zoo gives its mask on the image's own grid, whatever grid its network sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.options import BrainMethod
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.brain_mask import ZooBrain, brain_extractor, zoo_brain
from GliomaSegLib.zoo.card_network import Space


class Bright:
    """Takes what is bright for the brain, and remembers the shape (z, y, x) that it was shown."""

    shown: tuple[int, ...] = ()

    def predict(self, images: Mapping[Modality, np.ndarray], progress: Progress, seed: int) -> Prediction:
        (image,) = images.values()
        self.shown = image.shape
        return Prediction((image > 50).astype(np.uint8))


@pytest.mark.parametrize("orientation", ["LPS", "RAS"])
def test_mask_on_the_grid_of_an_oblique_image_of_thick_slices(random_image: sitk.Image, orientation: str) -> None:
    """The brain is in the first third of x alone, so that left and right show."""
    array = np.zeros(random_image.GetSize()[::-1], np.float32)
    array[1:5, 2:7, 1:3] = 100
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(random_image)
    network = Bright()
    space = Space(spacing_mm=(0.5, 0.5, 0.5), orientation=orientation, brain="head")
    mask = ZooBrain("bright", network, space).extract(image)
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert mask.GetDirection() == image.GetDirection()
    assert mask.GetOrigin() == image.GetOrigin()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), array > 0)
    assert network.shown == (48, 20, 14)


def test_a_model_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("GliomaSegLib.zoo.brain_mask.default_store", lambda: tmp_path)
    with pytest.raises(WeightsError, match="gliomaseg models install synthstrip"):
        zoo_brain("synthstrip", torch.device("cpu"))


def test_a_model_is_looked_for_in_the_store_that_the_job_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("GliomaSegLib.zoo.brain_mask.default_store", lambda: tmp_path / "users")
    (tmp_path / "named" / "synthstrip").mkdir(parents=True)
    (tmp_path / "named" / "synthstrip" / "installed.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"weights in .*named.synthstrip are damaged"):
        brain_extractor(BrainMethod.SYNTHSTRIP, torch.device("cpu"), torch.float32, tmp_path / "named")
