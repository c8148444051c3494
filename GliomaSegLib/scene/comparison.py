"""Two studies of a patient side by side in the scene: the earlier one on its way to the worker, and what it answers as
tables and a growth curve.

The numbers are those of the worker's :class:`~GliomaSegLib.followup.compare.Comparison`, read as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.label_maps import from_internal, region_mask
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.scene.segmentation import label_of, labels_of
from GliomaSegLib.scene.tables import show_columns
from GliomaSegLib.scene.volumes import check_volume, export_volume, ijk_to_world, write_voxels

COMPARISON = "GliomaSeg.Comparison"
"""Attribute of a segmentation node: the folder of its last comparison."""
OUTDATED = "GliomaSeg.ComparisonOutdated"
"""Attribute of a segmentation node that was changed after that, or was compared with one that was."""
_COMPARED_WITH = "GliomaSeg.ComparedWith"

_SAME_PLACE_MM = 0.01

# Around the points, as a share of the range; the legend needs several times as much.
_MARGIN, _LEGEND = 0.1, 4

# The largest lesions have a curve of their own; the table has all. The first colour is that of all together.
_MOST_CURVES = 6
_COLOURS = (
    *((0.1, 0.1, 0.1), (0.04, 0.43, 0.56), (0.76, 0.34, 0.1), (0.36, 0.55, 0.16), (0.48, 0.31, 0.64)),
    *((0.54, 0.43, 0.0), (0.55, 0.55, 0.55)),
)


@dataclass(frozen=True)
class ComparisonNodes:
    """What shows a comparison in the scene.

    Attributes:
        studies: a row per study: when it was made, the volume of each region in mL, the number of lesions.
        lesions: a row per lesion, over all studies.
        growth: mL of all lesions together and of the largest ones over the studies; the data of the curve.
        series, chart: the curve.
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


# --- the earlier study ------------------------------------------------------------------------------------------------


def export_study(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, folder: Path, name: str
) -> dict[str, str]:
    """Write a segmentation and the scan that it was drawn on into ``folder``, where the scene shows them.

    Args:
        name: of the file of the segmentation, by which the study is called.

    Returns:
        a :class:`~GliomaSegLib.job.ComparedStudy` as JSON, without its time.

    Raises:
        InputError: they lie on different grids, a segment is unknown, or as
            :func:`~GliomaSegLib.scene.volumes.export_volume`.
    """
    labels, matrix = _labels_on(volume, node)
    scheme = _scheme_of(node)
    path, image = folder / f"{name}.nrrd", folder / "scan-of-it.nrrd"
    write_voxels(from_internal(labels, scheme), matrix, path)
    export_volume(volume, image)
    return {"path": str(path), "image": str(image), "scheme": scheme.value}


def export_tumour(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, folder: Path
) -> dict[str, str]:
    """As :func:`export_study`, for a model that looks at the study before surgery too.

    Returns:
        the fields of a :class:`~GliomaSegLib.job.Job` that say where they are.

    Raises:
        InputError: also when enhancing tumour and necrosis, which the model wants, have no segment.
    """
    labels, matrix = _labels_on(volume, node)
    if _scheme_of(node) is LabelScheme.WHOLE_TUMOUR:
        raise InputError(
            f"The segmentation '{node.GetName()}' does not tell enhancing tumour and necrosis apart from edema, as the "
            "model needs it; segment the study before surgery with a model that does."
        )
    path, image = folder / "tumour.nrrd", folder / "scan.nrrd"
    write_voxels(region_mask(labels, Region.TC).astype(np.uint8), matrix, path)
    export_volume(volume, image)
    return {"preoperative": str(image), "preoperative_mask": str(path)}


