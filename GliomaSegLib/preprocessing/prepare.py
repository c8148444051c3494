"""Preprocessing of a case: every modality resampled to the network's grid, skull-stripped if the network expects it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import SimpleITK as sitk

from GliomaSegLib.case import Case, Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.bias import correct_bias
from GliomaSegLib.preprocessing.brain import BrainExtractor, find_brain, near_brain, strip
from GliomaSegLib.preprocessing.resampling import model_grid, resample_image
from GliomaSegLib.preprocessing.rigid import Registration
from GliomaSegLib.progress import Progress

# Fraction of the brain that an image should show; on 126 images of clinical and BraTS cases it was at least 0.99.
_COVERS = 0.9


@dataclass(frozen=True)
class Prepared:
    """A case on the network's grid, in the space (LPS mm) of its reference image.

    Attributes:
        images: ``float32`` on one grid; exactly 0 outside the brain when the network expects stripped images.
        brain: ``uint8`` mask on the same grid.
    """

    images: Mapping[Modality, sitk.Image]
    brain: sitk.Image


def prepare(
    case: Case,
    registrations: Mapping[Modality, Registration],
    extractor: BrainExtractor | None,
    progress: Progress,
    *,
    spacing_mm: tuple[float, float, float],
    orientation: str,
    stripped: bool,
    bias_correction: bool,
) -> Prepared:
    """Resample a case to the grid of a network, skull-stripped or not.

    Each image is resampled once, from its original voxels. The brain is extracted from the reference image.

    Args:
        registrations: of the modalities that have to be moved; see :func:`.registration.register_case`.
        extractor: for the brain; ``None`` if the user states that the images are stripped.
        spacing_mm: voxel size of the network's grid, x, y, z.
        orientation: of the network's grid, e.g. ``LPS``.
        stripped: whether the network expects exactly 0 outside the brain.
        bias_correction: whether N4 corrects each image inside the brain.

    Raises:
        InputError: no brain was found, or a modality without registration does not overlap.
    """
    reference = case.reference.image
    grid = model_grid(reference, spacing_mm, orientation)
    on_grid = resample_image(reference, grid)
    brain = find_brain(on_grid, extractor)
    near = near_brain(brain)
    images = {}
    for done, modality in enumerate(case.present):
        progress.advance(done / len(case.present), modality.title)
        registration = registrations.get(modality)
        transform = registration.transform if registration else None
        volume = case.volumes[modality]
        image = on_grid if volume is case.reference else resample_image(volume.image, grid, transform)
        if not sitk.GetArrayViewFromImage(image).any():
            raise InputError(
                f"{case.volumes[modality]} lies wholly outside {case.reference}; let it be registered, or leave it out "
                f"(--without {modality.value})."
            )
        if bias_correction:
            image = correct_bias(image, brain, str(case.volumes[modality]))
        images[modality] = strip(image, brain, near) if stripped else image
    return Prepared(images, brain)


def coverage_doubts(case: Case, prepared: Prepared) -> list[str]:
    """A sentence for each image that shows only a part of the brain in the reference image."""
    brain = sitk.GetArrayViewFromImage(prepared.brain) != 0
    shown = {modality: sitk.GetArrayViewFromImage(image)[brain] != 0 for modality, image in prepared.images.items()}
    return [
        f"{case.volumes[modality]} shows only {voxels.mean():.0%} of the brain in {case.reference}; elsewhere tumour "
        "was looked for in the other sequences alone."
        for modality, voxels in shown.items()
        if voxels.mean() < _COVERS
    ]
