"""The stand-in speaks as the worker does, without the worker's packages, and never hides what it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import Cancelled
from GliomaSegLib.followup.compare import Comparison
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.segnrrd import read_segmentation, write_segmentation
from GliomaSegLib.job import Result
from GliomaSegLib.labels import Label
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.results.layout import FILES as FILES_OF_THE_WORKER
from GliomaSegLib.standin import FILES, STAND_IN
from GliomaSegLib.worker.client import Event, WorkerError, WorkerProcess, worker_command

# In front of the stand-in's own command: only what an application has may be imported.
ONLY_LIGHT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {"GliomaSegLib", "numpy", "SimpleITK", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    """The stand-in as the panel starts it, in an interpreter without the worker's packages."""
    python, option, code, *rest = worker_command(Path(sys.executable), stand_in=True)
    process = WorkerProcess([python, option, ONLY_LIGHT + code, *rest], tmp_path / "worker.log")
    yield process
    process.close()


@pytest.fixture
def job(small_phantom: Phantom, tmp_path: Path) -> dict[str, Any]:
    """The phantom's T1c and FLAIR, as the panel hands them over."""
    volumes = {}
    for sequence in (Modality.T1C, Modality.T2F):
        volumes[sequence.value] = tmp_path / f"{sequence.value}.nrrd"
        sitk.WriteImage(small_phantom.images[sequence], str(volumes[sequence.value]))
    return {"volumes": volumes, "model": "any", "output": tmp_path / "out", "case_id": "P7", "registration": False}


