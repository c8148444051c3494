"""Tables of measures as MRML table nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk

from GliomaSegLib.io.terminology import region_styles, segment_styles
from GliomaSegLib.labels import Label, Region

_ARRAYS = {str: vtk.vtkStringArray, float: vtk.vtkDoubleArray, int: vtk.vtkIntArray}


def fill_volumes_table(table: slicer.vtkMRMLTableNode, measures: Mapping[str, Any]) -> None:
    """Write the volumes of ``measures`` (see :class:`~GliomaSegLib.measures.volumes.Measures`, as JSON) into a table.

    One row per region or label: its short name, its name, volume in mL, share of the brain in percent (empty without
    a brain mask) and number of voxels.
    """
    rows = measures["volumes"]
    ratios = [row.get("brain_ratio") for row in rows]
    columns = {
        "Region": [row["name"] for row in rows],
        "Name": [_full_name(row["name"]) for row in rows],
        "Volume (mL)": [float(row["volume_ml"]) for row in rows],
        "Of the brain (%)": ["" if ratio is None else f"{100 * ratio:.2f}" for ratio in ratios],
        "Voxels": [row["voxels"] for row in rows],
    }
    show_columns(table, columns)


def show_columns(table: slicer.vtkMRMLTableNode, columns: Mapping[str, Sequence[str] | Sequence[float]]) -> None:
    """Set the columns of a table node, by their titles, and lock it. The first value gives the type of a column:
    ``str`` (also of an empty one), ``int`` or ``float``."""
    content = vtk.vtkTable()
    for title, values in columns.items():
        column = _ARRAYS[type(values[0]) if values else str]()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        content.AddColumn(column)
    table.SetAndObserveTable(content)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.SetLocked(True)


def _full_name(short: str) -> str:
    return region_styles()[Region(short)].name if short in Region.__members__ else segment_styles()[Label[short]].name
