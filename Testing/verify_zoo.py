"""Verify models with their real weights: ``python -m Testing.verify_zoo [ID...] -o OUT``.

Without an id every card is taken that downloads its weights and is not verified yet. Each model is installed from its
public address and segments the phantom (a brain extractor: finds its brain) and the cases of ``--cases``; its mean Dice
is put beside the published one. ``OUT/ID.json`` holds what belongs into its card: ``measured``, ``verification`` and
the SHA-256 of each published file; ``--write`` puts it there. docs/models.md says how to send it. A model that cannot
be run is named with the reason, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow, read_table
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.evaluation.metrics import evaluate
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.job import Job
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.perform import perform
from GliomaSegLib.phantom import Phantom, make_phantom
from GliomaSegLib.preprocessing.resampling import resample_labels
from GliomaSegLib.progress import Progress
from GliomaSegLib.resources import resource
from GliomaSegLib.results.layout import LABEL_MAP
from GliomaSegLib.terminal import progress_for_stderr
from GliomaSegLib.zoo.brain_mask import zoo_brain
from GliomaSegLib.zoo.card import Accuracy, Card, Status
from GliomaSegLib.zoo.card_json import card_from
from GliomaSegLib.zoo.catalogue import all_cards, find_card
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.store import Store

PHANTOM = "the phantom (made, no patient)"
_FAR_BELOW = 0.1  # of mean Dice below the published one


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where a model could not be verified."""
    parser = argparse.ArgumentParser(prog="python -m Testing.verify_zoo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("models", metavar="ID", nargs="*")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--cases", type=Path, metavar="CSV", help="a case table with reference labels")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of its paths, if not its own")
    parser.add_argument("--store", type=Path, metavar="DIR", help="where the models are installed")
    parser.add_argument("--from", dest="source", type=Path, metavar="PATH", help="weights that are at hand already")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", action="store_true", help="write what was measured into Resources/models")
    parsed = parser.parse_args(arguments)
    try:
        cards = [find_card(model) for model in parsed.models] or _not_verified()
        rows = read_table(parsed.cases, parsed.root) if parsed.cases else []
    except InputError as error:
        print(f"verify_zoo: {error}", file=sys.stderr)
        return 1
    parsed.output.mkdir(parents=True, exist_ok=True)
    store = Store(parsed.store or default_store())
    phantom = make_phantom()
    phantom.write(parsed.output / "phantom")
    failed = 0
    for card in cards:
        with progress_for_stderr() as progress:
            try:
                store.install(card, parsed.source, progress)
                found = verified(card, store, phantom, rows, parsed.output, parsed.device, progress)
            except GliomaSegError as error:
                failed += 1
                print(f"{card.id}: NOT VERIFIED: {error}")
                continue
        (parsed.output / f"{card.id}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(f"{card.id}: {found['verification']['finding']}")
        if parsed.write:
            _write(card, found)
    return int(failed > 0)


def _not_verified() -> list[Card]:
    return [one for one in all_cards().values() if one.weights.files and one.status is not Status.VERIFIED]


def verified(
    card: Card, store: Store, phantom: Phantom, rows: Sequence[CaseRow], output: Path, device: str, progress: Progress
) -> dict[str, Any]:
    """The fields of the card that running the installed model gives: ``measured``, ``verification``, ``sha256``.

    Args:
        phantom: written to ``output / "phantom"``.
        rows: cases with reference labels.

    Raises:
        GliomaSegError: the model cannot be run.
    """
    today = datetime.now(timezone.utc).date().isoformat()
    command = f"python -m Testing.verify_zoo {card.id}"
    hashes = store.record(card).get("published", {}) if card.weights.files else {}
    common = {"date": today, "command": command}
    if not card.regions:
        volume = _brain_dice(card, store, phantom)
        finding = f"Dice with the phantom's brain {volume:.3f}"
        verification = {"data": PHANTOM, "cases": 1, "finding": finding, **common}
        return {"verification": verification, "sha256": hashes, "measured": []}
    if card.inputs.preoperative:
        raise InputError("it also takes the study before surgery, which neither the phantom nor a case table has.")
    study = {"study": output / "phantom" / "study"}
    dice = [_scores(card, store, study, phantom.reference, output / card.id / "phantom", device, progress)]
    finding = f"Dice on the phantom {_text(_means(dice))}"
    measured: list[dict[str, Any]] = []
    usable = [row for row in rows if set(card.inputs.mandatory) <= set(row.images)]
    found = [_row_scores(card, store, row, output / card.id, device, progress) for row in usable]
    if found:
        sequences = [one for one in card.inputs.sequences if all(one in row.images for row in usable)]
        means = _means(found)
        data = f"{len(found)} cases of {', '.join(sorted({row.hospital for row in usable}))}"
        measured.append(
            {
                "data": data,
                "cases": len(found),
                "sequences": [one.value for one in sequences],
                "dice": {region.value: round(value, 3) for region, value in means.items()},
                "source": command,
                "date": today,
            }
        )
        finding += f"; on {data} {_text(means)}{_beside_published(card, sequences, means)}"
    if passed := len(rows) - len(usable):
        finding += f"; {passed} cases lack a sequence that it needs"
    verification = {"data": f"{PHANTOM} and {len(found)} cases", "cases": 1 + len(found), "finding": finding, **common}
    return {"verification": verification, "sha256": hashes, "measured": measured}


def _row_scores(
    card: Card, store: Store, row: CaseRow, output: Path, device: str, progress: Progress
) -> dict[Region, float]:
    reference = read_labels(row.reference, row.scheme)
    given = {"volumes": dict(row.images)}
    own = [region for region in card.regions if region in row.regions]
    return _scores(card, store, given, reference, output / row.case, device, progress, own)


def _scores(
    card: Card,
    store: Store,
    given: Mapping[str, Any],
    reference: sitk.Image,
    output: Path,
    device: str,
    progress: Progress,
    regions: Sequence[Region] | None = None,
) -> dict[Region, float]:
    """Dice of each region that the model gives, on the grid of the reference labels."""
    when = card.time_points[0]
    job = Job(**given, model=card.id, output=output, store=store.root, device=device, time_point=when, overwrite=True)
    perform(job, progress)
    labels = resample_labels(read_labels(job.output / LABEL_MAP), reference)
    able = card.regions_given(tuple(given.get("volumes", Modality)))
    wanted = [region for region in regions or card.regions if region in able and region is not Region.RC]
    drawn = sitk.GetArrayViewFromImage(reference)
    judged = [region for region in wanted if region_mask(drawn, region).any()]
    return {region: one.dice for region, one in evaluate(labels, reference, judged).items()}


def _brain_dice(card: Card, store: Store, phantom: Phantom) -> float:
    image = phantom.images[Modality.T1C]
    mask = zoo_brain(card.id, torch.device("cpu"), store.root).extract(image)
    drawn = resample_labels(phantom.brain, image)
    first, second = (sitk.GetArrayViewFromImage(one) > 0 for one in (mask, drawn))
    return float(2 * np.sum(first & second) / (np.sum(first) + np.sum(second)))


def _means(scores: Sequence[Mapping[Region, float]]) -> dict[Region, float]:
    regions = dict.fromkeys(region for one in scores for region in one)
    return {region: float(np.mean([one[region] for one in scores if region in one])) for region in regions}


def _text(dice: Mapping[Region, float]) -> str:
    return ", ".join(f"{region.value} {value:.3f}" for region, value in dice.items()) or "not defined"


def _beside_published(card: Card, sequences: Sequence[Modality], means: Mapping[Region, float]) -> str:
    """A clause on the published figure for the same sequences, or the first that there is."""
    same = [one for one in card.published if set(one.sequences) == set(sequences)]
    figure: Accuracy | None = next(iter(same or card.published), None)
    if figure is None:
        return " (nothing is published)"
    common = [region for region in means if region in figure.dice]
    low = any(means[region] < figure.dice[region] - _FAR_BELOW for region in common)
    verdict = ", which is far more: LOOK at the order of the sequences and the orientation" if low else ""
    return f" (published {_text({region: figure.dice[region] for region in common})} on {figure.data}{verdict})"


def _write(card: Card, found: Mapping[str, Any]) -> None:
    """Put the figures into the card that comes with GliomaSeg; of hashes those that no publisher gives."""
    path = resource("models") / f"{card.id}.json"
    content = json.loads(path.read_bytes())
    kept = [one for one in content.get("measured", []) if not one["source"].endswith(f"verify_zoo {card.id}")]
    content["measured"] = kept + list(found["measured"])
    content["verification"] = found["verification"]
    content["status"] = Status.VERIFIED.value
    for file in content["weights"].get("files", []):
        if not file.get("sha256") and not file.get("md5") and file["name"] in found["sha256"]:
            file["sha256"] = found["sha256"][file["name"]]
    card_from(content)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
