"""Who made the segmentation and how it was reviewed, for all DICOM objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from GliomaSegLib.case import TimePoint
from GliomaSegLib.options import ExportBy, ReviewState
from GliomaSegLib.results.manifest import Manifest

MANUFACTURER = "GliomaSeg"
# DICOM's short strings end here.
_LONG_STRING = 64


@dataclass(frozen=True)
class Provenance:
    """Where a segmentation comes from.

    Attributes:
        algorithm, version: of the model.
        edited: whether a person has changed the contours.
        reviewer: of an approval, as DICOM writes a name; empty otherwise.
        reviewed: when.
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
            algorithm=manifest.model.id,
            version=manifest.model.version,
            software=manifest.versions.get("GliomaSeg", "from source"),
            edited=manifest.changed is not None,
            state=manifest.review,
            reviewer=_person_name(approval.by or "") if approval else "",
            reviewed=datetime.fromisoformat(approval.when) if approval else None,
            time_point=manifest.when,
            content=content,
        )

    def series(self, what: str) -> str:
        """The description of a series with ``what`` in it, so that no two kinds of object are called alike."""
        state = {ReviewState.DRAFT: "not reviewed"}.get(self.state, self.state.value)
        return f"{MANUFACTURER} {what}; {state}; research only"[:_LONG_STRING]

    @property
    def description(self) -> str:
        """That it is for research, and the state of review, short enough for any description in DICOM."""
        what = {
            ReviewState.DRAFT: "not reviewed",
            ReviewState.EDITED: "edited, not approved",
            ReviewState.APPROVED: "approved by the reviewer",
            ReviewState.REJECTED: "rejected",
        }[self.state]
        return f"Research use only; {what}"[:_LONG_STRING]


def _person_name(name: str) -> str:
    """With at least one delimiter: without any, readers take a name in one piece for a mistake."""
    return name if not name or "^" in name else f"{name}^"
