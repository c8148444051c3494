"""Writes the card of a MONAI bundle (folder or zip) from its configuration (``gliomaseg models add BUNDLE``).

It reads ``configs/metadata.json``, ``configs/inference.json`` (or ``.yaml``) and ``models/model.pt`` (or ``model.ts``).
The configuration is not executed: references (``@name``) are resolved, expressions (``$...``) are not evaluated, and
classes (``_target_``) outside of MONAI and torch are refused, as is anything that a card cannot express.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region, regions_of_channels
from GliomaSegLib.study.identification import ACCEPTED_CONFIDENCE, guess
from GliomaSegLib.zoo.archive import unpack
from GliomaSegLib.zoo.own import About

_METADATA, _INFERENCE = "configs/metadata.json", ("configs/inference.json", "configs/inference.yaml")
_TARGETS = re.compile(r"^[A-Z]\w*$|^torch\.device$|^(monai|ignite|torch\.(nn|optim|utils\.data))(\.\w+)+$")
_CHANNELS = (
    (r"background", "background"), (r"whole|\bwt\b", "WT"), (r"non.?enhanc|necro|\bncr|netc", "NETC"),
    (r"core|\btc\b", "TC"), (r"enhanc|\bet\b", "ET"), (r"o?edema|snfh|\bed\b", "SNFH"), (r"cavity|resection", "RC"),
)  # fmt: skip
_DEEPEST = 100  # lists in lists of a YAML file: of tens of thousands the parser takes minutes
# Transforms that do not change values or grid of the network's input.
_NEUTRAL = {"LoadImaged", "EnsureChannelFirstd", "AddChanneld", "EnsureTyped", "CastToTyped", "ToTensord"}
# Transforms after the network that change nothing of what it finds.
_KEPT_SO = _NEUTRAL | {"Activationsd", "AsDiscreted", "Invertd", "MapLabelValued", "SaveImaged"}
_NOT_SAID = ("subtrahend", "divisor", "relative", "channel_indices", "as_closest_canonical")
_SAID = ("axcodes", "pixdim", "nonzero", "channel_wise", "lower", "upper", "b_min", "b_max", "clip", "margin")


def is_bundle(source: Path) -> bool:
    """Whether a path is a folder with a bundle's configuration, or a zip."""
    return source.suffix == ".zip" or bool(_root(source))


