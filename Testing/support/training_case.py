"""A small prepared case whose anatomy is known: an ellipsoid of a brain with a tumour on one side."""

from __future__ import annotations

import numpy as np

from GliomaSegLib.labels import TUMOUR_REGIONS, Label, Region
from GliomaSegLib.training.dataset import TrainingCase


def make_case(
    shape: tuple[int, int, int] = (40, 48, 40),
    known: tuple[Region, ...] = TUMOUR_REGIONS,
    name: str = "made",
    seed: int = 0,
) -> TrainingCase:
    """Four sequences; ET in a shell of NETC in SNFH, at a quarter of x. What the case does not know is not labelled."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    brain = (places**2).sum(0) < 0.81
    spot = np.array([0.05, -0.1, 0.42])[:, None, None, None]
    distance = np.sqrt(((places - spot) ** 2).sum(0))
    labels = np.zeros(shape, np.uint8)
    for radius, label in ((0.34, Label.SNFH), (0.24, Label.NETC), (0.14, Label.ET)):
        labels[(distance < radius) & brain] = label
    ventricle = (places[0] ** 2 + places[1] ** 2 < 0.05) & (np.abs(places[2]) < 0.2)
    images = rng.normal(0, 0.3, (4, *shape)) - 1.5 * ventricle
    images += np.array([-0.8, -0.6, 1.5, 2.0])[:, None, None, None] * (labels > 0)
    images[1] += 3.0 * (labels == Label.ET)
    if known == (Region.WT,):
        labels = np.where(labels > 0, np.uint8(Label.SNFH), np.uint8(0))
    if known == (Region.ET,):
        labels = np.where(labels == Label.ET, labels, np.uint8(0))
    return TrainingCase(name, name, "made", (images * brain).astype(np.float16), brain, labels, known, (1.0, 1.0, 1.0))
