"""The extension is packaged whole: CMake lists what is on the disk, and what the Extensions Index wants is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "GliomaSeg"


def listed(cmake: Path, variable: str) -> list[str]:
    """The entries of ``set(VARIABLE ...)``, with the module's name put in."""
    (body,) = re.findall(rf"set\({variable}\s+(.*?)\)", cmake.read_text(encoding="utf-8"), re.DOTALL)
    return body.replace("${MODULE_NAME}", "GliomaSeg").split()


def found(folder: Path, base: Path, pattern: str, leave_out: Iterable[str] = ()) -> list[str]:
    """Paths below ``folder``, seen from ``base``, as CMake writes them."""
    paths = (path.relative_to(base) for path in folder.rglob(pattern) if path.is_file())
    left_out = {"__pycache__", *leave_out}
    return sorted(path.as_posix() for path in paths if not left_out & set(path.parts))


def test_the_library_is_packaged_whole() -> None:
    assert sorted(listed(ROOT / "CMakeLists.txt", "GLIOMASEGLIB_SCRIPTS")) == found(ROOT / "GliomaSegLib", ROOT, "*.py")


def test_the_data_of_the_library_are_packaged_whole() -> None:
    wanted = found(ROOT / "Resources", ROOT, "*", leave_out=["screenshots"])
    assert sorted(listed(ROOT / "CMakeLists.txt", "GLIOMASEGLIB_RESOURCES")) == wanted


def test_the_module_is_packaged_whole() -> None:
    cmake = MODULE / "CMakeLists.txt"
    assert sorted(listed(cmake, "MODULE_PYTHON_SCRIPTS")) == found(MODULE, MODULE, "*.py")
    assert sorted(listed(cmake, "MODULE_PYTHON_RESOURCES")) == found(MODULE / "Resources", MODULE, "*")


def test_no_file_of_the_module_and_of_the_library_gets_the_same_place() -> None:
    """Both are installed into one folder."""
    lists = (
        listed(ROOT / "CMakeLists.txt", "GLIOMASEGLIB_SCRIPTS"),
        listed(ROOT / "CMakeLists.txt", "GLIOMASEGLIB_RESOURCES"),
        listed(MODULE / "CMakeLists.txt", "MODULE_PYTHON_SCRIPTS"),
        listed(MODULE / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES"),
    )
    every = [path for one in lists for path in one]
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
