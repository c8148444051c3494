"""N4 bias field correction (Tustison et al., IEEE TMI 29:1310, 2010), through SimpleITK."""

from __future__ import annotations

import SimpleITK as sitk

from GliomaSegLib.errors import InputError

SHRINK = 4
ITERATIONS = (50, 50, 30)

# As many as the first, coarsest field has control points; N4 itself takes any number and scales the image by nonsense.
LEAST_VOXELS = 4**3


def correct_bias(image: sitk.Image, brain: sitk.Image, name: str = "the image") -> sitk.Image:
    """``image`` divided by its estimated bias field, ``float32``; the field is fitted inside ``brain`` (same grid) on a
    coarser grid and evaluated on the full one. Voxels that are exactly 0 stay 0.

    Args:
        name: what the error calls the image.

    Raises:
        InputError: the image shows too little of the brain for a field to be fitted.
    """
    image = sitk.Cast(image, sitk.sitkFloat32)
    factors = [min(SHRINK, size) for size in image.GetSize()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(ITERATIONS)
    coarse, coarse_brain = sitk.Shrink(image, factors), sitk.Shrink(brain, factors)
    shown = sitk.GetArrayViewFromImage(coarse_brain).astype(bool) & (sitk.GetArrayViewFromImage(coarse) > 0)
    if shown.sum() < LEAST_VOXELS:
        raise InputError(
            f"The bias field of {name} cannot be estimated, since the image shows too little of the brain; leave the "
            "bias correction or this image out."
        )
    corrector.Execute(coarse, coarse_brain)
    field = sitk.Exp(corrector.GetLogBiasFieldAsImage(image))
    return sitk.Cast(image / field, sitk.sitkFloat32)
