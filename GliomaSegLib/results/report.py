"""The report that a clinician reads: one HTML file without external parts, for the screen and for print (A4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from GliomaSegLib import NOTICE
from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import same_grid
from GliomaSegLib.io.terminology import region_styles, segment_styles
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.volumes import Lesion, Measures, Volume
from GliomaSegLib.resources import resource
from GliomaSegLib.results.report_content import ReportContent
from GliomaSegLib.results.slice_pictures import Viewer, hex_colour

# Slices shown of each sequence besides the one with the largest area, and lesions listed of each region.
_SPREAD_SLICES = 4
_LISTED_LESIONS = 5


def write_report(content: ReportContent, path: Path) -> None:
    """Write the report as one self-contained HTML file (UTF-8).

    Raises:
        InputError: an image has another grid than the labels, or the file cannot be written.
    """
    html = render_report(content)
    try:
        Path(path).write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"The report '{path}' cannot be written ({error.strerror}); choose another folder.") from error


def render_report(content: ReportContent) -> str:
    """The report as HTML text. Every text of ``content`` is escaped.

    Raises:
        InputError: an image has another grid than the labels, or there are images and the reference is not among them.
    """
    _check(content)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(millilitres=_millilitres, percent=_percent, whole=_whole)
    template = environment.from_string(resource("report.html.j2").read_text(encoding="utf-8"))
    measures = content.assessed.measures
    return template.render(
        content=content,
        measures=measures,
        notice=NOTICE,
        time_point=_time_point(content.time_point),
        answer=_answer(content),
        regions=_regions(measures),
        parts=_parts(measures),
        lesions=_lesion_tables(measures),
        missing=_missing(content),
        nothing_found=not any(volume.voxels for volume in measures.volumes),
        pictures=_pictures(content) if content.images else None,
    )


@dataclass(frozen=True)
class _Answer:
    """The first paragraph: one sentence, and what must be known about it, a sentence each."""

    sentence: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _RegionRow:
    name: str
    colour: str
    volume: Volume | None


@dataclass(frozen=True)
class _LesionTable:
    """The lesions of one region; ``smaller`` more, of ``smaller_ml`` together, are not listed."""

    region: str
    listed: tuple[Lesion, ...]
    smaller: int
    smaller_ml: float

    @property
    def has_certainty(self) -> bool:
        """Whether there was a probability map."""
        return any(lesion.certainty is not None for lesion in self.listed)

    @property
    def cut(self) -> tuple[int, ...]:
        """Numbers of those listed that touch the border of the image."""
        return tuple(lesion.id for lesion in self.listed if lesion.at_border)


def _check(content: ReportContent) -> None:
    if content.images and content.reference not in content.images:
        raise InputError(f"The report lacks the image of its reference {content.reference.title}; give it.")
    for name, image in [*((s.title, image) for s, image in content.images.items()), ("brain mask", content.brain)]:
        if image is not None and not same_grid(image, content.labels):
            raise InputError(f"The {name} has another grid than the segmentation; resample it for the report.")


def _answer(content: ReportContent) -> _Answer | None:
    """After surgery the residual tumour, else how much tumour there is. Without any, the page says so itself."""
    measures = content.assessed.measures
    how_much = _how_much(measures) if any(volume.voxels for volume in measures.volumes) else ""
    if content.assessed.residual:
        return _Answer(content.assessed.residual.answer, content.assessed.residual.notes)
    if content.time_point.kind is TimePointKind.POSTOPERATIVE:
        sentence = "Residual tumour cannot be judged: the enhancing tumour was not determined."
        return _Answer(sentence, (how_much,) if how_much else ())
    return _Answer(how_much) if how_much else None


def _how_much(measures: Measures) -> str:
    volumes = [
        f"{style.name.lower()} {_millilitres(volume.volume_ml)} mL"
        for region, style in region_styles().items()
        if region is not Region.RC and (volume := measures.volume(region.value))
    ]
    sentence = ", ".join(volumes)
    region = Region.ET if measures.lesions_of(Region.ET) else Region.WT
    if not (lesions := measures.lesions_of(region)):
        return f"{sentence[0].upper()}{sentence[1:]}."
    largest, what = lesions[0], "enhancing " if region is Region.ET else ""
    size = f"{largest.long_mm:.0f} × {largest.perpendicular_mm:.0f} mm, {largest.side.value}"
    foci = f"one {what}focus of {size}" if len(lesions) == 1 else f"{len(lesions)} {what}foci, the largest {size}"
    return f"{sentence[0].upper()}{sentence[1:]}; {foci}."


def _missing(content: ReportContent) -> list[Modality]:
    known = {*content.images, *(found.sequence for found in content.found)}
    return [sequence for sequence in Modality if sequence not in known]


def _regions(measures: Measures) -> list[_RegionRow]:
    """WT, TC, ET, and the cavity where there is one."""
    rows = [
        _RegionRow(style.name, hex_colour(region), measures.volume(region.value))
        for region, style in region_styles().items()
    ]
    return rows if rows[-1].volume and rows[-1].volume.voxels else rows[:-1]


def _parts(measures: Measures) -> list[_RegionRow]:
    """The labels that make up the tumour and are no region themselves."""
    return [
        _RegionRow(style.name, "", volume)
        for style in segment_styles().values()
        if style.label.name not in Region.__members__ and (volume := measures.volume(style.label.name))
    ]


def _lesion_tables(measures: Measures) -> list[_LesionTable]:
    tables = []
    for region, style in region_styles().items():
        lesions = [lesion for lesion in measures.lesions if lesion.region is region]
        if lesions:
            rest = lesions[_LISTED_LESIONS:]
            rest_ml = sum(lesion.volume_ml for lesion in rest)
            tables.append(_LesionTable(style.name, tuple(lesions[:_LISTED_LESIONS]), len(rest), rest_ml))
    return tables


def _pictures(content: ReportContent) -> dict[str, object]:
    """The slices of the report: the largest of all sequences, some others, and the two other planes."""
    measures = content.assessed.measures
    regions = [region for region in Region if measures.volume(region.value)]
    viewer = Viewer(content.labels, content.images[content.reference], content.brain, regions)
    sequences = [sequence for sequence in Modality if sequence in content.images]
    grey = {sequence: viewer.grey(content.images[sequence]) for sequence in sequences}
    plane = measures.plane
    # After surgery what is left is looked for, not the cavity, which is much larger.
    asked = Region.ET if content.time_point.kind is TimePointKind.POSTOPERATIVE else None
    left = measures.volume(asked.value) if asked else None
    key = viewer.largest(plane, asked)
    spread = viewer.spread(plane, _SPREAD_SLICES)
    others = [viewer.largest(other, asked) for other in ("axial", "coronal", "sagittal") if other != plane]
    return {
        "plane": plane,
        "largest": "enhancing tumour" if left and left.voxels else "tumour",
        "position": viewer.position(key),
        "titles": [sequence.title for sequence in sequences],
        "plain": [viewer.draw(grey[sequence], key, contours=False) for sequence in sequences],
        "outlined": [viewer.draw(grey[sequence], key) for sequence in sequences],
        "spread_positions": [viewer.position(where) for where in spread],
        "spread": [(s.title, [viewer.draw(grey[s], where) for where in spread]) for s in sequences],
        "others": [
            (where.plane, viewer.position(where), viewer.draw(grey[content.reference], where)) for where in others
        ],
    }


def _time_point(time_point: TimePoint) -> str:
    if time_point.kind is TimePointKind.PREOPERATIVE:
        return "pre-operative"
    if time_point.kind is TimePointKind.UNKNOWN:
        return "time point not stated"
    if time_point.days_since_surgery is None:
        return "post-operative"
    return f"post-operative, {time_point.days_since_surgery:g} days after surgery"


def _millilitres(volume_ml: float) -> str:
    """Two decimals below 10 mL, where residual tumour is judged, else one."""
    if 0 < volume_ml < 0.005:
        return "< 0.01"
    return f"{volume_ml:.2f}" if volume_ml < 10 else f"{volume_ml:.1f}"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.2f} %" if ratio < 0.01 else f"{100 * ratio:.1f} %"


def _whole(number: float) -> str:
    """A whole number as it is printed: a real minus, thousands apart by a narrow space."""
    return f"{round(number):,}".replace(",", "\u202f").replace("-", "\u2212")
