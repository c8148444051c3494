"""DICOM objects read back: the same voxels, the same side, the same numbers, in every orientation."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation

from GliomaSegLib.case import TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom_out.contours import polygons, without_straight_corners
from GliomaSegLib.io.dicom_out.provenance import Provenance
from GliomaSegLib.io.dicom_out.rtstruct import make_rtstruct
from GliomaSegLib.io.dicom_out.source import SourceSeries, read_source_series
from GliomaSegLib.io.dicom_out.structure import By, Structure, structures_of
from GliomaSegLib.job import ReviewState
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.volumes import Side, measure
from Testing.conftest import DicomWriter

# Row and column directions of the slices, and the third axis: six orthogonal scans and an oblique one.
ORIENTATIONS = {
    "axial": np.eye(3),
    "axial from above": np.diag([1.0, 1.0, -1.0]) @ np.diag([1.0, -1.0, 1.0]),
    "feet first": np.diag([-1.0, 1.0, -1.0]),
    "coronal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float),
    "sagittal": np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float),
    "prone": np.diag([-1.0, -1.0, 1.0]),
    "oblique": Rotation.from_euler("xyz", (0.3, -0.2, 0.4)).as_matrix(),
}
ORIGIN, SPACING = (-40.0, -30.0, 10.0), (0.8, 1.2, 5.0)
TYPE_2 = {
    "FrameOfReferenceUID": generate_uid(), "PatientName": "A^B", "PatientBirthDate": "", "PatientSex": "",
    "StudyTime": "", "StudyID": "1", "AccessionNumber": "", "ReferringPhysicianName": "", "SeriesNumber": 3,
    "PositionReferenceIndicator": "", "Manufacturer": "none",
}  # fmt: skip


def drawn() -> np.ndarray:
    """A ring of ET around a necrotic core with edema, a second focus, and pixels that touch by corners."""
    array = np.zeros((8, 24, 30), np.uint8)
    array[2:6, 4:16, 5:18] = Label.SNFH
    array[2:6, 6:14, 7:16] = Label.ET
    array[3:5, 8:12, 9:14] = Label.NETC
    array[4, 9, 10] = Label.ET
    array[3, 18, 25] = array[3, 19, 26] = Label.ET
    array[0, 0, 0] = Label.SNFH
    array[6, 20:23, 2:5] = Label.RC
    return array


def image_of(array: np.ndarray, direction: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(direction.ravel().tolist())
    return image


@pytest.fixture
def series(write_series: DicomWriter) -> Callable[..., SourceSeries]:
    """The drawn labels, with their voxel axes run another way, on a series in the given orientation."""

    def made(orientation: str = "axial", array: np.ndarray | None = None, turned: str = "RSA") -> SourceSeries:
        array = drawn() if array is None else array
        direction = ORIENTATIONS[orientation]
        pixels = np.arange(array.size, dtype=np.int16).reshape(array.shape) % 500
        folder = write_series(pixels, orientation, direction, ORIGIN, SPACING, **TYPE_2)
        return read_source_series(folder, sitk.DICOMOrient(image_of(array, direction), turned))

    return made


def about(**changes: object) -> Provenance:
    given = {
        "algorithm": "a-model", "version": "1", "software": "0.1", "edited": False, "state": ReviewState.DRAFT,
        "reviewer": "", "reviewed": None, "time_point": TimePoint(TimePointKind.POSTOPERATIVE, 2),
    }  # fmt: skip
    return Provenance(**(given | changes))


def structures(source: SourceSeries, by: By = By.REGIONS) -> list[Structure]:
    measures = measure(source.labels)
    return structures_of(source.labels, measures, tuple(Region), by, source.first.SeriesInstanceUID)


# --- contours ------------------------------------------------------------------------------------------------------


def filled(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Which pixel centres lie in a polygon, by the even-odd rule."""
    rows, columns = np.indices(shape)
    inside = np.zeros(shape, bool)
    for (y1, x1), (y2, x2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 > y2:  # one direction for all edges, so that an edge and its way back cancel exactly
            y1, x1, y2, x2 = y2, x2, y1, x1
        crosses = (y1 > rows) != (y2 > rows)
        if crosses.any():
            inside ^= crosses & (columns < (x2 - x1) * (rows - y1) / (y2 - y1) + x1)
    return inside


@settings(max_examples=150, deadline=None)
@given(arrays(bool, (9, 11)))
def test_contours_of_any_mask_hold_exactly_its_pixels(mask: np.ndarray) -> None:
    together = np.zeros(mask.shape, int)
    for polygon in polygons(mask):
        together += filled(polygon, mask.shape)
        np.testing.assert_array_equal(
            filled(without_straight_corners(polygon), mask.shape), filled(polygon, mask.shape)
        )
    np.testing.assert_array_equal(together, mask)


def test_holes_and_islands_in_them() -> None:
    mask = np.zeros((30, 30), bool)
    mask[2:28, 2:28] = True
    mask[5:25, 5:12] = mask[5:25, 14:25] = False  # two holes
    mask[10:20, 17:22] = True  # an island in one of them, with a hole of its own
    mask[13:15, 19] = False
    found = list(polygons(mask))
    assert len(found) == 2
    np.testing.assert_array_equal(sum(filled(one, mask.shape) for one in found), mask)
    for one in found:
        y, x = one.T
        area = abs(np.sum(y * np.roll(x, -1) - x * np.roll(y, -1))) / 2
        assert area == pytest.approx(filled(one, mask.shape).sum(), rel=0.03)  # holes are taken away, corners cut


def test_straight_lines_have_two_corners() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    (polygon,) = polygons(mask)
    assert len(without_straight_corners(polygon)) == 8  # four sides, four cut corners


# --- the source series ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_labels_take_the_axes_of_the_series(series: Callable[..., SourceSeries], orientation: str) -> None:
    source = series(orientation)
    assert source.labels.GetSize() == (30, 24, 8)
    for index, header in enumerate(source.headers):
        there = source.labels.TransformIndexToPhysicalPoint((0, 0, index))
        assert there == pytest.approx(tuple(map(float, header.ImagePositionPatient)), abs=1e-4)
    # Every labelled point of the patient has the label that was drawn there.
    original = image_of(drawn(), ORIENTATIONS[orientation])
    for z, y, x in np.argwhere(drawn()):
        point = original.TransformIndexToPhysicalPoint((int(x), int(y), int(z)))
        assert source.labels[source.labels.TransformPhysicalPointToIndex(point)] == drawn()[z, y, x]


def test_another_grid_a_missing_slice_and_an_unknown_series_are_refused(write_series: DicomWriter) -> None:
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    folder = write_series(pixels, "whole", None, ORIGIN, SPACING, **TYPE_2)
    labels = image_of(drawn(), np.eye(3))
    shifted = sitk.Image(labels)
    shifted.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="another grid"):
        read_source_series(folder, shifted)
    with pytest.raises(InputError, match="no MR series"):
        read_source_series(folder, labels[:, :, :5])
    with pytest.raises(InputError, match="no MR series"):
        read_source_series(folder, labels, "1.2.3.4")
    nine = np.concatenate([pixels, pixels[:1]])
    gap = write_series(nine, "gap", None, ORIGIN, SPACING, (3,), **TYPE_2)
    with pytest.raises(InputError, match="lacks 1 slice"):
        read_source_series(gap, labels)


