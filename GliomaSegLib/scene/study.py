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
        InputError: it cannot be read, or is no single scalar volume.
    """
    # Here: only a study on disk needs them, and they take a while to load.
    import SimpleITK as sitk

    from GliomaSegLib.io.grid import quiet_itk

    path = Path(record["path"])
    if record["series_part"]:
        raise InputError(
            f"'{name}' shares its DICOM series with another image, so it is not shown; load it with Slicer's DICOM "
            "module."
        )
    try:
        with quiet_itk():
            if record["series_uid"]:  # GDCM sorts the files by position, not by name
                files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), record["series_uid"])
                image = sitk.ReadImage(files)
            else:
                image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"'{name}' ({path}) cannot be shown: it could not be read again.") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"'{name}' ({path}) cannot be shown: it is not one volume of grey values.")
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