def array(path: str | Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_result_is_that_of_a_worker_and_says_what_it_is(
    worker: WorkerProcess, job: dict[str, Any], small_phantom: Phantom
) -> None:
    heard: list[Event] = []
    said = worker.start(job | {"registration": True}).wait(heard.append)
    assert [one.text for one in heard if one.kind == "warning"] == [STAND_IN]
    assert [one.text for one in heard if one.kind == "stage"][:3] == ["reading", "registration", "segmentation"]

    result = Result.model_validate(said)
    assert said.keys() == result.model_dump().keys()
    assert (result.case_id, result.model, result.warnings) == ("P7", "any", (STAND_IN,))
    assert result.missing == (Modality.T1N, Modality.T2W)
    assert all(path.is_file() for path in result.files.values())
    assert FILES.items() - {("probability_WT", "probability_WT.nii.gz")} <= FILES_OF_THE_WORKER.items()

    reference = small_phantom.images[Modality.T1C]
    labels = sitk.ReadImage(str(result.files["label_map"]))
    assert labels.GetSize() == reference.GetSize()
    np.testing.assert_allclose(labels.GetDirection(), reference.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(labels.GetOrigin(), reference.GetOrigin(), atol=1e-4)
    marked = sitk.GetArrayFromImage(labels)
    assert set(np.unique(marked)) == {0, Label.NETC, Label.SNFH, Label.ET}
    assert result.measures.volume("WT").voxels == np.count_nonzero(marked)
    truth = sitk.GetArrayFromImage(small_phantom.truth)
    inside = np.count_nonzero((marked > 0) & (truth > 0)) / np.count_nonzero(marked)
    assert inside > 0.5, "what is bright on the phantom's FLAIR is its tumour"
    (lesion, *_) = result.measures.lesions
    assert lesion.side.value == side_of(marked > 0, labels, sitk.ReadImage(str(result.files["brain"])))

    names = sitk.ReadImage(str(result.files["slicer_segmentation"]))
    assert all(names.GetMetaData(f"Segment{index}_Name").endswith(" (stand-in)") for index in range(4))
    assert STAND_IN in result.files["report"].read_text()
    assert "Not a medical device" in result.files["report"].read_text()
    manifest = json.loads(result.files["manifest"].read_text())
    assert (manifest["stand_in"], manifest["sequences"]["t1c"]["is_reference"]) == (True, True)
    assert (result.output / "transforms" / "t2f.tfm").is_file(), "the phantom's FLAIR has moved"


def side_of(mask: np.ndarray, labels: sitk.Image, head: sitk.Image) -> str:
    """The side by the mean of the voxels' LPS x."""

    def x(voxels: np.ndarray) -> float:
        return float(np.mean([labels.TransformIndexToPhysicalPoint(one[::-1].tolist())[0] for one in voxels[::50]]))

    off = x(np.argwhere(mask)) - x(np.argwhere(sitk.GetArrayViewFromImage(head) > 0))
    return "left" if off > 0 else "right"


def test_same_input_same_answer(worker: WorkerProcess, job: dict[str, Any]) -> None:
    first = array(worker.start(job).wait()["files"]["label_map"])
    with pytest.raises(WorkerError, match="exists already; name another folder"):
        worker.start(job).wait()
    again = worker.start(job | {"overwrite": True}).wait()
    np.testing.assert_array_equal(array(again["files"]["label_map"]), first)


def test_edit_and_review(worker: WorkerProcess, job: dict[str, Any]) -> None:
    before = worker.start(job).wait()
    output = before["output"]
    approved = worker.start({"do": "review", "output": output, "state": "approved", "by": "Dr No"}).wait()
    assert (approved["review"], approved["reviews"][0]["by"]) == ("approved", "Dr No")

    path = Path(before["files"]["slicer_segmentation"])
    labels = read_segmentation(path)
    edited = sitk.GetArrayFromImage(labels)
    edited[edited == Label.NETC] = Label.RC
    write_segmentation(array_on(edited, labels), path)
    after = Result.model_validate(worker.start({"do": "measure", "output": output}).wait())
    assert after.review.value == "edited"
    assert [event.state.value for event in after.reviews] == ["approved", "edited"]
    assert after.measures.volume("RC").voxels == np.count_nonzero(edited == Label.RC) > 0
    np.testing.assert_array_equal(array(after.files["label_map"]), edited)
    assert after.warnings == (STAND_IN,)
    assert worker.start({"do": "measure", "output": output}).wait()["review"] == "edited"


def test_studies_side_by_side(worker: WorkerProcess, job: dict[str, Any], tmp_path: Path) -> None:
    before = worker.start(job | {"time_point": "preoperative"}).wait()
    request = {
        "do": "compare",
        "studies": [
            {"path": before["output"]},
            {"path": before["files"]["label_map"], "time_point": "postoperative", "days_since_surgery": 2},
        ],
        "output": tmp_path / "compared",
    }
    answer = worker.start(request).wait()
    said = answer["comparison"]
    assert STAND_IN in Path(answer["page"]).read_text(encoding="utf-8")
    assert said["warnings"] == [STAND_IN]
    assert [one["kind"] for one in said["studies"]] == ["preoperative", "postoperative"]
    volume_ml = before["measures"]["volumes"][0]["volume_ml"]
    assert f"marked {volume_ml:.1f} mL, and {volume_ml:.1f} mL in the earlier study" in said["answers"][0]
    Comparison.model_validate(said)  # what the scene reads is what the worker would say
    with pytest.raises(WorkerError, match="exists already"):
        worker.start(request).wait()
    with pytest.raises(WorkerError, match="cannot 'export'"):
        worker.start({"do": "export", "results": before["output"], "output": tmp_path / "dicom"}).wait()


def test_given_transform_is_respected(worker: WorkerProcess, job: dict[str, Any], small_phantom: Phantom) -> None:
    path = job["output"].with_name("given.tfm")
    sitk.WriteTransform(small_phantom.transforms[Modality.T2F], str(path))
    worker.start(job | {"transforms": {"t2f": path}}).wait()
    written = sitk.ReadTransform(str(job["output"] / "transforms" / "t2f.tfm"))
    point = (20.0, -30.0, 10.0)
    expected = small_phantom.transforms[Modality.T2F].TransformPoint(point)
    np.testing.assert_allclose(written.TransformPoint(point), expected, atol=1e-6)


def test_study_folder(worker: WorkerProcess, job: dict[str, Any], tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    Path(job["volumes"]["t2f"]).rename(study / "AX FLAIR.nrrd")
    result = worker.start({"study": study, "model": "any", "output": tmp_path / "out"}).wait()
    assert (result["case_id"], result["missing"]) == ("out", ["t1n", "t1c", "t2w"])


def test_install_and_refusals_are_answered(worker: WorkerProcess, job: dict[str, Any], tmp_path: Path) -> None:
    assert worker.start({"do": "install", "model": "any", "store": None}).wait() == {"model": "any"}
    with pytest.raises(WorkerError, match="cannot 'dance'"):
        worker.start({"do": "dance"}).wait()
    with pytest.raises(WorkerError, match="has no sequence"):
        worker.start({"study": tmp_path / "nothing", "model": "any", "output": tmp_path / "out"}).wait()
    with pytest.raises(WorkerError, match="is not a folder of GliomaSeg results"):
        worker.start({"do": "measure", "output": tmp_path / "nothing"}).wait()
    with pytest.raises(WorkerError, match="cannot be read as an image"):
        worker.start(job | {"volumes": {"t1c": tmp_path / "no.nrrd"}}).wait()


def test_cancel(worker: WorkerProcess, job: dict[str, Any]) -> None:
    task = worker.start(job)
    with pytest.raises(Cancelled):
        task.wait(lambda event: task.cancel())
    assert not job["output"].exists()
    assert [path.name for path in job["output"].parent.iterdir() if path.name.startswith(".")] == []
