"""CA-CNN's axial WNet, TNet and ENet side by side: the three regions of one patch, for any subset of sequences.

The layers are those of :mod:`GliomaSegLib.networks.ca_cnn`, so that training can start from the published weights (Wang
G et al., arXiv:1709.00382). There are two differences. All three networks get the same patch, with any number of
slices; in the cascade TNet and ENet get the box that the network before them found. And each also gives an output for
the outermost slices, where the stack is padded by repeating its first and last slice. Batch normalisation uses the
statistics of the patch in training and in inference, which are comparable because all patches have the same size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib.networks.ar_ca import window_logits
from GliomaSegLib.networks.ca_cnn import MARGIN_SLICES, AnisotropicNet, Workspace, placed

# Indices of FLAIR, T1, T1c and T2 (the channel order of the published networks) in T1, T1c, T2, FLAIR.
_PUBLISHED_ORDER = (3, 0, 1, 2)

_LEAST_PROBABILITY = 1e-6  # keeps the logarithm finite


class AnisotropicTrio(nn.Module):
    """Images ``[batch, 4, z, y, x]`` (T1, T1c, T2, FLAIR) to logits of WT, TC and ET, ``[batch, 3, z, y, x]``.

    A missing sequence is 0 throughout.
    """

    multiple = (1, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.wt = AnisotropicNet(len(_PUBLISHED_ORDER))
        self.tc = AnisotropicNet(len(_PUBLISHED_ORDER))
        self.et = AnisotropicNet(len(_PUBLISHED_ORDER), downsample_twice=False)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        stacks = functional.pad(images[:, _PUBLISHED_ORDER], (0, 0, 0, 0, MARGIN_SLICES, MARGIN_SLICES), "replicate")
        # On the meta device, where the memory of a run is estimated, nothing can be placed.
        answer = _differentiable if torch.is_grad_enabled() or images.is_meta else _inferred
        return torch.cat([answer(network, stacks) for network in (self.wt, self.tc, self.et)], dim=1)


def _differentiable(network: AnisotropicNet, stacks: Tensor) -> Tensor:
    return window_logits(network, stacks)[0]


def _inferred(network: AnisotropicNet, stacks: Tensor) -> Tensor:
    """The same output in less time and memory: the stacks of a batch one by one, in the precision of autocast."""
    kind = stacks.device.type
    precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    ready, workspace = placed(network, stacks.device, precision), Workspace()
    probabilities = [ready(stack.transpose(0, 1).to(precision), [0], workspace, stack.shape[1]) for stack in stacks]
    return torch.stack(probabilities)[:, None].logit(_LEAST_PROBABILITY)
