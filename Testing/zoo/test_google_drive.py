"""Weights on Google Drive: fetched by gdown where it is installed, and what is said where it is not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.store import Store

CARD = read_card(resource("models") / "rfnet-brats20.json")
FILE = CARD.weights.files[0]


class Refused(Exception):
    """As gdown's own."""


def gdown(content: bytes | None) -> ModuleType:
    """A stand-in for the library, which writes ``content`` or is refused."""
    module = ModuleType("gdown")
    module.asked = []

    def download(*, id: str, output: str, quiet: bool, use_cookies: bool, progress: object) -> str:
        module.asked.append(id)
        if content is None:
            raise Refused("too many users have viewed or downloaded this file recently")
        progress(3, None)
        progress(len(content), len(content))
        Path(output).write_bytes(content)
        return output

    module.download = download
    module.exceptions = SimpleNamespace(DownloadError=Refused)
    return module


def test_without_gdown_the_sentence_names_the_extra_and_the_way_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(WeightsError, match=r"pip install GliomaSeg\[drive\].* browser and use '--from FILE'"):
        Store(tmp_path).install(CARD)
    assert not Store(tmp_path).is_installed(CARD)


def test_the_cards_file_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = gdown(b"no weights at all")
    monkeypatch.setitem(sys.modules, "gdown", library)
    with pytest.raises(WeightsError, match=r"cannot be read|more than tensors"):  # it came, and is no checkpoint
        Store(tmp_path).install(CARD)
    assert library.asked == [str(FILE.url).partition("id=")[2]]


def test_a_page_instead_of_the_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", gdown(b"<!DOCTYPE html><html>Sign in</html>"))
    with pytest.raises(WeightsError, match="it is a web page"):
        Store(tmp_path).install(CARD)


def test_a_refusal_is_reported_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", gdown(None))
    with pytest.raises(WeightsError, match=r"could not be downloaded \(Refused\); its daily quota"):
        Store(tmp_path).install(CARD)