def _labels_on(
    volume: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLSegmentationNode
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """As :func:`~GliomaSegLib.scene.segmentation.labels_of`, which are to lie on the voxels of ``volume``."""
    check_volume(volume)
    labels, matrix = labels_of(node)
    if labels.shape != volume.GetImageData().GetDimensions()[::-1] or not np.allclose(
        matrix, ijk_to_world(volume), atol=_SAME_PLACE_MM
    ):
        raise InputError(
            f"The segmentation '{node.GetName()}' lies on another grid than the volume '{volume.GetName()}'; choose "
            "the volume that it was drawn on."
        )
    return labels, matrix


def _scheme_of(node: slicer.vtkMRMLSegmentationNode) -> LabelScheme:
    """What its segments can tell: without one for enhancing tumour it is not known whether there was any."""
    segmentation = node.GetSegmentation()
    told = {label_of(node, segmentation.GetNthSegmentID(i)) for i in range(segmentation.GetNumberOfSegments())}
    if Label.SNFH in told and not told & {Label.ET, Label.NETC}:
        return LabelScheme.WHOLE_TUMOUR
    return LabelScheme.GLIOMASEG if told & {Label.SNFH, Label.NETC} else LabelScheme.ENHANCING


# --- the answer -------------------------------------------------------------------------------------------------------


def show_comparison(scene: slicer.vtkMRMLScene, comparison: Mapping[str, Any], name: str) -> ComparisonNodes:
    """The tables and the curve of a comparison; no node is left when one of them cannot be made.

    Args:
        comparison: a :class:`~GliomaSegLib.followup.compare.Comparison` as JSON.
        name: of the case.
    """
    made: list[slicer.vtkMRMLNode] = []

    def add(kind: str, title: str) -> Any:
        made.append(scene.AddNewNodeByClass(kind, f"{name} {title}"))
        return made[-1]

    try:
        studies, lesions, growth = (add("vtkMRMLTableNode", f"comparison: {what}") for what in _TABLES)
        (along, places), curves = _axis(comparison), _curves(comparison)
        show_columns(studies, _study_columns(comparison))
        show_columns(lesions, _lesion_columns(comparison))
        show_columns(growth, {along: places, **curves})
        series = [add("vtkMRMLPlotSeriesNode", curve) for curve in curves]
        for one, curve, colour in zip(series, curves, _COLOURS, strict=False):
            _draw(one, growth, along, curve, colour)
        chart = add("vtkMRMLPlotChartNode", "growth curve")
        chart.SetTitle(region_styles()[Region(comparison["region"])].name)
        chart.SetXAxisTitle(along)
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


def remember(
    segmentation: slicer.vtkMRMLSegmentationNode,
    earlier: Iterable[slicer.vtkMRMLSegmentationNode],
    nodes: ComparisonNodes,
    folder: Path,
    outdated: bool,
) -> None:
    """Keep with the segmentation what its last comparison is, instead of an earlier one, whose nodes go.

    Args:
        earlier: those of the other studies.
        outdated: whether one of them all has changed meanwhile.
    """
    scene = segmentation.GetScene()
    for old in _referenced(segmentation, COMPARISON):
        scene.RemoveNode(old)
    _refer(segmentation, COMPARISON, nodes.all)
    _refer(segmentation, _COMPARED_WITH, (node for node in earlier if node.GetScene() is scene))
    segmentation.SetAttribute(COMPARISON, str(folder))
    segmentation.SetAttribute(OUTDATED, "1" if outdated else None)


def compared_with(segmentation: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkMRMLSegmentationNode]:
    """The segmentations of the earlier studies of its last comparison that are in the scene."""
    return _referenced(segmentation, _COMPARED_WITH)


def mark_outdated(edited: slicer.vtkMRMLSegmentationNode) -> None:
    """Note on the node, and on those that were compared with it, that their last comparisons are behind."""
    for one in _takers_of(edited):
        one.SetAttribute(OUTDATED, "1")


def comparison_with(segmentation: slicer.vtkMRMLSegmentationNode) -> tuple[Path, bool] | None:
    """The folder of a comparison in which a result takes part, and whether that is outdated: its own, else that of a
    later study; ``None`` when there is none."""
    taker = next(_takers_of(segmentation), None)
    return taker and (Path(taker.GetAttribute(COMPARISON)), taker.GetAttribute(OUTDATED) is not None)


def _takers_of(segmentation: slicer.vtkMRMLSegmentationNode) -> Iterator[slicer.vtkMRMLSegmentationNode]:
    """The node itself, if it was compared with earlier ones, then those that were compared with it."""
    scene, kind = segmentation.GetScene(), "vtkMRMLSegmentationNode"
    count = scene.GetNumberOfNodesByClass(kind) if scene is not None else 0  # it may have been deleted
    others = [scene.GetNthNodeByClass(index, kind) for index in range(count)]
    later = [node for node in others if any(one is segmentation for one in compared_with(node))]
    yield from (node for node in (segmentation, *later) if node.GetAttribute(COMPARISON))


def _refer(segmentation: slicer.vtkMRMLSegmentationNode, role: str, nodes: Iterable[slicer.vtkMRMLNode]) -> None:
    segmentation.RemoveNodeReferenceIDs(role)
    for node in nodes:
        segmentation.AddNodeReferenceID(role, node.GetID())


def chart_of(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLPlotChartNode | None:
    """The growth curve of its last comparison; ``None`` when there is none, or the user has deleted it."""
    nodes = _referenced(segmentation, COMPARISON)
    return next((node for node in nodes if node.IsA("vtkMRMLPlotChartNode")), None)


def _referenced(segmentation: slicer.vtkMRMLSegmentationNode, role: str) -> list[Any]:
    count = segmentation.GetNumberOfNodeReferences(role)
    nodes = [segmentation.GetNthNodeReference(role, index) for index in range(count)]
    return [node for node in nodes if node is not None]


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
    """What happened to each lesion last, and with which others."""
    words: dict[int, str] = {}
    for one in (one for happened in steps for one in happened):
        parts = sorted({*one["before"], *one["after"]})
        whole = f" ({', '.join(map(str, parts))})" if len(parts) > 1 else ""
        words.update((part, one["change"] + whole) for part in parts)
    return words


def _axis(comparison: Mapping[str, Any]) -> tuple[str, list[float]]:
    """Along what the curves run, and where the studies are: their days if they are known and differ, else 1, 2, …"""
    days = [study["day"] for study in comparison["studies"]]
    if None not in days and len(set(days)) == len(days):
        return "Day", days
    return "Study", [float(number) for number in range(1, len(days) + 1)]


def _curves(comparison: Mapping[str, Any]) -> dict[str, list[float]]:
    """mL at each study by the curve's name: 0 where a lesion has gone, NaN before it came and after it merged."""
    tracks, steps = comparison["course"]["tracks"], comparison["course"]["steps"]
    volumes = {
        track["id"]: [lesion["volume_ml"] if lesion else math.nan for lesion in track["lesions"]] for track in tracks
    }
    together = np.nansum([*volumes.values(), [0.0] * len(comparison["studies"])], axis=0)
    largest = sorted(volumes, key=lambda one: -np.nanmax(volumes[one]))[:_MOST_CURVES]
    for place, happened in enumerate(steps, start=1):
        for step in happened:
            if not step["after"]:
                for one in step["before"]:
                    volumes[one][place] = 0.0
    return {
        f"All lesions{_ML}": together.tolist(),
        **({f"Lesion {one}{_ML}": volumes[one] for one in largest} if len(tracks) > 1 else {}),
    }


def _set_ranges(chart: slicer.vtkMRMLPlotChartNode, places: list[float], highest_ml: float) -> None:
    """From 0 mL, or a small change would look like a large one; and with room around the points."""
    margin = _MARGIN * (places[-1] - places[0])
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(places[0] - margin, places[-1] + _LEGEND * margin)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0, (1 + _MARGIN) * highest_ml or 1)


def _draw(
    series: slicer.vtkMRMLPlotSeriesNode,
    table: slicer.vtkMRMLTableNode,
    along: str,
    column: str,
    colour: tuple[float, ...],
) -> None:
    series.SetName(column.removesuffix(_ML))  # it stands in the legend
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(along)
    series.SetYColumnName(column)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    series.SetColor(*colour)
