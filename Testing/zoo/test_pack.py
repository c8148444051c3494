"""Models that are carried to where there is no network: packed on one machine, installed on another."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo import pack
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import FAMILIES, Family
from GliomaSegLib.zoo.store import Store


@pytest.fixture
def packed(toy_store: Store, toy_zoo: Card, tmp_path: Path) -> Path:
    """A pack with the toy."""
    (toy_store.folder(toy_zoo) / "LICENCE.txt").write_text("free")
    assert toy_store.export([toy_zoo], tmp_path / "stick" / "models.zip", Silent()) == ("toy",)
    return tmp_path / "stick" / "models.zip"


def rewritten(packed: Path, target: Path, change: dict[str, bytes | None]) -> Path:
    """The pack with other contents of some of its files, or without them."""
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(target, "w") as opened:
        for name in {*source.namelist(), *change}:
            content = change.get(name, source.read(name) if name in source.namelist() else None)
            if content is not None:
                opened.writestr(name, content)
    return target


def test_a_pack_is_installed_as_it_was(packed: Path, toy_store: Store, toy_zoo: Card, tmp_path: Path) -> None:
    assert pack.models_in(packed) == ("toy",)
    assert [path.name for path in packed.parent.iterdir()] == ["models.zip"]
    elsewhere = Store(tmp_path / "elsewhere")
    folder = elsewhere.install(toy_zoo, packed)
    assert elsewhere.weights(toy_zoo).read_bytes() == toy_store.weights(toy_zoo).read_bytes()
    assert elsewhere.record(toy_zoo) == toy_store.record(toy_zoo)
    assert sorted(path.name for path in folder.iterdir()) == ["LICENCE.txt", "installed.json", "weights.safetensors"]


def test_a_store_is_installed_from_as_a_pack_is(toy_store: Store, toy_zoo: Card, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    elsewhere.install(toy_zoo, toy_store.root)
    assert elsewhere.weights(toy_zoo).read_bytes() == toy_store.weights(toy_zoo).read_bytes()


def test_a_user_s_own_model_travels_with_its_card(
    packed: Path, toy_card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # elsewhere the zoo does not know the toy
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    elsewhere = Store(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="There is no model 'toy'"):
        find_card("toy", elsewhere.root)
    assert elsewhere.add_carried(packed, "toy") == find_card("toy", elsewhere.root) == toy_card
    without = rewritten(packed, tmp_path / "without.zip", {"toy/card.json": None})
    with pytest.raises(InputError, match="holds no card of 'toy'; add it first"):
        elsewhere.add_carried(without, "toy")


def test_a_later_version_of_a_user_s_model_brings_its_card(
    packed: Path, toy_card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights were run with the card of the version before, whose channels may be others."""
    monkeypatch.undo()
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    elsewhere = Store(tmp_path / "elsewhere")
    elsewhere.add_carried(packed, "toy", installed=True)
    later = card_text(replace(toy_card, version="2"))
    update = rewritten(packed, tmp_path / "update.zip", {"toy/card.json": later.encode()})
    broken = rewritten(update, tmp_path / "broken.zip", {"toy/weights.safetensors": b"other"})
    with pytest.raises(WeightsError):
        elsewhere.install(find_card("toy", elsewhere.root), broken)
    assert find_card("toy", elsewhere.root) == toy_card, "both, or neither"
    elsewhere.install(find_card("toy", elsewhere.root), update)
    assert find_card("toy", elsewhere.root).version == "2"
    with zipfile.ZipFile(packed) as opened:
        opened.extractall(tmp_path / "unpacked")
    elsewhere.install(find_card("toy", elsewhere.root), tmp_path / "unpacked")
    assert find_card("toy", elsewhere.root) == toy_card, "also of a pack that was unpacked"
    elsewhere.install(toy_card, update)
    third = Store(tmp_path / "third")
    third.add_carried(packed, "toy")
    third.install(toy_card, elsewhere.root)
    assert find_card("toy", third.root).version == "2", "of a store, too"


@pytest.mark.parametrize(
    "change",
    [
        {"toy/weights.safetensors": b"other weights"},
        {"toy/weights.safetensors": None},
        {"toy/installed.json": b"{}"},
        {"toy/installed.json": b"["},
    ],
)
def test_a_pack_that_is_not_what_it_says_is_refused(
    packed: Path, toy_zoo: Card, tmp_path: Path, change: dict[str, bytes | None]
) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="holds of 'toy' is damaged or of another version; pack it anew"):
        elsewhere.install(toy_zoo, rewritten(packed, tmp_path / "changed.zip", change))
    assert [path.name for path in elsewhere.root.iterdir() if path.suffix != ".lock"] == []


def test_a_pack_of_other_published_files_is_refused(packed: Path, toy_zoo: Card, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as opened:
        record = json.loads(opened.read("toy/installed.json"))
    record["published"] = dict.fromkeys(record["published"], "0" * 64)
    changed = rewritten(packed, tmp_path / "changed.zip", {"toy/installed.json": json.dumps(record).encode()})
    with pytest.raises(WeightsError, match="is damaged or of another version"):
        Store(tmp_path / "elsewhere").install(toy_zoo, changed)


def test_names_in_a_pack_cannot_lead_elsewhere(packed: Path, toy_zoo: Card, tmp_path: Path) -> None:
    names = {"toy/../../escaped-licence": b"evil", "../escaped-licence": b"evil", "toy/script.py": b"evil"}
    elsewhere = Store(tmp_path / "in" / "elsewhere")
    folder = elsewhere.install(toy_zoo, rewritten(packed, tmp_path / "changed.zip", names))
    assert list(tmp_path.rglob("escaped*")) == []
    assert not (folder / "script.py").exists()


def test_a_folder_with_neither_the_files_nor_the_model(toy_zoo: Card, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert pack.models_in(tmp_path / "empty") == ()
    assert pack.models_in(tmp_path / "nowhere") == ()
    with pytest.raises(WeightsError, match=r"empty/thresholds\.txt is missing"):
        Store(tmp_path / "elsewhere").install(toy_zoo, tmp_path / "empty")


def test_what_cannot_be_packed_is_said_and_nothing_left(
    packed: Path, toy_store: Store, toy_zoo: Card, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"models\.zip exists already; name another file"):
        toy_store.export([toy_zoo], packed, Silent())
    with pytest.raises(InputError, match="nothing to pack"):
        toy_store.export([], tmp_path / "empty.zip", Silent())
    with pytest.raises(WeightsError, match="are not installed"):
        Store(tmp_path / "other").export([toy_zoo], tmp_path / "empty.zip", Silent())
    toy_store.weights(toy_zoo).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="are damaged"):
        toy_store.export([toy_zoo], tmp_path / "damaged.zip", Silent())
    (tmp_path / "file").touch()
    toy_store.remove(toy_zoo)
    toy_store.install(toy_zoo, packed)
    with pytest.raises(InputError, match="cannot be written"):
        toy_store.export([toy_zoo], tmp_path / "file" / "models.zip", Silent())
    assert list(tmp_path.glob("*.zip")) == list(tmp_path.glob("*.partial")) == []


def test_a_full_disk_leaves_no_half_a_pack(
    toy_store: Store, toy_zoo: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(InputError, match=r"models\.zip could not be written \(No space left on device\); make room"):
        toy_store.export([toy_zoo], tmp_path / "stick" / "models.zip", Silent())
    assert list((tmp_path / "stick").iterdir()) == []
