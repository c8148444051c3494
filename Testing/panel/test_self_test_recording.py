"""The recorded answers suit the self-test, the scene and the present worker's schemas, and need no package."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegPanel.recorded_worker import CONVERSATION, RECORDING, replay_command  # noqa: E402
from GliomaSegPanel.self_test_head import (  # noqa: E402
    TUMOUR_ML,
    TUMOUR_RAS_MM,
    drawn_like,
    load_head,
    remove_upper_half,
    volume_ml,
)

from GliomaSegLib.case import TimePointKind  # noqa: E402
from GliomaSegLib.errors import Cancelled, GliomaSegError  # noqa: E402
from GliomaSegLib.followup.comparison import TimePointComparison  # noqa: E402
from GliomaSegLib.results.job_result import JobResult  # noqa: E402
from GliomaSegLib.scene.attributes import TIME_POINT  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from GliomaSegLib.scene.review import review_of  # noqa: E402
from Testing.support.scene_host import SceneHost  # noqa: E402

GIVEN = {"model": "any", "brain": "stripped"}


@pytest.fixture
def head(host: SceneHost, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The generated head of the self-test in the scene."""
    monkeypatch.setattr(slicer, "mrmlScene", host.scene, raising=False)
    return load_head()


@pytest.fixture
def logic(host: SceneHost, tmp_path: Path) -> Iterator[SceneLogic]:
    """A logic whose worker replays, in an interpreter without any package."""
    python, *rest = replay_command(Path(sys.executable))
    made = SceneLogic(host.scene, folder=tmp_path / "cases", worker_command=[python, "-I", "-S", *rest])
    yield made
    made.close()


def test_the_recording_is_small_and_names_no_folder_of_the_computer_that_made_it() -> None:
    assert RECORDING.stat().st_size < 200_000
    with zipfile.ZipFile(RECORDING) as archive:
        for name in archive.namelist():
            if name.endswith((".json", ".html", ".csv")):
                text = archive.read(name).decode("utf-8")
                assert not [place for place in ("/tmp/", "/home/", "/root/", "C:\\") if place in text], name


def test_the_recorded_answers_are_what_the_worker_answers_today() -> None:
    """When this fails, the schema has changed: ``python -m Testing.panel.record_self_test`` records again."""
    with zipfile.ZipFile(RECORDING) as archive:
        answers = json.loads(archive.read(CONVERSATION))
    assert set(answers) == {"segment", "measure", "review", "compare2", "compare3"}
    for key, answer in answers.items():
        schema, recorded = (
            (TimePointComparison, answer["result"]["comparison"])
            if key.startswith("compare")
            else (JobResult, answer["result"])
        )
        assert recorded.keys() == schema.model_validate(recorded).model_dump().keys(), key


def test_the_self_test_can_do_without_the_worker(logic: SceneLogic, head: dict[str, Any]) -> None:
    done = logic.segment(**head, **GIVEN, time_point="postoperative").result
    node = done.segmentation
    assert node.GetAttribute(TIME_POINT) == TimePointKind.POSTOPERATIVE.value
    whole = volume_ml(node)
    assert whole == pytest.approx(TUMOUR_ML, rel=0.25)
    (lesion,) = logic.lesions(node)
    assert np.linalg.norm(np.subtract(lesion.centre_ras_mm, TUMOUR_RAS_MM)) < 5
    before, between = drawn_like(node, head["t1c"]), drawn_like(node, head["t1c"])
    three = logic.compareStudies(
        node, before, head["t1c"], between=between, between_volume=head["t1c"], baseline=between, deformable=True
    ).result
    assert len(three.comparison["studies"]) == 3
    assert three.comparison["baseline"] == 1

    remove_upper_half(node)
    logic.measure(node)
    measured = json.loads((done.output / "measures.json").read_text(encoding="utf-8"))["volumes"][0]["volume_ml"]
    assert measured == pytest.approx(volume_ml(node), abs=0.01)
    assert measured < 0.8 * whole
    logic.review(node, "approved", "Dr. Test")
    assert (review_of(node).state, review_of(node).by) == ("approved", "Dr. Test")
    two = logic.compareStudies(node, before, head["t1c"]).result
    assert two.page.is_file()
    earlier, now = (study["volumes"][0]["volume_ml"] for study in two.comparison["studies"])
    assert now == pytest.approx(measured, abs=0.01)
    assert earlier == pytest.approx(whole, abs=0.01)


def test_what_was_not_recorded_is_refused(logic: SceneLogic, head: dict[str, Any], tmp_path: Path) -> None:
    node = logic.segment(**head, **GIVEN).result.segmentation
    with pytest.raises(GliomaSegError, match="no recorded answer to 'export'"):
        logic.exportDicom(node, tmp_path / "dicom", ["rtstruct"], tmp_path)


def test_a_replay_can_be_cancelled(logic: SceneLogic, head: dict[str, Any], tmp_path: Path) -> None:
    run = logic.segment(**head, **GIVEN, wait=False)
    run.poll()
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait()
    assert [path for path in (tmp_path / "cases").iterdir() if path.is_dir()] == []
