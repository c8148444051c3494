"""The two-stage engine, with networks that mark what is bright: where it looks, and where its answer lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.coarse_fine import CoarseFine, Stage, Stages
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.networks.any_unet import AnyUNet
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.loaders import any_unet
from Testing.support.training_case import make_case

_CPU = torch.device("cpu")
_NETWORK = {"name": "any-unet", "parameters": {"widths": [4, 8], "blocks": 1}}


class Bright(nn.Module):
    """WT is bright on FLAIR, TC and ET on T1c; remembers what it was shown."""

    def __init__(self, wt_above: float = 0.9, et_above: float = 0.9) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        self._above = wt_above, et_above

    def forward(self, images: Tensor) -> Tensor:
        self.shapes.append(tuple(images.shape[2:]))
        whole, enhancing = images[:, 3] - self._above[0], images[:, 1] - self._above[1]
        return 20 * torch.stack([whole, enhancing, enhancing], dim=1)


def _engine(
    coarse: nn.Module, fine: nn.Module | None, without_flair: nn.Module | None = None, **changes: float
) -> CoarseFine:
    own = Stages(Stage(coarse, 2.0, (24, 24, 24), True), fine and Stage(fine, 1.0, (24, 24, 24), True))
    options = {
        "margin_mm": 6.0,
        "fine_weights": (0.5, 0.75, 1.0),
        "fine_weights_without_flair": (0.5, 0.75, 1.0),
        "fine_weights_without_t2_and_flair": (0.5, 0.75, 1.0),
        "least_enhancing_ml": 0.0,
        "least_tumour_ml": 0.0,
    } | changes
    return CoarseFine(
        tuple(Modality),
        own,
        own if without_flair is None else Stages(Stage(without_flair, 2.0, (24, 24, 24), True), None),
        1.0,
        device=_CPU,
        precision=torch.float32,
        **options,
    )


def _images(turned_by: float = 0.0) -> tuple[dict[Modality, np.ndarray], np.ndarray]:
    """A head with an off-centre bright tumour, perhaps turned about z, and the tumour's mask."""
    case = make_case(shape=(56, 72, 64))
    tumour = case.labels > 0
    tumour[:, 36:] = False  # nothing about it is symmetric
    bright = 100 * case.brain + 100.0 * tumour

    def turned(array: np.ndarray, order: int) -> np.ndarray:
        return ndimage.rotate(array.astype(np.float32), turned_by, axes=(1, 2), reshape=False, order=order)

    noise = np.random.default_rng(0).normal(0, 2, tumour.shape).astype(np.float32)
    brain = turned(case.brain, 0) > 0.5
    flair = (turned(bright, 1) + noise) * brain
    t1c = (100 + noise) * brain
    t1c[turned(case.labels == 3, 0) > 0.5] = 250
    return {Modality.T2F: flair, Modality.T1C: t1c}, turned(tumour, 0) > 0.5


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("degrees", [0, 12])
def test_the_answer_lies_where_the_tumour_is_in_the_images_own_voxels(degrees: float) -> None:
    images, tumour = _images(degrees)
    found = _engine(Bright(), None).predict(images, Silent(), 0).labels
    assert found.shape == tumour.shape
    assert _dice(found > 0, tumour) > 0.8
    assert _dice(found[:, :, ::-1] > 0, tumour) < 0.2


def test_the_fine_stage_sharpens_and_looks_around_the_tumour_alone() -> None:
    images, tumour = _images()
    fine = Bright()
    found = _engine(Bright(), fine).predict(images, Silent(), 0).labels
    alone = _engine(Bright(), None).predict(images, Silent(), 0).labels
    assert _dice(found > 0, tumour) > max(0.93, _dice(alone > 0, tumour))
    assert max(np.prod(shape) for shape in fine.shapes) <= 24**3
    assert len(fine.shapes) <= 2 * 8  # windows, each also mirrored; the whole head would take 72


def test_the_log_odds_of_the_stages_are_averaged_by_their_weights() -> None:
    images, tumour = _images()

    class Sure(nn.Module):
        def __init__(self, probability: float) -> None:
            super().__init__()
            self._logit = float(np.log(probability / (1 - probability)))

        def forward(self, images: Tensor) -> Tensor:
            return torch.full((1, 3, *images.shape[2:]), self._logit)

    engine = _engine(Sure(0.6), Sure(0.9), fine_weights=(0.5, 0.75, 1.0))
    found = engine.predict(images, Silent(), 0).probabilities
    place = tuple(np.argwhere(tumour).mean(0).astype(int))
    averages = [found[region][place] for region in (Region.WT, Region.TC, Region.ET)]
    assert averages == pytest.approx([0.786, 0.852, 0.9], abs=1e-3)  # log-odds of 0.6: 0.405, of 0.9: 2.197


