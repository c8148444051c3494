"""The segmentation node: on the volume's grid, and its labels exact whatever happens to its segments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

import vtk  # noqa: E402

from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.io.segnrrd import read_segmentation  # noqa: E402
from GliomaSegLib.io.terminology import segment_styles  # noqa: E402
from GliomaSegLib.labels import Label, Region  # noqa: E402
from GliomaSegLib.scene.edits import Edits  # noqa: E402
from GliomaSegLib.scene.review import APPROVED, EDITED, EditWatch, Review, review_of, set_review  # noqa: E402
from GliomaSegLib.scene.segmentation import label_of, labels_of, set_labels  # noqa: E402
from GliomaSegLib.scene.segmentation_files import save_labels  # noqa: E402
from GliomaSegLib.scene.tables import fill_volumes_table  # noqa: E402
from GliomaSegLib.scene.volumes import ijk_to_world  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost, grid_of, ijk_to_ras, mask_on, rigid  # noqa: E402
from Testing.support.scene_results import load, moved_image, result_of  # noqa: E402

BINARY = "Binary labelmap"

Loaded = tuple[Any, Any, dict[str, Any]]


@pytest.fixture
def labels() -> np.ndarray:
    """All four labels, none of them at the rim only, no two alike."""
    array = np.zeros((6, 9, 8), np.uint8)
    array[1:5, 2:8, 1:7] = Label.SNFH
    array[2:4, 3:6, 2:6] = Label.ET
    array[2:4, 4, 3:5] = Label.NETC
    array[5, 8, 7] = Label.RC
    return array


@pytest.fixture
def loaded(host: SceneHost, random_image: sitk.Image, labels: np.ndarray, tmp_path: Path) -> Loaded:
    """A volume under a transform, the segmentation loaded onto it, and its result."""
    volume = host.add_volume(random_image, "T1c")
    host.add_transform(MOVED, volume)
    result = result_of(tmp_path / "out", labels, moved_image(random_image, MOVED))
    return volume, load(host, result, volume), result


def test_names_colours_terminology_and_geometry(loaded: Loaded, labels: np.ndarray) -> None:
    volume, node, _ = loaded
    array, matrix = labels_of(node)
    np.testing.assert_array_equal(array, labels)
    np.testing.assert_allclose(matrix, ijk_to_world(volume), atol=1e-9)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4
    for label, style in segment_styles().items():
        segment = segmentation.GetSegment(style.identifier)
        assert segment.GetName() == style.name
        np.testing.assert_allclose(segment.GetColor(), np.array(style.colour) / 255, atol=1e-4)
        entry = vtk.reference("")
        assert segment.GetTag("TerminologyEntry", entry)
        assert str(entry) == style.slicer_entry
        assert label_of(node, style.identifier) is label


def test_grid_is_the_volumes_to_the_last_digit(loaded: Loaded) -> None:
    """The Segment Editor compares geometries; a difference in the last digit would make it resample."""
    volume, node, _ = loaded
    own = slicer.vtkSegmentationConverter.SerializeImageGeometry(grid_of(volume), volume.GetImageData())
    assert node.GetSegmentation().GetConversionParameter("Reference image geometry") == own
    for segment in range(4):
        layer = node.GetSegmentation().GetNthSegment(segment).GetRepresentation(BINARY)
        kept = vtk.vtkMatrix4x4()
        layer.GetImageToWorldMatrix(kept)
        np.testing.assert_allclose(
            slicer.util.arrayFromVTKMatrix(kept), slicer.util.arrayFromVTKMatrix(grid_of(volume)), atol=1e-12
        )


def test_slicers_own_export_agrees(loaded: Loaded, host: SceneHost, labels: np.ndarray) -> None:
    """What Slicer gives per segment on the volume's voxels is what the label array says."""
    volume, node, _ = loaded
    for label, style in segment_styles().items():
        mask = slicer.vtkOrientedImageData()
        assert node.GetBinaryLabelmapRepresentation(style.identifier, mask)
        target = host.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        ids = vtk.vtkStringArray()
        ids.InsertNextValue(style.identifier)
        slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(
            node, ids, target, volume, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
        )
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(target) > 0, labels == label)


def test_volume_that_was_changed_meanwhile_is_refused(
    host: SceneHost, random_image: sitk.Image, labels: np.ndarray, tmp_path: Path
) -> None:
    volume = host.add_volume(random_image, "T1c")
    result = result_of(tmp_path / "out", labels, random_image)
    host.add_transform(rigid((0, 0, 0), (1, 0, 0)), volume)
    before = host.names()
    with pytest.raises(InputError, match="'T1c' has another grid or place than"):
        load(host, result, volume)
    assert host.names() == before
    path = Path(result["files"]["slicer_segmentation"])
    path.write_bytes(path.read_bytes()[:-20])  # Slicer's own reader would end the process
    with pytest.raises(InputError, match="missing or not as it was written"):
        load(host, result, volume)
    assert host.names() == before


