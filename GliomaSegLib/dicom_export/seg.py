"""DICOM Segmentation (SEG), one binary segment per structure, on the frames of the source series."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import generate_uid

from GliomaSegLib.dicom_export.provenance import MANUFACTURER, Provenance
from GliomaSegLib.dicom_export.source import SourceSeries
from GliomaSegLib.dicom_export.structure import Structure, drawn
from GliomaSegLib.io.terminology import Code

SERIES_NUMBER = 901


def make_seg(source: SourceSeries, structures: Sequence[Structure], about: Provenance) -> hd.seg.Segmentation:
    """Make the segmentation. If no structure has voxels, the first one is a segment with empty frames."""
    structures = drawn(structures)
    source.frame_of_reference  # noqa: B018 - raises an error for a series without one
    algorithm = hd.AlgorithmIdentificationSequence(
        name=about.algorithm, version=about.version, family=codes.DCM.ArtificialIntelligence
    )
    kind = hd.seg.SegmentAlgorithmTypeValues
    masks = _masks(structures)
    return hd.seg.Segmentation(
        source_images=source.files,
        pixel_array=masks[np.argsort(source.frames)] if source.frames else masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=one.name,
                segmented_property_category=dicom_code(one.category),
                segmented_property_type=dicom_code(one.type),
                algorithm_type=kind.SEMIAUTOMATIC if about.edited else kind.AUTOMATIC,
                algorithm_identification=algorithm,
                tracking_uid=one.tracking_uid,
                tracking_id=one.name,
                display_color=hd.color.CIELabColor.from_rgb(*one.colour),
            )
            for number, one in enumerate(structures, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=about.model,
        software_versions=about.software,
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description=about.description,
        content_creator_name=about.reviewer or None,
        omit_empty_frames=any(one.inside.any() for one in structures),
        series_description=about.series(f"SEG of {about.content}"),
    )


def _masks(structures: Sequence[Structure]) -> NDArray[np.unsignedinteger]:
    """A label map ``[z, y, x]`` of segment numbers; ``[z, y, x, segment]`` of 0 and 1 for structures that overlap."""
    numbers = np.zeros(structures[0].shape, np.min_scalar_type(len(structures)))
    for number, one in enumerate(structures, start=1):
        here = numbers[one.box]
        if here[one.inside].any():
            return np.stack([each.mask for each in structures], axis=-1).astype(np.uint8)
        here[one.inside] = number
    return numbers


def dicom_code(code: Code) -> DicomCode:
    """The code for pydicom and highdicom."""
    return DicomCode(code.code, code.scheme, code.meaning)
