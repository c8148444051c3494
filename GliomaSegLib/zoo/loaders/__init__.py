"""Families of networks. A family is a module here with two functions:

``convert(source: Path, destination: Path)`` turns the published weight files in the folder ``source`` into one
``.safetensors`` file; ``load(weights, parameters, device, precision)`` returns a ready
:class:`~GliomaSegLib.inference.segmenter.Segmenter`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

FAMILIES: dict[str, str] = {
    "any-unet": "GliomaSegLib.zoo.loaders.any_unet",
    "ca-cnn": "GliomaSegLib.zoo.loaders.ca_cnn",
    "monai-bundle": "GliomaSegLib.zoo.loaders.monai_bundle",
    "auto3dseg": "GliomaSegLib.zoo.loaders.auto3dseg",
    "aurora": "GliomaSegLib.zoo.loaders.aurora",
    "resseg": "GliomaSegLib.zoo.loaders.resseg",
    "nobrainer": "GliomaSegLib.zoo.loaders.nobrainer",
    "nnunet": "GliomaSegLib.zoo.loaders.nnunet",
    "raidionics": "GliomaSegLib.zoo.loaders.raidionics",
    "synthstrip": "GliomaSegLib.zoo.loaders.synthstrip",
    "stretched-brain": "GliomaSegLib.zoo.loaders.stretched_brain",
}


def family(name: str) -> ModuleType:
    """The module of the family ``name``; imported only now, because it brings torch with it."""
    return importlib.import_module(FAMILIES[name])
