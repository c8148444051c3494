"""Summaries of the cases of a batch: state, measures, and what is unusual among the cases; and their table."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from GliomaSegLib.batch.cases import BatchCase, damaged, is_done
from GliomaSegLib.batch.failure_log import Failure
from GliomaSegLib.errors import InputError, as_typed
from GliomaSegLib.inference.training_distance import share_of_limit
from GliomaSegLib.io.folder import MANIFEST, own_manifest
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.io.renaming import rename
from GliomaSegLib.io.spreadsheet import write_rows
from GliomaSegLib.measures.unusual_volumes import BRAIN, unusual, volumes_by_model
from GliomaSegLib.results.layout import MEASURES_JSON

VOLUMES = ("WT", "TC", "ET", "NETC", "SNFH", "RC")
"""The volumes (mL) in the table."""


class CaseState(str, Enum):
    """The state of a case."""

    DONE = "done"
    FAILED = "failed"
    WAITING = "waiting"


@dataclass(frozen=True)
class CaseSummary:
    """One case.

    Attributes:
        present, missing: the modalities that were used, and those that the model also uses.
        volumes: mL by the name of a region or label that the model segments; also of the brain.
        lesions: number of connected components of the whole tumour; ``None`` where the model does not segment it.
        training_distance: distance of the images to the training data, as a fraction of the limit for a warning.
        cost: sentence on the loss of accuracy by missing modalities, which is therefore not among ``warnings``.
        implausible: sentences on findings that no tumour can explain.
        remarks: clauses on what is unusual among the cases of the same model.
        deviation: the largest modified z-score of these, for the order.
        sentence: why it failed.
    """

    case: BatchCase
    state: CaseState
    model: str = ""
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    volumes: Mapping[str, float] = field(default_factory=dict)
    lesions: int | None = None
    cost: str = ""
    warnings: tuple[str, ...] = ()
    implausible: tuple[str, ...] = ()
    training_distance: float | None = None
    seconds: float | None = None
    review: str = ""
    remarks: tuple[str, ...] = ()
    deviation: float = 0.0
    sentence: str = ""


class Summary:
    """Reads the summaries of all cases, again only if a folder of results has changed."""

    def __init__(self, cases: Sequence[BatchCase]) -> None:
        self._cases = list(cases)
        self._read: dict[tuple[Path, int], CaseSummary] = {}

    def cases(self, failures: Mapping[str, Failure]) -> list[CaseSummary]:
        """The summaries in the order: implausible, failed, unusual, with warnings, other done cases, waiting."""
        cases = _with_remarks([self._summary_of(case, failures) for case in self._cases])
        return sorted(cases, key=_order)

    def _summary_of(self, case: BatchCase, failures: Mapping[str, Failure]) -> CaseSummary:
        model = str(case.job.get("model") or "")
        if case.refused:
            return CaseSummary(case, CaseState.FAILED, model, sentence=case.refused)
        try:
            version = (case.output, (case.output / MANIFEST).stat().st_mtime_ns)
            if version not in self._read and is_done(case):
                self._read[version] = _summary_of_results(case)
            if version in self._read:
                return self._read[version]
        except OSError:
            pass  # not done yet
        except Exception as error:  # of any kind, from a damaged folder; concerns this case only
            return CaseSummary(case, CaseState.FAILED, model, sentence=damaged(case, error))
        failure = failures.get(case.key)
        if failure is None:
            return CaseSummary(case, CaseState.WAITING, model)
        return CaseSummary(case, CaseState.FAILED, model, sentence=failure.sentence)


def _order(case: CaseSummary) -> tuple[object, ...]:
    first = (
        -1 if case.implausible
        else 0 if case.state is CaseState.FAILED
        else 4 if case.state is CaseState.WAITING
        else 1 if case.remarks
        else 2 if case.warnings
        else 3
    )  # fmt: skip
    return first, -case.deviation, case.case.name


def _summary_of_results(case: BatchCase) -> CaseSummary:
    manifest = own_manifest(case.output)
    measures = json.loads((case.output / MEASURES_JSON).read_bytes())
    volumes = {volume["name"]: float(volume["volume_ml"]) for volume in measures["volumes"]}
    if measures.get("brain_ml"):
        volumes[BRAIN] = float(measures["brain_ml"])
    return CaseSummary(
        case,
        CaseState.DONE,
        manifest["model"]["id"],
        tuple(manifest["sequences"]),
        tuple(manifest.get("missing", ())),
        volumes,
        sum(lesion["region"] == "WT" for lesion in measures["lesions"]) if "WT" in volumes else None,
        manifest.get("cost") or "",
        (*_edited(case.output, manifest), *(one for one in manifest["warnings"] if one != manifest.get("cost"))),
        tuple(manifest.get("implausible", ())),
        share_of_limit(manifest),
        sum(manifest["seconds"].values()),
        manifest["review"],
    )


def _edited(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Sentences on label files that are not those that were measured, so that figures and review are of others."""
    saved = [name for name, digest in manifest.get("sha256", {}).items() if sha256_of(folder / name) != digest]
    say = f"was saved since it was measured; run 'gliomaseg measure {as_typed(folder)}' for its figures and review."
    return [f"{name} {say}" for name in saved]


