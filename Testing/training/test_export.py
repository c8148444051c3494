"""From checkpoints to the weights of a model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from GliomaSegLib import networks
from GliomaSegLib.errors import InputError
from GliomaSegLib.training import export
from GliomaSegLib.training.checkpoint import write_checkpoint
from GliomaSegLib.training.recipe import find_recipe, read_recipe


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of the first stage of ``gliomaseg-any``, as a training would leave it."""
    recipe = read_recipe(find_recipe("gliomaseg-any-v1-coarse"))
    average = recipe.network.build().state_dict()
    write_checkpoint({"step": 1, "recipe": recipe.model_dump_json(), "average": average}, tmp_path / "last.pt")
    return tmp_path / "last.pt"


def test_the_average_is_written_and_what_the_card_must_say(checkpoint: Path, tmp_path: Path) -> None:
    exported = export.export({"coarse": checkpoint, "again": checkpoint}, tmp_path / "weights.safetensors")
    tensors = load_file(tmp_path / "weights.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    network = networks.build(**exported["coarse"]["network"])
    network.load_state_dict({name[7:]: value for name, value in tensors.items() if name.startswith("coarse.")})
    assert exported["coarse"]["spacing_mm"] == 2.0
    assert exported["coarse"]["shape"] == (72, 96, 80)
    assert len(tensors) == 2 * len(network.state_dict())


def test_nothing_is_left_behind_by_a_checkpoint_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        export.export({"coarse": tmp_path / "last.pt"}, tmp_path / "weights.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, path: Path) -> None:
        path.write_bytes(b"a part")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(export, "write_weights", full)
    with pytest.raises(InputError, match=r"w\.safetensors could not be written .*No space left.*; make room"):
        export.write_stages({}, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_command(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "weights.safetensors"
    monkeypatch.setattr(sys, "argv", ["export", f"coarse={checkpoint}", "-o", str(target)])
    export.main()
    assert f"{target}: {target.stat().st_size} bytes, SHA-256 " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["export", str(checkpoint), "-o", str(target)])
    with pytest.raises(SystemExit):
        export.main()
    assert "is not STAGE=PT" in capsys.readouterr().err
