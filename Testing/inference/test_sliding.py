"""The engine of the volume networks: equal to MONAI's own, right about axes and labels, and careful with memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import Cancelled, InputError
from GliomaSegLib.inference import memory, sliding
from GliomaSegLib.inference.sliding import (
    WHOLE_FIELD,
    InferenceSpec,
    ModalitySetSegmenter,
    VolumeSegmenter,
    Windows,
    constant,
    even,
    gaussian,
    label_per_channel,
    measured_box,
    mirrors,
    regions_per_channel,
    regular,
    slide,
    whole_box,
)
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.progress import Silent

CPU = torch.device("cpu")
IDENTITY = {"activate": lambda logits: logits, "prepare": lambda stack: (stack, whole_box(stack))}


@pytest.fixture
def network() -> nn.Module:
    """Two channels in, three out; what it answers for a voxel depends on its neighbours and on the window's edges."""
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 3, 3, padding=1)
    )
    return layers.eval().requires_grad_(False)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def answered(networks: list[nn.Module], volume: Tensor, windows: Windows) -> Tensor:
    with torch.inference_mode():
        return slide(networks, volume, windows, CPU, torch.float32, lambda done: None)


# --- windows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "overlap", "mode", "importance", "padding"),
    [
        ((20, 30, 25), 0.5, "constant", constant, "constant"),
        ((20, 30, 25), 0.625, "gaussian", gaussian, "constant"),
        ((9, 40, 16), 0.5, "gaussian", gaussian, "replicate"),
        ((33, 17, 8), 0.25, "gaussian", gaussian, "constant"),
    ],
)
def test_equals_monais_own_inferer(
    network: nn.Module, shape: tuple[int, ...], overlap: float, mode: str, importance: sliding.Importance, padding: str
) -> None:
    volume = noise(2, *shape)
    theirs = SlidingWindowInferer((16, 16, 16), overlap=overlap, mode=mode, padding_mode=padding)(volume[None], network)
    windows = Windows((16, 16, 16), overlap, importance=importance, padding=padding)
    torch.testing.assert_close(answered([network], volume, windows), theirs[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [(16, 17, 20), (96, 96, 96), (128, 160, 112), (7, 5, 9), (1, 3, 2)])
def test_gaussian_weights_are_monais_bit_by_bit(window: sliding.Size) -> None:
    assert torch.equal(gaussian(window), compute_importance_map(window, mode="gaussian", sigma_scale=0.125))


@pytest.mark.parametrize("placing", [regular, even])
@pytest.mark.parametrize(("size", "window"), [(155, 64), (64, 64), (65, 64), (10, 64), (200, 48)])
def test_windows_cover_an_axis_and_end_with_it(placing: sliding.Placing, size: int, window: int) -> None:
    starts = placing(size, window, 0.5)
    covered = np.zeros(max(size, window), bool)
    for start in starts:
        covered[start : start + window] = True
    assert covered.all()
    assert starts[0] == 0
    assert starts[-1] == max(size - window, 0)
    assert all(0 < later - earlier <= window // 2 for earlier, later in itertools.pairwise(starts))


def test_even_placing_is_nnunets() -> None:
    # nnU-Net's documentation: an image of 110 with windows of 64 and steps of half a window is seen at 0, 23 and 46.
    assert even(110, 64, 0.5) == [0, 23, 46]
    assert regular(110, 64, 0.5) == [0, 32, 46]


def test_a_trimmed_window_fits_the_volume() -> None:
    fitted = Windows((128, 64, WHOLE_FIELD[2]), 0.5, trims_to=8).fitted((50, 100, 33))
    assert fitted.size == (56, 64, 40)
    assert Windows((128, 64, 32), 0.5).fitted((50, 100, 33)).size == (128, 64, 32)


def test_folds_and_mirrors_are_averaged(network: nn.Module) -> None:
    volume = noise(2, 16, 16, 16)
    other = nn.Conv3d(2, 3, 1).requires_grad_(False)
    found = answered([network, other], volume, Windows((16, 16, 16), 0.5, mirrors=mirrors(0, 2)))
    views = [(), (2,), (4,), (2, 4)]
    expected = sum(one(volume[None].flip(view)).flip(view) for one in (network, other) for view in views) / 8
    torch.testing.assert_close(found, expected[0])
    assert mirrors(0, 1, 2) == ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))


