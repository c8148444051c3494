"""The interactive viewer of a comparison: all studies side by side on the last one's grid, with lesion changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import SimpleITK as sitk
from markupsafe import Markup
from numpy.typing import NDArray

from GliomaSegLib.followup.compare import RegisteredComparison
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.lesion_tracking import Change, LesionHistory
from GliomaSegLib.measures.volumes import lesion_numbers, volume_text
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.results.viewer import Layer, Panel, Place, region_layers, viewer_html

# The value of a voxel: its label + _CHANGE * the number of its lesion's change since the study before.
_CHANGE = int(max(Label)) + 1
_NUMBER_OF = {Change.NEW: 1, Change.GROWN: 2, Change.SHRUNK: 3, Change.GONE: 4}
_OTHER = 5
_CHANGES = {
    1: ("new", "#ff1744"), 2: ("grown", "#ff6d00"), 3: ("shrunk", "#00e676"), 4: ("gone", "#a7ffeb"),
    _OTHER: ("other", "#ffee58"),
}  # fmt: skip


def comparison_viewer(aligned: RegisteredComparison, headings: Sequence[str], changes: Mapping[int, str]) -> Markup:
    """The HTML of the viewer; empty when an image is missing, or without NiiVue.

    Args:
        headings: of the studies.
        changes: the last change of each lesion, by the ID of its track.
    """
    if any(study.image is None for study in aligned.studies):
        return Markup()
    last, course = aligned.studies[-1], aligned.comparison.course
    panels: list[Panel] = []
    drawn: list[NDArray[np.uint16]] = []  # the components of each study
    for place, (study, transform) in enumerate(zip(aligned.studies, aligned.transforms, strict=True)):
        numbers = lesion_numbers(study.labels, course.region).astype(np.uint16)
        nearest = (transform or sitk.Transform(), sitk.sitkNearestNeighbor)
        drawn.append(sitk.GetArrayFromImage(sitk.Resample(array_on(numbers, study.labels), last.labels, *nearest)))
        marked = sitk.GetArrayFromImage(resample_labels(study.labels, last.labels, transform))
        marked += _CHANGE * _changes(course, drawn)
        image = resample_image(cast(sitk.Image, study.image), last.labels, transform)
        panels.append(Panel(f"{place + 1}: {headings[place]}", image, array_on(marked, last.labels)))
    regions = set().union(*(study.regions for study in aligned.studies))
    return viewer_html(panels, last.brain, _layers(regions), _places(aligned, changes))


def _changes(course: LesionHistory, drawn: Sequence[NDArray[np.uint16]]) -> NDArray[np.uint8]:
    """Per voxel of the last study drawn the number of its lesion's change since the study before; for a lesion that has
    gone, where it was."""
    *before, lesions = drawn
    changes = np.zeros(lesions.shape, np.uint8)
    component = {track.id: [lesion.id if lesion else 0 for lesion in track.lesions] for track in course.tracks}
    for step in course.steps[len(before) - 1] if before else ():
        number = _NUMBER_OF.get(step.change, _OTHER)
        for name in step.after:
            changes[lesions == component[name][len(before)]] = number
        for name in step.before if step.change is Change.GONE else ():
            seen = max(place for place in range(len(before)) if component[name][place])
            changes[(before[seen] == component[name][seen]) & (lesions == 0)] = number
    return changes


def _layers(regions: set[Region]) -> list[Layer]:
    shown = [
        Layer(one.name, tuple(v + _CHANGE * k for v in one.values for k in range(_OTHER + 1)), one.colour)
        for one in region_layers(regions)
    ]
    changed = [
        Layer(name, tuple(_CHANGE * number + value for value in range(_CHANGE)), colour)
        for number, (name, colour) in _CHANGES.items()
    ]
    return [*shown, *changed]


def _places(aligned: RegisteredComparison, changes: Mapping[int, str]) -> list[Place]:
    """Every lesion at its last known position, in coordinates of the last study."""
    course, places = aligned.comparison.course, []
    for track in course.tracks:
        when, lesion = [(when, one) for when, one in enumerate(track.lesions) if one][-1]
        right, anterior, superior = lesion.centre_ras_mm
        transform = aligned.transforms[when]
        point = (-right, -anterior, superior)
        x, y, z = transform.GetInverse().TransformPoint(point) if transform else point
        text = f"{track.id}: {volume_text(lesion.volume_ml)}, {changes.get(track.id, 'unchanged')}"
        places.append(Place(region_styles()[course.region].name, text, (-x, -y, z)))
    return places
