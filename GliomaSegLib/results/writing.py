"""The folder of results of one case: what is in it and how it is written.

======================== =====================================================================================
``segmentation.nii.gz``  label map on the reference's own grid, in the numbering that the job asked for
``segmentation.seg.nrrd`` the same for 3D Slicer, with names, colours and terminology
``measures.json, .csv``  volumes, components, diameters
``report.html``          the page for the reader, without outside parts
``brain.nii.gz``         brain mask on the same grid
``probability_*.nii.gz`` 0..255, cropped to where the region may be; only for maps that may be thresholded again
``agreement.nii.gz``     of an ensemble: how far its members agree, 0 to 100 per cent, on the same grid
``transforms/*.tfm``     from the reference to each sequence that had to be moved (ITK, LPS mm)
``manifest.json``        how all this came about
======================== =====================================================================================
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk
from pydantic import Field, ValidationError

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.training_distance import TrainingDistance
from GliomaSegLib.io.folder import MANIFEST, PROGRAM
from GliomaSegLib.io.grid import array_on, oriented, oriented_like, uncropped
from GliomaSegLib.io.images import read_labels, write_image
from GliomaSegLib.io.provenance import sha256_of, timestamp
from GliomaSegLib.io.segnrrd import write_segmentation
from GliomaSegLib.io.terminology import segment_styles
from GliomaSegLib.job import Job, Result, ReviewEvent
from GliomaSegLib.label_maps import from_internal, lost_in
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.measures.volumes import Measures, measure
from GliomaSegLib.options import ReviewState
from GliomaSegLib.postprocessing import bounding_box
from GliomaSegLib.progress import ProgressRecorder
from GliomaSegLib.record import Record
from GliomaSegLib.results.report import FoundSequence, ReportContent, write_report
from GliomaSegLib.zoo.card import Card

LABEL_MAP = "segmentation.nii.gz"
SLICER_SEGMENTATION = "segmentation.seg.nrrd"
MEASURES_JSON = "measures.json"
MEASURES_CSV = "measures.csv"
REPORT = "report.html"
BRAIN = "brain.nii.gz"
TRANSFORMS = "transforms"
PROBABILITIES = "probability_*.nii.gz"
AGREEMENT = "agreement.nii.gz"

# The keys of ``Result.files``, besides ``probability_WT`` and so on. All of these are written anew at every refresh.
FILES = {
    "label_map": LABEL_MAP,
    "slicer_segmentation": SLICER_SEGMENTATION,
    "measures_json": MEASURES_JSON,
    "measures_csv": MEASURES_CSV,
    "report": REPORT,
    "brain": BRAIN,
    "manifest": MANIFEST,
}

# The warning that an edit may raise or settle, so that it is not kept from one refresh to the next.
LOST_LABELS = f"{LABEL_MAP} lacks the "

# Below this a probability is not worth keeping: nobody would draw a contour there.
LEAST_PROBABILITY = 0.05
_PACKAGES = ("GliomaSeg", "torch", "SimpleITK", "numpy", "deepbet", "connected-components-3d")


class ModelUsed(Record):
    """The model as it was at the time of the run."""

    id: str
    title: str
    version: str
    licence: str
    citation: str
    training: str | None = Field(default=None, description="what it was trained on, in a sentence")
    weights_sha256: str
    device: str
    precision: str
    training_distance: TrainingDistance | None = Field(
        default=None, description="of the case's images to those that it was trained on; null: it cannot tell"
    )
    members: tuple[ModelUsed, ...] = Field(default=(), description="of an ensemble; its hash is that of their hashes")

    @classmethod
    def of(
        cls, card: Card, weights: Path, device: str, precision: str, distance: TrainingDistance | None = None
    ) -> ModelUsed:
        """What the manifest keeps of a card and its installed weights."""
        return cls(
            **card.model_dump(include={"id", "title", "version", "licence", "citation", "training"}),
            weights_sha256=sha256_of(weights),
            device=device,
            precision=precision,
            training_distance=distance,
        )

    @classmethod
    def of_ensemble(cls, card: Card, members: tuple[ModelUsed, ...]) -> ModelUsed:
        """The same of an ensemble, from what is kept of its members."""
        hashes = "".join(member.weights_sha256 for member in members)
        return cls(
            **card.model_dump(include={"id", "title", "version", "licence", "citation", "training"}),
            weights_sha256=hashlib.sha256(hashes.encode()).hexdigest(),
            device=", ".join(dict.fromkeys(member.device for member in members)),
            precision=", ".join(dict.fromkeys(member.precision for member in members)),
            members=members,
        )


class SequenceRecord(Record):
    """Which file was taken for a sequence, and how it lay to the reference."""

    path: Path
    series_uid: str | None
    series_part: str
    name: str = Field(default="", description="what a person calls it")
    pixels_sha256: str
    confidence: float
    reason: str
    is_reference: bool
    moved_mm: float | None = Field(description="mean shift of the field of view; null when not registered")
    transform_given: Path | None = Field(default=None, description="the user's own, used instead of registering")
    mutual_information: float | None
    mirror_contrast: float | None


class Manifest(Record):
    """How a result came about; enough to make it again."""

    program: Literal["GliomaSeg"] = PROGRAM
    case_id: str
    time_point: TimePointKind
    days_since_surgery: float | None
    job: Job
    model: ModelUsed
    choice: str | None = Field(default=None, description="why this model, where nobody named one")
    regions: tuple[Region, ...]
    sequences: dict[Modality, SequenceRecord]
    missing: tuple[Modality, ...]
    cost: str | None
    ignored: tuple[str, ...] = Field(default=(), description="volumes of the study that were not used, and why")
    review: ReviewState = ReviewState.DRAFT
    reviews: tuple[ReviewEvent, ...] = Field(default=(), description="how the review came there, the latest last")
    created: str = ""
    changed: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    sha256: dict[str, str] = Field(default_factory=dict, description="of the files that a reader may edit")
    labels_sha256: str = Field(default="", description="of the voxels of the internal label map")

    @property
    def reference(self) -> Modality:
        """The sequence on whose grid the results are."""
        return next(sequence for sequence, record in self.sequences.items() if record.is_reference)

    def reviewed(self, state: ReviewState, by: str | None = None) -> Manifest:
        """The same after a review by ``by``, or after an edit; what was said before stays in the history."""
        event = ReviewEvent(state=state, when=timestamp(), by=by)
        return self.model_copy(update={"review": state, "reviews": (*self.reviews, event)})


@dataclass(frozen=True)
class Findings:
    """What was found, everything on the reference's own grid.

    Attributes:
        labels: internal label map, ``uint8``.
        brain: mask, ``uint8``.
        images: the sequences, ``float32``, for the report; may be empty when the originals are gone.
        probabilities: ``float32`` in 0..1 per region.
        transforms: reference -> sequence (LPS mm) for those that had to be moved.
        agreement: of an ensemble's members, ``uint8`` per cent.
    """

    labels: sitk.Image
    brain: sitk.Image
    images: Mapping[Modality, sitk.Image]
    probabilities: Mapping[Region, sitk.Image] = field(default_factory=dict)
    transforms: Mapping[Modality, sitk.Transform] = field(default_factory=dict)
    agreement: sitk.Image | None = None

    def oriented_as(self, image: sitk.Image) -> Findings:
        """The same with the voxel axes of ``image``, and exactly its geometry."""

        def turned(other: sitk.Image) -> sitk.Image:
            result = oriented_like(other, image)
            result.CopyInformation(image)
            return result

        return dataclasses.replace(
            self,
            labels=turned(self.labels),
            brain=turned(self.brain),
            images={sequence: turned(other) for sequence, other in self.images.items()},
            probabilities={region: turned(other) for region, other in self.probabilities.items()},
            agreement=self.agreement and turned(self.agreement),
        )


def write_results(folder: Path, findings: Findings, manifest: Manifest, journal: ProgressRecorder) -> Result:
    """Measure and write everything into ``folder``, which exists.

    Raises:
        InputError: a file cannot be written.
    """
    stored = {region: _as_stored(probability) for region, probability in findings.probabilities.items()}
    # What is measured is what is kept, so that measuring again gives the same.
    kept = {region: _unpacked(probability) for region, probability in stored.items()}
    measures = measure(findings.labels, findings.brain, manifest.regions, kept)
    _write_label_map(findings.labels, manifest.job.label_scheme, folder / LABEL_MAP, journal)
    write_segmentation(findings.labels, folder / SLICER_SEGMENTATION, manifest.regions)
    write_image(findings.brain, folder / BRAIN)
    for region, probability in stored.items():
        _write_probability(probability, folder / probability_name(region))
    if findings.agreement is not None:
        write_image(findings.agreement, folder / AGREEMENT)
    _write_transforms(findings.transforms, folder / TRANSFORMS)
    _write_measures(measures, manifest, folder)
    manifest = manifest.model_copy(
        update={
            "created": manifest.created or timestamp(),
            "warnings": tuple(journal.warnings),
            "seconds": manifest.seconds or journal.seconds,
            "versions": manifest.versions or _versions(),
            "sha256": {name: sha256_of(folder / name) for name in (LABEL_MAP, SLICER_SEGMENTATION)},
            "labels_sha256": pixels_sha256(findings.labels),
        }
    )
    shown = dataclasses.replace(findings, probabilities=kept)
    write_report(_report_content(shown, manifest, measures), folder / REPORT)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return result_of(folder, manifest, measures)


def result_of(folder: Path, manifest: Manifest, measures: Measures) -> Result:
    """The answer to a job whose files lie in ``folder``."""
    optional = {f"probability_{region.value}": folder / probability_name(region) for region in Region}
    optional["agreement"] = folder / AGREEMENT
    return Result(
        case_id=manifest.case_id,
        model=manifest.model.id,
        output=folder,
        files={key: folder / name for key, name in FILES.items()}
        | {key: path for key, path in optional.items() if path.is_file()},
        measures=measures,
        training=manifest.model.training,
        choice=manifest.choice,
        missing=manifest.missing,
        cost=manifest.cost,
        warnings=manifest.warnings,
        seconds=manifest.seconds,
        review=manifest.review,
        reviews=manifest.reviews,
    )


def probability_name(region: Region) -> str:
    """File name of a region's probability map."""
    return PROBABILITIES.replace("*", region.value)


