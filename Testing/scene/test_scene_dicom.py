"""Whose study the volumes are that Slicer loaded from DICOM: shown before a run, kept with the result and reported."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality, StudyIdentity  # noqa: E402
from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.scene.dicom import SeriesNote, case_name, files_of, identity_of, series_of  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost  # noqa: E402
from Testing.support.study import volume  # noqa: E402

HEADERS = {
    "PatientName": "Muster^Eva", "PatientID": "4711", "StudyDate": "20240531", "AccessionNumber": "A-9",
    "SpecificCharacterSet": "ISO_IR 192",
}  # fmt: skip


@pytest.fixture
def loaded(
    host: SceneHost, nodes: dict[str, Any], write_series: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The volumes with what Slicer notes when it loads them from DICOM, and its database."""
    known = {}
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Muster^Eva (4711)")
    study = hierarchy.CreateStudyItem(patient, "brain (20240531)")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientName", "Muster^Eva")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientID", "4711")
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", "20240531")
    for number, (name, description) in enumerate((("t1c", "AX T1 POST"), ("t2f", "AX FLAIR")), start=6):
        image = volume(Modality(name))
        folder = write_series(
            np.round(sitk.GetArrayFromImage(image)).astype(np.int16), name, origin_mm=image.GetOrigin(),
            spacing_mm=image.GetSpacing(), SeriesDescription=description, SeriesNumber=number, **HEADERS,
        )  # fmt: skip
        headers = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda one: one.InstanceNumber)
        known |= {one.SOPInstanceUID: one for one in headers}
        nodes[name].SetAttribute("DICOM.instanceUIDs", " ".join(one.SOPInstanceUID for one in headers))
        hierarchy.SetItemAttribute(hierarchy.CreateItem(study, nodes[name]), "DICOM.SeriesNumber", str(number))
    database = types.SimpleNamespace(
        isOpen=True,
        fileForInstance=lambda uid: known[uid].filename,
        instanceValue=lambda uid, tag: str(known[uid][tag.replace(",", "")].value),
    )
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return nodes


def test_patient_study_and_series_are_known_before_a_run(loaded: dict[str, Any], nodes: dict[str, Any]) -> None:
    assert identity_of(loaded["t1c"]) == StudyIdentity("4711", "Muster Eva", "20240531", "A-9")
    images = len(slicer.util.arrayFromVolume(loaded["t1c"]))
    assert series_of(loaded["t1c"]) == SeriesNote("6", "AX T1 POST", images)
    assert len(files_of(loaded["t2f"])) == images
    assert case_name(loaded["t1c"]) == "4711 2024-05-31"


def test_images_of_two_studies_of_a_patient_are_refused(
    logic: SceneLogic, host: SceneHost, loaded: dict[str, Any], options: dict[str, Any]
) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
    item = hierarchy.GetItemByDataNode(loaded["t2f"])
    patient = hierarchy.GetItemParent(hierarchy.GetItemParent(item))
    later = hierarchy.CreateStudyItem(patient, "brain (20240901)")
    hierarchy.SetItemAttribute(later, "DICOM.StudyDate", "20240901")
    hierarchy.SetItemParent(item, later)
    with pytest.raises(InputError, match=r"several study dates \(20240531, 20240901\)"):
        logic.segment(**loaded, **options)


def test_images_that_are_not_from_dicom_have_no_identity(nodes: dict[str, Any]) -> None:
    assert identity_of(nodes["t1c"]) == StudyIdentity()
    assert series_of(nodes["t1c"]) is None
    assert files_of(nodes["t1c"]) == []
    assert case_name(nodes["t1c"]) == ""


def test_the_identity_is_kept_with_the_result_and_stands_in_its_report(
    logic: SceneLogic, loaded: dict[str, Any], options: dict[str, Any]
) -> None:
    output = logic.segment(**loaded, **options).result.output
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    images = len(slicer.util.arrayFromVolume(loaded["t1c"]))
    numbers = list(range(1, images + 1))
    assert manifest["identity"] == {
        "patient_id": "4711", "patient_name": "Muster Eva", "study_date": "20240531", "accession_number": "A-9",
        "image_numbers": numbers,
    }  # fmt: skip
    assert manifest["sequences"]["t1c"]["name"] == "AX T1 POST (series 6)"
    assert "dicom" not in manifest["job"], "hundreds of paths"
    report = (output / "report.html").read_text(encoding="utf-8")
    assert "Muster Eva · patient 4711 · study of 2024-05-31 · accession A-9" in report
    assert output.parent.name == "4711_2024-05-31"


def test_images_that_were_moved_have_no_image_numbers(
    logic: SceneLogic, host: SceneHost, loaded: dict[str, Any], options: dict[str, Any]
) -> None:
    host.add_transform(MOVED, *loaded.values())
    output = logic.segment(**loaded, **options).result.output
    identity = json.loads((output / "manifest.json").read_text(encoding="utf-8"))["identity"]
    assert (identity["patient_id"], identity["image_numbers"]) == ("4711", [])


def test_nothing_of_the_patient_is_kept_where_that_is_switched_off(
    logic: SceneLogic, loaded: dict[str, Any], options: dict[str, Any]
) -> None:
    output = logic.segment(**loaded, **options, identity=False).result.output
    manifest = (output / "manifest.json").read_text(encoding="utf-8")
    assert json.loads(manifest)["identity"] is None
    for text in (manifest, (output / "report.html").read_text(encoding="utf-8"), str(output.relative_to(logic.folder))):
        assert not any(name in text for name in ("Muster", "4711", "2024-05-31", "20240531", "A-9"))
