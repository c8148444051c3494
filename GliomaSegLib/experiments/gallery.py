"""Draws a model's best and worst case: slices without overlay, with the segmentation and with the reference labels.

The images are always shown skull-stripped: the surface of a head can identify the patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from markupsafe import Markup, escape

from GliomaSegLib import NOTICE
from GliomaSegLib.case import Modality
from GliomaSegLib.errors import Cancelled, GliomaSegError
from GliomaSegLib.experiments.analysis import arms_of, reference_subset
from GliomaSegLib.experiments.definition import DataSet, Experiment, Run, Subset
from GliomaSegLib.experiments.runner import SegmentedCase, repeated
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import read_image
from GliomaSegLib.io.terminology import hex_colour
from GliomaSegLib.labels import Region
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.results.slice_pictures import Viewer

# In the order in which they show the whole tumour, best first.
_SHOWN_ON = (Modality.T2F, Modality.T2W, Modality.T1C, Modality.T1N)

_COLUMNS = ("image", "segmentation", "reference")

_WIDTH, _GAP, _HEADING, _CAPTION = 62.0, 2.0, 16.0, 7.0  # of a picture and around the pictures, mm

_STYLE = (
    ".sheet text{font-family:Helvetica,Arial,'Liberation Sans',sans-serif}"
    ".sheet .contours path{fill:none;stroke-width:.6;stroke-linejoin:round}"
    ".sheet .mark{font-size:5px;fill:#c9d3dc;text-anchor:middle;dominant-baseline:central}"
)


@dataclass(frozen=True)
class Example:
    """The best or the worst case of a model on a data set, by the mean Dice of the regions that its reference has."""

    kind: Literal["best", "worst"]
    run: Run
    dice: float

    @property
    def name(self) -> str:
        """The stem of the picture's file."""
        return f"{self.run.model}-{self.run.data}-{self.kind}"


@dataclass(frozen=True)
class Sheet:
    """An example and its pictures as one self-contained SVG."""

    example: Example
    picture: Markup


def extremes(runs: Sequence[Run]) -> list[Example]:
    """Per model and data set the best and the worst case, with the sequences that the data set is compared on.

    A data set of one case has only a best case.
    """
    found = []
    for arm in arms_of(runs).values():
        scored = [(run, dice) for run in arm[reference_subset(arm)] if (dice := _mean_dice(run)) is not None]
        ordered = sorted(scored, key=lambda one: one[1])
        if ordered:
            found.append(Example("best", *ordered[-1]))
        if len(ordered) > 1:
            found.append(Example("worst", *ordered[0]))
    return found


def _mean_dice(run: Run) -> float | None:
    dice = [score.dice for score in run.scores.values() if score.reference_ml]
    return float(np.mean(dice)) if dice else None


def draw_gallery(
    experiment: Experiment, data: Sequence[DataSet], runs: Sequence[Run], progress: Progress | None = None
) -> list[Sheet]:
    """Segment the best and the worst cases once more and draw them; one that cannot be segmented any more is a
    warning, as the runs are worth more than their pictures."""
    progress = progress or Silent()
    progress.stage("pictures")
    rows = {(one.name, row.case): row for one in data for row in one.rows}
    examples = extremes(runs)
    sheets = []
    for done, example in enumerate(examples):
        progress.advance(done / len(examples), example.run.case)
        try:
            case = repeated(experiment, example.run, rows[example.run.data, example.run.case])
        except Cancelled:
            raise
        except GliomaSegError as error:
            progress.warn(f"{example.name} is not drawn: {error}")
            continue
        sheets.append(Sheet(example, _sheet(example, case)))
    return sheets


# --- drawing -------------------------------------------------------------------------------------------------------


