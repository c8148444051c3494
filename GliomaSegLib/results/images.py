"""The images of a result, on the grid of the reference image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing.cropping import bounding_box


@dataclass(frozen=True)
class ResultImages:
    """The images of a result, all but ``originals`` on one grid.

    Attributes:
        labels: internal label map, ``uint8``.
        brain: mask, ``uint8``.
        originals: the images by modality, ``float32``, on any grid in the space of the reference image, for the report;
            empty if the files are gone.
        probabilities: per region, ``float32`` in 0..1, or ``uint8`` as stored.
        transforms: from the reference image to each modality that had to be moved (LPS mm).
        agreement: of the members of an ensemble, ``uint8`` in per cent.
    """

    labels: sitk.Image
    brain: sitk.Image
    originals: Mapping[Modality, sitk.Image]
    probabilities: Mapping[Region, sitk.Image] = field(default_factory=dict)
    transforms: Mapping[Modality, sitk.Transform] = field(default_factory=dict)
    agreement: sitk.Image | None = None


def as_stored(probability: sitk.Image) -> sitk.Image:
    """Convert a probability map to its stored form, 0..1 as 0..255 (``uint8``); stored maps are not changed."""
    if probability.GetPixelID() == sitk.sitkUInt8:
        return probability
    values = sitk.GetArrayViewFromImage(probability)
    stored = np.zeros(values.shape, np.uint8)
    if (likely := values != 0).any():
        box = bounding_box(likely)
        stored[box] = np.round(np.clip(values[box], 0, 1) * 255)
    return array_on(stored, probability)


def from_stored(stored: sitk.Image) -> sitk.Image:
    """The inverse of :func:`as_stored`: ``float32`` in 0..1."""
    return sitk.Cast(stored, sitk.sitkFloat32) / 255
