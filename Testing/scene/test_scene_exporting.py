"""A result exported as DICOM from the scene, with the real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from pydicom.uid import generate_uid  # noqa: E402

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import GliomaSegError  # noqa: E402
from GliomaSegLib.scene.attributes import SERIES  # noqa: E402
from GliomaSegLib.scene.comparison import comparison_with  # noqa: E402
from GliomaSegLib.scene.keeping import Files, packed  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from Testing.support.study import volume  # noqa: E402

PATIENT = {
    "FrameOfReferenceUID": generate_uid(), "PatientName": "A^B", "PatientBirthDate": "", "PatientSex": "",
    "StudyTime": "", "StudyID": "1", "AccessionNumber": "", "ReferringPhysicianName": "", "SeriesNumber": 3,
    "PositionReferenceIndicator": "", "Manufacturer": "none",
}  # fmt: skip


@pytest.fixture
def dicom_study(write_series: Any, tmp_path: Path) -> Path:
    """T1c and FLAIR as DICOM, all files in one folder, as Slicer's database may have them."""
    for name, sequence in (("T1 post gad", Modality.T1C), ("FLAIR", Modality.T2F)):
        image = volume(sequence)
        pixels = np.round(sitk.GetArrayFromImage(image)).astype(np.int16)
        place = {"origin_mm": image.GetOrigin(), "spacing_mm": image.GetSpacing()}
        write_series(pixels, folder="study", SeriesDescription=name, **place, **PATIENT)
    return tmp_path / "study"


def test_study_from_dicom_is_exported(
    logic: SceneLogic, options: dict[str, Any], dicom_study: Path, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    node = logic.segmentStudy(dicom_study, **options).result.segmentation
    files = logic.exportDicom(node, tmp_path / "out").result
    assert {kind: path.name for kind, path in files.items()} == {
        "seg": "seg.dcm", "sr": "sr.dcm", "rtstruct": "rtstruct.dcm"
    }  # fmt: skip
    written = pydicom.dcmread(files["seg"])
    assert written.ReferencedSeriesSequence[0].SeriesInstanceUID == node.GetAttribute(SERIES)
    assert "not reviewed" in written.SeriesDescription
    with pytest.raises(GliomaSegError, match="exists already"):
        logic.exportDicom(node, tmp_path / "out")


def test_lesions_keep_the_numbers_of_the_comparison_in_every_study(
    logic: SceneLogic, options: dict[str, Any], dicom_study: Path, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    later = tmp_path / "later"
    later.mkdir()
    for path in dicom_study.iterdir():  # another examination has no voxel by voxel equal images
        file = pydicom.dcmread(path)
        file.PixelData = (file.pixel_array + (file.pixel_array > 0)).astype("<i2").tobytes()
        file.save_as(later / path.name)
    before, after = (logic.segmentStudy(one, **options).result.segmentation for one in (dicom_study, later))
    logic.compareStudies(after, before, in_place=True)
    uids = []
    for number, node in enumerate((before, after)):
        compared, outdated = comparison_with(node)
        assert not outdated
        folder = logic.resultFolder(compared, Files.COMPARISON)
        files = logic.exportDicom(node, tmp_path / f"out{number}", ["seg"], by="lesions", comparison=folder).result
        segments = pydicom.dcmread(files["seg"]).SegmentSequence
        uids.append([segment.TrackingUID for segment in segments])
    assert uids[0] == uids[1]
    alone = logic.exportDicom(after, tmp_path / "alone", ["seg"], by="lesions").result
    again = [segment.TrackingUID for segment in pydicom.dcmread(alone["seg"]).SegmentSequence]
    assert again == uids[1], "what was exported keeps its UID"
    kept = packed(logic.resultFolder(after))
    assert after.GetNodeReference(Files.RESULT.role).GetText() == kept, "in the scene too"
    with pytest.raises(GliomaSegError, match="export with '--by lesions'"):
        logic.exportDicom(after, tmp_path / "again", ["seg"], comparison=folder)


def test_volumes_that_slicer_read_from_dicom_are_exported(
    logic: SceneLogic, nodes: dict[str, Any], options: dict[str, Any], dicom_study: Path, tmp_path: Path
) -> None:
    """The series' files are known, and another one on the same grid lies among them."""
    node = logic.segment(**nodes, **options).result.segmentation
    assert node.GetAttribute(SERIES) is None
    with pytest.raises(GliomaSegError, match="is no DICOM series"):
        logic.exportDicom(node, tmp_path / "out", ["rtstruct"])
    headers = {path: pydicom.dcmread(path) for path in dicom_study.iterdir()}
    series = [path for path, header in headers.items() if header.SeriesDescription == "T1 post gad"]
    uid = headers[series[0]].SeriesInstanceUID
    files = logic.exportDicom(node, tmp_path / "out", ["rtstruct"], series).result
    (frame,) = pydicom.dcmread(files["rtstruct"]).ReferencedFrameOfReferenceSequence
    assert frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID == uid
    logic.review(node, "rejected", "Dr No")
    with pytest.raises(GliomaSegError, match="was rejected by its reviewer"):
        logic.exportDicom(node, tmp_path / "again", ["rtstruct"], series)
    with pytest.raises(GliomaSegError, match="cannot be read"):
        logic.exportDicom(node, tmp_path / "again", ["rtstruct"], [tmp_path / "gone.dcm"])
    assert not (tmp_path / "again").exists()
