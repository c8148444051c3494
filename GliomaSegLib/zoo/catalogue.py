"""The zoo as a panel reads it: every card, and whether its weights are installed, with the standard library alone.

The card's schema (:mod:`GliomaSegLib.zoo.card`) needs pydantic, which an application may not have when its user chooses
a model. The shipped cards are valid (tests see to it), so here their JSON is read as it is; the rules on what a missing
sequence costs are the same code for both, :mod:`GliomaSegLib.zoo.missing`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GliomaSegLib.case import Sequence, TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.missing import Needs, cost_of_missing, regions_given

STORE_VARIABLE = "GLIOMASEG_MODELS"

# Written last by an installation, so that its presence says that the model is there.
INSTALLED_RECORD = "installed.json"


@dataclass(frozen=True)
class Figure:
    """Mean Dice per region on a named set of cases with the named sequences present."""

    data: str
    cases: int | None
    sequences: tuple[Sequence, ...]
    dice: Mapping[Region, float]
    source: str
    remark: str | None = None


@dataclass(frozen=True)
class Entry:
    """A model of the zoo, with the names and meanings of :class:`GliomaSegLib.zoo.card.Card`.

    Attributes:
        needs: which sequences it takes, what it gives, and its measured accuracy on every subset.
        weights_licence: of the files that are downloaded; ``licence`` is the network's.
        attribution: whom the publisher of the weights wants named.
        size_mb: of the weights, 10^6 bytes.
        shipped: whether the weights come with GliomaSeg, so that there is nothing to install or remove.
    """

    id: str
    title: str
    version: str
    summary: str
    status: str
    task: str
    time_points: tuple[TimePointKind, ...]
    needs: Needs[Figure]
    thresholdable: tuple[Region, ...]
    licence: str
    weights_licence: str
    attribution: str
    citation: str
    size_mb: float
    shipped: bool
    published: tuple[Figure, ...]

    def regions_given(self, present: Collection[Sequence]) -> tuple[Region, ...]:
        """See :func:`GliomaSegLib.zoo.missing.regions_given`."""
        return regions_given(self.needs, present)

    def cost_of_missing(self, present: Collection[Sequence]) -> str | None:
        """See :func:`GliomaSegLib.zoo.missing.cost_of_missing`."""
        return cost_of_missing(self.needs, present)

    def folder(self, store: Path) -> Path:
        """Where the model's files are in a store, or will be."""
        return store / self.id

    def is_installed(self, store: Path) -> bool:
        """Whether the weights are at hand; the worker also checks that they are sound."""
        return self.shipped or (self.folder(store) / INSTALLED_RECORD).is_file()

    def remove(self, store: Path) -> None:
        """Delete the weights from the store; nothing happens when they are not there."""
        shutil.rmtree(self.folder(store), ignore_errors=True)


def entries() -> tuple[Entry, ...]:
    """Every model of the zoo, in alphabetical order of the ids."""
    return tuple(_entry(path) for path in sorted(resource("models").glob("*.json")))


def default_store() -> Path:
    """The user's store: the folder named by ``GLIOMASEG_MODELS``, else the platform's place for user data."""
    if named := os.environ.get(STORE_VARIABLE):
        return Path(named)
    return _user_data() / "GliomaSeg" / "models"


def _user_data() -> Path:
    """What platformdirs calls ``user_data_path``; that package may not be there yet."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _entry(path: Path) -> Entry:
    card = json.loads(path.read_text(encoding="utf-8"))
    weights = card["weights"]
    return Entry(
        **{key: card[key] for key in ("id", "title", "version", "summary", "status", "task", "licence", "citation")},
        time_points=tuple(map(TimePointKind, card["time_points"])),
        needs=_needs(card),
        thresholdable=_regions(card.get("thresholdable", ())),
        weights_licence=weights["licence"],
        attribution=weights["attribution"],
        size_mb=sum(file.get("size_bytes") or 0 for file in _files(weights)) / 1e6,
        shipped="shipped" in weights,
        published=tuple(map(_figure, card.get("published", ()))),
    )


def _files(weights: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [weights["shipped"]] if "shipped" in weights else weights["files"]


def _needs(card: Mapping[str, Any]) -> Needs[Figure]:
    inputs = card["inputs"]
    return Needs(
        model=card["id"],
        sequences=_sequences(inputs["sequences"]),
        regions=_regions(card["regions"]),
        mandatory=_sequences(inputs.get("mandatory", ())),
        regions_without={
            Sequence(name): _regions(regions) for name, regions in inputs.get("regions_without", {}).items()
        },
        measured=tuple(map(_figure, card.get("measured", ()))),
    )


def _figure(figure: Mapping[str, Any]) -> Figure:
    return Figure(
        data=figure["data"],
        cases=figure.get("cases"),
        sequences=_sequences(figure["sequences"]),
        dice={Region(name): value for name, value in figure["dice"].items()},
        source=figure["source"],
        remark=figure.get("remark"),
    )


def _sequences(names: Collection[str]) -> tuple[Sequence, ...]:
    return tuple(map(Sequence, names))


def _regions(names: Collection[str]) -> tuple[Region, ...]:
    return tuple(map(Region, names))
