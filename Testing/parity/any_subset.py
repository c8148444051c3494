"""RFNet's and mmFormer's own code against ours: their preprocessing, network and windows on generated weights.

Needs their repositories' files ``models.py`` (RFNet) or ``mmformer.py``, ``layers.py``, ``predict.py`` and
``preprocess.py`` in one folder (github.com/dyh127/RFNet, or the folder ``mmformer`` of github.com/YaoZhang93/mmFormer).
Their scripts ask for a graphics card, for numpy of 2019 and for packages that the comparison does not need; so of
``predict.py`` and ``preprocess.py`` the functions alone are taken, and ``cuda()`` gives the tensor itself.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import family
from Testing.parity.comparison import Answers, Found, generated, made_images, reported, run

SHAPE = (130, 136, 133)  # z, y, x
SUBSETS = (tuple(Modality), (Modality.T1C, Modality.T2F))
MODELS = {"rfnet-brats20": "models", "mmformer-brats18": "mmformer"}
_LABELS = np.array([Label.BACKGROUND, Label.NETC, Label.SNFH, Label.ET], np.uint8)


def compare(given: argparse.Namespace) -> Iterator[Found]:
    """One of the two."""
    warnings.filterwarnings("ignore", message="input's size at dim=1")  # mmFormer's norms name other channels
    card = find_card(given.model)
    sys.path.insert(0, str(given.source))
    torch.manual_seed(0)
    theirs = importlib.import_module(MODELS[card.id]).Model(num_cls=4)
    for name, parameter in theirs.named_parameters():
        if parameter.ndim == 1 or name.endswith("_pos"):
            torch.nn.init.normal_(parameter, std=0.1)
    generated(theirs, theirs.decoder_fuse.seg_layer)
    images = made_images(SHAPE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = {f"module.{key}": value for key, value in theirs.state_dict().items()}
        optimiser = torch.optim.Adam(theirs.parameters(), amsgrad=True).state_dict()
        torch.save({"epoch": 299, "state_dict": state, "optim_dict": optimiser}, folder / card.weights.files[0].name)
        ours = of_ours(card, folder, images)
    yield reported(
        card,
        card.title.partition(",")[0],
        [
            Answers(
                prediction.labels,
                of_theirs(given.source, theirs, card, images, subset),
                {Region.WT: in_doubt(prediction)},
            )
            for subset, prediction in ours
        ],
        f"python -m Testing.parity.any_subset --model {card.id} --source FOLDER",
        "its own preprocessing, network and windows, generated weights and image, "
        + " and ".join("+".join(one.value for one in subset) for subset in SUBSETS),
        commit=card.version,
    )


def in_doubt(prediction: Prediction) -> NDArray[np.float32]:
    """How near the two likeliest classes of a voxel are to one another: 0.5 where they are equally likely, up to 1."""
    whole, core, enhancing = (prediction.probabilities[region] for region in (Region.WT, Region.TC, Region.ET))
    classes = np.sort(np.stack([1 - whole, core - enhancing, whole - core, enhancing]), axis=0)
    return 0.5 + (classes[-1] - classes[-2]) / 2


def of_ours(
    card: Card, folder: Path, images: dict[Modality, NDArray[np.float32]]
) -> list[tuple[tuple[Modality, ...], Prediction]]:
    """Per subset our prediction."""
    loader: Any = family(card.network.family)
    loader.convert(folder, folder / "weights.safetensors")
    segmenter = loader.load(folder / "weights.safetensors", card.loader_parameters, torch.device("cpu"), torch.float32)
    return [(subset, segmenter.predict({one: images[one] for one in subset}, Silent(), 0)) for subset in SUBSETS]


def of_theirs(
    source: Path,
    network: torch.nn.Module,
    card: Card,
    images: dict[Modality, NDArray[np.float32]],
    subset: tuple[Modality, ...],
) -> NDArray[np.uint8]:
    """Their labels ``[z, y, x]`` in our numbering. What a case lacks is 0 before their preprocessing."""
    preprocess = functions_of(source / "preprocess.py", {"np": np, "print": lambda *_: None})
    order = card.inputs.sequences
    stack = np.stack([images[one] * (one in subset) for one in order]).transpose(0, 3, 2, 1).astype(np.float32)
    x0, x1, y0, y1, z0, z1 = preprocess.crop(stack)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of a sequence of zeros over its spread
        cropped = np.nan_to_num(preprocess.normalize(stack[:, x0:x1, y0:y1, z0:z1]))
    seen: list[torch.Tensor] = []

    def keep(output: torch.Tensor, target: torch.Tensor) -> tuple[NDArray, NDArray]:
        seen.append(output)
        return np.zeros((1, 3)), np.zeros((1, 4))

    numpy = ModuleType("numpy of 2019")
    numpy.__dict__.update(vars(np), int=int)
    predict = functions_of(source / "predict.py", {"np": numpy, "torch": torch, "time": time, "logging": logging})
    predict.__globals__["softmax_output_dice_class4"] = keep
    wrapped = SimpleNamespace(eval=network.eval, train=network.eval, module=network)
    caller = type("Caller", (), {"__call__": lambda _, *given: network(*given), **vars(wrapped)})()
    loader = [(torch.from_numpy(cropped)[None], torch.zeros(1), ["made"])]
    with torch.inference_mode(), mock.patch.object(torch.Tensor, "cuda", lambda self, *_: self):
        predict.test_softmax(loader, caller, card_dataname(card), [one in subset for one in order])
    labels = np.zeros(stack.shape[1:], np.uint8)
    labels[x0:x1, y0:y1, z0:z1] = _LABELS[seen[0][0].numpy()]
    return labels.transpose(2, 1, 0)


def card_dataname(card: Card) -> str:
    """Their name of the data set that the weights were trained on."""
    return {"rfnet-brats20": "BRATS2020", "mmformer-brats18": "BRATS2018"}[card.id]


def functions_of(path: Path, names: dict[str, Any]) -> Any:
    """The functions, classes and plain numbers of a script, without running the rest of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted = [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        or (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        )
    ]
    space: dict[str, Any] = dict(names)
    exec(compile(ast.Module(wanted, []), str(path), "exec"), space)
    return SimpleNamespace(**{**space, "__globals__": space})


if __name__ == "__main__":
    run(
        compare,
        __doc__,
        model={"choices": sorted(MODELS), "required": True},
        source={"type": Path, "required": True, "help": "the folder with their scripts"},
    )
