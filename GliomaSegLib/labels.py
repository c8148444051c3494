"""The internal label scheme of GliomaSeg, its regions, and the label schemes of files.

Labels are exclusive (one layer, ``uint8``): 1 NETC (non-enhancing or necrotic core), 2 SNFH (surrounding
non-enhancing FLAIR hyperintensity: edema and infiltration), 3 ET (enhancing tumour), 4 RC (resection cavity).
The regions WT (whole tumour) and TC (tumour core) are derived from them and never contain the cavity, except in files
of the scheme ``core-with-cavity``, which do not distinguish it from the core.

Standard library only; functions on label arrays are in :mod:`GliomaSegLib.label_maps`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum, IntEnum


class Label(IntEnum):
    """A voxel's label in the internal scheme (BraTS 2023/2024 numbering)."""

    BACKGROUND = 0
    NETC = 1
    SNFH = 2
    ET = 3
    RC = 4


class Region(str, Enum):
    """A region that is measured and evaluated: a union of labels."""

    WT = "WT"
    TC = "TC"
    ET = "ET"
    RC = "RC"

    @property
    def words(self) -> str:
        """The name in sentences."""
        return _REGION_WORDS[self]


_REGION_WORDS = {
    Region.WT: "whole tumour",
    Region.TC: "tumour core",
    Region.ET: "enhancing tumour",
    Region.RC: "resection cavity",
}

TUMOUR_REGIONS = (Region.WT, Region.TC, Region.ET)
"""The regions of tumour, each inside the one before; the order of the channels of networks."""

REGION_LABELS: dict[Region, tuple[Label, ...]] = {
    Region.WT: (Label.NETC, Label.SNFH, Label.ET),
    Region.TC: (Label.NETC, Label.ET),
    Region.ET: (Label.ET,),
    Region.RC: (Label.RC,),
}

OWN_LABEL: dict[Region, Label] = {
    Region.WT: Label.SNFH,
    Region.TC: Label.NETC,
    Region.ET: Label.ET,
    Region.RC: Label.RC,
}
"""The label of each region that no smaller region contains."""


class LabelScheme(str, Enum):
    """The meaning of the values in a label file.

    ``gliomaseg`` is the internal scheme; ``core-with-cavity`` the same with the cavity counted as core, as in Lotan
    2021 after surgery; ``brats2017`` has ET = 4 and no cavity; ``brats2024`` equals the internal scheme, and states
    that 4 is the cavity also in a file without 3, which may otherwise seem to be of ``brats2017``; ``whole-tumour`` and
    ``enhancing`` are binary masks of one region.
    """

    GLIOMASEG = "gliomaseg"
    CORE_WITH_CAVITY = "core-with-cavity"
    BRATS2017 = "brats2017"
    BRATS2024 = "brats2024"
    WHOLE_TUMOUR = "whole-tumour"
    ENHANCING = "enhancing"

    @property
    def internal_labels(self) -> Mapping[int, Label]:
        """The internal label of each value except 0 (background); other values in a file are refused."""
        return _INTERNAL_LABELS[self]

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions that a file of this scheme delineates; of other regions nothing is known."""
        return _REGIONS[self]


_INTERNAL_LABELS: dict[LabelScheme, dict[int, Label]] = {
    LabelScheme.GLIOMASEG: {1: Label.NETC, 2: Label.SNFH, 3: Label.ET, 4: Label.RC},
    LabelScheme.CORE_WITH_CAVITY: {1: Label.NETC, 2: Label.SNFH, 3: Label.ET, 4: Label.NETC},
    LabelScheme.BRATS2017: {1: Label.NETC, 2: Label.SNFH, 4: Label.ET},
    LabelScheme.BRATS2024: {1: Label.NETC, 2: Label.SNFH, 3: Label.ET, 4: Label.RC},
    LabelScheme.WHOLE_TUMOUR: {1: Label.SNFH},
    LabelScheme.ENHANCING: {1: Label.ET},
}
_REGIONS: dict[LabelScheme, tuple[Region, ...]] = {
    LabelScheme.GLIOMASEG: tuple(Region),
    LabelScheme.CORE_WITH_CAVITY: (Region.WT, Region.TC, Region.ET),
    LabelScheme.BRATS2017: (Region.WT, Region.TC, Region.ET),
    LabelScheme.BRATS2024: tuple(Region),
    LabelScheme.WHOLE_TUMOUR: (Region.WT,),
    LabelScheme.ENHANCING: (Region.ET,),
}


def distinguishes_parts(regions: Collection[Region]) -> bool:
    """Whether a label map of these regions distinguishes parts of the tumour, and not only the whole tumour."""
    return not {Region.TC, Region.ET}.isdisjoint(regions)


def regions_of_channels(channels: Collection[str]) -> frozenset[Region]:
    """The regions that the output channels of a network delineate, which are regions or exclusive labels."""
    named = {Region(name) for name in channels if name in Region.__members__}
    return regions_of_segments([Label[name] for name in channels if name in Label.__members__]) | named


def regions_of_segments(segments: Collection[Label]) -> frozenset[Region]:
    """The regions that a segmentation with segments of these labels delineates, empty ones included.

    With no segment for a part of the core it is not known whether there is any, with enhancing tumour alone not where
    the rest of the tumour is.
    """
    held = set(segments)
    found = {Region.RC} if Label.RC in held else set()
    if held & {Label.SNFH, Label.NETC}:
        found |= {Region.WT, Region.TC, Region.ET} if held & {Label.ET, Label.NETC} else {Region.WT}
    elif Label.ET in held:
        found.add(Region.ET)
    return frozenset(found)