def test_windows_together_answer_as_one() -> None:
    images, _ = _images()
    engine = _engine(Bright(wt_above=-9), Bright())  # everything is suspicious
    whole = _engine(Bright(wt_above=-9), None)
    fine = engine.predict(images, Silent(), 0).probabilities[Region.WT]
    coarse = whole.predict(images, Silent(), 0).probabilities[Region.WT]
    assert fine.min() >= 0
    assert fine.max() <= 1
    assert (coarse[images[Modality.T2F] != 0] > 0.9).mean() > 0.95


def test_regions_are_nested_and_too_little_enhancing_tumour_is_core() -> None:
    images, _ = _images()
    found = _engine(Bright(), Bright()).predict(images, Silent(), 0).labels
    enhancing_ml = region_mask(found, Region.ET).sum() / 1000
    assert enhancing_ml > 0
    without = _engine(Bright(), Bright(), least_enhancing_ml=enhancing_ml + 0.001).predict(images, Silent(), 0).labels
    assert not region_mask(without, Region.ET).any()
    assert np.array_equal(region_mask(without, Region.TC), region_mask(found, Region.TC))
    assert np.array_equal(without > 0, found > 0)


def test_without_contrast_only_the_whole_tumour_is_given() -> None:
    images, _ = _images()
    prediction = _engine(Bright(), Bright()).predict({Modality.T2F: images[Modality.T2F]}, Silent(), 0)
    assert set(np.unique(prediction.labels)) == {0, 2}
    assert set(prediction.probabilities) == {Region.WT}


def test_missing_sequences_are_channels_of_zeros() -> None:
    images, _ = _images()
    seen: list[Tensor] = []

    class Sees(Bright):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return super().forward(images)

    _engine(Sees(), None).predict({Modality.T1C: images[Modality.T1C]}, Silent(), 0)
    assert seen[0][0, 1].any()
    assert not seen[0][0, [0, 2, 3]].any()


def test_a_brain_larger_than_the_frame_is_shown_whole() -> None:
    coarse = Bright()
    engine = _engine(coarse, None)
    images, tumour = _images()
    large = {sequence: ndimage.zoom(image, 1.5, order=0) for sequence, image in images.items()}
    found = engine.predict(large, Silent(), 0).labels
    assert all(2 * size >= extent * 0.9 for size, extent in zip(coarse.shapes[0], (84, 108, 96), strict=True))
    assert _dice(found > 0, ndimage.zoom(tumour, 1.5, order=0)) > 0.8


def test_nothing_found_is_an_empty_map() -> None:
    images, _ = _images()
    prediction = _engine(Bright(99, 99), Bright()).predict(images, Silent(), 0)
    assert not prediction.labels.any()


def test_bad_images_are_refused() -> None:
    engine = _engine(Bright(), None)
    with pytest.raises(InputError, match="has none of"):
        engine.predict({}, Silent(), 0)
    ones = np.ones((8, 8, 8), np.float32)
    with pytest.raises(InputError, match="not on one grid"):
        engine.predict({Modality.T1C: ones, Modality.T2F: ones[:4]}, Silent(), 0)
    with pytest.raises(InputError, match="empty"):
        engine.predict({Modality.T1C: 0 * ones}, Silent(), 0)
    with pytest.raises(InputError, match="constant"):
        engine.predict({Modality.T1C: ones}, Silent(), 0)
    for axis in range(3):
        slab = np.moveaxis(np.arange(3 * 16 * 16, dtype=np.float32).reshape(3, 16, 16) + 1, 0, axis)
        with pytest.raises(InputError, match="less than 4 mm of a brain"):
            engine.predict({Modality.T1C: slab}, Silent(), 0)


