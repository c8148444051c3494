"""Ensembles: several models' answers to one case become one, with a map of where they agree."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.consensus import MemberPrediction, agreement, fuse, mean_dice
from GliomaSegLib.job import Install, Job
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.perform import perform
from GliomaSegLib.pipeline.prediction import forget_models
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.progress import Silent
from GliomaSegLib.results.job_result import JobResult
from GliomaSegLib.results.layout import AGREEMENT
from GliomaSegLib.results.reading import read_manifest
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import checked_card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.catalogue import cards_of, find_card
from GliomaSegLib.zoo.loaders import FAMILIES, Family
from GliomaSegLib.zoo.page import describe, table
from GliomaSegLib.zoo.store import Store
from Testing.support import toy
from Testing.support.study import CORE, NECROSIS, TUMOUR, toy_job, toy_labels, write_study

ALL = (Region.WT, Region.TC, Region.ET)
NETC, SNFH, ET, RC = Label.NETC, Label.SNFH, Label.ET, Label.RC


def opinion(*labels: int, regions: tuple[Region, ...] = ALL, **probabilities: list[float]) -> MemberPrediction:
    """One row of voxels."""
    maps = {Region(name): np.array(values, np.float32)[None, None] for name, values in probabilities.items()}
    return MemberPrediction(np.array(labels, np.uint8)[None, None], regions, maps)


def row(array: np.ndarray) -> list[float]:
    return array[0, 0].tolist()


# --- the votes -----------------------------------------------------------------------------------------------------


def test_mean_of_probabilities() -> None:
    first = opinion(SNFH, SNFH, 0, 0, regions=(Region.WT,), WT=[0.9, 0.6, 0.2, 0.1])
    second = opinion(SNFH, 0, 0, SNFH, regions=(Region.WT,), WT=[0.9, 0.3, 0.1, 0.95])
    labels, maps = fuse([first, second], "mean")
    assert row(labels) == [SNFH, 0, 0, SNFH]
    assert row(maps[Region.WT]) == pytest.approx([0.9, 0.45, 0.15, 0.525])


def test_labels_stand_for_probabilities_where_a_model_has_none() -> None:
    labels, maps = fuse([opinion(SNFH, SNFH), opinion(0, 0, WT=[0.2, 0.0])], "mean")
    assert row(maps[Region.WT]) == pytest.approx([0.6, 0.5])
    assert row(labels) == [SNFH, SNFH]


def test_majority_of_three_and_of_two() -> None:
    opinions = [opinion(ET, ET, NETC, SNFH), opinion(ET, NETC, 0, SNFH), opinion(ET, SNFH, 0, 0)]
    assert row(fuse(opinions, "majority")[0]) == [ET, NETC, 0, SNFH]
    assert row(fuse(opinions[:2], "majority")[0]) == [ET, NETC, 0, SNFH], "with two by both"


def test_staple_believes_the_two_that_agree() -> None:
    labels = np.zeros((3, 12, 12), np.uint8)
    labels[:, 3:9, 3:9] = SNFH
    other = np.zeros_like(labels)
    other[:, 8:11, 8:11] = SNFH
    opinions = [MemberPrediction(one, (Region.WT,)) for one in (labels, labels.copy(), other)]
    found, maps = fuse(opinions, "staple")
    np.testing.assert_array_equal(found, labels)
    assert set(np.unique(maps[Region.WT])) == {0, 1}


def test_a_region_is_decided_by_the_models_that_give_it() -> None:
    whole = opinion(SNFH, SNFH, SNFH, regions=(Region.WT,))
    parts = opinion(ET, NETC, 0)
    cavity = opinion(0, 0, RC, regions=(Region.RC,))
    assert row(fuse([whole, parts], "majority")[0]) == [ET, NETC, 0]
    labels, maps = fuse([whole, parts, cavity], "mean")
    assert row(labels) == [ET, NETC, RC]
    assert set(maps) == {*ALL, Region.RC}


def test_enhancing_tumour_that_wins_its_vote_is_core_and_tumour() -> None:
    first = opinion(ET, TC=[0.3], WT=[0.3], ET=[0.9])
    assert row(fuse([first, opinion(0, ET=[0.3])], "mean")[0]) == [ET]


# --- how far they agree --------------------------------------------------------------------------------------------


def test_agreement_is_the_least_share_over_the_regions() -> None:
    opinions = [opinion(ET, ET, 0, SNFH), opinion(ET, NETC, 0, 0), opinion(ET, ET, SNFH, 0), opinion(ET, ET, 0, 0)]
    answer = np.array([ET, ET, 0, 0], np.uint8)[None, None]
    assert row(agreement(answer, opinions)) == [100, 75, 75, 75]
    whole = opinion(SNFH, SNFH, 0, 0, regions=(Region.WT,))
    assert row(agreement(answer, [opinion(ET, ET, 0, 0), whole])) == [100] * 4, "it says nothing of the parts"


def test_mean_dice_of_every_pair() -> None:
    found = mean_dice([opinion(SNFH, SNFH, 0), opinion(SNFH, 0, 0), opinion(SNFH, SNFH, 0, regions=(Region.WT,))])
    assert found[Region.WT] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert found[Region.ET] == 1, "both mark nothing"
    assert Region.RC not in found


# --- in the pipeline -------------------------------------------------------------------------------------------------

SAME = b"545 560 900\n"
SEES_NO_ENHANCEMENT = b"545 560 5000\n"


def ensemble(card: Card, *members: str, vote: str = "mean", **changes: object) -> Card:
    own = {
        "id": "together",
        "space": None,
        "network": {"family": "ensemble", "parameters": {"vote": vote}},
        "weights": {"members": members, "licence": "CC0-1.0", "attribution": "none"},
    }
    return checked_card(json.loads(card_text(card)) | own | changes)


def write(folder: Path, card: Card) -> Path:
    path = folder / f"{card.id}.json"
    path.write_text(card_text(card))
    return path


@pytest.fixture
def store(toy_card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with two toys: the usual one, and one on a finer lattice that never finds enhancing tumour."""
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    forget_models()
    store = Store(tmp_path / "models")
    for name, weights, spacing in (("first", SAME, 3.0), ("second", SEES_NO_ENHANCEMENT, 1.5)):
        file = replace(toy_card.weights.files[0], sha256=None, size_bytes=None)
        changed = {
            "id": name,
            "title": f"Toy {name}",
            "training": f"Trained on {name}.",
            "weights": replace(toy_card.weights, files=(file,)),
            "space": replace(toy_card.space, spacing_mm=(spacing,) * 3),
        }
        published = tmp_path / name
        published.mkdir()
        (published / toy.PUBLISHED_FILE).write_bytes(weights)
        store.install(store.add(write(tmp_path, replace(toy_card, **changed))), published)
    return store


