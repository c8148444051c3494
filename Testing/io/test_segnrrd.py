"""Slicer's segmentation file: what GliomaSeg writes is read by Slicer's own code, and the other way round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on, same_grid
from GliomaSegLib.io.segnrrd import read_segmentation, write_segmentation
from GliomaSegLib.io.terminology import segment_styles
from GliomaSegLib.labels import Label, Region

OBLIQUE = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3).GetMatrix()
DIRECTIONS = {
    "LPS": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "mirrored": (-1, 0, 0, 0, 1, 0, 0, 0, 1),
    "sagittal": (0, 0, 1, 1, 0, 0, 0, -1, 0),
    "oblique": OBLIQUE,
}


def label_image(direction: tuple[float, ...] = DIRECTIONS["LPS"]) -> sitk.Image:
    array = np.zeros((8, 12, 10), np.uint8)
    array[2:6, 3:9, 2:8] = Label.SNFH
    array[3:5, 4:8, 3:7] = Label.NETC
    array[3:5, 5:7, 3:5] = Label.ET
    array[6, 9:11, 1:4] = Label.RC
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.9, 1.1, 5.0))
    image.SetOrigin((-31.5, 12.25, 7.0))
    image.SetDirection(direction)
    return image


def assert_same(found: sitk.Image, expected: sitk.Image) -> None:
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(found.GetOrigin(), expected.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(found.GetSpacing(), expected.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(found.GetDirection(), expected.GetDirection(), atol=1e-6)


def write_as_slicer_does(
    path: Path, layers: list[np.ndarray], origin: tuple[float, ...], fields: dict[str, str]
) -> None:
    """A raw NRRD as Slicer lays it out: layers as a leading list axis, arrays ``[z, y, x]`` of 1 mm voxels."""
    z, y, x = layers[0].shape
    several = len(layers) > 1
    header = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {4 if several else 3}",
        "space: left-posterior-superior",
        f"sizes: {f'{len(layers)} ' if several else ''}{x} {y} {z}",
        f"space directions: {'none ' if several else ''}(1,0,0) (0,1,0) (0,0,1)",
        f"kinds: {'list ' if several else ''}domain domain domain",
        "encoding: raw",
        f"space origin: ({','.join(map(str, origin))})",
        *(f"{key}:={value}" for key, value in fields.items()),
    ]
    data = np.ascontiguousarray(np.stack(layers, axis=-1), np.uint8).tobytes()
    path.write_bytes("\n".join(header).encode() + b"\n\n" + data)


def segment(
    index: int, name: str, value: int = 1, layer: int = 0, tags: str = "", identifier: str = ""
) -> dict[str, str]:
    fields = {"ID": identifier or f"S_random{index}", "Name": name, "LabelValue": str(value), "Layer": str(layer)}
    return {f"Segment{index}_{key}": text for key, text in {**fields, "Tags": tags}.items()}


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_round_trip(tmp_path: Path, direction: tuple[float, ...]) -> None:
    labels = label_image(direction)
    write_segmentation(labels, tmp_path / "case.seg.nrrd")
    assert_same(read_segmentation(tmp_path / "case.seg.nrrd"), labels)
    assert_same(read_segmentation(tmp_path / "case.seg.nrrd", labels), labels)


def test_an_empty_label_map_keeps_its_four_segments(tmp_path: Path) -> None:
    empty = label_image() * 0
    write_segmentation(empty, tmp_path / "empty.seg.nrrd")
    assert_same(read_segmentation(tmp_path / "empty.seg.nrrd", empty), empty)
    written = sitk.ReadImage(str(tmp_path / "empty.seg.nrrd"))
    names = [written.GetMetaData(f"Segment{index}_Name") for index in range(4)]
    assert names == [style.name for style in segment_styles().values()]
    assert written.GetMetaData("Segment0_Extent") == "0 -1 0 -1 0 -1"


def test_extents_and_reference_geometry_are_those_of_the_image(tmp_path: Path) -> None:
    write_segmentation(label_image(), tmp_path / "case.seg.nrrd")
    written = sitk.ReadImage(str(tmp_path / "case.seg.nrrd"))
    assert written.GetMetaData("Segment1_Extent") == "2 7 3 8 2 5"
    assert written.GetMetaData("Segmentation_ReferenceImageExtentOffset") == "0 0 0"
    numbers = written.GetMetaData("Segmentation_ConversionParameters").split("|")[1].split(";")
    assert [float(number) for number in numbers[:4]] == pytest.approx([-0.9, 0, 0, 31.5])
    assert numbers[16:22] == ["0", "9", "0", "11", "0", "7"]


def test_renumbered_cropped_and_layered_segments_come_home(tmp_path: Path) -> None:
    """As Slicer saves after an edit: values from 1 in each layer, the image cut to what is drawn, overlaps kept."""
    reference = sitk.Image(20, 20, 20, sitk.sitkInt16)
    first, second = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    first[0:3, 0:4, 0:5] = 1  # edema
    first[3, 4, 5] = 2  # cavity
    second[1:3, 1:3, 1:3] = 1  # enhancing, over the edema
    fields = {
        **segment(0, "Edema / infiltration (SNFH)", 1, 0),
        **segment(1, "Resection cavity", 2, 0),
        **segment(2, "Enhancing tumour", 1, 1),
    }
    write_as_slicer_does(tmp_path / "edited.seg.nrrd", [first, second], (7, 8, 9), fields)
    expected = np.zeros((20, 20, 20), np.uint8)
    expected[9:12, 8:12, 7:12] = Label.SNFH
    expected[12, 12, 12] = Label.RC
    expected[10:12, 9:11, 8:10] = Label.ET
    found = read_segmentation(tmp_path / "edited.seg.nrrd", reference)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), expected)


def test_segments_are_known_by_name_code_or_identifier_and_copies_are_joined(tmp_path: Path) -> None:
    layer = np.arange(6, dtype=np.uint8).reshape(1, 1, 6)
    necrosis = segment_styles()[Label.NETC].slicer_entry
    fields = {
        **segment(0, "ENHANCING TUMOUR", 1),
        **segment(1, "my core", 2, tags=f"TerminologyEntry:{necrosis}|"),
        **segment(2, "renamed", 3, identifier="SNFH"),
        **segment(3, "Enhancing tumour_2", 4),
        **segment(4, "Resection cavity", 5, identifier="ET"),
    }
    write_as_slicer_does(tmp_path / "names.seg.nrrd", [layer], (0, 0, 0), fields)
    found = sitk.GetArrayFromImage(read_segmentation(tmp_path / "names.seg.nrrd")).ravel()
    assert found.tolist() == [0, Label.ET, Label.NETC, Label.SNFH, Label.ET, Label.RC]


def test_a_mass_is_not_taken_for_the_cavity(tmp_path: Path) -> None:
    """Earlier files of ours gave the cavity the code of a mass, so that code alone does not make a segment a cavity."""
    structure = "SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^"
    tags = f"TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list~{structure}~~^^~^^|"
    write_as_slicer_does(tmp_path / "mass.seg.nrrd", [np.ones((1, 2, 3))], (0, 0, 0), segment(0, "lump", tags=tags))
    with pytest.raises(InputError, match="'lump', which is none of"):
        read_segmentation(tmp_path / "mass.seg.nrrd")


def test_unusable_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    labels = label_image()
    with pytest.raises(InputError, match="does not exist"):
        read_segmentation(tmp_path / "none.seg.nrrd")
    (tmp_path / "text.seg.nrrd").write_text("no image")
    with pytest.raises(InputError, match="cannot be read"):
        read_segmentation(tmp_path / "text.seg.nrrd")
    sitk.WriteImage(labels, str(tmp_path / "plain.nrrd"))
    with pytest.raises(InputError, match="without segments"):
        read_segmentation(tmp_path / "plain.nrrd")
    write_segmentation(labels, tmp_path / "case.seg.nrrd")
    elsewhere = sitk.Image(labels)
    elsewhere.SetOrigin((500, 500, 500))
    with pytest.raises(InputError, match="lies outside"):
        read_segmentation(tmp_path / "case.seg.nrrd", elsewhere)
    shifted = sitk.Image(labels)
    first = np.argwhere(sitk.GetArrayViewFromImage(labels) != 0)[0][::-1].tolist()
    shifted.SetOrigin(labels.TransformIndexToPhysicalPoint([first[0] + 1, 0, 0]))
    with pytest.raises(InputError, match=r"lies outside of the image that it is read for with \d+ of its \d+ voxels"):
        read_segmentation(tmp_path / "case.seg.nrrd", shifted)
    with pytest.raises(InputError, match="cannot be written"):
        write_segmentation(labels, tmp_path / "no such folder" / "case.seg.nrrd")


class Slicer:
    """The few calls of Slicer's own MRML that the tests need."""

    def __init__(self) -> None:
        self.vtk = pytest.importorskip("vtk", reason="slicer-core (Slicer's MRML in Python) is not installed")
        self.slicer = pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML in Python) is not installed")
        self.vtk.vtkLogger.SetStderrVerbosity(self.vtk.vtkLogger.VERBOSITY_OFF)
        self.scene = self.slicer.vtkMRMLScene()

    def load(self, path: Path):
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        storage = self.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.ReadData(node) == 1
        return node

    def save(self, node, path: Path) -> None:
        storage = self.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.WriteData(node) == 1

    def points(self, node, identifier: str) -> list[tuple[float, ...]]:
        """RAS mm of the voxels of a segment, sorted."""
        image = self.slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(identifier, image)
        if image.GetNumberOfPoints() == 0:
            return []
        values = self.array(image)
        matrix = self.vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        offset = image.GetExtent()[::2]
        indices = np.argwhere(values > 0)[:, ::-1] + offset
        ras = [matrix.MultiplyPoint((*map(float, index), 1.0))[:3] for index in indices]
        return sorted(tuple(round(float(number), 3) + 0.0 for number in point) for point in ras)

    def array(self, image) -> np.ndarray:
        from vtk.util.numpy_support import vtk_to_numpy

        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


