"""Eijgelaar's and Kurmukov's experiments on public data: ``python -m Testing.eijgelaar --data DIR --cache DIR -o OUT``.

DeepMedic by the recipe of the paper (Radiol Artif Intell 2020;2(5):e190103) for the whole tumour, which is all that the
public clinical cases have labels of, trained four times on the cases of ``Resources/recipes/any-cases.csv``:

* ``challenge``: BraTS's cases alone, every sequence shown;
* ``sparsified``: the same cases, each sequence but T1 + contrast dropped with p = 0.2;
* ``clinical``: sparsified too, with the clinical cases of the training patients;
* ``hospital``: sparsified too, the clinical cases alone. Set against ``sparsified`` it is Kurmukov's question: the same
  training on challenge data and on what clinics scan, both tested on both (doi:10.3233/SHTI210168).

All four are then run on the patients kept aside, challenge and clinical ones as two sets, with the subsets of their
sequences that matter in a clinic, each with T1 + contrast. OUT holds the runs, the models (OUT/models) and the page of
``gliomaseg experiment``: medians, quartiles, Wilcoxon's tests with Bonferroni's correction, box plots, the domain gap.
Eijgelaar's medians are .49, .67 and more than .80. A stopped run goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import main as gliomaseg
from GliomaSegLib.resources import resource
from GliomaSegLib.training.own_model import write_model
from GliomaSegLib.training.recipe import find_recipe
from GliomaSegLib.zoo.own import About
from GliomaSegLib.zoo.store import Store

_PAPERS = "eijgelaar2020-deepmedic"
_SPARSIFIED = {"sampler": "eijgelaar2020", "probability": 0.2}
_CHALLENGE, _CLINICAL = ("brats",), ("tcga-",)
ARMS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {  # how its hospitals' names begin, and what is dropped
    "challenge": (_CHALLENGE, {"sampler": "none"}),
    "sparsified": (_CHALLENGE, _SPARSIFIED),
    "clinical": (_CHALLENGE + _CLINICAL, _SPARSIFIED),
    "hospital": (_CLINICAL, _SPARSIFIED),
}
TESTS = {"challenge-test": _CHALLENGE, "clinical-test": _CLINICAL}
SUBSETS = "t1n+t1c+t2w+t2f,t1n+t1c+t2f,t1n+t1c,t1c"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m Testing.eijgelaar", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the case table's paths")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder for the prepared cases")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--cases", type=Path, default=resource("recipes") / "any-cases.csv", metavar="CSV")
    parser.add_argument("--splits", type=Path, default=resource("recipes") / "any-splits.json", metavar="JSON")
    parser.add_argument("--recipe", default=_PAPERS, help="instead of the paper's, e.g. with a smaller batch")
    parser.add_argument("--iterations", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--split",
        action="append",
        metavar="NAME",
        help="patients to test on; repeatable (default test): validation ones too, as no training here looks at them",
    )
    parser.add_argument("--subsets", default=SUBSETS, metavar="WHICH", help=f"as for 'experiment' (default {SUBSETS})")
    parser.add_argument("--device", default="auto")
    parsed = parser.parse_args(arguments)
    parsed.output.mkdir(parents=True, exist_ok=True)
    for arm in ARMS:
        if status := _train(arm, parsed):
            return status
        _add(arm, parsed.output)
    models = [word for arm in ARMS for word in ("--model", f"deepmedic-{arm}")]
    for arm, test in (("sparsified", "challenge-test"), ("hospital", "clinical-test")):
        models += ["--trained-for", f"deepmedic-{arm}={test}"]
    for split in parsed.split or ["test"]:
        models += ["--split", split]
    where = ["--root", parsed.data, "--splits", parsed.splits, "--device", parsed.device]
    kept = ["--nullify", parsed.cache / "experiment", "--keep", parsed.output / "runs.jsonl"]
    written = ["--store", parsed.output / "models", "-o", parsed.output / "experiment", "--overwrite"]
    tables = [_table(parsed, hospitals, name) for name, hospitals in TESTS.items()]
    words = ["experiment", *tables, *where, *models, "--subsets", parsed.subsets, *kept, *written]
    return gliomaseg(list(map(str, words)))


def _train(arm: str, parsed: argparse.Namespace) -> int:
    hospitals, dropped = ARMS[arm]
    recipe = json.loads(find_recipe(parsed.recipe).read_bytes())
    recipe |= {"name": f"deepmedic-{arm}", "regions": ["WT"], "sparsification": dropped}
    (parsed.output / f"{arm}.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    where = ["--root", parsed.data, "--splits", parsed.splits, "--cache", parsed.cache, "--device", parsed.device]
    longer = [] if parsed.iterations is None else ["--iterations", parsed.iterations]
    table = _table(parsed, hospitals, arm)
    words = ["train", parsed.output / f"{arm}.json", "--cases", table, *where, "-o", parsed.output / arm, *longer]
    return gliomaseg(list(map(str, words)))


def _table(parsed: argparse.Namespace, hospitals: tuple[str, ...], name: str) -> Path:
    """The table's cases of these hospitals, as a table of its own."""
    table: Path = parsed.output / f"{name}.csv"
    with parsed.cases.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["hospital"].startswith(hospitals)]
    with table.open("w", newline="", encoding="utf-8") as stream:
        written = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        written.writeheader()
        written.writerows(rows)
    return table


def _add(arm: str, output: Path) -> None:
    """The run as a model that needs T1 + contrast alone, whether it was trained for that or not: so is it compared."""
    store = Store(output / "models")
    about = About(f"deepmedic-{arm}", "research: of the data that it was trained on")
    with TemporaryDirectory() as folder:
        card, weights = write_model([output / arm / "last.pt"], about, Path(folder), store)
        content = json.loads(card.read_bytes())
        content["inputs"]["mandatory"] = [Modality.T1C.value]
        card.write_text(json.dumps(content), encoding="utf-8")
        store.add(card, weights=weights)


if __name__ == "__main__":
    sys.exit(main())
