"""Volume networks: right about axes and labels, careful with memory."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference import memory
from GliomaSegLib.inference import volume as volume_module
from GliomaSegLib.inference.modality_sets import ModalitySetSegmenter
from GliomaSegLib.inference.outputs import regions_per_channel
from GliomaSegLib.inference.volume import InferenceSpec, VolumeSegmenter, measured_box, whole_box
from GliomaSegLib.inference.windows import (
    WHOLE_FIELD,
    Windows,
)
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing.cropping import Box
from GliomaSegLib.progress import Silent

CPU = torch.device("cpu")
IDENTITY = {"activate": lambda logits: logits, "prepare": lambda stack: (stack, whole_box(stack))}


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


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
    spec = InferenceSpec(
        (Modality.T1C, Modality.T2F),
        windows=Windows(WHOLE_FIELD, 0.5, trims_to=1),
        answer=regions_per_channel([Region.WT]),
        axes=axes,
        flipped=flipped,
        **IDENTITY,
    )
    labels = VolumeSegmenter([Where()], spec, CPU, torch.float32).predict(images, Silent(), 0).labels
    expected = [np.add((3, 4, 5), first).tolist(), np.add((6, 7, 8), last).tolist()]
    assert sorted(np.argwhere(labels).tolist()) == sorted(expected)


def of_one_channel(network: nn.Module, windows: Windows, **changes: object) -> VolumeSegmenter:
    spec = {"order": (Modality.T1C,), "windows": windows, "answer": regions_per_channel([Region.WT]), **IDENTITY}
    return VolumeSegmenter([network], InferenceSpec(**{**spec, **changes}), CPU, torch.float32)


class Itself(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image


def test_the_box_is_put_back_in_its_place() -> None:
    image = np.zeros((9, 10, 11), np.float32)
    image[2:5, 3:7, 4:8] = 0.75

    def prepare(stack: np.ndarray) -> tuple[np.ndarray, Box]:
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
        self.sentences: list[str] = []

    def warn(self, sentence: str) -> None:
        self.sentences.append(sentence)


class Seen(nn.Module):
    """Remembers the largest window that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[tuple[int, ...]] = set()

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.add(tuple(image.shape[2:]))
        return image


def test_short_memory_makes_windows_smaller_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_module, "free_memory_bytes", lambda device: 64 * 64 * 128)
    monkeypatch.setattr("GliomaSegLib.inference.device.free_memory_bytes", lambda device: 64 * 64 * 128)
    network, progress = Seen(), Warnings()
    spec = InferenceSpec(
        (Modality.T1C,), windows=Windows((128, 128, 64), 0.25), answer=regions_per_channel([Region.WT]), **IDENTITY
    )
    segmenter = VolumeSegmenter([network], spec, CPU, torch.float32, lambda size, precision: int(np.prod(size)))
    image = noise(128, 128, 64).numpy()
    prediction = segmenter.predict({Modality.T1C: image}, progress, 0)
    assert network.sizes == {(64, 128, 64)}
    assert "smaller pieces of the image" in progress.sentences[0]
    assert "(64, 128, 64) instead of (128, 128, 64)" in progress.sentences[0]
    np.testing.assert_array_equal(prediction.labels > 0, image >= 0.5)


def test_a_processor_gives_a_window_four_gigabytes_at_most() -> None:
    network = Seen()
    spec = InferenceSpec(
        (Modality.T1C,), windows=Windows((128, 96, 64), 0.25), answer=regions_per_channel([Region.WT]), **IDENTITY
    )
    segmenter = VolumeSegmenter([network], spec, CPU, torch.float32, lambda size, precision: size[0] * 60_000_000)
    segmenter.predict({Modality.T1C: np.ones((64, 64, 64), np.float32)}, Silent(), 0)
    assert network.sizes == {(64, 96, 64)}


def test_a_graphics_card_that_runs_out_is_left_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, ...]] = []

    def runs_out(answer: object, volume: Tensor, windows: Windows, *rest: object) -> Tensor:
        tried.append(windows.size)
        if windows.size[0] > 64:
            raise torch.OutOfMemoryError
        return volume

    monkeypatch.setattr(volume_module, "free_memory_bytes", lambda device: 128 * 64 * 64)
    monkeypatch.setattr(volume_module, "_placed", lambda network, device: network)
    monkeypatch.setattr(volume_module, "slide", runs_out)
    spec = InferenceSpec(
        (Modality.T1C,), windows=Windows((256, 64, 64), 0.25), answer=regions_per_channel([Region.WT]), **IDENTITY
    )
    card = torch.device("cuda")
    segmenter = VolumeSegmenter([Itself()], spec, card, torch.bfloat16, lambda size, precision: int(np.prod(size)))
    progress = Warnings()
    prediction = segmenter.predict({Modality.T1C: np.ones((64, 64, 64), np.float32)}, progress, 0)
    assert tried == [(128, 64, 64), (64, 64, 64)], "256 do not fit even by the count"
    assert all("instead of (256, 64, 64)" in sentence for sentence in progress.sentences)
    assert prediction.device == "cuda"
    assert prediction.labels.all()


def test_a_graphics_card_that_runs_out_at_every_size_is_left_for_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, tuple[int, ...]]] = []

    def runs_out(answer: partial[Tensor], volume: Tensor, windows: Windows, *rest: object) -> Tensor:
        device = answer.keywords["device"]
        tried.append((device.type, windows.size))
        if device.type == "cuda":
            raise torch.OutOfMemoryError
        return volume

    monkeypatch.setattr(volume_module, "free_memory_bytes", lambda device: 1 << 40)
    monkeypatch.setattr(volume_module, "_placed", lambda network, device: network)
    monkeypatch.setattr(volume_module, "slide", runs_out)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    spec = InferenceSpec(
        (Modality.T1C,), windows=Windows((128, 64, 64), 0.25), answer=regions_per_channel([Region.WT]), **IDENTITY
    )
    card = torch.device("cuda")
    segmenter = VolumeSegmenter([Itself()], spec, card, torch.float32, lambda size, precision: int(np.prod(size)))
    progress = Warnings()
    prediction = segmenter.predict({Modality.T1C: np.ones((64, 64, 64), np.float32)}, progress, 0)
    assert tried == [("cuda", (128, 64, 64)), ("cuda", (64, 64, 64)), ("cpu", (128, 64, 64))]
    assert "runs on the processor, which is slower" in progress.sentences[-1]
    assert prediction.device == "cpu"
    assert prediction.labels.all()


def test_the_memory_of_a_window_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[int, ...]] = []
    monkeypatch.setattr(volume_module, "peak_bytes", lambda network, shape, precision: counted.append(shape) or 1)
    segmenter = of_one_channel(Itself(), Windows((64, 64, 64), 0.5))
    for _ in range(2):
        segmenter.predict({Modality.T1C: np.ones((64, 64, 64), np.float32)}, Silent(), 0)
    assert counted == [(1, 64, 64, 64)]


def test_too_little_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("GliomaSegLib.inference.device.free_memory_bytes", lambda device: 1000)
    monkeypatch.setattr(volume_module, "free_memory_bytes", lambda device: 1000)
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
