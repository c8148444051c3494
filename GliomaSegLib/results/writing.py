"""Writing a result folder (see :mod:`GliomaSegLib.results.layout`): nothing is measured or decided here."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.io.grid import array_on, oriented_like
from GliomaSegLib.io.images import pixels_sha256, write_image
from GliomaSegLib.io.provenance import sha256_of, timestamp
from GliomaSegLib.io.segnrrd import write_segmentation
from GliomaSegLib.io.terminology import segment_styles
from GliomaSegLib.job import Result
from GliomaSegLib.label_maps import from_internal, lost_in
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.measures.assessment import CaseAssessment
from GliomaSegLib.measures.volumes import Measures
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.progress import ProgressRecorder
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
from GliomaSegLib.results.report_content import report_content

# The warning that an edit may cause or settle, so that it is not kept from one update to the next.
LOST_LABELS = f"{LABEL_MAP} lacks the "

# Lower probabilities are cropped away: no contour is drawn at so low a threshold.
LEAST_PROBABILITY = 0.05
_PACKAGES = ("GliomaSeg", "torch", "SimpleITK", "numpy", "deepbet", "connected-components-3d")


@dataclass(frozen=True)
class ResultImages:
    """The images of a result, all on the reference image's own grid.

    Attributes:
        labels: internal label map, ``uint8``.
        brain: mask, ``uint8``.
        originals: the sequences, ``float32``, for the report; may be empty when the files are gone.
        probabilities: ``float32`` in 0..1 per region, as :func:`quantised` gives them.
        transforms: reference image -> sequence (LPS mm) for those that had to be moved.
        agreement: of an ensemble's members, ``uint8`` per cent.
    """

    labels: sitk.Image
    brain: sitk.Image
    originals: Mapping[Modality, sitk.Image]
    probabilities: Mapping[Region, sitk.Image] = field(default_factory=dict)
    transforms: Mapping[Modality, sitk.Transform] = field(default_factory=dict)
    agreement: sitk.Image | None = None

    def with_axes_of(self, image: sitk.Image) -> ResultImages:
        """The same with the voxel axes of ``image``, and exactly its geometry."""

        def turned(other: sitk.Image) -> sitk.Image:
            result = oriented_like(other, image)
            result.CopyInformation(image)
            return result

        return dataclasses.replace(
            self,
            labels=turned(self.labels),
            brain=turned(self.brain),
            originals={modality: turned(other) for modality, other in self.originals.items()},
            probabilities={region: turned(other) for region, other in self.probabilities.items()},
            agreement=self.agreement and turned(self.agreement),
        )


def quantised(probability: sitk.Image) -> sitk.Image:
    """A probability map in the steps of 1/255 in which it is stored, so that measuring it again gives the same."""
    return sitk.Cast(_as_stored(probability), sitk.sitkFloat32) / 255


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
        _write_probability(_as_stored(probability), probability_map(folder, region))
    if images.agreement is not None:
        write_image(images.agreement, folder / AGREEMENT)
    for modality, transform in images.transforms.items():
        _write_transform(transform, transform_file(folder, modality))
    _write_measures(assessed.measures, manifest, folder)
    manifest = manifest.model_copy(
        update={
            "created": manifest.created or timestamp(),
            "warnings": tuple(recorder.warnings),
            "seconds": manifest.seconds or recorder.seconds,
            "versions": manifest.versions or _versions(),
            "sha256": {name: sha256_of(folder / name) for name in (LABEL_MAP, SLICER_SEGMENTATION)},
            "labels_sha256": pixels_sha256(images.labels),
        }
    )
    content = report_content(manifest, assessed, images.labels, images.brain, images.originals)
    write_report(content, folder / REPORT)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def result_of(folder: Path, manifest: Manifest, measures: Measures) -> Result:
    """The result of a job whose files are in ``folder``."""
    optional = {f"probability_{region.value}": probability_map(folder, region) for region in Region}
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


def _write_label_map(labels: sitk.Image, scheme: LabelScheme, path: Path, recorder: ProgressRecorder) -> None:
    array = sitk.GetArrayFromImage(labels)
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
    with (folder / MEASURES_CSV).open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _as_stored(probability: sitk.Image) -> sitk.Image:
    """0..1 as 0..255, ``uint8``."""
    scaled = np.round(np.clip(sitk.GetArrayViewFromImage(probability), 0, 1) * 255)
    return array_on(scaled.astype(np.uint8), probability)


def _write_probability(stored: sitk.Image, path: Path) -> None:
    """Write a map cropped to the voxels of at least ``LEAST_PROBABILITY``; nothing where there are none."""
    likely = sitk.GetArrayViewFromImage(stored) >= LEAST_PROBABILITY * 255
    if not likely.any():
        return
    box = bounding_box(likely, margin=1)
    write_image(stored[tuple(reversed(box))], path)


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # a source checkout has no version of its own
            found[package] = version(package)
    return found
