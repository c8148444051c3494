"""Cases for training: a table of files, brought through the same road as a patient's study and kept prepared on disk.

A case table is a CSV file with the columns ``case``, ``patient``, ``hospital``, ``t1n``, ``t1c``, ``t2w``, ``t2f``,
``truth``, ``truth_of`` and ``scheme``; paths are relative to the folder of the table, or to another that is given. A
missing sequence is an empty field. ``truth_of`` names the sequence on which the truth was drawn: it moves with it.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Case
from GliomaSegLib.case import Sequence as MrSequence
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.labels import Label, LabelScheme, Region, to_internal
from GliomaSegLib.postprocessing import bounding_box
from GliomaSegLib.preprocessing.align import align_case
from GliomaSegLib.preprocessing.brain import BrainMethod
from GliomaSegLib.preprocessing.grid import array_on, resample_labels
from GliomaSegLib.preprocessing.prepare import prepare
from GliomaSegLib.preprocessing.standardise import standardise
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.study import read_case
from GliomaSegLib.zoo.card import Space

# Part of every prepared case's key: raise it when what is prepared changes, and old files are made again.
PREPARATION = 1

CHANNELS = tuple(MrSequence)
REGIONS = (Region.WT, Region.TC, Region.ET)
SPACE = Space(frame="native", spacing_mm=(1.0, 1.0, 1.0), orientation="LPS", brain="stripped")

_COLUMNS = ("case", "patient", "hospital", "t1n", "t1c", "t2w", "t2f", "truth", "truth_of", "scheme")
_MARGIN_VOXELS = 2


class TruthScheme(str, Enum):
    """What a truth file's numbers mean, and with that which regions it knows."""

    GLIOMASEG = "gliomaseg"
    BRATS2017 = "brats2017"
    WHOLE_TUMOUR = "whole-tumour"
    ENHANCING = "enhancing"

    @property
    def known(self) -> tuple[Region, ...]:
        """The regions that such a truth tells from everything else."""
        return {"whole-tumour": (Region.WT,), "enhancing": (Region.ET,)}.get(self.value, REGIONS)

    def to_internal(self, labels: NDArray[np.uint8], source: str) -> NDArray[np.uint8]:
        """The labels in the internal scheme.

        Raises:
            InputError: a value occurs that the scheme does not have.
        """
        if self is not TruthScheme.ENHANCING:
            return to_internal(labels, LabelScheme(self.value), source)
        if np.any(labels > 1):
            raise InputError(f"{source} holds the label {labels.max()}; a mask of enhancing tumour is 0 and 1.")
        return labels * np.uint8(Label.ET)


@dataclass(frozen=True)
class CaseRow:
    """One row of a case table."""

    case: str
    patient: str
    hospital: str
    images: Mapping[MrSequence, Path]
    truth: Path
    truth_of: MrSequence | None
    scheme: TruthScheme

    @property
    def key(self) -> str:
        """Changes when the files' contents or the preparation do; a copy of the data elsewhere has the same."""
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (*self.images.values(), self.truth)]
        what = [PREPARATION, [one.value for one in self.images], contents, self.truth_of, self.scheme]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


