"""Whether diameters of several studies lie in one plane, as required to compare their products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.followup.conditions import name_of
from GliomaSegLib.measures.diameters import axial_axis
from GliomaSegLib.results.time_point import SegmentedTimePoint

# Diameters are compared in the axial plane only if its pixels are no larger than this, so that one pixel changes the
# product of a lesion of 20 mm by at most half of the limit of progression, and if the planes differ by less than so
# many degrees.
LARGEST_PIXEL_MM, SAME_PLANE_DEGREES = 2.5, 20.0


def obstacle_to_diameters(
    studies: Sequence[SegmentedTimePoint], transforms: Sequence[sitk.Transform | None], baseline: int
) -> str:
    """A clause why axial diameters of the studies from the baseline on cannot be compared; empty when they can.

    Args:
        transforms: rigid, from points of the last study to each study (LPS mm).
    """
    normals = []
    for place in range(baseline, len(studies)):
        labels, transform = studies[place].labels, transforms[place]
        axis = axial_axis(labels)
        pixel = max(mm for other, mm in enumerate(labels.GetSpacing()) if other != axis)
        if pixel > LARGEST_PIXEL_MM:
            return (
                f"the slices of {name_of(studies, place)} are not axial and {pixel:.2g} mm apart, which is too coarse "
                "for diameters in the axial plane; compare the volume"
            )
        normal = np.reshape(labels.GetDirection(), (3, 3))[:, axis]
        normals.append(normal if transform is None else _turned_back(normal, transform))
    for place, normal in enumerate(normals, start=baseline):
        tilt = np.degrees(np.arccos(min(1.0, abs(float(normal @ normals[-1])))))
        if tilt > SAME_PLANE_DEGREES:
            return (
                f"the slices of {name_of(studies, place)} are tilted by {tilt:.0f} degrees to those of the last study, "
                "so that diameters lie in different planes; compare the volume"
            )
    return ""


def _turned_back(direction: NDArray[np.float64], transform: sitk.Transform) -> NDArray[np.float64]:
    """Rotate a direction of the study into the space of the last study."""
    zero = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(axis)) - zero for axis in np.eye(3).tolist()]
    return np.array(columns) @ direction
