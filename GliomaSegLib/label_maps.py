"""Operations on label arrays: masks of regions, conversion between label schemes, label maps from regions.

Label maps are integer arrays of any shape, in the internal scheme of :mod:`GliomaSegLib.labels` unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import OWN_LABEL, REGION_LABELS, Label, LabelScheme, Region


def region_mask(labels: NDArray[np.integer], region: Region) -> NDArray[np.bool_]:
    """Boolean mask of ``region`` in an internal label map of any shape."""
    return np.isin(labels, REGION_LABELS[region])


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The Dice coefficient of two masks of any shape; 1 when both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 1.0


def values_held(labels: NDArray[Any]) -> NDArray[Any]:
    """The non-zero values that occur, ascending."""
    return np.unique(labels[labels != 0])


def to_internal(labels: NDArray[np.integer], scheme: LabelScheme, source: str = "the label map") -> NDArray[np.uint8]:
    """Translate a label map from ``scheme`` to the internal numbering (``uint8``, same shape).

    Raises:
        InputError: a value occurs that ``scheme`` does not have.
    """
    mapping = scheme.internal_labels
    unknown = sorted(set(values_held(labels).tolist()) - mapping.keys())
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
    """Translate an internal label map to ``scheme``; labels that it does not have become background."""
    if scheme is LabelScheme.WHOLE_TUMOUR:
        return region_mask(labels, Region.WT).astype(np.uint8)
    foreign = np.zeros(labels.shape, dtype=np.uint8)
    for value, label in reversed(list(scheme.internal_labels.items())):  # of two values of one label the first wins
        foreign[labels == label] = value
    return foreign


def lost_in(labels: NDArray[np.uint8], scheme: LabelScheme) -> tuple[Label, ...]:
    """The labels of an internal label map that become background in ``scheme``."""
    held = values_held(labels)
    return tuple(Label(value) for value in held[from_internal(held, scheme) == 0])


def regions_held(labels: NDArray[np.uint8], regions: Collection[Region]) -> tuple[Region, ...]:
    """``regions``, and further regions whose labels occur in an internal label map, as after an edit.

    The label of a region in ``regions`` implies no other region: with enhancing tumour alone, or core alone, the rest
    of the tumour is not known.
    """
    drawn = {Label(value) for value in values_held(labels)} - {OWN_LABEL[region] for region in regions}
    held = {*regions, *(region for region, label in OWN_LABEL.items() if label in drawn)}
    if Region.WT in held and drawn & {Label.NETC, Label.ET}:  # an edit has divided the whole tumour into parts
        held |= {Region.TC, Region.ET}
    return tuple(region for region in Region if region in held)


def compose(
    whole: NDArray[np.bool_], core: NDArray[np.bool_] | None = None, enhancing: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Combine nested region masks to one exclusive label map, with ET inside TC inside WT.

    Voxels of a smaller region outside of the larger one are dropped. With ``core=None`` all of WT is SNFH.
    """
    labels = np.where(whole, np.uint8(Label.SNFH), np.uint8(Label.BACKGROUND))
    if core is not None:
        inside = whole & core
        labels[inside] = Label.NETC
        if enhancing is not None:
            labels[inside & enhancing] = Label.ET
    return labels
