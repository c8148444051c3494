"""Networks of others as models: the walk-throughs of docs/models.md, and the files that are refused."""

from __future__ import annotations

import io
import json
import re
import shlex
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.networks.nets import SegResNet

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import main
from GliomaSegLib.label_maps import compose
from GliomaSegLib.zoo.catalogue import find_card
from Testing.support.nnunet_folder import ARCHITECTURE, LABELS, dataset, plans, write_folder
from Testing.support.published import silenced, zipped

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
SHAPE = (84, 84, 84)  # a brain of more than 300 mL at 1 mm
OPTIONS = {"segment": ["--brain", "stripped", "--no-registration", "--device", "cpu"]}
# z-scores of the images below: bright is above 1.5, the rest near 0
WEIGHT, BIAS = 20.0, -30.0


def commands(name: str) -> list[list[str]]:
    block = re.search(rf"test_own_networks\.py: {name} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert block, name
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


def card(model: str, **changes: Any) -> dict[str, Any]:
    """The card with this id in the page."""
    cards = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    return next(one for one in cards if one["id"] == model) | changes


def boxes() -> dict[Modality, np.ndarray]:
    found = {}
    for sequence, inset in ((Modality.T2F, 0), (Modality.T1C, 4)):
        found[sequence] = np.zeros(SHAPE, bool)
        found[sequence][20 + inset : 40 - inset, 24 + inset : 48 - inset, 50 + inset : 70 - inset] = True
    return found


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two sequences, the cards of the page as files, and an empty store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path / "models"))
    Path("STUDY").mkdir()
    for sequence, box in boxes().items():
        image = np.zeros(SHAPE, np.float32)
        image[4:-4, 4:-4, 4:-4] = 100 + np.random.default_rng(0).normal(0, 1, (76, 76, 76))
        image[box] = 400
        sitk.WriteImage(sitk.GetImageFromArray(image), f"STUDY/{sequence.value}.nii.gz")
    for model in ("our-script", "our-nnunet"):
        Path(f"{model}.json").write_text(json.dumps(card(model)))
    described = card("our-script", id="our-onnx", network={"family": "onnx"})
    described["weights"]["files"] = [{"name": "network.onnx"}]
    Path("our-onnx.json").write_text(json.dumps(described))
    return tmp_path


def walk(name: str) -> np.ndarray:
    """The labels that the last command of the page's block gives."""
    for words in commands(name):
        assert main([*words, *OPTIONS.get(words[0], [])]) == 0, " ".join(words)
    return sitk.GetArrayFromImage(sitk.ReadImage("result/segmentation.nii.gz"))


def expected() -> np.ndarray:
    """WT where FLAIR is bright; core and enhancing tumour where T1 + contrast is."""
    bright = boxes()
    return compose(bright[Modality.T2F], bright[Modality.T1C], bright[Modality.T1C])


class Bright(torch.nn.Module):
    """Logits of WT (FLAIR), TC and ET (T1 + contrast) by brightness; or several answers, or probabilities."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.conv = torch.nn.Conv3d(channels, 3, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            for region, channel in enumerate((channels - 1, 0, 0)):
                self.conv.weight[region, channel] = WEIGHT
            self.conv.bias.fill_(BIAS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(images)


def scripted(network: torch.nn.Module, path: str = "network.ts") -> None:
    torch.jit.save(torch.jit.script(network.eval()), path)


def onnx_model(inputs: int = 1, channels: int = 2, **changes: Any) -> Any:
    """:class:`Bright` as ONNX, with one input of all channels or one for each."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.zeros((3, channels, 1, 1, 1), np.float32)
    weight[0, channels - 1] = weight[1, 0] = weight[2, 0] = WEIGHT
    stored = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.full(3, BIAS, np.float32), "bias")]
    sides = ["z", "y", "x"]
    given = [
        helper.make_tensor_value_info(f"image{number}", TensorProto.FLOAT, [1, channels // inputs, *sides])
        for number in range(inputs)
    ]
    nodes = [helper.make_node("Concat", [one.name for one in given], ["all"], axis=1)] if inputs > 1 else []
    nodes.append(helper.make_node("Conv", ["all" if nodes else "image0", "weight", "bias"], ["logits"]))
    answer = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, *sides])]
    graph = helper.make_graph(nodes, "bright", given, answer, stored)
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])


