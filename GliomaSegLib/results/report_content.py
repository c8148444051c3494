"""What the report says: the manifest, the measures and the images of a result, in the words of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint
from GliomaSegLib.measures.assessment import CaseAssessment
from GliomaSegLib.options import ReviewState
from GliomaSegLib.results.manifest import Manifest, ModelUsed, SequenceRecord


@dataclass(frozen=True)
class SequenceFound:
    """The file that was used for a sequence, how sure the identification is (0 to 1) and why."""

    sequence: Modality
    source: str
    confidence: float
    reason: str


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows.

    Attributes:
        images: the sequences, all resampled to the grid of ``labels``; without any, the report has no pictures.
        labels: internal label map.
        assessed: measures of ``labels``; regions that they lack are reported as not determined.
        reference: the sequence whose grid this is.
        brain: mask on the same grid.
        missing_cost: what the missing sequences cost, as the model's card says it.
        ignored: what the study holds besides and was not used, with the reasons.
        edited: whether a reviewer changed the labels.
        review_state: the state of the review, by whom and when.
        approved: whether that is an approval.
        method: how the result was made, as pairs of name and text (model, licence, citation, versions, times).
    """

    case_id: str
    images: Mapping[Modality, sitk.Image]
    labels: sitk.Image
    assessed: CaseAssessment
    reference: Modality
    brain: sitk.Image | None = None
    time_point: TimePoint = field(default_factory=TimePoint)
    created: str = ""
    found: tuple[SequenceFound, ...] = ()
    missing_cost: str = ""
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    method: Mapping[str, str] = field(default_factory=dict)
    review_state: str = "draft: not reviewed"
    approved: bool = False
    edited: bool = False


def report_content(
    manifest: Manifest,
    assessed: CaseAssessment,
    labels: sitk.Image,
    brain: sitk.Image,
    images: Mapping[Modality, sitk.Image],
) -> ReportContent:
    """The content of a result's report; arguments as the attributes of :class:`ReportContent`."""
    return ReportContent(
        case_id=manifest.case_id,
        images=images,
        labels=labels,
        assessed=assessed,
        reference=manifest.reference,
        brain=brain,
        time_point=manifest.when,
        created=_minute(manifest.changed or manifest.created),
        found=tuple(
            SequenceFound(modality, record.name or record.path.name, record.confidence, record.reason)
            for modality, record in manifest.sequences.items()
        ),
        missing_cost=manifest.cost or "",
        ignored=manifest.ignored,
        warnings=tuple(warning for warning in manifest.warnings if warning != manifest.cost),
        method=_method(manifest),
        review_state=_review_state(manifest),
        approved=manifest.review is ReviewState.APPROVED,
        edited=manifest.changed is not None,
    )


def _method(manifest: Manifest) -> dict[str, str]:
    model = manifest.model
    given = {
        "Model": _model_text(model),
        "Chosen because": manifest.choice,
        "Members": "; ".join(_member_text(member) for member in model.members),
        "Licence": model.licence,
        "Training": model.training,
        "Citation": model.citation,
        "Brain extraction": manifest.job.brain.value,
        "Registration": _registration_text(manifest),
        "Computed on": f"{model.device}, {model.precision}",
        "Time": ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in manifest.seconds.items()),
        "Software": ", ".join(f"{name} {number}" for name, number in manifest.versions.items()),
        "Review": _review_history(manifest),
    }
    return {name: text for name, text in given.items() if text}


def _model_text(model: ModelUsed) -> str:
    return f"{model.title} ({model.id} {model.version}), weights {model.weights_sha256[:12]}"


def _member_text(model: ModelUsed) -> str:
    return f"{_model_text(model)}. {model.training}" if model.training else _model_text(model)


def _review_state(manifest: Manifest) -> str:
    """The state, and of a review by whom and when."""
    text = {
        ReviewState.DRAFT: "draft: not reviewed",
        ReviewState.EDITED: "edited: not approved",
        ReviewState.APPROVED: "approved",
        ReviewState.REJECTED: "rejected",
    }[manifest.review]
    last = manifest.reviews[-1] if manifest.reviews else None
    if last is None or last.by is None or last.state is ReviewState.DRAFT:
        return text
    return f"{text} by {last.by}, {_minute(last.when)}"


def _review_history(manifest: Manifest) -> str:
    """All reviews; empty where the state of the review says it all."""
    if len(manifest.reviews) < 2:
        return ""
    return "; ".join(
        f"{event.state.value}{f' by {event.by}' if event.by else ''}, {_minute(event.when)}"
        for event in manifest.reviews
    )


def _minute(when: str) -> str:
    return f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M}"


def _registration_text(manifest: Manifest) -> str:
    texts = [
        _movement(modality, record)
        for modality, record in manifest.sequences.items()
        if not record.is_reference and (manifest.job.registration or record.transform_given)
    ]
    moved_to = f"to {manifest.reference.title}: {', '.join(texts)}"
    if not manifest.job.registration:
        return f"switched off by the user{f'; {moved_to}' if texts else ''}"
    return moved_to if texts else "not needed: a single sequence"


def _movement(modality: Modality, record: SequenceRecord) -> str:
    where = f"moved by {record.moved_mm:.1f} mm" if record.moved_mm else "in place"
    return f"{modality.title} {where}{', as given' if record.transform_given else ''}"
