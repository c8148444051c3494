"""The extension is packaged whole, and what the Extensions Index wants is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "GliomaSeg"


def test_the_library_its_data_and_the_module_are_packaged_whole() -> None:
    """CMake takes what is on the disk; here only that it looks in the right places."""
    library, module = ((folder / "CMakeLists.txt").read_text(encoding="utf-8") for folder in (ROOT, MODULE))
    for pattern in ("GliomaSegLib/*.py", "Resources/*"):
        assert re.search(rf"file\(GLOB_RECURSE \w+ CONFIGURE_DEPENDS .*{re.escape(pattern)}\)", library), pattern
    for pattern in ("*.py", "Resources/*"):
        assert re.search(rf"file\(GLOB_RECURSE \w+ CONFIGURE_DEPENDS .* {re.escape(pattern)}\)", module), pattern


def test_no_file_of_the_module_and_of_the_library_gets_the_same_place() -> None:
    """Both are installed into one folder."""
    every = [path.relative_to(base) for base in (ROOT / "GliomaSegLib", MODULE) for path in base.rglob("*.py")]
    assert len(every) == len(set(every))


def test_the_module_folder_is_no_package() -> None:
    """With an ``__init__.py`` Slicer would not find the module's class."""
    assert not (MODULE / "__init__.py").exists()
    assert "class GliomaSeg(ScriptedLoadableModule):" in (MODULE / "GliomaSeg.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"])
def test_the_extension_describes_itself(name: str) -> None:
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    (value,) = re.findall(rf'set\(EXTENSION_{name} "([^"\n]+)"\)', cmake)
    for address in re.findall(r"https://raw\.githubusercontent\.com/\S+?/main/(\S+)", value):
        assert address.endswith((".png", ".jpg"))
        assert (ROOT / address).is_file(), f"{address} is shown in the Extensions Manager and is not in the repository"


def test_the_entry_of_the_extensions_index_is_complete() -> None:
    entry = json.loads((ROOT / "GliomaSeg.json").read_text(encoding="utf-8"))
    assert set(entry) == {
        *("$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier")
    }
    assert entry["category"] == "Segmentation"
    assert entry["scm_url"].removesuffix(".git") in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
