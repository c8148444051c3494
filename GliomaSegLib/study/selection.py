"""Selects the volume of a study for each modality.

:mod:`GliomaSegLib.study.identification` guesses the modality of a single volume; here the best volume is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from GliomaSegLib.case import Modality, Source, StudyIdentity, check_one_study
from GliomaSegLib.errors import InputError, listed
from GliomaSegLib.io.dicom import DicomSeries
from GliomaSegLib.io.dicom_files import PassedOver
from GliomaSegLib.io.names import folder_and_part
from GliomaSegLib.study.better_volume import VolumeShape, why_better
from GliomaSegLib.study.identification import Guess, contrast_given, guess_together, rivals_for, voxels_may_decide
from GliomaSegLib.study.volumes import ADVICE, Candidate, Volumes, nothing_found, search

_ASKED = 0.4  # the user is not even asked about guesses with less confidence


@dataclass(frozen=True)
class Assignment:
    """The candidate that was selected for a modality, the confidence (0 to 1) and the reason."""

    candidate: Candidate
    confidence: float
    reason: str

    @property
    def source(self) -> Source:
        """Where the volume is read from."""
        return self.candidate.source


_SUBJECT = re.compile(r"(?:^|/)sub-([a-zA-Z0-9]+)(?=[_/])")  # of BIDS, in the name of a file or folder

ALL_SEQUENCES: tuple[Modality, ...] = tuple(Modality)


class _Claim(NamedTuple):
    candidate: Candidate
    guess: Guess


class Selection(NamedTuple):
    """The selected volumes, and a clause for each of the others (as in :attr:`Case.ignored`)."""

    assigned: dict[Modality, Assignment]
    ignored: tuple[str, ...]


def identify(
    study: Path | None,
    overrides: Mapping[Modality, Path] | None = None,
    wanted: Collection[Modality] = ALL_SEQUENCES,
    dicom_study: str | None = None,
) -> dict[Modality, Assignment]:
    """Identify the modalities of ``study``.

    A modality that is not ``wanted`` is not looked for, and causes no error.

    Args:
        overrides: files, or folders with one volume, that are used for a modality without identification.
        dicom_study: see :func:`~GliomaSegLib.study.volumes.search`.

    Raises:
        InputError: several volumes fit a modality and none is clearly better; a guess is uncertain; the same volume is
            given twice; nothing was found; or as :func:`~GliomaSegLib.study.volumes.search`.
    """
    return search_study(study, overrides, dicom_study).select(wanted).assigned


@dataclass(frozen=True)
class StudyContents:
    """The volumes of a study, after one search; :meth:`select` chooses those for the wanted modalities.

    Attributes:
        given: the volumes that the user named.
        claims: every other volume with the guess of its modality.
        labels: files that are named like label maps.
        passed_over: DICOM files that were found and are not used.
    """

    study: Path | None
    given: Mapping[Modality, Assignment]
    claims: tuple[_Claim, ...] = ()
    labels: tuple[Path, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()

    def select(self, wanted: Collection[Modality] = ALL_SEQUENCES) -> Selection:
        """Select the volume for each wanted modality that the study has.

        Raises:
            InputError: several volumes fit a modality and none is clearly better; a guess is uncertain; nothing was
                found; or image files are of several subjects by their names, as BIDS has it, or by their sidecars.
        """
        assigned = {sequence: one for sequence, one in self.given.items() if sequence in wanted}
        unused = [
            f"'{one.candidate.name}' ({sequence.title}, which is not looked for)"
            for sequence, one in self.given.items()
            if sequence not in wanted
        ]
        looked_for = ", ".join(sequence.title for sequence in Modality if sequence in wanted)
        if self.study is None and not assigned:
            raise InputError(f"No file was given for any sequence looked for ({looked_for}): {listed(unused)}.")
        if self.study is not None and not self.claims and not self.given:
            raise nothing_found(self.study, Volumes([], list(self.labels), list(self.passed_over)))
        for sequence in Modality:
            rivals = [one for one in self.claims if one.guess.sequence is sequence and one.guess.confidence >= _ASKED]
            if rivals and sequence in wanted and sequence not in assigned:
                assigned[sequence] = _choose(sequence, rivals)
        unused += [
            f"'{claim.candidate.name}' ({_why_unused(claim, assigned, wanted)})"
            for claim in self.claims
            if all(claim.candidate is not one.candidate for one in assigned.values())
        ]
        unused += [f"'{path.name}' (named like a label map)" for path in self.labels]
        if not assigned:
            raise InputError(
                f"{self.study} holds none of the sequences looked for ({looked_for}) that could be told: "
                f"{listed(unused)}; {ADVICE}."
            )
        _check_one_subject([one.source.path for one in assigned.values() if one.source.series_uid is None])
        check_one_study(StudyIdentity(tags.patient_id) for one in assigned.values() if (tags := one.candidate.tags))
        return Selection({sequence: assigned[sequence] for sequence in Modality if sequence in assigned}, tuple(unused))


def search_study(
    study: Path | None,
    overrides: Mapping[Modality, Path] | None = None,
    dicom_study: str | None = None,
    series: Sequence[DicomSeries] | None = None,
) -> StudyContents:
    """Find every volume of ``study`` and guess its modality; arguments as of :func:`identify`.

    Args:
        series: the DICOM series of the folder, if it was read already.

    Raises:
        InputError: nothing was given, or the same twice; or as :func:`~GliomaSegLib.study.volumes.search`.
    """
    given, passed_over = _given(overrides or {})
    if study is None:
        if not given:
            raise InputError("No study was given; give its folder, or files with --t1n, --t1c, --t2w or --t2f.")
        if dicom_study is not None:
            raise InputError(
                f"The exam '{dicom_study}' is named and no study folder in which it is looked for; give it."
            )
        return StudyContents(None, given, passed_over=tuple(passed_over))
    candidates, labels, others = search(Path(study), dicom_study, series)
    passed_over = list(dict.fromkeys([*passed_over, *others]))
    taken = {_place(one.source) for one in given.values()}
    rest = [one for one in candidates if _place(one.source) not in taken]
    guesses = guess_together([(one.words, one.tags) for one in rest], t1c_given=Modality.T1C in given)
    kept = tuple(path for path in labels if _place(Source(path)) not in taken)
    return StudyContents(Path(study), given, tuple(map(_Claim, rest, guesses)), kept, tuple(passed_over))


def _check_one_subject(files: Sequence[Path]) -> None:
    subjects = {label[-1]: path for path in files if (label := _SUBJECT.findall(path.as_posix()))}
    if len(subjects) > 1:
        raise InputError(
            f"The images are of several subjects ({listed([str(path) for path in subjects.values()])}); give those of "
            "one study."
        )


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
    """A key that is equal for different paths to one volume."""
    return source.path.resolve(), source.series_uid, source.part


def _given(overrides: Mapping[Modality, Path]) -> tuple[dict[Modality, Assignment], list[PassedOver]]:
    for (first, path), (second, other) in combinations(overrides.items(), 2):
        if Path(path).resolve() == Path(other).resolve():
            raise InputError(f"{path} is given both as {first.title} and as {second.title}; give each its own file.")
    given, passed_over = {}, []
    for sequence, path in overrides.items():
        candidate, others = _only_candidate(Path(path), sequence)
        given[sequence] = Assignment(candidate, 1.0, "given by the user")
        passed_over += others
    return given, passed_over


def _only_candidate(path: Path, sequence: Modality) -> tuple[Candidate, list[PassedOver]]:
    """The volume of a file or folder. ``FOLDER#2`` is the second volume of a folder, and ``FOLDER#M`` the only one with
    the Image Type (or Series Number) ``M``.

    Phase, real and imaginary images of a single series are ignored if nothing is said after ``#``.
    """
    folder, part = folder_and_part(path)
    if not folder.exists():
        raise InputError(f"{path}, given as {sequence.title}, does not exist; check the path.")
    found = search(folder, None)
    if not found.candidates:
        raise nothing_found(folder, found)
    numbered = {str(number): one for number, one in enumerate(found.candidates, start=1)}
    listing = listed([f"#{number} {_described(one)}" for number, one in numbered.items()])
    if part:
        meant = [numbered[part]] if part in numbered else [one for one in found.candidates if _is_called(one, part)]
        if len(meant) != 1:
            raise InputError(f"{folder} has no volume #{part}, given as {sequence.title}; it has {listing}.")
        return meant[0], found.passed_over
    scans = [one for one in found.candidates if not _is_component(one)] or found.candidates
    one_series = len({one.source.series_uid for one in found.candidates}) == 1
    likely = scans if one_series else found.candidates
    if len(likely) > 1:
        raise InputError(
            f"{folder}, given as {sequence.title}, holds {len(found.candidates)} volumes ({listing}); give a file, a "
            f"folder with one of them, or '{folder}#1' and so on."
        )
    return likely[0], found.passed_over


_COMPONENTS = {"P", "R", "I", "PHASE", "REAL", "IMAGINARY", "PHASE MAP"}


def _is_component(candidate: Candidate) -> bool:
    return bool(candidate.tags and _COMPONENTS & {value.upper() for value in candidate.tags.image_type[2:]})


def _is_called(candidate: Candidate, part: str) -> bool:
    kinds = candidate.tags.image_type[2:] if candidate.tags else ()
    return part in (*kinds, *([candidate.series.number] if candidate.series else []))


def _described(candidate: Candidate) -> str:
    kind = "/".join(candidate.tags.image_type[2:]) if candidate.tags and candidate.source.part else ""
    return f"{candidate.name}{f', {kind}' if kind else ''}"


def _choose(sequence: Modality, claims: list[_Claim]) -> Assignment:
    """Select the claim that is clearly better than all others, by its confidence or else by its voxels."""
    claims = sorted(claims, key=lambda claim: -claim.guess.confidence)
    rivals = [claims[index] for index in rivals_for(sequence, [claim.guess for claim in claims])]
    if not rivals:
        raise InputError(f"It is unsure whether {sequence.title} is {_with_reasons(claims)}; {_advice(sequence)}.")
    best = rivals[0].guess
    if len(rivals) == 1:
        return Assignment(rivals[0].candidate, best.confidence, best.reason)
    if voxels_may_decide(sequence, best):
        for claim in rivals:
            others = [other.candidate for other in rivals if other is not claim]
            why = [why_better(sequence, _shape(claim.candidate), _shape(other)) for other in others]
            if all(why):
                reasons = " and ".join(sorted(set(filter(None, why))))
                over = f"chosen over {listed([other.name for other in others])} as {reasons}"
                return Assignment(claim.candidate, claim.guess.confidence, f"{claim.guess.reason}; {over}")
    raise InputError(f"{sequence.title} could be any of {_with_reasons(rivals)}; {_advice(sequence)}.")


def _advice(sequence: Modality) -> str:
    return f"{ADVICE}; or leave it out with '--without {sequence.value}'"


def _shape(candidate: Candidate) -> VolumeShape:
    return VolumeShape(
        None if candidate.geometry is None else candidate.geometry.extent_mm,
        candidate.reformatted,
        None if candidate.geometry is None else candidate.geometry.spacing_mm,
        candidate.plane,
        contrast_given(candidate.words, candidate.tags),
    )


def _with_reasons(claims: Sequence[_Claim]) -> str:
    return listed([f"'{claim.candidate.name}' ({claim.guess.reason})" for claim in claims])
