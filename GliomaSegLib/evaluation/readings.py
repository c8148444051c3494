"""Inter-rater agreement from files: one case on the command line, or several in a table."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.agreement import (
    Agreement,
    DesignResult,
    Reader,
    against_consensus,
    assistance,
    every_pair,
    staple_readers,
)
from GliomaSegLib.evaluation.files import number_text
from GliomaSegLib.evaluation.metrics import TOLERANCE_MM
from GliomaSegLib.evaluation.statistics import Difference, Spread, paired, spread
from GliomaSegLib.inference.consensus import consensus
from GliomaSegLib.io.grid import array_on, oriented_like, same_grid
from GliomaSegLib.io.spreadsheet import read_records
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.options import Consensus
from GliomaSegLib.postprocessing import Mask
from GliomaSegLib.record import Record
from GliomaSegLib.results.reading import read_any_segmentation

_COLUMNS = ("case", "reader", "file")
_YES, _NO = ("yes", "1", "true"), ("", "no", "0", "false")


@dataclass(frozen=True)
class Reading:
    """One reader's segmentation of one case; ``seconds``: duration, where measured."""

    case: str
    reader: str
    path: Path
    assisted: bool = False
    seconds: float | None = None


class CaseAgreement(Record):
    """The readers of one case: every pair, each with the consensus, and their rates by STAPLE."""

    case: str
    assisted: bool
    pairs: tuple[Agreement, ...]
    with_consensus: tuple[Agreement, ...]
    staple: tuple[Reader, ...]


class InterRater(Record):
    """One reader against the consensus over all cases, as Helland 2023 shows it (figure 4, Jaccard).

    The consensus is of all readers, so that it is biased towards each of them.
    """

    reader: str
    assisted: bool
    jaccard: Spread


class Time(Record):
    """Seconds per reading by hand and with assistance, and the difference over pairs that have both."""

    manual: Spread
    assisted: Spread
    difference: Difference | None


class ReadingsResult(Record):
    """The results for a set of readings.

    Attributes:
        readers: empty with a single case.
        designs: empty without readings by hand and assisted ones of the same cases by the same three or more readers.
    """

    region: Region
    consensus: Consensus
    tolerance_mm: float
    cases: tuple[CaseAgreement, ...]
    readers: tuple[InterRater, ...]
    designs: tuple[DesignResult, ...]
    time: Time | None


def read_readings(table: Path) -> list[Reading]:
    """Read a table with the columns case, reader and file, and optionally assisted (yes or no) and seconds.

    Paths are relative to the table.

    Raises:
        InputError: the table cannot be read, lacks a column or has an invalid value.
    """
    rows = read_records(table, _COLUMNS)
    if not rows:
        raise InputError(f"The table {table} needs at least one row.")
    return [_reading(row, table, line) for line, row in rows]


def _reading(cells: Mapping[str, str], table: Path, line: int) -> Reading:
    assisted = cells.get("assisted", "").lower()
    if assisted not in _YES + _NO:
        raise InputError(f"{table}, line {line}: 'assisted' is yes or no, not '{cells['assisted']}'.")
    try:
        seconds = float(cells["seconds"]) if cells.get("seconds") else None
    except ValueError as error:
        raise InputError(f"{table}, line {line}: '{cells['seconds']}' is not a number of seconds.") from error
    if seconds is not None and not 0 <= seconds < math.inf:
        raise InputError(f"{table}, line {line}: '{cells['seconds']}' is no duration; write seconds, or nothing.")
    if any(not cells[name] for name in _COLUMNS):
        raise InputError(f"{table}, line {line}: {', '.join(_COLUMNS)} must be there; one of them is empty.")
    return Reading(cells["case"], cells["reader"], table.parent / cells["file"], assisted in _YES, seconds)


def compare_readings(
    readings: Sequence[Reading],
    region: Region,
    scheme: LabelScheme = LabelScheme.GLIOMASEG,
    how: Consensus = Consensus.MAJORITY,
    tolerance_mm: float = TOLERANCE_MM,
) -> ReadingsResult:
    """Compare all readings of each case.

    Raises:
        InputError: a case has a single reading or two by one reader; a file cannot be read, lies on another grid or
            does not distinguish the region.
    """
    masks: dict[tuple[str, bool], dict[str, Mask]] = defaultdict(dict)
    grids: dict[str, sitk.Image] = {}
    for one in readings:
        into = masks[one.case, one.assisted]
        if one.reader in into:
            raise InputError(f"The case '{one.case}' has two readings by '{one.reader}'; keep one of them.")
        into[one.reader] = _mask(one, region, scheme, grids)
    for (case, _), of_case in masks.items():
        if len(of_case) < 2:
            raise InputError(f"The case '{case}' has a single reading; agreement needs two or more.")
    cases = tuple(
        CaseAgreement(
            case=case,
            assisted=assisted,
            pairs=tuple(every_pair(of_case, spacing, tolerance_mm)),
            with_consensus=tuple(against_consensus(of_case, spacing, how, tolerance_mm)),
            staple=tuple(staple_readers(of_case)),
        )
        for (case, assisted), of_case in masks.items()
        for spacing in [grids[case].GetSpacing()[::-1]]
    )
    return ReadingsResult(
        region=region,
        consensus=how,
        tolerance_mm=tolerance_mm,
        cases=cases,
        readers=_inter_rater(cases),
        designs=_designs(masks),
        time=_time(readings),
    )


