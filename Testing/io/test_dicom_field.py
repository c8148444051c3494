"""DICOM folders as the field sends them: interrupted copies, anonymisers, series in parts, links, rare encodings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import HTJ2KLossless, generate_uid

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import find_series, read_folder
from GliomaSegLib.io.dicom_volume import read_series
from GliomaSegLib.phantom.dicom import write_series as write_phantom_series
from GliomaSegLib.study.dicom_studies import studies_of
from GliomaSegLib.study.reading import read_case
from GliomaSegLib.study.selection import identify
from GliomaSegLib.study.study_list import list_studies, to_json, to_text
from GliomaSegLib.study.volumes import search
from Testing.support.enhanced_mr import write_enhanced
from Testing.support.study import write_noise

T1C, T2F = Modality.T1C, Modality.T2F


def scan(slices: int = 7, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 900, (slices, 6, 5)).astype(np.int16)


def by_instance(folder: Path) -> list[Path]:
    """The files in the order of their slices."""
    return sorted(folder.iterdir(), key=lambda path: int(pydicom.dcmread(path).InstanceNumber))


def change(path: Path, **elements: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def pixels(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


# --- interrupted copies ----------------------------------------------------------------------------------------------

DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:400]),
    "cut in the preamble": lambda path: path.write_bytes(path.read_bytes()[:100]),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_series_that_lost_slices_is_refused_unless_the_user_accepts_it(write_series, how: str) -> None:
    folder = write_series(scan(10), SeriesDescription="AX T1 post")
    write_series(scan(10, 4), folder="dicom/flair", SeriesDescription="AX FLAIR")
    for path in sorted(folder.glob("*.dcm"), key=_number)[-4:]:
        DAMAGE[how](path)
    (damaged,) = [one for one in find_series(folder) if one.lost]
    assert (damaged.lost, len(damaged.slices)) == (4, 6)
    with pytest.raises(InputError, match=r"'AX T1 post' in .* is incomplete: 4 files .* --allow-incomplete"):
        read_case(folder)
    case = read_case(folder, allow_incomplete=True)
    assert case.volumes[T1C].image.GetSize() == (5, 6, 6)
    assert len(case.incomplete) == 1
    assert case.doubts[0].endswith("what is missing is neither shown nor measured.")
    assert any("4 files" in one and "do not count" in one for one in case.passed_over)
    assert set(read_case(folder, wanted=(T2F,)).volumes) == {T2F}, "the other series is whole"


def _number(path: Path) -> int:
    return int(pydicom.dcmread(path, specific_tags=["InstanceNumber"]).InstanceNumber)


def test_the_list_of_studies_shows_the_tally_per_series_and_reason(write_series) -> None:
    folder = write_series(scan(), SeriesDescription="AX T1 post")
    write_series(scan(3), SeriesDescription="SURVEY", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(scan(2, 5), SeriesDescription="two slices")
    (folder / "readme.txt").write_text("from the hospital " * 20)
    (folder / "IM0099").touch()
    (folder / "IM0100").symlink_to(folder / "nowhere")
    (row,) = list_studies(folder)
    text = to_text([row], folder)
    for expected in (
        "3 files of 'SURVEY' in",
        "not a scan (of image type 'LOCALIZER')",
        "2 files of 'two slices' in",
        "fewer than 3 slices",
        "1 file in",
        "no DICOM (such as readme.txt)",
        "empty (such as IM0099)",
        "links that lead nowhere (such as IM0100)",
    ):
        assert expected in text, expected
        assert expected in to_json([row])
    assert "2 files that seem to be of it" in row.series[0].problem


def test_a_whole_series_beside_other_files_is_not_doubted(write_series) -> None:
    folder = write_series(scan(), SeriesDescription="AX T1 post")
    (folder / "notes.txt").touch()
    (folder / "VERSION").write_text("1.0")
    (folder / "viewer.exe").write_bytes(b"MZ" + bytes(500))
    case = read_case(folder)
    assert (case.doubts, case.incomplete) == ((), ())
    assert len(case.passed_over) == 2, "files without a header's mark, and an empty one that is named like no slice"


def test_nothing_but_lost_files_is_reported(write_series) -> None:
    folder = write_series(scan(4))
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no MR series \(4 files in .* do not count: empty"):
        list_studies(folder)
    with pytest.raises(InputError, match=r"4 files in .* do not count: empty"):
        read_case(folder)


# --- anonymisers -----------------------------------------------------------------------------------------------------


def test_one_sop_instance_uid_for_all_slices_loses_none(write_series) -> None:
    array = scan()
    folder = write_series(array, SOPInstanceUID="1.2.3.4")
    (series,) = find_series(folder)
    np.testing.assert_array_equal(pixels(read_series(series)), array)


def test_the_same_sop_instance_uids_in_every_series_lose_none(write_series) -> None:
    arrays = [scan(seed=1), scan(seed=2)]
    folders = [
        write_series(array, folder=f"study/{number}", SeriesDescription=f"s{number}")
        for number, array in enumerate(arrays)
    ]
    for folder in folders:
        for number, path in enumerate(by_instance(folder)):
            change(path, SOPInstanceUID=f"1.2.3.{number}")
    for series, array in zip(find_series(folders[0].parent), arrays, strict=True):
        np.testing.assert_array_equal(pixels(read_series(series)), array)


def test_copies_count_once_and_are_counted(write_series, tmp_path: Path) -> None:
    folder = write_series(scan(), folder="study/first")
    shutil.copytree(folder, folder.parent / "again")
    for path in (folder.parent / "again").iterdir():
        change(path, SOPInstanceUID=generate_uid())  # anonymised once more
    found = read_folder(folder.parent)
    assert [len(one.slices) for one in found.series] == [7]
    assert [(one.files, one.reason, one.lost) for one in found.passed_over] == [
        (7, "copies of slices that are there", False)
    ]


# --- one series in parts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "top",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0.99999, 0.005001]},
        {"AcquisitionNumber": 2, "AcquisitionTime": "101500", "StudyTime": "101500"},
        {"PixelSpacing": [1.2004, 0.8004]},
        {"EchoTime": "119.6"},
        {"EchoNumbers": 1},
    ],
    ids=["image type", "rounded orientation", "time stamp", "rounded spacing", "rounded echo time", "echo number"],
)
@pytest.mark.parametrize("which", ["last", "every other"])
def test_parts_that_make_one_even_stack_are_one_volume(write_series, top: dict[str, object], which: str) -> None:
    array = scan(9)
    folder = write_series(array, ImageOrientationPatient=[1, 0, 0, 0, 0.99999, 0.004999], EchoTime="119.4")
    for path in by_instance(folder)[-2:] if which == "last" else by_instance(folder)[::2]:
        change(path, **top)
    (series,) = find_series(folder)
    assert series.part == ""
    np.testing.assert_array_equal(pixels(read_series(series)), array)


def test_parts_that_lie_apart_or_on_one_another_stay_apart(write_series) -> None:
    uid = generate_uid()
    write_series(scan(4), uid=uid)
    folder = write_series(scan(4), uid=uid, origin_mm=(-40.0, -30.0, 90.0), ImageType=["ORIGINAL", "PRIMARY", "M"])
    assert len(find_series(folder)) == 2


def test_several_volumes_in_one_series_do_not_count_as_the_thinnest_slices(write_series) -> None:
    for seed in (1, 2):
        folder = write_series(scan(40, seed), uid="1.2.9", SeriesDescription="AX T1 post", spacing_mm=(40, 40, 5))
    write_series(scan(40, 3), folder="dicom/other", SeriesDescription="AX T1 post 2", spacing_mm=(40, 26, 5))
    assert identify(folder)[T1C].candidate.name == "AX T1 post 2"


@pytest.mark.parametrize("spacing", [[0, 0], [-1, 1]])
def test_slices_without_a_size_are_counted_and_not_used(write_series, spacing: list[float]) -> None:
    folder = write_series(scan(), SeriesDescription="AX T1 post", PixelSpacing=spacing)
    write_series(scan(7, 4), folder="dicom/other", SeriesDescription="AX FLAIR")
    case = read_case(folder)
    assert set(case.volumes) == {T2F}
    assert any("7 files of 'AX T1 post'" in one and "impossible Pixel Spacing" in one for one in case.passed_over)


def test_one_of_several_volumes_of_a_folder_is_named_by_its_number(write_series) -> None:
    uid = generate_uid()
    arrays = {"ND": scan(seed=1), "NORM": scan(seed=2)}
    for kind, array in arrays.items():
        folder = write_series(array, uid=uid, SeriesDescription="t1", ImageType=["ORIGINAL", "PRIMARY", "M", kind])
    with pytest.raises(
        InputError, match=r"holds 2 volumes \(#1 t1 .*, M/N.*, #2 t1 .*, M/N.*'.*#1' and so on"
    ) as asked:
        identify(None, {T1C: folder})
    order = ["ND", "NORM"] if str(asked.value).index("M/ND") < str(asked.value).index("M/NORM") else ["NORM", "ND"]
    for number, kind in enumerate(order, start=1):
        case = read_case(None, {T1C: folder.with_name(f"{folder.name}#{number}")})
        np.testing.assert_array_equal(pixels(case.reference.image), arrays[kind])
        named = read_case(None, {T1C: folder.with_name(f"{folder.name}#{kind}")})
        np.testing.assert_array_equal(pixels(named.reference.image), arrays[kind])
    with pytest.raises(InputError, match=r"has no volume #3, given as T1 \+ contrast; it has #1 t1"):
        identify(None, {T1C: folder.with_name(f"{folder.name}#3")})


def test_of_magnitude_real_and_imaginary_parts_the_magnitude_is_taken(write_series) -> None:
    uid, arrays = generate_uid(), {kind: scan(seed=seed) for seed, kind in enumerate(("R", "I", "M"))}
    for kind, array in arrays.items():
        folder = write_series(array, uid=uid, SeriesDescription="t1", ImageType=["ORIGINAL", "PRIMARY", kind, "FFE"])
    case = read_case(None, {T1C: folder})
    np.testing.assert_array_equal(pixels(case.reference.image), arrays["M"])


def test_two_spellings_of_the_time_are_one_study(write_series) -> None:
    folder = write_series(scan(seed=1), SeriesDescription="AX T1 post", StudyTime="120000")
    write_series(scan(seed=2), SeriesDescription="AX FLAIR", StudyTime="120000.000")
    (study,) = studies_of(find_series(folder))
    assert (study.time, len(study.series)) == ("120000", 2)
    assert set(read_case(folder).volumes) == {T1C, T2F}


# --- files and folders -----------------------------------------------------------------------------------------------


def test_files_without_a_preamble_are_read(write_series) -> None:
    array = scan()
    folder = write_series(array)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    (series,) = find_series(folder)
    np.testing.assert_array_equal(pixels(read_series(series)), array)


def test_dicom_files_that_are_called_img_are_read(write_series, tmp_path: Path) -> None:
    folder = write_series(scan(), SeriesDescription="AX T1 post", names=(f"{n}.img" for n in range(7)))
    write_noise(folder / "flair.nii.gz")
    assert read_case(folder).present == (T1C, T2F)
    with pytest.raises(InputError, match="single DICOM file; give the folder"):
        read_case(None, {T1C: folder / "0.img"}, "case")


@pytest.mark.parametrize(
    ("keyword", "name"), [("ImagePositionPatient", "Image Position"), ("PixelSpacing", "Pixel Sp")]
)
def test_images_without_a_place_in_the_patient_are_named(write_series, keyword: str, name: str) -> None:
    folder = write_series(scan(), SeriesDescription="AX T1 post", **{keyword: None})
    sentence = rf"7 files of 'AX T1 post' in .* do not count: without {name}"
    with pytest.raises(InputError, match=sentence):
        read_case(folder)
    write_series(scan(seed=2), SeriesDescription="AX FLAIR")
    case = read_case(folder)
    assert re.match(sentence, case.doubts[0])
    assert not case.incomplete, "it is another series"


def test_linked_folders_are_read_and_circles_end(write_series, tmp_path: Path) -> None:
    folder = write_series(scan(), folder="store/series")
    study = tmp_path / "study"
    study.mkdir()
    (study / "linked").symlink_to(folder, target_is_directory=True)
    (folder / "up").symlink_to(study, target_is_directory=True)
    found = read_folder(study)
    assert [len(one.slices) for one in found.series] == [7]
    assert found.passed_over == []
    write_noise(folder / "head_t1c.nii.gz")
    assert [one.name for one in search(study, None).candidates if one.series is None] == ["head_t1c.nii.gz"]


def test_a_missing_decoder_is_named(write_series) -> None:
    folder = write_series(scan())
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(path)
    (series,) = find_series(folder)
    with pytest.raises(InputError, match=r"compressed as 'High-Throughput JPEG 2000.*no decoder"):
        read_series(series)


def test_a_class_that_the_meta_header_alone_names_is_enough(write_series) -> None:
    array = scan()
    folder = write_series(array, SOPClassUID=None)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.SOPClassUID
        pydicom.dcmwrite(path, dataset)
    (series,) = find_series(folder)
    np.testing.assert_array_equal(pixels(read_series(series)), array)


def test_a_copy_of_enhanced_mr_counts_once(write_series, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(scan(9).astype(np.uint16))
    write_phantom_series(image, T1C, tmp_path / "classic", "copied")
    path = write_enhanced([tmp_path / "classic"], tmp_path / "enhanced" / "one.dcm")
    shutil.copy(path, path.with_name("two.dcm"))
    found = read_folder(path.parent)
    assert [len(one.slices) for one in found.series] == [9]
    assert [(one.files, one.reason) for one in found.passed_over] == [(1, "copies of slices that are there")]
