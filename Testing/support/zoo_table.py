"""``python -m Testing.support.zoo_table`` renews the table of models in ``docs/models.md`` from the cards."""

from __future__ import annotations

from pathlib import Path

from GliomaSegLib.zoo.card import all_cards
from GliomaSegLib.zoo.page import table

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
_BEGIN, _END = "<!-- made by: python -m Testing.support.zoo_table -->\n\n", "\n<!-- end -->"


def renewed(page: str) -> str:
    """The page with the table that the cards make now."""
    before, _, rest = page.partition(_BEGIN)
    return before + _BEGIN + table(all_cards().values()) + _END + rest.partition(_END)[2]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
