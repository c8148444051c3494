"""A tiny skull-stripped study with a tumour whose voxels are known: for tests of what lies around the network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.job import Job
from GliomaSegLib.labels import Label
from GliomaSegLib.zoo.store import Store

SHAPE = (20, 36, 32)
SPACING_MM = 3.0
VOXEL_ML = SPACING_MM**3 / 1000
TUMOUR = (slice(6, 14), slice(10, 20), slice(18, 28))
CORE = (slice(8, 12), slice(12, 18), slice(20, 26))
NECROSIS = (slice(9, 11), slice(14, 16), slice(22, 24))


def toy_labels() -> np.ndarray:
    """The internal labels ``[z, y, x]`` that the toy model gives for :func:`write_study`."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[TUMOUR], labels[CORE], labels[NECROSIS] = Label.SNFH, Label.ET, Label.NETC
    return labels


def volume(sequence: Modality) -> sitk.Image:
    """A box of brain with 0 around it. FLAIR shows the whole tumour and T1c its parts, beyond the toy's thresholds."""
    labels = toy_labels()
    grey = np.full(SHAPE, 700.0 if sequence is Modality.T1C else 400.0)
    if sequence is Modality.T1C:
        grey[labels == Label.ET], grey[labels == Label.NETC] = 1000, 300
    else:
        grey[labels > 0] = 1000
    noise = np.random.default_rng(list(Modality).index(sequence)).normal(0, 5, SHAPE)
    array = np.zeros(SHAPE, np.float32)
    array[2:-2, 2:-2, 2:-2] = (grey + noise)[2:-2, 2:-2, 2:-2]
    return on_grid(array)


def on_grid(array: np.ndarray) -> sitk.Image:
    """``array`` on the grid of the study, which lies a little off the scanner's middle."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((SPACING_MM,) * 3)
    image.SetOrigin((-36.0, -60.0, 15.0))
    return image


def write_study(folder: Path, sequences: Iterable[Modality] = (Modality.T1C, Modality.T2F)) -> Path:
    """One NIfTI file per sequence in ``folder``, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for sequence in sequences:
        sitk.WriteImage(volume(sequence), str(folder / f"head_{sequence.value}.nii.gz"))
    return folder


def write_noise(
    path: Path, seed: int = 0, spacing_mm: tuple[float, float, float] = (1, 1, 5), plane: str = "axial"
) -> Path:
    """A small volume of noise as an image file in ``path``, which is returned; its slices are axial or sagittal."""
    image = sitk.GetImageFromArray(np.random.default_rng(seed).normal(100, 9, (6, 9, 8)).astype(np.float32))
    image.SetSpacing(spacing_mm)
    if plane == "sagittal":
        image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def toy_job(store: Store, output: Path, **fields: Any) -> Job:
    """A job for the toy model that takes no time: the study is stripped and its sequences lie in place."""
    given = {"model": "toy", "output": output, "store": store.root, "brain": "stripped", "registration": False}
    return Job(**(given | fields))
