"""The volumes as a table node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer
import vtk

from GliomaSegLib.io.terminology import region_styles, segment_styles
from GliomaSegLib.labels import Label, Region


def fill_volumes_table(table: slicer.vtkMRMLTableNode, measures: Mapping[str, Any]) -> None:
    """Write the volumes of ``measures`` (see :class:`~GliomaSegLib.measures.volumes.Measures`, as JSON) into a table.

    One row per region or label: its short name, its name, volume in mL, share of the brain in percent (empty without
    a brain mask) and number of voxels.
    """
    content = vtk.vtkTable()
    short, name = _column("Region", vtk.vtkStringArray), _column("Name", vtk.vtkStringArray)
    volume, share = _column("Volume (mL)", vtk.vtkDoubleArray), _column("Of the brain (%)", vtk.vtkStringArray)
    voxels = _column("Voxels", vtk.vtkIntArray)
    for row in measures["volumes"]:
        short.InsertNextValue(row["name"])
        name.InsertNextValue(_full_name(row["name"]))
        volume.InsertNextValue(row["volume_ml"])
        ratio = row.get("brain_ratio")
        share.InsertNextValue("" if ratio is None else f"{100 * ratio:.2f}")
        voxels.InsertNextValue(row["voxels"])
    for column in (short, name, volume, share, voxels):
        content.AddColumn(column)
    table.SetAndObserveTable(content)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.SetLocked(True)


def _column(name: str, kind: type) -> vtk.vtkAbstractArray:
    column = kind()
    column.SetName(name)
    return column


def _full_name(short: str) -> str:
    return region_styles()[Region(short)].name if short in Region.__members__ else segment_styles()[Label[short]].name
