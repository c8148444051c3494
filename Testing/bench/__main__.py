"""``python -m Testing.bench [PART…]``; without a part, those that README quotes."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable

import torch

from Testing.bench import (
    accuracy,
    attack,
    cohort,
    dicom,
    distance,
    engine,
    ensemble,
    evaluation,
    node,
    page,
    processes,
    registration,
    resection,
    scene,
    speed,
    training,
)
from Testing.bench.cases import SHARED

PARTS: dict[str, Callable[[], None]] = {
    "peak": speed.peak,
    "stages": speed.stages,
    "processes": processes.processes,
    "engine": engine.engine,
    "memory": engine.memory,
    "network": speed.network,
    "registration": registration.mirror_contrast,
    "brats": accuracy.brats,
    "seeds": accuracy.seeds,
    "subsets": accuracy.subsets,
    "clinic": accuracy.clinic,
    "scene": scene.around,
    "dicom": dicom.objects,
    "any-subset": accuracy.own,
    "any-subset-card": accuracy.own_card,
    "any-subset-duo": accuracy.duo,
    "any-subset-duo-card": accuracy.duo_card,
    "any-subset-published": accuracy.published,
    "distance": distance.distance,
    "ensemble": ensemble.members_and_votes,
    "training": training.throughput,
    "skull": accuracy.skull,
    "clinic-without-flair": accuracy.clinic_without_flair,
    "resection": resection.simulated,
    "simulated-residual": resection.simulated_residual,
    "treated": resection.treated,
    "cohort": cohort.broken,
    "kills": cohort.kills,
    "dask": cohort.dask,
    "node": node.node,
    "attack": attack.reception,
    "malformed": attack.malformed,
    "page": page.page,
    "evaluate": evaluation.evaluate,
}
QUOTED = ("peak", "network", "stages", "processes", "brats", "clinic")


def main() -> None:
    """Run the parts that were asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m Testing.bench")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or QUOTED
    if not (SHARED / "data").is_dir():
        parser.exit(1, f"There is no real data in {SHARED}; set GLIOMASEG_SHARED to the folder that has it.\n")
    print(f"{speed.processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.platform()}")
    for part in chosen:
        print(f"\n## {part}: {PARTS[part].__doc__.splitlines()[0]}", flush=True)
        PARTS[part]()


if __name__ == "__main__":
    main()