@pytest.fixture
def mrml() -> Slicer:
    return Slicer()


def label_points(labels: sitk.Image, label: Label) -> list[tuple[float, ...]]:
    """RAS mm of the voxels of a label, sorted."""
    indices = np.argwhere(sitk.GetArrayFromImage(labels) == label)[:, ::-1].tolist()
    lps = [labels.TransformIndexToPhysicalPoint(index) for index in indices]
    return sorted(tuple(round(number, 3) + 0.0 for number in (-x, -y, z)) for x, y, z in lps)


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_slicer_reads_names_colours_codes_values_and_places(
    tmp_path: Path, mrml: Slicer, direction: tuple[float, ...]
) -> None:
    labels = label_image(direction)
    write_segmentation(labels, tmp_path / "case.seg.nrrd")
    node = mrml.load(tmp_path / "case.seg.nrrd")
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4
    assert segmentation.GetNumberOfLayers() == 1
    for index, (label, style) in enumerate(segment_styles().items()):
        found = segmentation.GetNthSegment(index)
        assert segmentation.GetNthSegmentID(index) == style.identifier
        assert found.GetName() == style.name
        assert not found.GetNameAutoGenerated()
        assert found.GetLabelValue() == label
        assert found.GetColor() == pytest.approx([channel / 255 for channel in style.colour], abs=1e-5)
        assert found.GetTerminology() == style.slicer_entry
        np.testing.assert_allclose(mrml.points(node, style.identifier), label_points(labels, label), atol=2e-3)


