"""Tables of the fields of recipes and cards, from their JSON schemas; the documentation is built with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESOURCES = Path(__file__).parents[1] / "Resources"
PAGES = {
    "recipe-fields.md": ("Fields of a recipe", RESOURCES / "recipes" / "recipe.schema.json"),
    "card-fields.md": ("Fields of a model card", RESOURCES / "card.schema.json"),
}


def write_pages(folder: Path) -> None:
    """The pages ``recipe-fields.md`` and ``card-fields.md``."""
    for name, (title, path) in PAGES.items():
        text = page(title, json.loads(path.read_text(encoding="utf-8")))
        (folder / name).write_text(text, encoding="utf-8")


def page(title: str, schema: dict[str, Any]) -> str:
    """One table for the whole and one for each kind of part with fields of its own."""
    kinds = schema["$defs"]
    parts = [f"# {title}\n\nFrom its JSON schema; a field without a default must be given.\n", _table(schema, kinds)]
    for name, part in kinds.items():
        if "properties" in part:
            parts.append(f"## {name}\n\n{_line(part.get('description', ''))}\n\n{_table(part, kinds)}")
    return "\n".join(parts)


def _table(schema: dict[str, Any], kinds: dict[str, Any]) -> str:
    rows = ["| field | values | default | meaning |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "" if name in schema.get("required", ()) else _default(field.get("default"))
        meaning = _line(field.get("description", ""))
        rows.append(f"| `{name}` | {_kind(field, kinds)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    return "those of its fields" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def _kind(field: dict[str, Any], kinds: dict[str, Any]) -> str:
    """What a value may be, in words; a kind with fields of its own by its heading."""
    if reference := field.get("$ref"):
        name = reference.rpartition("/")[2]
        return name if "properties" in kinds[name] else _kind(kinds[name], kinds)
    if either := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(_kind(one, kinds) for one in either)
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = field.get("type", "any")
    if kind == "array":
        inner = field.get("prefixItems") or [field.get("items", {})]
        return "list of " + " / ".join(dict.fromkeys(_kind(one, kinds) for one in inner))
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_kind(field['additionalProperties'], kinds)}"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return " ".join([kind, *(f"{sign} {field[name]}" for name, sign in limits.items() if name in field)])


def _line(text: str) -> str:
    """One line for a cell, without the markup of docstrings."""
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`").replace(":class:", "").replace(":mod:", "")
