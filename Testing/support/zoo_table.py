"""``python -m Testing.support.zoo_table`` renews the tables of models and of families in ``docs/models.md``."""

from __future__ import annotations

from pathlib import Path

from GliomaSegLib.zoo.catalogue import all_cards
from GliomaSegLib.zoo.loaders import FAMILIES
from GliomaSegLib.zoo.page import table

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
_MODELS = "<!-- made by: python -m Testing.support.zoo_table -->\n\n", "\n<!-- end -->"
_FAMILIES = "<!-- families made by: python -m Testing.support.zoo_table -->\n\n", "\n<!-- end of families -->"


def renewed(page: str) -> str:
    """The page with the tables that the cards and families make now."""
    return _between(_between(page, _MODELS, table(all_cards().values())), _FAMILIES, families_table())


def families_table() -> str:
    """The families as a table in Markdown: their parameters, and the fields of a card that they take."""
    rows = ["| family | `network.parameters` | takes from a card | of it must be given |", "|---|---|---|---|"]
    for name, one in FAMILIES.items():
        parameters = [f"`{needed}`" for needed in one.needs] + [f"`{other}` (optional)" for other in one.may_have]
        taken = ", ".join(f"`{field}`" for field in one.honours)
        required = ", ".join(f"`{field}`" for field in one.requires)
        cells = (f"`{name}`", ", ".join(parameters), taken, required)
        rows.append(f"| {' | '.join(cell or '–' for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _between(page: str, marks: tuple[str, str], content: str) -> str:
    begin, end = marks
    before, _, rest = page.partition(begin)
    return before + begin + content + end + rest.partition(end)[2]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