def test_slicer_knows_the_reference_geometry(tmp_path: Path, mrml: Slicer) -> None:
    labels = label_image(OBLIQUE)
    write_segmentation(labels, tmp_path / "case.seg.nrrd")
    node = mrml.load(tmp_path / "case.seg.nrrd")
    geometry = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    image = mrml.slicer.vtkOrientedImageData()
    assert mrml.slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, image, False)
    assert image.GetExtent() == (0, 9, 0, 11, 0, 7)
    assert image.GetSpacing() == pytest.approx(labels.GetSpacing())
    x, y, z = labels.GetOrigin()
    assert image.GetOrigin() == pytest.approx((-x, -y, z))


def test_slicer_reads_an_empty_segmentation(tmp_path: Path, mrml: Slicer) -> None:
    write_segmentation(label_image() * 0, tmp_path / "empty.seg.nrrd")
    node = mrml.load(tmp_path / "empty.seg.nrrd")
    assert node.GetSegmentation().GetNumberOfSegments() == 4
    assert all(mrml.points(node, style.identifier) == [] for style in segment_styles().values())


def test_what_slicer_saves_unedited_comes_back_identical(tmp_path: Path, mrml: Slicer) -> None:
    labels = label_image(OBLIQUE)
    write_segmentation(labels, tmp_path / "case.seg.nrrd")
    mrml.save(mrml.load(tmp_path / "case.seg.nrrd"), tmp_path / "saved.seg.nrrd")
    assert_same(read_segmentation(tmp_path / "saved.seg.nrrd", labels), labels)