def read_manifest(output: Path) -> Manifest:
    """The manifest of a folder of results.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = output / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{output} is not a folder of GliomaSeg results: it has no {MANIFEST}.") from error
    except ValidationError as error:
        raise InputError(f"{path} is damaged or of another version of GliomaSeg; run the case again.") from error


def moved(result: Result, output: Path) -> Result:
    """The same result after its folder was renamed to ``output``."""
    files = {name: output / path.name for name, path in result.files.items()}
    return result.model_copy(update={"output": output, "files": files})


def pixels_sha256(image: sitk.Image) -> str:
    """SHA-256 of the voxels as ``float32`` (little-endian), their axes turned to run LPS."""
    array = sitk.GetArrayFromImage(oriented(image))
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4")).hexdigest()


def _write_label_map(labels: sitk.Image, scheme: LabelScheme, path: Path, journal: ProgressRecorder) -> None:
    array = sitk.GetArrayFromImage(labels)
    lost = [segment_styles()[label].name.lower() for label in lost_in(array, scheme)]
    if lost:
        journal.warn(
            f"{LOST_LABELS}{' and the '.join(lost)}, for which the numbering '{scheme.value}' has no value; "
            f"{SLICER_SEGMENTATION} holds it."
        )
    write_image(array_on(from_internal(array, scheme), labels), path)


def _write_transforms(transforms: Mapping[Modality, sitk.Transform], folder: Path) -> None:
    if transforms:
        folder.mkdir(exist_ok=True)
    for sequence, transform in transforms.items():
        path = folder / f"{sequence.value}.tfm"
        try:
            sitk.WriteTransform(transform, str(path))
        except RuntimeError as error:
            raise InputError(f"The transform {path} cannot be written; check that the disk has space.") from error


def _write_measures(measures: Measures, manifest: Manifest, folder: Path) -> None:
    case, model = manifest.case_id, manifest.model.id
    distance = manifest.model.training_distance
    about = {"case_id": case, "model": model, "training_distance": distance and dataclasses.asdict(distance)}
    content = about | measures.model_dump(mode="json")
    (folder / MEASURES_JSON).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    rows = [{"case": case, "model": model} | row for row in measures.to_rows()]
    with (folder / MEASURES_CSV).open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _as_stored(probability: sitk.Image) -> sitk.Image:
    """0..1 as 0..255."""
    scaled = np.round(np.clip(sitk.GetArrayViewFromImage(probability), 0, 1) * 255)
    return array_on(scaled.astype(np.uint8), probability)


def _unpacked(stored: sitk.Image) -> sitk.Image:
    return sitk.Cast(stored, sitk.sitkFloat32) / 255


def _write_probability(stored: sitk.Image, path: Path) -> None:
    """Cropped to where a contour could be drawn; nothing is written when that is nowhere."""
    likely = sitk.GetArrayViewFromImage(stored) >= LEAST_PROBABILITY * 255
    if not likely.any():
        return
    box = bounding_box(likely, margin=1)
    write_image(stored[tuple(reversed(box))], path)


def read_probabilities(output: Path, grid: sitk.Image) -> dict[Region, sitk.Image]:
    """The probability maps of a folder of results, 0 to 1 on the grid of the case, from which they were cropped.

    Raises:
        InputError: one of them cannot be read.
    """
    paths = {region: output / probability_name(region) for region in Region}
    return {region: _unpacked(uncropped(read_labels(path), grid)) for region, path in paths.items() if path.is_file()}


def read_transforms(output: Path) -> dict[Modality, sitk.Transform]:
    """From the reference to each sequence that had to be moved (LPS mm).

    Raises:
        InputError: one of them cannot be read.
    """
    paths = {sequence: output / TRANSFORMS / f"{sequence.value}.tfm" for sequence in Modality}
    return {sequence: _read_transform(path) for sequence, path in paths.items() if path.is_file()}


def _read_transform(path: Path) -> sitk.Transform:
    try:
        return sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"The transform {path} cannot be read; run the case again.") from error


def _report_content(findings: Findings, manifest: Manifest, measures: Measures) -> ReportContent:
    model, job = manifest.model, manifest.job
    return ReportContent(
        case_id=manifest.case_id,
        images=findings.images,
        labels=findings.labels,
        measures=measures,
        reference=manifest.reference,
        brain=findings.brain,
        # After an edit the map no longer belongs to the contours.
        enhancing=None if manifest.changed else findings.probabilities.get(Region.ET),
        time_point=TimePoint(manifest.time_point, manifest.days_since_surgery),
        created=_moment(manifest.changed or manifest.created),
        found=tuple(
            FoundSequence(sequence, record.name or record.path.name, record.confidence, record.reason)
            for sequence, record in manifest.sequences.items()
        ),
        missing_cost=manifest.cost or "",
        ignored=manifest.ignored,
        warnings=tuple(warning for warning in manifest.warnings if warning != manifest.cost),
        edited=manifest.changed is not None,
        method={
            "Model": f"{model.title} ({model.id} {model.version}), weights {model.weights_sha256[:12]}",
            **({"Chosen because": manifest.choice} if manifest.choice else {}),
            **({"Members": "; ".join(map(_member_text, model.members))} if model.members else {}),
            "Licence": model.licence,
            **({"Training": model.training} if model.training else {}),
            **({"Distance to the training data": str(model.training_distance)} if model.training_distance else {}),
            "Citation": model.citation,
            "Brain extraction": job.brain.value,
            "Registration": _registration_text(manifest),
            "Computed on": f"{model.device}, {model.precision}",
            "Time": ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in manifest.seconds.items()),
            "Software": ", ".join(f"{name} {number}" for name, number in manifest.versions.items()),
        }
        | _review_history(manifest),
        review_state=_review_text(manifest),
        approved=manifest.review is ReviewState.APPROVED,
    )


def _member_text(model: ModelUsed) -> str:
    training = f". {model.training}" if model.training else ""
    return f"{model.title} ({model.id} {model.version}), weights {model.weights_sha256[:12]}{training}"


def _review_text(manifest: Manifest) -> str:
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
    return f"{text} by {last.by}, {_moment(last.when)}"


def _review_history(manifest: Manifest) -> dict[str, str]:
    """An entry for the method, if there is more to tell than the present state."""
    words = [
        f"{event.state.value}{f' by {event.by}' if event.by else ''}, {_moment(event.when)}"
        for event in manifest.reviews
    ]
    return {"Review": "; ".join(words)} if len(words) > 1 else {}


def _moment(when: str) -> str:
    return f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M}"


def _registration_text(manifest: Manifest) -> str:
    texts = [
        _movement(sequence, record)
        for sequence, record in manifest.sequences.items()
        if not record.is_reference and (manifest.job.registration or record.transform_given)
    ]
    moved_to = f"to {manifest.reference.title}: {', '.join(texts)}"
    if not manifest.job.registration:
        return f"switched off by the user{f'; {moved_to}' if texts else ''}"
    return moved_to if texts else "not needed: a single sequence"


def _movement(sequence: Modality, record: SequenceRecord) -> str:
    where = f"moved by {record.moved_mm:.1f} mm" if record.moved_mm else "in place"
    return f"{sequence.title} {where}{', as given' if record.transform_given else ''}"


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # a source checkout has no version of its own
            found[package] = version(package)
    return found