class Says(nn.Module):
    """One answer everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self._logit = logit

    def forward(self, images: Tensor) -> Tensor:
        return torch.full((1, 3, *images.shape[2:]), self._logit)


def test_the_fine_stage_is_believed_less_without_flair() -> None:
    engine = _engine(Says(10.0), Says(-10.0), fine_weights=(1.0, 1.0, 1.0), fine_weights_without_flair=(0.25, 1.0, 1.0))
    images, _ = _images()
    assert not engine.predict(images, Silent(), 0).labels.any()
    without = engine.predict({Modality.T1C: images[Modality.T1C], Modality.T2W: images[Modality.T2F]}, Silent(), 0)
    assert without.probabilities[Region.WT].max() == pytest.approx(0.969, abs=0.005)  # half of 999 to 1
    assert region_mask(without.labels, Region.WT).any()
    assert not region_mask(without.labels, Region.TC).any()


def test_cases_without_flair_may_have_networks_of_their_own() -> None:
    engine = _engine(Says(-10.0), None, without_flair=Says(10.0))
    images, _ = _images()
    assert not engine.predict(images, Silent(), 0).labels.any()
    without = engine.predict({Modality.T1C: images[Modality.T1C]}, Silent(), 0)
    assert np.array_equal(without.labels > 0, images[Modality.T1C] != 0)


def test_the_fine_stage_does_not_look_where_its_word_would_not_count() -> None:
    fine = Bright()
    engine = _engine(Says(10.0), fine, fine_weights_without_t2_and_flair=(0.0, 0.0, 0.0))
    images, _ = _images()
    found = engine.predict({Modality.T1C: images[Modality.T1C]}, Silent(), 0)
    assert region_mask(found.labels, Region.WT).any()
    assert not fine.shapes
    engine.predict({one: images[one] for one in (Modality.T1C, Modality.T2F)}, Silent(), 0)
    assert fine.shapes


def test_no_core_outside_the_whole_tumour() -> None:
    engine = _engine(Bright(), Bright(wt_above=1e6), fine_weights=(1.0, 1.0, 1.0))
    assert not engine.predict(_images()[0], Silent(), 0).labels.any()


def test_weights_are_written_and_loaded_again(tmp_path: Path) -> None:
    network = AnyUNet(**_NETWORK["parameters"])
    path = tmp_path / "weights.safetensors"
    any_unet.write_weights({"coarse": network.state_dict()}, path)
    stage = {"network": _NETWORK, "spacing_mm": 2.0, "shape": [24, 24, 24], "mirrored": True}
    rest = {
        "spacing_mm": 1.0,
        "margin_mm": 5.0,
        "fine_weights": [0.5, 0.5, 0.5],
        "fine_weights_without_flair": [0.5, 0.5, 0.5],
        "fine_weights_without_t2_and_flair": [0.0, 0.0, 0.0],
        "least_enhancing_ml": 0.1,
        "least_tumour_ml": 0.1,
    }
    images, _ = _images()
    first = any_unet.load(path, {"coarse": stage, **rest}, _CPU, torch.float32).predict(images, Silent(), 0)
    again = any_unet.load(path, {"coarse": stage, **rest}, _CPU, torch.float32).predict(images, Silent(), 5)
    assert np.array_equal(first.probabilities[Region.WT], again.probabilities[Region.WT])
    with pytest.raises(WeightsError, match="does not hold the weights of the fine network"):
        any_unet.load(path, {"coarse": stage, "fine": stage, **rest}, _CPU, torch.float32)
    other = AnyUNet(**_NETWORK["parameters"])
    any_unet.write_weights({"coarse": network.state_dict(), "coarse_without_flair": other.state_dict()}, path)
    engine = any_unet.load(path, {"coarse": stage, "coarse_without_flair": stage, **rest}, _CPU, torch.float32)
    found = engine.predict(images, Silent(), 0).probabilities[Region.WT]
    assert np.array_equal(found, first.probabilities[Region.WT])
    t1c = {Modality.T1C: images[Modality.T1C]}
    any_unet.write_weights({"coarse": other.state_dict()}, tmp_path / "other.safetensors")
    alone = any_unet.load(tmp_path / "other.safetensors", {"coarse": stage, **rest}, _CPU, torch.float32)
    expected = alone.predict(t1c, Silent(), 0).probabilities[Region.WT]
    assert np.array_equal(engine.predict(t1c, Silent(), 0).probabilities[Region.WT], expected)
    path.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="cannot be read"):
        any_unet.load(path, {"coarse": stage, **rest}, _CPU, torch.float32)


def test_the_mirrored_network_sees_both_sides() -> None:
    torch.manual_seed(0)
    network = AnyUNet(widths=(4, 8), mirrored=True).eval()
    images = torch.zeros(1, 4, 8, 8, 8)
    images[..., 1] = 1
    weight = network.stem.conv.weight
    assert weight.shape[1] == 8
    with torch.no_grad():
        weight[:, :4] = 0  # blind for its own side
        there = network.stem.conv(torch.cat([images, images.flip(-1)], 1))
    assert there[..., 6].abs().sum() > 0
    assert there[..., 1].abs().sum() == 0


def test_parameter_counts_of_the_shipped_sizes() -> None:
    with torch.device("meta"):
        coarse = AnyUNet(widths=(16, 32, 64, 128), blocks=2, mirrored=True)
        fine = AnyUNet(widths=(16, 32, 64, 128), blocks=1)
        logits = coarse(torch.zeros(1, 4, 72, 96, 80))
    assert logits.shape == (1, 3, 72, 96, 80)
    assert sum(one.numel() for one in coarse.parameters()) == 2_988_451
    assert sum(one.numel() for one in fine.parameters()) == 1_824_611
