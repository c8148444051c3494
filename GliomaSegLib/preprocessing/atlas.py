"""The common space for models that want their images in it: MNI152, standing in for SRI24.

BraTS images lie in the SRI24 atlas, which is not distributed with any package that GliomaSeg uses. The ICBM 2009a
nonlinear symmetric MNI152 brain that comes with nilearn is close to it and is called by its own name.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import oriented
from GliomaSegLib.preprocessing.registration import FAILED_BELOW_NMI, register

_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@cache
def template() -> sitk.Image:
    """The MNI152 T1 brain (skull-stripped), ``float32``, 1 mm, voxel axes running LPS."""
    with as_file(files("nilearn") / _TEMPLATE) as path:  # not through nilearn's own import, which takes seconds
        return oriented(sitk.ReadImage(str(path), sitk.sitkFloat32))


def atlas_to_reference(stripped: sitk.Image) -> sitk.Transform:
    """Rigid transform from points of the atlas to points of a skull-stripped reference image (LPS mm).

    Raises:
        InputError: no position was found where they fit. The atlas is symmetric, so that mirroring cannot show here.
    """
    found = register(template(), stripped)
    if found.information < FAILED_BELOW_NMI:
        raise InputError(
            f"The brain could not be aligned to the MNI152 atlas (mutual information {found.information:.3f}); check "
            "the reference image and its brain extraction."
        )
    return found.transform or sitk.Euler3DTransform()