def read_consensus(readings: Sequence[Reading], region: Region, scheme: LabelScheme, how: Consensus) -> sitk.Image:
    """The consensus of readings of one case as a mask on their grid.

    Raises:
        InputError: as :func:`compare_readings`.
    """
    grids: dict[str, sitk.Image] = {}
    masks = [_mask(one, region, scheme, grids) for one in readings]
    return array_on(consensus(masks, how).astype("uint8"), next(iter(grids.values())))


def _mask(one: Reading, region: Region, scheme: LabelScheme, grids: dict[str, sitk.Image]) -> Mask:
    """The region on the grid of the case's first reading."""
    segmented = read_any_segmentation(one.path, scheme, grids.get(one.case))
    if region not in segmented.regions:
        raise InputError(f"{one.path} does not tell {region.value} apart; choose another region.")
    grid = grids.setdefault(one.case, segmented.labels)
    labels = oriented_like(segmented.labels, grid)
    if not same_grid(labels, grid):
        raise InputError(
            f"{one.path} lies on another grid than the first reading of '{one.case}'; save it on that one."
        )
    return region_mask(sitk.GetArrayFromImage(labels), region)


def _inter_rater(cases: Sequence[CaseAgreement]) -> tuple[InterRater, ...]:
    if len({case.case for case in cases}) < 2:
        return ()
    jaccard: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for case in cases:
        for one in case.with_consensus:
            jaccard[one.second, case.assisted].append(one.jaccard)
    return tuple(
        InterRater(reader=reader, assisted=assisted, jaccard=spread(values))
        for (reader, assisted), values in jaccard.items()
    )


def _designs(masks: Mapping[tuple[str, bool], Mapping[str, Mask]]) -> tuple[DesignResult, ...]:
    both = [case for case, assisted in masks if assisted and (case, False) in masks]
    fit = [
        case for case in both if len(masks[case, False]) >= 3 and masks[case, False].keys() == masks[case, True].keys()
    ]
    if not fit:
        return ()
    return tuple(assistance({case: masks[case, False] for case in fit}, {case: masks[case, True] for case in fit}))


def _time(readings: Sequence[Reading]) -> Time | None:
    taken = {(one.case, one.reader, one.assisted): one.seconds for one in readings if one.seconds is not None}
    if not taken:
        return None
    both = [(case, reader) for case, reader, assisted in taken if assisted and (case, reader, False) in taken]
    manual, assisted_seconds = ([taken[case, reader, assisted] for case, reader in both] for assisted in (False, True))
    return Time(
        manual=spread([seconds for (*_, assisted), seconds in taken.items() if not assisted]),
        assisted=spread([seconds for (*_, assisted), seconds in taken.items() if assisted]),
        difference=paired(manual, assisted_seconds) if both else None,
    )


def to_text(result: ReadingsResult) -> str:
    """The result as lines for a terminal."""
    lines = []
    for case in result.cases:
        lines.append(f"{case.case}{' (assisted)' if case.assisted else ''}, {result.region.value}")
        lines.append(f"  {'':<34} {'Dice':>6} {'Jaccard':>8} {'surface':>8} {'HD95 mm':>8} {'diff. mL':>9}")
        for one in (*case.pairs, *case.with_consensus):
            lines.append(
                f"  {f'{one.first} / {one.second}':<34} {one.dice:>6.3f} {one.jaccard:>8.3f} "
                f"{number_text(one.surface_dice, 3):>8} {number_text(one.hd95_mm, 1):>8} {one.difference_ml:>+9.3f}"
            )
        rated = ", ".join(f"{one.name} {one.sensitivity:.3f} / {one.specificity:.3f}" for one in case.staple)
        lines.append(f"  STAPLE sensitivity / specificity: {rated}")
    for reader in result.readers:
        who = f"{reader.reader}{' (assisted)' if reader.assisted else ''}"
        jaccard = reader.jaccard
        lines.append(f"{who} against the consensus: median Jaccard {jaccard.median:.3f}, {jaccard.cases} cases")
    for found in result.designs:
        line = f"One reader against the others, {found.design.value}: median Dice {found.spread.median:.3f}"
        line += f", {found.spread.cases} pairs of reader and case"
        if found.sign and found.wilcoxon:
            line += f"; against by hand: sign test p = {found.sign.p:.3g}, Wilcoxon p = {found.wilcoxon.p:.3g}"
        lines.append(line)
    if result.time:
        parts = (("by hand", result.time.manual), ("assisted", result.time.assisted))
        lines.append(
            "Median time: "
            + ", ".join(f"{name} {one.median:.0f} s ({one.cases} readings)" for name, one in parts if one.cases)
        )
    lines.append(
        f"Surface Dice within {result.tolerance_mm:g} mm; differences are second minus first; consensus: "
        f"{result.consensus.value}."
    )
    return "\n".join(lines)
