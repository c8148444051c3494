"""Published PyTorch files are read without running what is in them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.zoo.checkpoint import read_checkpoint, read_converted, state_dict, the_only


class Bomb:
    """A pickle of it makes a folder when it is read without care."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.where),)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "model.pt", tmp_path / "it-ran"
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "config": Bomb(trace)}, file)
    with pytest.raises(WeightsError, match="could run as a program"):
        read_checkpoint(file)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists(), "the file was harmless, so that this test proves nothing"


def test_numbers_of_numpy_are_read(tmp_path: Path) -> None:
    content = {"best": np.float64(0.5), "epoch": np.int64(3), "curve": np.linspace(0, 1, 3), "rate": np.float32(0.1)}
    torch.save(content, tmp_path / "model.pt")
    found = read_checkpoint(tmp_path / "model.pt")
    assert found["best"] == 0.5
    assert found["epoch"] == 3
    np.testing.assert_array_equal(found["curve"], [0, 0.5, 1])


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.pt"):
        read_checkpoint(tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"model\.pt"):
        read_converted(tmp_path / "model.pt")


def test_state_dicts_are_found_where_publishers_put_them(tmp_path: Path) -> None:
    state = {"layer.weight": torch.ones(2)}
    for content in (state, {"model": state}, {"model": {f"module.{name}": value for name, value in state.items()}}):
        assert list(state_dict(content, tmp_path, "model")) == ["layer.weight"]
    with pytest.raises(WeightsError, match="no network's tensors"):
        state_dict({"epoch": 3}, tmp_path, "model")


def test_the_only_file_is_meant(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds 0 files \*\.pt"):
        the_only(tmp_path, "*.pt")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "model.pt").touch()
    assert the_only(tmp_path, "*.pt").name == "model.pt"
    (tmp_path / "second.pt").touch()
    with pytest.raises(WeightsError, match="2 files"):
        the_only(tmp_path, "*.pt")
