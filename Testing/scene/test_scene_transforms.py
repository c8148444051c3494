"""Transforms between ITK files and the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")


from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.scene.transforms import insert_above, read_transform, write_transform  # noqa: E402
from GliomaSegLib.scene.volumes import ijk_to_world  # noqa: E402
from Testing.support.scene_host import LPS, MOVED, SceneHost, rigid  # noqa: E402


def test_transform_file_and_node_move_a_landmark_alike(
    host: SceneHost, random_image: sitk.Image, tmp_path: Path
) -> None:
    """ITK takes a point of the reference to the moving image; the node brings the moving image's point back."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter((10, 20, 30))
    transform.SetRotation(0.1, -0.2, 0.3)
    transform.SetTranslation((5, -7, 9))
    sitk.WriteTransform(transform, str(tmp_path / "t2w.tfm"))
    matrix = read_transform(tmp_path / "t2w.tfm")
    on_reference = np.array([-31.0, 12.0, 44.0])  # LPS
    on_moving = np.array(transform.TransformPoint(on_reference.tolist()))
    back = matrix @ LPS @ [*on_moving, 1]
    np.testing.assert_allclose(back, LPS @ [*on_reference, 1], atol=1e-9)
    write_transform(matrix, tmp_path / "again.tfm")
    again = sitk.ReadTransform(str(tmp_path / "again.tfm"))
    np.testing.assert_allclose(again.TransformPoint(on_reference.tolist()), on_moving, atol=1e-9)
    with pytest.raises(InputError, match=r"nothing\.tfm is not there or no linear"):
        read_transform(tmp_path / "nothing.tfm")
    with pytest.raises(InputError, match="could not be written"):
        write_transform(matrix, tmp_path / "nowhere" / "t.tfm")


def test_transform_goes_between_a_volume_and_its_parents(host: SceneHost, random_image: sitk.Image) -> None:
    volume = host.add_volume(random_image, "T2")
    parent = host.add_transform(MOVED, volume, name="parent")
    before = ijk_to_world(volume)
    move = rigid((3, 2, 1), (7, 8, 9))
    node = host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "T2 to T1c")
    insert_above(volume, node, move)
    np.testing.assert_allclose(ijk_to_world(volume), move @ before, atol=1e-9)
    assert volume.GetParentTransformNode() is node
    assert node.GetParentTransformNode() is parent
