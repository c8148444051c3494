"""A result folder written by GliomaSeg 0.1.0 (``Testing/data``) is read, compared and brought up to date.

It was made of :mod:`Testing.support.study` with a displaced FLAIR and its transform, in the numbering brats2017; then a
cavity was drawn into it and it was approved. The paths in its manifest begin with ``/old``.
"""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.measures.midline import MidlineFrom
from GliomaSegLib.options import ReviewState
from GliomaSegLib.results.reading import read_manifest
from GliomaSegLib.results.time_point import read_time_point
from GliomaSegLib.results.update import refresh, review
from Testing.support.study import VOXEL_ML, toy_labels, volume, write_study

STORED = Path(__file__).parents[1] / "data" / "result-0.1.0"
ELSEWHERE = (12.0, -6.0, 3.0)  # mm, LPS: where the FLAIR lies
CAVITY = (slice(15, 17), slice(4, 8), slice(4, 8))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder with its original images in their places."""
    study = write_study(tmp_path / "study")
    flair = volume(Modality.T2F)
    flair.SetOrigin((np.array(flair.GetOrigin()) + ELSEWHERE).tolist())
    sitk.WriteImage(flair, str(study / "head_t2f.nii.gz"))
    output = tmp_path / "result"
    shutil.copytree(STORED, output)
    manifest = (output / "manifest.json").read_text(encoding="utf-8")
    (output / "manifest.json").write_text(manifest.replace('"/old/', f'"{tmp_path.as_posix()}/'), encoding="utf-8")
    return output


def expected() -> np.ndarray:
    labels = toy_labels()
    labels[CAVITY] = Label.RC
    return labels


def assert_holds(now: object, before: object, place: str = "manifest") -> None:
    """Every value of ``before`` is in ``now``, which may have further keys."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key, value in before.items():
            assert_holds(now[key], value, f"{place}.{key}")
    else:
        assert now == before, place


def test_the_manifest_says_what_it_said() -> None:
    manifest = read_manifest(STORED)
    assert (manifest.case_id, manifest.model.id, manifest.review) == ("P7", "toy", ReviewState.APPROVED)
    assert manifest.job.label_scheme is LabelScheme.BRATS2017
    assert manifest.regions == (Region.WT, Region.TC, Region.ET, Region.RC)
    assert manifest.sequences[Modality.T2F].transform_given == Path("/old/t2f.tfm")
    assert_holds(json.loads(manifest.model_dump_json()), json.loads((STORED / "manifest.json").read_bytes()))


def test_measuring_again_changes_no_number(old: Path) -> None:
    before = json.loads((STORED / "measures.json").read_bytes())
    result = refresh(old)
    now = json.loads((old / "measures.json").read_bytes())
    assert before.pop("midline_from") == "brain mask"  # found since then from the head's plane of symmetry
    assert now.pop("midline_from") == MidlineFrom.PLANE.value
    for lesion in now["lesions"]:
        assert lesion.pop("midline_mm") >= 0  # as well
    assert now == before
    assert (result.review, [event.by for event in result.reviews]) == (ReviewState.APPROVED, [None, "Dr No"])
    assert result.warnings == read_manifest(STORED).warnings
    assert "<image" in result.files["report"].read_text(encoding="utf-8"), "the originals were found again"
    assert set(result.files) >= {"label_map", "slicer_segmentation", "measures_csv", "probability_WT"}
    moved = sitk.ReadTransform(str(old / "transforms" / "t2f.tfm"))
    np.testing.assert_allclose(moved.TransformPoint((0.0, 0.0, 0.0)), ELSEWHERE)


def test_an_edit_of_it_is_measured_and_reviewed(old: Path) -> None:
    labels = read_labels(old / "segmentation.nii.gz")
    array = sitk.GetArrayFromImage(labels)
    array[CAVITY] = 4  # ET in this numbering
    edited = sitk.GetImageFromArray(array)
    edited.CopyInformation(labels)
    sitk.WriteImage(edited, str(old / "segmentation.nii.gz"))
    enhancing = int((toy_labels() == Label.ET).sum() + 32) * VOXEL_ML
    assert refresh(old).measures.volume("ET").volume_ml == pytest.approx(enhancing)
    assert review(old, ReviewState.REJECTED, "Dr Yes").reviews[-1].by == "Dr Yes"


def test_it_is_a_time_point_of_a_comparison(old: Path) -> None:
    one = read_time_point(old, day=date(2024, 1, 31))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(one.labels), expected())
    assert (one.time_point.kind, one.time_point.days_since_surgery) == (TimePointKind.POSTOPERATIVE, 2)
    assert read_time_point(old, when=TimePoint(TimePointKind.POSTOPERATIVE)).time_point == one.time_point, "days count"
    assert read_time_point(old, when=TimePoint(TimePointKind.PREOPERATIVE)).time_point.days_since_surgery is None
    assert read_time_point(old, when=TimePoint(TimePointKind.POSTOPERATIVE, 9)).time_point.days_since_surgery == 9
    assert one.sequence is Modality.T1C
    assert one.has_native_t1 is False
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one.image), sitk.GetArrayFromImage(volume(Modality.T1C)))
    assert one.origin == "Thresholds (toy 1), approved"
