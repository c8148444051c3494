"""A synthetic MRI study of a head with a glioma whose exact extent is known, for the demo and the tests.

The brain is the MNI ICBM 152 nonlinear symmetric template 2009a with its grey and white matter maps (Fonov 2011,
doi:10.1016/j.neuroimage.2010.07.033), slightly deformed, so that it is not symmetric and belongs to no real person.
Those maps are brain only, so meninges, skull, scalp, eyes, face and neck are added around it from distances to the
brain and simple solids. The tumour is a necrotic core inside an irregular enhancing rim, in the white matter of the
patient's RIGHT frontal lobe, and edema that spreads from it along white matter.

A scan is then simulated as a scanner makes it: the head has moved, slices are averages over their thickness, the
receive field is uneven, the noise Rician. The phantom contains no image of an individual.

The modules follow that order: fields, anatomy, tumour, painting, scan, dicom; study puts them together.
"""

from __future__ import annotations

from GliomaSegLib.phantom.study import Phantom, make_phantom
from GliomaSegLib.phantom.tumour import TUMOUR_SIDE

__all__ = ["TUMOUR_SIDE", "Phantom", "make_phantom"]