def test_batched_views_change_nothing(network: nn.Module) -> None:
    volume, windows = noise(2, 16, 16, 16), Windows((16, 16, 16), 0.5, mirrors=mirrors(0, 1, 2))
    with torch.inference_mode():
        batched = slide([network], volume, windows, CPU, torch.float32, lambda done: None, batch=3)
    torch.testing.assert_close(batched, answered([network], volume, windows))


def test_progress_is_told_and_may_cancel(network: nn.Module) -> None:
    heard: list[float] = []

    def told(done: float) -> None:
        heard.append(done)
        if done > 0.5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled), torch.inference_mode():
        slide([network], noise(2, 32, 16, 16), Windows((16, 16, 16), 0.5), CPU, torch.float32, told)
    assert heard == pytest.approx([1 / 3, 2 / 3])


# --- labels --------------------------------------------------------------------------------------------------------


def test_the_smaller_region_wins() -> None:
    answer = regions_per_channel([Region.TC, Region.WT, Region.ET])
    voxels = np.array([[0, 0, 0], [0, 0.5, 0], [0.9, 0.9, 0], [0.9, 0, 0], [0, 0, 0.7]], np.float32)
    labels, maps = answer(voxels.T[:, :, None, None])
    assert labels.ravel().tolist() == [0, Label.SNFH, Label.NETC, Label.NETC, Label.ET]
    assert maps[Region.WT].ravel().tolist() == pytest.approx([0, 0.5, 0.9, 0, 0])


def test_enhancing_and_cavity_without_core() -> None:
    labels, _ = regions_per_channel([Region.WT, Region.ET])(np.array([[1, 1], [0, 1]], np.float32)[:, :, None, None])
    assert labels.ravel().tolist() == [Label.SNFH, Label.ET]
    labels, _ = regions_per_channel([Region.RC])(np.array([[0.4, 0.6]], np.float32)[:, :, None, None])
    assert labels.ravel().tolist() == [0, Label.RC]


def test_exclusive_labels_and_their_maps() -> None:
    answer = label_per_channel([Label.BACKGROUND, Label.SNFH, Label.NETC, Label.ET])
    voxels = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.2, 0.1, 0.1, 0.6]], np.float32)
    labels, maps = answer(voxels.T[:, :, None, None])
    assert labels.ravel().tolist() == [0, Label.SNFH, Label.ET]
    assert maps[Region.WT].ravel().tolist() == pytest.approx([0.3, 0.9, 0.8])
    assert maps[Region.TC].ravel().tolist() == pytest.approx([0.2, 0.3, 0.7])
    assert Region.RC not in maps
    two = label_per_channel([Label.BACKGROUND, Label.RC])(np.full((2, 1, 1, 1), 0.5, np.float32))
    assert two[0].item() == Label.RC


# --- the segmenter -------------------------------------------------------------------------------------------------


class Where(nn.Module):
    """Bright where the first channel is, one voxel further along the network's first axis."""

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :1].roll(1, dims=2) + image[:, 1:].roll(1, dims=4)


@pytest.mark.parametrize(
    ("axes", "flipped", "first", "last"),
    [
        ((0, 1, 2), (), (1, 0, 0), (0, 0, 1)),
        ((2, 1, 0), (), (0, 0, 1), (1, 0, 0)),
        ((2, 1, 0), (0, 1), (0, 0, -1), (1, 0, 0)),
    ],
)
def test_axes_and_directions(
    axes: tuple[int, int, int], flipped: tuple[int, ...], first: tuple[int, ...], last: tuple[int, ...]
) -> None:
    images = {Modality.T1C: np.zeros((10, 12, 14), np.float32), Modality.T2F: np.zeros((10, 12, 14), np.float32)}
    images[Modality.T1C][3, 4, 5] = images[Modality.T2F][6, 7, 8] = 1
    contract = InferenceSpec(
        (Modality.T1C, Modality.T2F),
        windows=Windows(WHOLE_FIELD, 0.5, trims_to=1),
        answer=regions_per_channel([Region.WT]),
        axes=axes,
        flipped=flipped,
        **IDENTITY,
    )
    labels = VolumeSegmenter([Where()], contract, CPU, torch.float32).predict(images, Silent(), 0).labels
    expected = [np.add((3, 4, 5), first).tolist(), np.add((6, 7, 8), last).tolist()]
    assert sorted(np.argwhere(labels).tolist()) == sorted(expected)


