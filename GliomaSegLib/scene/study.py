"""Loads the images of a study on disk as volume nodes, with the geometry and voxels that the worker used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from GliomaSegLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk


def read_image(record: Mapping[str, Any], name: str) -> sitk.Image:
    """Read one image of a manifest. Touches no scene, so that another thread may run it.

    Args:
        record: a :class:`~GliomaSegLib.results.manifest.SequenceRecord` as JSON: a file, or a series of a DICOM folder.
        name: of the image in the scene, for errors.

    Raises:
        InputError: it cannot be read, is no single scalar volume, or another one than was segmented.
    """
    # Here: only a study on disk needs them, and they take a while to load. Not nibabel, which Slicer may lack.
    import SimpleITK as sitk

    from GliomaSegLib.io.grid import quiet_itk

    path = Path(record["path"])
    if record["series_uid"]:
        return _read_series(record, f"'{name}' ({path}) cannot be shown")
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"'{name}' ({path}) cannot be shown: it could not be read again.") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"'{name}' ({path}) cannot be shown: it is not one volume of grey values.")
    return image


def _read_series(record: Mapping[str, Any], cannot: str) -> sitk.Image:
    """Read a series as the worker does: GDCM alone would stack copies of slices, and read one folder."""
    from GliomaSegLib.io.dicom import find_series
    from GliomaSegLib.io.dicom_volume import read_series
    from GliomaSegLib.io.voxels import pixels_sha256

    which = record["series_uid"], record["series_part"]
    found = [one for one in find_series(Path(record["path"])) if (one.uid, one.part) == which]
    if len(found) != 1:
        raise InputError(f"{cannot}: its series is not there any more.")
    image = read_series(found[0])
    if pixels_sha256(image) != record["pixels_sha256"]:
        raise InputError(f"{cannot}: it is not the image that was segmented; its voxels have changed since.")
    return image


def show_image(scene: slicer.vtkMRMLScene, image: sitk.Image, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Add an image of :func:`read_image` to the scene as a volume node."""
    import SimpleITK as sitk

    from GliomaSegLib.io.grid import affine_of

    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(volume, sitk.GetArrayFromImage(image))
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine_of(image)))
    volume.CreateDefaultDisplayNodes()
    return volume