@dataclass(frozen=True)
class TrainingCase:
    """A prepared case, cropped to the brain, voxel axes running LPS.

    Attributes:
        images: ``float16 [4, z, y, x]`` in the order T1n, T1c, T2w, T2f: z-scores inside the brain, exactly 0 outside
            it and in the channels of sequences that the case does not have.
        brain: ``bool [z, y, x]``.
        labels: ``uint8 [z, y, x]``, internal scheme.
        known: the regions that the labels tell; losses leave the others out.
        spacing_mm: voxel edges in the order z, y, x.
        soft: teacher's probabilities of WT, TC and ET, ``float16 [3, z, y, x]``, or ``None``.
    """

    name: str
    patient: str
    hospital: str
    images: NDArray[np.float16]
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    known: tuple[Region, ...]
    spacing_mm: tuple[float, float, float]
    soft: NDArray[np.float16] | None = field(default=None, repr=False)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which of the four channels the case has."""
        return self.images.any(axis=(1, 2, 3))


def read_table(table: Path, root: Path | None = None) -> list[CaseRow]:
    """The rows of a case table.

    Args:
        root: folder to which the paths are relative, instead of the table's own.

    Raises:
        InputError: the table or one of its files is missing, or a row says something that does not exist.
    """
    root = root or table.parent
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            absent = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            if absent:
                raise InputError(f"The case table {table} has no column '{absent[0]}'; it needs {', '.join(_COLUMNS)}.")
            rows = [_row(cells, root, f"{table}, line {line}") for line, cells in enumerate(reader, 2)]
    except OSError as error:
        raise InputError(f"The case table {table} cannot be read ({error.strerror}).") from error
    names = [row.case for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"The case table {table} has the case '{twice}' twice; give every case its own name.")
    if not rows:
        raise InputError(f"The case table {table} has no rows; give it a row per case.")
    return rows


def _row(cells: Mapping[str, str], root: Path, where: str) -> CaseRow:
    if any(cells[column] is None for column in _COLUMNS):
        raise InputError(f"{where}: the row is shorter than the heading; write an empty field as ',,'.")
    if not cells["truth"]:
        raise InputError(f"{where}: the case '{cells['case']}' has no labels; name them in the column 'truth'.")
    images = {sequence: root / cells[sequence.value] for sequence in MrSequence if cells[sequence.value]}
    if not images:
        raise InputError(f"{where}: the case '{cells['case']}' has no image; give at least one of t1n, t1c, t2w, t2f.")
    for path in (*images.values(), root / cells["truth"]):
        if not path.is_file():
            raise InputError(f"{where}: {path} does not exist; check the path and the folder that it is relative to.")
    try:
        scheme = TruthScheme(cells["scheme"])
        truth_of = MrSequence(cells["truth_of"]) if cells["truth_of"] else None
    except ValueError as error:
        raise InputError(
            f"{where}: {error}; 'scheme' is one of {', '.join(one.value for one in TruthScheme)} and 'truth_of' one of "
            "t1n, t1c, t2w, t2f or empty."
        ) from error
    if truth_of is not None and truth_of not in images:
        raise InputError(f"{where}: the truth was drawn on {truth_of.value}, which the row does not give.")
    hospital, patient = cells["hospital"] or "unknown", cells["patient"] or cells["case"]
    return CaseRow(cells["case"], patient, hospital, images, root / cells["truth"], truth_of, scheme)


def prepared_path(row: CaseRow, cache: Path) -> Path:
    """Where a prepared case is kept."""
    return cache / f"{row.case}.npz"


def prepare_all(rows: Sequence[CaseRow], cache: Path, device: torch.device, progress: Progress | None = None) -> None:
    """Prepare every case that the folder ``cache`` does not hold yet, each written whole.

    Raises:
        InputError: a case cannot be prepared; the sentence begins with its name.
    """
    progress = progress or Silent()
    cache.mkdir(parents=True, exist_ok=True)
    progress.stage("preparing the cases")
    for done, row in enumerate(rows):
        progress.advance(done / len(rows), row.case)
        if stored_key(prepared_path(row, cache)) == row.key:
            continue
        try:
            case = prepare_case(row, device)
        except InputError as error:
            raise InputError(f"Case '{row.case}': {error}") from error
        write_case(case, row.key, prepared_path(row, cache))


def prepare_case(row: CaseRow, device: torch.device) -> TrainingCase:
    """Bring one case to the training grid by the road of :mod:`GliomaSegLib.pipeline`: registered to the reference,
    1 mm, stripped; then standardised and cropped to the brain.

    Raises:
        InputError: a file cannot be used, or the labels do not lie on the image that they were drawn on.
    """
    case = _oriented(read_case(None, dict(row.images), identifier=row.case, wanted=tuple(row.images)))
    registrations = align_case(case, Silent())
    prepared = prepare(case, registrations, SPACE, BrainMethod.DEEPBET, False, device, Silent())
    truth = read_labels(row.truth)
    internal = array_on(row.scheme.to_internal(sitk.GetArrayFromImage(truth), str(row.truth)), truth)
    drawn_on = registrations.get(row.truth_of) if row.truth_of else None
    labels = sitk.GetArrayFromImage(resample_labels(internal, prepared.brain, drawn_on and drawn_on.transform))
    if sitk.GetArrayViewFromImage(internal).any() and not labels.any():
        raise InputError(f"none of the labels of {row.truth} lie on the images; check that they are of the same study.")
    return _cropped(row, prepared.images, sitk.GetArrayFromImage(prepared.brain) > 0, labels)


def _cropped(
    row: CaseRow, images: Mapping[MrSequence, sitk.Image], brain: NDArray[np.bool_], labels: NDArray[np.uint8]
) -> TrainingCase:
    box = bounding_box(brain, _MARGIN_VOXELS)
    channels = np.zeros((len(CHANNELS), *brain[box].shape), np.float16)
    for sequence, image in images.items():
        array = standardise(sitk.GetArrayViewFromImage(image), f"{row.case} {sequence.title}")[box]
        channels[CHANNELS.index(sequence)] = np.where(brain[box], array, 0)
    spacing = next(iter(images.values())).GetSpacing()[::-1]
    return TrainingCase(
        row.case, row.patient, row.hospital, channels, brain[box], labels[box], row.scheme.known, spacing
    )


def _oriented(case: Case) -> Case:
    volumes = {
        sequence: dataclasses.replace(volume, image=sitk.DICOMOrient(volume.image, "LPS"))
        for sequence, volume in case.volumes.items()
    }
    return dataclasses.replace(case, volumes=volumes)


def write_case(case: TrainingCase, key: str, path: Path) -> None:
    """Write a prepared case whole."""
    arrays = {"images": case.images, "brain": case.brain, "labels": case.labels}
    if case.soft is not None:
        arrays["soft"] = case.soft
    text = {
        "name": case.name,
        "patient": case.patient,
        "hospital": case.hospital,
        "known": [region.value for region in case.known],
        "spacing_mm": case.spacing_mm,
        "key": key,
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez(stream, about=np.array(json.dumps(text)), **arrays)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"The prepared case {path} could not be written ({error.strerror}); make room.") from error
    finally:
        partial.unlink(missing_ok=True)


def read_prepared(path: Path) -> TrainingCase:
    """A case that :func:`write_case` wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            soft = stored.get("soft")
            return TrainingCase(
                name=about["name"],
                patient=about["patient"],
                hospital=about["hospital"],
                images=stored["images"],
                brain=stored["brain"],
                labels=stored["labels"],
                known=tuple(Region(region) for region in about["known"]),
                spacing_mm=tuple(about["spacing_mm"]),
                soft=soft,
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"The prepared case {path} cannot be read ({error}); delete it, it is made again.") from error


def stored_key(path: Path) -> str | None:
    """The key with which a prepared case was written; ``None`` when there is none that can be read."""
    try:
        with np.load(path) as stored:
            return json.loads(str(stored["about"]))["key"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
