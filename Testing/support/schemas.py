"""``python -m Testing.support.schemas`` renews the JSON schemas of cards and recipes in ``Resources``."""

from __future__ import annotations

import json

from GliomaSegLib.resources import resource
from GliomaSegLib.training.recipe import Recipe
from GliomaSegLib.zoo.card_check import CARD


def card_schema() -> str:
    """The JSON schema of a card, as kept in ``Resources/card.schema.json``."""
    return json.dumps(CARD.json_schema(), indent=2) + "\n"


def recipe_schema() -> str:
    """The JSON schema of a recipe, as kept in ``Resources/recipes/recipe.schema.json``."""
    return json.dumps(Recipe.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    resource("card.schema.json").write_text(card_schema(), encoding="utf-8")
    (resource("recipes") / "recipe.schema.json").write_text(recipe_schema(), encoding="utf-8")
