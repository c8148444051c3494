"""Output channels become labels and maps of regions."""

from __future__ import annotations

import numpy as np
import pytest

from GliomaSegLib.inference.outputs import label_per_channel, regions_per_channel
from GliomaSegLib.labels import Label, Region


def test_the_smaller_region_wins() -> None:
    answer = regions_per_channel([Region.TC, Region.WT, Region.ET])
    voxels = np.array([[0, 0, 0], [0, 0.5, 0], [0.9, 0.9, 0], [0.9, 0, 0], [0, 0, 0.7]], np.float32)
    labels, maps = answer(voxels.T[:, :, None, None])
    assert labels.ravel().tolist() == [0, Label.SNFH, Label.NETC, Label.NETC, Label.ET]
    assert maps[Region.WT].ravel().tolist() == pytest.approx([0, 0.5, 0.9, 0, 0])


def test_enhancing_and_cavity_without_core() -> None:
    labels, _ = regions_per_channel([Region.WT, Region.ET])(np.array([[1, 1], [0, 1]], np.float32)[:, :, None, None])
    assert labels.ravel().tolist() == [Label.SNFH, Label.ET]
    labels, _ = regions_per_channel([Region.RC])(np.array([[0.4, 0.6]], np.float32)[:, :, None, None])
    assert labels.ravel().tolist() == [0, Label.RC]


def test_exclusive_labels_and_their_maps() -> None:
    answer = label_per_channel([Label.BACKGROUND, Label.SNFH, Label.NETC, Label.ET])
    voxels = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.2, 0.1, 0.1, 0.6]], np.float32)
    labels, maps = answer(voxels.T[:, :, None, None])
    assert labels.ravel().tolist() == [0, Label.SNFH, Label.ET]
    assert maps[Region.WT].ravel().tolist() == pytest.approx([0.3, 0.9, 0.8])
    assert maps[Region.TC].ravel().tolist() == pytest.approx([0.2, 0.3, 0.7])
    assert Region.RC not in maps
    two = label_per_channel([Label.BACKGROUND, Label.RC])(np.full((2, 1, 1, 1), 0.5, np.float32))
    assert two[0].item() == Label.RC
