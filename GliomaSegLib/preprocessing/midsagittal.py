"""Finds the mid-sagittal plane of a brain.

Positions are in mm along the array's axes z, y, x, from the centre of voxel (0, 0, 0), not in patient coordinates; x
must be the left-right axis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.pose import Pose

_WORKING_MM = 4.0
_FIRST_STEP = (6.0, 6.0, 5.0)  # degrees about z and y, mm along x
_SAMPLES = 120
_CONTRAST = 0.3  # weight of the images relative to the brain's outline, which a tumour does not change


def find_midsagittal(
    channels: NDArray[np.floating], brain: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> Pose:
    """The frame in which the brain is most similar to its mirror image.

    Yaw, roll and shift are optimised by the Nelder-Mead simplex, starting from the array's axes; deterministic.

    Args:
        channels: ``[c, z, y, x]``, normalised images, 0 outside the brain.
        brain: ``[z, y, x]``.
        spacing_mm: z, y, x.

    Raises:
        InputError: the brain is thinner than the voxels of about 4 mm in which the plane is sought.
    """
    factors = [max(1, round(_WORKING_MM / spacing)) for spacing in spacing_mm]
    step = np.array(spacing_mm) * factors
    present = [channel for channel in channels if channel.any()]
    mean = sum(np.clip(_binned(channel, factors), -2, 2) for channel in present) / max(len(present), 1)
    outline = _binned(brain, factors)
    volume = outline + _CONTRAST * mean
    offset = (np.array(factors) - 1) / 2 * spacing_mm  # of the first binned voxel's centre
    points = np.argwhere(outline > 0.5) * step + offset
    if not len(points):
        raise InputError(
            f"The images show less than {_WORKING_MM:.0f} mm of a brain; check that they show a whole head, and their "
            "voxel spacing."
        )
    middle = points.mean(axis=0)

    half = np.ceil((np.ptp(points, axis=0) / 2 + 8) / step).astype(int)
    samples = np.stack(np.meshgrid(*(np.arange(-n, n + 1) * s for n, s in zip(half, step, strict=True)), indexing="ij"))

    def unlikeness(guess: NDArray[np.float64]) -> float:
        rotation = _rotation(guess[0], guess[1])
        centre = middle + rotation[:, 2] * guess[2]
        places = (np.tensordot(rotation, samples, axes=1) + (centre - offset)[:, None, None, None]) / step[
            :, None, None, None
        ]
        seen = ndimage.map_coordinates(volume, places, order=1)
        return -float(np.corrcoef(seen.ravel(), seen[:, :, ::-1].ravel())[0, 1])

    simplex = np.vstack([np.zeros(3), np.diag(_FIRST_STEP)])
    options = {"initial_simplex": simplex, "maxfev": _SAMPLES, "xatol": 0.1, "fatol": 1e-5}
    found = optimize.minimize(unlikeness, np.zeros(3), method="Nelder-Mead", options=options).x
    rotation = _rotation(found[0], found[1])
    centre = middle + rotation[:, 2] * found[2]
    inside = (points - centre) @ rotation
    shift = (inside.min(axis=0) + inside.max(axis=0)) / 2
    shift[2] = 0
    return Pose(rotation, centre + rotation @ shift)


def _rotation(yaw: float, roll: float) -> NDArray[np.float64]:
    """About z and then about y, degrees; order z, y, x."""
    (sin_yaw, sin_roll), (cos_yaw, cos_roll) = np.sin(np.radians([yaw, roll])), np.cos(np.radians([yaw, roll]))
    about_z = np.array([[1, 0, 0], [0, cos_yaw, -sin_yaw], [0, sin_yaw, cos_yaw]])
    about_y = np.array([[cos_roll, 0, -sin_roll], [0, 1, 0], [sin_roll, 0, cos_roll]])
    return about_z @ about_y


def _binned(volume: NDArray, factors: list[int]) -> NDArray[np.float32]:
    """Means over blocks of ``factors`` voxels; incomplete blocks at the ends are dropped."""
    shape = [size // factor for size, factor in zip(volume.shape, factors, strict=True)]
    kept = volume[tuple(slice(size * factor) for size, factor in zip(shape, factors, strict=True))]
    kept = kept if volume.dtype == bool else kept.astype(np.float32)
    split = [part for size, factor in zip(shape, factors, strict=True) for part in (size, factor)]
    return kept.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32)
