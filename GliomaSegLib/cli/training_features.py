"""Write the features of a model's training cases: ``python -m GliomaSegLib.cli.training_features``.

For those who train a model: its card then names the file, and every case gets a distance to the training data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.arguments import add_root
from GliomaSegLib.datasets.case_table import read_splits, read_table, training_and_validation
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.terminal import progress_for_stderr
from GliomaSegLib.training.features import features_of


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m GliomaSegLib.cli.training_features", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="id of a card of the family any-unet")
    parser.add_argument("--cases", type=Path, required=True, metavar="CSV", help="the case table")
    add_root(parser)
    parser.add_argument("--splits", type=Path, metavar="JSON", help="patients of train, test and validation")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="folder of the prepared cases")
    parser.add_argument("--layer", default="down.2", help="of the coarse network, by its name in torch")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SAFETENSORS")
    parsed = parser.parse_args()
    splits = read_splits(parsed.splits) if parsed.splits else {}
    rows, _ = training_and_validation(read_table(parsed.cases, parsed.root), splits, "validation")
    with progress_for_stderr() as progress:
        found = features_of(parsed.model, parsed.layer, rows, parsed.cache, progress)
    found.write(parsed.output)
    for present, group in found.groups.items():
        names = " ".join(sequence.value for sequence in Modality if sequence in present)
        middle, largest = np.quantile(group.distances, (0.5, 1))
        print(f"{names}: {len(group.distances)} cases, median distance {middle:.2f}, largest {largest:.2f}")
    print(f"{parsed.output}: {parsed.output.stat().st_size} bytes, SHA-256 {sha256_of(parsed.output)}")


if __name__ == "__main__":
    main()
