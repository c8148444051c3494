"""What the panel allows, fills in and shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from GliomaSegPanel.decisions.comparison import answers_html, can_compare, compared_rows
from GliomaSegPanel.decisions.export import can_export, can_keep_numbers
from GliomaSegPanel.decisions.images import fill_in, missing_cost, name_conflicts
from GliomaSegPanel.decisions.model_page import card_html
from GliomaSegPanel.decisions.models import (
    ask_before_use,
    can_download,
    can_remove_model,
    model_choices,
    task_titles,
)
from GliomaSegPanel.decisions.progress import ProgressState
from GliomaSegPanel.decisions.result import (
    can_change_lesion,
    can_finish,
    can_measure,
    can_redo,
    can_threshold,
    can_undo,
    lesion_row,
    volume_rows,
)
from GliomaSegPanel.decisions.review import can_review, review_text
from GliomaSegPanel.decisions.run import can_apply, can_cancel
from GliomaSegPanel.decisions.situation import EarlierStudy, ShownResult, Situation, Work, shows_earlier

from GliomaSegLib.case import Modality, Preoperative, TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Task
from GliomaSegLib.study.better_volume import VolumeShape
from GliomaSegLib.zoo.card import Accuracy, Card, Inputs, Status
from GliomaSegLib.zoo.card_network import NetworkSpec, Space
from GliomaSegLib.zoo.card_weights import WeightFile, Weights
from GliomaSegLib.zoo.catalogue import find_card, tumour_models
from GliomaSegLib.zoo.store import Store

T1N, T1C, T2W, T2F = Modality
STAGES = ("export", "reading", "registration", "brain extraction", "segmentation", "measures and report", "scene")
CARD = find_card("ca-cnn-brats17")
ALL = {T1N: "1", T1C: "2", T2W: "3", T2F: "4"}
READY = Situation(chosen=ALL, card=CARD, installed=True)


def demanding(title: str = "Demanding", size_bytes: int = 2_100_000_000, **changes: object) -> Card:
    """A model that cannot do without T1c, for the time after surgery."""
    file = WeightFile(name="weights.pth", size_bytes=size_bytes)
    figure = Accuracy(
        data="tests", cases=3, sequences=(T1C, T2F), dice={Region.WT: 0.5}, source="a test", remark="Only a <test>."
    )
    card = Card(
        id=title.lower(),
        title=title,
        version="2",
        summary="s",
        status=Status.UNPROVEN,
        task=Task.POSTOPERATIVE_GLIOMA,
        time_points=(),
        inputs=Inputs(sequences=(T1C, T2F), mandatory=(T1C,)),
        space=Space(spacing_mm=None),
        network=NetworkSpec(family="nnunet"),
        regions=(Region.WT,),
        weights=Weights(files=(file,), licence="CC BY", attribution="A & B"),
        licence="MIT",
        citation="C",
        measured=(figure,),
    )
    return dataclasses.replace(card, **changes)


def shown(**changes: object) -> ShownResult:
    return dataclasses.replace(ShownResult(Path("out"), has_files=True, review="draft", thresholdable=True), **changes)


# --- images ----------------------------------------------------------------------------------------------------------


def test_the_sequences_are_filled_in_from_the_names_and_the_reason_is_reported() -> None:
    names = {"v1": "ax T1 pre", "v2": "ax T1 post gad", "v3": "ax T2 TSE", "v4": "sag FLAIR", "v5": "ADC map"}
    found = fill_in(names, {})
    assert {sequence: choice.node_id for sequence, choice in found.items()} == {
        T1N: "v1", T1C: "v2", T2W: "v3", T2F: "v4"
    }  # fmt: skip
    assert "gad" in found[T1C].tooltip
    assert "%" in found[T1C].tooltip


def test_what_is_chosen_stays_and_is_not_taken_twice() -> None:
    names = {"v2": "T1 post gad", "v4": "FLAIR", "v5": "FLAIR again"}
    found = fill_in(names, {T2F: "v5", T1C: "v2"})
    assert found == {}


def test_what_the_user_left_open_is_not_filled_in_again() -> None:
    names = {"v2": "T1 post gad", "v4": "FLAIR"}
    assert set(fill_in(names, {}, left_open=[T2F])) == {T1C}


def test_of_two_volumes_of_one_sequence_the_better_one_is_chosen_and_the_user_is_asked() -> None:
    names = {"a": "T1_GD_cor", "b": "T1_GD", "c": "FLAIR"}
    coarse = VolumeShape(spacing_mm=(0.5, 0.5, 6.0), plane="coronal")
    fine = VolumeShape(spacing_mm=(1.0, 1.0, 1.0), plane="axial")
    found = fill_in(names, {}, shapes={"a": coarse, "b": fine})
    assert found[T1C].node_id == "b"
    assert found[T1C].question == (
        "2 volumes may be T1 + contrast: 'T1_GD_cor', 'T1_GD'; 'T1_GD' is chosen, choose another one if it is wrong."
    )
    assert fill_in(names, {}, shapes={"a": fine, "b": coarse})[T1C].node_id == "a"
    assert found[T2F].question == ""
    alike = fill_in({"a": "FLAIR", "b": "FLAIR"}, {})
    assert alike[T2F].node_id in ("a", "b")
    assert "2 volumes may be FLAIR" in alike[T2F].question


def test_of_several_t1_one_of_which_may_have_contrast_none_is_chosen() -> None:
    found = fill_in({"a": "T1 one", "b": "T1 two"}, {})
    assert found[T1N].node_id == ""
    assert found[T1N].question == "2 volumes may be T1: 'T1 one', 'T1 two'; choose one."


@pytest.mark.parametrize(
    ("names", "sentences"),
    [
        ({T1N: "ax T1 pre", T1C: "ax T1 post gad", T2W: "ax T2", T2F: "FLAIR"}, []),
        ({T1C: "6: AX T1", T2F: "image 4"}, []),  # names that leave contrast open, or say nothing
        (
            {T1C: "AX FLAIR", T2F: "T1 post gad"},
            [
                "T1 + contrast and FLAIR seem to be swapped: 'AX FLAIR' is chosen as T1 + contrast, 'T1 post gad' as "
                "FLAIR."
            ],
        ),
        ({T1N: "T1 post gad"}, ["'T1 post gad' is chosen as T1, but by its name it is T1 + contrast"]),
        ({T1C: "T1 pre"}, ["'T1 pre' is chosen as T1 + contrast, but by its name it is T1 ("]),
        ({T1C: "12: smith_T1_post", T2F: "7: smith_AX_FLAIR"}, []),
        (
            {T1C: "patA_t1c", T2F: "patB_flair"},
            ["'patA_t1c' and 'patB_flair' are named 'pata' and 'patb'; check that both are of one patient"],
        ),
        ({T2W: "ADC map"}, ["'ADC map' is chosen as T2, but by its name it is no such image"]),
    ],
)
def test_a_choice_against_the_volumes_own_name_is_remarked(names: dict[Modality, str], sentences: list[str]) -> None:
    chosen = {sequence: sequence.value for sequence in names}
    found = name_conflicts(Situation(chosen=chosen, names=names))
    assert len(found) == len(sentences), found
    assert all(sentence in text for sentence, text in zip(sentences, found, strict=True))


def test_what_is_missing_has_its_price() -> None:
    assert missing_cost(READY) == ""
    without = dataclasses.replace(READY, chosen={T1N: "1", T1C: "2", T2W: "3"})
    assert "FLAIR" in missing_cost(without)
    assert "0.62" in missing_cost(without)
    assert missing_cost(dataclasses.replace(without, from_folder=True)) == ""
    refused = Situation(chosen={T2F: "4"}, card=demanding())
    assert "cannot work without T1 + contrast" in missing_cost(refused)


# --- model -----------------------------------------------------------------------------------------------------------


def test_models_that_the_images_suffice_for_come_first(tmp_path: Path) -> None:
    flair = Situation(chosen={T2F: "4"})
    choices = model_choices([demanding(), CARD], Store(tmp_path), flair)
    assert [choice.id for choice in choices] == [CARD.id, "demanding"]
    assert [choice.fits for choice in choices] == [True, False]
    assert "cannot work without" in choices[1].tooltip
    assert choices[1].text == "Demanding, not tested yet (download: 2.1 GB)"
    from_folder = dataclasses.replace(flair, from_folder=True)  # what it holds is not known yet
    assert all(choice.fits for choice in model_choices([demanding()], Store(tmp_path), from_folder))


def test_models_that_were_tested_come_before_those_that_were_not(tmp_path: Path) -> None:
    assert [choice.id for choice in model_choices([demanding(), CARD], Store(tmp_path), READY)] == [
        CARD.id, "demanding"
    ]  # fmt: skip


def test_the_model_that_does_best_with_these_sequences_comes_first(tmp_path: Path) -> None:
    """CA-CNN finds little without FLAIR."""

    def other(whole: float) -> Card:
        figures = tuple(
            Accuracy(data="tests", cases=1, sequences=sequences, dice={Region.WT: whole}, source="a test")
            for sequences in ((T1C,), tuple(Modality))
        )
        return dataclasses.replace(CARD, id="other", title="Other", regions=(Region.WT,), measured=figures)

    def first(chosen: dict[Modality, str]) -> str:
        return model_choices([CARD, other(0.7)], Store(tmp_path), Situation(chosen=chosen))[0].id

    assert first(ALL) == CARD.id
    assert first({T1C: "2"}) == "other"
    assert first({}) == CARD.id


def test_models_for_another_time_come_last_and_say_so(tmp_path: Path) -> None:
    after = dataclasses.replace(READY, study_time=TimePointKind.POSTOPERATIVE)
    (choice,) = model_choices([CARD], Store(tmp_path), after)
    assert not choice.fits
    assert choice.tooltip == "This model is made for studies before surgery; this one was made after surgery."
    before = dataclasses.replace(READY, study_time=TimePointKind.PREOPERATIVE)
    assert model_choices([CARD], Store(tmp_path), before)[0].fits


def test_a_model_of_another_time_is_asked_about_and_says_why() -> None:
    after = dataclasses.replace(READY, study_time=TimePointKind.POSTOPERATIVE)
    assert ask_before_use(after) == (
        "This model is made for studies before surgery; this one was made after surgery. Its result may be wrong. Use "
        "it all the same?"
    )
    assert ask_before_use(dataclasses.replace(READY, study_time=TimePointKind.PREOPERATIVE)) == ""
    assert ask_before_use(READY) == "", "the user has not said when the study was made"
    assert ask_before_use(Situation()) == ""


def test_after_surgery_models_of_residual_tumour_come_before_those_of_the_cavity_alone(tmp_path: Path) -> None:
    after = dataclasses.replace(READY, study_time=TimePointKind.POSTOPERATIVE, card=None)
    known = {card.id: card for card in tumour_models()}
    choices = model_choices(known.values(), Store(tmp_path), after)
    fitting = [choice.id for choice in choices if choice.fits]
    assert fitting[0] == "raidionics-postop", "residual enhancing tumour is the question"
    assert [known[model].regions for model in fitting if "cavity" in model] == [(Region.RC,)]
    assert fitting[-1] == "resseg-cavity"


def test_models_are_filtered_by_task(tmp_path: Path) -> None:
    choices = model_choices([demanding(), CARD], Store(tmp_path), Situation(), task="preoperative-glioma")
    assert [choice.id for choice in choices] == [CARD.id]
    assert task_titles([demanding(), CARD]) == {
        "postoperative-glioma": "glioma after surgery", "preoperative-glioma": "glioma before surgery"
    }  # fmt: skip


def test_an_installed_model_offers_no_download(tmp_path: Path) -> None:
    (tmp_path / CARD.id).mkdir()
    (tmp_path / CARD.id / "installed.json").touch()
    (choice,) = model_choices([CARD], Store(tmp_path), Situation())
    assert choice.text == CARD.title
    assert not can_download(READY).allowed
    assert can_remove_model(dataclasses.replace(READY, removable=True)).allowed
    assert "provided by your site" in can_remove_model(READY).reason
    away = dataclasses.replace(READY, installed=False)
    assert can_download(away).allowed
    assert "Download it (23 MB), check it and keep it on this computer." in can_download(away).reason
    assert not can_remove_model(away).allowed
    assert not can_download(dataclasses.replace(away, work=Work.SEGMENT)).allowed


def test_a_model_that_comes_with_gliomaseg_is_neither_fetched_nor_removed(tmp_path: Path) -> None:
    shipped = find_card("gliomaseg-any-v2")
    assert model_choices([shipped], Store(tmp_path), READY)[0].text == "GliomaSeg any-v2"
    situation = dataclasses.replace(READY, card=shipped, installed=Store(tmp_path).is_installed(shipped))
    assert not can_download(situation).allowed
    assert "comes with GliomaSeg" in can_remove_model(situation).reason
    assert "comes with GliomaSeg" in card_html(shipped, installed=True)


def test_the_card_tells_licence_citation_size_and_accuracy() -> None:
    page = card_html(CARD, installed=False)
    for text in (CARD.licence, "23 MB", "to be downloaded", "Whole tumour", "Published", "Measured", "0.62"):
        assert text in page, text
    assert "A &amp; B" in card_html(demanding(), installed=True)
    assert "&lt;test&gt;" in card_html(demanding(), installed=True)


def test_an_earlier_study_is_asked_for_when_this_one_was_made_after_surgery() -> None:
    before, after = (
        dataclasses.replace(READY, study_time=time)
        for time in (TimePointKind.PREOPERATIVE, TimePointKind.POSTOPERATIVE)
    )
    assert not shows_earlier(READY)
    assert shows_earlier(after), "also with a model for the time before surgery"
    assert shows_earlier(Situation(card=demanding())), "the model is for the time after surgery"
    assert not shows_earlier(dataclasses.replace(before, card=demanding())), "the user knows better"
    assert shows_earlier(dataclasses.replace(before, shown=shown(time_point=TimePointKind.POSTOPERATIVE)))


def test_a_model_that_looks_at_the_study_before_surgery_asks_for_it(tmp_path: Path) -> None:
    inputs = dataclasses.replace(demanding().inputs, preoperative=(Preoperative.T1C, Preoperative.TUMOUR))
    both = demanding(inputs=inputs, time_points=(TimePointKind.POSTOPERATIVE,))
    alone = dataclasses.replace(READY, card=both, chosen=ALL)
    assert "Earlier study" in missing_cost(alone)
    assert not can_apply(alone).allowed
    assert not model_choices([both], Store(tmp_path), alone)[0].fits
    for earlier, allowed in (
        (EarlierStudy(has_results=True), True),
        (EarlierStudy(has_volume=True), True),
        (EarlierStudy(), False),
        (EarlierStudy(has_results=True, is_preoperative=False), False),
    ):
        situation = dataclasses.replace(alone, earlier=earlier)
        assert can_apply(situation).allowed is allowed
        assert model_choices([both], Store(tmp_path), situation)[0].fits is allowed


# --- apply -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"chosen": {}}, "at least one sequence"),
        ({"chosen": {**ALL, T1N: "2"}}, "T1 and T1 + contrast are the same volume"),
        ({"card": None}, "Choose a model"),
        ({"work": Work.SEGMENT}, "running"),
        ({"editing": True}, "Finish correcting"),
        ({"card": demanding(), "chosen": {T2F: "4"}}, "cannot work without T1 + contrast"),
        ({"from_folder": True}, "folder of the study"),
        ({"from_folder": True, "study_folder": Path("/nowhere/at/all")}, "folder of the study"),
    ],
)
def test_apply_is_refused_with_a_reason(changes: dict[str, object], sentence: str) -> None:
    answer = can_apply(dataclasses.replace(READY, **changes))
    assert not answer.allowed
    assert sentence in answer.reason


def test_apply_is_allowed_before_anything_is_installed(tmp_path: Path) -> None:
    """Packages and weights are asked for when it is pressed."""
    assert can_apply(READY).allowed
    lacking = dataclasses.replace(READY, installed=False, lacking=("a>=1", "b>=2", "c>=3", "d>=4", "e>=5"))
    assert can_apply(lacking) == (
        True, "First asks to install what GliomaSeg needs: a, b, c, d and 1 more."
    )  # fmt: skip
    assert "Segment" in can_apply(dataclasses.replace(lacking, own_python=True)).reason
    assert can_apply(dataclasses.replace(READY, chosen={}, from_folder=True, study_folder=tmp_path)).allowed
    assert can_apply(dataclasses.replace(READY, chosen={T2F: "4"})).allowed


def test_only_what_runs_can_be_cancelled() -> None:
    assert not can_cancel(READY).allowed
    assert can_cancel(dataclasses.replace(READY, work=Work.INSTALL)).allowed


def test_the_bar_runs_forwards_through_the_stages() -> None:
    bar, seen = ProgressState(), []
    assert bar.percent is None
    for stage in STAGES:
        bar.enter(stage)
        assert bar.text != stage
        for fraction in (0.2, 0.9):
            bar.advance(fraction)
            seen.append(bar.percent)
    assert seen == sorted(seen)
    assert seen[0] < 10
    assert seen[-1] == 100
    bar.enter("reading")  # another file of the same case
    assert bar.percent == 100


def test_the_bar_of_other_work_is_its_own_fraction() -> None:
    bar = ProgressState()
    bar.enter("install")
    assert bar.percent is None
    assert bar.text == "Installing the model"
    bar.advance(0.25, "6 of 23 MB")
    assert bar.percent == 25
    assert bar.text == "Installing the model: 6 of 23 MB"
    bar.enter("something new")
    assert bar.text == "Something new"


def test_a_stage_of_other_work_does_not_take_its_place_in_a_segmentation() -> None:
    bar = ProgressState(Work.COMPARE)
    bar.enter("registration")
    assert bar.text == "Aligning the images"
    assert bar.percent is None


# --- result, review, export ------------------------------------------------------------------------------------------


def test_volumes_are_written_for_people() -> None:
    volumes = [
        {"name": "WT", "voxels": 41_230, "volume_ml": 41.23, "brain_ratio": 0.0312},
        {"name": "ET", "voxels": 12, "volume_ml": 0.012, "brain_ratio": None},
        {"name": "RC", "voxels": 0, "volume_ml": 0.0, "brain_ratio": None},
    ]
    assert volume_rows({"volumes": volumes}) == (
        ("WT", "Whole tumour", "41.2", "3.1"), ("ET", "Enhancing tumour", "< 0.1", "–")
    )  # fmt: skip
    volumes[1]["volume_ml"] = 0.0
    assert [row.name for row in volume_rows({"volumes": volumes})] == ["WT", "ET"], "no enhancement is a finding"


@pytest.mark.parametrize(("midline_mm", "place"), [(None, "left"), (0.0, "left, 0 mm"), (23.4, "left, 23 mm")])
def test_a_lesion_is_listed_with_its_side_and_distance_from_the_midline(midline_mm: float | None, place: str) -> None:
    size = {"volume_ml": 4.2, "long_mm": 30.2, "perpendicular_mm": 19.6}
    lesion = SimpleNamespace(id=1, side="left", midline_mm=midline_mm, certainty=0.981, accepted=True, **size)
    assert lesion_row(lesion) == ("1", "4.2", "30 × 20", place, "98 %", "accepted")


def test_the_outline_moves_only_with_a_map() -> None:
    assert can_threshold(dataclasses.replace(READY, shown=shown())).allowed
    for changes in ({"shown": None}, {"shown": shown(thresholdable=False)}, {"shown": shown(), "editing": True}):
        assert not can_threshold(dataclasses.replace(READY, **changes)).allowed


def test_a_lesion_must_be_selected_to_be_changed() -> None:
    assert not can_change_lesion(dataclasses.replace(READY, shown=shown())).allowed
    assert can_change_lesion(dataclasses.replace(READY, shown=shown(lesion_selected=True))).allowed


def test_undo_needs_something_to_take_back() -> None:
    assert not can_undo(dataclasses.replace(READY, shown=shown())).allowed
    assert can_undo(dataclasses.replace(READY, shown=shown(can_undo=True))).allowed
    assert not can_redo(dataclasses.replace(READY, shown=shown(can_undo=True))).allowed
    assert can_redo(dataclasses.replace(READY, shown=shown(can_redo=True))).allowed


def test_the_editor_can_be_closed_where_nothing_can_be_measured() -> None:
    away = dataclasses.replace(READY, shown=shown(has_files=False), editing=True)
    assert not can_measure(away).allowed
    assert can_finish(away).allowed
    assert "nothing is measured" in can_finish(away).reason
    assert not can_finish(dataclasses.replace(away, work=Work.MEASURE)).allowed


@pytest.mark.parametrize(
    ("state", "changes", "reviewer", "allowed"),
    [
        ("approved", {}, "", False),
        ("approved", {}, "Dr. A", True),
        ("approved", {"edited": True}, "Dr. A", False),
        ("approved", {"review": "approved"}, "Dr. A", False),
        ("approved", {"has_files": False}, "Dr. A", False),
        ("rejected", {}, "Dr. A", True),
        ("rejected", {"edited": True}, "Dr. A", True),
        ("draft", {"review": "approved"}, "", True),
        ("draft", {}, "", False),
    ],
)
def test_a_review_needs_a_name_and_current_measures(
    state: str, changes: dict[str, object], reviewer: str, allowed: bool
) -> None:
    situation = dataclasses.replace(READY, shown=shown(**changes), reviewer=reviewer)
    answer = can_review(situation, state)
    assert answer.allowed is allowed
    assert answer.reason


def test_the_review_is_reported_with_name_and_time() -> None:
    assert review_text("approved", "Dr. A", "2026-11-21 10:00") == "Approved by Dr. A, 2026-11-21 10:00"
    assert review_text("draft") == "Draft: nobody has reviewed it"


def test_what_is_exported_is_what_is_seen(tmp_path: Path) -> None:
    situation = dataclasses.replace(READY, shown=shown())
    assert can_export(situation, tmp_path, ["label_map"]).allowed
    assert not can_export(situation, tmp_path, []).allowed
    assert not can_export(situation, None, ["label_map"]).allowed
    assert not can_export(dataclasses.replace(READY, shown=shown(edited=True)), tmp_path, ["report"]).allowed
    elsewhere = dataclasses.replace(READY, shown=shown(folder=None, has_files=False))
    assert "not made by GliomaSeg" in can_export(elsewhere, tmp_path, ["report"]).reason


def test_dicom_needs_the_series_and_no_rejection(tmp_path: Path) -> None:
    nifti = dataclasses.replace(READY, shown=shown())
    answer = can_export(nifti, tmp_path, [], ["seg"])
    assert not answer.allowed
    assert "NIfTI" in answer.reason
    assert not can_export(nifti, tmp_path, [], ["seg"], tmp_path / "nowhere").allowed
    assert can_export(nifti, tmp_path, [], ["seg"], tmp_path).allowed
    assert can_export(nifti, tmp_path, ["label_map"], []).allowed
    dicom = dataclasses.replace(READY, shown=shown(on_dicom=True))
    assert can_export(dicom, tmp_path, [], ["sr"]).allowed
    rejected = dataclasses.replace(READY, shown=shown(on_dicom=True, review="rejected"))
    assert "rejected" in can_export(rejected, tmp_path, ["label_map"], ["seg"]).reason
    assert can_export(rejected, tmp_path, ["label_map"]).allowed
    assert not can_export(dataclasses.replace(dicom, work=Work.COMPARE), tmp_path, [], ["sr"]).allowed


def test_lesions_keep_the_numbers_of_a_comparison_that_is_up_to_date(tmp_path: Path) -> None:
    alone = dataclasses.replace(READY, shown=shown(on_dicom=True))
    assert "Compare the result with an earlier study first" in can_keep_numbers(alone).reason
    compared = dataclasses.replace(READY, shown=shown(on_dicom=True, numbered=True))
    assert can_keep_numbers(compared).allowed
    assert can_export(compared, tmp_path, [], ["seg"], numbers=True).allowed
    behind = dataclasses.replace(READY, shown=shown(on_dicom=True, numbered=True, outdated=True))
    refused = can_export(behind, tmp_path, [], ["seg"], numbers=True)
    assert not refused.allowed
    assert "out of date: compare again" in refused.reason
    assert can_export(behind, tmp_path, [], ["seg"]).allowed
    assert can_export(behind, tmp_path, ["label_map"], numbers=True).allowed, "numbers are for DICOM"


# --- comparison ------------------------------------------------------------------------------------------------------

AFTER = dataclasses.replace(
    READY,
    study_time=TimePointKind.POSTOPERATIVE,
    shown=shown(time_point=TimePointKind.POSTOPERATIVE),
    earlier=EarlierStudy(has_results=True),
)


def test_two_studies_can_be_compared() -> None:
    assert can_compare(AFTER).allowed
    assert can_compare(dataclasses.replace(AFTER, earlier=EarlierStudy(has_volume=True))).allowed
    said_now = dataclasses.replace(AFTER, shown=shown())  # not when it was segmented
    assert can_compare(said_now).allowed
    three = dataclasses.replace(
        AFTER, between=EarlierStudy(is_preoperative=False, has_results=True), baseline="between"
    )
    assert can_compare(three).allowed
    follow_up = dataclasses.replace(
        AFTER, earlier=EarlierStudy(is_preoperative=False, has_results=True), baseline="earlier"
    )
    assert can_compare(follow_up).allowed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shown": None}, "no result yet"),
        ({"shown": shown(folder=None, has_files=False)}, "not made by GliomaSeg"),
        ({"shown": shown(has_files=False)}, "neither in out nor in the scene"),
        ({"shown": shown(time_point=TimePointKind.PREOPERATIVE)}, "before surgery"),
        ({"shown": shown(), "study_time": TimePointKind.UNKNOWN}, "Say first that the study was made after surgery"),
        ({"shown": shown(time_point=TimePointKind.POSTOPERATIVE, edited=True)}, "Update the measures first"),
        ({"earlier": None}, "Choose the segmentation of the earlier study"),
        ({"earlier": EarlierStudy(is_shown=True, has_results=True)}, "is the one that is shown"),
        ({"earlier": EarlierStudy()}, "Choose the T1 + contrast of the earlier study"),
        ({"between": EarlierStudy(is_shown=True, has_results=True)}, "The study between is one of the other two"),
        ({"between": EarlierStudy()}, "Choose the T1 + contrast of the study between"),
        ({"baseline": "between"}, "Response is to be compared with the study between; choose that"),
        ({"baseline": "earlier"}, "Response cannot be compared with a study before surgery"),
        ({"work": Work.MEASURE}, "Finish what is under way"),
        ({"editing": True}, "Finish what is under way"),
    ],
)
def test_a_comparison_is_refused_with_a_reason(changes: dict[str, object], sentence: str) -> None:
    answer = can_compare(dataclasses.replace(AFTER, **changes))
    assert not answer.allowed
    assert sentence in answer.reason


def test_both_studies_stand_side_by_side() -> None:
    before = {"WT": 40.0, "ET": 20.0, "RC": 0.0}
    after = {"WT": 30.0, "ET": 0.0, "RC": 12.0, "TC": 1.0}
    comparison = {
        "studies": [
            {"volumes": [{"name": name, "volume_ml": ml} for name, ml in volumes.items()]}
            for volumes in (before, after)
        ],
        "answers": ["Residual <tumour>.", "One lesion."],
    }
    assert compared_rows(comparison) == (
        ("Whole tumour", "40.0", "", "30.0", "\N{MINUS SIGN}25 %"),
        ("Enhancing tumour", "20.0", "", "0.0", "\N{MINUS SIGN}100 %"),
        ("Resection cavity", "0.0", "", "12.0", "new"),
    )
    comparison["studies"].insert(1, {"volumes": [{"name": "WT", "volume_ml": 35.0}]})
    assert [row.between_ml for row in compared_rows(comparison)] == ["35.0", "–", "–"]
    answers = answers_html(comparison)
    assert "<b>Residual &lt;tumour&gt;.</b>" in answers
    assert answers.index("tumour") < answers.index("One lesion.</p>")
