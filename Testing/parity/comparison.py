"""What the comparisons share: their command line, a made image, and the count of the voxels that matter."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.labels import Region
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card, Parity

TOLERANCE = 0.01


class Answers(NamedTuple):
    """Our labels ``[z, y, x]`` of an image, the package's in our numbering, and our probabilities."""

    ours: NDArray[np.integer]
    theirs: NDArray[np.integer]
    probabilities: Mapping[Region, NDArray[np.float32]]

    @classmethod
    def of(cls, ours: Prediction, theirs: NDArray[np.integer]) -> Answers:
        """Of what our segmenter predicts."""
        return cls(ours.labels, theirs, ours.probabilities)


class Found(NamedTuple):
    """What a comparison found, and the ids of the models whose cards are to say so."""

    models: Collection[str]
    parity: Parity


def run(
    compare: Callable[[argparse.Namespace], Iterable[Found]],
    description: str | None,
    **options: Mapping[str, Any],
) -> None:
    """The command line of a comparison: compare and print; with ``--record`` write what was found into the cards.

    Args:
        options: the comparison's own, as ``argparse`` takes them.
    """
    parser = argparse.ArgumentParser(description=description)
    for name, option in options.items():
        parser.add_argument(f"--{name}", **option)
    parser.add_argument("--record", action="store_true", help="write what was found into the cards")
    given = parser.parse_args()
    for found in compare(given):
        if given.record:
            for model in found.models:
                recorded(model, found.parity, resource("models"))


def made_images(shape: tuple[int, int, int], seed: int = 0) -> dict[Modality, NDArray[np.float32]]:
    """Four different smooth images ``[z, y, x]``, positive inside one ellipsoid and 0 outside."""
    generator = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    brain = (places**2).sum(axis=0) < 0.85
    images = {}
    for sequence in Modality:
        texture = ndimage.gaussian_filter(generator.normal(size=shape), 2.0)
        image = 500 + 150 * texture / texture.std() + 20 * generator.normal(size=shape)
        images[sequence] = (np.maximum(image, 1) * brain).astype(np.float32)
    return images


def generated(network: torch.nn.Module, last: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """``network`` with random weights, those of its ``last`` layer so large that few probabilities are near 0.5."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                spread = (2 / parameter[0].numel()) ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        last.weight.mul_(10)
    return network.eval()


def mismatches(answers: Answers, threshold: float = 0.5) -> tuple[int, int]:
    """Voxels that differ, and how many of them although no probability is within ``TOLERANCE`` of the threshold."""
    different = answers.ours != answers.theirs
    near = np.any([np.abs(values - threshold) <= TOLERANCE for values in answers.probabilities.values()], axis=0)
    return int(different.sum()), int((different & ~near).sum())


def reported(
    card: Card,
    package: str,
    answers: Collection[Answers],
    command: str,
    remark: str,
    threshold: float = 0.5,
    models: Collection[str] = (),
    commit: str = "",
) -> Found:
    """Print what was found for the field ``parity`` of a card, and give it.

    Args:
        models: ids of those whose cards are to say so, by default that of ``card``.
        commit: which version of a ``package`` that nobody can install, because it is a repository of scripts.
    """
    counts = [mismatches(one, threshold) for one in answers]
    parity = Parity(
        package=package,
        version=commit or version(package),
        date=date.today().isoformat(),
        voxels=sum(one.ours.size for one in answers),
        mismatches=sum(count for _, count in counts),
        command=command,
        remark=remark,
    )
    labels = sorted({int(value) for one in answers for value in np.unique(one.theirs)})
    if len(labels) < 2:
        raise SystemExit(f"The package finds nothing ({labels}), so that nothing is compared; give another image.")
    print(f"{card.id}: {sum(count for count, _ in counts)} voxels differ; the package's labels are {labels}")
    print(json.dumps(dataclasses.asdict(parity), indent=2))
    return Found(models or (card.id,), parity)


def recorded(model: str, parity: Parity, folder: Path) -> None:
    """Write what was found into the model's card in ``folder``."""
    path = folder / f"{model}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["parity"] = dataclasses.asdict(parity)
    if content["status"] != "verified":
        content["status"] = "unproven" if parity.mismatches else "parity"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
