"""N4 bias field correction (Tustison et al., IEEE TMI 29:1310, 2010), through SimpleITK."""

from __future__ import annotations

import SimpleITK as sitk

from GliomaSegLib.errors import InputError

SHRINK = 4
ITERATIONS = (50, 50, 30)

# The number of control points of the coarsest field; with fewer voxels N4 runs, but gives meaningless results.
LEAST_VOXELS = 4**3


def correct_bias(image: sitk.Image, brain: sitk.Image, name: str = "the image") -> sitk.Image:
    """Divide ``image`` by its estimated bias field (``float32``), which is fitted inside ``brain`` (same grid) on a
    coarser grid. Voxels that are exactly 0 remain 0.

    Args:
        name: of the image, for the error.

    Raises:
        InputError: the image shows too little of the brain to fit a field.
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