# --- RT Structure Set ----------------------------------------------------------------------------------------------


def voxels_of(roi: pydicom.Dataset, source: SourceSeries) -> np.ndarray:
    """A region of interest as a mask, from nothing but its contours and the source images' headers."""
    mask = np.zeros(source.labels.GetSize()[::-1], bool)
    headers = {header.SOPInstanceUID: number for number, header in enumerate(source.headers)}
    for contour in roi.get("ContourSequence", []):
        number = headers[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        header = source.headers[number]
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3)) - np.array(
            header.ImagePositionPatient, float
        )
        across, down = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
        assert np.abs(points @ np.cross(across, down)).max() < 0.01  # in the plane of its slice
        rows_mm, columns_mm = map(float, header.PixelSpacing)
        mask[number] ^= filled(np.column_stack([points @ down / rows_mm, points @ across / columns_mm]), mask.shape[1:])
    return mask


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_structure_set_holds_the_same_voxels(
    series: Callable[..., SourceSeries], orientation: str, tmp_path: Path
) -> None:
    source = series(orientation)
    make_rtstruct(source, structures(source), about()).save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    read = pydicom.dcmread(tmp_path / "rt.dcm")
    names = [roi.ROIName for roi in read.StructureSetROISequence]
    assert names == ["Whole tumour", "Tumour core", "Enhancing tumour", "Resection cavity"]
    for roi, one in zip(read.ROIContourSequence, structures(source), strict=True):
        np.testing.assert_array_equal(voxels_of(roi, source), one.mask)
    assert read.FrameOfReferenceUID == source.first.FrameOfReferenceUID
    assert read.StudyInstanceUID == source.first.StudyInstanceUID


