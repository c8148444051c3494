"""The whole pipeline on a raw study: heads with skull and scalp, moved against one another, thick slices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.demonstration import SHARED_VARIABLE, SHIPPED, demonstrate
from GliomaSegLib.evaluation.metrics import evaluate
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.job import Job
from GliomaSegLib.labels import Region
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.progress import Silent
from GliomaSegLib.results.job_result import JobResult
from GliomaSegLib.results.layout import LABEL_MAP
from GliomaSegLib.zoo.store import Store


def segmented(study: Path, output: Path, store: Store, **options: object) -> JobResult:
    """Run the toy model on a study."""
    return run(Job(study=study, model="toy", output=output, store=store.root, **options))


def test_a_raw_study_is_segmented_where_the_tumour_is(small_phantom: Phantom, toy_store: Store, tmp_path: Path) -> None:
    result = segmented(small_phantom.write(tmp_path / "phantom"), tmp_path / "out", toy_store)
    scores = evaluate(read_labels(tmp_path / "out" / LABEL_MAP), small_phantom.reference)
    assert scores[Region.WT].dice > 0.75
    assert scores[Region.ET].dice > 0.5
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert set(manifest["sequences"]) == {"t1c", "t2f"}  # what the toy model takes
    assert manifest["sequences"]["t2f"]["moved_mm"] > 1
    assert set(result.seconds) >= {"reading", "registration", "brain extraction", "segmentation"}


def test_dicom_gives_what_nifti_gives(small_phantom: Phantom, toy_store: Store, tmp_path: Path) -> None:
    labels = []
    for dicom in (False, True):
        study = small_phantom.write(tmp_path / f"phantom-{dicom}", dicom=dicom)
        segmented(study, tmp_path / f"out-{dicom}", toy_store)
        labels.append(sitk.DICOMOrient(read_labels(tmp_path / f"out-{dicom}" / LABEL_MAP), "LPS"))
    first, second = (sitk.GetArrayFromImage(image) for image in labels)
    assert first.shape == second.shape
    assert (first == second).mean() > 0.9999


def test_flair_alone_gives_the_whole_tumour_and_says_what_is_missing(
    small_phantom: Phantom, toy_store: Store, tmp_path: Path
) -> None:
    study = small_phantom.write(tmp_path / "phantom")
    result = run(
        Job(
            volumes={Modality.T2F: study / "head_t2f.nii.gz"},
            model="toy",
            output=tmp_path / "out",
            store=toy_store.root,
        )
    )
    assert result.missing == (Modality.T1C,)
    assert "TC and ET cannot be given" in result.cost
    assert {volume.name for volume in result.measures.volumes} == {"WT"}
    assert set(np.unique(sitk.GetArrayFromImage(read_labels(tmp_path / "out" / LABEL_MAP)))) == {0, 2}
    report = (tmp_path / "out" / "report.html").read_text()
    assert "TC and ET cannot be given" in report
    assert "Not a medical device" in report


def test_the_same_case_gives_the_same_bytes(small_phantom: Phantom, toy_store: Store, tmp_path: Path) -> None:
    study = small_phantom.write(tmp_path / "phantom")
    for name in ("first", "second"):
        segmented(study, tmp_path / name, toy_store)
    for name in (LABEL_MAP, "measures.json", "probability_WT.nii.gz"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("sequences", [("t1c", "t2f"), ("t1n", "t2f"), ("t2w",)])
def test_ca_cnn_takes_any_subset_of_a_real_study(shared: Path, tmp_path: Path, sequences: tuple[str, ...]) -> None:
    from GliomaSegLib.zoo.catalogue import find_card

    weights = shared / "weights" / "ca-cnn-brats17"
    if not weights.is_dir():
        pytest.skip("the shared weights are not there")
    card = find_card("ca-cnn-brats17")
    store = Store(tmp_path / "models")
    store.install(card, weights)
    case = "BraTS2021_01482"
    names = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
    volumes = {}
    for sequence in sequences:
        image = sitk.ReadImage(str(shared / "data" / "brats2021" / case / f"{case}_{names[sequence]}.nii.gz"))
        volumes[sequence] = tmp_path / f"{sequence}.nii.gz"
        sitk.WriteImage(image[60:180:2, 40:200:2, 60:110:2], volumes[sequence])  # 2 mm, 5 cm high: quick
    result = run(Job(volumes=volumes, model=card.id, output=tmp_path / "out", brain="stripped", store=store.root))
    assert result.measures.volume("WT")
    assert (len(result.measures.volumes) > 1) is ("t1c" in sequences)
    assert set(result.missing) == set(card.inputs.sequences) - {Modality(name) for name in sequences}


def test_the_demonstration_runs_on_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED_VARIABLE, raising=False)
    demonstration = demonstrate(tmp_path / "demo", Store(tmp_path / "store"), Silent())
    assert demonstration.result.model == SHIPPED
    assert demonstration.passed, demonstration.verdict
