"""Which model for a case: what comes first, what a run takes by itself, and what is said of each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.cli.main import main
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Purpose
from GliomaSegLib.zoo.card import Accuracy, Card, Parity, Status, Verification
from GliomaSegLib.zoo.catalogue import tumour_models
from GliomaSegLib.zoo.recommend import Recommendation, best_installed, choose_model, recommend, task_at, why_chosen
from GliomaSegLib.zoo.store import Store
from Testing.support.study import write_study

T1N, T1C, T2W, T2F = Modality
TASK = "preoperative-glioma"
SHIPPED = {card.id: card for card in tumour_models()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def installed_in(store: Store, *models: str) -> Store:
    """A store in which these models are installed, as far as the ranking looks."""
    for model in models:
        (store.root / model).mkdir(parents=True)
        (store.root / model / "installed.json").write_text("{}")
    return store


def figure(*sequences: Modality, data: str = "SET", **dice: float) -> Accuracy:
    by_region = {Region(name): value for name, value in dice.items()}
    return Accuracy(data=data, cases=7, sequences=sequences, dice=by_region, source="a test")


def model(
    identifier: str,
    *measured: Accuracy,
    status: Status = Status.VERIFIED,
    mandatory: tuple[Modality, ...] = (),
    regions: tuple[Region, ...] = (),
) -> Card:
    """A model like CA-CNN that is at hand."""
    like = SHIPPED["ca-cnn-brats17"]
    return dataclasses.replace(
        like,
        id=identifier,
        status=status,
        measured=measured,
        verification=VERIFICATION,
        parity=PARITY,
        regions=regions or like.regions,
        inputs=dataclasses.replace(like.inputs, mandatory=mandatory),
        published=(),
        weights=SHIPPED["gliomaseg-any-v2"].weights,
    )


VERIFICATION = Verification(data="SET", cases=1, date="2026-11-20", command="c", finding="f")
PARITY = Parity(package="p", version="1", date="2026-11-20", voxels=9, mismatches=0, command="c")


def ids(ranking: tuple[Recommendation, ...]) -> list[str]:
    return [one.card.id for one in ranking]


def chosen(store: Store, *present: Modality) -> str:
    return choose_model(store, present).card.id


# --- the zoo as it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [(T1N, T1C, T2W), (T1C, T2W), (T1N, T1C), (T1C,), (T1N,), (T1C, T2F)], ids=str)
def test_without_flair_or_with_t1c_and_flair_alone_the_model_that_ships(
    store: Store, present: tuple[Modality, ...]
) -> None:
    assert chosen(installed_in(store, "ca-cnn-brats17"), *present) == "gliomaseg-any-v2"


def test_without_any_installation_there_is_the_model_that_ships_and_the_better_one_is_named(store: Store) -> None:
    present = tuple(Modality)
    ranking = recommend(tumour_models(), store, present, TASK)
    best = best_installed(ranking, present, TASK)
    assert best.card.id == "gliomaseg-any-v2"
    sentence = why_chosen(best, ranking)
    assert sentence.startswith("gliomaseg-any-v2 was chosen: mean Dice WT 0.")
    assert f" Not installed is {ranking[0].card.id}: " in sentence
    assert ranking[0].card.id != "gliomaseg-any-v2"


def test_a_study_after_surgery_is_not_given_to_models_of_before(store: Store) -> None:
    after = TimePointKind.POSTOPERATIVE
    assert task_at(after) == "postoperative-glioma"
    ranking = recommend(tumour_models(), store, (T1C,), task_at(after), after)
    assert {one.card.task for one in ranking} == {"postoperative-glioma"}
    with pytest.raises(
        InputError, match=r"'raidionics-postop' does: run 'gliomaseg models install raidionics-postop'\.$"
    ):
        best_installed(ranking, (T1C,), task_at(after))
    everything = recommend(tumour_models(), store, (T1C,), time_point=after)
    late = next(one for one in everything if one.card.id == "gliomaseg-any-v2")
    assert late.why == "The model 'gliomaseg-any-v2' is made for preoperative studies; this one is postoperative."


def test_a_demonstration_is_never_taken_by_itself(store: Store) -> None:
    (mets,) = recommend([SHIPPED["gliomaseg-mets-v1"]], store, (T1C,), "metastasis")
    assert mets.installed
    assert not mets.unsuited
    with pytest.raises(InputError, match=r"'gliomaseg-mets-v1' does, but it is a demonstration, .* named \(--model\)"):
        best_installed((mets,), (T1C,), "metastasis")


def test_what_cannot_take_the_case_comes_last_with_what_is_missing(store: Store) -> None:
    ranking = recommend(tumour_models(), store, (T1C, T2F), TASK)
    unsuited = [one for one in ranking if one.unsuited]
    assert ranking[-len(unsuited) :] == tuple(unsuited)
    bundle = next(one for one in unsuited if one.card.id == "monai-brats18-segresnet")
    assert bundle.regions == ()
    assert bundle.why.startswith("The model 'monai-brats18-segresnet' cannot work without T1 (t1n)")


def test_a_case_that_nothing_can_take_is_refused_with_the_reason(store: Store) -> None:
    bundle = SHIPPED["monai-brats18-segresnet"]
    with pytest.raises(InputError, match=r"takes T2 for the task preoperative-glioma: The model 'monai.*without T1"):
        best_installed(recommend([bundle], store, (T2W,), TASK), (T2W,), TASK)
    with pytest.raises(InputError, match=r"takes T2 for the task schwannoma; the zoo has none for this task\.$"):
        best_installed((), (T2W,), "schwannoma")


@pytest.mark.parametrize(
    ("purpose", "order", "dice", "balanced"),
    [
        (Purpose.VOLUME, ["raidionics-postop-4p", "raidionics-postop", "raidionics-postop-5p"], "ET 0.40", None),
        (Purpose.RESIDUAL, ["raidionics-postop-5p", "raidionics-postop-4p", "raidionics-postop"], "ET 0.37", 0.7664),
    ],
)
def test_after_surgery_the_purpose_decides_among_equally_proven_models(
    store: Store, purpose: Purpose, order: list[str], dice: str, balanced: float | None
) -> None:
    """Helland 2023, tables 3 and 4, AGU-Net, 883 patients. Dice: D .410, B .397, E .394; balanced accuracy: E .791,
    D .779, C .766. The zoo's C is proven and its D and E are not, so as the zoo is, C comes first."""
    present, after = (T1N, T1C, T2F), TimePointKind.POSTOPERATIVE
    zoo = [SHIPPED[name] for name in order]
    alike = [
        dataclasses.replace(card, status=Status.PARITY, parity=PARITY) for card in sorted(zoo, key=lambda card: card.id)
    ]
    ranking = recommend(alike, store, present, task_at(after), after, earlier=True, purpose=purpose)
    assert ids(ranking) == order
    as_it_is = recommend(zoo, store, present, task_at(after), after, earlier=True, purpose=purpose)
    assert ids(as_it_is)[0] == "raidionics-postop"
    first = as_it_is[0]
    assert f"published is {dice} on 883 cases" in first.why
    assert first.as_record()["balanced_accuracy"] == balanced
    said = "tells residual tumour from none with a balanced accuracy of 0.77 (published, 883 cases of Helland 2023"
    assert (said in first.why) is (purpose is Purpose.RESIDUAL)


