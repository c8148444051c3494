"""RFNet and mmFormer: what a case lacks cannot be seen, whatever its channel holds, and is not even looked at."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from GliomaSegLib.networks.masked_encoders import SEQUENCES, masked_features
from GliomaSegLib.networks.mmformer import MmFormer
from GliomaSegLib.networks.rfnet import RFNet

SUBSETS = [subset for subset in itertools.product((False, True), repeat=len(SEQUENCES)) if any(subset)]


def small(kind: type[nn.Module]) -> nn.Module:
    """A network for patches of 16 voxels a side or a multiple, with weights that are not the first ones."""
    torch.manual_seed(0)
    network = RFNet(width=4) if kind is RFNet else MmFormer(width=4, places=2, token=16, hidden=32, heads=2)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval().requires_grad_(False)


def images(batch: int = 1, edge: int = 32) -> Tensor:
    return torch.randn((batch, len(SEQUENCES), edge, edge, edge), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [RFNet, MmFormer])
@pytest.mark.parametrize("subset", SUBSETS, ids=lambda subset: "".join("01"[one] for one in subset))
def test_what_the_channel_of_a_missing_sequence_holds_does_not_matter(
    kind: type[nn.Module], subset: tuple[bool, ...]
) -> None:
    network, shown, present = small(kind), images(), torch.tensor([subset])
    answer = network(shown, present)
    assert answer.shape == (1, 4, 32, 32, 32)
    assert answer.isfinite().all()
    other = torch.where(present[..., None, None, None], shown, torch.full((), float("nan")))
    torch.testing.assert_close(network(other, present), answer, rtol=0, atol=0)


def test_to_mmformer_a_sequence_of_zeros_is_another_case_than_a_missing_one() -> None:
    """RFNet's instance normalisation makes nothing of an image without contrast; tokens are never normalised so."""
    network, shown = small(MmFormer), images()
    shown[:, 2] = 0
    without = network(shown, torch.tensor([(True, True, False, True)]))
    with_zeros = network(shown, torch.tensor([(True,) * 4]))
    assert (without - with_zeros).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [RFNet, MmFormer])
def test_every_sequence_that_is_there_counts(kind: type[nn.Module]) -> None:
    network, shown, present = small(kind), images(), torch.ones((1, 4), dtype=torch.bool)
    answer = network(shown, present)
    for place in range(len(SEQUENCES)):
        other = shown.clone()
        other[:, place] = other[:, place].flip(-1)
        assert (network(other, present) - answer).abs().max() > 1e-3, SEQUENCES[place]


@pytest.mark.parametrize("kind", [RFNet, MmFormer])
def test_cases_of_a_batch_may_lack_different_sequences(kind: type[nn.Module]) -> None:
    network, shown = small(kind), images(2)
    present = torch.tensor([(True, False, True, False), (False, True, True, True)])
    together = network(shown, present)
    for case in range(2):
        alone = network(shown[case : case + 1], present[case : case + 1])
        torch.testing.assert_close(together[case : case + 1], alone, rtol=1e-4, atol=1e-4)


def test_the_encoder_of_a_sequence_that_nobody_has_is_not_run() -> None:
    class Counting(nn.Module):
        runs = 0

        def forward(self, image: Tensor) -> list[Tensor]:
            self.runs += 1
            return [image + 1, image[..., ::2, ::2, ::2]]

    encoders = nn.ModuleList(Counting() for _ in SEQUENCES)
    levels = masked_features(
        encoders, images(2, 4), torch.tensor([(True, False, False, True), (False, False, False, True)])
    )
    assert [encoder.runs for encoder in encoders] == [1, 0, 0, 1]
    assert [tuple(level.shape) for level in levels] == [(2, 4, 1, 4, 4, 4), (2, 4, 1, 2, 2, 2)]
    assert not levels[0][0, 1:3].any()
    assert not levels[0][1, :3].any(), "the second case has the last sequence alone"
    assert levels[0][1, 3].any()


@pytest.mark.parametrize("present", [[(False,) * 4], [(True,) * 3], [(True,) * 4] * 2])
def test_a_case_without_any_sequence_and_a_mask_of_another_shape_are_refused(present: list[tuple[bool, ...]]) -> None:
    with pytest.raises(ValueError, match="'present' says"):
        small(RFNet)(images(), torch.tensor(present))


def test_mmformers_places_are_for_one_size_of_patch() -> None:
    network = small(MmFormer)
    assert network.edge == 32
    with pytest.raises(ValueError, match="32 voxels a side"):
        network(images(edge=16), torch.ones((1, 4), dtype=torch.bool))


def test_the_published_sizes_are_the_defaults() -> None:
    """Counted in the authors' own networks without what serves training alone."""
    published = {RFNet: 8_398_572, MmFormer: 35_797_428}
    for kind, parameters in published.items():
        with torch.device("meta"):
            assert sum(one.numel() for one in kind().parameters()) == parameters
