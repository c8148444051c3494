"""Figures of a result for talks and papers: slices with contours, legend and scale bar, skull-stripped and anonymous.

A figure is a list of drawing elements in mm, which is written as SVG or PNG.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.terminology import hex_colour, region_styles
from GliomaSegLib.labels import Region
from GliomaSegLib.options import FigureLayout
from GliomaSegLib.results.images import ResultImages
from GliomaSegLib.results.reading import read_originals, read_result, read_transforms
from GliomaSegLib.results.share import brain_alone
from GliomaSegLib.results.slice_pictures import Slice, Viewer, path_data, png

_GAP_MM, _TEXT_MM, _LINE_MM, _BAR_MM = 4.0, 6.0, 0.7, 50.0
_PIXELS_PER_MM = 4.0
_COLUMNS, _LIGHTBOX_SLICES = 4, 12


@dataclass
class _Figure:
    """Drawing elements: pictures and lines with positions, and texts with the position of their middle left."""

    width: float = 0.0
    height: float = 0.0
    pictures: list[tuple[float, float, float, float, NDArray[np.uint8]]] = field(default_factory=list)
    lines: list[tuple[NDArray[np.float64], str, float]] = field(default_factory=list)
    texts: list[tuple[float, float, str]] = field(default_factory=list)


def write_figure(folder: Path, layout: FigureLayout, path: Path) -> None:
    """Write a figure of a folder of results as ``.svg`` or ``.png``, by the suffix of ``path``.

    Raises:
        InputError: the results or their images cannot be read, or the file cannot be written.
    """
    stored = read_result(folder)
    originals = read_originals(stored.manifest, stored.brain, read_transforms(folder))
    images = brain_alone(ResultImages(stored.labels, stored.brain, originals))
    figure = _composed(images, stored.manifest.reference, stored.manifest.regions, layout)
    try:
        if path.suffix.lower() == ".svg":
            path.write_text(_as_svg(figure), encoding="utf-8")
        else:
            _as_image(figure).save(path)
    except (OSError, ValueError) as error:
        raise InputError(f"The figure '{path}' cannot be written ({error}); name a .png or .svg file.") from error


def _composed(images: ResultImages, reference: Modality, regions: tuple[Region, ...], layout: FigureLayout) -> _Figure:
    viewer = Viewer(images.labels, images.originals[reference], images.brain, regions)
    key = viewer.largest("axial")
    shown: list[tuple[Modality, Slice]] = {
        FigureLayout.AXIAL: [(one, key) for one in Modality if one in images.originals],
        FigureLayout.LIGHTBOX: [(reference, where) for where in viewer.spread("axial", _LIGHTBOX_SLICES)],
        FigureLayout.TRIPLANAR: [(reference, viewer.largest(plane)) for plane in ("axial", "coronal", "sagittal")],
    }[layout]
    grey = {modality: viewer.grey(images.originals[modality]) for modality in {one for one, _ in shown}}
    figure, top, drawn = _Figure(), _GAP_MM, set()
    for start in range(0, len(shown), _COLUMNS):
        left, row = _GAP_MM, [(*one, *viewer.cut(grey[one[0]], one[1])) for one in shown[start : start + _COLUMNS]]
        for modality, where, pixels, width, height in row:
            figure.pictures.append((left, top, width, height, pixels))
            for region, lines in viewer.outlines(where):
                figure.lines += [(np.add(line, (left, top)), hex_colour(region), _LINE_MM) for line in lines]
                drawn.add(region)
            title = modality.title if layout is FigureLayout.AXIAL else f"{modality.title}, {viewer.position(where)}"
            figure.texts.append((left + 1, top + _TEXT_MM / 2, title))
            figure.texts.append((left + 1, top + height / 2, viewer.marks(where)[0]))
            figure.texts.append((left + width - _TEXT_MM, top + height / 2, viewer.marks(where)[1]))
            left += width + _GAP_MM
        figure.width = max(figure.width, left)
        top += max(one[4] for one in row) + _GAP_MM
    _add_legend(figure, [region for region in Region if region in drawn], top + _TEXT_MM / 2)
    return figure


def _add_legend(figure: _Figure, regions: list[Region], middle: float) -> None:
    """Add the scale bar, and below it the names of the regions in as many lines as needed."""
    bar = np.array([(_GAP_MM, middle), (_GAP_MM + _BAR_MM, middle)])
    figure.lines.append((bar, "#ffffff", 2 * _LINE_MM))
    figure.texts.append((_GAP_MM + _BAR_MM + 2, middle, f"{_BAR_MM:.0f} mm"))
    left = _GAP_MM + _BAR_MM + 30
    for region in regions:
        name = region_styles()[region].name
        needed = 14 + 0.55 * _TEXT_MM * len(name)
        if left + needed > figure.width:
            left, middle = _GAP_MM, middle + 1.5 * _TEXT_MM
        figure.lines.append((np.array([(left, middle), (left + 8, middle)]), hex_colour(region), 2 * _LINE_MM))
        figure.texts.append((left + 10, middle, name))
        left += needed
    figure.height = middle + _TEXT_MM


def _as_svg(figure: _Figure) -> str:
    parts = [
        f'<image x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none" '
        f'href="{png(pixels)}"/>'
        for x, y, width, height, pixels in figure.pictures
    ]
    parts += [
        f'<path fill="none" stroke="{colour}" stroke-width="{width}" d="{path_data(line)}"/>'
        for line, colour, width in figure.lines
    ]
    parts += [f'<text x="{x:.2f}" y="{y:.2f}">{escape(text)}</text>' for x, y, text in figure.texts]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{figure.width:.0f}mm" height="{figure.height:.0f}mm" '
        f'viewBox="0 0 {figure.width:.2f} {figure.height:.2f}" font-family="Helvetica, Arial, sans-serif" '
        f'font-size="{_TEXT_MM}" fill="#ffffff" dominant-baseline="central">'
        f'<rect width="100%" height="100%" fill="#000000"/>{"".join(parts)}</svg>\n'
    )


def _as_image(figure: _Figure) -> Image.Image:
    scale = _PIXELS_PER_MM
    image = Image.new("RGB", (round(figure.width * scale), round(figure.height * scale)))
    for x, y, width, height, pixels in figure.pictures:
        size = (round(width * scale), round(height * scale))
        image.paste(
            Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), (round(x * scale), round(y * scale))
        )
    pen = ImageDraw.Draw(image)
    for line, colour, width in figure.lines:
        points = [tuple(point) for point in np.concatenate([line, line[:1]]) * scale]
        pen.line(points, fill=colour, width=round(width * scale), joint="curve")
    font = ImageFont.load_default(_TEXT_MM * scale)
    for x, y, text in figure.texts:
        pen.text((x * scale, y * scale), text, font=font, anchor="lm", stroke_width=2, stroke_fill="black")
    return image
