"""The surface of the brain around a tumour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

import vtk  # noqa: E402

from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.labels import Label  # noqa: E402
from GliomaSegLib.scene.brain_surface import has_brain, show_brain  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost, ijk_to_ras  # noqa: E402
from Testing.support.scene_results import load, moved_image, result_of  # noqa: E402

SHAPE, CENTRE, RADII_MM = (40, 90, 101), (21.0, 50.0, 44.0), (50.0, 42.0, 36.0)


def test_the_surface_of_the_brain_lies_where_the_mask_does_in_the_world(host: SceneHost, tmp_path: Path) -> None:
    k, j, i = np.indices(SHAPE)
    # Thick oblique slices: voxels of 1.1 x 1.2 x 3 mm; the half axes lie along i, j and k.
    mm = ((i - CENTRE[2]) * 1.1, (j - CENTRE[1]) * 1.2, (k - CENTRE[0]) * 3.0)
    mask = (sum((one / radius) ** 2 for one, radius in zip(mm, RADII_MM, strict=True)) <= 1).astype(np.uint8)
    labels = np.zeros(SHAPE, np.uint8)
    labels[18:24, 40:50, 40:50] = Label.ET
    brain = sitk.GetImageFromArray(mask)
    brain.SetSpacing((1.1, 1.2, 3.0))
    brain.SetOrigin((12.0, -30.0, 45.0))
    brain.SetDirection((0.0, 1.0, 0.0, 0.8, 0.0, 0.6, 0.6, 0.0, -0.8))
    result = result_of(tmp_path / "out", labels, moved_image(brain, MOVED))
    reference = host.add_volume(brain, "T1c")
    host.add_transform(MOVED, reference)
    node = load(host, result, reference)
    assert not has_brain(node)
    with pytest.raises(InputError, match=r"brain\.nii\.gz is missing or damaged"):
        show_brain(node)
    sitk.WriteImage(brain, str(tmp_path / "out" / "brain.nii.gz"))
    assert has_brain(node)

    model = show_brain(node)
    filled, middle = vtk.vtkMassProperties(), vtk.vtkCenterOfMass()
    for one in (filled, middle):
        one.SetInputData(model.GetPolyData())
        one.Update()
    assert filled.GetVolume() == pytest.approx(mask.sum() * 1.1 * 1.2 * 3.0, rel=0.03)
    centre = (MOVED @ ijk_to_ras(brain) @ [*CENTRE[::-1], 1])[:3]
    np.testing.assert_allclose(middle.GetCenter(), centre, atol=0.7)
    assert 0 < model.GetDisplayNode().GetOpacity() < 0.5, "the tumour is seen through it"
    assert not model.GetSaveWithScene()

    sitk.WriteImage(brain * 0, str(tmp_path / "out" / "brain.nii.gz"))
    with pytest.raises(InputError, match="is empty; segment the case again"):
        show_brain(node)
