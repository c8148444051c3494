"""Reading DICOM folders. The files are made here, with known geometry."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid
from scipy.spatial.transform import Rotation

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import _tags, find_series, read_folder
from GliomaSegLib.io.dicom_frames import frame_headers
from GliomaSegLib.io.dicom_volume import read_series, series_geometry
from GliomaSegLib.phantom.dicom import write_series as write_phantom_series
from GliomaSegLib.study.identification import guess
from GliomaSegLib.study.selection import identify
from Testing.support.enhanced_mr import as_legacy_converted, item, write_enhanced
from Testing.support.malformed import with_vr

AXIAL = np.eye(3)
SAGITTAL = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float)  # columns: rows run to posterior, columns to inferior
OBLIQUE = Rotation.from_euler("xyz", (0.3, -0.2, 0.4)).as_matrix()


def scan(shape: tuple[int, int, int] = (7, 6, 5)) -> np.ndarray:
    return np.random.default_rng(3).integers(-200, 1000, shape).astype(np.int16)


def only_volume(folder: Path) -> sitk.Image:
    (series,) = find_series(folder)
    return read_series(series)


@pytest.mark.parametrize("direction", [AXIAL, SAGITTAL, OBLIQUE, SAGITTAL @ OBLIQUE])
def test_every_voxel_lands_where_its_header_says(write_series, direction: np.ndarray) -> None:
    array = scan()
    folder = write_series(array, direction=direction)  # random file names
    image = only_volume(folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        row, column = np.reshape(header.ImageOrientationPatient, (2, 3))
        spacing_y, spacing_x = header.PixelSpacing
        for x, y in ((0, 0), (4, 1), (2, 5)):
            # DICOM PS3.3, equation C.7.6.2.1-1
            place = np.array(header.ImagePositionPatient, float) + row * spacing_x * x + column * spacing_y * y
            index = image.TransformPhysicalPointToIndex(place.tolist())
            assert np.linalg.norm(np.array(image.TransformIndexToPhysicalPoint(index)) - place) < 1e-3
            assert image[index] == header.pixel_array[y, x]


def test_marker_on_the_patients_left_is_at_positive_x(write_series) -> None:
    array = np.ones((6, 20, 20), np.int16)
    array[3, 10, 17] = 1000  # columns run to the patient's left in an axial slice
    image = only_volume(write_series(array, origin_mm=(-10.0, -10.0, 0.0), spacing_mm=(1.0, 1.0, 3.0)))
    z, y, x = (int(values[0]) for values in np.nonzero(sitk.GetArrayViewFromImage(image) == 1000))
    assert image.TransformIndexToPhysicalPoint((x, y, z)) == pytest.approx((7.0, 0.0, 9.0))


def test_order_of_file_names_plays_no_part(write_series) -> None:
    array = scan()
    names = iter([f"IM{(5 * index) % 7:03d}" for index in range(7)])
    image = only_volume(write_series(array, names=names))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    assert image.GetSpacing() == pytest.approx((0.8, 1.2, 5.0))


def test_slices_that_run_downwards_are_stacked_upwards(write_series) -> None:
    array = scan()
    downwards = np.diag([1.0, 1.0, -1.0])  # row x column points up, the files' order down
    image = only_volume(write_series(array, direction=downwards))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array[::-1])
    assert np.linalg.det(np.reshape(image.GetDirection(), (3, 3))) == pytest.approx(1)


def test_signed_pixels_are_rescaled(write_series) -> None:
    array = scan()
    image = only_volume(write_series(array, RescaleSlope=2.5, RescaleIntercept=-7.0))
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), array * 2.5 - 7, rtol=1e-6)


def test_series_may_be_spread_over_folders(write_series) -> None:
    uid, array = generate_uid(), scan()
    write_series(array, folder="study/a", uid=uid, leave_out=(0, 2, 4, 6))
    folder = write_series(array, folder="study/b", uid=uid, leave_out=(1, 3, 5))
    (series,) = find_series(folder.parent)
    assert series.folder == folder.parent
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_series(series)), array)


def test_each_slice_has_its_own_rescale(write_series) -> None:
    array = scan()
    folder = write_series(array)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 * int(dataset.InstanceNumber), 1.0
        dataset.save_as(path)
    slopes = 0.5 * np.arange(1, 8)[:, None, None]
    np.testing.assert_allclose(sitk.GetArrayFromImage(only_volume(folder)), array * slopes + 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("padding", "elements"),
    [(-2000, {"PixelPaddingValue": -2000, "RescaleSlope": 2, "RescaleIntercept": 1}), (-32768, {})],
)
def test_corners_that_were_not_scanned_are_0(write_series, padding: int, elements: dict[str, int]) -> None:
    array = scan()
    array[:, :2, 0] = padding
    read = sitk.GetArrayFromImage(only_volume(write_series(array, **elements)))
    assert (read[:, :2, 0] == 0).all()
    expected = array[:, 2:] * elements.get("RescaleSlope", 1) + elements.get("RescaleIntercept", 0)
    np.testing.assert_array_equal(read[:, 2:], expected)


def test_compressed_pixels_are_decoded(write_series) -> None:
    array = scan((5, 16, 16))
    folder = write_series(array)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(only_volume(folder)), array)


def test_missing_slice_is_refused(write_series) -> None:
    with pytest.raises(InputError, match="lacks 2 slices in between"):
        only_volume(write_series(scan((9, 6, 5)), leave_out=(3, 6)))


def test_uneven_slices_are_refused(write_series) -> None:
    uid = generate_uid()
    write_series(scan((4, 6, 5)), uid=uid)
    folder = write_series(scan((2, 6, 5)), uid=uid, origin_mm=(-40.0, -30.0, 27.0))
    with pytest.raises(InputError, match="unevenly spaced slices"):
        only_volume(folder)


def test_two_slices_at_one_place_are_refused(write_series) -> None:
    uid = generate_uid()
    write_series(scan(), uid=uid)
    folder = write_series(scan() + 1, uid=uid)
    with pytest.raises(InputError, match="at the same place"):
        only_volume(folder)


def test_sheared_stack_is_refused(write_series) -> None:
    sheared = AXIAL.copy()
    sheared[1, 2] = 0.2
    with pytest.raises(InputError, match="shifted against one another"):
        only_volume(write_series(scan(), direction=sheared))


def test_empty_volume_is_refused(write_series) -> None:
    with pytest.raises(InputError, match="is empty"):
        only_volume(write_series(np.zeros((5, 6, 7), np.int16), SeriesDescription="AX T1"))


def test_truncated_file_is_refused(write_series) -> None:
    folder = write_series(scan())
    path = next(folder.iterdir())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{path.name} is damaged"):
        only_volume(folder)


def test_file_that_is_there_twice_counts_once(write_series) -> None:
    folder = write_series(scan())
    path = next(folder.iterdir())
    (folder / "copy").write_bytes(path.read_bytes())
    assert only_volume(folder).GetSize() == (5, 6, 7)


@pytest.mark.parametrize(
    "apart",
    [
        [{"EchoNumbers": 1, "EchoTime": 12}, {"EchoNumbers": 2, "EchoTime": 90}],
        [{"EchoTime": 12}, {"EchoTime": 90}],
        [{"EchoNumbers": 1, "EchoTime": 20}, {"EchoNumbers": 1, "EchoTime": 90}],
        [{"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}],
        [{"AcquisitionNumber": 4}, {"AcquisitionNumber": 5}],
        [{"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]}],
        [{"direction": AXIAL}, {"direction": SAGITTAL}],
    ],
)
def test_volumes_that_share_a_series_are_split(write_series, apart: list[dict[str, object]]) -> None:
    uid = generate_uid()
    arrays = [scan(), scan() + 1]
    for array, elements in zip(arrays, apart, strict=True):
        folder = write_series(array, uid=uid, SeriesDescription="dual", **elements)
    found = find_series(folder)
    assert len(found) == 2
    assert len({one.name for one in found}) == 2
    read = sorted((read_series(one) for one in found), key=lambda image: sitk.GetArrayViewFromImage(image).sum())
    for image, array in zip(read, arrays, strict=True):
        assert sitk.GetArrayViewFromImage(image).sum() == array.sum()


@pytest.mark.parametrize("other", [{"PatientID": "P2"}, {"StudyInstanceUID": "1.2.4"}, {"StudyDate": "20200909"}])
def test_a_series_uid_that_two_patients_share_makes_no_volume_of_both(write_series, other: dict[str, str]) -> None:
    folder = write_series(scan(), uid="1.2.3.4", SeriesDescription="AX T1")
    write_series(scan() + 1, uid="1.2.3.4", SeriesDescription="AX T1", origin_mm=(-40.0, -30.0, 45.0), **other)
    assert [len(one.slices) for one in find_series(folder)] == [7, 7], "their slices continue evenly"
    with pytest.raises(InputError, match="holds 2 studies"):
        identify(folder)


def test_slabs_with_their_own_acquisition_number_stay_one_volume(write_series) -> None:
    uid, array = generate_uid(), scan((8, 6, 5))
    write_series(array, uid=uid, leave_out=(1, 3, 5, 7), AcquisitionNumber=1)
    folder = write_series(array, uid=uid, leave_out=(0, 2, 4, 6), AcquisitionNumber=2)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(only_volume(folder)), array)


@pytest.mark.parametrize(
    "elements",
    [
        {"Modality": "CT"},
        {"SOPClassUID": SecondaryCaptureImageStorage},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]},
        {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
        {"ImagePositionPatient": None},
        {"SamplesPerPixel": 3},
        {"NumberOfFrames": 2},
        {"leave_out": (0, 1, 2, 3, 4)},
    ],
)
def test_what_is_no_volume_of_the_patient_is_passed_over(write_series, elements: dict[str, object]) -> None:
    assert find_series(write_series(scan(), **elements)) == []


def test_files_that_are_not_dicom_are_passed_over(write_series) -> None:
    folder = write_series(scan(), folder="study/deep/down")
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (folder / "report.pdf").write_bytes(b"%PDF")
    (folder / "empty").touch()
    (folder / "torn").write_bytes(b"\0" * 128 + b"DICM\x02\x00\x00")
    (folder / ".hidden").write_bytes(next(folder.glob("*.dcm")).read_bytes())
    (series,) = find_series(folder.parents[1])
    assert len(series.slices) == 7
    assert series.folder == folder


def test_tags(write_series) -> None:
    folder = write_series(
        scan(),
        SeriesDescription="t1_mprage",
        ScanningSequence=["GR", "IR"],
        RepetitionTime="2200",
        EchoTime="2.5",
        InversionTime="900",
        ContrastBolusAgent="Gadovist",
    )
    (series,) = find_series(folder)
    tags = series.tags
    assert (tags.description, tags.scanning_sequence, tags.contrast_agent) == ("t1_mprage", ("GR", "IR"), "Gadovist")
    assert (tags.repetition_time_ms, tags.echo_time_ms, tags.inversion_time_ms) == (2200, 2.5, 900)
    assert tags.b_value is None
    spacing, normal, extent = series_geometry(series)
    assert spacing == pytest.approx((0.8, 1.2, 5.0))
    assert extent[2] == pytest.approx(5.0 * len(series.slices))
    assert normal == pytest.approx((0, 0, 1))
    assert (series.patient_id, series.study_date) == ("P1", "20200102")


def test_broken_values_do_not_stop_the_search(write_series) -> None:
    folder = write_series(scan())
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.add_new("EchoTime", "LO", "short")
        dataset.save_as(path)
    (series,) = find_series(folder)
    assert series.tags.echo_time_ms is None


# --- enhanced multi-frame ------------------------------------------------------------------------------------------


def phantom_series(folder: Path, sequence: Modality = Modality.T1C, direction: np.ndarray = AXIAL) -> sitk.Image:
    """Writes a classic series and returns what it holds. Values are such that slopes of 1, 1/2 and 1/3 keep them."""
    array = np.random.default_rng(5).integers(1, 900, (9, 16, 14)).astype(np.uint16)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.8, 1.2, 5.0))
    image.SetOrigin((-40.0, -30.0, 10.0))
    image.SetDirection(direction.ravel().tolist())
    write_phantom_series(image, sequence, folder, "enhanced")
    return image


@pytest.mark.parametrize("direction", [AXIAL, SAGITTAL, OBLIQUE, SAGITTAL @ OBLIQUE, np.diag([1.0, 1.0, -1.0])])
def test_enhanced_frames_land_where_classic_slices_do(tmp_path: Path, direction: np.ndarray) -> None:
    phantom_series(tmp_path / "classic", direction=direction)
    expected = only_volume(tmp_path / "classic")
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm")
    image = only_volume(path.parent)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected), rtol=1e-6)
    for what in ("GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(image, what)() == pytest.approx(getattr(expected, what)(), abs=1e-6)


def test_highdicom_sees_the_same_enhanced_volume(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    phantom_series(tmp_path / "classic", direction=OBLIQUE)
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm")
    image = only_volume(path.parent)
    volume = highdicom.imread(path).get_volume(apply_real_world_transform=False, apply_modality_transform=True)
    for x, y, z in ((0, 0, 0), (13, 15, 8), (2, 3, 4), (11, 6, 7)):
        place = np.array([image.TransformIndexToPhysicalPoint((x, y, z))])
        index = np.rint(volume.map_reference_to_indices(place))[0].astype(int)
        assert volume.array[tuple(index)] == pytest.approx(image[x, y, z])


def test_enhanced_test_files_are_sound(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    for sequence in Modality:
        phantom_series(tmp_path / sequence.value, sequence)
        path = write_enhanced([tmp_path / sequence.value], tmp_path / f"{sequence.value}.dcm")
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_an_enhanced_image_after_an_inversion_of_unknown_time_is_no_t2() -> None:
    groups = {
        "MRModifierSequence": [item(InversionRecovery="YES")],
        "MRTimingAndRelatedParametersSequence": [item(RepetitionTime=9000.0)],
        "MREchoSequence": [item(EffectiveEchoTime=120.0)],
    }
    header = item(
        EchoPulseSequence="SPIN",
        SharedFunctionalGroupsSequence=[item(**groups)],
        PerFrameFunctionalGroupsSequence=[item(), item()],
    )
    for frame in frame_headers(header):
        assert guess("AX", _tags(frame)).sequence is Modality.T2F


def test_enhanced_headers_say_what_classic_ones_do(tmp_path: Path) -> None:
    for sequence in Modality:
        phantom_series(tmp_path / sequence.value, sequence)
        path = write_enhanced([tmp_path / sequence.value], tmp_path / f"enhanced_{sequence.value}" / "one.dcm")
        (classic,), (enhanced,) = find_series(tmp_path / sequence.value), find_series(path.parent)
        for what in ("description", "repetition_time_ms", "echo_time_ms", "inversion_time_ms"):
            assert getattr(enhanced.tags, what) == getattr(classic.tags, what)
        assert (enhanced.tags.contrast_agent is None) == (classic.tags.contrast_agent is None)
        assert series_geometry(enhanced)[0] == pytest.approx(series_geometry(classic)[0])
        assert guess("", enhanced.tags).sequence is guess("", classic.tags).sequence is sequence


def test_classic_series_that_an_archive_has_converted_are_read(tmp_path: Path) -> None:
    for sequence in Modality:
        expected = phantom_series(tmp_path / sequence.value, sequence)
        path = write_enhanced([tmp_path / sequence.value], tmp_path / f"legacy_{sequence.value}" / "one.dcm")
        as_legacy_converted(path)
        (classic,), (legacy,) = find_series(tmp_path / sequence.value), find_series(path.parent)
        assert guess("", legacy.tags).sequence is guess("", classic.tags).sequence is sequence
        np.testing.assert_allclose(sitk.GetArrayFromImage(read_series(legacy)), sitk.GetArrayFromImage(expected))


@pytest.mark.parametrize("value", [b"\x20\x00\x32\x00DS", b"\x18\x00\x80\x00DS"])
def test_a_damaged_value_of_a_frame_costs_its_file_alone(tmp_path: Path, value: bytes) -> None:
    phantom_series(tmp_path / "classic")
    path = write_enhanced([tmp_path / "classic"], tmp_path / "study" / "one.dcm")
    content = bytearray(path.read_bytes())
    start = content.find(value) + 8
    content[start : start + 2] = b"no"
    path.write_bytes(content)
    phantom_series(tmp_path / "study" / "classic", Modality.T2F)
    found = read_folder(tmp_path / "study")
    assert found.series == find_series(tmp_path / "study" / "classic")
    assert [(one.reason, one.lost) for one in found.passed_over] == [("not to be read as DICOM", True)]


def test_frames_from_before_the_contrast_medium_are_native(tmp_path: Path) -> None:
    phantom_series(tmp_path / "classic")
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm", given=False)
    (series,) = find_series(path.parent)
    assert series.tags.contrast_agent == "none"
    assert guess("", series.tags).sequence is Modality.T1N


def test_compressed_frames_are_decoded(tmp_path: Path) -> None:
    expected = phantom_series(tmp_path / "classic")
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm")
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    image = only_volume(path.parent)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected), rtol=1e-6)


def test_stacks_of_one_enhanced_file_are_split(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder, sequence in zip(folders, (Modality.T2W, Modality.T2F), strict=True):
        phantom_series(folder, sequence)
    path = write_enhanced(folders, tmp_path / "enhanced" / "one.dcm")
    found = find_series(path.parent)
    assert {one.tags.echo_time_ms for one in found} == {92, 98}
    assert len({one.part for one in found}) == 2
    for one in found:
        assert read_series(one).GetSize() == (14, 16, 9)


def test_phase_frames_are_passed_over(tmp_path: Path) -> None:
    phantom_series(tmp_path / "classic")
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm", ComplexImageComponent="PHASE")
    assert find_series(path.parent) == []


def enhanced_of_two_kinds(tmp_path: Path, group: str, first: pydicom.Dataset, second: pydicom.Dataset) -> Path:
    """A file with every slice twice, whose frames differ by one item of a functional group."""
    phantom_series(tmp_path / "classic")
    shutil.copytree(tmp_path / "classic", tmp_path / "again")
    path = write_enhanced([tmp_path / "classic", tmp_path / "again"], tmp_path / "enhanced" / "one.dcm")
    whole = pydicom.dcmread(path)
    for frame in whole.PerFrameFunctionalGroupsSequence:
        setattr(frame, group, [first if frame.FrameContentSequence[0].StackID == "1" else second])
    whole.save_as(path)
    return path.parent


def test_phase_frames_beside_magnitude_frames_are_passed_over_alone(tmp_path: Path) -> None:
    kinds = [item(FrameType=["ORIGINAL", "PRIMARY"], ComplexImageComponent=one) for one in ("MAGNITUDE", "PHASE")]
    for number, pair in enumerate((kinds, kinds[::-1])):
        found = read_folder(enhanced_of_two_kinds(tmp_path / str(number), "MRImageFrameTypeSequence", *pair))
        assert [(one.tags.image_type[-1], len(one.slices)) for one in found.series] == [("MAGNITUDE", 9)]
        assert "9 of its frames: not a scan (of image type 'PHASE')" in str(found.passed_over[0])


def test_frames_of_water_and_of_fat_are_two_volumes(tmp_path: Path) -> None:
    kinds = [item(FrameType=["DERIVED", "PRIMARY", "DIXON", one]) for one in ("WATER", "FAT")]
    found = find_series(enhanced_of_two_kinds(tmp_path, "MRImageFrameTypeSequence", *kinds))
    assert sorted(one.tags.image_type[-1] for one in found) == ["FAT", "WATER"]


def test_frames_from_before_and_after_the_contrast_medium_are_told_apart(tmp_path: Path) -> None:
    usage = [item(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered=one) for one in ("NO", "YES")]
    found = find_series(enhanced_of_two_kinds(tmp_path, "ContrastBolusUsageSequence", *usage))
    assert sorted(str(one.tags.contrast_agent) for one in found) == ["Gadobutrol", "none"]


def test_a_full_disk_is_no_damage_of_an_enhanced_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phantom_series(tmp_path / "classic")
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm")
    (series,) = find_series(path.parent)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(OSError, match="No space left"):
        read_series(series)


def test_enhanced_files_that_lack_frames_pixels_or_groups(tmp_path: Path) -> None:
    phantom_series(tmp_path / "classic")
    (tmp_path / "classic" / "IM0004.dcm").unlink()
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm")
    with pytest.raises(InputError, match="lacks 1 slice"):
        only_volume(path.parent)
    phantom_series(tmp_path / "classic")
    path = write_enhanced([tmp_path / "classic"], path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{path.name} is damaged"):
        only_volume(path.parent)
    path = write_enhanced([tmp_path / "classic"], path)
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(path)
    assert find_series(path.parent) == []


# --- malformed files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "vr"),
    [((0x0028, 0x0010), b"FL"), ((0x0020, 0x0032), b"ZZ"), ((0x0008, 0x0060), b"FL"), ((0x0020, 0x000E), b"ZZ")],
    ids=["rows of a wrong length", "position of an unknown type", "modality of a wrong length", "series of no type"],
)
def test_an_image_that_cannot_be_read_is_passed_over_with_a_warning(
    write_series, tag: tuple[int, int], vr: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = write_series(scan())
    path = min(folder.iterdir())
    path.write_bytes(with_vr(path.read_bytes(), tag, vr))
    (series,) = find_series(folder)
    assert (len(series.slices), series.lost) == (6, 1)
    assert f"in {folder} does not count: " in caplog.text
    assert path.name in caplog.text


def test_numbers_that_are_none_are_no_crash(write_series, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder = write_series(scan(), ImagePositionPatient=None)
    path = min(folder.iterdir())
    header = pydicom.dcmread(path)
    header.ImagePositionPatient = ["1", "2", "3"]
    header.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"1\\2\\3 ", b"a\\b\\c "))
    assert find_series(folder) == []
    assert path.name in caplog.text


def test_an_unreadable_value_that_is_not_needed_costs_nothing(write_series) -> None:
    folder = write_series(scan(), ProtocolName="t1 mprage")
    for path in folder.iterdir():
        path.write_bytes(with_vr(path.read_bytes(), (0x0018, 0x1030), b"ZZ"))
    (series,) = find_series(folder)
    assert len(series.slices) == 7
    assert series.tags.protocol == ""
