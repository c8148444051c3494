"""The wheel carries everything that the program needs besides its code, and finds it where it was installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: object, **options: object) -> str:
    """Standard output of a command that must succeed."""
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


def test_everything_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "GliomaSegLib").rglob("*.py")}
    wanted.add("GliomaSegLib/py.typed")  # type checkers of other projects look for it
    resources = [path.relative_to(ROOT) for path in (ROOT / "Resources").rglob("*") if path.is_file()]
    wanted |= {f"GliomaSegLib/{path.as_posix()}" for path in resources}
    assert wanted - names == set()
    assert any(name.startswith("GliomaSegLib/Resources/models/") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"GliomaSegLib", "gliomaseg"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_installed_package_finds_its_own_files(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    script = (
        "import json, GliomaSegLib\n"
        "from GliomaSegLib.resources import resource\n"
        "from GliomaSegLib.zoo.catalogue import all_cards\n"
        "places = [GliomaSegLib.__file__, *map(str, map(resource, ('models', 'terminology', 'report.html.j2')))]\n"
        "print(json.dumps({'cards': list(all_cards()), 'places': places}))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": str(site)}
    found = json.loads(run(sys.executable, "-c", script, cwd=tmp_path, env=environment))
    assert found["cards"] == sorted(path.stem for path in (ROOT / "Resources" / "models").glob("*.json"))
    assert all(Path(place).is_relative_to(site) for place in found["places"])
