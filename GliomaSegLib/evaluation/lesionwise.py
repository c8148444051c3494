"""Lesion-wise Dice and HD95 of BraTS 2023 (Moawad 2023, arXiv:2306.00838): missed and false lesions count.

Components of the reference that touch after a dilation are one lesion. A predicted component belongs to every lesion
whose dilation it meets, and is false if it meets none. Per lesion the Dice and HD95 (:mod:`.surface`) of all that
belongs to it; a missed or a false lesion has Dice 0 and HD95 374 mm. Lesions of the reference of no more than a
challenge's least volume are left out. ``python -m Testing.parity.lesionwise`` compares with the challenge's program.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from scipy import ndimage

from GliomaSegLib.evaluation.surface import SurfaceDistances, surface_distances
from GliomaSegLib.options import Challenge
from GliomaSegLib.postprocessing import Mask, Spacing
from GliomaSegLib.preprocessing.cropping import bounding_box

MISSED_MM = 374.0
"""HD95 of a missed or false lesion: about the diagonal of the challenge's images."""

_NEAR = ndimage.generate_binary_structure(3, 2)
_RULES = {  # iterations of the dilation, and the volume in mm³ up to which a lesion is left out
    Challenge.GLI: (3, 50.0),
    Challenge.SSA: (3, 50.0),
    Challenge.PED: (3, 50.0),
    Challenge.MEN: (1, 50.0),
    Challenge.MET: (1, 2.0),
}


@dataclass(frozen=True)
class LesionWise:
    """The lesion-wise scores of one region, and how many lesions were found, missed and falsely predicted.

    ``dice`` is 1 and ``hd95_mm`` 0 where there is no lesion at all.
    """

    dice: float
    hd95_mm: float
    found: int
    missed: int
    false: int


def lesion_wise(
    prediction: Mask,
    reference: Mask,
    spacing_mm: Spacing,
    challenge: Challenge = Challenge.GLI,
    surfaces: SurfaceDistances | None = None,
) -> LesionWise:
    """Compare two masks ``[z, y, x]``; ``spacing_mm`` in the same order.

    Args:
        surfaces: of the whole masks, where they are known: a single lesion that was found has the same.
    """
    iterations, left_out_mm3 = _RULES[challenge]
    occupied = prediction | reference
    if not occupied.any():
        return LesionWise(1.0, 0.0, 0, 0, 0)
    box = bounding_box(occupied, margin=iterations)  # lesions may touch where only their dilations reach
    prediction, reference = prediction[box], reference[box]
    dilated = ndimage.binary_dilation(reference, _NEAR, iterations) if reference.any() else reference
    zones = cc3d.connected_components(dilated, connectivity=26)
    pieces, count = cc3d.connected_components(prediction, connectivity=26, return_N=True)
    voxel_mm3 = float(np.prod(spacing_mm))
    whole = int(prediction.sum() + reference.sum()) if surfaces else -1
    dice, distances, missed, true = [], [], 0, set()
    for number, zone in enumerate(ndimage.find_objects(zones), 1):
        lesion = reference & (zones == number)
        here = np.unique(pieces[zone][zones[zone] == number])
        own = here[here > 0].tolist()
        true.update(own)
        if lesion.sum() * voxel_mm3 <= left_out_mm3:
            continue
        predicted = np.isin(pieces, own) if own else np.zeros_like(lesion)
        common, total = int((predicted & lesion).sum()), int(predicted.sum() + lesion.sum())
        own_surfaces = surfaces if total == whole else surface_distances(predicted, lesion, spacing_mm)
        dice.append(2 * common / total)
        distances.append(own_surfaces.hd95_mm() if own_surfaces else MISSED_MM)
        missed += not own
    false = count - len(true)
    lesions = len(dice) + false
    return LesionWise(
        dice=sum(dice) / lesions if lesions else 1.0,
        hd95_mm=(sum(distances) + false * MISSED_MM) / lesions if lesions else 0.0,
        found=len(dice) - missed,
        missed=missed,
        false=false,
    )
