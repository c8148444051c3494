"""The blocks of a card on the network: its grid, normalisation, inference and output.

Plain dataclasses. ``metadata`` holds what pydantic checks when a user's card is added and what the JSON schema says
(:mod:`GliomaSegLib.zoo.card_check`); rules that concern several fields are in ``__post_init__``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar, Literal

_AXES = ("[LR]", "[AP]", "[SI]")
_LEAST_MM, _MOST_MM = 0.1, 20.0
_MOST_VOXELS = 1024
_LARGEST_NUMBER = 1_000_000
_ORIENTATIONS = f"^({'|'.join(map(''.join, permutations(_AXES)))})$"


def checked(default: Any = dataclasses.MISSING, about: str = "", **rules: Any) -> Any:
    """A field of a card, by default a required one.

    Args:
        about: its description in the JSON schema.
        rules: what pydantic checks when a user's card is added, such as ``ge=0`` or ``pattern="^[a-z]+$"``.
    """
    metadata = {"description": about, **rules} if about else rules
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class CardPart:
    """Base of a card and its parts: a key that is not a field is refused."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Space(CardPart):
    """The grid that the network sees, in the space of the reference image."""

    spacing_mm: tuple[float, float, float] | None = checked(
        about="Along the three voxel axes; null: the published files define it."
    )
    orientation: str = checked(
        "LPS",
        "Where each voxel axis runs: left or right, anterior or posterior, superior or inferior.",
        pattern=_ORIENTATIONS,
    )
    brain: Literal["stripped", "head"] = "stripped"

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and not all(_LEAST_MM <= edge <= _MOST_MM for edge in self.spacing_mm):
            raise ValueError(f"'spacing_mm' is none of a head's image: each edge is {_LEAST_MM} to {_MOST_MM} mm")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec(CardPart):
    """Which code runs the model (a family, see :mod:`GliomaSegLib.zoo.loaders`), and its parameters."""

    family: str
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in _numbers_in(self.parameters):
            if not abs(number) <= _LARGEST_NUMBER:  # nor is NaN
                raise ValueError(f"'parameters' has the number {number}, which no network needs")


def _numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _numbers_in(one)
    elif isinstance(value, (int, float)):
        yield value


@dataclass(frozen=True, kw_only=True)
class Normalisation(CardPart):
    """What is done to the grey values of each sequence on its own, before the network sees them."""

    method: Literal["z-score", "percentiles", "landmarks", "published", "none"] = checked(
        about="percentiles: these two become 0 and 1; landmarks: histogram standardisation, then z-score; published: "
        "as the model's own files say."
    )
    over: Literal["all", "non-zero", "above-mean"] = checked("all", "Voxels from which the statistics are taken.")
    percentiles: tuple[float, float] | None = None
    clip: bool = checked(False, "Clip values outside the percentiles.")
    landmarks: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.method == "percentiles" and self.percentiles is None:
            raise ValueError("the method 'percentiles' needs 'percentiles', such as [0.5, 99.5]")
        if self.method == "landmarks" and not self.landmarks:
            raise ValueError("the method 'landmarks' needs 'landmarks'")


@dataclass(frozen=True, kw_only=True)
class Inference(CardPart):
    """How the network is applied to the volume."""

    patch: tuple[int, int, int] | None = checked(None, "x, y, z in voxels; null: the whole field in one pass.")
    overlap: float = checked(0.5, "of neighbouring patches, as a share of the patch", ge=0, lt=1)
    window: Literal["gaussian", "constant"] = checked("gaussian", "Weights inside a patch.")
    axes: Literal["xyz", "zyx"] = checked("xyz", "Order in which the network takes the axes.")
    field: Literal["full", "brain"] = checked(
        "full",
        "The part of the grid that the network is given: all of it, or the box of non-zero voxels. Group and instance "
        "normalisation depend on it.",
    )
    margin_voxels: int = checked(0, "around that box", ge=0, le=_MOST_VOXELS)
    multiple_of: int = checked(1, "Sides are padded to multiples of this.", gt=0, le=_MOST_VOXELS)
    mirrors: tuple[Literal["x", "y", "z"], ...] = checked((), "Axes flipped at test time.")
    bfloat16: bool = checked(False, "Whether this precision was checked to give the same labels.")

    def __post_init__(self) -> None:
        if self.patch is not None and not all(1 <= side <= _MOST_VOXELS for side in self.patch):
            raise ValueError(f"a side of 'patch' has 1 to {_MOST_VOXELS} voxels")


Channel = Literal["background", "NETC", "SNFH", "ET", "RC", "WT", "TC", "brain"]


@dataclass(frozen=True, kw_only=True)
class Output(CardPart):
    """What the network's channels mean and how they become labels."""

    activation: Literal["sigmoid", "softmax"] | None = checked(
        None,
        "sigmoid: a region per channel; softmax: exclusive labels, the largest wins; null: defined by the published "
        "files or the family.",
    )
    channels: tuple[Channel, ...] = checked((), "In order; empty: defined by the published files or the family.")
    threshold: float = checked(
        0.5,
        "Of a probability, which must reach it; of SynthStrip's distance from the brain's surface in mm, which must "
        "lie below. With softmax it counts only where there are two channels.",
        allow_inf_nan=False,
    )
    largest_component: bool = checked(False, "Of all labels together the largest piece alone is kept.")

    def __post_init__(self) -> None:
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("a channel is named twice")
        if self.activation is None:
            return
        if not self.channels:
            raise ValueError("'activation' says what is done to 'channels', and none is named")
        if self.activation == "softmax" and self.channels[0] != "background":
            raise ValueError("with softmax the first channel is the background")
        if self.activation == "sigmoid" and (exclusive := {"background", "NETC", "SNFH"} & set(self.channels)):
            raise ValueError(f"with sigmoid a channel is a region, and '{min(exclusive)}' is none")
        if self.activation == "softmax" and (nested := {"WT", "TC", "brain"} & set(self.channels)):
            raise ValueError(
                f"with softmax a channel is a label, and '{min(nested)}' is none (SNFH: a tumour that is not divided, "
                "NETC: a core)"
            )
