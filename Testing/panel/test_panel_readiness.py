"""The line above Apply."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from GliomaSegPanel.decisions.models import first_choice, model_choices
from GliomaSegPanel.decisions.readiness import readiness, readiness_html
from GliomaSegPanel.decisions.situation import Situation, Work

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.zoo.catalogue import find_card, tumour_models
from GliomaSegLib.zoo.store import Store

T1N, T1C, T2W, T2F = Modality
CARD = find_card("gliomaseg-any-v2")
READY = Situation(
    chosen={T1C: "2", T2F: "4"},
    names={T1C: "T1 post gad", T2F: "FLAIR"},
    case="4711 2024-05-31",
    study_time=TimePointKind.PREOPERATIVE,
    card=CARD,
    installed=True,
)


def line(situation: Situation) -> str:
    return re.sub(r"<[^>]*>", "", readiness_html(readiness(situation)))


def links(situation: Situation) -> list[str]:
    return re.findall(r"href='([^']*)'", readiness_html(readiness(situation)))


def with_(**changes: object) -> Situation:
    return dataclasses.replace(READY, **changes)


def test_the_line_says_what_the_run_works_on_and_that_it_is_ready() -> None:
    assert line(READY) == "4711 2024-05-31 · 2 sequences · names agree · before surgery · GliomaSeg any-v2 · ready"
    assert not any(point.is_open for point in readiness(READY))


def test_before_or_after_surgery_is_asked_and_settled_by_a_click() -> None:
    unknown = with_(study_time=TimePointKind.UNKNOWN)
    assert "made before surgery or after surgery?" in line(unknown)
    assert "ready" not in line(unknown)
    assert {"time:preoperative", "time:postoperative"} <= set(links(unknown))


def test_a_case_that_has_only_the_name_of_a_volume_is_to_be_named() -> None:
    unnamed = with_(case="T1 post gad", case_is_known=False)
    assert line(unnamed).startswith("call the case 'T1 post gad'?")
    assert "ready" not in line(unnamed)
    assert "case" in links(unnamed)


def test_names_that_contradict_the_choice_a_model_for_another_time_and_no_images_are_to_be_settled() -> None:
    assert "check the names" in line(with_(names={T1C: "FLAIR", T2F: "T1 post gad"}))
    assert "GliomaSeg any-v2 is not suited" in line(with_(study_time=TimePointKind.POSTOPERATIVE))
    assert line(with_(chosen={}, names={})).startswith("no images yet")
    assert "choose the study's folder" in line(with_(from_folder=True))
    assert line(with_(from_folder=True, study_folder=Path("/data/4711"))).startswith("4711 ·")
    assert "choose a model" in line(with_(card=None))
    assert line(with_(work=Work.SEGMENT)).endswith("Wait until the running work has ended, or cancel it.")
    assert line(with_(chosen={T1C: "2", T2F: "2"})).endswith("set one of them to another volume or to none.")


def test_a_model_for_another_tumour_and_a_demonstration_are_said_to_be_so() -> None:
    mets = find_card("gliomaseg-mets-v1")
    assert "· GliomaSeg mets-v1 (demonstration) for metastases" in line(with_(card=mets))
    assert "ready" not in line(with_(card=mets))
    meningioma = find_card("raidionics-meningioma")
    assert "for meningioma" in line(with_(card=meningioma))


def test_a_name_cannot_bring_markup_into_the_line() -> None:
    assert "&lt;b&gt;" in readiness_html(readiness(with_(case="<b>")))
    long = with_(case="MRHR_T1_AX_POST_GAD_OtherEXampleTCIA_TCGA-FG-6692_SE_13_se2d1r_t1c")
    assert ">MRHR_T1_AX_POST_GA…_SE_13_se2d1r_t1c</a>" in readiness_html(readiness(long)), "the panel stays narrow"


def test_the_first_run_takes_what_is_installed_and_offers_what_is_better(tmp_path: Path) -> None:
    """Only the model that ships is there in an empty store; the ranking is by measured accuracy."""
    choices = model_choices(tumour_models(), Store(tmp_path), READY)
    first, better = first_choice(choices)
    assert first == CARD.id
    assert better != first
    if better:
        offered = with_(better=find_card(better))
        assert f"model:{better}" in links(offered)
        assert "would do better (download: " in line(offered)
    none_fits = [choice._replace(ready=False) for choice in choices]
    assert first_choice(none_fits) == (choices[0].id, "")
    assert first_choice([]) == ("", "")
