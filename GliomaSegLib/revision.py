"""After an edit: measures and report brought up to date from what the reviewer changed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.case import Sequence, Source
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.io.folder import written_whole
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.results import (
    BRAIN,
    LABEL_MAP,
    PROBABILITIES,
    SLICER_SEGMENTATION,
    TRANSFORMS,
    Findings,
    Manifest,
    ReviewState,
    moved,
    read_manifest,
    timestamp,
    write_results,
)
from GliomaSegLib.io.segnrrd import read_segmentation
from GliomaSegLib.job import Result
from GliomaSegLib.labels import to_internal
from GliomaSegLib.preprocessing.grid import array_on, reorient, resample_image, same_grid
from GliomaSegLib.progress import Journal, Progress, Silent
from GliomaSegLib.study import read_source
from GliomaSegLib.zoo.store import sha256_of

_NO_PICTURES = "The report has no pictures, because an original image could not be read again"


def refresh(output: Path, progress: Progress | None = None) -> Result:
    """Bring a folder of results up to date after ``segmentation.nii.gz`` or ``segmentation.seg.nrrd`` was edited.

    The file that changed is taken and the other one made from it; the review state becomes ``edited``. The report's
    pictures need the original images: without them it is written without pictures, and says so.

    Raises:
        InputError: not a folder of results, both files changed, or the edited one does not fit this case.
    """
    manifest = read_manifest(output)
    journal = Journal(progress or Silent())
    brain = read_labels(output / BRAIN)
    labels, edited = _labels_now(output, manifest, brain)
    transforms = {
        sequence: sitk.ReadTransform(str(path))
        for sequence in manifest.sequences
        if (path := output / TRANSFORMS / f"{sequence.value}.tfm").is_file()
    }
    images = _images_again(manifest, transforms, brain, journal)
    journal.warnings[:0] = [warning for warning in manifest.warnings if not warning.startswith(_NO_PICTURES)]
    if edited:
        manifest = manifest.model_copy(update={"review": ReviewState.EDITED, "changed": timestamp()})
    findings = Findings(labels, brain, images, transforms=transforms)
    with written_whole(output, overwrite=True) as folder:
        for path in output.glob(PROBABILITIES):
            shutil.copyfile(path, folder / path.name)
        result = write_results(folder, findings, manifest, journal)
    return moved(result, output)


def _labels_now(output: Path, manifest: Manifest, grid: sitk.Image) -> tuple[sitk.Image, bool]:
    """The internal label map as it stands now, and whether it was edited."""
    for name in manifest.sha256:
        if not (output / name).is_file():
            raise InputError(f"{output / name} is missing; run the case again.")
    changed = [name for name, digest in manifest.sha256.items() if sha256_of(output / name) != digest]
    if len(changed) > 1:
        raise InputError(
            f"Both {LABEL_MAP} and {SLICER_SEGMENTATION} in {output} were edited and only one can count; restore one "
            "of them, or run the case again."
        )
    if changed == [LABEL_MAP]:
        return _edited_label_map(output / LABEL_MAP, manifest, grid), True
    return read_segmentation(output / SLICER_SEGMENTATION, grid), bool(changed)


def _edited_label_map(path: Path, manifest: Manifest, grid: sitk.Image) -> sitk.Image:
    edited = reorient(read_labels(path), grid)
    if not same_grid(edited, grid):
        raise InputError(f"{path} lies on another grid than its case; save the edit on the grid of the original file.")
    return array_on(to_internal(sitk.GetArrayFromImage(edited), manifest.job.label_scheme, str(path)), grid)


def _images_again(
    manifest: Manifest, transforms: Mapping[Sequence, sitk.Transform], grid: sitk.Image, progress: Progress
) -> dict[Sequence, sitk.Image]:
    """The sequences on the results' grid, from the original files; none when one of these cannot be read any more."""
    images = {}
    for sequence, record in manifest.sequences.items():
        try:
            image = read_source(Source(record.path, record.series_uid, record.series_part))
        except GliomaSegError as error:
            progress.warn(f"{_NO_PICTURES}: {error}")
            return {}
        images[sequence] = resample_image(image, grid, transforms.get(sequence))
    return images
