"""Images that Slicer loaded from DICOM: their files, series and patient, as its database and hierarchy know them."""

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
    """A DICOM series as a person knows it; the number may be empty."""

    number: str
    description: str
    images: int


def instances_of(volume: slicer.vtkMRMLNode | None) -> list[str]:
    """SOP Instance UIDs of the slices of a volume, as Slicer notes them at loading; none of other images."""
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
    """The series that a volume was loaded from; ``None`` of other images."""
    instances, hierarchy = instances_of(volume), hierarchy_of(volume)
    if not instances:
        return None
    item = hierarchy.GetItemByDataNode(volume)
    number = hierarchy.GetItemAttribute(item, _NAMES.GetDICOMSeriesNumberAttributeName()) if item else ""
    return SeriesNote(number, _value(instances[0], _SERIES_DESCRIPTION) or volume.GetName(), len(instances))


def identity_of(volume: slicer.vtkMRMLNode) -> StudyIdentity:
    """Whose study an image is of; empty when it stands below no patient in the subject hierarchy.

    The numbers of its images are not among it. The accession number is in the files alone.
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
    """The name of a case, after the image that it is drawn on: patient and date of the study (``4711 2024-05-31``).

    It is empty where they are not known. The patient's ID stands before the name, which then comes into no name of a
    file.
    """
    identity = identity_of(volume)
    return " ".join(filter(None, (identity.patient_id or identity.patient_name, identity.day)))


def _database() -> Any:
    database = getattr(slicer, "dicomDatabase", None)  # not in slicer-core
    return database if database is not None and database.isOpen else None


def _value(instance: str, tag: str) -> str:
    return _read_value(instance, tag) if _database() is not None else ""


@lru_cache(maxsize=64)  # the panel looks often, and a value that the database does not keep is read from the file
def _read_value(instance: str, tag: str) -> str:
    return (slicer.dicomDatabase.instanceValue(instance, tag) or "").strip()
