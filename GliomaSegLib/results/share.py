"""Writes a report to share: anonymous by default, with images masked to the brain."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.results.images import ResultImages
from GliomaSegLib.results.layout import FILES
from GliomaSegLib.results.manifest import Manifest
from GliomaSegLib.results.reading import assess_stored, read_originals, read_probabilities, read_result, read_transforms
from GliomaSegLib.results.report import write_report

_DATE = r"\b(?:19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d\b"
# Fields of a manifest without identifying data. The job is not shown.
_KEPT = {
    "program", "time_point", "days_since_surgery", "job", "model", "regions", "missing", "review", "changed", "seconds",
    "versions",
}  # fmt: skip
# Parts of paths that identify nobody and also occur in sentences.
_HARMLESS = {
    "study", "studies", "data", "images", "image", "dicom", "home", "users", "results", "output", "out", "tmp", "mnt",
    "mr", "t1", "t2",
}  # fmt: skip


def share_report(folder: Path, page: Path, anonymous: bool = True) -> None:
    """Write the report of a result folder to the file ``page``.

    Args:
        anonymous: without names, paths, dates and reviewers, and with skull-stripped pictures.

    Raises:
        InputError: the results cannot be read, were edited and not measured since, or lack their images; or the file
            name of an anonymous page contains the name of the case.
    """
    stored = read_result(folder)
    manifest = stored.manifest
    if anonymous and manifest.case_id.lower() in page.name.lower():
        raise InputError(f"The name of '{page}' says whose page it is; give an anonymous page another name.")
    if page.resolve() in {(folder / name).resolve() for name in FILES.values()}:
        raise InputError(f"'{page}' is a file of the result itself; give the page to share another name.")
    transforms = read_transforms(folder)
    originals = read_originals(manifest, stored.brain, transforms)
    images = ResultImages(stored.labels, stored.brain, originals, read_probabilities(folder, stored.brain), transforms)
    assessed = assess_stored(manifest, images.labels, images.brain, images.probabilities)
    if anonymous:
        manifest, images = without_identity(manifest), brain_alone(images)
    write_report(manifest, assessed, images, page)


def without_identity(manifest: Manifest) -> Manifest:
    """The manifest without identifying data, which ``…`` replaces in sentences."""
    # A path with what lies below it, and before its parts; short ones, such as initials, where they are words.
    paths = [
        rf"{re.escape(str(path))}[^\s,;:')]*" for path in sorted(_paths(manifest), key=lambda one: -len(one.parts))
    ]
    names = sorted(_names(manifest), key=len, reverse=True)
    words = [re.escape(name) if len(name) > 3 else rf"(?<!\w){re.escape(name)}(?!\w)" for name in names]
    hidden = re.compile("|".join([*paths, *words, _DATE]), re.IGNORECASE)
    sequences = {
        modality: record.model_copy(
            update={"path": Path("-"), "name": "", "reason": "", "series_uid": None, "transform_given": None}
        )
        for modality, record in manifest.sequences.items()
    }
    redacted = {
        "case_id": "Anonymous",
        "sequences": sequences,
        "warnings": tuple(hidden.sub("…", text) for text in manifest.warnings),
        "incomplete": tuple(hidden.sub("…", text) for text in manifest.incomplete),
        "cost": manifest.cost and hidden.sub("…", manifest.cost),
        "choice": manifest.choice and hidden.sub("…", manifest.choice),
    }
    # Fields that are not known to be harmless, now or in later versions, get their defaults.
    defaults = {name: field.get_default(call_default_factory=True) for name, field in Manifest.model_fields.items()}
    left_out = {name: default for name, default in defaults.items() if name not in _KEPT | set(redacted)}
    return manifest.model_copy(update=left_out | redacted)


def brain_alone(images: ResultImages) -> ResultImages:
    """The images with 0 outside of brain and segmentation."""
    kept = sitk.Or(images.brain != 0, images.labels != 0)
    originals = {modality: sitk.Mask(image, kept) for modality, image in images.originals.items()}
    return dataclasses.replace(images, originals=originals)


def _paths(manifest: Manifest) -> list[Path]:
    job = manifest.job
    asked = (job.study, job.output, job.preoperative, job.preoperative_mask, *job.volumes.values())
    return [path for path in (*asked, *(record.path for record in manifest.sequences.values())) if path]


def _names(manifest: Manifest) -> set[str]:
    """Texts that may identify the patient: the name of the case, its files and folders, and reviewers."""
    found = {part for path in _paths(manifest) for part in (path.name.split(".")[0], *path.parts)}
    found |= {record.name for record in manifest.sequences.values()} | {event.by or "" for event in manifest.reviews}
    if manifest.identity:
        named = manifest.identity.patient_name
        found |= {
            named,
            *re.split(r"[\s^=,]+", named),
            manifest.identity.patient_id,
            manifest.identity.accession_number,
        }
    return {name for name in found if len(name) > 1 and name.lower() not in _HARMLESS} | {manifest.case_id}