def test_left_is_left_in_the_structure_set(series: Callable[..., SourceSeries]) -> None:
    array = np.zeros_like(drawn())
    array[3:5, 8:12, 22:27] = Label.ET  # high x: the patient's left, LPS x greater than the image's centre
    for orientation in ("axial", "prone", "feet first"):
        source = series(orientation, array)
        rt = make_rtstruct(source, structures(source), about())
        points = np.reshape(np.array(rt.ROIContourSequence[0].ContourSequence[0].ContourData, float), (-1, 3))
        expected = 1 if orientation == "axial" else -1
        middle = image_of(array, ORIENTATIONS[orientation]).TransformContinuousIndexToPhysicalPoint((14.5, 11.5, 3.5))
        assert np.sign(points[:, 0].mean() - middle[0]) == expected


def test_the_review_is_told(series: Callable[..., SourceSeries]) -> None:
    source = series()
    draft = make_rtstruct(source, structures(source), about())
    assert (draft.ApprovalStatus, draft.StructureSetROISequence[0].ROIGenerationAlgorithm) == (
        "UNAPPROVED",
        "AUTOMATIC",
    )
    edited = make_rtstruct(source, structures(source), about(edited=True, state=ReviewState.EDITED))
    assert edited.StructureSetROISequence[0].ROIGenerationAlgorithm == "SEMIAUTOMATIC"
    assert "not approved" in edited.SeriesDescription
    assert "Not a medical device" in draft.StructureSetDescription


def test_nothing_found_is_a_structure_without_contours(series: Callable[..., SourceSeries]) -> None:
    source = series(array=np.zeros_like(drawn()))
    rt = make_rtstruct(source, structures(source), about())
    assert [roi.ROIName for roi in rt.StructureSetROISequence] == ["Whole tumour"]
    assert "ContourSequence" not in rt.ROIContourSequence[0]


def test_two_exports_differ_but_their_structures_are_the_same(series: Callable[..., SourceSeries]) -> None:
    source = series()
    first, second = (make_rtstruct(source, structures(source), about()) for _ in range(2))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert [one.tracking_uid for one in structures(source)] == [one.tracking_uid for one in structures(source)]
    assert len({one.tracking_uid for one in structures(source, By.LESIONS)}) == len(structures(source, By.LESIONS))


# --- Segmentation and Structured Report ----------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("by", [By.REGIONS, By.LESIONS])
def test_the_segmentation_holds_the_same_voxels(
    series: Callable[..., SourceSeries], orientation: str, by: By, tmp_path: Path
) -> None:
    hd = pytest.importorskip("highdicom")
    from GliomaSegLib.io.dicom_out.seg import make_seg

    source = series(orientation)
    exported = structures(source, by)
    make_seg(source, exported, about()).save_as(tmp_path / "seg.dcm")
    read = hd.seg.segread(tmp_path / "seg.dcm")
    assert read.number_of_segments == len(exported)
    for number, one in enumerate(exported, start=1):
        said = read.get_segment_description(number)
        assert (said.segment_label, said.tracking_uid) == (one.name, one.tracking_uid)
        assert said.segmented_property_type.value == one.type.code
        assert said.algorithm_type.value == "AUTOMATIC"
        volume = read.get_volume(segment_numbers=[number], combine_segments=False)
        for (slice_, row, column), *_ in np.argwhere(one.mask)[:, None]:
            point = source.labels.TransformIndexToPhysicalPoint((int(column), int(row), int(slice_)))
            index = np.rint(volume.map_reference_to_indices(np.array([point])))[0].astype(int)
            assert volume.array[tuple(index)][0] == 1
        assert int(volume.array.sum()) == int(one.mask.sum())