def job(store: Store, folder: Path, **fields: object) -> Job:
    return toy_job(store, folder / "out", **({"study": write_study(folder / "study"), "model": "together"} | fields))


def array(result: JobResult, key: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(result.files[key])))


def test_of_each_member_it_is_said_whether_what_was_given_was_installed(
    store: Store, toy_card: Card, tmp_path: Path
) -> None:
    """From a pack that holds one of two members; from one that holds none nothing is installed."""
    store.add(write(tmp_path, ensemble(toy_card, "first", "second")))
    packed = tmp_path / "stick.zip"
    store.export([find_card("second", store.root)], packed, Silent())
    before = {one: store.record(find_card(one, store.root))["installed"] for one in ("first", "second")}
    (store.root / "second" / "weights.safetensors").write_bytes(b"damaged")
    installed = perform(Install(model="together", store=store.root, source=packed))
    assert installed.members == (
        f"first is installed in {store.root / 'first'} and stays as it is, because {packed} does not hold it.",
        f"second is installed in {store.root / 'second'}.",
    )
    assert store.weights(find_card("second", store.root)).is_file(), "sound again"
    assert store.record(find_card("first", store.root))["installed"] == before["first"]
    with pytest.raises(InputError, match=r"Nothing of 'together' was installed: 'first' is installed in .* does not"):
        perform(Install(model="together", store=store.root, source=tmp_path / "out"))
    assert "second is installed" in perform(Install(model="together", store=store.root)).members[1]


