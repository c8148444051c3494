"""What the comparisons share: a made image, and the count of the voxels that matter."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.case import Sequence
from GliomaSegLib.labels import Region
from GliomaSegLib.zoo.card import Card, Parity

TOLERANCE = 0.01


def made_images(shape: tuple[int, int, int], seed: int = 0) -> dict[Sequence, NDArray[np.float32]]:
    """Four different smooth images ``[z, y, x]``, positive inside one ellipsoid and 0 outside."""
    generator = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    brain = (places**2).sum(axis=0) < 0.85
    images = {}
    for sequence in Sequence:
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


def mismatches(
    ours: NDArray[np.integer],
    theirs: NDArray[np.integer],
    probabilities: Mapping[Region, NDArray[np.float32]],
    threshold: float = 0.5,
) -> tuple[int, int]:
    """Voxels that differ, and how many of them although no probability is within ``TOLERANCE`` of the threshold."""
    different = ours != theirs
    near = np.any([np.abs(values - threshold) <= TOLERANCE for values in probabilities.values()], axis=0)
    return int(different.sum()), int((different & ~near).sum())


def told(
    card: Card,
    package: str,
    ours: Collection[NDArray[np.integer]],
    theirs: Collection[NDArray[np.integer]],
    probabilities: Collection[Mapping[Region, NDArray[np.float32]]],
    command: str,
    remark: str,
    threshold: float = 0.5,
) -> Parity:
    """Print what was found for the card's ``parity`` field, and give it."""
    counts = [mismatches(*one, threshold) for one in zip(ours, theirs, probabilities, strict=True)]
    found = Parity(
        package=package,
        version=version(package),
        date=date.today().isoformat(),
        voxels=sum(labels.size for labels in ours),
        mismatches=sum(count for _, count in counts),
        command=command,
        remark=remark,
    )
    labels = sorted({int(value) for one in theirs for value in np.unique(one)})
    if len(labels) < 2:
        raise SystemExit(f"The package finds nothing ({labels}), so that nothing is compared; give another image.")
    print(f"{card.id}: {sum(count for count, _ in counts)} voxels differ; the package's labels are {labels}")
    print(json.dumps(found.model_dump(), indent=2))
    return found


def recorded(card: Card, parity: Parity, folder: Path) -> None:
    """Write what was found into the card's file in ``folder``."""
    path = folder / f"{card.id}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["parity"] = parity.model_dump()
    if content["status"] != "verified":
        content["status"] = "unproven" if parity.mismatches else "parity"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
