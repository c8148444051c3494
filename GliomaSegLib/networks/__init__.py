"""The networks, each in a file of its own, and the names by which recipes and cards refer to them.

A network takes images ``[batch, sequence, z, y, x]`` and returns logits ``[batch, region, z, y, x]`` for the whole
patch or its central part; in training mode it may return several, finest first, or
:class:`~GliomaSegLib.networks.ar_ca.Regularised`.

A network may have the attributes ``margin``, the voxels (z, y, x) by which its output is smaller than the patch on each
side, and ``multiple``: the edges (z, y, x) of a patch must be multiples of these.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from GliomaSegLib.errors import InputError

_WHERE: dict[str, str] = {
    "agu-net": "GliomaSegLib.networks.agu_net:AguNet",
    "anisotropic-trio": "GliomaSegLib.networks.anisotropic_trio:AnisotropicTrio",
    "any-unet": "GliomaSegLib.networks.any_unet:AnyUNet",
    "ar-ca": "GliomaSegLib.networks.ar_ca:AutoencoderRegularised",
    "deepmedic": "GliomaSegLib.networks.deepmedic:DeepMedic",
    "nnunet": "GliomaSegLib.networks.nnunet:NnUNet",
    "unet": "GliomaSegLib.networks.shirokikh:UNet3D",
    "vnet": "GliomaSegLib.networks.shirokikh:VNet",
}


def build(name: str, parameters: Mapping[str, Any]) -> nn.Module:
    """The network ``name`` with fresh weights.

    Raises:
        InputError: there is no such network, or it has no such parameter.
    """
    if name not in _WHERE:
        raise InputError(f"There is no network '{name}'; there are {', '.join(sorted(_WHERE))}.")
    module, _, kind = _WHERE[name].partition(":")
    try:
        return getattr(importlib.import_module(module), kind)(**parameters)
    except (TypeError, ValueError) as error:
        raise InputError(f"The network '{name}' does not take these parameters: {error}.") from error
