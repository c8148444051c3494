"""The common space of cases: the frame of the MNI152 template, to which each case is registered rigidly.

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
    """The frame of the template in a case, and the extent of the field around its brain.

    Args:
        image: of any modality, stripped, ``[z, y, x]`` in LPS orientation.
        spacing_mm: z, y, x.

    Returns:
        the frame, with its origin in the centre of the field, and the extent of the field in mm (z, y, x).

    Raises:
        InputError: the image has no contrast and cannot be registered.
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
