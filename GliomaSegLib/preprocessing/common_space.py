"""The common space of a set of brains: the frame of the MNI152 template, to which each is registered rigidly.

Positions are in mm along the array's own axes z, y, x (LPS), from the centre of its first voxel, as in
:mod:`GliomaSegLib.preprocessing.midsagittal`.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.phantom.template import read_template
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.preprocessing.pose import Pose
from GliomaSegLib.preprocessing.rigid import register

_MARGIN_MM = 10  # around the template's brain; its voxels are of 1 mm


def common_space(
    image: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> tuple[Pose, tuple[float, float, float]]:
    """Where the template's frame lies in a case, and how far the field around its brain reaches.

    Args:
        image: of any sequence, stripped, ``[z, y, x]``, voxel axes running LPS.
        spacing_mm: z, y, x.

    Returns:
        The frame, its origin in the middle of the field, and the field's extent in mm (z, y, x).

    Raises:
        InputError: the image has no contrast, so that nothing can be matched.
    """
    template = sitk.DICOMOrient(read_template("t1"), "LPS")
    moving = sitk.GetImageFromArray(image - min(float(image.min()), 0.0) * (image != 0))
    moving.SetSpacing(spacing_mm[::-1])
    found = register(template, moving).transform or sitk.Euler3DTransform()
    box = bounding_box(sitk.GetArrayViewFromImage(template) > 0, _MARGIN_MM)
    middle = [(side.start + side.stop - 1) / 2 for side in reversed(box)]  # x, y, z
    origin = template.TransformContinuousIndexToPhysicalPoint(middle)
    here = np.array(found.TransformPoint(origin))
    rotation = np.stack([np.array(found.TransformVector(axis, origin)) for axis in np.eye(3)], axis=1)
    z, y, x = (float(side.stop - side.start) for side in box)
    return Pose(rotation[::-1, ::-1].copy(), here[::-1].copy()), (z, y, x)
