"""The model and the review of a segmentation, for all DICOM objects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from GliomaSegLib.case import TimePoint
from GliomaSegLib.options import ExportBy, ReviewState
from GliomaSegLib.results.manifest import Manifest

MANUFACTURER = "GliomaSeg"
_LONG_STRING = 64  # longest value of VR LO


@dataclass(frozen=True)
class Provenance:
    """Where a segmentation comes from.

    Attributes:
        algorithm, version: ID and version of the model.
        software: version of GliomaSeg.
        edited: whether a person has changed the contours.
        reviewer: who approved it, as a DICOM person name; empty if it is not approved.
        reviewed: time of the approval.
        content: what the structures are: regions, parts or lesions.
    """

    algorithm: str
    version: str
    software: str
    edited: bool
    state: ReviewState
    reviewer: str
    reviewed: datetime | None
    time_point: TimePoint
    content: ExportBy = ExportBy.REGIONS

    @classmethod
    def of(cls, manifest: Manifest, content: ExportBy = ExportBy.REGIONS) -> Provenance:
        """From the manifest of a folder of results."""
        last = manifest.reviews[-1] if manifest.reviews else None
        approval = last if manifest.review is ReviewState.APPROVED else None
        return cls(
            algorithm=manifest.model.id[:_LONG_STRING],
            version=manifest.model.version[:_LONG_STRING],
            software=manifest.versions.get("GliomaSeg", "from source")[:_LONG_STRING],
            edited=manifest.changed is not None,
            state=manifest.review,
            reviewer=_person_name(approval.by or "") if approval else "",
            reviewed=datetime.fromisoformat(approval.when) if approval else None,
            time_point=manifest.when,
            content=content,
        )

    @property
    def model(self) -> str:
        """ID and version of the model, as far as they fit into VR LO."""
        return f"{self.algorithm} {self.version}"[:_LONG_STRING]

    def series(self, what: str) -> str:
        """The Series Description of a kind of object (``what``)."""
        state = {ReviewState.DRAFT: "not reviewed"}.get(self.state, self.state.value)
        return f"{MANUFACTURER} {what}; {state}; research only"[:_LONG_STRING]

    @property
    def description(self) -> str:
        """A description with the state of review that fits into VR LO."""
        what = {
            ReviewState.DRAFT: "not reviewed",
            ReviewState.EDITED: "edited, not approved",
            ReviewState.APPROVED: "approved by the reviewer",
            ReviewState.REJECTED: "rejected",
        }[self.state]
        return f"Research use only; {what}"[:_LONG_STRING]


def _person_name(name: str) -> str:
    """The name within the limits of VR PN, with at least one delimiter, without which readers warn about it."""
    name = re.sub(r"[\\=\x00-\x1f]+", " ", name)[: _LONG_STRING - 1].strip()
    return name if not name or "^" in name else f"{name}^"