def test_without_the_study_before_surgery_the_models_that_look_at_it_come_last(store: Store) -> None:
    after = TimePointKind.POSTOPERATIVE
    ranking = recommend(tumour_models(), store, (T1N, T1C, T2F), task_at(after), after, purpose=Purpose.RESIDUAL)
    assert ids(ranking)[0] == "raidionics-postop"
    assert all("--preoperative" in one.unsuited for one in ranking[1:])


# --- the order -----------------------------------------------------------------------------------------------------


def test_the_better_proven_comes_before_the_better_figure(store: Store) -> None:
    ranking = recommend(
        [
            model("a", figure(T2F, WT=0.9), status=Status.DEMONSTRATION),
            model("b", figure(T2F, WT=0.9), status=Status.UNPROVEN),
            model("c", status=Status.PARITY),
            model("d"),
            model("e", figure(T2F, WT=0.2)),
        ],
        store,
        (T2F,),
    )
    assert ids(ranking) == ["e", "d", "c", "b", "a"]
    assert [one.chosen_by_itself for one in ranking] == [True, True, True, False, False]


def test_a_region_that_a_model_does_not_give_counts_as_nothing(store: Store) -> None:
    both = (T1C, T2F)
    whole = model("whole", figure(*both, WT=0.9), regions=(Region.WT,))
    parts = model("parts", figure(*both, WT=0.7, TC=0.6, ET=0.6))
    assert ids(recommend([whole, parts], store, both)) == ["parts", "whole"]
    assert ids(recommend([whole, parts], store, (T2F,))) == ["parts", "whole"], "neither was measured so"


def test_figures_of_the_same_cases_count_where_there_are_some(store: Store) -> None:
    own = model("own", figure(T2F, data="EASY", WT=0.9), figure(T2F, data="SHARED", WT=0.6))
    other = model("other", figure(T2F, data="SHARED", WT=0.7))
    ranking = recommend([own, other], store, (T2F,))
    assert ids(ranking) == ["other", "own"]
    assert ranking[1].figure.data == "SHARED"
    assert ids(recommend([own, model("third", figure(T2F, data="HARD", WT=0.7))], store, (T2F,))) == ["own", "third"]


