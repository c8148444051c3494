"""Writes the folder of a comparison: HTML page, numbers as JSON and CSV, and the transforms."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

import numpy as np
import SimpleITK as sitk
from markupsafe import Markup

from GliomaSegLib import NOTICE
from GliomaSegLib.case import TimePointKind
from GliomaSegLib.followup.compare import RegisteredComparison
from GliomaSegLib.followup.comparison import TimePointComparison, TimePointRow
from GliomaSegLib.followup.conditions import flair_ml
from GliomaSegLib.followup.growth import Curve, growth_plot
from GliomaSegLib.followup.interactive import comparison_viewer
from GliomaSegLib.io.folder import MANIFEST, PROGRAM, written_whole
from GliomaSegLib.io.terminology import hex_colour, region_styles
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.lesion_tracking import Change, LesionHistory, Track
from GliomaSegLib.measures.rano import Assessment, Category
from GliomaSegLib.measures.rano_text import amount_text, percent_text
from GliomaSegLib.measures.volumes import volume_text
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.resources import rendered
from GliomaSegLib.results.slice_pictures import Grey, Slice, Viewer
from GliomaSegLib.results.time_point import SegmentedTimePoint

PAGE = "comparison.html"
NUMBERS = "comparison.json"
LESIONS = "lesions.csv"

# Only so many lesions, the largest, have a curve; the table lists all.
_CURVES = 6
_PICTURES = 3
_APART_MM = 8.0  # least distance of two slices that are shown
_DEEP_MM = 20.0  # below scalp and skull
_KINDS = {
    TimePointKind.PREOPERATIVE: "pre-operative",
    TimePointKind.POSTOPERATIVE: "post-operative",
    TimePointKind.UNKNOWN: "time point not stated",
}


def write_comparison(output: Path, aligned: RegisteredComparison, overwrite: bool = False) -> Path:
    """Write the folder ``output`` completely or not at all; returns the path of the page.

    Raises:
        InputError: see :func:`~GliomaSegLib.io.folder.written_whole`.
    """
    comparison = aligned.comparison
    with written_whole(output, overwrite) as folder:
        (folder / PAGE).write_text(render_comparison(aligned), encoding="utf-8")
        (folder / NUMBERS).write_text(comparison.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _write_lesions(comparison, folder / LESIONS)
        for number, transform in enumerate(aligned.transforms, start=1):
            if transform is not None:
                sitk.WriteTransform(transform, str(folder / f"last_to_{number}.tfm"))
        for number, deformation in enumerate(aligned.deformations, start=1):
            if deformation is not None:
                sitk.WriteTransform(deformation.forward, str(folder / f"last_to_{number}_deformed.h5"))
        about = {"program": PROGRAM, "kind": "comparison", "studies": [str(one.path) for one in comparison.studies]}
        (folder / MANIFEST).write_text(json.dumps(about, indent=2), encoding="utf-8")
    return output / PAGE


def render_comparison(aligned: RegisteredComparison) -> str:
    """The page as self-contained HTML; every text is escaped."""
    comparison = aligned.comparison
    headings, changes = [_heading(one) for one in comparison.studies], _changes(comparison)
    return rendered(
        "comparison.html.j2",
        {"volume": volume_text},
        notice=NOTICE,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        comparison=comparison,
        answers=[one for one in comparison.answers if one not in {f"{found.brief}." for found in comparison.responses}],
        name=comparison.studies[-1].name,
        headings=headings,
        regions=_region_rows(aligned),
        colours={
            style.name: hex_colour(region) for region, style in region_styles().items() if _is_drawn(region, aligned)
        },
        patient=next((study.patient for study in aligned.studies if study.patient and study.named), ""),
        region=region_styles()[comparison.region].name,
        changes=changes,
        responses=[_response_row(one) for one in comparison.responses],
        plot=_plot(comparison),
        pictures=_pictures(aligned),
        viewer=comparison_viewer(aligned, headings, changes),
    )


def _write_lesions(comparison: TimePointComparison, path: Path) -> None:
    """Write a CSV file with a row per lesion and study in which it exists."""
    sizes, places = ("volume_ml", "long_mm", "perpendicular_mm"), ("r_mm", "a_mm", "s_mm")
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("lesion", "study", *sizes, *places, "side", "certainty"))
        for track in comparison.course.tracks:
            for number, lesion in enumerate(track.lesions, start=1):
                if lesion:
                    size = (lesion.volume_ml, lesion.long_mm, lesion.perpendicular_mm)
                    table.writerow(
                        (track.id, number, *size, *lesion.centre_ras_mm, lesion.side.value, lesion.certainty)
                    )


def _heading(row: TimePointRow) -> str:
    when = _KINDS[row.kind]
    if row.days_since_surgery is not None:
        days = row.days_since_surgery
        when = f"{days:g} {'day' if days == 1 else 'days'} after surgery"
    return f"{row.date.isoformat()}, {when}" if row.date else when


def _region_rows(aligned: RegisteredComparison) -> list[tuple[str, list[str]]]:
    """Per region its name and its volume in each study."""
    volumes = [{volume.name: volume.volume_ml for volume in one.measures.volumes} for one in aligned.studies]
    rows = [(style.name, [one.get(region.value) for one in volumes]) for region, style in region_styles().items()]
    rows.insert(1, ("T2/FLAIR abnormality outside the enhancing tumour", [flair_ml(one) for one in aligned.studies]))
    return [(name, [_volume_cell(ml) for ml in found]) for name, found in rows if any(found)]


def _volume_cell(volume_ml: float | None) -> str:
    return "not determined" if volume_ml is None else volume_text(volume_ml) if volume_ml else "none"


def _is_drawn(region: Region, aligned: RegisteredComparison) -> bool:
    return any(volume.voxels for study in aligned.studies if (volume := study.measures.volume(region.value)))


def _response_row(found: Assessment) -> dict[str, str]:
    """The cells of a row: response by one set of criteria."""
    criteria = found.criteria
    beside = (-criteria.partial_fall, criteria.progression_rise)
    limits = "partial response {}, progression {}".format(*(percent_text(one) for one in beside))
    known = bool(found.targets) and found.category is not Category.NOT_COMPARABLE
    amounts = [amount_text(criteria, value) for value in (found.values[0], min(found.values[:-1]), found.values[-1])]
    changes = [percent_text(change, *beside) for change in (found.from_baseline, found.from_smallest)]
    first, low, last, from_first, from_low = (*amounts, *changes) if known else ("–",) * 5
    return {
        "name": criteria.name,
        "citation": criteria.citation,
        "quantity": criteria.quantity.value,
        "limits": limits,
        "first": first,
        "low": low,
        "last": last,
        "from_first": from_first,
        "from_low": from_low,
        "new": str(len(found.new)),
        "category": found.category.value,
        "why": found.reason,
    }


def _changes(comparison: TimePointComparison) -> dict[int, str]:
    """By the ID of a lesion its last change, in words."""
    words: dict[int, str] = {}
    for steps in comparison.course.steps:
        for step in steps:
            share = "" if step.fraction is None or not step.after else f", {percent_text(step.fraction)}"
            others = sorted({*step.before, *step.after})
            with_whom = f" ({', '.join(map(str, others))})" if len(others) > 1 else ""
            words |= dict.fromkeys(others, f"{step.change.value}{with_whom}{share}")
    return words


def _plot(comparison: TimePointComparison) -> Markup:
    days = [one.day for one in comparison.studies]
    known = [day for day in days if day is not None]
    dated = len(set(known)) == len(days)
    places: Sequence[float] = known if dated else range(len(days))
    labels = [f"{day:g}" for day in known] if dated else [str(number) for number in range(1, len(days) + 1)]
    tracks = sorted(
        comparison.course.tracks, key=lambda track: -max(lesion.volume_ml for lesion in track.lesions if lesion)
    )
    total = [
        sum(lesion.volume_ml for track in tracks if (lesion := track.lesions[place])) for place in range(len(days))
    ]
    curves = [Curve(f"lesion {track.id}", _volumes(track, comparison.course)) for track in tracks[:_CURVES]]
    together = [Curve("all together", total, strong=True)] if len(tracks) != 1 else []
    return growth_plot([*curves, *together], places, labels, "days" if dated else "study")


def _volumes(track: Track, course: LesionHistory) -> list[float | None]:
    """Volume (mL) at each study: 0 after the lesion has gone, ``None`` before it appeared and after it merged."""
    volumes: list[float | None] = []
    gone = False
    for lesion, steps in zip(track.lesions, ((), *course.steps), strict=True):
        gone |= any(step.change is Change.GONE and track.id in step.before for step in steps)
        volumes.append(lesion.volume_ml if lesion else 0.0 if gone else None)
    return volumes


def _pictures(aligned: RegisteredComparison) -> list[dict[str, object]]:
    """Pictures of all studies, resampled to slices of the last one; none when an image is missing."""
    if any(study.image is None for study in aligned.studies):
        return []
    last = aligned.studies[-1]
    viewers = [
        _on_grid(study, last, transform) for study, transform in zip(aligned.studies, aligned.transforms, strict=True)
    ]
    on_last = viewers[-1][0]
    return [
        {
            "title": f"axial slice {on_last.position(where)}",
            "drawn": [viewer.draw(grey, where) for viewer, grey in viewers],
        }
        for where in _slices([viewer for viewer, _ in viewers], aligned.comparison.course)
    ]


def _slices(viewers: Sequence[Viewer], course: LesionHistory) -> list[Slice]:
    """Axial slices through the largest lesion of the last study, through new lesions, and through the largest area of
    the tumour in each study, as far as they are not too close to each other."""
    last = viewers[-1]
    now = {track.id: lesion for track in course.tracks if (lesion := track.lesions[-1])}
    new = {name for step in course.steps[-1] if step.change is Change.NEW for name in step.after}
    ordered = sorted(now, key=lambda name: -now[name].volume_ml)
    shown = [*ordered[:1], *(name for name in ordered if name in new)]
    candidates = [last.nearest("axial", now[name].centre_ras_mm) for name in shown]
    candidates += [viewer.largest("axial", course.region) for viewer in reversed(viewers) if viewer.tumour.any()]
    chosen: list[Slice] = []
    for where in candidates:
        if all(last.distance_mm(where, other) >= _APART_MM for other in chosen):
            chosen.append(where)
    return chosen[:_PICTURES] or [last.largest("axial")]


def _on_grid(
    study: SegmentedTimePoint, last: SegmentedTimePoint, transform: sitk.Transform | None
) -> tuple[Viewer, Grey]:
    """A viewer and grey image of the study on the grid of the last one; resampled for pictures only."""
    image = resample_image(cast(sitk.Image, study.image), last.labels, transform)
    labels = resample_labels(study.labels, last.labels, transform)
    viewer = Viewer(labels, cast(sitk.Image, last.image), last.brain, study.regions)
    return viewer, viewer.grey(image if last.brain else _without_bright_fat(image), by_tumour=False)


def _without_bright_fat(image: sitk.Image) -> sitk.Image:
    """Clip to the 99.7th percentile deep in the head: bright fat and skin would make the brain dark."""
    head = sitk.BinaryFillhole(sitk.OtsuThreshold(image, 0, 1))
    depth_mm = sitk.SignedMaurerDistanceMap(head, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    deep = sitk.GetArrayViewFromImage(depth_mm) > _DEEP_MM
    grey = sitk.GetArrayViewFromImage(image)
    return sitk.Clamp(image, upperBound=float(np.percentile(grey[deep], 99.7))) if deep.any() else image
