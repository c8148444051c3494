"""Writing a result folder (see :mod:`GliomaSegLib.results.layout`): nothing is measured or decided here."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import write_image
from GliomaSegLib.io.provenance import sha256_of, timestamp
from GliomaSegLib.io.segnrrd import write_segmentation
from GliomaSegLib.io.spreadsheet import write_csv
from GliomaSegLib.io.terminology import segment_styles
from GliomaSegLib.io.voxels import pixels_sha256
from GliomaSegLib.label_maps import from_internal, lost_in
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.measures.assessment import CaseAssessment
from GliomaSegLib.measures.volumes import Measures
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.progress import ProgressRecorder
from GliomaSegLib.results.images import ResultImages, as_stored
from GliomaSegLib.results.job_result import JobResult
from GliomaSegLib.results.layout import (
    AGREEMENT,
    BRAIN,
    FILES,
    LABEL_MAP,
    MEASURES_CSV,
    MEASURES_JSON,
    REPORT,
    SLICER_SEGMENTATION,
    probability_map,
    transform_file,
)
from GliomaSegLib.results.manifest import Manifest
from GliomaSegLib.results.report import write_report

# An edit may cause this warning or remove its cause, so it is not copied from one update to the next.
LOST_LABELS = f"{LABEL_MAP} lacks the "

# Lower probabilities are cropped away: no contour is drawn at so low a threshold.
LEAST_PROBABILITY = 0.05
_PACKAGES = ("GliomaSeg", "torch", "SimpleITK", "numpy", "deepbet", "connected-components-3d")


def write_results(
    folder: Path, images: ResultImages, manifest: Manifest, assessed: CaseAssessment, recorder: ProgressRecorder
) -> Manifest:
    """Write everything into ``folder``, which exists.

    Args:
        assessed: what was measured of ``images``.
        recorder: its warnings and, at the first writing, its times go into the manifest.

    Returns:
        the manifest as it was written, with hashes, times, versions and warnings.

    Raises:
        InputError: a file cannot be written.
    """
    _write_label_map(images.labels, manifest.job.label_scheme, folder / LABEL_MAP, recorder)
    write_segmentation(images.labels, folder / SLICER_SEGMENTATION, manifest.regions)
    write_image(images.brain, folder / BRAIN)
    for region, probability in images.probabilities.items():
        _write_probability(as_stored(probability), probability_map(folder, region), manifest.job.all_probabilities)
    if images.agreement is not None:
        write_image(images.agreement, folder / AGREEMENT)
    for modality, transform in images.transforms.items():
        _write_transform(transform, transform_file(folder, modality))
    _write_measures(assessed.measures, manifest, folder)
    for doubt in assessed.implausible:
        recorder.warn(doubt)
    manifest = manifest.model_copy(
        update={
            "implausible": assessed.implausible,
            "created": manifest.created or timestamp(),
            "warnings": tuple(recorder.warnings),
            "seconds": manifest.seconds or recorder.seconds,
            "versions": manifest.versions or _versions(),
            "sha256": {name: sha256_of(folder / name) for name in (LABEL_MAP, SLICER_SEGMENTATION)},
            "labels_sha256": pixels_sha256(images.labels),
        }
    )
    write_report(manifest, assessed, images, folder / REPORT)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def result_of(folder: Path, manifest: Manifest, measures: Measures) -> JobResult:
    """The result of a job whose files are in ``folder``."""
    optional = {f"probability_{region.value}": probability_map(folder, region) for region in Region}
    optional["agreement"] = folder / AGREEMENT
    return JobResult(
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


def _write_label_map(labels: sitk.Image, scheme: LabelScheme, path: Path, recorder: ProgressRecorder) -> None:
    array = sitk.GetArrayViewFromImage(labels)
    lost = [segment_styles()[label].name.lower() for label in lost_in(array, scheme)]
    if lost:
        recorder.warn(
            f"{LOST_LABELS}{' and the '.join(lost)}, for which the numbering '{scheme.value}' has no value; "
            f"{SLICER_SEGMENTATION} holds it."
        )
    write_image(array_on(from_internal(array, scheme), labels), path)


def _write_transform(transform: sitk.Transform, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
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
    write_csv(folder / MEASURES_CSV, rows)


def _write_probability(stored: sitk.Image, path: Path, whole_grid: bool) -> None:
    """Write a map, unless on the whole grid cropped to the voxels of at least ``LEAST_PROBABILITY``, nothing where
    there are none."""
    likely = sitk.GetArrayViewFromImage(stored) >= LEAST_PROBABILITY * 255
    if whole_grid:
        write_image(stored, path)
    elif likely.any():
        write_image(stored[tuple(reversed(bounding_box(likely, margin=1)))], path)


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # a source checkout has no version of its own
            found[package] = version(package)
    return found
