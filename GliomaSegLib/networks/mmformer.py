"""mmFormer: a convolutional encoder and a transformer per sequence, a transformer over all of them, one decoder.

Zhang Y et al. mmFormer: multimodal medical transformer for incomplete multimodal learning of brain tumor segmentation.
MICCAI 2022, arXiv:2206.02425.

======= ============ ================ ==========================================================================
level   channels     size for 128^3   on the way up
======= ============ ================ ==========================================================================
1       8            128^3            fused, joined, output
2       16           64^3             fused, joined
3       32           32^3             fused, joined
4       64           16^3             fused, joined
5       128          8^3              tokens: a transformer per sequence, one over all; fused
======= ============ ================ ==========================================================================

Each encoder has three 3x3x3 convolutions a level, the last two around a sum; the first of levels 2 to 5 has stride 2.
Instance normalisation without parameters and leaky ReLU (0.2) stand before the convolutions; those of encoders and
decoder are padded by reflection, those of the fusions by 0. A voxel of the last level is a token of 512 numbers; a
transformer is one block of attention with eight heads and a perceptron, each after layer normalisation. The tokens of
missing sequences are 0 by the mask; with their places they still take part in the attention over all sequences.

What the authors' code does and the paper does not say, and what the published weights therefore need: after that
attention the tokens of all sequences, one sequence after the other, are cut into as many equal runs as there are
places, so that a place is made of four neighbouring tokens and not of the four sequences' tokens of that place.

The parts that only training uses, the decoder that the sequences share and the coarse outputs, are left out.
"""

from __future__ import annotations

import itertools
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib.networks.masked_encoders import SEQUENCES, FusionDecoder, masked_features

_LEVELS = 5
_SLOPE = 0.2  # of the leaky ReLU


class MmFormer(FusionDecoder):
    """Class logits of a patch, for any subset of the sequences.

    Attributes:
        edge: voxels of the patch along each axis; the positional embeddings were learnt for this size only.

    Args:
        width: channels of the first level.
        places: tokens along each axis; the patch has 16 times as many voxels.
        token, hidden, heads: of the transformers.
    """

    def __init__(self, width: int = 8, places: int = 8, token: int = 512, hidden: int = 4096, heads: int = 8) -> None:
        widths = [width * 2**level for level in range(_LEVELS)]
        super().__init__(widths, _Convolution)
        count, deepest = len(SEQUENCES), widths[-1]
        self.edge, self._places = places * 2 ** (_LEVELS - 1), places
        self.encoders = nn.ModuleList(_HybridEncoder(widths, places, token, hidden, heads) for _ in SEQUENCES)
        self.together = _Transformer(token, hidden, heads)
        self.from_tokens = nn.Conv3d(count * token, count * deepest, 1)
        self.fusions = nn.ModuleList(
            nn.Sequential(
                _Convolution(count * own, own, 1), _Convolution(own, own, padding="zeros"), _Convolution(own, own, 1)
            )
            for own in widths
        )

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        """Logits ``[batch, class, z, y, x]``.

        Args:
            images: ``[batch, sequence, z, y, x]`` in the order of
                :data:`~GliomaSegLib.networks.masked_encoders.SEQUENCES`; the content of a missing one does not matter.
            present: ``bool [batch, sequence]``, on the CPU.

        Raises:
            ValueError: the patch is not a cube of ``edge`` voxels.
        """
        if set(images.shape[2:]) != {self.edge}:
            raise ValueError(f"a patch of {tuple(images.shape[2:])}; this network takes {self.edge} voxels a side")
        *features, tokens = masked_features(self.encoders, images, present)
        return self.decoded(
            self.fusions[-1](self._attended(tokens)),
            lambda level, _: self.fusions[level](features[level].flatten(1, 2)),
        )

    def _attended(self, tokens: Tensor) -> Tensor:
        """All sequences' tokens ``[batch, sequence, token, z, y, x]`` attend to one another; features of level 5."""
        in_a_row = tokens.flatten(3).transpose(2, 3).flatten(1, 2)
        places = torch.cat([cast(_HybridEncoder, encoder).places for encoder in self.encoders], dim=1)
        attended = self.together(in_a_row, places)
        runs = attended.reshape(len(tokens), self._places**3, -1)  # see the module's docstring
        return self.from_tokens(runs.transpose(1, 2).unflatten(2, (self._places,) * 3))


class _Convolution(nn.Module):
    """Instance normalisation, leaky ReLU, convolution."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int = 3,
        stride: int = 1,
        padding: Literal["reflect", "zeros"] = "reflect",
    ) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm3d(channels)
        self.conv = nn.Conv3d(channels, width, kernel, stride, padding=kernel // 2, padding_mode=padding)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(functional.leaky_relu(self.norm(features), _SLOPE))


class _HybridEncoder(nn.Module):
    """One sequence ``[batch, 1, z, y, x]`` to its features on levels 1 to 4, finest first, and its tokens as a volume
    ``[batch, token, z, y, x]``."""

    def __init__(self, widths: list[int], places: int, token: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, widths[0], 3, padding=1, padding_mode="reflect")
        self.first = nn.ModuleList(_Convolution(before, own, stride=2) for before, own in itertools.pairwise(widths))
        self.second = nn.ModuleList(_Convolution(own, own) for own in widths)
        self.third = nn.ModuleList(_Convolution(own, own) for own in widths)
        self.to_tokens = nn.Conv3d(widths[-1], token, 1)
        self.places = nn.Parameter(torch.zeros(1, places**3, token))
        self.transformer = _Transformer(token, hidden, heads)

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for first, second, third in zip((self.stem, *self.first), self.second, self.third, strict=True):
            last = first(features[-1] if features else image)
            features.append(last + third(second(last)))
        tokens = self.to_tokens(features.pop())
        attended = self.transformer(tokens.flatten(2).transpose(1, 2), self.places)
        return [*features, attended.transpose(1, 2).unflatten(2, tokens.shape[2:])]


class _Transformer(nn.Module):
    """One block on tokens ``[batch, place, token]``."""

    def __init__(self, token: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(token)
        self.queries_keys_values = nn.Linear(token, 3 * token, bias=False)
        self.projection = nn.Linear(token, token)
        self.norm_perceptron = nn.LayerNorm(token)
        self.perceptron = nn.Sequential(nn.Linear(token, hidden), nn.GELU(), nn.Linear(hidden, token))

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        tokens = tokens + places
        parts = self.queries_keys_values(self.norm_attention(tokens)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        tokens = tokens + self.projection(attended.transpose(1, 2).flatten(2))
        return tokens + self.perceptron(self.norm_perceptron(tokens))