def test_a_member_that_comes_with_gliomaseg_stays(store: Store, toy_card: Card, tmp_path: Path) -> None:
    store.add(write(tmp_path, ensemble(toy_card, "gliomaseg-any-v2", "first")))
    stay = store.members_that_stay(find_card("together", store.root), tmp_path / "first")
    assert stay == {"gliomaseg-any-v2": "comes with GliomaSeg and stays as it is"}, "the other one is there to install"


@pytest.mark.parametrize(("vote", "core"), [("mean", Label.ET), ("majority", Label.SNFH)])
def test_members_are_run_on_their_own_lattices_and_fused(
    store: Store, toy_card: Card, tmp_path: Path, vote: str, core: Label
) -> None:
    store.add(write(tmp_path, ensemble(toy_card, "first", "second", vote=vote)))
    asked = job(store, tmp_path)
    result = run(asked)
    expected = toy_labels()
    expected[expected == Label.ET] = core  # with the mean one of two is enough, with the majority it is not
    found = array(result, "label_map")
    assert (found == expected).mean() > 0.99
    centre = (CORE[0].start, CORE[1].start + 1, CORE[2].start + 1)
    assert found[centre] == core
    agreed = array(result, "agreement")
    assert result.files["agreement"].name == AGREEMENT
    assert agreed[centre] == 50
    assert agreed[0, 0, 0] == agreed[NECROSIS[0].start, NECROSIS[1].start, NECROSIS[2].start] == 100
    assert agreed[TUMOUR[0].start + 1, TUMOUR[1].start + 1, TUMOUR[2].start + 1] == 100
    assert [text for text in result.warnings if "disagree on ET (Dice of one against the other 0.00)" in text]
    assert not [text for text in result.warnings if "disagree on WT" in text]
    manifest = read_manifest(asked.output)
    assert [member.id for member in manifest.model.members] == ["first", "second"]
    assert manifest.model.weights_sha256 == store.weights_sha256(find_card("together", store.root))
    assert len({manifest.model.weights_sha256, *(one.weights_sha256 for one in manifest.model.members)}) == 3
    report = unescape(result.files["report"].read_text())
    assert "Toy first (first 1)" in report
    assert "Trained on second." in report
    assert "probability_WT" in result.files


def test_an_ensemble_survives_a_refresh(store: Store, toy_card: Card, tmp_path: Path) -> None:
    from GliomaSegLib.results.update import refresh

    store.add(write(tmp_path, ensemble(toy_card, "first", "second")))
    result = run(job(store, tmp_path))
    again = refresh(result.output)
    assert again.files.keys() == result.files.keys()
    assert again.measures == result.measures


def test_a_member_that_cannot_take_the_case_refuses_it(store: Store, toy_card: Card, tmp_path: Path) -> None:
    strict = replace(toy_card, id="strict", inputs=replace(toy_card.inputs, mandatory=(Modality.T1C,)))
    store.install(store.add(write(tmp_path, strict)), _published(tmp_path))
    store.add(write(tmp_path, ensemble(toy_card, "first", "strict")))
    with pytest.raises(InputError, match=r"The model 'strict' cannot work without T1 \+ contrast"):
        run(job(store, tmp_path, leave_out=(Modality.T1C,)))
    assert not (tmp_path / "out").exists()


def _published(folder: Path) -> Path:
    published = folder / "strict-files"
    published.mkdir()
    (published / toy.PUBLISHED_FILE).write_bytes(SAME)
    return published


