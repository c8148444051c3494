"""CA-CNN: the networks against a plain reading of the paper, the cascade's contract, the weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference import device
from GliomaSegLib.inference.cascade import PlaneModel, SliceCascade, assemble
from GliomaSegLib.inference.slices import Plane, SliceWindows
from GliomaSegLib.label_maps import region_mask, to_internal
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.networks import ca_cnn
from GliomaSegLib.networks.ca_cnn import AnisotropicNet, Workspace, placed
from GliomaSegLib.networks.memory_format import measure_moments
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.loaders import ca_cnn as loader
from Testing.zoo.test_tensor_bundle import write_bundle

CPU = torch.device("cpu")
ORDER = loader.CHANNEL_ORDER


# The network


def _random_net(downsample_twice: bool, seed: int = 0) -> AnisotropicNet:
    torch.manual_seed(seed)
    net = AnisotropicNet(4, downsample_twice).eval().requires_grad_(False)
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.copy_(torch.empty_like(parameter).uniform_(0.2, 1.2))
    return net


class PlainNet:
    """The same network as the paper draws it: every window on its own, 3-D convolutions, no sharing of slices."""

    def __init__(self, net: AnisotropicNet) -> None:
        self.weights = {name: value.double() for name, value in net.state_dict().items()}
        self.twice = net.downsample_twice

    def __call__(self, windows: Tensor) -> Tensor:
        """``[window, channel, slice, height, width]`` to the probability ``[window, 11, height, width]``."""
        x = self._block("block1_2", self._block("block1_1", windows))
        x = self._layer("fuse1", x)
        x = self._layer("downsample1", x) if self.twice else x
        first = self._layer("fuse2", self._block("block2_2", self._block("block2_1", x)))
        x = self._layer("downsample2", first)
        for name, dilation in (("block3_1", 1), ("block3_2", 2), ("block3_3", 3)):
            x = self._block(name, x, dilation)
        second = self._layer("fuse3", x)
        x = second
        for name, dilation in (("block4_1", 3), ("block4_2", 2), ("block4_3", 1)):
            x = self._block(name, x, dilation)
        third = self._layer("fuse4", x)
        shallow, middle = first[:, :, 2:-2], self._layer("pred_up2_1", second[:, :, 1:-1])
        deep = self._layer("pred_up3_1", third)
        if self.twice:
            shallow = self._layer("pred_up1", shallow)
            middle, deep = self._layer("pred_up2_2", middle), self._layer("pred_up3_2", deep)
        else:
            shallow = self._conv("pred1.weight", shallow, 1)
        return self._conv("final_pred.weight", torch.cat((shallow, middle, deep), 1), 1).softmax(1)[:, 1]

    def _block(self, name: str, x: Tensor, dilation: int = 1) -> Tensor:
        y = self._conv(f"{name}.conv_0.weight", self._activate(f"{name}.norm_0", x), dilation)
        y = self._conv(f"{name}.conv_1.weight", self._activate(f"{name}.norm_1", y), dilation)
        missing = y.shape[1] - x.shape[1]
        return y + functional.pad(x, (0, 0, 0, 0, 0, 0, missing // 2, missing // 2))

    def _layer(self, name: str, x: Tensor) -> Tensor:
        kernel = self.weights[f"{name}.conv.weight"]
        if name.startswith("fuse"):
            y = functional.conv3d(x, kernel[..., None])
        elif name.startswith("down"):
            y = functional.conv3d(functional.pad(x, (0, 1, 0, 1)), kernel[:, :, None], stride=(1, 2, 2))
        else:
            y = functional.conv_transpose3d(x, kernel[:, :, None], stride=(1, 2, 2))[..., :-1, :-1]
        return self._activate(f"{name}.norm", y)

    def _conv(self, name: str, x: Tensor, dilation: int) -> Tensor:
        padding = (0, dilation, dilation)
        return functional.conv3d(x, self.weights[name][:, :, None], padding=padding, dilation=(1, dilation, dilation))

    def _activate(self, name: str, x: Tensor) -> Tensor:
        gamma, beta = self.weights[f"{name}.gamma"], self.weights[f"{name}.beta"]
        normalised = functional.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)
        return functional.prelu(normalised, self.weights[f"{name}.alpha"])


@pytest.mark.parametrize(("downsample_twice", "count"), [(True, 214_470), (False, 204_396)])
def test_number_of_parameters_is_the_published_one(downsample_twice: bool, count: int) -> None:
    assert sum(parameter.numel() for parameter in AnisotropicNet(4, downsample_twice).parameters()) == count


@pytest.mark.parametrize("downsample_twice", [True, False])
def test_shared_slices_give_the_answer_of_separate_windows(downsample_twice: bool) -> None:
    """Also where the last window was moved back and overlaps its neighbour by more than the others."""
    net = _random_net(downsample_twice)
    starts = [0, 11, 15]
    stack = torch.randn(34, 4, 16, 12)
    windows = torch.stack([stack[start : start + 19].transpose(0, 1) for start in starts])
    expected = PlainNet(net)(windows.double())
    with torch.inference_mode():
        given = net(stack, starts)
    assert given.shape == (26, 16, 12)
    for start, answer in zip(starts, expected, strict=True):
        torch.testing.assert_close(given[start : start + 11].double(), answer, atol=2e-4, rtol=0)


def test_pieces_and_old_buffers_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    net, stack, workspace = _random_net(True), torch.randn(30, 4, 16, 16), Workspace()
    with torch.inference_mode():
        whole = net(stack, [0, 11])
        monkeypatch.setattr(ca_cnn, "_CHUNK_VALUES", 2 * 32 * 16 * 16)
        net(torch.randn(19, 4, 24, 20), [0], workspace)
        pieces = net(stack, [0, 11], workspace)
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=0)


def test_the_number_of_threads_does_not_change_the_answer() -> None:
    net, stack, before = _random_net(True), torch.randn(30, 4, 48, 40), torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.inference_mode():
                answers.append(net(stack, [0, 11]))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


@pytest.mark.parametrize("downsample_twice", [True, False])
def test_bfloat16_agrees_with_float32(downsample_twice: bool) -> None:
    net, stack = _random_net(downsample_twice), torch.randn(30, 4, 32, 32)
    with torch.inference_mode():
        exact = net(stack, [0, 11])
        rough = placed(net, CPU, torch.bfloat16)(stack.bfloat16(), [0, 11])
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.02
    assert ((rough > 0.5) == (exact > 0.5)).float().mean() > 0.97


# The windows


@pytest.mark.parametrize("depth", [1, 10, 11, 12, 55, 56, 140])
def test_windows_cover_every_slice_in_groups_of_five(depth: int) -> None:
    windows = SliceWindows(19, 4, 5, (8, 8), 4)
    groups = windows.groups(depth)
    covered = {start + i for group in groups for start in group for i in range(11)}
    assert covered >= set(range(depth))
    assert max(covered) < max(depth, 11)
    assert [len(group) for group in groups[:-1]] == [5] * (len(groups) - 1)


def test_padding_is_in_the_middle_and_a_missing_channel_stays_zero() -> None:
    windows = SliceWindows(19, 4, 5, (12, 8), 4)
    volume = np.full((2, 14, 9, 10), 7, np.float32)
    volume[1] = 0
    padded, inside = windows.pad(volume, (True, False), np.random.default_rng(0))
    assert padded.shape == (2, 22, 12, 12)
    assert inside == (slice(4, 18), slice(2, 11), slice(1, 11))
    np.testing.assert_array_equal(padded[(slice(None), *inside)], volume)
    assert not padded[1].any()
    assert (padded[0] != 0).all()


@pytest.mark.parametrize("plane", Plane)
def test_planes_turn_back(plane: Plane) -> None:
    volume = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_array_equal(plane.turn_back(plane.turn(volume)), volume)
    assert plane.turn(volume).shape == plane.turned_shape((3, 4, 5))
    assert plane.turn(volume).shape[0] == {"axial": 3, "sagittal": 5, "coronal": 4}[plane.value]


# The cascade, with models that only look at the intensities


class Recorder:
    """Calls the region what is bright in one channel, and keeps the stacks that it saw."""

    def __init__(self, channel: int, threshold: float = 1.0) -> None:
        self.channel, self.threshold, self.stacks = channel, threshold, []

    def __call__(self, stack: np.ndarray, starts: list[int]) -> np.ndarray:
        self.stacks.append(stack.copy())
        return (stack[self.channel, 4:-4] > self.threshold).astype(np.float32)


def _cascade(models: Mapping[Region, Recorder]) -> SliceCascade:
    windows = SliceWindows(19, 4, 5, (8, 8), 4)
    stages = {region: {plane: PlaneModel(model, windows) for plane in Plane} for region, model in models.items()}
    return SliceCascade(ORDER, stages, lambda *_: nullcontext(("cpu", "float32")))


def _models() -> dict[Region, Recorder]:
    return {Region.WT: Recorder(0), Region.TC: Recorder(2), Region.ET: Recorder(2, 3.0)}


@pytest.fixture(scope="module")
def images() -> dict[Modality, np.ndarray]:
    """A brain of uneven grey with a bright ball on FLAIR, a smaller one on T1c and a brighter one in that."""
    z, y, x = np.mgrid[:36, :40, :44]
    distance = np.sqrt((z - 18) ** 2 + (y - 20) ** 2 + (x - 22) ** 2)
    generator = np.random.default_rng(0)
    brain = distance < 16
    result = {s: (brain * generator.uniform(90, 110, brain.shape)).astype(np.float32) for s in Modality}
    result[Modality.T2F][distance < 9] += 300
    result[Modality.T1C][distance < 7] += 150
    result[Modality.T1C][distance < 5] += 300
    return result


def test_three_regions_come_out_nested(images: dict[Modality, np.ndarray]) -> None:
    prediction = _cascade(_models()).predict(images, Silent(), seed=0)
    sizes = [np.count_nonzero(region_mask(prediction.labels, r)) for r in (Region.WT, Region.TC, Region.ET)]
    balls = [4 / 3 * np.pi * radius**3 for radius in (9, 7, 5)]
    np.testing.assert_allclose(sizes, balls, rtol=0.12)
    assert prediction.labels.dtype == np.uint8
    for region, probability in prediction.probabilities.items():
        assert probability.dtype == np.float32
        assert probability.shape == prediction.labels.shape
        assert ((probability > 0.5) >= region_mask(prediction.labels, region)).all()


def test_present_sequences_have_noise_and_missing_ones_are_zero(images: dict[Modality, np.ndarray]) -> None:
    models = _models()
    without = {s: image for s, image in images.items() if s not in (Modality.T2W, Modality.T1N)}
    _cascade(models).predict(without, Silent(), seed=0)
    for model in models.values():
        for stack in model.stacks:
            assert not stack[1].any()
            assert not stack[3].any()
            assert (stack[0] != 0).all()
            assert (stack[2] != 0).all()


def test_the_best_present_sequence_gives_the_brain(images: dict[Modality, np.ndarray]) -> None:
    models = _models()
    models[Region.WT] = Recorder(1, -np.inf)
    halved = images[Modality.T1N].copy()
    halved[:, :20] = 0
    cascade = _cascade(models)
    everything = cascade.predict({Modality.T1N: halved}, Silent(), seed=0).labels
    np.testing.assert_array_equal(everything != 0, halved != 0)
    with_t2 = cascade.predict({Modality.T1N: halved, Modality.T2W: images[Modality.T2W]}, Silent(), seed=0).labels
    np.testing.assert_array_equal(with_t2 != 0, images[Modality.T2W] != 0)


def test_without_contrast_only_the_whole_tumour_is_given(images: dict[Modality, np.ndarray]) -> None:
    models = _models()
    prediction = _cascade(models).predict({Modality.T2F: images[Modality.T2F]}, Silent(), seed=0)
    assert set(np.unique(prediction.labels)) == {0, 2}
    assert prediction.probabilities.keys() == {Region.WT}
    assert not models[Region.TC].stacks
    assert not models[Region.ET].stacks


def test_the_seed_decides_the_noise(images: dict[Modality, np.ndarray]) -> None:
    seen = []
    for seed in (5, 5, 6):
        models = _models()
        _cascade(models).predict(images, Silent(), seed)
        seen.append(np.concatenate([stack.ravel() for model in models.values() for stack in model.stacks]))
    np.testing.assert_array_equal(seen[0], seen[1])
    assert (seen[0] != seen[2]).any()


def test_no_tumour_gives_empty_labels(images: dict[Modality, np.ndarray]) -> None:
    models = _models() | {Region.WT: Recorder(0, np.inf)}
    prediction = _cascade(models).predict(images, Silent(), seed=0)
    assert not prediction.labels.any()
    assert not models[Region.TC].stacks


def test_bad_images_are_refused(images: dict[Modality, np.ndarray]) -> None:
    cascade = _cascade(_models())
    with pytest.raises(InputError, match="has none of FLAIR, T1"):
        cascade.predict({}, Silent(), 0)
    with pytest.raises(InputError, match="not on one grid"):
        cascade.predict({**images, Modality.T1N: np.ones((3, 3, 3), np.float32)}, Silent(), 0)
    with pytest.raises(InputError, match="FLAIR image is empty"):
        cascade.predict({**images, Modality.T2F: np.zeros((36, 40, 44), np.float32)}, Silent(), 0)


def test_a_core_mostly_outside_the_tumour_and_a_few_enhancing_voxels_are_dropped() -> None:
    shape = (30, 40, 40)
    whole, core, enhancing = (np.zeros(shape, np.float32) for _ in range(3))
    whole[5:25, 5:25, 5:15] = 1
    core[8:15, 8:15, 8:14] = 1
    core[8:15, 30:37, 30:37] = 1
    enhancing[9:12, 9:12, 9:12] = 1  # 27 voxels
    everywhere = np.ones(shape, bool)
    labels = assemble({Region.WT: whole, Region.TC: core, Region.ET: enhancing}, everywhere)
    assert not labels[:, 30:].any()
    assert (labels[8:15, 8:15, 8:14] == 1).all()
    enhancing[9:12, 9:12, 9:13] = 1
    labels = assemble({Region.WT: whole, Region.TC: core, Region.ET: enhancing}, everywhere)
    assert np.count_nonzero(labels == 3) == 36


# The weights


def _tensorflow_variables(net: AnisotropicNet) -> dict[str, np.ndarray]:
    """A network's parameters under the published names and in TensorFlow's layout."""
    variables = {}
    for name, value in net.state_dict().items():
        layer, *rest = name.split(".")
        kind, index = (
            (rest[0].rpartition("_")[::2] if "_" in rest[0] else (rest[0], "")) if len(rest) == 2 else ("", "")
        )
        scope = layer if layer.startswith("block") or not kind else f"{layer}_bn_prelu"
        if value.ndim == 4:
            layer_name = "deconv_" if layer.startswith("pred_up") else f"conv_{index}"
            kernel = value.numpy()[:, :, None] if value.shape[2:] == (3, 3) else value.numpy()[..., None]
            variables[f"{scope}/{layer_name}/w" if kind else f"{scope}/w"] = kernel.transpose(2, 3, 4, 1, 0)
        elif rest[1] == "alpha":
            variables[f"{scope}/prelu_acti_{index}/alpha"] = value.numpy()
        else:
            variables[f"{scope}/bn_{index}/{rest[1]}"] = value.numpy()
    return variables


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder of nine checkpoints with random weights, with an optimiser's variables among them."""
    folder = tmp_path / "published"
    folder.mkdir()
    for letters in ("wt", "tc", "en"):
        for number, suffix in enumerate(("", "sg", "cr")):
            variables = _tensorflow_variables(_random_net(letters != "en", seed=number))
            named = {f"MSNet_{letters.upper()}32{suffix}/{name}": value for name, value in variables.items()}
            first = next(iter(named))
            named |= {f"{first}/Adam": named[first], "beta1_power": np.array(0.9, np.float32)}
            write_bundle(folder / f"msnet_{letters}32{suffix}_20000.ckpt", named, entries_per_block=50)
    return folder


