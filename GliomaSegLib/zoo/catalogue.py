"""The zoo as a panel reads it: every card, and whether its weights are installed, with the standard library alone.

The card's schema (:mod:`GliomaSegLib.zoo.card`) needs pydantic, which an application may not have when its user chooses
a model. The shipped cards are valid (tests see to it) and those that users add were checked when they were added, so
here their JSON is read as it is; the rules on what a missing sequence costs are the same code for both,
:mod:`GliomaSegLib.zoo.input_requirements`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GliomaSegLib.case import Modality, Preoperative, TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.input_requirements import InputRequirements, cost_of_missing, regions_given

STORE_VARIABLE = "GLIOMASEG_MODELS"
SITE_VARIABLE = "GLIOMASEG_SITE_MODELS"

# Written last by an installation, so that its presence says that the model is there.
INSTALLED_RECORD = "installed.json"
WEIGHTS_FILE = "weights.safetensors"

# Cards of the users' own models, in a store. No model is called so: an id begins with a letter or a digit.
ADDED_CARDS = ".cards"


@dataclass(frozen=True)
class Figure:
    """Mean Dice per region on a named set of cases with the named sequences present, and what of the study before
    surgery; the meanings are those of :class:`GliomaSegLib.zoo.card.Accuracy`."""

    data: str
    cases: int | None
    sequences: tuple[Modality, ...]
    dice: Mapping[Region, float]
    source: str
    remark: str | None = None
    preoperative: tuple[Preoperative, ...] = ()
    balanced_accuracy: float | None = None


@dataclass(frozen=True)
class Entry:
    """A model of the zoo, with the names and meanings of :class:`GliomaSegLib.zoo.card.Card`.

    Attributes:
        needs: which sequences it takes, what it gives, and its measured accuracy on every subset.
        weights_licence: of the files that are downloaded; ``licence`` is the network's.
        attribution: whom the publisher of the weights wants named.
        size_mb: of the weights, 10^6 bytes; files of unknown size count as zero.
        training: a sentence on what it was trained on; may be empty.
        shipped: whether the weights come with GliomaSeg, so that there is nothing to install or remove.
        members: ids of the models whose answers an ensemble fuses; it has no weights of its own.
    """

    id: str
    title: str
    version: str
    summary: str
    status: str
    task: str
    time_points: tuple[TimePointKind, ...]
    needs: InputRequirements[Figure]
    thresholdable: tuple[Region, ...]
    licence: str
    weights_licence: str
    attribution: str
    citation: str
    size_mb: float
    shipped: bool
    published: tuple[Figure, ...]
    training: str = ""
    members: tuple[str, ...] = ()

    def regions_given(self, present: Collection[Modality]) -> tuple[Region, ...]:
        """See :func:`GliomaSegLib.zoo.input_requirements.regions_given`."""
        return regions_given(self.needs, present)

    def cost_of_missing(self, present: Collection[Modality]) -> str | None:
        """See :func:`GliomaSegLib.zoo.input_requirements.cost_of_missing`."""
        return cost_of_missing(self.needs, present)

    def folder(self, store: Path) -> Path:
        """Where the model's files are in a store, or will be."""
        return store / self.id

    def is_installed(self, store: Path) -> bool:
        """Whether the weights are at hand, in ``store`` or the site's; the worker also checks that they are sound."""
        if self.members:
            singles = [entry for entry in entries(store) if entry.id in self.members and not entry.members]
            return len(singles) == len(self.members) and all(entry.is_installed(store) for entry in singles)
        return self.shipped or installed_in(self.id, (store, *site_stores())) is not None

    def is_removable(self, store: Path) -> bool:
        """Whether the weights lie in ``store`` itself; what the site provides is not its users' to remove."""
        return not self.shipped and not self.members and installed_in(self.id, (store,)) is not None

    def remove(self, store: Path) -> None:
        """Delete the weights from the store; nothing happens when they are not there."""
        shutil.rmtree(self.folder(store), ignore_errors=True)


def entries(store: Path | None = None) -> tuple[Entry, ...]:
    """Every model that finds tumour, in alphabetical order of the ids.

    Args:
        store: whose added cards are taken, beside the site's; by default the user's. Unreadable ones are left out.
    """
    found = {path.stem: _entry(path) for path in shipped_cards()}
    for path in added_cards(store or default_store()):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            found.setdefault(path.stem, _entry(path))
    return tuple(found[model] for model in sorted(found) if found[model].needs.regions)


def shipped_cards() -> tuple[Path, ...]:
    """The cards that come with GliomaSeg."""
    return tuple(sorted(resource("models").glob("*.json")))


def added_cards(store: Path) -> tuple[Path, ...]:
    """The cards that users added to a store and to the site's stores; what comes first counts."""
    return tuple(path for place in (store, *site_stores()) for path in sorted((place / ADDED_CARDS).glob("*.json")))


def default_store() -> Path:
    """The user's store: the folder named by ``GLIOMASEG_MODELS``, else the platform's place for user data."""
    if named := os.environ.get(STORE_VARIABLE):
        return Path(named)
    return _user_data() / "GliomaSeg" / "models"


def site_stores() -> tuple[Path, ...]:
    """Stores that a hospital or a laboratory provides and that are only read: the folders named by
    ``GLIOMASEG_SITE_MODELS``, separated as those of ``PATH`` are."""
    return tuple(Path(place) for place in os.environ.get(SITE_VARIABLE, "").split(os.pathsep) if place)


def installed_in(model: str, stores: Iterable[Path]) -> Path | None:
    """The model's folder in the first of the stores in which it is installed."""
    return next((store / model for store in stores if (store / model / INSTALLED_RECORD).is_file()), None)


def _user_data() -> Path:
    """Where the platform wants an application's data of one user."""
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
        shipped=bool(weights.get("shipped")),
        published=tuple(map(_figure, card.get("published", ()))),
        training=card.get("training") or "",
        members=tuple(weights.get("members", ())),
    )


def _files(weights: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    one = weights.get("shipped") or weights.get("package")
    return [one] if one else weights.get("files", [])


def _needs(card: Mapping[str, Any]) -> InputRequirements[Figure]:
    inputs = card["inputs"]
    return InputRequirements(
        model=card["id"],
        sequences=_sequences(inputs["sequences"]),
        regions=_regions(card["regions"]),
        mandatory=_sequences(inputs.get("mandatory", ())),
        regions_without={
            Modality(name): _regions(regions) for name, regions in inputs.get("regions_without", {}).items()
        },
        measured=tuple(map(_figure, card.get("measured", ()))),
        sets=tuple(map(_sequences, inputs.get("sets", ()))),
        preoperative=tuple(map(Preoperative, inputs.get("preoperative", ()))),
    )


def _figure(figure: Mapping[str, Any]) -> Figure:
    return Figure(
        data=figure["data"],
        cases=figure.get("cases"),
        sequences=_sequences(figure["sequences"]),
        dice={Region(name): value for name, value in figure["dice"].items()},
        source=figure["source"],
        remark=figure.get("remark"),
        preoperative=tuple(map(Preoperative, figure.get("preoperative", ()))),
        balanced_accuracy=figure.get("balanced_accuracy"),
    )


def _sequences(names: Collection[str]) -> tuple[Modality, ...]:
    return tuple(map(Modality, names))


def _regions(names: Collection[str]) -> tuple[Region, ...]:
    return tuple(map(Region, names))