def test_a_member_that_is_not_installed_is_named(store: Store, toy_card: Card, tmp_path: Path) -> None:
    store.remove(find_card("second", store.root))
    store.add(write(tmp_path, renamed(toy_card, "second")))
    card = store.add(write(tmp_path, ensemble(toy_card, "first", "second")))
    assert not store.is_installed(card)
    with pytest.raises(WeightsError, match="'second' are not installed; run 'gliomaseg models install second'"):
        run(job(store, tmp_path))


def renamed(card: Card, name: str) -> Card:
    return replace(card, id=name)


def test_installing_an_ensemble_installs_its_members(
    toy_card: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    store = Store(tmp_path / "models")
    for name in ("first", "second"):
        store.add(write(tmp_path, renamed(toy_card, name)))
    card = store.add(write(tmp_path, ensemble(toy_card, "first", "second")))
    assert not store.is_installed(card)
    store.install(card, toy_files)
    assert store.is_installed(card)
    store.weights(card)
    (store.weights(find_card("second", store.root))).write_bytes(b"x")
    with pytest.raises(WeightsError, match="second are damaged"):
        store.weights(card)
    store.remove(card)
    assert store.is_installed(find_card("first", store.root)), "its members stay"
    with pytest.raises(InputError, match="There is no model 'together'"):
        find_card("together", store.root)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (("first", "nobody"), "There is no model 'nobody'"),
        (("first", "deepbet"), "'deepbet' cannot be a member of 'together'"),
        (("first", "gliomaseg-duo-v2"), "'gliomaseg-duo-v2' cannot be a member of 'together'"),
    ],
)
def test_members_that_cannot_be(
    store: Store, toy_card: Card, tmp_path: Path, members: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        store.add(write(tmp_path, ensemble(toy_card, *members)))
    assert "together" not in cards_of(store.root)


def test_the_shipped_ensemble_has_no_weights_to_remove(tmp_path: Path) -> None:
    card = find_card("gliomaseg-duo-v2")
    with pytest.raises(InputError, match="has no weights of its own; remove 'ca-cnn-brats17' and 'gliomaseg-any-v2'"):
        Store(tmp_path).remove(card)
    assert "Members     ca-cnn-brats17, gliomaseg-any-v2; vote: mean" in describe(card)
    assert "fuses ca-cnn-brats17 and gliomaseg-any-v2, those of its members" in table([card])


# --- the model that a run takes by itself ----------------------------------------------------------------------------


def proven(card: Card, name: str, dice: float) -> Card:
    sequences = ("t2f", "t1c")
    measured = [{"data": "SET", "cases": 3, "sequences": sequences, "dice": {"WT": dice}, "source": "a test"}]
    changes = {"id": name, "status": "verified", "measured": measured, "task": "schwannoma"}
    return checked_card(json.loads(card_text(card)) | changes)


def test_the_best_installed_model_runs_when_nobody_names_one(
    toy_card: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    store = Store(tmp_path / "models")
    for name, dice, installed in (("good", 0.8, True), ("poor", 0.5, True), ("best", 0.9, False)):
        card = store.add(write(tmp_path, proven(toy_card, name, dice)))
        if installed:
            store.install(card, toy_files)
    asked = job(store, tmp_path, model="auto", task="schwannoma")
    result = run(asked)
    assert result.model == "good"
    assert result.choice.startswith("good was chosen: mean Dice WT 0.80, measured with just these sequences on 3 cases")
    assert "Not installed is best: mean Dice WT 0.90" in result.choice
    manifest = json.loads((asked.output / "manifest.json").read_text())
    assert (manifest["choice"], manifest["job"]["model"]) == (result.choice, "auto")
    assert result.choice in unescape(result.files["report"].read_text())
    with pytest.raises(InputError, match=r"No model that is installed and proven takes T1 [+] contrast, FLAIR for the"):
        run(asked.model_copy(update={"task": "meningioma", "output": tmp_path / "other"}))
    assert not (tmp_path / "other").exists()


def test_a_model_that_is_named_is_not_explained(store: Store, tmp_path: Path) -> None:
    result = run(job(store, tmp_path, model="first"))
    assert result.choice is None
    assert "agreement" not in result.files
