"""The one label scheme used inside GliomaSeg, and its borders with other numberings.

Labels are exclusive, one layer, ``uint8``: 1 NETC (non-enhancing or necrotic core), 2 SNFH (surrounding
non-enhancing FLAIR hyperintensity: edema and infiltration), 3 ET (enhancing tumour), 4 RC (resection cavity).
The regions WT (whole tumour) and TC (tumour core) are derived from them and never contain the cavity.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError


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


REGION_LABELS: dict[Region, tuple[Label, ...]] = {
    Region.WT: (Label.NETC, Label.SNFH, Label.ET),
    Region.TC: (Label.NETC, Label.ET),
    Region.ET: (Label.ET,),
    Region.RC: (Label.RC,),
}


class LabelScheme(str, Enum):
    """Numberings of label maps in files. ``gliomaseg`` is the internal one; ``brats2017`` has ET = 4 and no cavity;
    ``whole-tumour`` and ``enhancing`` are masks (1 inside) of one region."""

    GLIOMASEG = "gliomaseg"
    BRATS2017 = "brats2017"
    WHOLE_TUMOUR = "whole-tumour"
    ENHANCING = "enhancing"

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions that a label map in this numbering tells from everything else."""
        return {
            LabelScheme.GLIOMASEG: tuple(Region),
            LabelScheme.BRATS2017: (Region.WT, Region.TC, Region.ET),
            LabelScheme.WHOLE_TUMOUR: (Region.WT,),
            LabelScheme.ENHANCING: (Region.ET,),
        }[self]


# value in a file -> internal label; anything else in a file is refused.
_TO_INTERNAL: dict[LabelScheme, dict[int, Label]] = {
    LabelScheme.GLIOMASEG: {1: Label.NETC, 2: Label.SNFH, 3: Label.ET, 4: Label.RC},
    LabelScheme.BRATS2017: {1: Label.NETC, 2: Label.SNFH, 4: Label.ET},
    LabelScheme.WHOLE_TUMOUR: {1: Label.SNFH},
    LabelScheme.ENHANCING: {1: Label.ET},
}


def region_mask(labels: NDArray[np.integer], region: Region) -> NDArray[np.bool_]:
    """Boolean mask of ``region`` in an internal label map of any shape."""
    return np.isin(labels, REGION_LABELS[region])


def to_internal(labels: NDArray[np.integer], scheme: LabelScheme, source: str = "the label map") -> NDArray[np.uint8]:
    """Translate a label map from ``scheme`` to the internal numbering (``uint8``, same shape).

    Raises:
        InputError: a value occurs that ``scheme`` does not have.
    """
    mapping = _TO_INTERNAL[scheme]
    unknown = sorted({int(value) for value in np.unique(labels)} - mapping.keys() - {0})
    if unknown:
        raise InputError(
            f"{source} holds the label {unknown[0]}, which the scheme '{scheme.value}' does not have "
            f"({', '.join(f'{value} = {label.name}' for value, label in mapping.items())}); choose another scheme."
        )
    internal = np.zeros(labels.shape, dtype=np.uint8)
    for value, label in mapping.items():
        internal[labels == value] = label
    return internal


def from_internal(labels: NDArray[np.uint8], scheme: LabelScheme) -> NDArray[np.uint8]:
    """Translate an internal label map to ``scheme`` for export; what it cannot hold becomes background."""
    if scheme is LabelScheme.WHOLE_TUMOUR:
        return region_mask(labels, Region.WT).astype(np.uint8)
    foreign = np.zeros(labels.shape, dtype=np.uint8)
    for value, label in _TO_INTERNAL[scheme].items():
        foreign[labels == label] = value
    return foreign


def lost_in(labels: NDArray[np.uint8], scheme: LabelScheme) -> tuple[Label, ...]:
    """The labels of an internal label map that become background in ``scheme``."""
    lost = np.unique(labels[from_internal(labels, scheme) == 0])
    return tuple(Label(value) for value in lost if value != Label.BACKGROUND)


def parts_are_told(regions: Collection[Region]) -> bool:
    """Whether a label map of these regions says of which part of a tumour a voxel is, and not only that it is one."""
    return not {Region.TC, Region.ET}.isdisjoint(regions)


def regions_held(labels: NDArray[np.uint8], regions: Collection[Region]) -> tuple[Region, ...]:
    """``regions``, and those that an internal label map tells apart all the same because somebody drew them."""
    drawn = {Label(value) for value in np.unique(labels)}
    held = set(regions)
    if drawn & {Label.NETC, Label.ET}:
        held |= {Region.WT, Region.TC, Region.ET}
    if Label.RC in drawn:
        held.add(Region.RC)
    return tuple(region for region in Region if region in held)


def compose(
    whole: NDArray[np.bool_], core: NDArray[np.bool_] | None = None, enhancing: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Nested region masks to one exclusive label map, enforcing ET inside TC inside WT.

    A voxel of a smaller region outside the larger one is dropped. ``core=None`` gives WT alone, all SNFH.
    """
    labels = np.where(whole, np.uint8(Label.SNFH), np.uint8(Label.BACKGROUND))
    if core is not None:
        inside = whole & core
        labels[inside] = Label.NETC
        if enhancing is not None:
            labels[inside & enhancing] = Label.ET
    return labels