def reorder(node: Any) -> None:
    node.GetSegmentation().ReorderSegments(["RC", "ET", "NETC", "SNFH"])


def separate(node: Any) -> None:
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segmentation.SeparateSegmentLabelmap(segmentation.GetNthSegmentID(index))
    assert segmentation.GetNumberOfLayers() == 4


def own_layers_of_ones(node: Any) -> None:
    """What slicer.util.updateSegmentBinaryLabelmapFromArray leaves: each segment alone, its label value 1."""
    segmentation = node.GetSegmentation()
    for style in segment_styles().values():
        mask = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(style.identifier, mask)
        segment = segmentation.GetSegment(style.identifier)
        segment.SetLabelValue(1)
        segment.AddRepresentation(BINARY, mask)


def renamed(node: Any) -> None:
    node.GetSegmentation().GetSegment("ET").SetName("my tumour")


@pytest.mark.parametrize("change", [reorder, separate, own_layers_of_ones, renamed])
@pytest.mark.parametrize("reload", [False, True], ids=["", "saved"])
def test_labels_are_exact_after(
    loaded: Loaded, host: SceneHost, labels: np.ndarray, tmp_path: Path, change: Any, reload: bool
) -> None:
    _, node, _ = loaded
    change(node)
    if reload:
        host.saved_and_reloaded(tmp_path / "scene.mrb")
        node = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    array, matrix = labels_of(node)
    np.testing.assert_array_equal(array, labels)
    volume = host.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    np.testing.assert_allclose(matrix, ijk_to_world(volume), atol=1e-5)


def test_overlapping_segments(loaded: Loaded, host: SceneHost, labels: np.ndarray, tmp_path: Path) -> None:
    """Enhancing tumour painted over all else, while the others keep their voxels: it goes first."""
    _, node, _ = loaded
    separate(node)
    mask = np.zeros_like(labels)
    mask[1:5, 2:9, 3:8] = 1
    paint(node, "ET", mask)
    expected = labels.copy()
    expected[labels == Label.ET] = 0
    expected[1:5, 2:8, 1:7][expected[1:5, 2:8, 1:7] == 0] = 0
    expected[mask > 0] = Label.ET
    np.testing.assert_array_equal(labels_of(node)[0], expected)
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    node = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    np.testing.assert_array_equal(labels_of(node)[0], expected)


def paint(node: Any, identifier: str, mask: np.ndarray) -> None:
    """Give a segment other voxels, as an effect of the Segment Editor does."""
    volume = node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(mask_on(volume, mask), node, identifier, logic.MODE_REPLACE)


def test_segments_of_the_users_own(loaded: Loaded, labels: np.ndarray) -> None:
    """A copy of a segment counts to its label; one of another name is refused by name."""
    _, node, _ = loaded
    segmentation = node.GetSegmentation()
    identifier = segmentation.AddEmptySegment("extra", "Enhancing tumour_1")
    mask = np.zeros_like(labels)
    mask[0, 0, 0] = 1
    paint(node, identifier, mask)
    expected = labels.copy()
    expected[0, 0, 0] = Label.ET
    np.testing.assert_array_equal(labels_of(node)[0], expected)
    set_labels(node, labels)
    np.testing.assert_array_equal(labels_of(node)[0], labels)
    segmentation.GetSegment(identifier).SetName("Ventricle")
    with pytest.raises(InputError, match="holds the segment 'Ventricle', which is none of Necrosis"):
        labels_of(node)


def test_a_segment_counts_as_what_its_new_name_says_which_voids_an_approval(loaded: Loaded, labels: np.ndarray) -> None:
    _, node, _ = loaded
    approval = Review(APPROVED, "Dr. Weiß", "2026-01-02T03:04:05+01:00")
    watch = EditWatch(node, lambda edited: set_review(edited, Review(EDITED)))
    set_review(node, approval)
    segment = node.GetSegmentation().GetSegment("NETC")
    segment.SetName("mine")
    assert review_of(node) == approval
    np.testing.assert_array_equal(labels_of(node)[0], labels)
    segment.SetName("Resection cavity")
    assert review_of(node).state == "edited"
    np.testing.assert_array_equal(labels_of(node)[0], np.where(labels == Label.NETC, Label.RC, labels))
    watch.stop()


def test_other_labels(loaded: Loaded, host: SceneHost, labels: np.ndarray, tmp_path: Path) -> None:
    _, node, _ = loaded
    separate(node)
    changed = labels[::-1, :, ::-1].copy()
    set_labels(node, changed)
    np.testing.assert_array_equal(labels_of(node)[0], changed)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    node = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    np.testing.assert_array_equal(labels_of(node)[0], changed)


