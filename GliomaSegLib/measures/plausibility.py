"""Plausibility checks: labels outside the brain are cut, and volumes that no tumour has are reported as implausible.

A network that is given other images than those it was trained on may mark half of the head. The limits are this
program's own, well above what experts drew: of 72 gliomas (BraTS 2021, TCGA-LGG) the largest whole tumour measured
252 mL, 14 % of a brain; at most 15 % of one lay within 3 mm of the brain's surface, and 6 % on the image's border.

The cut keeps a margin, as brain masks lose the surface where tumour reaches it: of what experts drew, deepbet's mask of
T1c left out 1.5 % on average and up to 5 % (23 TCGA-LGG), 3 % and up to 10 % after treatment (12 studies of
Brain-Tumor-Progression); with the margin at most 0.2 %. Its mask of FLAIR (25) left out up to 0.5 %, then nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import fill_voids
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.io.grid import array_on
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.volumes import Measures
from GliomaSegLib.options import Task
from GliomaSegLib.preprocessing.brain import near_brain
from GliomaSegLib.preprocessing.cropping import bounding_box, uncropped

LARGEST_ML: Mapping[Region, float] = {Region.WT: 500.0, Region.TC: 350.0, Region.ET: 250.0, Region.RC: 400.0}
LARGEST_SHARE_OF_BRAIN = 0.4

# Of the whole tumour at most so much lies on the border of the image, and near the brain's surface: a rim around the
# brain is what a failed brain extraction leaves. It is not looked for in tumours that may be all surface.
LARGEST_SHARE_AT_BORDER, LARGEST_SHARE_AT_SURFACE = 0.25, 0.5
SURFACE_MM, LEAST_RIM_ML = 3.0, 20.0

_INSIDE_THE_BRAIN = {*(Task.PREOPERATIVE_GLIOMA, Task.POSTOPERATIVE_GLIOMA, Task.PEDIATRIC_GLIOMA, Task.METASTASIS)}
"""Tasks whose tumours grow inside the brain, so that what lies outside is none; a meningioma lies outside."""


def outside_brain(brain: sitk.Image, task: Task | str | None) -> NDArray[np.bool_] | None:
    """Where no tumour of a task can be, ``[z, y, x]``: further from the brain mask and its holes than 5 mm and a voxel;
    ``None``: it may be anywhere.

    Args:
        brain: mask; with an empty one nothing is known, ``None``.
    """
    mask = sitk.GetArrayViewFromImage(brain) != 0
    if task not in _INSIDE_THE_BRAIN or not mask.any():
        return None
    box = bounding_box(mask, margin=1)
    filled = fill_voids.fill(mask[box].T).T  # whose output is in Fortran order
    whole = array_on(uncropped(filled.view(np.uint8), box, mask.shape), brain)
    inside = sitk.GetArrayFromImage(near_brain(whole)).view(bool)
    inside[box] |= filled
    for axis in range(3):  # a voxel to either side
        grown, own = np.moveaxis(inside[box], axis, 0), np.moveaxis(filled, axis, 0)
        grown[1:] |= own[:-1]
        grown[:-1] |= own[1:]
    return ~inside


def without_outside(image: sitk.Image, outside: NDArray[np.bool_] | None) -> sitk.Image:
    """A label map or probability map with 0 where no tumour can be. A resection cavity stays: it may open outwards."""
    array = sitk.GetArrayViewFromImage(image)
    if outside is None or not (cut := outside & (array != 0)).any():
        return image
    if not np.issubdtype(array.dtype, np.floating):
        cut &= array != Label.RC
    kept = array.copy()
    kept[cut] = 0
    return array_on(kept, image)


def implausible(
    labels: sitk.Image, brain: sitk.Image | None, measures: Measures, task: Task | str | None = None
) -> tuple[str, ...]:
    """Findings that no tumour can explain, a sentence each.

    Args:
        labels: internal label map, and ``measures`` of it.
        brain: mask on the same grid.
    """
    sentences = []
    for region, most_ml in LARGEST_ML.items():
        volume = measures.volume(region.value)
        if volume and (volume.volume_ml > most_ml or (volume.brain_ratio or 0) > LARGEST_SHARE_OF_BRAIN):
            share = "" if volume.brain_ratio is None else f", {100 * volume.brain_ratio:.0f} % of the brain"
            sentences.append(
                f"Implausible: {region.value} {volume.volume_ml:.0f} mL{share}; above {most_ml:.0f} mL or "
                f"{100 * LARGEST_SHARE_OF_BRAIN:.0f} % of the brain it is taken for an error."
            )
    whole = region_mask(sitk.GetArrayViewFromImage(labels), Region.WT)
    if not whole.any():
        return tuple(sentences)
    sentences += _at_border(whole)
    if brain is not None and task in _INSIDE_THE_BRAIN:
        sentences += _at_surface(whole, brain)
    return tuple(sentences)


def _at_border(whole: NDArray[np.bool_]) -> list[str]:
    inner = whole[tuple(slice(1, -1) if size > 2 else slice(None) for size in whole.shape)]
    share = 1 - np.count_nonzero(inner) / np.count_nonzero(whole)
    if share <= LARGEST_SHARE_AT_BORDER:
        return []
    return [f"Implausible: {100 * share:.0f} % of the whole tumour lie on the border of the image."]


def _at_surface(whole: NDArray[np.bool_], brain: sitk.Image) -> list[str]:
    if np.count_nonzero(whole) * np.prod(brain.GetSpacing()) / 1000 < LEAST_RIM_ML:
        return []
    spacing = brain.GetSpacing()[::-1]
    # Beyond the image there is no brain.
    whole, inside = (np.pad(mask, 1) for mask in (whole, sitk.GetArrayViewFromImage(brain) != 0))
    box = bounding_box(whole, margin=int(SURFACE_MM / min(spacing)) + 1)  # what lies farther off need not be seen
    surface_near = ndimage.distance_transform_edt(inside[box], spacing) <= SURFACE_MM
    share = surface_near[whole[box]].mean() if not inside[box].all() else 0.0
    if share <= LARGEST_SHARE_AT_SURFACE:
        return []
    return [
        f"Implausible: {100 * share:.0f} % of the whole tumour lie within {SURFACE_MM:g} mm of the brain's surface, as "
        "a failed brain extraction leaves them."
    ]
