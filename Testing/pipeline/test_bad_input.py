"""Bad input of all kinds is refused in one sentence that names the fault, and no output is left."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError, WeightsError
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.job import Job
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.preprocessing.resampling import resample_labels
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.store import Store
from Testing.support.study import SHAPE, on_grid, toy_job, volume, write_study

T1N, T1C, T2W, T2F = Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F


def refusal(job: Job, kind: type[GliomaSegError] = InputError) -> str:
    """The sentence with which ``job`` is refused; there is no output and nothing beside it."""
    before = set(job.output.parent.iterdir()) if job.output.parent.is_dir() else set()
    with pytest.raises(kind) as refused:
        run(job)
    text = str(refused.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert not re.search(r"[.!?] [A-Z]", text), f"more than one sentence: {text}"
    if job.output.parent.is_dir():
        assert set(job.output.parent.iterdir()) == before
    return text


@pytest.fixture
def job(toy_store: Store, tmp_path: Path) -> Job:
    """A job that succeeds; its study may be spoilt."""
    return toy_job(toy_store, tmp_path / "out", study=write_study(tmp_path / "study"))


@pytest.fixture
def flair(job: Job) -> Path:
    """The file of the job's study that a test spoils."""
    return job.study / "head_t2f.nii.gz"


def test_unspoilt_study_is_segmented(job: Job) -> None:
    assert run(job).measures.volume("ET").volume_ml > 0


# --- the file ------------------------------------------------------------------------------------------------------


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def cut_short_inside(path: Path) -> None:
    """Sound compression around a stream that ends too early."""
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5000]))


def text_file(path: Path) -> None:
    path.write_text("This is a letter.")


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def one_slice(path: Path) -> None:
    sitk.WriteImage(volume(T2F)[:, :, 10], str(path))


def time_series(path: Path) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(8, 9, 10, 3)).astype(np.float32), np.eye(4)), path)


def colours(path: Path) -> None:
    sitk.WriteImage(sitk.Compose([volume(T2F)] * 3), str(path))


def all_zero(path: Path) -> None:
    sitk.WriteImage(on_grid(np.zeros(SHAPE, np.float32)), str(path))


def all_equal(path: Path) -> None:
    sitk.WriteImage(on_grid(np.full(SHAPE, 7, np.int16)), str(path))


def holes(value: float) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        array = sitk.GetArrayFromImage(volume(T2F))
        array[4, 4, 4:7] = value
        sitk.WriteImage(on_grid(array), str(path))

    return spoil


def sheared(path: Path) -> None:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[0, 1] = 1.0
    nib.save(nib.Nifti1Image(sitk.GetArrayFromImage(volume(T2F)).T, affine), path)


