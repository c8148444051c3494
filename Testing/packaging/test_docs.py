"""What the documentation says is there: links, files, commands with their options, benchmarks, make's targets."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import _parser
from GliomaSegLib.zoo.card import Card, Status
from GliomaSegLib.zoo.catalogue import all_cards
from GliomaSegLib.zoo.expectation import cost_of_missing
from Testing.bench.__main__ import PARTS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
field_tables = importlib.import_module("field_tables")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Testing/SLICER.md")),
    *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in field_tables.PAGES),
]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def code_of(page: Path) -> Iterator[str]:
    """The lines of the page's shell blocks, continued ones joined, and its inline code, without comments."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        yield from (re.sub(r"\s+#\s.*", "", line) for line in block.replace("\\\n", " ").splitlines())
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))


def test_there_are_pages_with_commands() -> None:
    assert {"README.md", "models.md", "hospital.md", "troubleshooting.md"} <= {page.name for page in PAGES}
    assert sum(code.startswith("gliomaseg ") for page in PAGES for code in code_of(page)) > 60


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        if name.startswith("api/") or name in field_tables.PAGES:  # made when the documentation is built
            continue
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, target


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    for code in code_of(page):
        if code.startswith("gliomaseg ") and "COMMAND" not in code:
            check_command(code)


def check_command(code: str) -> None:
    """Every word is a command, an option of it, or a value."""
    parser = _parser()
    for word in shlex.split(code)[1:]:
        if word in ("|", ">", "2>"):
            break
        commands = subcommands(parser)
        if commands and not word.startswith("-"):
            for name in word.split("|"):  # as in 'models show | verify'
                assert name in commands, code
            parser = commands[word.split("|")[0]]
        elif word.startswith("--"):
            assert word.split("=")[0] in parser._option_string_actions, code


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands that come next; none when the command is complete."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


def test_a_command_that_does_not_exist_is_noticed() -> None:
    check_command("gliomaseg models install ID --from FOLDER")
    for wrong in ("gliomaseg divide STUDY", "gliomaseg segment STUDY --with-love", "gliomaseg models instal ID"):
        with pytest.raises(AssertionError):
            check_command(wrong)


@every_page
def test_modules_benchmarks_and_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for code in code_of(page):
        words = code.split()
        if words[:2] == ["python", "-m"] and words[2].startswith(("Testing", "GliomaSegLib")):
            assert importlib.util.find_spec(words[2]), code
            if words[2] == "Testing.bench":
                assert set(words[3:]) - {"PART…"} <= PARTS.keys(), code
        if words[:1] == ["make"]:
            assert words[1] in targets, code


@every_page
def test_files_of_the_repository_that_are_named_exist(page: Path) -> None:
    for code in code_of(page):
        for word in code.split():
            name = word.rstrip(".,;:")
            if re.match(r"(Testing|GliomaSegLib|GliomaSeg|Resources|docs|\.ci|\.github)/", name) and "NAME" not in name:
                assert "ID.json" in name or list(ROOT.glob(name.removesuffix("/"))), f"{page.name}: {name}"


def test_the_readme_says_that_this_is_no_medical_device() -> None:
    assert "Not a medical device" in (ROOT / "README.md").read_text(encoding="utf-8")


MEASURED = [card for card in all_cards().values() if card.status is Status.VERIFIED and card.measured]


def test_there_are_models_whose_accuracy_was_measured() -> None:
    assert {"ca-cnn-brats17", "gliomaseg-any-v2"} <= {card.id for card in MEASURED}


@pytest.mark.parametrize("card", MEASURED, ids=lambda card: card.id)
def test_a_measured_card_knows_what_every_subset_of_its_sequences_costs(card: Card) -> None:
    for size in range(1, len(card.inputs.sequences) + 1):
        for present in combinations(card.inputs.sequences, size):
            if set(card.inputs.mandatory) <= set(present):
                figure, *_ = card.figures_with(present)
                assert set(figure.dice) == set(card.regions_given(present))
                assert figure.cases
                assert "bench" in figure.source
    assert cost_of_missing(card, card.inputs.sequences) is None
    assert "Mean Dice" in cost_of_missing(card, card.inputs.mandatory or [Modality.T2F])


@pytest.mark.parametrize("name", field_tables.PAGES)
def test_tables_of_fields_hold_every_field_of_the_schema(name: str) -> None:
    title, path = field_tables.PAGES[name]
    schema = json.loads(path.read_text(encoding="utf-8"))
    text = field_tables.page(title, schema)
    fields = list(schema["properties"]) + [
        field for part in schema["$defs"].values() for field in part.get("properties", ())
    ]
    assert text.count("\n| `") == len(fields) > 60
    for field in fields:
        assert f"| `{field}` | " in text, field
    assert "| any |" not in text
