"""A run: its warnings about the study, and what the manifest records of it."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from GliomaSegLib.case import Case, Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.provenance import state_of
from GliomaSegLib.job import Job
from GliomaSegLib.labels import Region
from GliomaSegLib.options import AUTO, BrainMethod, Precision, Purpose, Task
from GliomaSegLib.pipeline import run as pipeline
from GliomaSegLib.pipeline import segment
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.results.manifest import Manifest
from GliomaSegLib.results.reading import read_manifest, read_probabilities
from GliomaSegLib.results.update import refresh
from GliomaSegLib.study import selection
from GliomaSegLib.zoo import recommend
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.recommend import Choice
from GliomaSegLib.zoo.store import Store
from Testing.support import toy
from Testing.support.study import on_grid, toy_job, toy_labels, volume, write_study

T1C, T2F = Modality.T1C, Modality.T2F


@pytest.fixture
def job(toy_store: Store, tmp_path: Path) -> Job:
    """A job whose study has both sequences that the toy takes."""
    return toy_job(toy_store, tmp_path / "out", study=write_study(tmp_path / "study"))


def manifest_of(job: Job) -> Manifest:
    return read_manifest(job.output)


def unknown_scan(study: Path) -> None:
    """A volume whose name says nothing."""
    noise = np.random.default_rng(9).normal(100, 9, sitk.GetArrayFromImage(volume(T1C)).shape)
    sitk.WriteImage(on_grid(noise.astype(np.float32)), str(study / "scan3.nii.gz"))


def test_study_with_everything_is_segmented_without_a_warning(job: Job) -> None:
    unknown_scan(job.study)
    result = run(job)
    assert result.warnings == ()
    assert [clause for clause in manifest_of(job).ignored if "scan3" in clause], "recorded all the same"
    assert "Not used: 'scan3" in unescape(result.files["report"].read_text())


@pytest.mark.parametrize("how", ["cut", "zero"])
def test_an_image_that_shows_a_part_of_the_brain_is_a_warning(job: Job, how: str) -> None:
    flair = volume(T2F)
    flair = (
        flair[:, :, 5:] if how == "cut" else sitk.Paste(flair, sitk.Image(32, 36, 5, flair.GetPixelID()), (32, 36, 5))
    )
    sitk.WriteImage(flair, str(job.study / "head_t2f.nii.gz"))
    (warning,) = run(job).warnings
    assert "head_t2f.nii.gz) shows only 81% of the brain in T1 + contrast" in warning


def test_study_is_looked_through_once_where_the_model_is_chosen(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown_scan(job.study)
    named = run(job)
    ignored, search, searched = manifest_of(job).ignored, selection.search, []
    monkeypatch.setattr(selection, "search", lambda *given: searched.append(given) or search(*given))
    monkeypatch.setattr(segment, "choose_model", lambda *_: Choice(find_card(job.model), "it is the only one"))
    result = run(job.model_copy(update={"model": AUTO, "overwrite": True}))
    assert len(searched) == 1
    assert result.choice == "it is the only one"
    assert result.measures == named.measures
    assert manifest_of(job).ignored == ignored


def test_the_purpose_has_a_say_in_which_model_is_chosen(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(recommend, "recommend", lambda *given: asked.append(given) or ())
    with pytest.raises(InputError, match="No model that is installed"):
        run(job.model_copy(update={"model": AUTO, "purpose": Purpose.RESIDUAL}))
    assert asked[0][-1] is Purpose.RESIDUAL


def test_what_was_not_used_is_reported_when_a_sequence_is_missing(job: Job) -> None:
    unknown_scan(job.study)
    (job.study / "head_t1c.nii.gz").unlink()
    result = run(job)
    cost, unused = result.warnings
    assert cost == result.cost
    assert unused.startswith("Of the study were not used: 'scan3")
    assert "give it with --t1n, --t1c, --t2w or --t2f." in unused
    report = unescape(result.files["report"].read_text())
    assert report.count(cost) == 1
    assert unused in report


def test_what_is_left_out_on_purpose_is_not_looked_for(job: Job) -> None:
    result = run(job.model_copy(update={"leave_out": (T1C,)}))
    assert result.warnings == (result.cost,)
    assert result.missing == (T1C,)
    assert manifest_of(job).sequences.keys() == {T2F}


def test_refusal_for_a_mandatory_sequence_names_what_was_at_hand(
    job: Job, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(toy_zoo, inputs=replace(toy_zoo.inputs, mandatory=(T1C,)))
    monkeypatch.setattr("GliomaSegLib.zoo.catalogue.all_cards", lambda: {"toy": strict})
    (job.study / "head_t1c.nii.gz").unlink()
    with pytest.raises(InputError, match=r"cannot work without T1 \+ contrast .* or give the sequence\.$"):
        run(job)
    unknown_scan(job.study)
    with pytest.raises(InputError, match=r"cannot work without T1 .*; not used were 'scan3[^']*' \(.*\)\.$"):
        run(job)


def test_long_lists_are_cut(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    (job.study / "head_t1c.nii.gz").unlink()
    changed_case(monkeypatch, ignored=tuple(f"'{number}' (a localizer)" for number in range(20)))
    result = run(job)
    assert "'5' (a localizer) and 14 more; if one" in result.warnings[1]
    assert len(manifest_of(job).ignored) == 20


def test_doubts_are_reported(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_case(monkeypatch, doubts=("flair.nii does not say how it lies.",))
    assert run(job).warnings == ("flair.nii does not say how it lies.",)


def changed_case(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    read_case = pipeline.read_case

    def changed(*given: object, **named: object) -> Case:
        return dataclasses.replace(read_case(*given, **named), **changes)

    monkeypatch.setattr(pipeline, "read_case", changed)


def test_each_image_is_recorded_by_name_and_pixels(job: Job) -> None:
    run(job)
    records = manifest_of(job).sequences
    for sequence in (T1C, T2F):
        array = sitk.GetArrayFromImage(volume(sequence)).astype("<f4")
        assert records[sequence].pixels_sha256 == hashlib.sha256(array.tobytes()).hexdigest()
        assert f"head_{sequence.value}" in records[sequence].name
        assert records[sequence].files_state == state_of(records[sequence].path)


def test_dicom_is_called_by_its_description(toy_store: Store, tmp_path: Path, write_series) -> None:
    for sequence, name in ((T1C, "AX T1 POST GD"), (T2F, "AX FLAIR")):
        image = volume(sequence)
        place = {"origin_mm": image.GetOrigin(), "spacing_mm": image.GetSpacing()}
        array = np.round(sitk.GetArrayFromImage(image)).astype(np.int16)
        write_series(array, folder=f"study/{sequence.value}", SeriesDescription=name, **place)
    result = run(toy_job(toy_store, tmp_path / "out", study=tmp_path / "study"))
    assert "AX T1 POST GD" in read_manifest(tmp_path / "out").sequences[T1C].name
    assert "AX T1 POST GD" in result.files["report"].read_text()


def test_manifest_says_where_the_network_really_ran(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = toy.Thresholds.predict

    def elsewhere(self: toy.Thresholds, *given: object) -> object:
        return dataclasses.replace(predict(self, *given), device="abacus", precision="float8")

    run(job)
    assert (manifest_of(job).model.device, manifest_of(job).model.precision)[0] in {"cpu", "cuda", "mps"}
    monkeypatch.setattr(toy.Thresholds, "predict", elsewhere)
    run(job.model_copy(update={"overwrite": True}))
    assert (manifest_of(job).model.device, manifest_of(job).model.precision) == ("abacus", "float8")


def test_precision_that_is_asked_for_is_used(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, load = [], toy.load
    monkeypatch.setattr(toy, "load", lambda *given: loaded.append(str(given[3])) or load(*given))
    for precision in (Precision.FLOAT32, Precision.BFLOAT16):
        run(job.model_copy(update={"precision": precision, "overwrite": True}))
        assert manifest_of(job).model.precision == precision
    assert loaded == ["torch.float32", "torch.bfloat16"]


def test_what_the_model_was_trained_on_stands_beside_its_result(
    job: Job, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = replace(toy_zoo, training="Trained on phantoms alone.")
    monkeypatch.setattr("GliomaSegLib.zoo.catalogue.all_cards", lambda: {"toy": trained})
    result = run(job)
    assert result.training == manifest_of(job).model.training == "Trained on phantoms alone."
    assert "<dt>Training</dt><dd>Trained on phantoms alone.</dd>" in result.files["report"].read_text()


def test_result_names_its_files(job: Job) -> None:
    files = run(job).files
    assert {key: path.name for key, path in files.items()} == {
        "label_map": "segmentation.nii.gz",
        "slicer_segmentation": "segmentation.seg.nrrd",
        "measures_json": "measures.json",
        "measures_csv": "measures.csv",
        "report": "report.html",
        "brain": "brain.nii.gz",
        "manifest": "manifest.json",
        "probability_WT": "probability_WT.nii.gz",
    }
    assert all(path.parent == job.output and path.is_file() for path in files.values())


def test_transform_that_cannot_be_written_is_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from GliomaSegLib.preprocessing.rigid import Registration

    def full(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr("GliomaSegLib.results.writing.sitk.WriteTransform", full)
    fields = {field.name: None for field in dataclasses.fields(Registration)}
    moved = Registration(**fields | {"transform": sitk.TranslationTransform(3, (0.0, 0.0, 0.0))})
    monkeypatch.setattr(segment, "register_case", lambda *_: {T2F: moved})
    with pytest.raises(InputError, match=r"t2f\.tfm cannot be written; check that the disk has space\."):
        run(job.model_copy(update={"registration": True}))
    assert not job.output.exists()


# --- transforms that the user gives ----------------------------------------------------------------------------------

ELSEWHERE = (12.0, -6.0, 3.0)  # mm, LPS; whole voxels, so that nothing is interpolated


@pytest.fixture
def displaced(job: Job, tmp_path: Path) -> Job:
    """A job whose FLAIR lies elsewhere, with the transform that says where."""
    flair = volume(T2F)
    flair.SetOrigin((np.array(flair.GetOrigin()) + ELSEWHERE).tolist())
    sitk.WriteImage(flair, str(job.study / "head_t2f.nii.gz"))
    sitk.WriteTransform(sitk.TranslationTransform(3, ELSEWHERE), str(tmp_path / "t2f.tfm"))
    return job.model_copy(update={"transforms": {T2F: tmp_path / "t2f.tfm"}})


@pytest.mark.parametrize("registration", [False, True])
def test_given_transform_is_respected_recorded_and_reported(displaced: Job, registration: bool) -> None:
    result = run(displaced.model_copy(update={"registration": registration}))
    labels = sitk.ReadImage(str(result.files["label_map"]))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), toy_labels())
    record = manifest_of(displaced).sequences[T2F]
    assert record.transform_given == displaced.transforms[T2F]
    assert record.moved_mm == pytest.approx(np.linalg.norm(ELSEWHERE) / 2, abs=0.01)
    assert record.mirror_contrast > 1
    written = sitk.ReadTransform(str(displaced.output / "transforms" / "t2f.tfm"))
    np.testing.assert_allclose(written.TransformPoint((0.0, 0.0, 0.0)), ELSEWHERE, atol=1e-9)
    report = unescape(result.files["report"].read_text())
    off = "" if registration else "switched off by the user; "
    assert f"<dd>{off}to T1 + contrast: FLAIR moved by {record.moved_mm:.1f} mm, as given</dd>" in report


def test_without_the_transform_the_flair_is_elsewhere(displaced: Job) -> None:
    result = run(displaced.model_copy(update={"transforms": {}}))
    assert not np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(result.files["label_map"]))), toy_labels())
    assert manifest_of(displaced).sequences[T2F].transform_given is None


def test_transform_for_the_reference_or_for_nothing_is_refused_before_any_work(displaced: Job) -> None:
    (file,) = displaced.transforms.values()
    with pytest.raises(InputError, match="is the image to which the others are moved"):
        run(displaced.model_copy(update={"transforms": {T1C: file}}))
    run(displaced.model_copy(update={"transforms": {Modality.T2W: file}, "registration": False}))  # the toy takes no T2
    (displaced.study / "head_t2f.nii.gz").unlink()
    with pytest.raises(InputError, match="given to move FLAIR, which the case does not have"):
        run(displaced.model_copy(update={"output": displaced.output.with_name("other")}))
    assert not displaced.output.with_name("other").exists()


# --- nonsense ------------------------------------------------------------------------------------------------------


class _WithoutTheLeft:
    """A brain extractor that does not find what lies furthest to the patient's left."""

    name = "most"

    def extract(self, image: sitk.Image) -> sitk.Image:
        mask = np.zeros(image.GetSize()[::-1], np.uint8)
        mask[1:-1, 1:-1, 1:23] = 1
        return array_on(mask, image)