def write_bundle(
    source: Path, about: About, folder: Path, sequences: Sequence[str] = (), channels: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Write the card of a bundle into ``folder``, and a copy of its weights.

    Args:
        sequences: modalities of the input channels in order, if the bundle has no known names for them.
        channels: of the output, likewise.

    Returns:
        the card (JSON) and the weights.

    Raises:
        InputError: it is no bundle, or a card cannot express it.
    """
    if source.suffix == ".zip":
        unpack(source, "zip", folder / "bundle")
        source = folder / "bundle"
    root = _root(source)
    if root is None:
        raise InputError(f"{source} holds no {_METADATA}; give the folder or the zip of a MONAI bundle.")
    metadata, config = _read(root / _METADATA), _read(_first(root, _INFERENCE))
    _refuse_code(config)
    weights = _first(root, ("models/model.pt", "models/model.ts"))
    kept = folder / weights.name
    shutil.copyfile(weights, kept)
    try:
        network = _network(config) if weights.suffix == ".pt" else {"family": "torchscript", "parameters": {}}
        people = ", ".join(str(metadata[key]) for key in ("authors", "copyright") if metadata.get(key))
        output = _output(config, metadata, channels)
        card = {
            **about.fields(str(metadata.get("name", root.name)), people or "see its bundle", kept.name),
            "summary": str(metadata.get("description", "A MONAI bundle.")),
            "version": str(metadata.get("version", "1")),
            "citation": next(iter(metadata.get("references", ())), "none"),
            "training": str(metadata.get("data_type") or metadata.get("task") or "see its bundle"),
            "network": network,
            "inference": _inference(config),
            "output": output,
            "regions": [one.value for one in Region if one in regions_of_channels(output["channels"])],
            **_preprocessing(config, metadata, sequences),
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The configuration in {root / 'configs'} is not as MONAI writes it ({type(error).__name__}: {error}); "
            "write a card for it (docs/models.md)."
        ) from error
    card["inference"] |= card.pop("field", {})
    path = folder / "card.json"
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path, kept


def _root(source: Path) -> Path | None:
    found = sorted(source.rglob(_METADATA), key=lambda path: len(path.parts)) if source.is_dir() else []
    return found[0].parents[1] if found else None


def _first(root: Path, names: Sequence[str]) -> Path:
    found = next((root / name for name in names if (root / name).is_file()), None)
    if found is None:
        raise InputError(f"The bundle {root} has no {' or '.join(names)}; get it whole.")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".yaml":
            import yaml

            depth = 0
            for event in yaml.parse(text, yaml.SafeLoader):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                    raise ValueError("aliases or too many lists in lists, which can grow without end")
            content = yaml.safe_load(text)
        else:
            content = json.loads(text)
    except ImportError as error:
        raise InputError(f"{path} is YAML, which needs the package pyyaml; run 'pip install pyyaml'.") from error
    except Exception as error:  # yaml's and json's exceptions share no other base
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read ({reason}); get the bundle again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no bundle's configuration; get the bundle again.")
    return content


def _walk(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    for one in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _walk(one)


def _refuse_code(config: Mapping[str, Any]) -> None:
    for part in _walk(config):
        target = part.get("_target_")
        if target is not None and not (isinstance(target, str) and _TARGETS.match(target)):
            raise InputError(
                f"The bundle's configuration names '{target}' (_target_), which is no class of MONAI's or torch's; its "
                "code is not run. Write a card for it (docs/models.md), or ask for the bundle as TorchScript."
            )


def _resolved(config: Mapping[str, Any], value: Any, depth: int = 0) -> Any:
    """Resolve the references in a value.

    Raises:
        InputError: it is an expression, or a reference has no target.
    """
    if depth > 20:
        raise InputError("The bundle's configuration refers to itself without end; get another one.")
    if isinstance(value, list):
        return [_resolved(config, one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {key: _resolved(config, one, depth + 1) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith("$"):
        try:
            return ast.literal_eval(value[1:].strip())
        except (ValueError, SyntaxError) as error:
            raise InputError(
                f"The bundle's configuration has the expression '{value}' where a value is needed, and it is not run; "
                "write a card for it (docs/models.md)."
            ) from error
    if not value.startswith("@"):
        return value
    found: Any = config
    for name in re.split(r"::|#", value[1:]):
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise InputError(f"The bundle's configuration refers to '{value}', which is not there.") from error
    return _resolved(config, found, depth + 1)


def _name(part: Mapping[str, Any]) -> str:
    return str(part.get("_target_", "")).rpartition(".")[2]


def _network(config: Mapping[str, Any]) -> dict[str, Any]:
    from monai.networks import nets

    part: Mapping[str, Any] = next(
        (config[key] for key in ("network_def", "network", "net") if isinstance(config.get(key), dict)), {}
    )
    name = _name(part)
    if not isinstance(getattr(nets, name, None), type):
        raise InputError(
            f"The bundle's network '{name or 'network_def'}' is none of monai.networks.nets; write a card."
        )
    arguments = {key: _resolved(config, value) for key, value in part.items() if not key.startswith("_")}
    return {"family": "monai-bundle", "parameters": {"network": name, "arguments": arguments}}


def _inference(config: Mapping[str, Any]) -> dict[str, Any]:
    part: Mapping[str, Any] = next((one for one in _walk(config) if _name(one).endswith("Inferer")), {})
    shared = {"axes": "xyz", "multiple_of": 16}
    if _name(part) == "SlidingWindowInferer":
        said = {"overlap": 0.25, "mode": "constant"} | {
            key: _resolved(config, part[key]) for key in ("roi_size", "overlap", "mode") if key in part
        }
        return {"patch": said["roi_size"], "overlap": said["overlap"], "window": said["mode"], **shared}
    if _name(part) in ("", "SimpleInferer"):
        return {"patch": None, **shared}
    raise InputError(f"The bundle's inferer '{_name(part)}' is not known here; write a card (docs/models.md).")


def _output(config: Mapping[str, Any], metadata: Mapping[str, Any], channels: Sequence[str]) -> dict[str, Any]:
    if further := next((name for name in map(_name, _applied(config, "postprocessing")) if name not in _KEPT_SO), None):
        raise InputError(
            f"The bundle changes what its network finds with '{further}', which is not read here; write a card "
            "(docs/models.md)."
        )
    said = {"sigmoid": False, "softmax": False, "argmax": False, "threshold": None}
    for part in _walk(config):
        if _name(part) in ("Activationsd", "AsDiscreted"):
            said |= {key: _resolved(config, part[key]) for key in said if key in part}
    outputs = metadata.get("network_data_format", {}).get("outputs", {})
    named = channels or _named(next(iter(outputs.values()), {}), _channel, "output channels", "--channels TC,WT,ET")
    activation = "sigmoid" if said["sigmoid"] else "softmax"
    if not (said["sigmoid"] or said["softmax"] or said["argmax"]):
        raise InputError("The bundle says neither sigmoid nor softmax (Activationsd); write a card (docs/models.md).")
    threshold = said["threshold"] if isinstance(said["threshold"], (int, float)) else 0.5
    return {"activation": activation, "channels": list(named), "threshold": float(threshold)}


def _applied(config: Mapping[str, Any], which: str) -> list[Mapping[str, Any]]:
    """The transforms of ``preprocessing`` or ``postprocessing`` that are not switched off."""
    return [part for part in config[which]["transforms"] if not _resolved(config, part.get("_disabled_"))]


def _sequence(text: str) -> str | None:
    found = guess(text)
    return found.sequence.value if found.sequence and found.confidence >= ACCEPTED_CONFIDENCE else None


def _channel(text: str) -> str | None:
    return next((name for pattern, name in _CHANNELS if re.search(pattern, text, re.IGNORECASE)), None)


def _named(data: Mapping[str, Any], known: Callable[[str], str | None], what: str, option: str) -> list[str]:
    said = [str(text) for _, text in sorted(data.get("channel_def", {}).items(), key=lambda one: int(one[0]))]
    found = [name for text in said if (name := known(text))]
    if not said or len(set(found)) < len(said):
        raise InputError(f"The bundle's {what} ({', '.join(said) or 'none'}) are not clear; name them, as in {option}.")
    return found


def _preprocessing(config: Mapping[str, Any], metadata: Mapping[str, Any], sequences: Sequence[str]) -> dict[str, Any]:
    """``inputs``, ``space``, ``normalisation`` and perhaps ``field``."""
    inputs = metadata.get("network_data_format", {}).get("inputs", {})
    named = sequences or _named(
        next(iter(inputs.values()), {}), _sequence, "input channels", "--sequences t1c,t1n,t2w,t2f"
    )
    space: dict[str, Any] = {"spacing_mm": [1.0, 1.0, 1.0], "orientation": "LPS", "brain": "stripped"}
    normalisation: dict[str, Any] = {"method": "none"}
    field: dict[str, Any] = {}
    for part in _applied(config, "preprocessing"):
        name = _name(part)
        if name in _NEUTRAL:
            continue
        said = {key: _resolved(config, part[key]) for key in _SAID if key in part}
        if further := [key for key in _NOT_SAID if part.get(key)]:
            raise InputError(
                f"The bundle prepares its images with '{further[0]}' of '{name}', as no card can say; write it as a "
                "card."
            )
        by_itself = bool(said.get("channel_wise")) or len(named) == 1
        if name == "Orientationd":
            space["orientation"] = said["axcodes"]
        elif name == "Spacingd":
            space["spacing_mm"] = [float(one) for one in said["pixdim"]]
        elif name == "NormalizeIntensityd" and by_itself and (said.get("nonzero") or not field):
            normalisation = {"method": "z-score", "over": "non-zero" if said.get("nonzero") else "all"}
        elif (
            name == "ScaleIntensityRangePercentilesd"
            and by_itself
            and not field  # of a card the percentiles are those of the whole image, before it is cropped
            and (said.get("b_min"), said.get("b_max")) == (0, 1)
        ):
            percentiles = [said["lower"], said["upper"]]
            normalisation = {"method": "percentiles", "percentiles": percentiles, "clip": bool(said.get("clip"))}
        elif name == "CropForegroundd" and isinstance(said.get("margin", 0), int):
            field = {"field": "brain", "margin_voxels": said.get("margin", 0)}
        else:
            raise InputError(f"The bundle prepares its images with '{name}', as no card can say; write it as a card.")
    found = {
        "inputs": {"sequences": list(named), "mandatory": list(named)},
        "space": space,
        "normalisation": normalisation,
    }
    return found | ({"field": field} if field else {})
