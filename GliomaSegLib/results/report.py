"""The report for the clinician: a self-contained HTML file for screen and print (A4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from GliomaSegLib import NOTICE
from GliomaSegLib.case import Modality, StudyIdentity, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.terminology import hex_colour, region_styles, segment_styles
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.assessment import CaseAssessment
from GliomaSegLib.measures.lesion_size import counted, least_counted_mm3
from GliomaSegLib.measures.volumes import Lesion, Measures, Volume
from GliomaSegLib.options import ReviewState
from GliomaSegLib.resources import rendered
from GliomaSegLib.results.images import ResultImages
from GliomaSegLib.results.manifest import Manifest, ModelUsed, SequenceRecord
from GliomaSegLib.results.slice_pictures import Viewer
from GliomaSegLib.results.viewer import Panel, Place, region_layers, viewer_html

# Slices of each modality besides the one with the largest area, and lesions listed per region.
_SPREAD_SLICES = 4
_LISTED_LESIONS = 5


def write_report(manifest: Manifest, assessed: CaseAssessment, images: ResultImages, path: Path) -> None:
    """Write the report as one self-contained HTML file (UTF-8); arguments as for :func:`render_report`.

    Raises:
        InputError: the original of the reference image is missing, or the file cannot be written.
    """
    html = render_report(manifest, assessed, images)
    try:
        Path(path).write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"The report '{path}' cannot be written ({error.strerror}); choose another folder.") from error


def render_report(manifest: Manifest, assessed: CaseAssessment, images: ResultImages) -> str:
    """The report as HTML text. Every text is escaped.

    Args:
        assessed: the measures of ``images``; missing regions are reported as not determined.
        images: without originals the report has no pictures.

    Raises:
        InputError: the original of the reference image is missing.
    """
    if images.originals and manifest.reference not in images.originals:
        raise InputError(f"The report lacks the image of its reference {manifest.reference.title}; give it.")
    measures = assessed.measures
    least_mm3 = least_counted_mm3([images.labels.GetSpacing()], manifest.model.task)
    return rendered(
        "report.html.j2",
        {"millilitres": _millilitres, "percent": _percent, "whole": _whole},
        manifest=manifest,
        measures=measures,
        notice=NOTICE,
        time_point=_time_point(manifest.when),
        identity=manifest.identity.line() if manifest.identity else "",
        image_number=_image_number(manifest.identity, measures),
        created=_minute(manifest.changed or manifest.created) if manifest.created else "",
        review_state=_review_state(manifest),
        approved=manifest.review is ReviewState.APPROVED,
        answer=_answer(manifest, assessed, least_mm3),
        implausible=assessed.implausible,
        warnings=[one for one in manifest.warnings if one != manifest.cost and one not in assessed.implausible],
        regions=_regions(measures),
        parts=_parts(measures),
        lesions=_lesion_tables(measures, least_mm3),
        missing=[modality for modality in Modality if modality not in manifest.sequences],
        nothing_found=not any(volume.voxels for volume in measures.volumes),
        pictures=_pictures(manifest, measures, images) if images.originals else None,
        viewer=_viewer(measures, images, least_mm3),
        method=_method(manifest),
    )


@dataclass(frozen=True)
class _Answer:
    """The first paragraph: the answer, and sentences on its limits."""

    sentence: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _RegionRow:
    name: str
    colour: str
    volume: Volume | None


@dataclass(frozen=True)
class _LesionTable:
    """The lesions of one region, without the ``smaller`` ones (total volume ``smaller_ml``) and ``specks``, which do
    not count as lesions."""

    region: str
    listed: tuple[Lesion, ...]
    smaller: int
    smaller_ml: float
    specks: str

    @property
    def has_certainty(self) -> bool:
        """Whether there was a probability map."""
        return any(lesion.certainty is not None for lesion in self.listed)

    @property
    def cut(self) -> tuple[int, ...]:
        """Numbers of the listed lesions that touch the border of the image."""
        return tuple(lesion.id for lesion in self.listed if lesion.at_border)


def _answer(manifest: Manifest, assessed: CaseAssessment, least_mm3: float) -> _Answer | None:
    """The residual tumour after surgery, else the volume of tumour; ``None`` if there is none."""
    measures = assessed.measures
    how_much = _how_much(measures, least_mm3) if any(volume.voxels for volume in measures.volumes) else ""
    if assessed.residual:
        return _Answer(assessed.residual.answer, assessed.residual.notes)
    if manifest.time_point is TimePointKind.POSTOPERATIVE:
        sentence = "Residual tumour cannot be judged: the enhancing tumour was not determined."
        return _Answer(sentence, (how_much,) if how_much else ())
    return _Answer(how_much) if how_much else None


def _how_much(measures: Measures, least_mm3: float) -> str:
    volumes = [
        f"{style.name.lower()} {_millilitres(volume.volume_ml)} mL"
        for region, style in region_styles().items()
        if region is not Region.RC and (volume := measures.volume(region.value))
    ]
    sentence = ", ".join(volumes)
    region = Region.ET if measures.lesions_of(Region.ET) else Region.WT
    lesions, specks = _counted(measures, region, least_mm3)
    what = "enhancing " if region is Region.ET else ""
    beside = f" and {_specks_text(specks)}" if specks else ""
    if not lesions:
        return f"{sentence[0].upper()}{sentence[1:]}{f'; no {what}focus{beside}' if specks else ''}."
    largest = lesions[0]
    size = f"{largest.long_mm:.0f} × {largest.perpendicular_mm:.0f} mm, {largest.side.value}"
    foci = f"one {what}focus of {size}" if len(lesions) == 1 else f"{len(lesions)} {what}foci, the largest {size}"
    return f"{sentence[0].upper()}{sentence[1:]}; {foci}{beside}."


def _counted(measures: Measures, region: Region, least_mm3: float) -> tuple[tuple[Lesion, ...], tuple[Lesion, ...]]:
    """The lesions of a region that count, largest first, and the specks."""
    lesions = measures.lesions_of(region)
    large = counted(lesions, least_mm3)
    return large, lesions[len(large) :]


def _specks_text(specks: Sequence[Lesion]) -> str:
    count = "1 speck" if len(specks) == 1 else f"{len(specks)} specks"
    return f"{count} of {_millilitres(sum(one.volume_ml for one in specks))} mL"


def _regions(measures: Measures) -> list[_RegionRow]:
    """WT, TC, ET, and the cavity if the model segments it."""
    rows = [
        _RegionRow(style.name, hex_colour(region), measures.volume(region.value))
        for region, style in region_styles().items()
    ]
    return rows if rows[-1].volume else rows[:-1]


def _parts(measures: Measures) -> list[_RegionRow]:
    """The labels of the tumour that are not regions themselves."""
    return [
        _RegionRow(style.name, "", volume)
        for style in segment_styles().values()
        if style.label.name not in Region.__members__ and (volume := measures.volume(style.label.name))
    ]


def _lesion_tables(measures: Measures, least_mm3: float) -> list[_LesionTable]:
    tables = []
    for region, style in region_styles().items():
        lesions, specks = _counted(measures, region, least_mm3)
        if lesions or specks:
            rest = lesions[_LISTED_LESIONS:]
            rest_ml = sum(lesion.volume_ml for lesion in rest)
            specks_text = f"{_specks_text(specks)}, below {least_mm3:.0f} mm³ each" if specks else ""
            tables.append(_LesionTable(style.name, lesions[:_LISTED_LESIONS], len(rest), rest_ml, specks_text))
    return tables


def _pictures(manifest: Manifest, measures: Measures, images: ResultImages) -> dict[str, object]:
    """The pictures: the slice with the largest area in all modalities, further slices, and the two other planes."""
    regions = [region for region in Region if measures.volume(region.value)]
    viewer = Viewer(images.labels, images.originals[manifest.reference], images.brain, regions)
    sequences = [modality for modality in Modality if modality in images.originals]
    grey = {modality: viewer.grey(images.originals[modality]) for modality in sequences}
    plane = measures.plane
    # After surgery the slice of the residual tumour is shown, not that of the cavity, which is much larger.
    asked = Region.ET if manifest.time_point is TimePointKind.POSTOPERATIVE else None
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
            (where.plane, viewer.position(where), viewer.draw(grey[manifest.reference], where)) for where in others
        ],
    }


def _image_number(identity: StudyIdentity | None, measures: Measures) -> Callable[[Lesion], str]:
    """The image number of the series on which a lesion was measured; empty if its slices are no images."""
    numbers = identity.image_numbers if identity and measures.slice_axis == 2 else ()
    return lambda lesion: str(numbers[lesion.slice] or "") if lesion.slice < len(numbers) else ""


def _viewer(measures: Measures, images: ResultImages, least_mm3: float) -> Markup:
    """The interactive viewer with a list of the lesions; empty without originals or without NiiVue."""
    panels = [Panel(one.title, images.originals[one], images.labels) for one in Modality if one in images.originals]
    regions = [region for region in Region if measures.volume(region.value)]
    places = [
        Place(region_styles()[region].name, _place_text(lesion), lesion.centre_ras_mm)
        for region in reversed(regions)
        for lesion in _counted(measures, region, least_mm3)[0]
    ]
    return viewer_html(panels, images.brain, region_layers(regions), places, measures.plane)


def _place_text(lesion: Lesion) -> str:
    size = f"{lesion.long_mm:.0f} × {lesion.perpendicular_mm:.0f} mm"
    return f"{lesion.id}: {_millilitres(lesion.volume_ml)} mL, {size}, {lesion.side.value}"


def _time_point(time_point: TimePoint) -> str:
    if time_point.kind is TimePointKind.PREOPERATIVE:
        return "pre-operative"
    if time_point.kind is TimePointKind.UNKNOWN:
        return "time point not stated"
    if time_point.days_since_surgery is None:
        return "post-operative"
    return f"post-operative, {time_point.days_since_surgery:g} days after surgery"


def _millilitres(volume_ml: float) -> str:
    """A volume with two decimals below 10 mL, for residual tumour, else one."""
    if 0 < volume_ml < 0.005:
        return "< 0.01"
    return f"{volume_ml:.2f}" if volume_ml < 10 else f"{volume_ml:.1f}"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.2f} %" if ratio < 0.01 else f"{100 * ratio:.1f} %"


def _whole(number: float) -> str:
    """A rounded number with a typographic minus and narrow spaces between thousands."""
    return f"{round(number):,}".replace(",", "\u202f").replace("-", "\u2212")


# --- how the result was made -----------------------------------------------------------------------------------------


def _method(manifest: Manifest) -> dict[str, str]:
    model = manifest.model
    given = {
        "Model": _model_text(model),
        "Chosen because": manifest.choice,
        "Accuracy": model.accuracy,
        "Members": "; ".join(_member_text(member) for member in model.members),
        "Licence": model.licence,
        "Training": model.training,
        "Citation": model.citation,
        "Brain extraction": manifest.job.brain.value,
        "Registration": _registration_text(manifest),
        "Computed on": f"{model.device}, {model.precision}",
        "Time": ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in manifest.seconds.items()),
        "Software": ", ".join(f"{name} {number}" for name, number in manifest.versions.items()),
        "Review": _review_history(manifest),
    }
    return {name: text for name, text in given.items() if text}


def _model_text(model: ModelUsed) -> str:
    return f"{model.title} ({model.id} {model.version}), weights {model.weights_sha256[:12]}"


def _member_text(model: ModelUsed) -> str:
    return f"{_model_text(model)}. {model.training}" if model.training else _model_text(model)


def _review_state(manifest: Manifest) -> str:
    """The review state, with reviewer and time."""
    text = {
        ReviewState.DRAFT: "draft: not reviewed",
        ReviewState.EDITED: "edited: not approved",
        ReviewState.APPROVED: "approved",
        ReviewState.REJECTED: "rejected",
    }[manifest.review]
    last = manifest.reviews[-1] if manifest.reviews else None
    if last is None or last.by is None or last.state is ReviewState.DRAFT:
        return text
    return f"{text} by {last.by}, {_minute(last.when)}"


def _review_history(manifest: Manifest) -> str:
    """All reviews; empty if there is at most one, which the state shows."""
    if len(manifest.reviews) < 2:
        return ""
    return "; ".join(
        f"{event.state.value}{f' by {event.by}' if event.by else ''}, {_minute(event.when)}"
        for event in manifest.reviews
    )


def _minute(when: str) -> str:
    return f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M}"


def _registration_text(manifest: Manifest) -> str:
    texts = [
        _movement(modality, record)
        for modality, record in manifest.sequences.items()
        if not record.is_reference and (manifest.job.registration or record.transform_given)
    ]
    moved_to = f"to {manifest.reference.title}: {', '.join(texts)}"
    if not manifest.job.registration:
        return f"switched off by the user{f'; {moved_to}' if texts else ''}"
    return moved_to if texts else "not needed: a single sequence"


def _movement(modality: Modality, record: SequenceRecord) -> str:
    where = f"moved by {record.moved_mm:.1f} mm" if record.moved_mm else "in place"
    return f"{modality.title} {where}{', as given' if record.transform_given else ''}"
