"""From a study to a case: the volumes that a folder holds, which of them is which sequence, and their pixels.

What a single volume seems to be is judged in :mod:`GliomaSegLib.study.identification`; here the volumes
of a study compete.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Collection, Mapping
from collections.abc import Sequence as Sequential
from dataclasses import dataclass
from enum import Enum
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Case, Modality, SequenceVolume, Source, TimePoint
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom import DicomSeries, DicomTags, find_series, read_series, series_geometry
from GliomaSegLib.io.folder import is_result_folder
from GliomaSegLib.io.grid import oriented
from GliomaSegLib.io.images import orientation_doubt, read_geometry, read_image
from GliomaSegLib.io.names import image_stem, is_image_name
from GliomaSegLib.study.exams import series_of_exam
from GliomaSegLib.study.identification import (
    Guess,
    guess_together,
    is_label_name,
    is_reformat,
    may_be_told_by_voxels,
    normalised,
    rivals_for,
    word_clues,
)

_DOUBTFUL = 0.4  # a guess below this is not even worth a question
_FINER = 1.5  # ratio of voxel lengths that counts as clearly finer


class Plane(Enum):
    """The anatomical plane nearest to the slices."""

    SAGITTAL = 0
    CORONAL = 1
    AXIAL = 2


@dataclass(frozen=True)
class Candidate:
    """A volume of the study that may be one of the four sequences.

    Attributes:
        name: how a person would call it: file name or series description.
        words: all text that may say what it is.
        spacing_mm: voxel size along its own axes, ``None`` when the header could not be read.
    """

    source: Source
    name: str
    words: str
    tags: DicomTags | None = None
    spacing_mm: tuple[float, ...] | None = None
    plane: Plane | None = None
    series: DicomSeries | None = None

    @property
    def reformatted(self) -> bool:
        """Whether it was computed from another series of the study."""
        return is_reformat(self.words, self.tags.image_type if self.tags else ())

    def read(self) -> sitk.Image:
        """The pixels, as :func:`read_image` and :func:`read_series` give them."""
        return read_series(self.series) if self.series else read_image(self.source.path)


@dataclass(frozen=True)
class Assignment:
    """The candidate that was taken for a sequence, how sure that is (0 to 1) and why."""

    candidate: Candidate
    confidence: float
    reason: str

    @property
    def source(self) -> Source:
        """Where the volume is read from."""
        return self.candidate.source


# --- the candidates ------------------------------------------------------------------------------------------------


def discover(study: Path, exam: str | None = None) -> list[Candidate]:
    """The volumes of a study: image files and DICOM series anywhere below a folder, or one image file.

    Left out: hidden files, label maps and masks by their names, and folders that GliomaSeg wrote.

    Args:
        exam: of several DICOM exams the one that is meant, see :func:`~GliomaSegLib.study.exams.series_of_exam`.

    Raises:
        InputError: ``study`` does not exist, holds nothing to read, is a GliomaSeg result, or holds several DICOM exams
            of which none is chosen.
    """
    candidates, labels = _search(Path(study), exam)
    if not candidates:
        raise _nothing_found(Path(study), labels)
    return candidates


def _search(study: Path, exam: str | None) -> tuple[list[Candidate], list[Path]]:
    """The candidates of ``study``, and the files that are label maps by their names."""
    if not study.exists():
        raise InputError(f"{study} does not exist; check the path of the study.")
    if study.is_file():
        return [_file_candidate(study, study.parent)], []
    if is_result_folder(study):
        raise InputError(f"{study} is a folder of GliomaSeg results; give the folder of the study itself.")
    series = [one for one in find_series(study) if not _among_results(one.folder, study)]
    if series or exam:
        series = series_of_exam(series, exam, study)
    files = _image_files(study)
    labels = [path for path in files if is_label_name(image_stem(path))]
    scans = [_file_candidate(path, study) for path in files if path not in labels]
    return scans + [_series_candidate(one) for one in series], labels


def _nothing_found(study: Path, labels: Sequential[Path]) -> InputError:
    if labels:
        return InputError(
            f"{study} holds only files that are named like label maps ({_shortened([one.name for one in labels])}); "
            f"if one is a scan, {_ADVICE}."
        )
    return InputError(
        f"{study} holds no image file (NIfTI, NRRD, MHA) and no MR series; check that it is the study's folder."
    )


def _image_files(study: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(study):
        if is_result_folder(Path(parent)):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if is_image_name(Path(name)) and name[0] != "."]
    return found


def _among_results(folder: Path, study: Path) -> bool:
    inner = [folder, *folder.parents][: len(folder.relative_to(study).parts)]
    return any(is_result_folder(one) for one in inner)


def _file_candidate(path: Path, study: Path) -> Candidate:
    words, name = image_stem(path), path.name
    if not word_clues(normalised(words)) and path.parent != study:
        words, name = f"{path.parent.name} {words}", f"{path.parent.name}/{name}"  # as in T1C/image.nii.gz
    tags = _sidecar_tags(path)
    if tags is not None:
        words = f"{words} {tags.description}"
    spacing, normal = read_geometry(path) or (None, None)
    return Candidate(Source(path), name, words, tags, spacing, _plane(normal))


def _series_candidate(series: DicomSeries) -> Candidate:
    tags = series.tags
    words = tags.description
    if not word_clues(normalised(words)):
        words = f"{words} {tags.protocol}"  # not always: on some scanners it names the whole examination
    words = f"{words} {tags.sequence_name}"
    spacing, normal = series_geometry(series)
    source = Source(series.folder, series.uid, series.part)
    return Candidate(source, series.name, words, tags, spacing, _plane(normal), series)


def _plane(normal: np.ndarray | None) -> Plane | None:
    return None if normal is None else Plane(int(np.abs(normal).argmax()))


def _sidecar_tags(path: Path) -> DicomTags | None:
    """Tags from the JSON file that dcm2niix puts beside a NIfTI file (BIDS: times in seconds)."""
    sidecar = path.with_name(f"{image_stem(path)}.json")
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or "EchoTime" not in content:
        return None

    def milliseconds(key: str) -> float | None:
        value = content.get(key)
        return 1000.0 * value if isinstance(value, (int, float)) and value else None

    return DicomTags(
        description=str(content.get("SeriesDescription", "")),
        protocol=str(content.get("ProtocolName", "")),
        scanning_sequence=tuple(re.split(r"[_\\]", str(content.get("ScanningSequence", "")))),
        image_type=tuple(map(str, content.get("ImageType", ()))),
        repetition_time_ms=milliseconds("RepetitionTime"),
        echo_time_ms=milliseconds("EchoTime"),
        inversion_time_ms=milliseconds("InversionTime"),
        contrast_agent=str(content["ContrastBolusIngredient"]) if "ContrastBolusIngredient" in content else None,
    )


# --- the choice ----------------------------------------------------------------------------------------------------


ALL_SEQUENCES: tuple[Modality, ...] = tuple(Modality)


class _Claim(NamedTuple):
    candidate: Candidate
    guess: Guess


class _Choice(NamedTuple):
    """What was taken, and a clause for each volume that was not (as :attr:`Case.ignored`)."""

    assigned: dict[Modality, Assignment]
    ignored: tuple[str, ...]


def identify(
    study: Path | None,
    overrides: Mapping[Modality, Path] | None = None,
    wanted: Collection[Modality] = ALL_SEQUENCES,
    exam: str | None = None,
) -> dict[Modality, Assignment]:
    """Find the sequences of ``study``; what ``overrides`` names (a file, or a folder with one volume) is taken as said.

    A sequence that is not ``wanted`` is not looked for, so that nothing about it can be refused.

    Args:
        exam: see :func:`discover`.

    Raises:
        InputError: two volumes claim a sequence and neither is clearly better; a volume is unsure; the same one is
            given twice; nothing was found; or as :func:`discover`.
    """
    return look_through(study, overrides, exam).assigned(wanted)


@dataclass(frozen=True)
class StudyContents:
    """What a study holds, looked through once; what is taken of it depends on what is wanted.

    Attributes:
        given: what the user named.
        claims: every other volume with what it seems to be.
        labels: files that are label maps by their names.
    """

    study: Path | None
    given: Mapping[Modality, Assignment]
    claims: tuple[_Claim, ...] = ()
    labels: tuple[Path, ...] = ()

    def assigned(self, wanted: Collection[Modality] = ALL_SEQUENCES) -> dict[Modality, Assignment]:
        """As :func:`identify`, but for what :func:`look_through` refuses."""
        return _choose_all(self, wanted).assigned


def look_through(
    study: Path | None, overrides: Mapping[Modality, Path] | None = None, exam: str | None = None
) -> StudyContents:
    """Find every volume of ``study`` and guess what it is; the arguments are those of :func:`identify`.

    Raises:
        InputError: nothing was given, or the same twice; or as :func:`discover`.
    """
    given = _given(overrides or {})
    if study is None:
        if not given:
            raise InputError("No study was given; give its folder, or files with --t1n, --t1c, --t2w or --t2f.")
        return StudyContents(None, given)
    candidates, labels = _search(Path(study), exam)
    taken = {_place(one.source) for one in given.values()}
    rest = [one for one in candidates if _place(one.source) not in taken]
    guesses = guess_together([(one.words, one.tags) for one in rest], t1c_given=Modality.T1C in given)
    kept = tuple(path for path in labels if _place(Source(path)) not in taken)
    return StudyContents(Path(study), given, tuple(map(_Claim, rest, guesses)), kept)


def _choose_all(found: StudyContents, wanted: Collection[Modality]) -> _Choice:
    assigned = {sequence: one for sequence, one in found.given.items() if sequence in wanted}
    unused = [
        f"'{one.candidate.name}' ({sequence.title}, which is not looked for)"
        for sequence, one in found.given.items()
        if sequence not in wanted
    ]
    looked_for = ", ".join(sequence.title for sequence in Modality if sequence in wanted)
    if found.study is None:
        if not assigned:
            raise InputError(f"No file was given for any sequence looked for ({looked_for}): {_shortened(unused)}.")
        return _Choice(assigned, tuple(unused))
    if not found.claims and not found.given:
        raise _nothing_found(found.study, found.labels)
    for sequence in Modality:
        rivals = [one for one in found.claims if one.guess.sequence is sequence and one.guess.confidence >= _DOUBTFUL]
        if rivals and sequence in wanted and sequence not in assigned:
            assigned[sequence] = _choose(sequence, rivals)
    unused += [
        f"'{claim.candidate.name}' ({_why_unused(claim, assigned, wanted)})"
        for claim in found.claims
        if all(claim.candidate is not one.candidate for one in assigned.values())
    ]
    unused += [f"'{path.name}' (named like a label map)" for path in found.labels]
    if not assigned:
        raise InputError(
            f"{found.study} holds none of the sequences looked for ({looked_for}) that could be told: "
            f"{_shortened(unused)}; {_ADVICE}."
        )
    return _Choice({sequence: assigned[sequence] for sequence in Modality if sequence in assigned}, tuple(unused))


def _why_unused(claim: _Claim, assigned: Mapping[Modality, Assignment], wanted: Collection[Modality]) -> str:
    sequence = claim.guess.sequence
    if sequence is None:
        return claim.guess.reason
    if sequence not in wanted:
        return f"{sequence.title}, which is not looked for"
    if sequence in assigned:
        return f"{sequence.title}, for which '{assigned[sequence].candidate.name}' was taken"
    return f"too unsure to be {sequence.title}: {claim.guess.reason}"


def _place(source: Source) -> tuple[Path, str | None, str]:
    """Equal for two ways of naming one volume."""
    return source.path.resolve(), source.series_uid, source.part


_ADVICE = "say which is which with --t1n, --t1c, --t2w or --t2f and a file, or a folder with that series alone"


def read_case(
    study: Path | None,
    overrides: Mapping[Modality, Path] | None = None,
    identifier: str | None = None,
    time_point: TimePoint | None = None,
    wanted: Collection[Modality] = ALL_SEQUENCES,
    exam: str | None = None,
    contents: StudyContents | None = None,
) -> Case:
    """Identify and read the ``wanted`` sequences of a study. The identifier is by default the folder's or file's name.

    Args:
        contents: what :func:`look_through` gave for the same study, so that it is not looked through again.

    Raises:
        InputError: as :func:`identify`; a volume cannot be read; or two sequences have the same pixels.
    """
    assigned, ignored = _choose_all(contents or look_through(study, overrides, exam), wanted)
    volumes = {
        sequence: SequenceVolume(
            sequence,
            one.candidate.read(),
            one.source,
            one.confidence,
            one.reason,
            one.candidate.name,
            one.candidate.series.patient_id if one.candidate.series else "",
        )
        for sequence, one in assigned.items()
    }
    for first, second in combinations(volumes.values(), 2):
        if _same_pixels(first.image, second.image):
            raise InputError(
                f"'{first.name}' ({first.sequence.title}) and '{second.name}' ({second.sequence.title}) hold the same "
                "image; give each sequence its own."
            )
    doubts = [orientation_doubt(one.source.path) for one in volumes.values() if one.source.series_uid is None]
    named = Path(study) if study is not None else next(iter(assigned.values())).source.path
    return Case(
        identifier or image_stem(named.resolve()),
        volumes,
        time_point or TimePoint(),
        ignored,
        tuple(doubt for doubt in doubts if doubt),
    )


def oriented_case(case: Case) -> Case:
    """The case with the voxel axes of all its images running LPS.

    With one orientation for all, the order in which a file's voxels happen to be stored cannot change a result.
    """
    volumes = {
        modality: dataclasses.replace(volume, image=oriented(volume.image)) for modality, volume in case.volumes.items()
    }
    return dataclasses.replace(case, volumes=volumes)


class SourceImage(NamedTuple):
    """An image (``float32``, LPS, mm) and the DICOM series that it is of, ``None`` for an image file."""

    image: sitk.Image
    series: DicomSeries | None


def read_source(source: Source) -> SourceImage:
    """Read an image of a case again.

    Raises:
        InputError: it is no longer there, or cannot be read.
    """
    if source.series_uid is None:
        return SourceImage(read_image(source.path), None)
    found = [one for one in find_series(source.path) if (one.uid, one.part) == (source.series_uid, source.part)]
    if len(found) != 1:
        raise InputError(f"{source} should be one volume, but {len(found)} were found; check that nothing was moved.")
    return SourceImage(read_series(found[0]), found[0])


def _given(overrides: Mapping[Modality, Path]) -> dict[Modality, Assignment]:
    for (first, path), (second, other) in combinations(overrides.items(), 2):
        if Path(path).resolve() == Path(other).resolve():
            raise InputError(f"{path} is given both as {first.title} and as {second.title}; give each its own file.")
    return {
        sequence: Assignment(_only_candidate(Path(path), sequence), 1.0, "given by the user")
        for sequence, path in overrides.items()
    }


def _only_candidate(path: Path, sequence: Modality) -> Candidate:
    if not path.exists():
        raise InputError(f"{path}, given as {sequence.title}, does not exist; check the path.")
    candidates = discover(path)
    if len(candidates) > 1:
        raise InputError(
            f"{path}, given as {sequence.title}, holds {len(candidates)} volumes "
            f"({_shortened([one.name for one in candidates])}); give a file, or a folder with one of them."
        )
    return candidates[0]


def _choose(sequence: Modality, claims: list[_Claim]) -> Assignment:
    """The claim that is clearly better than all others, by its confidence or else by its voxels."""
    claims = sorted(claims, key=lambda claim: -claim.guess.confidence)
    rivals = [claims[index] for index in rivals_for(sequence, [claim.guess for claim in claims])]
    if not rivals:
        raise InputError(f"It is unsure whether {sequence.title} is {_listed(claims)}; {_advice(sequence)}.")
    best = rivals[0].guess
    if len(rivals) == 1:
        return Assignment(rivals[0].candidate, best.confidence, best.reason)
    if may_be_told_by_voxels(sequence, best):
        for claim in rivals:
            others = [other.candidate for other in rivals if other is not claim]
            why = [_why_better(claim.candidate, other) for other in others]
            if all(why):
                over = f"chosen over {_shortened([other.name for other in others])} as {' and '.join(sorted(set(why)))}"
                return Assignment(claim.candidate, claim.guess.confidence, f"{claim.guess.reason}; {over}")
    raise InputError(f"{sequence.title} could be any of {_listed(rivals)}; {_advice(sequence)}.")


def _advice(sequence: Modality) -> str:
    return f"{_ADVICE}; or leave it out with '--without {sequence.value}'"


def _why_better(one: Candidate, other: Candidate) -> str | None:
    """Why ``one`` is clearly the better volume of the same contrast, or ``None``."""
    if one.reformatted != other.reformatted:
        return None if one.reformatted else "the original, no reformat"
    if one.spacing_mm is None or other.spacing_mm is None:
        return None
    for finer, measure in (("thinner", max), ("finer", math.prod)):
        ratio = measure(other.spacing_mm) / measure(one.spacing_mm)
        if ratio >= _FINER:
            return f"its voxels are {finer}"
        if ratio <= 1 / _FINER:
            return None
        if measure is max and (one.plane is Plane.AXIAL) != (other.plane is Plane.AXIAL):
            return "it is axial" if one.plane is Plane.AXIAL else None
    return None


def _listed(claims: Sequential[_Claim]) -> str:
    return _shortened([f"'{claim.candidate.name}' ({claim.guess.reason})" for claim in claims])


def _shortened(names: Sequential[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _same_pixels(first: sitk.Image, second: sitk.Image) -> bool:
    return first.GetSize() == second.GetSize() and np.array_equal(
        sitk.GetArrayViewFromImage(first), sitk.GetArrayViewFromImage(second)
    )
