"""Names, colours and DICOM codes of labels and regions in files and in 3D Slicer (``Resources/terminology``)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache

from GliomaSegLib.labels import Label, Region
from GliomaSegLib.resources import resource

PAINT_ORDER = (Label.SNFH, Label.RC, Label.NETC, Label.ET)
"""Where segments overlap the later one wins: the cavity replaces edema, and the tumour core replaces both."""

# Appended by Slicer to the name of a copied or split segment.
_COPY_SUFFIX = re.compile(r"([ _-]+\d+|[ _-]+copy)+$", re.IGNORECASE)


@dataclass(frozen=True)
class Code:
    """A DICOM coded concept: coding scheme, code value, meaning."""

    scheme: str
    code: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.code}^{self.meaning}"


@dataclass(frozen=True)
class SegmentStyle:
    """Name, colour (RGB, 0 to 255) and codes of one label."""

    label: Label
    identifier: str
    name: str
    colour: tuple[int, int, int]
    category: Code
    type: Code
    context: str

    @property
    def slicer_entry(self) -> str:
        """3D Slicer's terminology entry: context, category, type, modifier and an empty anatomy."""
        return f"{self.context}~{self.category}~{self.type}~^^~Anatomic codes - DICOM master list~^^~^^"


@dataclass(frozen=True)
class RegionStyle:
    """Name and colour of one region; ``colour`` is RGB, 0 to 255."""

    region: Region
    name: str
    colour: tuple[int, int, int]


@cache
def segment_styles() -> dict[Label, SegmentStyle]:
    """The style of each label, in the order of the labels."""
    styles = [_segment_style(row) for row in _table()["segments"]]
    return {style.label: style for style in styles}


@cache
def undivided_style() -> SegmentStyle:
    """The style of the single segment of a whole tumour whose parts were not distinguished."""
    return _segment_style(_table()["undivided"])


def recognise(name: str, identifier: str, terminology: str) -> Label | None:
    """The label of a segment by its name (also of a copy: ``Enhancing tumour_1``), its coded type or its identifier.

    Args:
        terminology: text that contains Slicer's terminology entry.
    """
    name = _COPY_SUFFIX.sub("", name).casefold()
    tests = (
        lambda style: name in (style.name.casefold(), style.identifier.casefold()),
        lambda style: f"~{style.type.scheme}^{style.type.code}^" in terminology,
        lambda style: identifier == style.identifier,
    )
    styles = (*segment_styles().values(), undivided_style())
    return next((style.label for test in tests for style in styles if test(style)), None)


def known_names() -> str:
    """The names of all segments, for a sentence."""
    return ", ".join(style.name for style in (*segment_styles().values(), undivided_style()))


def _segment_style(row: dict) -> SegmentStyle:
    return SegmentStyle(
        label=Label(row["label"]),
        identifier=row["id"],
        name=row["name"],
        colour=tuple(row["colour"]),
        category=Code(**_table()["category"]),
        type=Code(**row["type"]),
        context=_table()["context"],
    )


@cache
def region_styles() -> dict[Region, RegionStyle]:
    """The style of each region, from the largest to the smallest."""
    styles = [RegionStyle(Region(row["region"]), row["name"], tuple(row["colour"])) for row in _table()["regions"]]
    return {style.region: style for style in styles}


def hex_colour(of: Region | Label) -> str:
    """The colour of a region or label as HTML writes it, e.g. ``#ff4058``."""
    style = region_styles()[of] if isinstance(of, Region) else segment_styles()[of]
    return f"#{bytes(style.colour).hex()}"


def _table() -> dict:
    return json.loads(resource("terminology/segments.json").read_text(encoding="utf-8"))
