"""Shows a comparison of studies as MRML tables and a growth curve.

The numbers are those of the worker's :class:`~GliomaSegLib.followup.comparison.TimePointComparison`, read as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.labels import Region
from GliomaSegLib.scene.tables import show_columns

# Margin around the points as a fraction of the range; the legend needs so many times as much.
_MARGIN, _LEGEND = 0.1, 4

# Only the largest lesions have a curve; the table lists all. The first colour is that of the total volume.
_MOST_CURVES = 6
_COLOURS = (
    *((0.1, 0.1, 0.1), (0.04, 0.43, 0.56), (0.76, 0.34, 0.1), (0.36, 0.55, 0.16), (0.48, 0.31, 0.64)),
    *((0.54, 0.43, 0.0), (0.55, 0.55, 0.55)),
)


@dataclass(frozen=True)
class ComparisonNodes:
    """The nodes that show a comparison.

    Attributes:
        studies: a row per study: when it was made, the volume of each region in mL, the number of lesions.
        lesions: a row per lesion, over all studies.
        growth: total volume of the lesions, and that of the largest ones, in mL per study; the data of the curves.
        series, chart: the curves.
    """

    studies: slicer.vtkMRMLTableNode
    lesions: slicer.vtkMRMLTableNode
    growth: slicer.vtkMRMLTableNode
    series: tuple[slicer.vtkMRMLPlotSeriesNode, ...]
    chart: slicer.vtkMRMLPlotChartNode

    @property
    def all(self) -> tuple[slicer.vtkMRMLNode, ...]:
        """Every node."""
        return (self.studies, self.lesions, self.growth, *self.series, self.chart)


def show_comparison(scene: slicer.vtkMRMLScene, comparison: Mapping[str, Any], name: str) -> ComparisonNodes:
    """Add the tables and the curves of a comparison; no node is left when one of them cannot be made.

    Args:
        comparison: a :class:`~GliomaSegLib.followup.comparison.TimePointComparison` as JSON.
        name: of the case.
    """
    made: list[slicer.vtkMRMLNode] = []

    def add(kind: str, title: str) -> Any:
        made.append(scene.AddNewNodeByClass(kind, f"{name} {title}"))
        return made[-1]

    try:
        studies, lesions, growth = (add("vtkMRMLTableNode", f"comparison: {what}") for what in _TABLES)
        (x_title, places), curves = _axis(comparison), _curves(comparison)
        show_columns(studies, _study_columns(comparison))
        show_columns(lesions, _lesion_columns(comparison))
        show_columns(growth, {x_title: places, **curves})
        series = [add("vtkMRMLPlotSeriesNode", curve) for curve in curves]
        for one, curve, colour in zip(series, curves, _COLOURS, strict=False):
            _draw(one, growth, x_title, curve, colour)
        chart = add("vtkMRMLPlotChartNode", "growth curve")
        chart.SetTitle(region_styles()[Region(comparison["region"])].name)
        chart.SetXAxisTitle(x_title)
        chart.SetYAxisTitle("mL")
        _set_ranges(chart, places, max(map(np.nanmax, curves.values())))
        for one in series:
            chart.AddAndObservePlotSeriesNodeID(one.GetID())
    except BaseException:
        for node in reversed(made):
            scene.RemoveNode(node)
        raise
    return ComparisonNodes(studies, lesions, growth, tuple(series), chart)


_TABLES = ("studies", "lesions", "growth")
_ML = " (mL)"
_KINDS = {"preoperative": "before surgery", "postoperative": "after surgery", "unknown": "not stated"}


def _study_columns(comparison: Mapping[str, Any]) -> dict[str, list[Any]]:
    studies = comparison["studies"]
    columns: dict[str, list[Any]] = {
        "Study": list(range(1, len(studies) + 1)),
        "Name": [study["name"] for study in studies],
        "Made": [_made(study) for study in studies],
    }
    for region, style in region_styles().items():
        found = [_volume(study, region.value) for study in studies]
        if any(volume is not None for volume in found):
            columns[f"{style.name}{_ML}"] = ["" if volume is None else f"{volume:.2f}" for volume in found]
    columns["Lesions"] = [study["foci"] for study in studies]
    return columns


def _made(study: Mapping[str, Any]) -> str:
    days = study["days_since_surgery"]
    when = _KINDS[study["kind"]] if days is None else f"{days:g} {'day' if days == 1 else 'days'} after surgery"
    return f"{study['date']}, {when}" if study["date"] else when


def _volume(study: Mapping[str, Any], name: str) -> float | None:
    return next((volume["volume_ml"] for volume in study["volumes"] if volume["name"] == name), None)


def _lesion_columns(comparison: Mapping[str, Any]) -> dict[str, list[Any]]:
    tracks, became = comparison["course"]["tracks"], _became(comparison["course"]["steps"])
    last = [next(lesion for lesion in reversed(track["lesions"]) if lesion) for track in tracks]
    return {
        "Lesion": [track["id"] for track in tracks],
        **{
            f"Study {place + 1}{_ML}": [_size(track["lesions"][place]) for track in tracks]
            for place in range(len(comparison["studies"]))
        },
        "Became": [became.get(track["id"], "") for track in tracks],
        "Diameters (mm)": [f"{one['long_mm']:.0f} x {one['perpendicular_mm']:.0f}" for one in last],
        "Side": [one["side"] for one in last],
        "Centre (R, A, S mm)": [", ".join(f"{value:.0f}" for value in one["centre_ras_mm"]) for one in last],
    }


def _size(lesion: Mapping[str, Any] | None) -> str:
    return "" if lesion is None else f"{lesion['volume_ml']:.2f}"


def _became(steps: Iterable[Iterable[Mapping[str, Any]]]) -> dict[int, str]:
    """The last change of each lesion by its ID, and the lesions with which it merged or into which it split."""
    texts: dict[int, str] = {}
    for one in (one for happened in steps for one in happened):
        parts = sorted({*one["before"], *one["after"]})
        whole = f" ({', '.join(map(str, parts))})" if len(parts) > 1 else ""
        texts.update((part, one["change"] + whole) for part in parts)
    return texts


def _axis(comparison: Mapping[str, Any]) -> tuple[str, list[float]]:
    """Title of the x axis and the position of each study: its day if all are known and differ, else 1, 2, …"""
    days = [study["day"] for study in comparison["studies"]]
    if None not in days and len(set(days)) == len(days):
        return "Day", days
    return "Study", [float(number) for number in range(1, len(days) + 1)]


def _curves(comparison: Mapping[str, Any]) -> dict[str, list[float]]:
    """Volume in mL at each study, by the name of the curve: 0 where a lesion has disappeared, NaN before it appeared
    and after it merged."""
    tracks, steps = comparison["course"]["tracks"], comparison["course"]["steps"]
    volumes = {
        track["id"]: [lesion["volume_ml"] if lesion else math.nan for lesion in track["lesions"]] for track in tracks
    }
    together = np.nansum([*volumes.values(), [0.0] * len(comparison["studies"])], axis=0)
    largest = sorted(volumes, key=lambda one: -np.nanmax(volumes[one]))[:_MOST_CURVES]
    for place, happened in enumerate(steps, start=1):
        for step in happened:
            if step["change"] == "gone":  # Change.GONE, which is slow to import
                for one in step["before"]:
                    volumes[one][place:] = [0.0] * (len(volumes[one]) - place)
    return {
        f"All lesions{_ML}": together.tolist(),
        **({f"Lesion {one}{_ML}": volumes[one] for one in largest} if len(tracks) > 1 else {}),
    }


def _set_ranges(chart: slicer.vtkMRMLPlotChartNode, places: list[float], highest_ml: float) -> None:
    """The y axis begins at 0 mL, as a small change would look like a large one otherwise."""
    margin = _MARGIN * (places[-1] - places[0])
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(places[0] - margin, places[-1] + _LEGEND * margin)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0, (1 + _MARGIN) * highest_ml or 1)


def _draw(
    series: slicer.vtkMRMLPlotSeriesNode,
    table: slicer.vtkMRMLTableNode,
    x_title: str,
    column: str,
    colour: tuple[float, ...],
) -> None:
    series.SetName(column.removesuffix(_ML))  # the text in the legend
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(x_title)
    series.SetYColumnName(column)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    series.SetColor(*colour)
