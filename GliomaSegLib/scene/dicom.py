"""Volumes loaded from DICOM: their files, series and patient, from Slicer's DICOM database and subject hierarchy."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import slicer

from GliomaSegLib.case import StudyIdentity
from GliomaSegLib.scene.hierarchy import ancestor, hierarchy_of

_NAMES = slicer.vtkMRMLSubjectHierarchyConstants
_ACCESSION_NUMBER, _SERIES_DESCRIPTION = "0008,0050", "0008,103E"


class SeriesNote(NamedTuple):
    """How the panel describes a DICOM series; ``number`` may be empty, ``images`` is the number of slices."""

    number: str
    description: str
    images: int


def instances_of(volume: slicer.vtkMRMLNode | None) -> list[str]:
    """SOP Instance UIDs of a volume's slices, which Slicer stores at loading; empty when not loaded from DICOM."""
    return (volume.GetAttribute("DICOM.instanceUIDs") or "").split() if volume is not None else []


def files_of(volume: slicer.vtkMRMLNode | None) -> list[Path]:
    """The DICOM files of a volume; none when Slicer's database lacks one of them, or it no longer exists."""
    instances = instances_of(volume)
    files = [file for instance in instances if (file := file_of_instance(instance)) is not None]
    return files if len(files) == len(instances) else []


def file_of_instance(instance: str) -> Path | None:
    """The file of a DICOM instance, if Slicer's database has it and it still exists."""
    database = _database()
    name = database.fileForInstance(instance) if database is not None else ""
    return Path(name) if name and Path(name).is_file() else None


def series_of(volume: slicer.vtkMRMLNode) -> SeriesNote | None:
    """The series that a volume was loaded from; ``None`` when it was not loaded from DICOM."""
    instances, hierarchy = instances_of(volume), hierarchy_of(volume)
    if not instances:
        return None
    item = hierarchy.GetItemByDataNode(volume)
    number = hierarchy.GetItemAttribute(item, _NAMES.GetDICOMSeriesNumberAttributeName()) if item else ""
    return SeriesNote(number, _value(instances[0], _SERIES_DESCRIPTION) or volume.GetName(), len(instances))


def identity_of(volume: slicer.vtkMRMLNode) -> StudyIdentity:
    """Patient and study of a volume, without image numbers; empty when it has no patient in the subject hierarchy.

    The accession number is read from the first file, as the hierarchy does not hold it.
    """
    patient, study = (ancestor(volume, level) for level in (_NAMES.GetDICOMLevelPatient(), _NAMES.GetDICOMLevelStudy()))
    if not patient:
        return StudyIdentity()
    hierarchy, instances = hierarchy_of(volume), instances_of(volume)
    name = hierarchy.GetItemAttribute(patient, _NAMES.GetDICOMPatientNameAttributeName())
    return StudyIdentity(
        patient_id=hierarchy.GetItemAttribute(patient, _NAMES.GetDICOMPatientIDAttributeName()),
        patient_name=(name or hierarchy.GetItemName(patient)).replace("^", " ").strip(),
        study_date=hierarchy.GetItemAttribute(study, _NAMES.GetDICOMStudyDateAttributeName()) if study else "",
        accession_number=_value(instances[0], _ACCESSION_NUMBER) if instances else "",
    )


def case_name(volume: slicer.vtkMRMLNode) -> str:
    """The name of a case from its reference image: patient and date of the study (``4711 2024-05-31``), or empty.

    The patient's name is used only where there is no patient ID, since the case names files.
    """
    identity = identity_of(volume)
    return " ".join(filter(None, (identity.patient_id or identity.patient_name, identity.day)))


def _database() -> Any:
    database = getattr(slicer, "dicomDatabase", None)  # not in slicer-core
    return database if database is not None and database.isOpen else None


def _value(instance: str, tag: str) -> str:
    return _read_value(instance, tag) if _database() is not None else ""


@lru_cache(maxsize=64)  # the panel asks often, and a value that is not in the database is read from the file
def _read_value(instance: str, tag: str) -> str:
    return (slicer.dicomDatabase.instanceValue(instance, tag) or "").strip()