def contradictory(path: Path) -> None:
    nifti = nib.Nifti1Image(sitk.GetArrayFromImage(volume(T2F)).T, np.diag([3.0, 3.0, 3.0, 1.0]))
    nifti.set_sform(np.diag([3.0, 3.0, 3.0, 1.0]), 1)
    nifti.set_qform(np.diag([-3.0, 3.0, 3.0, 1.0]), 1)
    nib.save(nifti, path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_short, "is damaged or cut short"),
        (cut_short_inside, "is damaged or cut short"),
        (text_file, "is not an image"),
        (no_bytes, "is not an image"),
        (one_slice, "is 2-D: it holds a single slice"),
        (time_series, "is 4-D: it holds 3 volumes"),
        (colours, "has 3 values per voxel"),
        (all_zero, "is empty: every voxel is zero"),
        (all_equal, "is constant: every voxel is 7"),
        pytest.param(holes(np.nan), "holds 3 voxels that are NaN or infinite", id="nan"),
        pytest.param(holes(np.inf), "holds 3 voxels that are NaN or infinite", id="inf"),
        (sheared, "has sheared axes"),
        (contradictory, "contradicts itself"),
    ],
)
def test_file_that_is_no_sound_volume(job: Job, flair: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(flair)
    assert f"{flair} {said}" in refusal(job)


def test_sheared_axes_in_nrrd(job: Job, flair: Path) -> None:
    flair.unlink()
    path = job.study / "head_flair.nrrd"
    header = (
        "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 4 4\n"
        "space directions: (3,0,0) (1,3,0) (0,0,3)\nspace origin: (0,0,0)\nendian: little\nencoding: raw\n\n"
    )
    path.write_bytes(header.encode() + np.arange(64, dtype="<f4").tobytes())
    assert f"{path} has sheared axes" in refusal(job)


def test_file_that_is_not_there(job: Job, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.nii.gz"
    assert f"{missing}, given as FLAIR, does not exist" in refusal(job.model_copy(update={"volumes": {T2F: missing}}))


def test_study_that_is_not_there(job: Job, tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'} does not exist" in refusal(job.model_copy(update={"study": tmp_path / "nowhere"}))


def test_study_without_images(job: Job, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "letter.pdf").write_bytes(b"%PDF")
    assert f"{tmp_path / 'empty'} holds no image file" in refusal(job.model_copy(update={"study": tmp_path / "empty"}))


# --- which is which ------------------------------------------------------------------------------------------------


def test_one_file_for_two_sequences(job: Job, flair: Path) -> None:
    sentence = refusal(job.model_copy(update={"study": None, "volumes": {T1C: flair, T2F: flair}}))
    assert f"{flair} is given both as T1 + contrast and as FLAIR" in sentence


def test_same_image_under_two_names(job: Job, flair: Path) -> None:
    (job.study / "head_t1c.nii.gz").write_bytes(flair.read_bytes())
    sentence = refusal(job)
    assert "'head_t1c.nii.gz' (T1 + contrast) and 'head_t2f.nii.gz' (FLAIR) hold the same image" in sentence


def test_two_files_for_one_sequence(job: Job) -> None:
    sitk.WriteImage(volume(T2W), str(job.study / "head_t1c_2.nii.gz"))
    sentence = refusal(job)
    assert "T1 + contrast could be any of" in sentence
    assert "head_t1c_2.nii.gz" in sentence
    assert "--t1c" in sentence


def test_no_sequence_that_the_model_takes(job: Job, tmp_path: Path) -> None:
    study = write_study(tmp_path / "other", [T1N])
    sentence = refusal(job.model_copy(update={"study": study}))
    assert "holds none of the sequences looked for (T1 + contrast, FLAIR)" in sentence
    assert "'head_t1n.nii.gz' (T1, which is not looked for)" in sentence


def test_unknown_model(job: Job) -> None:
    assert refusal(job.model_copy(update={"model": "nnn"})) == "There is no model 'nnn'; the zoo has toy."


def test_days_since_a_surgery_that_was_not(job: Job) -> None:
    sentence = refusal(job.model_copy(update={"days_since_surgery": 3, "time_point": TimePointKind.PREOPERATIVE}))
    assert "the study is not said to be post-operative" in sentence


# --- how the sequences lie to one another --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def heads(small_phantom: Phantom) -> dict[Modality, sitk.Image]:
    """T1c and FLAIR of the phantom's brain, each on its own grid."""
    brain, found = small_phantom.brain, {}
    for sequence in (T1C, T2F):
        image = small_phantom.images[sequence]
        mask = resample_labels(brain, image, small_phantom.transforms[sequence].GetInverse())
        found[sequence] = sitk.Mask(sitk.Cast(image, sitk.sitkFloat32), mask)
    return found


@pytest.fixture
def aligned(toy_store: Store, tmp_path: Path) -> Callable[[dict[Modality, sitk.Image]], Job]:
    """A job with registration on these images."""

    def made(images: dict[Modality, sitk.Image], **fields: object) -> Job:
        (tmp_path / "heads").mkdir()
        for sequence, image in images.items():
            sitk.WriteImage(image, str(tmp_path / "heads" / f"{sequence.value}.nii.gz"))
        return toy_job(toy_store, tmp_path / "out", study=tmp_path / "heads", **{"registration": True, **fields})

    return made


def test_heads_in_place_are_accepted(heads: dict[Modality, sitk.Image], aligned: Callable[..., Job]) -> None:
    result = run(aligned(heads))
    assert result.warnings == ()
    assert result.measures.volume("ET").volume_ml > 1


def test_mirrored_sequence(heads: dict[Modality, sitk.Image], aligned: Callable[..., Job]) -> None:
    array = sitk.GetArrayFromImage(heads[T2F])[:, :, ::-1].copy()
    sentence = refusal(aligned(heads | {T2F: array_on(array, heads[T2F])}))
    assert "t2f.nii.gz) is mirrored left to right with respect to T1 + contrast (" in sentence
    assert "t1c.nii.gz)" in sentence


def far_away(image: sitk.Image) -> sitk.Image:
    moved = sitk.Image(image)
    moved.SetOrigin([place + 2000 for place in image.GetOrigin()])
    return moved


def test_scanner_space_that_does_not_meet(heads: dict[Modality, sitk.Image], aligned: Callable[..., Job]) -> None:
    result = run(aligned(heads | {T2F: far_away(heads[T2F])}))
    (warning,) = result.warnings
    assert "FLAIR (" in warning
    assert "was placed by its content alone" in warning
    assert result.measures.volume("ET").volume_ml > 1


def test_nothing_that_fits_and_no_overlap(aligned: Callable[..., Job]) -> None:
    noise = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    sentence = refusal(aligned({T1C: volume(T1C), T2F: far_away(on_grid(noise))}))
    assert "t2f.nii.gz) could not be registered to T1 + contrast (" in sentence
    assert "their fields of view do not meet" in sentence


def test_no_overlap_without_registration(heads: dict[Modality, sitk.Image], aligned: Callable[..., Job]) -> None:
    sentence = refusal(aligned(heads | {T2F: far_away(heads[T2F])}, registration=False))
    assert "t2f.nii.gz" in sentence


def test_reference_without_a_brain(
    small_phantom: Phantom, aligned: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    class FindsNothing:
        name = "nothing"

        def extract(self, image: sitk.Image) -> sitk.Image:
            return sitk.Image(image.GetSize(), sitk.sitkUInt8)

    monkeypatch.setattr("GliomaSegLib.pipeline.segment.brain_extractor", lambda *_: FindsNothing())
    sentence = refusal(aligned({T1C: small_phantom.images[T1C]}, brain="deepbet"))
    assert "No brain was found" in sentence


# --- the output ----------------------------------------------------------------------------------------------------


def test_output_below_a_file(job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "out"
    assert f"The output {output} cannot be written (" in refusal(job.model_copy(update={"output": output}))


def test_output_without_permission(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("GliomaSegLib.io.folder._made_beside", refused)
    assert f"The output {job.output} cannot be written (Permission denied)" in refusal(job)


def test_output_that_exists(job: Job) -> None:
    job.output.mkdir()
    (job.output / "thesis.doc").touch()
    assert f"The output {job.output} exists already" in refusal(job)
    assert "is not a folder of GliomaSeg results" in refusal(job.model_copy(update={"overwrite": True}))
    assert [path.name for path in job.output.iterdir()] == ["thesis.doc"]


def test_output_is_refused_before_any_work(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("GliomaSegLib.pipeline.run.read_case", lambda *_, **__: pytest.fail("read the study first"))
    job.output.mkdir()
    refusal(job)


# --- the weights ---------------------------------------------------------------------------------------------------


def test_weights_that_are_missing(job: Job, tmp_path: Path) -> None:
    sentence = refusal(job.model_copy(update={"store": tmp_path / "other"}), WeightsError)
    assert "'toy' are not installed; run 'gliomaseg models install toy'" in sentence


def test_weights_that_are_damaged(job: Job, toy_store: Store, toy_zoo: Card) -> None:
    path = toy_store.weights(toy_zoo)
    path.write_bytes(path.read_bytes()[:-1])
    assert f"The weights in {path.parent} are damaged" in refusal(job, WeightsError)


def test_weights_of_another_model(job: Job, toy_zoo: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    file = replace(toy_zoo.weights.files[0], sha256="0" * 64)
    other = replace(toy_zoo, weights=replace(toy_zoo.weights, files=(file,)))
    monkeypatch.setattr("GliomaSegLib.zoo.catalogue.all_cards", lambda: {"toy": other})
    assert "are not those that the card of 'toy' names" in refusal(job, WeightsError)


# --- a run that is broken off --------------------------------------------------------------------------------------


class StopsAt(Silent):
    """The user cancels when a stage begins."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def stage(self, name: str) -> None:
        if name == self._stage:
            raise Cancelled("The user stopped.")


@pytest.mark.parametrize(
    "stage", ["reading", "registration", "brain extraction", "segmentation", "measures and report"]
)
def test_cancelled_run_leaves_nothing(job: Job, stage: str) -> None:
    before = set(job.output.parent.iterdir())
    with pytest.raises(Cancelled):
        run(job, StopsAt(stage))
    assert set(job.output.parent.iterdir()) == before


def test_failure_while_writing_keeps_the_earlier_results(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    first = run(job)
    manifest = first.files["manifest"].read_bytes()
    monkeypatch.setattr("GliomaSegLib.results.writing.write_report", full)
    again = job.model_copy(update={"overwrite": True, "case_id": "again"})
    assert f"The output {job.output} could not be written (No space left on device)" in refusal(again)
    assert first.files["manifest"].read_bytes() == manifest
    assert all(path.is_file() for path in first.files.values())