def _sheet(example: Example, case: SegmentedCase) -> Markup:
    """A row per slice: without overlay, with the segmentation, and with the reference."""
    parts = [_text(0, 4, _heading(example), 3.6, 600), *_legend(example.run)]
    places = [column * (_WIDTH + _GAP) for column in range(len(_COLUMNS))]
    parts += [_text(x, _HEADING - 1.5, name, 3, 600) for x, name in zip(places, _COLUMNS, strict=True)]
    y = _HEADING
    for title, pictures in _rows(case, tuple(example.run.scores)):
        height = _height(pictures[0])
        for x, picture in zip(places, pictures, strict=True):
            size = f'x="{x:.1f}" y="{y:.1f}" width="{_WIDTH}" height="{height:.1f}"'
            parts.append(str(picture).replace("<svg ", f"<svg {size} ", 1))
        parts.append(_text(0, y + height + 3.6, title, 3, 400))
        y += height + _CAPTION
    width = places[-1] + _WIDTH
    parts.append(_text(0, y + 2, NOTICE, 2.6, 400))
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sheet" viewBox="0 0 {width:.1f} {y + 4:.1f}" '
        f'width="{width:.1f}mm" height="{y + 4:.1f}mm" role="img" aria-label="{escape(_heading(example))}">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )


def _rows(case: SegmentedCase, regions: tuple[Region, ...]) -> Iterator[tuple[str, list[Markup]]]:
    brain = case.on_reference_grid(case.result.brain) > 0.5
    images = {
        sequence: _stripped(case.on_reference_grid(read_image(case.row.images[sequence]), sequence), brain)
        for sequence in _shown(case.present, regions)
    }
    whole_tumour_on, *parts_on = images
    predicted, drawn = (sitk.GetArrayFromImage(labels) for labels in (case.labels, case.reference))
    # One field of view for both, though one of them may leave the brain.
    field = sitk.Or(brain, array_on(((predicted > 0) | (drawn > 0)).astype(np.uint8), brain))
    viewers = [Viewer(labels, brain, field, regions) for labels in (case.labels, case.reference)]
    largest = viewers[1].largest("axial")
    differing = array_on((predicted != drawn).astype(np.uint8), case.reference)
    for sequence, where, why in (
        *((sequence, largest, "where the reference is largest") for sequence in (whole_tumour_on, *parts_on)),
        (whole_tumour_on, Viewer(differing, brain, field, ()).largest("axial"), "where the two differ most"),
    ):
        grey = viewers[0].grey(images[sequence])
        plain = viewers[0].draw(grey, where, contours=False)
        outlined = [viewer.draw(grey, where) for viewer in viewers]
        yield f"{sequence.title}, {viewers[0].position(where)}: {why}", [plain, *outlined]


def _stripped(image: sitk.Image, brain: sitk.Image) -> sitk.Image:
    """Black outside the brain, also where grey values are below zero."""
    return sitk.Mask(image, brain, float(sitk.GetArrayViewFromImage(image).min()))


def _shown(present: Subset, regions: tuple[Region, ...]) -> list[Modality]:
    """The sequence that shows the whole tumour best, and T1c if parts of it were segmented."""
    first = next(one for one in _SHOWN_ON if one in present)
    parts = set(regions) - {Region.WT} and Modality.T1C in present
    return list(dict.fromkeys([first, Modality.T1C])) if parts else [first]


def _height(picture: Markup) -> float:
    """The height in the sheet, computed from the picture's field of view."""
    width, height = map(float, picture.partition('viewBox="0 0 ')[2].partition('"')[0].split())
    return _WIDTH * height / width


def _heading(example: Example) -> str:
    run = example.run
    return f"{run.model} {run.version}, {example.kind} of {run.data}: {run.case}"


def _legend(run: Run) -> Iterator[str]:
    """The colour of each region and how well it was found."""
    for column, (region, score) in enumerate(run.scores.items()):
        x = column * (_WIDTH + _GAP)
        found = f"Dice {score.dice:.2f}" if score.reference_ml else f"not there, {score.prediction_ml:.2f} mL marked"
        yield f'<rect x="{x:.1f}" y="6.2" width="2.6" height="2.6" fill="{hex_colour(region)}"/>'
        yield _text(x + 4, 8.6, f"{region.value}: {found}", 3, 400)


def _text(x: float, y: float, text: str, size: float, weight: int) -> str:
    style = f'font-size="{size}" font-weight="{weight}" fill="#1c2733"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
