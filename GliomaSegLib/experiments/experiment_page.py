"""Writes an experiment's folder: one self-contained HTML page with figures and tests, and the CSV tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

from GliomaSegLib.case import Modality
from GliomaSegLib.evaluation.charts import Box, Line, box_plot, line_plot
from GliomaSegLib.evaluation.page import render
from GliomaSegLib.experiments.analysis import Analysis, LesionRow
from GliomaSegLib.experiments.definition import DataSet, Experiment, Run, Subset, short_name
from GliomaSegLib.experiments.gallery import Sheet
from GliomaSegLib.experiments.tables import write_tables
from GliomaSegLib.io.folder import MANIFEST, PROGRAM, written_whole
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.zoo.catalogue import find_card

PAGE = "experiment.html"
GALLERY = "gallery"


def write_experiment(
    output: Path,
    experiment: Experiment,
    data: Sequence[DataSet],
    runs: Sequence[Run],
    analysis: Analysis,
    gallery: Sequence[Sheet] = (),
    left_out: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write the folder ``output``, whole or not at all; the sheets of the gallery also as files of their own.

    Args:
        left_out: the sentences of :func:`.definition.left_out`.

    Returns:
        the page.

    Raises:
        InputError: the folder cannot be written, or exists and may not be replaced.
    """
    with written_whole(output, overwrite) as folder:
        write_tables(folder, runs, analysis)
        for sheet in gallery:
            (folder / GALLERY).mkdir(exist_ok=True)
            (folder / GALLERY / f"{sheet.example.name}.svg").write_text(sheet.picture, encoding="utf-8")
        (folder / PAGE).write_text(_render(experiment, data, runs, analysis, gallery, left_out), encoding="utf-8")
        about = {"program": PROGRAM, "kind": "experiment", "experiment": experiment.model_dump(mode="json")}
        (folder / MANIFEST).write_text(json.dumps(about, indent=2), encoding="utf-8")
    return output / PAGE


def _render(
    experiment: Experiment,
    data: Sequence[DataSet],
    runs: Sequence[Run],
    analysis: Analysis,
    gallery: Sequence[Sheet],
    left_out: Sequence[str],
) -> str:
    return render(
        "experiment.html.j2",
        short=short_name,
        cards=[find_card(model, experiment.store) for model in experiment.models],
        experiment=experiment,
        data=data,
        runs=len(runs),
        left_out=left_out,
        tests=len(analysis.comparisons),
        sections=[
            _section(one.name, region, analysis, runs)
            for one in data
            for region in TUMOUR_REGIONS
            if any(row.data == one.name and row.region is region for row in analysis.rows)
        ],
        costs=any(one.kind == "subset" for one in analysis.comparisons),
        models=[one for one in analysis.comparisons if one.kind == "model"],
        gap=_gap(analysis, runs, data),
        hospitals=analysis.hospitals,
        lesions=_lesions(analysis),
        gallery=gallery,
        failures=analysis.failures,
    )


def _section(data: str, region: Region, analysis: Analysis, runs: Sequence[Run]) -> dict[str, object]:
    """One region of one data set: the figure over all subsets and its table."""
    rows = [row for row in analysis.rows if row.data == data and row.region is region]
    models = list(dict.fromkeys(row.model for row in rows))
    subsets = list(dict.fromkeys(row.present for row in rows))
    in_use = [sequence for sequence in Modality if any(sequence in subset for subset in subsets)]
    groups = [
        [Box(models.index(model), _values(runs, model, data, subset, region)) for model in models] for subset in subsets
    ]
    dots = {short_name((sequence,)): [sequence in subset for subset in subsets] for sequence in in_use}
    costs = {
        (one.model, one.present): one
        for one in analysis.comparisons
        if one.kind == "subset" and one.data == data and one.region is region
    }
    return {
        "data": data,
        "region": region.value,
        "figure": box_plot(groups, dots, models, "Dice"),
        "rows": [(row, costs.get((row.model, row.present))) for row in rows],
        "several": len(models) > 1,
        "cases": max(row.dice.cases for row in rows),
        "without": max(row.without for row in rows),
        "nothing_found": any(row.nothing_found for row in rows),
    }


def _values(runs: Iterable[Run], model: str, data: str, present: Subset, region: Region) -> list[float]:
    wanted = (run for run in runs if (run.model, run.data, run.present) == (model, data, present))
    return [run.scores[region].dice for run in wanted if region in run.scores and run.scores[region].reference_ml]


def _gap(analysis: Analysis, runs: Sequence[Run], data: Sequence[DataSet]) -> dict[str, object] | None:
    """The page's section on the domain gap: every model on every data set by region; ``None`` for one data set."""
    comparisons = [one for one in analysis.comparisons if one.kind in ("data", "procedure")]
    if not comparisons:
        return None
    compared: dict[tuple[str, str], Subset] = {}
    for one in comparisons:
        compared |= {(one.model, one.data): one.present, (one.against_model, one.against_data): one.against_present}
    names = [one.name for one in data]
    models = list(dict.fromkeys(model for model, _ in compared))
    regions = [region for region in TUMOUR_REGIONS if any(one.region is region for one in comparisons)]
    places = list(itertools.product(regions, models))
    groups = [
        [
            Box(names.index(name), _values(runs, model, name, compared[model, name], region))
            for name in names
            if (model, name) in compared
        ]
        for region, model in places
    ]
    dots = {region.value: [place[0] is region for place in places] for region in regions}
    if len(models) > 1:
        dots |= {f"model {1 + models.index(model)}": [place[1] == model for place in places] for model in models}
    return {
        "figure": box_plot(groups, dots, names, "Dice"),
        "models": models if len(models) > 1 else (),
        "comparisons": comparisons,
    }


def _lesions(analysis: Analysis) -> list[dict[str, object]]:
    """Per data set and region the two figures and the rows."""
    sections: list[dict[str, object]] = []
    for data, region in dict.fromkeys((row.data, row.region) for row in analysis.lesions):
        rows = [row for row in analysis.lesions if (row.data, row.region) == (data, region)]
        models = list(dict.fromkeys(row.model for row in rows))
        most = max((point.false_positives for row in rows for point in row.curve.points), default=0)
        sections.append(
            {
                "data": data,
                "region": region.value,
                "rows": rows,
                "precision_recall": _curves(rows, models, "recall", "precision", 1.0),
                "froc": _curves(rows, models, "false_positives", "recall", _round_up(most)),
            }
        )
    return sections


def _curves(rows: Sequence[LesionRow], models: Sequence[str], across: str, upwards: str, largest: float) -> Markup:
    lines = []
    for row in rows:
        points = [(getattr(point, across), getattr(point, upwards)) for point in row.curve.points]
        defined = [(x, y) for x, y in points if y is not None]
        limits = ((getattr(point, across), getattr(point, f"{upwards}_interval")) for point in row.curve.points)
        band = [(x, *both) for x, both in limits if both is not None]
        lines.append(Line(models.index(row.model), defined, row.smaller_than_voxels is not None, band))
    names = {"recall": "recall of lesions", "precision": "precision", "false_positives": "false lesions per case"}
    return line_plot(lines, models, names[across], names[upwards], largest)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 8 and so on."""
    largest = 1.0
    while largest < value:
        largest *= 2
    return largest