def of_one_channel(network: nn.Module, windows: Windows, **changes: object) -> VolumeSegmenter:
    contract = {"order": (Modality.T1C,), "windows": windows, "answer": regions_per_channel([Region.WT]), **IDENTITY}
    return VolumeSegmenter([network], InferenceSpec(**{**contract, **changes}), CPU, torch.float32)


class Itself(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image


def test_the_box_is_put_back_in_its_place() -> None:
    image = np.zeros((9, 10, 11), np.float32)
    image[2:5, 3:7, 4:8] = 0.75

    def prepare(stack: np.ndarray) -> tuple[np.ndarray, sliding.Box]:
        box = measured_box(stack)
        return stack[(slice(None), *box)], box

    found = of_one_channel(Itself(), Windows(WHOLE_FIELD, 0.5, trims_to=4), prepare=prepare)
    prediction = found.predict({Modality.T1C: image}, Silent(), 0)
    np.testing.assert_array_equal(prediction.labels > 0, image > 0)
    np.testing.assert_allclose(prediction.probabilities[Region.WT], image)
    assert prediction.device == "cpu"
    assert prediction.precision == "float32"


def test_what_cannot_be_used_is_refused() -> None:
    segmenter = of_one_channel(Itself(), Windows((8, 8, 8), 0.5))
    with pytest.raises(InputError, match="none of T1 \\+ contrast"):
        segmenter.predict({Modality.T2F: np.ones((4, 4, 4), np.float32)}, Silent(), 0)
    with pytest.raises(InputError, match="empty"):
        segmenter.predict({Modality.T1C: np.zeros((4, 4, 4), np.float32)}, Silent(), 0)
    two = of_one_channel(Itself(), Windows((8, 8, 8), 0.5), order=(Modality.T1C, Modality.T2F))
    images = {Modality.T1C: np.ones((4, 4, 4), np.float32), Modality.T2F: np.ones((4, 4, 5), np.float32)}
    with pytest.raises(InputError, match="one grid"):
        two.predict(images, Silent(), 0)


def test_a_case_goes_to_its_own_network() -> None:
    plus_one, plus_two = (of_one_channel(Itself(), Windows((4, 4, 4), 0.5), order=(one,)) for one in list(Modality)[:2])
    segmenter = ModalitySetSegmenter({(Modality.T1N,): plus_one, (Modality.T1C,): plus_two})
    images = {Modality.T1N: np.full((4, 4, 4), 0.9, np.float32), Modality.T1C: np.full((4, 4, 4), 0.1, np.float32)}
    assert segmenter.predict(images, Silent(), 0).labels.all()
    del images[Modality.T1N]
    assert not segmenter.predict(images, Silent(), 0).labels.any()
    with pytest.raises(InputError, match="no network for FLAIR alone"):
        segmenter.predict({Modality.T2F: images[Modality.T1C]}, Silent(), 0)


# --- memory --------------------------------------------------------------------------------------------------------


class Warnings(Silent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, sentence: str) -> None:
        self.heard.append(sentence)


class Seen(nn.Module):
    """Remembers the largest window that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[tuple[int, ...]] = set()

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.add(tuple(image.shape[2:]))
        return image


def test_short_memory_makes_windows_smaller_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliding, "free_memory_bytes", lambda device: 64 * 64 * 128)
    monkeypatch.setattr("GliomaSegLib.inference.device.free_memory_bytes", lambda device: 64 * 64 * 128)
    network, progress = Seen(), Warnings()
    contract = InferenceSpec(
        (Modality.T1C,), windows=Windows((128, 128, 64), 0.25), answer=regions_per_channel([Region.WT]), **IDENTITY
    )
    segmenter = VolumeSegmenter([network], contract, CPU, torch.float32, lambda size, precision: int(np.prod(size)))
    image = noise(128, 128, 64).numpy()
    prediction = segmenter.predict({Modality.T1C: image}, progress, 0)
    assert network.sizes == {(64, 128, 64)}
    assert "smaller pieces of the image" in progress.heard[0]
    assert "(64, 128, 64) instead of (128, 128, 64)" in progress.heard[0]
    np.testing.assert_array_equal(prediction.labels > 0, image >= 0.5)


def test_a_processor_gives_a_window_four_gigabytes_at_most() -> None:
    network = Seen()
    contract = InferenceSpec(
        (Modality.T1C,), windows=Windows((128, 96, 64), 0.25), answer=regions_per_channel([Region.WT]), **IDENTITY
    )
    segmenter = VolumeSegmenter([network], contract, CPU, torch.float32, lambda size, precision: size[0] * 60_000_000)
    segmenter.predict({Modality.T1C: np.ones((64, 64, 64), np.float32)}, Silent(), 0)
    assert network.sizes == {(64, 96, 64)}


def test_a_graphics_card_that_runs_out_is_left_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, ...]] = []

    def runs_out(networks: object, volume: Tensor, windows: Windows, *rest: object) -> Tensor:
        tried.append(windows.size)
        if windows.size[0] > 64:
            raise torch.OutOfMemoryError
        return volume

    monkeypatch.setattr(sliding, "free_memory_bytes", lambda device: 128 * 64 * 64)
    monkeypatch.setattr(sliding, "_placed", lambda network, device: network)
    monkeypatch.setattr(sliding, "slide", runs_out)
    contract = InferenceSpec(
        (Modality.T1C,), windows=Windows((256, 64, 64), 0.25), answer=regions_per_channel([Region.WT]), **IDENTITY
    )
    card = torch.device("cuda")
    segmenter = VolumeSegmenter([Itself()], contract, card, torch.bfloat16, lambda size, precision: int(np.prod(size)))
    progress = Warnings()
    prediction = segmenter.predict({Modality.T1C: np.ones((64, 64, 64), np.float32)}, progress, 0)
    assert tried == [(128, 64, 64), (64, 64, 64)], "256 do not fit even by the count"
    assert all("instead of (256, 64, 64)" in sentence for sentence in progress.heard)
    assert prediction.device == "cuda"
    assert prediction.labels.all()


def test_a_graphics_card_that_runs_out_at_every_size_is_left_for_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, tuple[int, ...]]] = []

    def runs_out(networks: object, volume: Tensor, windows: Windows, device: torch.device, *rest: object) -> Tensor:
        tried.append((device.type, windows.size))
        if device.type == "cuda":
            raise torch.OutOfMemoryError
        return volume

    monkeypatch.setattr(sliding, "free_memory_bytes", lambda device: 1 << 40)
    monkeypatch.setattr(sliding, "_placed", lambda network, device: network)
    monkeypatch.setattr(sliding, "slide", runs_out)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    contract = InferenceSpec(
        (Modality.T1C,), windows=Windows((128, 64, 64), 0.25), answer=regions_per_channel([Region.WT]), **IDENTITY
    )
    card = torch.device("cuda")
    segmenter = VolumeSegmenter([Itself()], contract, card, torch.float32, lambda size, precision: int(np.prod(size)))
    progress = Warnings()
    prediction = segmenter.predict({Modality.T1C: np.ones((64, 64, 64), np.float32)}, progress, 0)
    assert tried == [("cuda", (128, 64, 64)), ("cuda", (64, 64, 64)), ("cpu", (128, 64, 64))]
    assert "runs on the processor, which is slower" in progress.heard[-1]
    assert prediction.device == "cpu"
    assert prediction.labels.all()


def test_the_memory_of_a_window_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[int, ...]] = []
    monkeypatch.setattr(sliding, "peak_bytes", lambda network, shape, precision: counted.append(shape) or 1)
    segmenter = of_one_channel(Itself(), Windows((64, 64, 64), 0.5))
    for _ in range(2):
        segmenter.predict({Modality.T1C: np.ones((64, 64, 64), np.float32)}, Silent(), 0)
    assert counted == [(1, 64, 64, 64)]


def test_too_little_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("GliomaSegLib.inference.device.free_memory_bytes", lambda device: 1000)
    monkeypatch.setattr(sliding, "free_memory_bytes", lambda device: 1000)
    with pytest.raises(InputError, match="GiB of memory"):
        of_one_channel(Itself(), Windows((64, 64, 64), 0.5)).predict(
            {Modality.T1C: np.ones((64, 64, 64), np.float32)}, Silent(), 0
        )


def test_peak_memory_is_counted_without_running() -> None:
    network = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 1, 1))
    counted = memory.peak_bytes(network, (1, 100, 100, 100), torch.float32) - memory._BASE_BYTES
    # While the ReLU works, its input and its output are alive, and the image: 8 + 8 + 1 channels of 4 MB.
    assert counted == pytest.approx(memory._WORKSPACE * 17 * 4e6, rel=0.01)
    half = memory.peak_bytes(network, (1, 100, 100, 100), torch.bfloat16) - memory._BASE_BYTES
    assert half == pytest.approx(counted / 2, rel=0.01)
