"""Volume nodes become files: the same voxels, at the place that the scene shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.io.images import read_image  # noqa: E402
from GliomaSegLib.scene.hierarchy import place_beside  # noqa: E402
from GliomaSegLib.scene.volumes import check_one_patient, check_volume, exporting, ijk_to_world, shape_of  # noqa: E402
from GliomaSegLib.study.better_volume import why_better  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost, ijk_to_ras, rigid  # noqa: E402


@pytest.mark.parametrize("flip", [False, True], ids=["right-handed", "left-handed"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_oblique_volume_under_transforms(
    host: SceneHost, random_image: sitk.Image, tmp_path: Path, dtype: type, flip: bool
) -> None:
    image = sitk.Flip(random_image, (True, False, False)) if flip else random_image
    array = sitk.GetArrayFromImage(image).astype(dtype)
    typed = sitk.GetImageFromArray(array)
    typed.CopyInformation(image)
    if flip:
        typed.SetDirection((np.reshape(image.GetDirection(), (3, 3)) * [-1, 1, 1]).ravel().tolist())
    node = host.add_volume(typed, "T1")
    outer = host.add_transform(MOVED, name="outer")
    inner = host.add_transform(rigid((0, 90, 0), (1, 2, 3)), node, name="inner")
    inner.SetAndObserveTransformNodeID(outer.GetID())

    exporting(node, tmp_path / "t1.nrrd")()

    written = sitk.ReadImage(str(tmp_path / "t1.nrrd"))
    kept = sitk.GetArrayFromImage(written)
    assert kept.dtype == dtype
    np.testing.assert_array_equal(kept, array)
    expected = MOVED @ rigid((0, 90, 0), (1, 2, 3)) @ ijk_to_ras(typed)
    np.testing.assert_allclose(ijk_to_ras(written), expected, atol=1e-9)
    np.testing.assert_allclose(ijk_to_world(node), expected, atol=1e-9)
    read_image(tmp_path / "t1.nrrd")  # the worker takes it


def test_left_stays_left(host: SceneHost, tmp_path: Path) -> None:
    """A bright voxel on the patient's left (RAS x < 0, LPS x > 0)."""
    array = np.zeros((3, 4, 11), np.int16)
    array[1, 1, 2] = 100
    node = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    slicer.util.updateVolumeFromArray(node, array)
    matrix = np.diag([10.0, 10, 10, 1])
    matrix[0, 3] = -50  # i runs to the right; i = 2 is at R -30
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    exporting(node, tmp_path / "t1.nrrd")()
    written = sitk.ReadImage(str(tmp_path / "t1.nrrd"))
    k, j, i = np.argwhere(sitk.GetArrayFromImage(written) == 100)[0]
    assert written.TransformIndexToPhysicalPoint((int(i), int(j), int(k)))[0] == pytest.approx(30)


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (np.diag([1.1, 1, 1, 1]), "which is not rigid: it scales or shears"),
        (np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "which is not rigid"),
        (np.diag([-1.0, 1, 1, 1]), "which mirrors it, so that left and right are swapped"),
    ],
)
def test_parent_that_is_not_rigid_is_refused(
    host: SceneHost, random_image: sitk.Image, tmp_path: Path, matrix: np.ndarray, says: str
) -> None:
    node = host.add_volume(random_image, "FLAIR")
    host.add_transform(matrix, node, name="to atlas")
    with pytest.raises(InputError, match=f"'FLAIR' is under the transform 'to atlas', {says}"):
        exporting(node, tmp_path / "x.nrrd")()
    assert list(tmp_path.iterdir()) == []


def test_warped_volume_is_refused(host: SceneHost, random_image: sitk.Image, tmp_path: Path) -> None:
    node = host.add_volume(random_image, "FLAIR")
    warp = host.scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    grid = slicer.vtkOrientedGridTransform()
    field = slicer.vtkOrientedImageData()
    field.SetDimensions(2, 2, 2)
    field.AllocateScalars(11, 3)
    grid.SetDisplacementGridData(field)
    warp.SetAndObserveTransformToParent(grid)
    node.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(InputError, match="'FLAIR' is under the transform 'warp', which is not linear; take it out"):
        exporting(node, tmp_path / "x.nrrd")()


def test_tilted_gantry_is_refused(host: SceneHost, random_image: sitk.Image, tmp_path: Path) -> None:
    node = host.add_volume(random_image, "T2")
    matrix = ijk_to_ras(random_image)
    matrix[:3, 2] += matrix[:3, 1] * 0.5
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    with pytest.raises(InputError, match="'T2' has sheared axes, as from a tilted gantry"):
        exporting(node, tmp_path / "x.nrrd")()