# --- the walk-throughs ---------------------------------------------------------------------------------------------


def test_a_torchscript_file_with_its_card(workplace: Path) -> None:
    scripted(Bright())
    np.testing.assert_array_equal(walk("torchscript"), expected())


@pytest.mark.parametrize("inputs", [1, 2])
def test_an_onnx_file_with_its_card(inputs: int, workplace: Path) -> None:
    onnx.save(onnx_model(inputs), "network.onnx")
    np.testing.assert_array_equal(walk("onnx"), expected())


def test_a_trained_nnunet_folder_with_its_card(workplace: Path) -> None:
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason="needs the extra 'nnunet'")
    layers = {"conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d, "nonlin": torch.nn.LeakyReLU}
    arguments = ARCHITECTURE["arch_kwargs"] | layers
    network = silenced(unet.PlainConvUNet(2, num_classes=4, deep_supervision=True, **arguments))
    network.decoder.seg_layers[-1].bias[1] = 5.0
    described = dataset(["T1c", "FLAIR"], LABELS)
    write_folder(workplace / "ours", {"all": network}, plans(2, patch_size=[32, 32, 32]), described, None)
    zipped(workplace / "ours", "Dataset900_Ours.zip")
    labels = walk("nnunet")
    assert set(np.unique(labels[10:-10, 10:-10, 10:-10])) == {2}, "the first label is SNFH, as the card says"
    assert find_card("our-nnunet").weights.licence == "in-house, not to be passed on"


CONFIG: dict[str, Any] = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "device": "$torch.device('cpu')",
    "filters": 8,
    "network_def": {
        "_target_": "SegResNet", "blocks_down": [1, 1], "blocks_up": [1], "init_filters": "@filters",
        "in_channels": 2, "out_channels": 3, "dropout_prob": 0.2,
    },
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [64, 64, 64], "overlap": 0.5},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        ],
    },
}  # fmt: skip
PERCENTILES = {
    "_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": 1, "upper": 99, "b_min": 0, "b_max": 1,
    "channel_wise": True,
}  # fmt: skip
METADATA: dict[str, Any] = {
    "name": "Two sequences", "version": "0.3", "description": "For a test.", "authors": "nobody",
    "references": ["Myronenko A. 2019"],
    "network_data_format": {
        "inputs": {"image": {"channel_def": {"0": "T1 post contrast", "1": "FLAIR"}}},
        "outputs": {"pred": {"channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}}},
    },
}  # fmt: skip


def write_bundle(folder: Path, config: Mapping[str, Any] = CONFIG, metadata: Mapping[str, Any] = METADATA) -> Path:
    network = silenced(SegResNet(blocks_down=[1, 1], blocks_up=[1], init_filters=8, in_channels=2, out_channels=3))
    network.conv_final[2].conv.bias[:] = torch.tensor([-5.0, 5.0, -5.0])
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def test_a_whole_bundle_as_a_zip(workplace: Path) -> None:
    write_bundle(workplace / "inside" / "brats_bundle")
    zipped(workplace / "inside", "brats_bundle.zip")
    labels = walk("bundle")
    assert set(np.unique(labels[10:-10, 10:-10, 10:-10])) == {2}, "the second channel is the whole tumour"
    found = find_card("our-bundle")
    assert found.inputs.sequences == (Modality.T1C, Modality.T2F)
    assert found.network.parameters["arguments"]["init_filters"] == 8, "a reference is followed"
    assert found.space is not None
    assert found.space.orientation == "RAS"
    assert found.inference is not None
    assert (found.inference.patch, found.inference.overlap, found.inference.axes) == ((64, 64, 64), 0.5, "xyz")
    assert found.output is not None
    assert found.output.channels == ("TC", "WT", "ET")
    assert found.normalisation is not None
    assert (found.normalisation.method, found.normalisation.over) == ("z-score", "non-zero")
    assert found.citation == "Myronenko A. 2019"
    assert find_card("monai-brats18-segresnet").network.family == found.network.family


def test_a_bundles_folder_with_exclusive_labels_and_channels_named_by_hand(workplace: Path) -> None:
    config = json.loads(json.dumps(CONFIG))
    config["network_def"]["out_channels"] = 3
    config["postprocessing"]["transforms"][0] = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
    config["postprocessing"]["transforms"][2] = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
    write_bundle(workplace / "folder", config, METADATA | {"network_data_format": {}})
    named = ["--sequences", "t2f,t1c", "--channels", "background,SNFH,ET"]
    assert main(["models", "add", "folder", "--id", "ours", "--licence", "ours", *named]) == 0
    found = find_card("ours")
    assert found.inputs.sequences == (Modality.T2F, Modality.T1C)
    assert [region.value for region in found.regions] == ["WT", "TC", "ET"]
    config["network_def"]["out_channels"] = 2
    write_bundle(workplace / "one", config, METADATA | {"network_data_format": {}})
    assert (
        main(["models", "add", "one", "--id", "one", "--licence", "ours", *named[:2], "--channels", "background,ET"])
        == 0
    )
    assert [region.value for region in find_card("one").regions] == ["ET"], "where the rest is, it does not say"


@pytest.mark.parametrize(
    ("named", "sequence"),
    [("T1 pre-contrast", Modality.T1N), ("T1 without contrast", Modality.T1N), ("Gd T1", Modality.T1C)],
)
def test_a_bundle_s_channel_is_the_sequence_that_it_is_named_after(
    named: str, sequence: Modality, workplace: Path
) -> None:
    formats = METADATA["network_data_format"]
    inputs = {"image": {"channel_def": {"0": named, "1": "FLAIR"}}}
    write_bundle(workplace / "folder", metadata=METADATA | {"network_data_format": formats | {"inputs": inputs}})
    assert main(["models", "add", "folder", "--id", "ours", "--licence", "ours"]) == 0
    assert find_card("ours").inputs.sequences == (sequence, Modality.T2F)


# --- what is refused -----------------------------------------------------------------------------------------------


def _with(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        *names, last = path.split(".")
        for name in names:
            config = config[name]
        config[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_with("network_def._target_", "os.system"), "names 'os.system' (_target_)"),
        (_with("postprocessing.x", [{"y": {"_target_": "scripts.evil.Run"}}]), "names 'scripts.evil.Run' (_target_)"),
        (_with("network_def._target_", "torch.hub.load"), "names 'torch.hub.load' (_target_)"),
        (_with("network_def._target_", "Compose"), "none of monai.networks.nets"),
        (_with("network_def.in_channels", "$__import__('os').getpid()"), "has the expression"),
        (_with("network_def.in_channels", "@nowhere"), "refers to '@nowhere'"),
        (_with("filters", "@filters"), "refers to itself without end"),
        (_with("inferer._target_", "SliceInferer"), "inferer 'SliceInferer' is not known here"),
        (_with("preprocessing.transforms", [{"_target_": "Resized"}]), "prepares its images with 'Resized'"),
        (
            _with("preprocessing.transforms", [PERCENTILES | {"channel_wise": False}]),
            "with 'ScaleIntensityRangePercentilesd', as no card can say",
        ),
        (
            _with("preprocessing.transforms", [{"_target_": "CropForegroundd"}, PERCENTILES]),
            "with 'ScaleIntensityRangePercentilesd', as no card can say",
        ),
        (
            _with(
                "preprocessing.transforms", [{"_target_": "NormalizeIntensityd", "divisor": 50, "channel_wise": True}]
            ),
            "with 'divisor' of 'NormalizeIntensityd', as no card can say",
        ),
        (_with("postprocessing.transforms", []), "neither sigmoid nor softmax"),
        (
            lambda config: config["postprocessing"]["transforms"].append({"_target_": "FillHolesd"}),
            "changes what its network finds with 'FillHolesd', which is not read here",
        ),
        (lambda config: config.pop("preprocessing"), "is not as MONAI writes it (KeyError: 'preprocessing')"),
        (_with("preprocessing.transforms", "@other"), "is not as MONAI writes it"),
    ],
)
def test_a_bundle_that_would_run_code_or_that_no_card_can_describe_is_one_sentence(
    change: Callable[[dict[str, Any]], None], said: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(json.dumps(CONFIG))
    change(config)
    write_bundle(workplace / "folder", config)
    assert main(["models", "add", "folder", "--id", "ours", "--licence", "ours"]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not Path("models/.cards/ours.json").exists()


def test_a_bundle_that_lacks_something_is_one_sentence(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add = ["--id", "ours", "--licence", "ours"]
    write_bundle(workplace / "a", metadata=METADATA | {"network_data_format": {}})
    assert main(["models", "add", "a", *add]) == 1
    assert "output channels (none) are not clear; name them, as in --channels TC,WT,ET" in capsys.readouterr().err
    (write_bundle(workplace / "b") / "models" / "model.pt").unlink()
    assert main(["models", "add", "b", *add]) == 1
    assert "has no models/model.pt or models/model.ts" in capsys.readouterr().err
    with zipfile.ZipFile("c.zip", "w") as archive:
        archive.writestr("../configs/metadata.json", "{}")
    assert main(["models", "add", "c.zip", *add]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("models/.cards/ours.json").exists()


@pytest.mark.parametrize(
    "text", ["a: &a [x]\nb: [*a, *a]", "a: [", "[" * 50_000, "a: !!python/object/apply:os.getpid []"]
)
def test_a_bundle_whose_yaml_is_hostile_is_one_sentence(
    text: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Aliases of aliases would grow without end."""
    (write_bundle(workplace / "a") / "configs" / "inference.json").rename(workplace / "kept.json")
    (workplace / "a" / "configs" / "inference.yaml").write_text(text)
    assert main(["models", "add", "a", "--id", "ours", "--licence", "ours"]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "inference.yaml cannot be read (" in sentence


class _ReadsAFile(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + torch.from_file("secret", False, 1)


def _state_dict() -> None:
    torch.save(Bright().state_dict(), "network.ts")


def _garbage() -> None:
    Path("network.ts").write_bytes(b"nonsense")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_garbage, "is no TorchScript file"),
        (_state_dict, "holds tensors and no TorchScript"),
        (lambda: scripted(_ReadsAFile()), "has 'from_file'"),
    ],
    ids=["garbage", "state dict", "reads a file"],
)
def test_a_torchscript_that_is_none_or_touches_files_is_not_loaded(
    make: Callable[[], None], said: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    assert main(["models", "add", "our-script.json", "--from", "network.ts"]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not Path("models/.cards/our-script.json").exists(), "nothing is half added"


def test_a_network_with_other_inputs_or_outputs_than_its_card_is_one_sentence(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment = ["segment", "STUDY", "--model", "our-script", "-o", "result", "--overwrite", *OPTIONS["segment"]]
    for network, said in (
        (Bright(channels=4), "cannot take 2 channels of"),
        (torch.nn.Conv3d(2, 2, 1), "and its card says (1, 3,"),
        (torch.nn.Conv3d(2, 3, 3), "answers (1, 3,"),
    ):
        scripted(network)
        assert main(["models", "add", "our-script.json", "--from", "network.ts"]) == 0
        capsys.readouterr()
        assert main(segment) == 1
        err = capsys.readouterr().err.splitlines()[-1]
        assert said in err
        assert "correct the card's" in err
    assert not Path("result").exists()


def test_an_onnx_with_weights_in_other_files_is_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    inner = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["c"], value=tensor)], "inner", [], [])
    hidden = onnx_model()
    hidden.graph.node.append(onnx.helper.make_node("If", ["image0"], ["d"], then_branch=inner, else_branch=inner))
    for one in (model, hidden):
        Path("network.onnx").write_bytes(one.SerializeToString())
        assert main(["models", "add", "our-onnx.json", "--from", "network.onnx"]) == 1
        assert "has the tensor 'weight' in '/etc/passwd', and a network must be one file" in capsys.readouterr().err
    Path("network.onnx").write_bytes(b"nonsense")
    assert main(["models", "add", "our-onnx.json", "--from", "network.onnx"]) == 1
    assert "is no network that onnxruntime can read" in capsys.readouterr().err
    assert not Path("models/.cards/our-onnx.json").exists()


def test_a_torchscript_is_kept_as_it_came(workplace: Path) -> None:
    """Byte for byte, so that its published hash can be compared."""
    from GliomaSegLib.zoo.loaders.whole_network import read_bytes

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Bright()), buffer)
    Path("network.ts").write_bytes(buffer.getvalue())
    assert main(["models", "add", "our-script.json", "--from", "network.ts"]) == 0
    assert read_bytes(Path("models/our-script/weights.safetensors")) == buffer.getvalue()