def test_conversion_keeps_every_weight(published: Path, tmp_path: Path) -> None:
    loader.convert(published, tmp_path / "weights.safetensors")
    tensors = load_file(tmp_path / "weights.safetensors")
    for prefix, twice, seed in (("wt.axial", True, 0), ("tc.sagittal", True, 1), ("et.coronal", False, 2)):
        expected = _random_net(twice, seed).state_dict()
        found = {name.removeprefix(f"{prefix}."): v for name, v in tensors.items() if name.startswith(prefix)}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=0, rtol=0)


def test_a_missing_checkpoint_and_a_foreign_tensor_are_refused(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "weights.safetensors"
    variables = _tensorflow_variables(_random_net(True))
    write_bundle(
        published / "msnet_wt32_20000.ckpt", {f"net/{k}": v for k, v in variables.items()} | {"net/new/w": np.ones(1)}
    )
    with pytest.raises(WeightsError, match="holds 'net/new/w'"):
        loader.convert(published, target)
    variables["block1_1/bn_0/beta"] = np.ones(5, np.float32)
    write_bundle(published / "msnet_wt32_20000.ckpt", {f"net/{k}": v for k, v in variables.items()})
    with pytest.raises(WeightsError, match=r"'block1_1\.norm_0\.beta' is \(5,\) and should be \(4,\)"):
        loader.convert(published, target)
    del variables["block1_1/bn_0/beta"]
    write_bundle(published / "msnet_wt32_20000.ckpt", {f"net/{k}": v for k, v in variables.items()})
    with pytest.raises(WeightsError, match=r"'block1_1\.norm_0\.beta' is missing"):
        loader.convert(published, target)
    (published / "msnet_wt32_20000.ckpt.index").unlink()
    with pytest.raises(WeightsError, match=r"msnet_wt32_20000\.ckpt\.index cannot be read"):
        loader.convert(published, target)
    assert not target.exists()


def test_wrong_or_damaged_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    with pytest.raises(WeightsError, match="cannot be read"):
        loader.load(file, {}, CPU, torch.float32)
    file.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        loader.load(file, {}, CPU, torch.float32)
    loader.save_file({"something": torch.zeros(3)}, file)
    with pytest.raises(WeightsError, match="does not hold the weights of CA-CNN"):
        loader.load(file, {}, CPU, torch.float32)


def test_memory_is_asked_for_before_the_run(
    published: Path, tmp_path: Path, images: dict[Modality, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.convert(published, tmp_path / "weights.safetensors")
    segmenter = loader.load(tmp_path / "weights.safetensors", {}, CPU, torch.float32)
    monkeypatch.setattr(device, "free_memory_bytes", lambda _: 1 << 20)
    with pytest.raises(InputError, match="GiB are free"):
        segmenter.predict(images, Silent(), 0)


def test_the_answer_tells_where_and_how_it_was_computed(
    published: Path, tmp_path: Path, images: dict[Modality, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.convert(published, tmp_path / "weights.safetensors")
    flair = {Modality.T2F: images[Modality.T2F]}

    def place_of(wish: torch.device) -> tuple[str, str]:
        segmenter = loader.load(tmp_path / "weights.safetensors", {"views": ["axial"]}, wish, torch.bfloat16)
        prediction = segmenter.predict(flair, Silent(), 0)
        return prediction.device, prediction.precision

    assert place_of(CPU) == ("cpu", "bfloat16")
    # A graphics card without room: the processor takes over, in the precision that it prefers.
    monkeypatch.setattr(device, "free_memory_bytes", lambda d: 1 << 20 if d.type == "cuda" else 1 << 40)
    monkeypatch.setattr(loader, "choose_precision", lambda _: torch.float32)
    assert place_of(torch.device("cuda")) == ("cpu", "float32")


@pytest.mark.parametrize("precision", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)])
def test_real_weights_segment_a_real_tumour(shared: Path, tmp_path: Path, precision: torch.dtype) -> None:
    """Thirty slices around a tumour of BraTS 2021, axial plane only; full views on the full image give more."""
    folder = shared / "data" / "brats2021" / "BraTS2021_01476"
    if not folder.is_dir() or not (shared / "weights" / "ca-cnn-brats17").is_dir():
        pytest.skip("no BraTS case or CA-CNN weights in the shared folder")
    loader.convert(shared / "weights" / "ca-cnn-brats17", tmp_path / "weights.safetensors")
    segmenter = loader.load(tmp_path / "weights.safetensors", {"views": ["axial"]}, CPU, precision)

    def read(name: str) -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{folder.name}_{name}.nii.gz")))

    reference = to_internal(read("seg"), LabelScheme.BRATS2017)
    middle = int(np.median(np.nonzero(reference)[0]))
    crop = slice(middle - 15, middle + 15)
    files = {Modality.T1N: "t1", Modality.T1C: "t1ce", Modality.T2W: "t2", Modality.T2F: "flair"}
    prediction = segmenter.predict({s: read(n)[crop].astype(np.float32) for s, n in files.items()}, Silent(), seed=0)
    for region, least in ((Region.WT, 0.93), (Region.TC, 0.9), (Region.ET, 0.78)):
        ours, theirs = region_mask(prediction.labels, region), region_mask(reference[crop], region)
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > least, region


class OnACard:
    """A tensor of which is said that it lies on a graphics card: what is computed there is the same formula."""

    def __init__(self, values: Tensor) -> None:
        self.device, self.shape, self.float, self._values = torch.device("cuda"), values.shape, values.float, values

    def __len__(self) -> int:
        return len(self._values)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_moments_on_a_graphics_card_are_those_of_the_processor(precision: torch.dtype) -> None:
    values = torch.randn((5, 7, 24, 20), generator=torch.Generator().manual_seed(0)).add(3).to(precision)
    values = values.contiguous(memory_format=torch.channels_last)
    (mean, variance), (card_mean, card_variance) = torch.zeros((2, 2, 5, 7))
    measure_moments(values, mean, variance)
    measure_moments(OnACard(values), card_mean, card_variance)
    torch.testing.assert_close(card_mean, mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(card_variance, variance, atol=1e-4, rtol=1e-4)


def test_a_graphics_card_is_given_the_whole_stack_at_once() -> None:
    pieces: list[tuple[int, int]] = []
    ca_cnn._in_pieces(OnACard(torch.zeros(64, 8, 200, 200)), lambda first, last: pieces.append((first, last)))
    assert pieces == [(0, 64)]
    pieces.clear()
    ca_cnn._in_pieces(torch.zeros(64, 8, 200, 200), lambda first, last: pieces.append((first, last)))
    assert len(pieces) > 1
    assert sorted(pieces)[0][0] == 0
    assert sorted(pieces)[-1][1] == 64
