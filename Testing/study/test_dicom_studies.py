"""Studies of DICOM series: their sequences, several studies in one folder, and the list of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, Source
from GliomaSegLib.errors import InputError
from GliomaSegLib.study.reading import described_by_dicom, read_case, read_source
from GliomaSegLib.study.selection import identify
from GliomaSegLib.study.study_list import list_studies, to_json, to_text
from Testing.support.study import write_noise

T1N, T1C, T2W, T2F = Modality


SCAN = np.random.default_rng(5).integers(0, 900, (7, 6, 5)).astype(np.int16)


def test_dicom_study(write_series) -> None:
    study = write_series(SCAN, SeriesDescription="AX T1", RepetitionTime="550", EchoTime="12", ScanningSequence="SE")
    physics = {"RepetitionTime": "550", "EchoTime": "12", "ScanningSequence": "SE", "ContrastBolusAgent": "Gadovist"}
    write_series(SCAN + 1, SeriesDescription="AX T1", **physics)  # the word is missing
    write_series(SCAN + 2, SeriesDescription="t2_tirm_tra_dark-fluid")
    write_series(SCAN + 3, SeriesDescription="AX T2 FSE", ProtocolName="MRA HEAD W/WO")
    write_series(SCAN + 4, SeriesDescription="AX DWI")
    case = read_case(study)
    assert case.present == tuple(Modality)
    for sequence, offset in ((T1N, 0), (T1C, 1), (T2F, 2), (T2W, 3)):
        assert sitk.GetArrayViewFromImage(case.volumes[sequence].image).sum() == (SCAN + offset).sum()
    assert case.volumes[T1C].source.series_uid
    assert case.volumes[T1C].name == "AX T1"
    assert case.ignored == ("'AX DWI' (called 'dwi')",)
    assert "Gadovist" in case.volumes[T1C].reason


def test_source_is_read_again(write_series, tmp_path: Path) -> None:
    study = write_series(SCAN, SeriesDescription="AX T1 GD")
    write_series(SCAN + 1, SeriesDescription="AX T2")
    write_noise(study / "flair.nii.gz")
    for volume in read_case(study).volumes.values():
        np.testing.assert_array_equal(
            sitk.GetArrayFromImage(read_source(volume.source).image), sitk.GetArrayFromImage(volume.image)
        )


def test_source_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 were found"):
        read_source(Source(tmp_path, "1.2.3.4"))


def test_protocol_speaks_where_the_description_does_not(write_series) -> None:
    study = write_series(SCAN, SeriesDescription="tra 3mm", ProtocolName="t2_tse_tra")
    assert set(identify(study)) == {T2W}


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"PatientID": "P2"}, r"2 studies: 2020-01-02 of P1 \(1 series\), 2020-01-02 of P2 \(1 series\)"),
        ({"StudyDate": "20200409"}, r"2020-01-02 of P1 \(1 series\), 2020-04-09 of P1 \(1 series\); say which"),
        ({"StudyInstanceUID": "1.2.4"}, "2 studies: "),
    ],
)
def test_several_studies_are_refused_with_a_list(write_series, other: dict[str, str], sentence: str) -> None:
    study = write_series(SCAN, SeriesDescription="AX T1")
    write_series(SCAN, SeriesDescription="AX T2", **other)
    with pytest.raises(InputError, match=sentence):
        identify(study)


def test_one_of_several_studies_is_chosen_by_date_or_uid(write_series) -> None:
    study = write_series(SCAN, SeriesDescription="AX T1 post", StudyInstanceUID="1.1")
    write_series(SCAN + 1, SeriesDescription="AX FLAIR", StudyInstanceUID="1.1")
    write_series(SCAN, SeriesDescription="AX T1 post", StudyInstanceUID="1.2", StudyDate="20200104", StudyTime="0830")
    write_series(SCAN + 1, SeriesDescription="AX T2", StudyInstanceUID="1.3", StudyDate="20200104", StudyTime="0910")
    for exam in ("1.1", "20200102", "2020-01-02"):
        assert set(identify(study, dicom_study=exam)) == {T1C, T2F}
    assert set(identify(study, dicom_study="1.3")) == {T2W}
    assert set(identify(study, dicom_study="2020-01-04")) == {T1C, T2W}  # one visit, two UIDs
    (doubt,) = read_case(study, dicom_study="2020-01-04").doubts
    assert doubt.startswith("The series are of several DICOM studies ('AX T1 post' at 0830, 'AX T2' at 0910); check")
    assert read_case(study, dicom_study="1.1").doubts == ()
    with pytest.raises(InputError, match=r"no study '20200105', but 2020-01-02 of P1 \(2 series\), 2020-01-04"):
        identify(study, dicom_study="20200105")
    write_series(SCAN, SeriesDescription="AX T2", StudyInstanceUID="2.1", PatientID="P2")
    with pytest.raises(InputError, match="studies of several patients on 2020-01-02"):
        identify(study, dicom_study="20200102")
    assert set(read_case(study, dicom_study="2.1").volumes) == {T2W}


def test_images_of_two_studies_of_one_day_are_a_doubt_also_from_another_program(write_series) -> None:
    first = write_series(SCAN, "first", SeriesDescription="AX T1 post", StudyInstanceUID="1.2", StudyTime="0830")
    second = write_series(SCAN + 1, "second", SeriesDescription="AX FLAIR", StudyInstanceUID="1.3", StudyTime="1610")
    case = read_case(None, {T1C: first, T2F: second}, "case")
    doubts = [doubt for doubt in case.doubts if "'AX T1 post' at 0830, 'AX FLAIR' at 1610" in doubt]
    assert len(doubts) == 1
    made = dataclasses.replace(case, doubts=())
    files = {T2F: tuple(second.iterdir()), T1C: tuple(first.iterdir())}
    assert described_by_dicom(made, files).doubts == tuple(doubts)


def test_a_dicom_study_cannot_be_chosen_among_image_files(tmp_path: Path) -> None:
    write_noise(tmp_path / "a_t2.nii.gz")
    with pytest.raises(InputError, match="holds no study '20200102', but no DICOM series"):
        identify(tmp_path, dicom_study="20200102")


def test_the_list_of_studies(write_series) -> None:
    folder = write_series(SCAN, SeriesDescription="AX T1 post", StudyInstanceUID="1.2", StudyDate="20210304")
    write_series(SCAN, SeriesDescription="AX FLAIR", StudyInstanceUID="1.2", StudyDate="20210304", leave_out=(2,))
    write_series(SCAN, SeriesDescription="SAG T1", StudyInstanceUID="1.1", StudyTime="081530")
    first, second = list_studies(folder)
    assert (first.patient, first.date, first.uid) == ("P1", "20200102", "1.1")
    assert [(one.name, one.sequence, one.problem) for one in first.series] == [("SAG T1", T1N, None)]
    assert [one.sequence for one in second.series] == [T2F, T1C]
    assert "lacks 1 slice" in second.series[0].problem
    text = to_text([first, second], folder)
    assert text.index("1. P1, 2020-01-02 08:15   --exam 1.1") < text.index("2. P1, 2021-03-04   --exam 1.2")
    assert "cannot be read: The series 'AX FLAIR'" in text
    assert "--time-point" in text
    assert json.loads(to_json([first, second]))[1]["series"][1]["slices"] == len(SCAN)


def test_a_list_marks_what_is_not_known(write_series, tmp_path: Path) -> None:
    folder = write_series(SCAN, SeriesDescription="AX T2")
    write_series(SCAN + 1, SeriesDescription="AX T2 again")
    (row,) = list_studies(folder)
    assert "T2 could be any of" in row.refusal
    assert row.refusal in to_text([row], folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no MR series"):
        list_studies(tmp_path / "empty")
    with pytest.raises(InputError, match="is no folder"):
        list_studies(tmp_path / "nowhere")


# What scanners of three makers call the four sequences, with the times that they tell. No tag names the contrast
# medium, as in many hospitals.
VENDORS = {
    "Siemens": {
        T1N: ("t1_mpr_sag_p2_iso", {"RepetitionTime": 2300, "EchoTime": 2.98, "InversionTime": 900}),
        T1C: ("t1_mpr_tra_iso_KM", {"RepetitionTime": 2300, "EchoTime": 2.98, "InversionTime": 900}),
        T2W: ("t2_tse_tra_512_4mm", {"RepetitionTime": 6000, "EchoTime": 99}),
        T2F: ("t2_spc_da-fl_sag_p2_iso", {"RepetitionTime": 5000, "EchoTime": 387, "InversionTime": 1800}),
    },
    "GE": {
        T1N: ("Sag T1 FSPGR BRAVO", {"RepetitionTime": 8.2, "EchoTime": 3.2, "InversionTime": 450}),
        T1C: ("AX T1 FSPGR BRAVO +C", {"RepetitionTime": 8.2, "EchoTime": 3.2, "InversionTime": 450}),
        T2W: ("Ax T2 FRFSE PROPELLER", {"RepetitionTime": 5200, "EchoTime": 102}),
        T2F: ("Sag CUBE T2 FLAIR", {"RepetitionTime": 6300, "EchoTime": 125, "InversionTime": 1800}),
    },
    "Philips": {
        T1N: ("T1W_3D_TFE_SAG", {"RepetitionTime": 7.6, "EchoTime": 3.5}),
        T1C: ("sT1W_3D_TFE_GADO", {"RepetitionTime": 7.6, "EchoTime": 3.5}),
        T2W: ("T2W_TSE_TRA", {"RepetitionTime": 3000, "EchoTime": 80}),
        T2F: ("3D_Brain_VIEW_FLAIR", {"RepetitionTime": 4800, "EchoTime": 340, "InversionTime": 1650}),
    },
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_descriptions_of_several_makers_without_a_tag_for_contrast(write_series, vendor: str) -> None:
    for number, (sequence, (description, tags)) in enumerate(VENDORS[vendor].items(), start=1):
        kinds = ["SE", "IR"] if sequence is T2F else ["SE"] if sequence is T2W else ["GR"]
        folder = write_series(
            SCAN + number, SeriesDescription=description, SeriesNumber=number, ScanningSequence=kinds, **tags
        )
    found = {sequence: one.candidate.tags.description for sequence, one in identify(folder).items()}
    assert found == {sequence: description for sequence, (description, _) in VENDORS[vendor].items()}


def test_dicom_folder_as_override(write_series, tmp_path: Path) -> None:
    folder = write_series(SCAN, SeriesDescription="unknown")
    assert identify(None, {T2W: folder})[T2W].candidate.name == "unknown"
    write_series(SCAN + 1, SeriesDescription="another", SeriesNumber=9)
    with pytest.raises(InputError, match=r"holds 2 volumes \(#1 another \(series 9\), #2 unknown\)"):
        identify(None, {T2W: folder})
