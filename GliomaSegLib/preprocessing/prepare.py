"""From a case as it was read to what a network takes: every sequence on one grid, stripped if the card asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import SimpleITK as sitk

from GliomaSegLib.case import Case, Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.atlas import atlas_to_reference, template
from GliomaSegLib.preprocessing.bias import correct_bias
from GliomaSegLib.preprocessing.brain import BrainMethod, find_brain, near_brain, strip
from GliomaSegLib.preprocessing.registration import Registration
from GliomaSegLib.preprocessing.resampling import model_grid, resample_image, resample_labels
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.card import Space

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prepared:
    """The network's view of a case.

    Attributes:
        images: ``float32`` on one grid; exactly 0 outside the brain when the card asks for stripped images.
        brain: ``uint8`` mask on the same grid.
        from_atlas: maps points of this grid to points of the reference (LPS mm); ``None`` for native space.
    """

    images: Mapping[Modality, sitk.Image]
    brain: sitk.Image
    from_atlas: sitk.Transform | None

    def labels_to_reference(self, labels: sitk.Image, reference: sitk.Image) -> sitk.Image:
        """A label map from this grid on the reference's own grid."""
        return resample_labels(labels, reference, self.from_atlas and self.from_atlas.GetInverse())

    def map_to_reference(self, probability: sitk.Image, reference: sitk.Image) -> sitk.Image:
        """A probability map from this grid on the reference's own grid, ``float32``."""
        return resample_image(probability, reference, self.from_atlas and self.from_atlas.GetInverse())


def prepare(
    case: Case,
    registrations: Mapping[Modality, Registration],
    space: Space,
    method: BrainMethod,
    bias_correction: bool,
    device: torch.device,
    progress: Progress,
) -> Prepared:
    """Bring the case to the grid, space and state (stripped or not) that a card asks for.

    Each image is resampled once, through one composed transform. The brain is found in the reference.

    Raises:
        InputError: no brain was found, or a sequence that was not registered lies elsewhere.
    """
    reference = case.reference.image
    grid = model_grid(reference, space.spacing_mm, space.orientation)
    view = resample_image(reference, grid)
    brain = find_brain(view, method, device)
    from_atlas = None
    if space.frame == "atlas":
        from_atlas = atlas_to_reference(strip(view, brain))
        grid = model_grid(template(), space.spacing_mm, space.orientation)
        brain = resample_labels(brain, grid, from_atlas)
    near = near_brain(brain)
    images = {}
    for done, sequence in enumerate(case.present):
        progress.advance(done / len(case.present), sequence.title)
        registration = registrations.get(sequence)
        transform = composed(from_atlas, registration.transform if registration else None)
        image = resample_image(case.volumes[sequence].image, grid, transform)
        if not sitk.GetArrayViewFromImage(image).any():
            raise InputError(
                f"{case.volumes[sequence]} lies wholly outside {case.reference}; let it be registered, or leave it out "
                f"(--without {sequence.value})."
            )
        if bias_correction:
            image = correct_bias(image, brain, str(case.volumes[sequence]))
        images[sequence] = strip(image, brain, near) if space.brain == "stripped" else image
    return Prepared(images, brain, from_atlas)


def composed(first: sitk.Transform | None, then: sitk.Transform | None) -> sitk.Transform | None:
    """One transform that takes a point through ``first`` and then through ``then``."""
    if first is None or then is None:
        return first or then
    return sitk.CompositeTransform([then, first])  # the last one is applied first