def test_a_model_of_which_it_is_not_known_how_it_tells_residual_tumour_comes_after_those_of_which_it_is(
    store: Store,
) -> None:
    judged = dataclasses.replace(figure(T1C, ET=0.3), balanced_accuracy=0.6)
    known, unknown = model("known", judged), model("unknown", figure(T1C, ET=0.9))
    volume, residual = (recommend([known, unknown], store, (T1C,), purpose=purpose) for purpose in Purpose)
    assert ids(volume) == ["unknown", "known"]
    assert ids(residual) == ["known", "unknown"]
    assert "with a balanced accuracy of 0.60 (measured, 7 cases of SET)" in residual[0].why
    assert residual[1].why.startswith("How well it tells whether anything is left is not known; mean Dice ET 0.90")


def test_all_sequences_are_meant_while_nobody_knows_them(store: Store) -> None:
    full = SHIPPED["ca-cnn-brats17"].inputs.sequences
    good, bad = model("z", figure(*full, WT=0.9)), model("a", figure(*full, WT=0.8), mandatory=full)
    assert ids(recommend([bad, good], store)) == ["z", "a"]


def test_the_sentence_says_accuracy_proof_installation_and_licence(store: Store) -> None:
    (one,) = recommend([SHIPPED["ca-cnn-brats17"]], store, (T1N, T2F), TASK)
    assert one.why.startswith(
        "Mean Dice WT 0.82, measured with just these sequences on 4 cases of BraTS 2021 training; "
    )
    assert "it cannot give TC and ET; it ran on real images" in one.why
    assert one.why.endswith("; it is not installed; licence of the weights: BSD-3-Clause.")
    (bundle,) = recommend([SHIPPED["monai-brats18-segresnet"]], store, tuple(Modality), TASK)
    assert "was not measured, published is TC 0.86, WT 0.90, ET 0.79 on 42 cases of" in bundle.why


# --- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs ``gliomaseg models recommend``; returns its exit status, standard output and standard error."""
    monkeypatch.setattr("GliomaSegLib.cli.main.cancel_when_terminated", lambda: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main(["models", "recommend", *map(str, arguments)])
        output = capfd.readouterr()
        return status, output.out, output.err

    return run


def test_the_ranking_is_printed_with_what_segment_takes(command: Callable[..., tuple], tmp_path: Path) -> None:
    status, out, _ = command("--t1n", "--t1c", "--t2w", "--store", tmp_path)
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == "T1, T1 + contrast, T2; preoperative-glioma"
    assert lines[1].startswith("  1  gliomaseg-any-v2: Mean Dice WT 0.")
    assert any(line.startswith("  –  auto3dseg-brats-gli: The model") for line in lines)
    assert lines[-1] == "'gliomaseg segment' takes gliomaseg-any-v2."


def test_the_sequences_of_a_study_are_looked_for(command: Callable[..., tuple], tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    status, out, _ = command(study, "--store", tmp_path / "models")
    assert (status, out.splitlines()[0]) == (0, "T1 + contrast, FLAIR; preoperative-glioma")
    status, _, err = command(study, "--t1c", "--store", tmp_path / "models")
    assert status == 1
    assert "give the study alone, or say which sequences there are" in err


def test_the_purpose_and_the_study_before_surgery(command: Callable[..., tuple], tmp_path: Path) -> None:
    case = ("--t1n", "--t1c", "--t2f", "--store", tmp_path, "--preoperative", "--json")
    ranking = {purpose: json.loads(command(*case, "--purpose", purpose)[1]) for purpose in Purpose.values()}
    for models in ranking.values():
        assert {one["task"] for one in models} == {"postoperative-glioma"}
        assert not any(one["unsuited"] for one in models)
    unproven = {
        purpose: [one["id"] for one in models if one["status"] == "unproven"] for purpose, models in ranking.items()
    }
    assert unproven["volume"] == ["raidionics-postop-4p", "raidionics-postop-5p"]
    assert unproven["residual"] == ["raidionics-postop-5p", "raidionics-postop-4p"]


def test_the_ranking_as_json(command: Callable[..., tuple], tmp_path: Path) -> None:
    ranking = json.loads(command("--t1c", "--task", "metastasis", "--store", tmp_path, "--json")[1])
    assert {one["task"] for one in ranking} == {"metastasis"}
    mets = next(one for one in ranking if one["id"] == "gliomaseg-mets-v1")
    assert (mets["status"], mets["installed"], mets["regions"], mets["unsuited"]) == (
        "demonstration",
        True,
        ["ET"],
        None,
    )
    assert command("--t1c", "--task", "metastasis", "--store", tmp_path)[1].endswith("none is installed and proven.\n")