# --- unusual cases -------------------------------------------------------------------------------------------------


def _with_remarks(cases: Iterable[CaseSummary]) -> list[CaseSummary]:
    """Add remarks on what is unusual among the cases of the same model; no tumour at all is always remarked."""
    cases = list(cases)
    values = volumes_by_model((case.model, case.volumes) for case in cases)
    found = [unusual(one.volumes, values[one.model]) if one.state is CaseState.DONE else ((), 0.0) for one in cases]
    return [
        replace(case, remarks=remarks, deviation=score) for case, (remarks, score) in zip(cases, found, strict=True)
    ]


# --- the table -----------------------------------------------------------------------------------------------------


def write_summary(cases: Sequence[CaseSummary], path: Path) -> None:
    """Write the table (CSV) atomically, with a row per case in the order of ``cases``.

    Raises:
        InputError: it cannot be written.
    """

    def write(stream: Any) -> None:
        write_rows(stream, list(COLUMNS), map(_cells, cases))

    replace_file(path, write)
    replace_file(path.with_name(f"{path.stem}-columns.json"), lambda stream: json.dump(COLUMNS, stream, indent=1))


def write_parquet(cases: Sequence[CaseSummary], path: Path) -> None:
    """Write the table as Parquet with typed columns, atomically.

    Raises:
        InputError: pyarrow is not installed, or the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            "Parquet needs the package pyarrow; install it with: pip install 'GliomaSeg[parquet]'."
        ) from error
    numbers = {name for name in COLUMNS if name.endswith("_ml")} | {
        "days_since_surgery",
        "training_distance",
        "seconds",
    }
    fields = [
        (
            name,
            pyarrow.float64() if name in numbers else pyarrow.int64() if name == "WT_foci" else pyarrow.string(),
            {"description": about},
        )
        for name, about in COLUMNS.items()
    ]
    schema = pyarrow.schema([pyarrow.field(name, kind, metadata=about) for name, kind, about in fields])
    rows = [{name: cell if cell != "" else None for name, cell in _cells(case).items()} for case in cases]
    partial = path.with_name(f".{path.name}.partial")
    try:
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), partial)
        rename(partial, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); check the disk and your rights.") from error
    finally:
        partial.unlink(missing_ok=True)


def _cells(summary: CaseSummary) -> dict[str, object]:
    job = summary.case.job
    return {
        "case": summary.case.name, "patient": summary.case.patient, "state": summary.state.value,
        "model": summary.model,
        "time_point": job.get("time_point"), "days_since_surgery": job.get("days_since_surgery"),
        "sequences": " ".join(summary.present), "missing": " ".join(summary.missing),
        **{f"{name}_ml": summary.volumes.get(name) for name in VOLUMES}, "brain_ml": summary.volumes.get(BRAIN),
        "WT_foci": summary.lesions,
        "training_distance": summary.training_distance and round(summary.training_distance, 3),
        "review": summary.review, "seconds": summary.seconds and round(summary.seconds, 1),
        "notes": "; ".join(summary.remarks), "warnings": " ".join(summary.warnings), "error": summary.sentence,
        "source": summary.case.where, "output": str(summary.case.output) if summary.state is CaseState.DONE else "",
    }  # fmt: skip


COLUMNS = {
    "case": "name of the case", "patient": "of the table or the BIDS subject", "state": "done, failed or waiting",
    "model": "id of the model", "time_point": "preoperative, postoperative or unknown",
    "days_since_surgery": "days, where given", "sequences": "that were used", "missing": "that the model takes too",
    **{f"{name}_ml": f"volume of {name}, mL; empty: the model does not give it" for name in VOLUMES},
    "brain_ml": "volume of the brain, mL", "WT_foci": "connected pieces of the whole tumour; empty: not given",
    "training_distance": "out-of-distribution score (not accuracy): distance to the training data, 1 is the limit",
    "review": "draft, edited, approved or rejected", "seconds": "of the run",
    "notes": "in what the case differs from the others", "warnings": "of the run", "error": "why it failed",
    "source": "table and line, or folder, that named the case", "output": "folder of its results",
}  # fmt: skip
"""The columns of the table and their meaning, also written to ``summary-columns.json``."""


def replace_file(path: Path, write: Any) -> None:
    """Write a text file atomically: readers and other writers see the old or the new one.

    Args:
        write: called with the open file.

    Raises:
        InputError: it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", newline="", encoding="utf-8") as stream:
                write(stream)
            Path(name).chmod(0o644)
            rename(Path(name), path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); check the disk and your rights.") from error
