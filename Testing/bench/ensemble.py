"""What an ensemble brings over each of its members, on few real cases that no shipped weights were trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.datasets.prepared_case import kept_prepared
from GliomaSegLib.inference.consensus import MemberPrediction, fuse, mean_dice
from GliomaSegLib.inference.device import choose_precision
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.pipeline.prediction import load_model
from GliomaSegLib.postprocessing import clean_labels
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import find_card
from Testing.bench.accuracy import T1C, T1N, T2F, T2W, cache, development_cases, unseen
from Testing.bench.cases import DUO, store

SEED = 1
FULL, WITHOUT_T2 = (T1N, T1C, T2W, T2F), (T1N, T1C, T2F)
CPU = torch.device("cpu")


def members_and_votes() -> None:
    """gliomaseg-duo-v2, its members and other votes on two BraTS 2021 test cases and four clinical patients."""
    card, installed = find_card(DUO), store()
    members = installed.members(card)
    for hospital, subset, most in (("brats2021", FULL, 2), ("tcga-", WITHOUT_T2, 4)):
        found: dict[str, dict[Region, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in unseen(development_cases(hospital))[:most]:
            for name, labels in _answers(card, members, row, subset).items():
                for region, dice in _dice(labels, row).items():
                    found[name][region].append(dice)
                    print(f"  {row.case} {name:<18} {region.value} {dice:.3f}", flush=True)
        for name, regions in found.items():
            means = "  ".join(f"{one.value} {np.mean(all_):.3f} (n {len(all_)})" for one, all_ in regions.items())
            print(f"{hospital} {'+'.join(one.value for one in subset)} {name}: mean Dice {means}", flush=True)


def _answers(
    card: Card, members: tuple[Card, ...], row: CaseRow, subset: tuple[Modality, ...]
) -> Mapping[str, NDArray[np.uint8]]:
    """The labels of each member, cleaned as its card says, and of the votes, cleaned as the ensemble's says."""
    placed = kept_prepared(row, cache(), CPU)
    files = {sequence: sitk.ReadImage(str(placed.images[sequence]), sitk.sitkFloat32) for sequence in subset}
    images = {sequence: sitk.GetArrayFromImage(image) for sequence, image in files.items()}
    opinions = {}
    for member in members:
        segmenter = load_model(member.id, store().weights(member), CPU, choose_precision(CPU))
        found = segmenter.predict(images, Silent(), SEED)
        labels = clean_labels(found.labels, (1.0, 1.0, 1.0), **asdict(member.postprocessing))
        opinions[member.id] = MemberPrediction(labels, member.regions_given(subset), found.probabilities)
    agreed = ", ".join(f"{region.value} {dice:.2f}" for region, dice in mean_dice(list(opinions.values())).items())
    print(f"  {row.case} members among themselves: {agreed}", flush=True)
    votes = {
        vote: clean_labels(fuse(list(opinions.values()), vote)[0], (1.0, 1.0, 1.0), **asdict(card.postprocessing))
        for vote in ("mean", "majority", "staple")
    }
    return {name: one.labels for name, one in opinions.items()} | votes


def _dice(labels: NDArray[np.uint8], row: CaseRow) -> dict[Region, float]:
    """Of the regions that the reference knows and has."""
    path = kept_prepared(row, cache(), CPU).reference
    reference_labels = sitk.GetArrayFromImage(read_labels(path, row.scheme))
    scores = {}
    for region in row.regions:
        drawn, marked = region_mask(reference_labels, region), region_mask(labels, region)
        if drawn.any() and region is not Region.RC:
            scores[region] = 2 * np.count_nonzero(drawn & marked) / (drawn.sum() + marked.sum())
    return scores