def volume_of(host: SceneHost, array: np.ndarray) -> object:
    node = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    slicer.util.updateVolumeFromArray(node, array)
    return node


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 5, 6), np.int16), "is empty: every voxel is 0;"),
        (np.full((4, 5, 6), 7, np.int16), "is empty: every voxel is 7;"),
        (np.full((4, 5, 6), np.nan, np.float32), "NaN or infinite"),
        (np.arange(30, dtype=np.int16).reshape(1, 5, 6), "is a single slice"),
    ],
)
def test_volume_without_a_scan_is_refused(host: SceneHost, array: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_volume(volume_of(host, array))


def test_node_of_another_kind_is_refused(host: SceneHost) -> None:
    bare = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "bare")
    with pytest.raises(InputError, match="'bare' is empty: it holds no voxels"):
        check_volume(bare)
    labels = host.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    with pytest.raises(InputError, match="'labels' is no volume of grey values"):
        check_volume(labels)
    colour = host.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colour")
    slicer.util.updateVolumeFromArray(colour, np.zeros((3, 4, 5, 3), np.uint8))
    with pytest.raises(InputError, match="'colour' has several values per voxel"):
        check_volume(colour)


def test_full_disk_and_missing_folder(host: SceneHost, random_image: sitk.Image, tmp_path: Path) -> None:
    node = host.add_volume(random_image, "T1")
    with pytest.raises(InputError, match=r"nowhere.*t1.nrrd could not be written \(No such"):
        exporting(node, tmp_path / "nowhere" / "t1.nrrd")()
    full = Path("/dev/full")
    if full.exists():
        (tmp_path / "t1.nrrd").symlink_to(full)
        with pytest.raises(InputError, match=r"could not be written .* the disk has space"):
            exporting(node, tmp_path / "t1.nrrd")()


def test_volumes_of_one_head_pass(host: SceneHost, random_image: sitk.Image) -> None:
    t1c, t2f = host.add_volume(random_image, "post"), host.add_volume(random_image, "flair")
    host.add_transform(rigid((0, 0, 10), (5, 5, 5)), t2f)
    check_one_patient({Modality.T1C: t1c, Modality.T2F: t2f})


def test_volumes_far_apart_are_refused(host: SceneHost, random_image: sitk.Image) -> None:
    t1c, t2f = host.add_volume(random_image, "post"), host.add_volume(random_image, "flair")
    host.add_transform(rigid((0, 0, 0), (500, 0, 0)), t2f)
    says = (
        r"'post' \(T1 \+ contrast\) and 'flair' \(FLAIR\) lie 4\d\d mm apart, so they seem to be of different patients"
    )
    with pytest.raises(InputError, match=says):
        check_one_patient({Modality.T1C: t1c, Modality.T2F: t2f})


def test_volume_chosen_twice_is_refused(host: SceneHost, random_image: sitk.Image) -> None:
    node = host.add_volume(random_image, "post")
    with pytest.raises(InputError, match=r"'post' was chosen for both T1 and T1 \+ contrast"):
        check_one_patient({Modality.T1N: node, Modality.T1C: node})


def test_volumes_of_two_patients_are_refused(host: SceneHost, random_image: sitk.Image) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
    nodes = {}
    for sequence, patient in ((Modality.T1C, "Anna"), (Modality.T2F, "Berta")):
        subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
        study = hierarchy.CreateStudyItem(subject, "brain")
        nodes[sequence] = host.add_volume(random_image, sequence.value)
        hierarchy.CreateItem(study, nodes[sequence])
    with pytest.raises(InputError, match=r"belong to different patients \(Anna and Berta\)"):
        check_one_patient(nodes)
    other = host.add_volume(random_image, "reformat")
    place_beside(other, nodes[Modality.T1C])
    check_one_patient({Modality.T1C: nodes[Modality.T1C], Modality.T1N: other})


@pytest.mark.parametrize(
    ("directions", "plane"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), "axial"),
        ((1, 0, 0, 0, 0, 1, 0, -1, 0), "coronal"),
        ((0, 0, 1, 1, 0, 0, 0, 1, 0), "sagittal"),
    ],
)
def test_shape_by_which_the_better_of_two_volumes_is_found(
    host: SceneHost, directions: tuple[float, ...], plane: str
) -> None:
    image = sitk.Image(200, 220, 20, sitk.sitkInt16)
    image.SetSpacing((1.0, 1.1, 4.0))
    image.SetDirection(directions)
    shape = shape_of(host.add_volume(image, "T1 post gad cor MPR"))
    assert shape.plane == plane
    assert shape.spacing_mm == pytest.approx((1.0, 1.1, 4.0))
    assert shape.extent_mm == pytest.approx((200.0, 242.0, 80.0))
    assert shape.after_contrast
    whole = shape_of(host.add_volume(sitk.Image(200, 220, 160, sitk.sitkInt16), "T1 post gad"))
    assert why_better(Modality.T1C, whole, shape) == "it covers more of the head"