def test_label_without_a_segment_gets_one(
    host: SceneHost, random_image: sitk.Image, labels: np.ndarray, tmp_path: Path
) -> None:
    volume = host.add_volume(random_image, "FLAIR")
    whole = (labels > 0).astype(np.uint8) * np.uint8(Label.SNFH)
    node = load(host, result_of(tmp_path / "out", whole, random_image, (Region.WT,)), volume)
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    set_labels(node, labels)
    np.testing.assert_array_equal(labels_of(node)[0], labels)
    assert node.GetSegmentation().GetNumberOfSegments() == 4
    assert node.GetSegmentation().GetSegment("ET").GetName() == "Enhancing tumour"


def test_edit_is_saved_for_the_worker(
    loaded: Loaded, host: SceneHost, random_image: sitk.Image, labels: np.ndarray
) -> None:
    """In the coordinates of the results, also when the volume was moved to another place since."""
    volume, node, result = loaded
    output = Path(result["output"])
    assert not save_labels(labels_of(node)[0], node.GetName(), output), "nothing was edited"
    other = host.add_transform(rigid((0, 0, 5), (1, 2, 3)), name="other")
    for one in (volume, node):
        one.SetAndObserveTransformNodeID(other.GetID())
    edited = labels.copy()
    edited[0, 0, 0], edited[2, 4, 3] = Label.RC, 0
    set_labels(node, edited)
    assert save_labels(labels_of(node)[0], node.GetName(), output)
    written = read_segmentation(output / "segmentation.seg.nrrd")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), edited)
    np.testing.assert_allclose(ijk_to_ras(written), MOVED @ ijk_to_ras(random_image), atol=1e-6)
    assert {path.name for path in output.iterdir()} == {"segmentation.seg.nrrd", "manifest.json"}


def test_edits_can_be_undone_and_never_take_what_was_drawn_since(loaded: Loaded, labels: np.ndarray) -> None:
    _, node, _ = loaded
    edits = Edits(node)
    assert not edits.can_undo
    first = labels.copy()
    first[labels == Label.ET] = 0
    edits.apply(first)
    drawn = first.copy()
    drawn[2, 3, 2], drawn[0, 0, 0] = Label.RC, Label.NETC
    set_labels(node, drawn)
    edits.undo()
    expected = labels.copy()
    expected[2, 3, 2], expected[0, 0, 0] = Label.RC, Label.NETC
    np.testing.assert_array_equal(labels_of(node)[0], expected)
    assert not edits.can_undo


# --- lesions --------------------------------------------------------------------------------------------------------


def test_every_edit_is_noticed_so_that_it_voids_an_approval(loaded: Loaded, labels: np.ndarray) -> None:
    _, node, _ = loaded
    assert review_of(node) == Review("draft")
    watch = EditWatch(node, lambda edited: set_review(edited, Review(EDITED)))
    approval = Review(APPROVED, "Dr. Weiß", "2026-01-02T03:04:05+01:00")

    set_review(node, approval)
    node.GetSegmentation().GetSegment("ET").SetColor(1, 1, 1)
    node.CreateClosedSurfaceRepresentation()
    labels_of(node)
    assert review_of(node) == approval, "looking is no edit"

    set_labels(node, labels[::-1].copy())
    assert review_of(node) == Review("edited")
    set_review(node, approval)
    separate_mask = np.zeros_like(labels)
    separate_mask[0, 0, 0] = 1
    paint(node, "RC", separate_mask)
    assert review_of(node).state == "edited"
    set_review(node, approval)
    node.GetSegmentation().RemoveSegment("RC")
    assert review_of(node).state == "edited"
    set_review(node, approval)
    watch.stop()
    set_labels(node, labels)
    assert review_of(node) == approval


def test_review_is_saved_with_the_scene(loaded: Loaded, host: SceneHost, tmp_path: Path) -> None:
    _, node, _ = loaded
    set_review(node, Review(APPROVED, "Dr. Weiß", "2026-01-02"))
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    node = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert review_of(node) == Review(APPROVED, "Dr. Weiß", "2026-01-02")


def test_table(host: SceneHost, tmp_path: Path) -> None:
    table = host.scene.AddNewNodeByClass("vtkMRMLTableNode", "volumes")
    rows = [
        {"name": "WT", "voxels": 1000, "volume_ml": 1.5, "brain_ratio": 0.00125},
        {"name": "SNFH", "voxels": 400, "volume_ml": 0.6, "brain_ratio": None},
    ]
    fill_volumes_table(table, {"volumes": rows})
    fill_volumes_table(table, {"volumes": rows})  # again after an edit: nothing is doubled
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    table = host.scene.GetFirstNodeByClass("vtkMRMLTableNode")
    assert table.GetNumberOfRows() == 2
    read = [[table.GetCellText(row, column) for column in range(5)] for row in range(2)]
    assert read[0][:2] == ["WT", "Whole tumour"]
    assert read[1][:2] == ["SNFH", "Edema / infiltration (SNFH)"]
    assert float(read[0][2]) == 1.5
    assert read[0][3] == "0.12"
    assert read[1][3] == ""
    assert read[1][4] == "400"
