"""Reads rigid transforms from ITK transform files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.errors import InputError

RIGID_WITHIN = 1e-3  # largest entry of MᵀM - 1 that is rounding; 0.1 mm at the border of a head


def read_rigid(path: Path) -> sitk.Euler3DTransform:
    """Read a rigid transform (LPS mm) from an ITK transform file of any class.

    Raises:
        InputError: the file cannot be read, or its transform is not a rotation and translation.
    """
    try:
        transform = sitk.ReadTransform(str(path))
    except (RuntimeError, ValueError) as error:  # also for text that is not UTF-8
        what = "is no ITK transform file (.tfm, .txt, .h5, .mat)" if path.is_file() else "does not exist"
        raise InputError(f"The transform {path} {what}; check the path.") from error
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise _not_rigid(path)
    shift = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(axis)) - shift for axis in np.eye(3).tolist()]
    matrix = np.stack(columns, axis=1)
    departure = np.abs(matrix.T @ matrix - np.eye(3)).max()
    if not departure <= RIGID_WITHIN or np.linalg.det(matrix) < 0:
        raise _not_rigid(path)
    left, _, right = np.linalg.svd(matrix)
    rigid = sitk.Euler3DTransform()
    rigid.SetMatrix((left @ right).ravel().tolist())
    rigid.SetTranslation(shift.tolist())
    return rigid


def _not_rigid(path: Path) -> InputError:
    return InputError(
        f"The transform {path} is not rigid (it scales, shears, mirrors or bends, or is not three-dimensional); give "
        "one that turns and shifts, or none, and the sequence is registered."
    )
