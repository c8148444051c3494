"""DICOM objects read back: the same voxels, the same side, the same numbers, in every orientation."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.dicom_export.contours import polygons, without_straight_corners
from GliomaSegLib.dicom_export.headers import usable
from GliomaSegLib.dicom_export.numbering import by_size
from GliomaSegLib.dicom_export.overlay import make_overlay
from GliomaSegLib.dicom_export.provenance import Provenance
from GliomaSegLib.dicom_export.rtstruct import make_rtstruct
from GliomaSegLib.dicom_export.source import SourceSeries, read_source_series
from GliomaSegLib.dicom_export.structure import Structure, structures_of
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import find_series
from GliomaSegLib.io.dicom_volume import read_series
from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.labels import REGION_LABELS, Label, Region
from GliomaSegLib.measures.midline import Side
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.options import ExportBy, ReviewState
from GliomaSegLib.phantom.dicom import write_series as write_phantom_series
from GliomaSegLib.results.identity import keep_identities, read_identities
from Testing.conftest import DicomWriter
from Testing.support.enhanced_mr import as_legacy_converted, write_enhanced

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
        folder = write_series(pixels, f"{orientation} {next(numbers)}", direction, ORIGIN, SPACING, **TYPE_2)
        return read_source_series(folder, sitk.DICOMOrient(image_of(array, direction), turned))

    numbers = itertools.count()

    return made


def about(**changes: object) -> Provenance:
    given = {
        "algorithm": "a-model", "version": "1", "software": "0.1", "edited": False, "state": ReviewState.DRAFT,
        "reviewer": "", "reviewed": None, "time_point": TimePoint(TimePointKind.POSTOPERATIVE, 2),
    }  # fmt: skip
    return Provenance(**(given | changes))


def structures(
    source: SourceSeries, by: ExportBy = ExportBy.REGIONS, regions: tuple[Region, ...] = tuple(Region)
) -> list[Structure]:
    measures = measure(source.labels, regions=regions)
    return structures_of(source.labels, measures, regions, by, source.first.SeriesInstanceUID)


def test_hundreds_of_lesions_take_the_memory_of_their_voxels() -> None:
    """Of 300 lesions on a grid of 512 x 512 x 320 voxels full masks were 25 GB, and a segment for each 25 GB more."""
    pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.seg import _masks

    array = np.zeros((30, 40, 50), np.uint8)
    for z, y, x in np.ndindex(5, 6, 10):
        array[6 * z : 6 * z + 2, 6 * y : 6 * y + 2, 5 * x : 5 * x + 2] = Label.ET
    labels = sitk.GetImageFromArray(array)
    lesions = structures_of(labels, measure(labels, None, (Region.ET,)), (Region.ET,), ExportBy.LESIONS, "1.2.3")
    assert sum(one.inside.size for one in lesions) == 300 * 8
    numbers = _masks(lesions)
    assert (numbers.shape, numbers.dtype) == (array.shape, np.uint16)
    for number, one in list(enumerate(lesions, start=1))[::50]:
        np.testing.assert_array_equal(numbers == number, one.mask)


def test_hundreds_of_lesions_keep_their_identities(tmp_path: Path) -> None:
    """From the 256th on, the next export refused the file of numbers as 'not a label map'."""
    array = np.zeros((8, 30, 30), np.uint8)
    array[::3, ::3, ::3] = Label.ET
    labels = sitk.GetImageFromArray(array)
    lesions = by_size(measure(labels, None, (Region.ET,)), Region.ET, "1.2.3").identities
    assert len(lesions) == 300
    keep_identities(tmp_path, labels, Region.ET, lesions)
    assert read_identities(tmp_path, labels, Region.ET) == lesions


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


def test_of_two_series_on_one_grid_none_is_guessed(write_series: DicomWriter, tmp_path: Path) -> None:
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    labels = image_of(drawn(), np.eye(3))
    for name in ("T1c", "FLAIR"):
        write_series(pixels, f"both/{name}", None, ORIGIN, SPACING, SeriesDescription=name, **TYPE_2)
    with pytest.raises(InputError, match="several series"):
        read_source_series(tmp_path / "both", labels)
    flair = read_source_series(tmp_path / "both" / "FLAIR", labels)
    assert flair.first.SeriesDescription == "FLAIR"
    again = read_source_series(tmp_path / "both", labels, flair.first.SeriesInstanceUID)
    assert again.first.SeriesDescription == "FLAIR"


def test_of_two_echoes_of_one_series_the_segmented_one_is_referred_to(write_series: DicomWriter) -> None:
    pixels, uid = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30), generate_uid()
    for echo in ("20", "90"):
        folder = write_series(pixels + int(echo), "dual", None, ORIGIN, SPACING, uid=uid, EchoTime=echo, **TYPE_2)
    part = next(one.part for one in find_series(folder) if "TE 90" in one.part)
    source = read_source_series(folder, image_of(drawn(), np.eye(3)), uid, part)
    assert {int(header.EchoTime) for header in source.headers} == {90}


@pytest.mark.parametrize("converted", [False, True])
def test_objects_refer_to_the_frames_of_an_enhanced_image(tmp_path: Path, converted: bool) -> None:
    hd = pytest.importorskip("highdicom")
    image = sitk.Cast(image_of(drawn(), np.eye(3)), sitk.sitkUInt16) + 5
    write_phantom_series(image, Modality.T1C, tmp_path / "classic", "enhanced")
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm")
    if converted:
        as_legacy_converted(path)
    source = read_source_series(path.parent, image_of(drawn(), np.eye(3)))
    headers = pydicom.dcmread(path)
    places = [
        float(one.PlanePositionSequence[0].ImagePositionPatient[2]) for one in headers.PerFrameFunctionalGroupsSequence
    ]
    expected = [round((z - ORIGIN[2]) / SPACING[2]) for z in places]
    assert [source.frames.index(frame + 1) for frame in range(len(places))] == expected
    exported = structures(source)
    for kind, made in objects_of(source, ExportBy.REGIONS).items():
        made.save_as(tmp_path / f"{kind}.dcm", enforce_file_format=True)
    read = hd.seg.segread(tmp_path / "seg.dcm")
    for number, one in enumerate(exported, start=1):
        frames = read.get_pixels_by_source_frame(
            source_sop_instance_uid=headers.SOPInstanceUID,
            source_frame_numbers=list(source.frames),
            segment_numbers=[number],
            assert_missing_frames_are_empty=True,
        )
        np.testing.assert_array_equal(frames[..., 0], one.mask)
    for contour in pydicom.dcmread(tmp_path / "rtstruct.dcm").ROIContourSequence[0].ContourSequence:
        frame = contour.ContourImageSequence[0].ReferencedFrameNumber
        assert float(contour.ContourData[2]) == pytest.approx(places[frame - 1], abs=0.01)
    for place, capture in enumerate(make_overlay(source, "T1c", tuple(Region), about())):
        assert capture.SourceImageSequence[0].ReferencedFrameNumber == source.frames[place]
    segment = hd.sr.srread(tmp_path / "sr.dcm").content.get_volumetric_roi_measurement_groups()[0].referenced_segment
    (there,) = segment[1:]
    slices = np.flatnonzero(exported[0].mask.any(axis=(1, 2)))
    assert list(there.referenced_frame_numbers) == sorted(source.frames[place] for place in slices)


def test_a_part_of_an_enhanced_image_is_refused_with_a_way_out(tmp_path: Path) -> None:
    image = sitk.Cast(image_of(drawn(), np.eye(3)), sitk.sitkUInt16) + 5
    other = image + 3
    other.SetOrigin((-36.0, -30.0, 10.0))
    for name, one, modality in (("a", image, Modality.T1C), ("b", other, Modality.T2F)):
        write_phantom_series(one, modality, tmp_path / name, "enhanced")
    path = write_enhanced([tmp_path / "a", tmp_path / "b"], tmp_path / "enhanced" / "one.dcm")
    with pytest.raises(InputError, match=r"a part of an enhanced multi-frame image.*--series"):
        read_source_series(path.parent, image_of(drawn(), np.eye(3)))


def test_a_series_without_patient_or_study_is_no_obstacle(write_series: DicomWriter, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    folder = write_series(
        pixels, "anonymous", None, ORIGIN, SPACING, FrameOfReferenceUID=generate_uid(), SeriesNumber=1
    )
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.PatientID, dataset.StudyDate
        dataset.save_as(path)
    source = read_source_series(folder, image_of(drawn(), np.eye(3)))
    for name, dataset in objects_of(source, ExportBy.LESIONS).items():
        assert dataset.PatientName == "", name
        dataset.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)


# --- RT Structure Set ----------------------------------------------------------------------------------------------


def voxels_of(roi: pydicom.Dataset, source: SourceSeries) -> np.ndarray:
    """A region of interest as a mask, from its contours; those on images must lie in the planes of these."""
    mask = np.zeros(source.labels.GetSize()[::-1], bool)
    headers = {header.SOPInstanceUID: header for header in source.headers}
    to_mm = np.reshape(source.labels.GetDirection(), (3, 3)) * source.labels.GetSpacing()
    superior = 2 - int(np.argmax(np.abs(to_mm[2] / source.labels.GetSpacing())))
    for contour in roi.get("ContourSequence", []):
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
        index = ((points - source.labels.GetOrigin()) @ np.linalg.inv(to_mm).T)[:, ::-1]
        place = round(index[0, superior])
        assert np.abs(index[:, superior] - place).max() < 0.01  # in one plane
        if "ContourImageSequence" in contour:
            header = headers[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            across, down = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
            assert np.abs((points - header.ImagePositionPatient) @ np.cross(across, down)).max() < 0.01
        np.moveaxis(mask, superior, 0)[place] ^= filled(
            np.delete(index, superior, axis=1), np.moveaxis(mask, superior, 0).shape[1:]
        )
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
    assert read.SeriesDescription == "GliomaSeg RTSTRUCT of regions; not reviewed; research only"
    types = [one.RTROIInterpretedType for one in read.RTROIObservationsSequence]
    assert types == ["GTV", "GTV", "GTV", "CAVITY"]


@pytest.mark.parametrize("orientation", ["sagittal", "coronal"])
def test_contours_of_a_sagittal_or_coronal_series_are_axial(
    series: Callable[..., SourceSeries], orientation: str
) -> None:
    source = series(orientation)
    rt = make_rtstruct(source, structures(source), about())
    contours = [one for roi in rt.ROIContourSequence for one in roi.get("ContourSequence", [])]
    assert contours
    for contour in contours:
        assert np.ptp(np.reshape(np.array(contour.ContourData, float), (-1, 3))[:, 2]) < 0.001
        assert "ContourImageSequence" not in contour


@pytest.mark.parametrize("by", ExportBy)
def test_names_of_structures_are_short_and_differ(series: Callable[..., SourceSeries], by: ExportBy) -> None:
    source = series()
    rt = make_rtstruct(source, structures(source, by), about(content=by))
    names = [roi.ROIName for roi in rt.StructureSetROISequence]
    assert max(map(len, names)) <= 16
    assert len(set(names)) == len(names)
    assert [roi.ROIDescription for roi in rt.StructureSetROISequence] == [one.name for one in structures(source, by)]
    if by is ExportBy.PARTS:
        edema = names.index("SNFH")
        assert rt.RTROIObservationsSequence[edema].RTROIInterpretedType == ""


def test_a_contour_of_more_than_64_kb_is_still_a_decimal_string(
    series: Callable[..., SourceSeries], write_series: DicomWriter, tmp_path: Path
) -> None:
    comb = np.zeros((3, 150, 150), np.uint8)
    comb[1, ::2, :] = comb[1, :, 0] = Label.ET
    comb[1, ::2, 1::6] = comb[1, 1::4, 3::6] = Label.ET
    folder = write_series(comb.astype(np.int16) + 1, "comb", None, ORIGIN, SPACING, **TYPE_2)
    source = read_source_series(folder, image_of(comb, np.eye(3)))
    make_rtstruct(source, structures(source, regions=(Region.ET,)), about()).save_as(
        tmp_path / "rt.dcm", enforce_file_format=True
    )
    assert len((tmp_path / "rt.dcm").read_bytes()) > 1 << 16
    read = pydicom.dcmread(tmp_path / "rt.dcm")
    contour = read.ROIContourSequence[0].ContourSequence[0]
    assert sum(len(str(one)) + 1 for one in contour.ContourData) > 1 << 16
    assert contour["ContourData"].VR == "DS"
    np.testing.assert_array_equal(voxels_of(read.ROIContourSequence[0], source), comb == Label.ET)


# --- what real headers hold -------------------------------------------------------------------------------------------


FORBIDDEN = {
    "PatientSex": "W", "PatientBirthDate": "19600000", "StudyDate": "00000000", "StudyTime": "12:00:00",
    "PatientAge": "45", "AccessionNumber": "A" * 17, "ReferringPhysicianName": "N" * 70, "AcquisitionDate": "20240231",
}  # fmt: skip


@pytest.mark.parametrize("keyword", [*FORBIDDEN, None])
def test_values_that_dicom_forbids_are_empty_in_the_objects(
    write_series: DicomWriter, keyword: str | None, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    wrong = FORBIDDEN if keyword is None else {keyword: FORBIDDEN[keyword]}
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    with pydicom.config.disable_value_validation():
        folder = write_series(pixels, "odd", None, ORIGIN, SPACING, **(TYPE_2 | wrong))
    source = read_source_series(folder, image_of(drawn(), np.eye(3)))
    assert source.emptied == tuple(sorted(wrong))
    for kind, made in objects_of(source, ExportBy.LESIONS).items():
        made.save_as(tmp_path / f"{kind}.dcm", enforce_file_format=True)
        read = pydicom.dcmread(tmp_path / f"{kind}.dcm")
        assert not any(read.get(one) for one in wrong), kind


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set on Windows")
@pytest.mark.parametrize(("day", "zone"), [("20240115", "+0100"), ("20240715", "+0200")])
def test_a_zone_that_is_not_stated_is_that_of_the_day_of_the_study(
    write_series: DicomWriter, monkeypatch: pytest.MonkeyPatch, day: str, zone: str
) -> None:
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    folder = write_series(pixels, "zone", None, ORIGIN, SPACING, **(TYPE_2 | {"StudyDate": day}))
    source = read_source_series(folder, image_of(drawn(), np.eye(3)))
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        made = source.stamp(make_rtstruct(source, structures(source), about()))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert made.TimezoneOffsetFromUTC == zone


@pytest.mark.parametrize("zone", ["0100", "+1", "GMT", "+01:00", "+9999"])
def test_a_time_zone_that_is_none_is_no_obstacle(write_series: DicomWriter, zone: str) -> None:
    pytest.importorskip("highdicom")
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    folder = write_series(pixels, "zone", None, ORIGIN, SPACING, TimezoneOffsetFromUTC=zone, **TYPE_2)
    source = read_source_series(folder, image_of(drawn(), np.eye(3)))
    assert source.emptied == ("TimezoneOffsetFromUTC",)
    for kind, made in objects_of(source, ExportBy.REGIONS).items():
        assert source.stamp(made).get("TimezoneOffsetFromUTC") != zone, kind


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_malformed_uids_of_the_source_are_referred_to_as_they_are(write_series: DicomWriter, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    with pydicom.config.disable_value_validation():
        folder = write_series(pixels, "old", None, ORIGIN, SPACING, StudyInstanceUID="1.2.06", uid="1.2.05", **TYPE_2)
        for number, path in enumerate(folder.iterdir()):
            dataset = pydicom.dcmread(path)
            dataset.SOPInstanceUID = f"1.2.08.{number}"
            dataset.save_as(path)
    source = read_source_series(folder, image_of(drawn(), np.eye(3)))
    assert source.emptied == ()
    for kind, made in objects_of(source, ExportBy.REGIONS).items():
        made.save_as(tmp_path / f"{kind}.dcm", enforce_file_format=True)
        assert pydicom.dcmread(tmp_path / f"{kind}.dcm").StudyInstanceUID == "1.2.06"
    rt = pydicom.dcmread(tmp_path / "rtstruct.dcm")
    referred = rt.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0].ReferencedSOPInstanceUID
    assert referred in {header.SOPInstanceUID for header in source.headers}


def test_texts_are_cut_and_numbers_rounded_and_what_is_no_number_is_empty() -> None:
    with pydicom.config.disable_value_validation():
        header = pydicom.Dataset()
        header.StudyDescription = "glioma " * 20
        header.add_new("SliceThickness", "DS", "0.12345678901234567890")
        header.add_new("PixelSpacing", "DS", ["0.93750000000000000", "0.93750000000000000"])
        pydicom.dcmwrite(buffer := BytesIO(), header, implicit_vr=True, little_endian=True)
        raw = buffer.getvalue()
    read = pydicom.dcmread(BytesIO(raw), force=True)
    assert usable(read) == ()
    assert len(read.StudyDescription) <= 64
    assert float(read.SliceThickness) == pytest.approx(0.123456789, abs=1e-9)
    assert list(read.PixelSpacing) == [0.9375, 0.9375]
    odd = pydicom.dcmread(BytesIO(raw.replace(b"0.12345678901234567890", b"about 1 millimetre    ")), force=True)
    assert usable(odd) == ("SliceThickness",)


@pytest.mark.parametrize("frame", ["", None])
def test_a_series_without_a_frame_of_reference_is_one_sentence(write_series: DicomWriter, frame: str | None) -> None:
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    folder = write_series(pixels, "lost", None, ORIGIN, SPACING, **(TYPE_2 | {"FrameOfReferenceUID": frame}))
    source = read_source_series(folder, image_of(drawn(), np.eye(3)))
    with pytest.raises(InputError, match="has no Frame of Reference UID"):
        make_rtstruct(source, structures(source), about())
    pytest.importorskip("highdicom")
    with pytest.raises(InputError, match="has no Frame of Reference UID"):
        objects_of(source, ExportBy.REGIONS)
    assert next(make_overlay(source, "FLAIR", tuple(Region), about())).Rows  # needs none


def test_dates_and_times_are_in_the_time_zone_of_the_source(write_series: DicomWriter) -> None:
    pytest.importorskip("highdicom")
    pixels = np.arange(8 * 24 * 30, dtype=np.int16).reshape(8, 24, 30)
    folder = write_series(pixels, "zone", None, ORIGIN, SPACING, TimezoneOffsetFromUTC="+0545", **TYPE_2)
    source = read_source_series(folder, image_of(drawn(), np.eye(3)))
    for kind, made in objects_of(source, ExportBy.REGIONS).items():
        stamped = source.stamp(made)
        assert stamped.TimezoneOffsetFromUTC == "+0545", kind
        if "ContentDate" in stamped:
            said = datetime.strptime(f"{stamped.ContentDate}{stamped.ContentTime[:6]}+0545", "%Y%m%d%H%M%S%z")
            assert abs((datetime.now(timezone.utc) - said).total_seconds()) < 600, kind
    approval = about(state=ReviewState.APPROVED, reviewer="A^B", reviewed=datetime(2024, 5, 1, 12, tzinfo=timezone.utc))
    assert make_rtstruct(source, structures(source), approval).ReviewTime == "174500"


def test_no_two_kinds_of_object_are_described_alike(series: Callable[..., SourceSeries]) -> None:
    pytest.importorskip("highdicom")
    for state in ReviewState:
        made = objects_of(series(), ExportBy.LESIONS, state=state, content=ExportBy.LESIONS)
        texts = {one.SeriesDescription for one in made.values()}
        assert len(texts) == 4
        assert all(text.startswith("GliomaSeg ") and text.endswith("; research only") for text in texts)


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


def test_the_structure_set_is_of_the_same_patient_and_as_anonymous_as_the_other_objects(
    write_series: DicomWriter,
) -> None:
    """An archive of several hospitals files by the issuer, and a trial by its subject."""
    pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.seg import make_seg

    said = {
        "IssuerOfPatientID": "CLINIC-B", "PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand",
        "ClinicalTrialSponsorName": "EORTC", "ClinicalTrialProtocolID": "1234", "ClinicalTrialSubjectID": "17",
    }  # fmt: skip
    folder = write_series(np.arange(drawn().size, dtype=np.int16).reshape(drawn().shape) % 500, "s", **TYPE_2, **said)
    labels = sitk.GetImageFromArray(drawn())
    labels.CopyInformation(read_series(find_series(folder)[0]))
    source = read_source_series(folder, labels)
    for made in (make_rtstruct(source, structures(source), about()), make_seg(source, structures(source), about())):
        assert {keyword: str(made.get(keyword)) for keyword in said} == said


def test_the_review_is_reported(series: Callable[..., SourceSeries]) -> None:
    source = series()
    draft = make_rtstruct(source, structures(source), about())
    assert (draft.ApprovalStatus, draft.StructureSetROISequence[0].ROIGenerationAlgorithm) == (
        "UNAPPROVED",
        "AUTOMATIC",
    )
    edited = make_rtstruct(source, structures(source), about(edited=True, state=ReviewState.EDITED))
    assert edited.StructureSetROISequence[0].ROIGenerationAlgorithm == "SEMIAUTOMATIC"
    assert "edited" in edited.SeriesDescription
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
    assert len({one.tracking_uid for one in structures(source, ExportBy.LESIONS)}) == len(
        structures(source, ExportBy.LESIONS)
    )


# --- Segmentation and Structured Report ----------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("by", [ExportBy.REGIONS, ExportBy.LESIONS])
def test_the_segmentation_holds_the_same_voxels(
    series: Callable[..., SourceSeries], orientation: str, by: ExportBy, tmp_path: Path
) -> None:
    hd = pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.seg import make_seg

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
    from GliomaSegLib.dicom_export.seg import make_seg

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
    from GliomaSegLib.dicom_export.report import make_report
    from GliomaSegLib.dicom_export.seg import make_seg

    source = series()
    lesions = structures(source, ExportBy.LESIONS)
    seg = make_seg(source, lesions, about())
    make_report(source, seg, lesions, about()).save_as(tmp_path / "sr.dcm")
    report = hd.sr.srread(tmp_path / "sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [one.name for one in lesions]
    assert [group.tracking_uid for group in groups] == [one.tracking_uid for one in lesions]
    for number, (group, one) in enumerate(zip(groups, lesions, strict=True), start=1):
        values = {m.name.value: (m.value, m.unit.value) for m in group.get_measurements()}
        assert values == {
            "118565006": (round(one.volume_ml, 3), "mL"),
            "103339001": (round(one.lesion.long_mm, 1), "mm"),
            "103340004": (round(one.lesion.perpendicular_mm, 1), "mm"),
        }
        assert group.referenced_segment[0].referenced_segment_numbers == [number]
        side = {Side.LEFT: "7771000", Side.RIGHT: "24028007", Side.MIDLINE: None}[one.lesion.side]
        laterality = group.finding_sites[0].laterality
        assert (laterality.value if laterality else None) == side


def test_nothing_found_is_reported(series: Callable[..., SourceSeries]) -> None:
    hd = pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.report import make_report
    from GliomaSegLib.dicom_export.seg import make_seg

    source = series(array=np.zeros_like(drawn()))
    nothing = structures(source)
    report = make_report(source, make_seg(source, nothing, about()), nothing, about())
    groups = hd.sr.MeasurementReport.from_sequence([report]).get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [one.name for one in nothing]
    for group in groups:
        said = {one.name.meaning: one.value.meaning for one in group.get_qualitative_evaluations()}
        assert said["Presence of property"] == "Absent"


def absent_and_found(report: pydicom.Dataset) -> tuple[list[str], list[str]]:
    """Tracking identifiers of what is said to be absent, and of what has a volume."""
    hd = pytest.importorskip("highdicom")
    content = hd.sr.MeasurementReport.from_sequence([report])
    absent = [group.tracking_identifier for group in content.get_image_measurement_groups()]
    return absent, [group.tracking_identifier for group in content.get_volumetric_roi_measurement_groups()]


@pytest.mark.parametrize("region", list(Region))
@pytest.mark.parametrize("by", [ExportBy.REGIONS, ExportBy.LESIONS])
def test_a_report_of_a_single_structure(series: Callable[..., SourceSeries], region: Region, by: ExportBy) -> None:
    """One segment alone: its identification stands in the functional groups that all frames share."""
    pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.report import make_report
    from GliomaSegLib.dicom_export.seg import make_seg

    array = np.zeros_like(drawn())
    array[2:5, 6:14, 7:16] = REGION_LABELS[region][0]
    source = series(array=array)
    (alone,) = structures(source, by, (region,))
    seg = make_seg(source, [alone], about())
    assert "SegmentIdentificationSequence" in seg.SharedFunctionalGroupsSequence[0]
    report = make_report(source, seg, [alone], about())
    assert absent_and_found(report) == ([], [alone.name])


def test_absent_is_said_of_what_was_looked_for_alone(series: Callable[..., SourceSeries]) -> None:
    pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.report import make_report
    from GliomaSegLib.dicom_export.seg import make_seg

    def reported(
        array: np.ndarray, regions: tuple[Region, ...], by: ExportBy
    ) -> tuple[list[str], list[str], list[str]]:
        source = series(array=array)
        exported = structures(source, by, regions)
        seg = make_seg(source, exported, about())
        segments = [item.SegmentLabel for item in seg.SegmentSequence]
        return *absent_and_found(make_report(source, seg, exported, about())), segments

    nothing, edema = np.zeros_like(drawn()), np.where(drawn() == Label.SNFH, Label.SNFH, 0).astype(np.uint8)
    for by in ExportBy:
        assert reported(nothing, (Region.ET,), by) == (["Enhancing tumour"], [], ["Enhancing tumour"])
        assert reported(nothing, (Region.RC,), by) == (["Resection cavity"], [], ["Resection cavity"])
    # Beside what is filled: looked for and empty is absent, and what was not looked for is not named.
    found = reported(edema, (Region.WT, Region.TC, Region.ET), ExportBy.REGIONS)
    assert found == (["Tumour core", "Enhancing tumour"], ["Whole tumour"], ["Whole tumour"])
    absent, there, _ = reported(edema, (Region.WT,), ExportBy.PARTS)
    assert (absent, there) == ([], ["Whole tumour, not divided"])
    core = np.where(drawn() == Label.NETC, Label.NETC, 0).astype(np.uint8)
    assert reported(core, (Region.TC,), ExportBy.PARTS)[1] == ["Tumour core"]


def test_a_cavity_is_not_coded_as_a_mass(series: Callable[..., SourceSeries]) -> None:
    pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.seg import make_seg

    source = series()
    for by in (ExportBy.REGIONS, ExportBy.PARTS):
        seg = make_seg(source, structures(source, by), about())
        cavity = next(item for item in seg.SegmentSequence if item.SegmentLabel == "Resection cavity")
        coded = cavity.SegmentedPropertyTypeCodeSequence[0]
        assert (coded.CodingSchemeDesignator, coded.CodeMeaning) == ("99GLIOMASEG", "Resection cavity")


# Of every item that TID 1500 (Imaging Measurement Report, with TID 1204, 1002, 1501, 1502, 1411 and 1419 in it; PS3.16)
# wants here: concept, relation to what holds it, value type, and how often it may be there.
ROOT_ITEMS = (
    ("121049", "HAS CONCEPT MOD", "CODE", 1, 1),  # language of content item and descendants
    ("121058", "HAS CONCEPT MOD", "CODE", 1, 99),  # procedure reported
    ("121005", "HAS OBS CONTEXT", "CODE", 1, 2),  # observer type
    ("121012", "HAS OBS CONTEXT", "UIDREF", 1, 1),  # device observer UID
    ("111028", "CONTAINS", "CONTAINER", 0, 1),  # image library
    ("126010", "CONTAINS", "CONTAINER", 1, 1),  # imaging measurements
)
GROUP_ITEMS = (
    ("112039", "HAS OBS CONTEXT", "TEXT", 1, 1),  # tracking identifier
    ("112040", "HAS OBS CONTEXT", "UIDREF", 1, 1),  # tracking unique identifier
    ("121071", "CONTAINS", "CODE", 1, 1),  # finding
    ("126072", "HAS OBS CONTEXT", "CODE", 1, 1),  # time point type
    ("363698007", "HAS CONCEPT MOD", "CODE", 1, 1),  # finding site
)
VOLUMETRIC_ITEMS = (
    ("276214006", "CONTAINS", "CODE", 1, 1),  # finding category
    ("121191", "CONTAINS", "IMAGE", 1, 1),  # referenced segment
    ("118565006", "CONTAINS", "NUM", 1, 1),  # volume
)


def items_of(container: pydicom.Dataset, concept: str) -> list[pydicom.Dataset]:
    return [one for one in container.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == concept]


def check_items(container: pydicom.Dataset, rules: tuple[tuple[str, str, str, int, int], ...]) -> None:
    for concept, relation, value_type, least, most in rules:
        found = items_of(container, concept)
        assert least <= len(found) <= most, concept
        assert {(one.RelationshipType, one.ValueType) for one in found} <= {(relation, value_type)}, concept


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("by", [ExportBy.REGIONS, ExportBy.LESIONS])
def test_the_report_follows_its_template(series: Callable[..., SourceSeries], empty: bool, by: ExportBy) -> None:
    pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.report import make_report
    from GliomaSegLib.dicom_export.seg import make_seg

    source = series(array=np.zeros_like(drawn()) if empty else drawn())
    exported = structures(source, by)
    seg = make_seg(source, exported, about())
    report = make_report(source, seg, exported, about(state=ReviewState.APPROVED, reviewer="A^B"))
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    check_items(report, ROOT_ITEMS)
    (measurements,) = items_of(report, "126010")
    groups = items_of(measurements, "125007")
    assert len(groups) == len(measurements.ContentSequence) == len(exported)
    evidence = {item.ReferencedSOPInstanceUID for item in _evidence(report)}
    for group in groups:
        assert group.ContentTemplateSequence[0].TemplateIdentifier == ("1501" if empty else "1411")
        check_items(group, GROUP_ITEMS)
        if empty:
            (presence,) = items_of(group, "121052")
            assert presence.ConceptCodeSequence[0].CodeValue == "121054"  # absent
            continue
        check_items(group, VOLUMETRIC_ITEMS)
        images, in_series = items_of(group, "121233"), items_of(group, "121232")
        assert bool(images) != bool(in_series)  # one or the other says what was segmented
        for one in images:
            assert one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID in evidence
        for number in (one for one in group.ContentSequence if one.ValueType == "NUM"):
            unit = number.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
            assert (unit.CodingSchemeDesignator, unit.CodeValue) in {("UCUM", "mL"), ("UCUM", "mm")}


def _evidence(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    lists = [
        *report.get("CurrentRequestedProcedureEvidenceSequence", []),
        *report.get("PertinentOtherEvidenceSequence", []),
    ]
    return [item for study in lists for one in study.ReferencedSeriesSequence for item in one.ReferencedSOPSequence]


# --- overlays ------------------------------------------------------------------------------------------------------


COLOURS = {region: region_styles()[region].colour for region in Region}


def overlay_of(source: SourceSeries, **changes: object) -> list[pydicom.Dataset]:
    return list(make_overlay(source, "T1 + contrast", tuple(Region), about(**changes)))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_overlay_lies_where_its_source_lies(series: Callable[..., SourceSeries], orientation: str) -> None:
    source = series(orientation)
    captures = overlay_of(source)
    assert len(captures) == len(source.headers)
    for index, (capture, header) in enumerate(zip(captures, source.headers, strict=True)):
        zoom = capture.Rows // header.Rows
        assert (capture.Rows, capture.Columns) == (header.Rows * zoom, header.Columns * zoom)
        assert zoom == 8
        # The centre of the block of pixels that a source pixel became is that pixel's centre.
        across, down = np.reshape(np.array(capture.ImageOrientationPatient, float), (2, 3))
        rows_mm, columns_mm = map(float, capture.PixelSpacing)
        for row, column in ((0, 0), (5, 9), (header.Rows - 1, header.Columns - 1)):
            middle = [zoom * place + (zoom - 1) / 2 for place in (row, column)]
            place = np.array(capture.ImagePositionPatient, float) + down * rows_mm * middle[0]
            place += across * columns_mm * middle[1]
            expected = source.labels.TransformIndexToPhysicalPoint((column, row, index))
            np.testing.assert_allclose(place, expected, atol=1e-3)


def test_contours_are_burnt_in_where_the_regions_end(series: Callable[..., SourceSeries]) -> None:
    array = np.zeros((4, 200, 220), np.uint8)
    array[2, 120:150, 60:90] = Label.SNFH
    array[2, 130:140, 70:80] = Label.ET
    marked, plain = (overlay_of(series(array=one)) for one in (array, np.zeros_like(array)))
    (picture,) = (one.pixel_array for one in marked[2:3])
    assert tuple(picture[120, 75]) == tuple(picture[149, 60]) == COLOURS[Region.WT]
    assert tuple(picture[130, 75]) == tuple(picture[135, 79]) == COLOURS[Region.ET]  # over the core's own
    assert len(set(map(int, picture[135, 75]))) == 1  # inside only the image
    changed = np.argwhere((picture != plain[2].pixel_array).any(axis=-1))
    between_the_texts = changed[(changed[:, 0] > 50) & (changed[:, 0] < 155)]
    assert between_the_texts.min(axis=0).tolist() == [120, 60]
    assert between_the_texts.max(axis=0).tolist() == [149, 89]
    legend = picture[155:, :120].reshape(-1, 3).astype(int)
    nearest = {region: np.abs(legend - COLOURS[region]).max(axis=1).min() for region in Region}
    assert all(nearest[region] < 60 < nearest[Region.RC] for region in (Region.WT, Region.TC, Region.ET))


def test_an_overlay_keeps_the_header_of_each_slice_and_is_a_series_of_its_own(
    series: Callable[..., SourceSeries], tmp_path: Path
) -> None:
    source = series("oblique")
    for number, header in enumerate(source.headers):
        header.AcquisitionTime = f"1200{number:02d}"
        header.add_new((0x0029, 0x1010), "OB", b"private")
    captures = overlay_of(source)
    for number, (capture, header) in enumerate(zip(captures, source.headers, strict=True)):
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "Modality"):
            assert capture.get(keyword) == header.get(keyword)
        assert capture.AcquisitionTime == f"1200{number:02d}"
        assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == header.SOPInstanceUID
        assert capture.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert (0x0029, 0x1010) not in capture
    assert len({one.SOPInstanceUID for one in captures}) == len(captures)
    (uid,) = {one.SeriesInstanceUID for one in captures}
    assert uid != source.first.SeriesInstanceUID
    for number, capture in enumerate(captures):
        capture.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    assert not any(one.uid == uid for one in find_series(tmp_path))  # never taken for a scan


def test_every_slice_says_that_it_is_not_for_diagnosis(series: Callable[..., SourceSeries]) -> None:
    empty = series(array=np.zeros((4, 200, 220), np.uint8))
    pictures = [one.pixel_array for one in overlay_of(empty)]
    for picture in pictures:
        assert (picture[:60, :150] == 255).all(axis=-1).any()
    approved = overlay_of(empty, state=ReviewState.APPROVED)[0].pixel_array
    assert (approved != pictures[0])[:60].any()  # the state of review is said too


def test_rows_and_columns_are_named_by_where_they_run(series: Callable[..., SourceSeries]) -> None:
    said = {name: overlay_of(series(name))[0].PatientOrientation for name in ("axial", "coronal", "sagittal", "prone")}
    assert said["axial"] == ["L", "P"]
    assert said["prone"] == ["R", "A"]
    assert said["coronal"] == ["L", "F"]
    assert said["sagittal"] == ["P", "F"]


# --- character sets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 144", "Люк^Сергей"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Żółć^Łukasz"),
        ("", "Plain^Name"),
        (None, "Plain^Name"),
    ],
)
def test_objects_are_in_utf8_whatever_the_source_is_in(
    series: Callable[..., SourceSeries], characters: str | list[str] | None, name: str, tmp_path: Path
) -> None:
    hd = pytest.importorskip("highdicom")
    source = series()
    assert source.first.SpecificCharacterSet == "ISO_IR 192"
    for number, header in enumerate(source.headers):  # as a scanner writes them, read again
        header.SpecificCharacterSet = characters
        if characters is None:
            del header.SpecificCharacterSet
        header.PatientName = name
        header.StudyDescription = name.split("=")[-1].replace("^", " ")
        header.RequestAttributesSequence = [pydicom.Dataset()]
        header.RequestAttributesSequence[0].ScheduledProcedureStepDescription = header.StudyDescription
        path = tmp_path / f"{number}.dcm"
        header.save_as(path, enforce_file_format=True)
    headers = tuple(pydicom.dcmread(tmp_path / f"{number}.dcm") for number in range(len(source.headers)))
    assert {usable(header) for header in headers} == {()}
    source = replace(source, headers=headers)
    reviewer = "김^철수"
    given = {"state": ReviewState.APPROVED, "reviewer": reviewer, "reviewed": datetime(2024, 5, 1, 12)}
    for kind, made in objects_of(source, ExportBy.LESIONS, **given).items():
        made.save_as(tmp_path / f"{kind}.dcm", enforce_file_format=True)
        read = pydicom.dcmread(tmp_path / f"{kind}.dcm")
        assert read.SpecificCharacterSet == "ISO_IR 192", kind
        assert read.PatientName == name, kind
        if kind != "seg":
            assert read.StudyDescription == name.split("=")[-1].replace("^", " "), kind
    assert pydicom.dcmread(tmp_path / "rtstruct.dcm").ReviewerName == reviewer
    assert pydicom.dcmread(tmp_path / "seg.dcm").ContentCreatorName == reviewer
    observers = hd.sr.srread(tmp_path / "sr.dcm").content.get_observer_contexts()
    assert any(reviewer in str(item.value) for one in observers for item in one if item.value_type.value == "PNAME")
    overlay = pydicom.dcmread(tmp_path / "overlay.dcm")
    step = overlay.RequestAttributesSequence[0].ScheduledProcedureStepDescription
    assert step == name.split("=")[-1].replace("^", " ")


# --- judged and read by others -------------------------------------------------------------------------------------


def objects_of(source: SourceSeries, by: ExportBy, **said: object) -> dict[str, pydicom.Dataset]:
    from GliomaSegLib.dicom_export.report import make_report
    from GliomaSegLib.dicom_export.seg import make_seg

    exported = structures(source, by)
    seg = make_seg(source, exported, about(**said))
    return {
        "seg": seg,
        "sr": make_report(source, seg, exported, about(**said)),
        "rtstruct": make_rtstruct(source, exported, about(**said)),
        "overlay": next(make_overlay(source, "FLAIR", tuple(Region), about(**said))),
    }


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("empty", [False, True])
def test_all_objects_pass_dciodvfy(
    series: Callable[..., SourceSeries], orientation: str, empty: bool, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    source = series(orientation, np.zeros_like(drawn()) if empty else drawn())
    for by in (ExportBy.REGIONS, ExportBy.LESIONS):
        for name, dataset in objects_of(source, by).items():
            dataset.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
            run = subprocess.run(["dciodvfy", tmp_path / f"{name}.dcm"], capture_output=True, text=True, check=False)
            errors = [line for line in run.stderr.splitlines() if line.startswith("Error")]
            assert not errors, f"{name}: {errors}"


@pytest.fixture
def dcmqi() -> Callable[..., None]:
    """Runs a program of dcmqi, which a wheel puts beside Python."""

    def run(program: str, *arguments: object) -> None:
        found = shutil.which(program, path=Path(sys.executable).parent) or shutil.which(program)
        if found is None:
            pytest.skip("dcmqi is not installed (PyPI: dcmqi)")
        subprocess.run([found, *map(str, arguments)], check=True, capture_output=True)

    return run


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_dcmqi_reads_the_same_voxels(
    series: Callable[..., SourceSeries], orientation: str, dcmqi: Callable[..., None], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    from GliomaSegLib.dicom_export.seg import make_seg

    source = series(orientation)
    exported = structures(source)
    make_seg(source, exported, about()).save_as(tmp_path / "seg.dcm")
    given = ("--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path, "--outputType", "nrrd")
    dcmqi("segimage2itkimage", *given)
    for number, one in enumerate(exported, start=1):
        read = sitk.ReadImage(tmp_path / f"{number}.nrrd")
        there = sitk.Resample(read, source.labels, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(there) > 0, one.mask)


@pytest.mark.parametrize("orientation", ["axial", "axial from above", "feet first", "prone", "sagittal", "coronal"])
def test_plastimatch_reads_the_same_voxels_from_the_structure_set(
    series: Callable[..., SourceSeries], orientation: str, tmp_path: Path
) -> None:
    if shutil.which("plastimatch") is None:
        pytest.skip("plastimatch is not installed (a Debian package)")
    source = series(orientation)
    make_rtstruct(source, structures(source), about()).save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    grid = sitk.DICOMOrient(source.labels, "LPS")  # plastimatch wants axial slices that run upwards
    sitk.WriteImage(grid, tmp_path / "grid.nrrd")
    given = ("--input", "rt.dcm", "--fixed", "grid.nrrd", "--output-prefix", "read", "--prefix-format", "nrrd")
    subprocess.run(["plastimatch", "convert", *given], check=True, capture_output=True, cwd=tmp_path)
    for one in structures(source):
        read = sitk.ReadImage(tmp_path / "read" / f"{one.short_name}.nrrd")
        there = sitk.Resample(read, source.labels, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(there) > 0, one.mask)


@pytest.mark.parametrize("empty", [False, True])
def test_dcmqi_reads_the_report_as_tid_1500(
    series: Callable[..., SourceSeries], empty: bool, dcmqi: Callable[..., None], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    source = series(array=np.zeros_like(drawn()) if empty else drawn())
    objects_of(source, ExportBy.LESIONS)["sr"].save_as(tmp_path / "sr.dcm")
    dcmqi("tid1500reader", "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", tmp_path / "sr.json")
    read = json.loads((tmp_path / "sr.json").read_text(encoding="utf-8"))["Measurements"]
    lesions = structures(source, ExportBy.LESIONS)
    assert [one["TrackingUniqueIdentifier"] for one in read] == [one.tracking_uid for one in lesions]
    if empty:
        said = {one["conceptCode"]["CodeMeaning"]: one["conceptValue"] for one in read[0]["qualitativeEvaluations"]}
        assert said["Presence of property"]["CodeMeaning"] == "Absent"
        return
    for group, one in zip(read, lesions, strict=True):
        values = [float(item["value"]) for item in group["measurementItems"]]
        assert values == pytest.approx([one.volume_ml, one.lesion.long_mm, one.lesion.perpendicular_mm], abs=0.06)