def test_what_slicer_saves_after_an_edit_comes_back(tmp_path: Path, mrml: Slicer) -> None:
    """The enhancing part is drawn anew over the edema: it gets a layer and the value 1; the cavity is deleted."""
    labels = label_image(DIRECTIONS["mirrored"])
    write_segmentation(labels, tmp_path / "case.seg.nrrd")
    node = mrml.load(tmp_path / "case.seg.nrrd")
    drawn = mrml.slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation("SNFH", drawn)
    mrml.array(drawn)[...] = 0
    mrml.array(drawn)[0, 0, :3] = 1
    first = drawn.GetExtent()[::2]
    node.GetSegmentation().RemoveSegment("ET")
    node.GetSegmentation().RemoveSegment("RC")
    node.AddSegmentFromBinaryLabelmapRepresentation(drawn, "Enhancing tumour", [1.0, 0.0, 0.0])
    mrml.save(node, tmp_path / "edited.seg.nrrd")
    assert sitk.ReadImage(str(tmp_path / "edited.seg.nrrd")).GetNumberOfComponentsPerPixel() == 2

    expected = sitk.GetArrayFromImage(labels)
    expected[np.isin(expected, (Label.ET, Label.RC))] = 0
    x, y, z = first
    expected[z, y, x : x + 3] = Label.ET
    found = read_segmentation(tmp_path / "edited.seg.nrrd", labels)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), expected)


@pytest.mark.parametrize("label", [Label.NETC, Label.ET, Label.RC])
def test_a_label_without_a_segment_is_refused_and_not_lost(tmp_path: Path, label: Label) -> None:
    labels = sitk.GetImageFromArray(np.full((4, 5, 6), label, np.uint8))
    with pytest.raises(ValueError, match=f"{int(label)}.* no segment"):
        write_segmentation(labels, tmp_path / "wt.seg.nrrd", regions=(Region.WT,))
    assert not (tmp_path / "wt.seg.nrrd").exists()


@pytest.mark.parametrize(("region", "label"), [(Region.ET, Label.ET), (Region.TC, Label.NETC), (Region.RC, Label.RC)])
def test_a_model_of_one_part_keeps_what_it_marks(tmp_path: Path, region: Region, label: Label) -> None:
    labels = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.uint8))
    labels[2, 2, 2] = int(label)
    write_segmentation(labels, tmp_path / "part.seg.nrrd", regions=(region,))
    again = read_segmentation(tmp_path / "part.seg.nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(labels))


def test_undivided_tumour_has_one_segment_of_its_own_name(tmp_path: Path) -> None:
    labels = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.uint8))
    labels[2, 2, 2] = int(Label.SNFH)
    write_segmentation(labels, tmp_path / "wt.seg.nrrd", regions=(Region.WT,))
    image = sitk.ReadImage(str(tmp_path / "wt.seg.nrrd"))
    names = [image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.endswith("_Name")]
    assert names == ["Whole tumour, not divided"]
    again = read_segmentation(tmp_path / "wt.seg.nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(labels))


def cropped_as_slicer_does(path: Path, low: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    """Leave a part of the voxels; the geometry of the whole image stays in the file's fields."""
    image = sitk.ReadImage(str(path))
    part = sitk.RegionOfInterest(image, size, low)
    for key in image.GetMetaDataKeys():
        part.SetMetaData(key, image.GetMetaData(key))
    sitk.WriteImage(part, str(path))


def test_a_cropped_file_is_read_onto_the_image_that_it_was_drawn_on(tmp_path: Path, random_image: sitk.Image) -> None:
    array = np.zeros(sitk.GetArrayViewFromImage(random_image).shape, np.uint8)
    array[2:4, 3:6, 4:6], array[3, 4, 5] = Label.SNFH, Label.ET
    path = tmp_path / "reader.seg.nrrd"
    write_segmentation(array_on(array, random_image), path)
    cropped_as_slicer_does(path, (4, 3, 2), (2, 3, 2))
    assert sitk.ReadImage(str(path)).GetSize() == (2, 3, 2)
    read = read_segmentation(path)
    assert same_grid(read, random_image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), array)


@pytest.mark.parametrize("text", ["", "nonsense", "1;2;3;", "1e;" * 22, "9" * 40 + ";" + "1;" * 21])
def test_a_file_that_does_not_say_what_it_was_drawn_on_keeps_its_own_grid(
    tmp_path: Path, random_image: sitk.Image, text: str
) -> None:
    array = np.zeros(sitk.GetArrayViewFromImage(random_image).shape, np.uint8)
    array[2:4, 3:6, 4:6] = Label.SNFH
    path = tmp_path / "reader.seg.nrrd"
    write_segmentation(array_on(array, random_image), path)
    image = sitk.ReadImage(str(path))
    image.SetMetaData("Segmentation_ConversionParameters", f"Reference image geometry|{text}|&")
    sitk.WriteImage(image, str(path))
    assert same_grid(read_segmentation(path), random_image)
