"""Families of networks: the code that loads a model, and the fields of the model's card that it uses.

A family is a module here with the functions

* ``convert(source: Path, destination: Path)``: turns the published weight files in the folder ``source`` into one
  ``.safetensors`` file; not needed where all weights come with GliomaSeg;
* ``load(weights, parameters, device, precision)``: returns a ready
  :class:`~GliomaSegLib.inference.segmenter.Segmenter` from the file that ``convert`` wrote; ``parameters`` is
  :attr:`GliomaSegLib.zoo.card.Card.loader_parameters`; what does not fit on ``device`` runs on the CPU;
  ``precision`` is the number format of the convolutions, where the card allows a lower one;
* ``spacing_mm(weights)``: the voxel edges (x, y, z) in the published files, if they have any.

Each raises :class:`~GliomaSegLib.errors.WeightsError` for a file that is missing, damaged, of another network, or holds
more than tensors and plain values.

The other settings are fixed by the family or its published files; a card that sets one of them is refused
(:func:`fault_of`), because the field would have no effect.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from GliomaSegLib.labels import Label, regions_of_channels
from GliomaSegLib.zoo.card import ENSEMBLE, Card
from GliomaSegLib.zoo.card_network import Normalisation
from GliomaSegLib.zoo.card_weights import accepted_sha256

if TYPE_CHECKING:
    import torch

    from GliomaSegLib.inference.segmenter import Segmenter

# The blocks of a card that only some families use.
_BLOCKS = ("normalisation", "inference", "output")


@dataclass(frozen=True)
class Family:
    """A family, and the fields of a card that it uses.

    Attributes:
        module: its name, for the import; by default that of the family, here.
        needs: names that the card's ``network.parameters`` must have.
        may_have: further names that they may have.
        honours: fields of the card that it uses, e.g. ``inference.mirrors``, or a block with all of its fields.
        requires: those of them that must be given.
    """

    module: str = ""
    needs: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()
    honours: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


_WINDOWS = tuple(
    f"inference.{name}" for name in ("patch", "overlap", "window", "axes", "multiple_of", "mirrors", "bfloat16")
)
_CHANNELS = ("output.activation", "output.channels")

FAMILIES: dict[str, Family] = {
    "any-unet": Family(
        needs=(
            "coarse",
            "spacing_mm",
            "margin_mm",
            "fine_weights",
            "fine_weights_without_flair",
            "fine_weights_without_t2_and_flair",
            "least_enhancing_ml",
            "least_tumour_ml",
        ),
        may_have=("fine", "coarse_without_flair", "fine_without_flair"),
        honours=("training_features",),
    ),
    "ca-cnn": Family(may_have=("views",)),
    "rfnet": Family(
        needs=("least_enhancing_voxels",),
        may_have=("width",),
        honours=(*_WINDOWS, *_CHANNELS),
        requires=("inference", *_CHANNELS),
    ),
    "mmformer": Family(
        needs=("least_enhancing_voxels",),
        may_have=("arguments",),
        honours=(*_WINDOWS, *_CHANNELS),
        requires=("inference", *_CHANNELS),
    ),
    "trained": Family(
        needs=("network", "lattice_mm"),
        may_have=("frame", "plane", "bias_correction", "common_space", "landmarks"),
        honours=(*_WINDOWS, *_CHANNELS, "output.threshold"),
        requires=("inference", *_CHANNELS),
    ),
    "ar-ca": Family(needs=("views",)),
    "monai-bundle": Family(
        needs=("network", "arguments"), honours=_BLOCKS, requires=("normalisation", "inference", *_CHANNELS)
    ),
    "torchscript": Family(
        may_have=("probabilities",), honours=_BLOCKS, requires=("normalisation", "inference", *_CHANNELS)
    ),
    "onnx": Family(may_have=("probabilities",), honours=_BLOCKS, requires=("normalisation", "inference", *_CHANNELS)),
    "auto3dseg": Family(honours=("inference.bfloat16",)),
    "aurora": Family(
        needs=("arguments",), honours=_BLOCKS, requires=("normalisation", "inference", *_CHANNELS, "inputs.sets")
    ),
    "resseg": Family(
        honours=("normalisation", *_WINDOWS, "output"),
        requires=("normalisation", "inference", *_CHANNELS, "inputs.sets"),
    ),
    "nnunet": Family(
        needs=("labels",), honours=("inference.mirrors", "inference.bfloat16", "output.largest_component")
    ),
    "raidionics": Family(honours=("output.channels", "inputs.preoperative"), requires=("output.channels",)),
    "synthstrip": Family(honours=("inference.bfloat16", "output.threshold"), requires=("output", "inputs.sets")),
    "stretched-brain": Family(
        needs=("network", "brain_voxels", "certainty"),
        honours=(*_WINDOWS, *_CHANNELS, "output.threshold"),
        requires=("inference", *_CHANNELS),
    ),
}


def family(name: str) -> ModuleType:
    """The module of the family ``name``; imported only on demand, because it imports torch."""
    return importlib.import_module(FAMILIES[name].module or f"{__name__}.{name.replace('-', '_')}")


def load(card: Card, weights: Path, device: torch.device, precision: torch.dtype) -> Segmenter:
    """The model of ``card``, ready to run, from the file ``weights`` that was checked.

    Raises:
        WeightsError: it was replaced after the check, or is damaged.
    """
    parameters = card.loader_parameters | {"weights_sha256": accepted_sha256(weights)}
    return family(card.network.family).load(weights, parameters, device, precision)


def fault_of(card: Card) -> str | None:
    """A clause on the first field of a card that its family lacks or does not use; ``None`` when there is none.

    The card's family is one of :data:`FAMILIES`, or it is an ensemble.
    """
    name = card.network.family
    one = Family("", needs=("vote",)) if name == ENSEMBLE else FAMILIES[name]
    given = card.network.parameters
    for needed in one.needs:
        if needed not in given:
            return f"lacks 'network.parameters.{needed}', which the family '{name}' needs"
    for other in given:
        if other not in (*one.needs, *one.may_have):
            known = ", ".join((*one.needs, *one.may_have)) or "none"
            return f"has 'network.parameters.{other}', which the family '{name}' does not use (it knows: {known})"
    for required in one.requires:
        if not _value(card, required):
            return f"lacks '{required}', which the family '{name}' needs"
    for field in _set_in(card):
        if not {field, field.partition(".")[0]} & set(one.honours):
            known = ", ".join(one.honours) or "nothing"
            return (
                f"has '{field}', which the family '{name}' does not use: it or its published files decide that, and of "
                f"these it takes {known} from a card"
            )
    return _fault_of_channels(card)


def _fault_of_channels(card: Card) -> str | None:
    """A clause where the card names a region that its network's output channels, or nnU-Net's labels, do not give."""
    labels = card.network.parameters.get("labels", {})
    meanings = labels.values() if isinstance(labels, dict) else ()
    if unknown := [one for one in meanings if one not in (*Label.__members__, "background", "brain")]:
        return f"has '{unknown[0]}' in 'network.parameters.labels', which is none of NETC, SNFH, ET, RC and brain"
    channels = tuple(card.output.channels if card.output else ()) or tuple(meanings)
    absent = [region.value for region in card.regions if channels and region not in regions_of_channels(channels)]
    return f"has the region '{absent[0]}', which its channels ({', '.join(channels)}) do not give" if absent else None


def _value(card: Card, field: str) -> Any:
    """The value of a field such as ``output.channels``; ``None`` where its block is not there."""
    block, _, name = field.partition(".")
    part = getattr(card, block)
    return getattr(part, name) if part is not None and name else part


def _set_in(card: Card) -> Iterator[str]:
    """The optional fields of families that the card sets to other values than the defaults."""
    for block in _BLOCKS:
        part = getattr(card, block)
        if part is None or part == Normalisation(method="published"):
            continue
        for field in dataclasses.fields(part):
            if getattr(part, field.name) != field.default:
                yield f"{block}.{field.name}"
    if card.inputs.preoperative:
        yield "inputs.preoperative"
    if card.training_features:
        yield "training_features"
