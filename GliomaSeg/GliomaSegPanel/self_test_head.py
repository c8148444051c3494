"""The generated head of the self-test, and what the self-test does with the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

_VOXELS, _SPACING_MM = 80, 2.0
_HEAD_MM, _BRAIN_MM, _EDEMA_MM, _CORE_MM, _NECROSIS_MM = 74.0, 66.0, 20.0, 12.0, 6.0
TUMOUR_RAS_MM = (30.0, 14.0, 10.0)  # the patient's right
TUMOUR_ML = 4 / 3 * np.pi * _EDEMA_MM**3 / 1000


def load_head() -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """T1 + contrast and FLAIR of a round head with a round tumour of known size and place."""
    middle = (_VOXELS - 1) / 2
    k, j, i = (np.indices((_VOXELS,) * 3) - middle) * _SPACING_MM
    ras = np.stack([-i, -j, k])
    from_centre = np.sqrt((ras**2).sum(axis=0))
    from_tumour = np.sqrt(((ras - np.reshape(TUMOUR_RAS_MM, (3, 1, 1, 1))) ** 2).sum(axis=0))
    noise = np.random.default_rng(0).normal(0, 4, from_centre.shape)
    images = {}
    for name, title, values in (("t1c", "T1 post gad", (90, 80, 200, 40)), ("t2f", "FLAIR", (100, 210, 190, 150))):
        brain, edema, core, necrosis = values
        image = np.where(from_centre < _BRAIN_MM, brain + noise, 0)
        for radius, value in ((_EDEMA_MM, edema), (_CORE_MM, core), (_NECROSIS_MM, necrosis)):
            image = np.where(from_tumour < radius, value + noise, image)
        node = slicer.util.addVolumeFromArray(np.clip(image, 0, None).astype(np.float32), name=title)
        node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
        node.SetSpacing(*(_SPACING_MM,) * 3)
        node.SetOrigin(middle * _SPACING_MM, middle * _SPACING_MM, -middle * _SPACING_MM)
        images[name] = node
    return images


def drawn_like(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """A copy of a segmentation on ``volume`` without a folder of results, as if drawn by hand."""
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "before surgery")
    copy.GetSegmentation().DeepCopy(node.GetSegmentation())
    copy.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    copy.CreateDefaultDisplayNodes()
    return copy


def write_series(volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> Path:
    """Write an axial volume of the test as a DICOM series into a new folder, which is returned."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir()
    right, anterior, superior = volume.GetOrigin()
    study, series, frame = (generate_uid() for _ in range(3))
    for index, pixels in enumerate(slicer.util.arrayFromVolume(volume).astype("<i2")):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        elements = {
            "SOPClassUID": MRImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID, "StudyInstanceUID": study,
            "SeriesInstanceUID": series, "FrameOfReferenceUID": frame, "Modality": "MR", "PatientName": "Test^Head",
            "PatientID": "GliomaSegTest", "PatientBirthDate": "", "PatientSex": "", "StudyDate": "20260101",
            "StudyTime": "", "StudyID": "1", "AccessionNumber": "", "ReferringPhysicianName": "", "Manufacturer": "",
            "PositionReferenceIndicator": "", "SeriesNumber": 1, "InstanceNumber": index + 1,
            "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [-right, -anterior, superior + index * _SPACING_MM],
            "PixelSpacing": [_SPACING_MM] * 2, "SliceThickness": _SPACING_MM, "Rows": _VOXELS, "Columns": _VOXELS,
            "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16,
            "HighBit": 15, "PixelRepresentation": 1, "PixelData": pixels.tobytes(),
        }  # fmt: skip
        for keyword, value in elements.items():
            setattr(slice_, keyword, value)
        slice_.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return folder


def node_ids() -> set[str]:
    """Ids of all nodes but the subject hierarchy, which Slicer makes at its first use."""
    nodes = slicer.util.getNodesByClass("vtkMRMLNode")
    return {node.GetID() for node in nodes if not node.IsA("vtkMRMLSubjectHierarchyNode")}


def volume_ml(node: slicer.vtkMRMLSegmentationNode) -> float:
    """Volume of the whole tumour."""
    from GliomaSegLib.label_maps import region_mask
    from GliomaSegLib.labels import Region
    from GliomaSegLib.scene.segmentation import labels_of

    labels, matrix = labels_of(node)
    return float(region_mask(labels, Region.WT).sum() * abs(np.linalg.det(matrix[:3, :3])) / 1000)


def remove_upper_half(node: slicer.vtkMRMLSegmentationNode) -> None:
    """An edit as the Segment Editor makes it: voxels of the segments' label maps are cleared."""
    from GliomaSegLib.label_maps import region_mask
    from GliomaSegLib.labels import Region
    from GliomaSegLib.scene.segmentation import labels_of, set_labels

    labels, _matrix = labels_of(node)
    occupied = np.flatnonzero(region_mask(labels, Region.WT).any(axis=(1, 2)))
    labels[int(occupied.mean()) :] = 0
    set_labels(node, labels)


def shown_beside_mm(point: tuple[float, ...]) -> float:
    """Distance of the slice that the axial view shows from a point (RAS mm)."""
    matrix = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    normal, place = ([matrix.GetElement(row, column) for row in range(3)] for column in (2, 3))
    return float(abs(np.dot(normal, np.subtract(point, place))))
