"""The numbers of an experiment as CSV files: one line per case and region, and one per row of the analysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from GliomaSegLib.experiments.analysis import Analysis, LesionRow
from GliomaSegLib.experiments.definition import Run, short_name
from GliomaSegLib.io.spreadsheet import write_csv
from GliomaSegLib.labels import Region
from GliomaSegLib.record import Record


def write_tables(folder: Path, runs: Sequence[Run], analysis: Analysis) -> None:
    """Write the CSV files into ``folder``; a table without rows is not written."""
    write_csv(folder / "cases.csv", (_case_cells(run, region) for run in runs for region in run.scores))
    write_csv(folder / "subsets.csv", (_flat(row) for row in analysis.rows))
    write_csv(folder / "hospitals.csv", (_flat(row) for row in analysis.hospitals))
    write_csv(folder / "comparisons.csv", (_flat(row) for row in analysis.comparisons))
    write_csv(folder / "lesion-curves.csv", (cells for row in analysis.lesions for cells in _curve_cells(row)))
    write_csv(folder / "failures.csv", (_flat(row) for row in analysis.failures))


def _case_cells(run: Run, region: Region) -> dict[str, object]:
    return {
        "model": run.model,
        "version": run.version,
        "data": run.data,
        "case": run.case,
        "patient": run.patient,
        "hospital": run.hospital,
        "sequences": short_name(run.present),
        "region": region.value,
        **run.scores[region].to_row(),
        "seconds": run.seconds,
    }


def _flat(row: Record) -> dict[str, object]:
    """A record as one line: inner records as ``field_inner``, subsets by their names."""
    cells: dict[str, object] = {}
    for name, value in row:
        if name.endswith("present"):
            cells[name.replace("present", "sequences")] = short_name(value)
        elif isinstance(value, Record):
            cells |= {f"{name}_{inner}": cell for inner, cell in value}
        elif isinstance(value, tuple):
            cells[name] = " ".join(map(str, value))
        else:
            cells[name] = getattr(value, "value", value)
    return cells


def _curve_cells(row: LesionRow) -> Iterator[dict[str, object]]:
    for point in row.curve.points:
        yield {
            "model": row.model,
            "data": row.data,
            "region": row.region.value,
            "sequences": short_name(row.present),
            "smaller_than_voxels": row.smaller_than_voxels,
            "lesions": row.curve.lesions,
            **point.model_dump(exclude={"recall_interval", "precision_interval"}),
            **_limits("recall", point.recall_interval),
            **_limits("precision", point.precision_interval),
        }


def _limits(name: str, interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