@pytest.mark.parametrize("task", ["preoperative-glioma", "meningioma"])
def test_labels_outside_the_brain_are_cut_where_no_tumour_can_be(
    job: Job, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    whole_heads = replace(toy_zoo, task=Task(task), space=replace(toy_zoo.space, brain="head"))
    monkeypatch.setattr("GliomaSegLib.zoo.catalogue.all_cards", lambda: {"toy": whole_heads})
    monkeypatch.setattr("GliomaSegLib.pipeline.segment.brain_extractor", lambda *_: _WithoutTheLeft())
    result = run(job.model_copy(update={"brain": BrainMethod.DEEPBET}))
    labels, brain = (sitk.GetArrayFromImage(sitk.ReadImage(str(result.files[key]))) for key in ("label_map", "brain"))
    outside = np.count_nonzero(labels[brain == 0])
    if task == "meningioma":
        assert outside == 8 * 10 * 5
    else:
        assert outside == 8 * 10, "one voxel of 3 mm lies within the margin"
        assert result.measures.volume("WT").voxels == 8 * 10 * 6
        assert "8.64 mL of the tumour lay outside the brain mask and were cut" in " ".join(result.warnings)
        likely = read_probabilities(result.output, sitk.ReadImage(str(result.files["brain"])))[Region.WT]
        assert sitk.GetArrayViewFromImage(likely)[~ndimage.binary_dilation(brain != 0)].max() == 0


def test_volumes_that_no_tumour_has_stand_above_the_answer(job: Job) -> None:
    result = run(job)
    assert not manifest_of(job).implausible
    path = result.files["label_map"]
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    labels[2:-2, 2:-2, 2:-2] = 2
    sitk.WriteImage(array_on(labels, sitk.ReadImage(str(path))), str(path))
    updated = refresh(job.output)
    (sentence,) = manifest_of(job).implausible
    assert sentence.startswith("Implausible: WT 387 mL, 100 % of the brain")
    assert sentence in updated.warnings
    report = result.files["report"].read_text()
    assert report.index(sentence) < report.index('<section class="answer">')
    assert report.count(sentence) == 1
    labels[:] = toy_labels()
    sitk.WriteImage(array_on(labels, sitk.ReadImage(str(path))), str(path))
    assert refresh(job.output).warnings == ()  # mended by the reviewer
    assert manifest_of(job).implausible == ()


def test_the_first_stage_is_shown_before_torch_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from GliomaSegLib.job import Job\nfrom GliomaSegLib.pipeline.run import run\n"
        "from GliomaSegLib.progress import Silent\n"
        "class Seen(Silent):\n"
        "    def stage(self, name):\n"
        "        print(name, 'torch' in sys.modules)\n"
        "        raise SystemExit\n"
        f"run(Job(study=Path({str(tmp_path)!r}), model='auto', output=Path({str(tmp_path / 'out')!r})), Seen())\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "reading False", found.stderr
