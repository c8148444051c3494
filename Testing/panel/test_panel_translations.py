"""The German translation: whole, and with the same placeholders.

``GliomaSeg_de-DE.ts`` is made by Slicer's ``update_translations.py`` (lupdate of Qt 6.3 or later), without the lines
where a text stands. Sentences of the library (errors, answers, reasons) are not translated.
"""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

MODULE = Path(__file__).parents[2] / "GliomaSeg"
TRANSLATED = {
    (context.findtext("name"), message.findtext("source")): message.find("translation")
    for context in ElementTree.parse(MODULE / "Resources" / "Translations" / "GliomaSeg_de-DE.ts").iter("context")
    for message in context.iter("message")
}


def context_of(path: Path) -> str:
    """As ``slicer.i18n`` names it."""
    return path.stem if not (path.parent / "__init__.py").is_file() else f"{path.parent.name}.{path.stem}"


def test_every_text_is_translated_with_its_placeholders() -> None:
    for (_context, source), translation in TRANSLATED.items():
        assert translation.text, source
        assert translation.get("type") is None, source
        assert sorted(re.findall(r"\{\w+\}", translation.text)) == sorted(re.findall(r"\{\w+\}", source)), source


def test_every_text_of_the_code_is_there_in_its_context() -> None:
    texts = [
        (context_of(path), node.args[0].value)
        for path in MODULE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_" and isinstance(node.args[0], ast.Constant)
    ]
    assert len(texts) > 200
    assert [text for text in texts if text not in TRANSLATED] == []


def test_every_text_of_the_panel_is_there() -> None:
    ui = ElementTree.parse(MODULE / "Resources" / "UI" / "GliomaSeg.ui")
    parts = [one for kind in ("widget", "column") for part in ui.iter(kind) for one in part.findall("property")]
    texts = {
        one.findtext("string") for one in parts if one.find("string") is not None and not one.find("string").get("notr")
    }
    assert {text for text in texts if text and text.strip()} <= {source for _context, source in TRANSLATED}
