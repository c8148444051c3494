"""Names of MRML attributes, node references and tags that GliomaSeg sets. Saved scenes hold them: never rename them."""

from __future__ import annotations

from GliomaSegLib.case import Modality

# --- attributes of a segmentation node ---

OUTPUT = "GliomaSeg.Output"
"""The folder of results that the node shows."""
CREATED = "GliomaSeg.Created"
"""When the result was made, from its manifest: it distinguishes the folder from another one with the same path."""
RESULT_LABELS = "GliomaSeg.ResultLabels"
"""SHA-256 of the voxels that the folder held when the node last read or wrote it, from its manifest."""
GRID = "GliomaSeg.Grid"
"""The reference geometry of the result, as Slicer serialises it."""
TIME_POINT = "GliomaSeg.TimePoint"
"""``preoperative``, ``postoperative`` or ``unknown``."""
DAYS = "GliomaSeg.DaysSinceSurgery"
"""Days from surgery to the scan; absent when not known."""
SERIES = "GliomaSeg.Series"
"""The Series Instance UID of the reference image, when it was read from DICOM files."""
UNMEASURED = "GliomaSeg.Unmeasured"
"""Present when the node was changed since it was last measured."""
MEASURED_LABELS = "GliomaSeg.MeasuredLabels"
"""Digest of the voxels that were last measured."""
REVIEW_BEFORE_EDIT = "GliomaSeg.ReviewBeforeEdit"
"""The review that an edit has voided, a JSON list: state, by, when."""
ACCEPTED_LESIONS = "GliomaSeg.AcceptedLesions"
"""The lesions that a reader has confirmed, a JSON list."""
REVIEW_STATE = "GliomaSeg.Review"
REVIEWED_BY = "GliomaSeg.ReviewedBy"
REVIEWED_AT = "GliomaSeg.ReviewedAt"
COMPARISON = "GliomaSeg.Comparison"
"""The folder of the node's last comparison; also the role of the node references to its tables and plots."""
COMPARISON_OUTDATED = "GliomaSeg.ComparisonOutdated"
"""Present when one of the compared segmentations was changed since: the IDs (space-separated) of the nodes with an edit
that is not measured yet, or ``1`` once it is measured."""

# --- roles of node references of a segmentation node ---

# ``GliomaSeg.OutputFiles`` and ``GliomaSeg.ComparisonFiles``: see GliomaSegLib.scene.keeping.
TABLE = "GliomaSeg.table"
"""The table of volumes."""
COMPARED_WITH = "GliomaSeg.ComparedWith"
"""The segmentations of the earlier studies of the last comparison."""


def volume_role(modality: Modality) -> str:
    """The role of the reference to the image of one modality, e.g. ``GliomaSeg.t1c``."""
    return f"GliomaSeg.{modality.value}"


# --- on other objects ---

LABEL_TAG = "GliomaSeg.Label"
"""Tag of a segment: its label in the internal scheme."""
OVERLAY_OF = "GliomaSeg.OverlayOf"
"""Attribute of a volume node that shows a probability map: the id of the segmentation node."""