def test_edits_approval_and_an_empty_result_in_the_segmentation(series: Callable[..., SourceSeries]) -> None:
    pytest.importorskip("highdicom")
    from GliomaSegLib.io.dicom_out.seg import make_seg

    source = series()
    edited = make_seg(source, structures(source), about(edited=True, state=ReviewState.APPROVED, reviewer="A^B"))
    assert edited.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert edited.ContentCreatorName == "A^B"
    empty = series("coronal", np.zeros_like(drawn()))
    nothing = make_seg(empty, structures(empty), about())
    assert nothing.NumberOfFrames == 8
    assert not nothing.pixel_array.any()


def test_the_report_has_every_measure(series: Callable[..., SourceSeries], tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom")
    from GliomaSegLib.io.dicom_out.report import make_report
    from GliomaSegLib.io.dicom_out.seg import make_seg

    source = series()
    lesions = structures(source, By.LESIONS)
    seg = make_seg(source, lesions, about())
    make_report(source, seg, lesions, about()).save_as(tmp_path / "sr.dcm")
    report = hd.sr.srread(tmp_path / "sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [one.name for one in lesions]
    assert [group.tracking_uid for group in groups] == [one.tracking_uid for one in lesions]
    for number, (group, one) in enumerate(zip(groups, lesions, strict=True), start=1):
        values = {m.name.value: (m.value, m.unit.value) for m in group.get_measurements()}
        assert values == {
            "118565006": (pytest.approx(one.volume_ml), "mL"),
            "103339001": (pytest.approx(one.lesion.long_mm), "mm"),
            "103340004": (pytest.approx(one.lesion.perpendicular_mm), "mm"),
        }
        assert group.referenced_segment[0].referenced_segment_numbers == [number]
        side = {Side.LEFT: "7771000", Side.RIGHT: "24028007", Side.MIDLINE: None}[one.lesion.side]
        laterality = group.finding_sites[0].laterality
        assert (laterality.value if laterality else None) == side


def test_nothing_found_is_reported(series: Callable[..., SourceSeries]) -> None:
    hd = pytest.importorskip("highdicom")
    from GliomaSegLib.io.dicom_out.report import make_report
    from GliomaSegLib.io.dicom_out.seg import make_seg

    source = series(array=np.zeros_like(drawn()))
    nothing = structures(source)
    report = make_report(source, make_seg(source, nothing, about()), nothing, about())
    (group,) = hd.sr.MeasurementReport.from_sequence([report]).get_image_measurement_groups()
    said = {one.name.meaning: one.value.meaning for one in group.get_qualitative_evaluations()}
    assert said["Presence of property"] == "Absent"


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "oblique"])
@pytest.mark.parametrize("empty", [False, True])
def test_all_objects_pass_dciodvfy(
    series: Callable[..., SourceSeries], orientation: str, empty: bool, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    from GliomaSegLib.io.dicom_out.report import make_report
    from GliomaSegLib.io.dicom_out.seg import make_seg

    source = series(orientation, np.zeros_like(drawn()) if empty else drawn())
    for by in (By.REGIONS, By.LESIONS):
        exported = structures(source, by)
        seg = make_seg(source, exported, about())
        objects = {"seg": seg, "sr": make_report(source, seg, exported, about())}
        objects["rtstruct"] = make_rtstruct(source, exported, about())
        for name, dataset in objects.items():
            dataset.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
            run = subprocess.run(["dciodvfy", tmp_path / f"{name}.dcm"], capture_output=True, text=True, check=False)
            errors = [line for line in run.stderr.splitlines() if line.startswith("Error")]
            assert not errors, f"{name}: {errors}"


@pytest.mark.parametrize("orientation", ["coronal", "oblique"])
def test_dcmqi_reads_the_same_voxels(series: Callable[..., SourceSeries], orientation: str, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    reader = shutil.which("segimage2itkimage")
    if reader is None:
        pytest.skip("dcmqi is not installed (PyPI: dcmqi)")
    from GliomaSegLib.io.dicom_out.seg import make_seg

    source = series(orientation)
    exported = structures(source)
    make_seg(source, exported, about()).save_as(tmp_path / "seg.dcm")
    options = ("--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path, "--outputType", "nrrd")
    subprocess.run([reader, *options], check=True, capture_output=True)
    for number, one in enumerate(exported, start=1):
        read = sitk.ReadImage(tmp_path / f"{number}.nrrd")
        there = sitk.Resample(read, source.labels, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(there) > 0, one.mask)
