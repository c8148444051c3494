"""The files of a result folder. Standard library only.

========================= =====================================================================================
``segmentation.nii.gz``   label map on the reference image's own grid, in the numbering that the job asked for
``segmentation.seg.nrrd`` the same for 3D Slicer, with names, colours and terminology
``measures.json, .csv``   volumes, components, diameters
``report.html``           the page for the reader, without external parts
``brain.nii.gz``          brain mask on the same grid
``probability_*.nii.gz``  0..255, cropped to where the region may be; only for maps that may be thresholded again,
                          unless all were asked for, each on the whole grid (:func:`.reading.read_probabilities`)
``agreement.nii.gz``      of an ensemble: how far its members agree, 0 to 100 per cent, on the same grid
``transforms/*.tfm``      from the reference image to each sequence that had to be moved (ITK, LPS mm)
``manifest.json``         images, model, options, times, hashes and reviews
``tracked_*, *.json``     after an export: identities of lesions (``tracking.json``), objects (``exported.json``)
========================= =====================================================================================
"""

from __future__ import annotations

from pathlib import Path

from GliomaSegLib.case import Modality
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.labels import Region

LABEL_MAP = "segmentation.nii.gz"
SLICER_SEGMENTATION = "segmentation.seg.nrrd"
MEASURES_JSON = "measures.json"
MEASURES_CSV = "measures.csv"
REPORT = "report.html"
BRAIN = "brain.nii.gz"
AGREEMENT = "agreement.nii.gz"

# The keys of ``Result.files``, besides ``probability_WT`` and so on. All of these are written anew at every update.
FILES = {
    "label_map": LABEL_MAP,
    "slicer_segmentation": SLICER_SEGMENTATION,
    "measures_json": MEASURES_JSON,
    "measures_csv": MEASURES_CSV,
    "report": REPORT,
    "brain": BRAIN,
    "manifest": MANIFEST,
}


def probability_map(folder: Path, region: Region) -> Path:
    """The file of a region's probability map."""
    return folder / f"probability_{region.value}.nii.gz"


def transform_file(folder: Path, modality: Modality) -> Path:
    """The file of the transform from the reference image to a sequence."""
    return folder / "transforms" / f"{modality.value}.tfm"
