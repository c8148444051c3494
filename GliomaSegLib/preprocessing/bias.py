"""N4 bias field correction (Tustison et al., IEEE TMI 29:1310, 2010), through SimpleITK."""

from __future__ import annotations

import SimpleITK as sitk

SHRINK = 4
ITERATIONS = (50, 50, 30)


def correct_bias(image: sitk.Image, brain: sitk.Image) -> sitk.Image:
    """``image`` divided by its estimated bias field, ``float32``; the field is fitted inside ``brain`` (same grid) on a
    coarser grid and evaluated on the full one. Voxels that are exactly 0 stay 0.
    """
    image = sitk.Cast(image, sitk.sitkFloat32)
    factors = [min(SHRINK, size) for size in image.GetSize()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(ITERATIONS)
    corrector.Execute(sitk.Shrink(image, factors), sitk.Shrink(brain, factors))
    field = sitk.Exp(corrector.GetLogBiasFieldAsImage(image))
    return sitk.Cast(image / field, sitk.sitkFloat32)
