"""The MNI152 brain template that comes with GliomaSeg: T1 and the maps of grey and white matter.

ICBM 152 nonlinear symmetric 2009a (Fonov 2011, doi:10.1016/j.neuroimage.2010.07.033), 1 mm. ``Resources/templates``
holds its left half, in steps of 4/255; its notice and what was changed are in the file LICENSE there.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.resources import resource


def read_template(name: Literal["t1", "gm", "wm"]) -> sitk.Image:
    """The skull-stripped T1 template, or the share of grey or white matter: ``float32``, 0 to 255, MNI space (LPS mm).

    Voxel axes run RAS, as in the published file. The stored half is the patient's left, down to the plane x = 0.
    """
    left = sitk.ReadImage(str(resource(f"templates/mni_icbm152_{name}_left.nii.gz")), sitk.sitkFloat32)
    array = sitk.GetArrayViewFromImage(left)
    whole = sitk.GetImageFromArray(np.concatenate([array, array[:, :, -2::-1]], axis=2))
    whole.SetOrigin(left.GetOrigin())
    whole.SetDirection(left.GetDirection())
    return whole
