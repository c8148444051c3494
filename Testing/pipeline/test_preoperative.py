"""The study before surgery, from its files to the channels of a network: its position, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, Preoperative, TimePointKind
from GliomaSegLib.cli.main import main
from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.metrics import score as agreement
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.job import Job, new_job
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Purpose
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.pipeline.preoperative import read_earlier
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.preprocessing.resampling import resample_image
from GliomaSegLib.resources import resource
from GliomaSegLib.results.layout import LABEL_MAP
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.purpose import figure_for, for_purpose, reason, score
from GliomaSegLib.zoo.store import Store
from Testing.support.published import installed, zipped
from Testing.support.study import CORE, toy_job, toy_labels, write_study

pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
pytest.importorskip("onnx", reason="makes networks")

from Testing.support.raidionics_folder import network, pipeline, settings

T1N, T1C, T2F = Modality.T1N, Modality.T1C, Modality.T2F
TURN = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.1, -0.05, 0.12, (5.0, -6.0, 4.0))


def postop(name: str = "") -> Card:
    return read_card(resource("models") / f"raidionics-postop{name}.json")


def stripped(phantom: Phantom, sequence: Modality) -> sitk.Image:
    """A sequence on the grid of T1c, 0 outside the brain."""
    image = resample_image(phantom.images[sequence], phantom.reference, phantom.transforms[sequence])
    return sitk.Mask(image, phantom.brain)


def turned(image: sitk.Image) -> sitk.Image:
    """The same voxels of a head that was turned in the scanner."""
    moved = sitk.Image(image)
    moved.SetOrigin(TURN.TransformPoint(image.GetOrigin()))
    axes = np.reshape(TURN.GetMatrix(), (3, 3)) @ np.reshape(image.GetDirection(), (3, 3))
    moved.SetDirection(axes.ravel().tolist())
    return moved


@pytest.fixture(scope="module")
def heads(small_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study after surgery, the one before it, turned, and the tumour of before."""
    folder = tmp_path_factory.mktemp("heads")
    (folder / "after").mkdir()
    for sequence in (T1C, T1N, T2F):
        sitk.WriteImage(stripped(small_phantom, sequence), folder / "after" / f"head_{sequence.value}.nii.gz")
    sitk.WriteImage(turned(stripped(small_phantom, T1C)), folder / "before_t1c.nii.gz")
    core = region_mask(sitk.GetArrayFromImage(small_phantom.reference), Region.TC).astype(np.uint8)
    mask = sitk.GetImageFromArray(core)
    mask.CopyInformation(small_phantom.reference)
    sitk.WriteImage(turned(mask), folder / "before_tumour.nii.gz")
    return folder


@pytest.fixture
def shows_the_earlier_tumour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with raidionics-postop-5p, in its published layout, that marks where the tumour was before surgery."""
    card = postop("-5p")
    weight = np.zeros((2, 5, 3, 3, 3), np.float32)
    weight[1, 4, 1, 1, 1] = 10
    inside = tmp_path / "published" / "inside" / "MRI_GBM_Postop"
    network(weight, (5, 0), False, "Softmax", inside / "model.onnx")
    more = {"output_spacing": "3.0,3.0,3.0", "patch_size": "32,32,32", "patch_offset": "0,0,0"}
    (inside / "pre_processing.ini").write_text(settings(5, ["Background", "Tumor"], [0.0, 0.5], **more))
    description = pipeline(["T1-CE", "T1-w", "FLAIR", "T1-CE", "T1-CE"], "GBM", timestamps=[1, 1, 1, 0, 0], labels=[4])
    (inside / "pipeline.json").write_text(description)
    store = Store(tmp_path / "models")
    local = installed(card, zipped(inside.parent, card.weights.files[0].name).parent, store)
    monkeypatch.setattr(catalogue, "all_cards", lambda: {local.id: local})
    return store


def job_of(heads: Path, store: Store, output: Path, **fields: object) -> Job:
    given = {"preoperative": heads / "before_t1c.nii.gz", "preoperative_mask": heads / "before_tumour.nii.gz"}
    return new_job(
        study=heads / "after",
        model="raidionics-postop-5p",
        output=output,
        store=store.root,
        brain="stripped",
        registration=False,
        **(given | fields),
    )


def test_the_network_sees_the_earlier_tumour_where_it_was(
    heads: Path, shows_the_earlier_tumour: Store, small_phantom: Phantom, tmp_path: Path
) -> None:
    """In the later head's place, on the patient's own side, though the head had turned."""
    result = run(job_of(heads, shows_the_earlier_tumour, tmp_path / "out"))
    found = region_mask(sitk.GetArrayFromImage(read_labels(tmp_path / "out" / LABEL_MAP)), Region.ET)
    core = region_mask(sitk.GetArrayFromImage(small_phantom.reference), Region.TC)
    assert agreement(found, core, (3.0, 3.0, 3.0)).dice > 0.9
    assert not any("earlier" in warning or "before surgery" in warning for warning in result.warnings)


def test_without_the_earlier_study_that_model_is_refused(
    heads: Path, shows_the_earlier_tumour: Store, tmp_path: Path
) -> None:
    job = job_of(heads, shows_the_earlier_tumour, tmp_path / "out", preoperative=None, preoperative_mask=None)
    with pytest.raises(InputError, match=r"also takes T1 \+ contrast before surgery .*--preoperative"):
        run(job)


def test_from_the_command_line(
    heads: Path, shows_the_earlier_tumour: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ("--preoperative", heads / "before_t1c.nii.gz", "--preoperative-mask", heads / "before_tumour.nii.gz")
    words = ("segment", heads / "after", "--model", "raidionics-postop-5p", "-o", tmp_path / "out", *given)
    more = ("--store", shows_the_earlier_tumour.root, "--brain", "stripped", "--no-registration")
    assert main([str(word) for word in (*words, *more, "--purpose", "residual")]) == 0
    assert "ET" in capfd.readouterr().out


# --- what is read --------------------------------------------------------------------------------------------------


@pytest.fixture
def results(toy_store: Store, tmp_path: Path):
    """Makes a folder of results of the toy model."""

    def made(name: str, **fields: object) -> Path:
        study = write_study(tmp_path / f"{name}-study", fields.pop("sequences", (T1C, T2F)))
        run(toy_job(toy_store, tmp_path / name, study=study, **fields))
        return tmp_path / name

    return made


def test_results_bring_their_scan_and_their_core(results) -> None:
    earlier = read_earlier(results("pre", time_point="preoperative"))
    tumour = sitk.GetArrayFromImage(earlier.tumour)
    np.testing.assert_array_equal(tumour, np.isin(toy_labels(), (1, 3)))
    assert tumour[CORE].all()
    assert sitk.GetArrayFromImage(earlier.image)[tumour > 0].std() > 100


def test_results_that_cannot_serve_are_refused(results, heads: Path) -> None:
    with pytest.raises(InputError, match="is of a study after surgery"):
        read_earlier(results("post", days_since_surgery=1))
    with pytest.raises(InputError, match=r"made without T1 \+ contrast"):
        read_earlier(results("flair", sequences=(T2F,)))
    with pytest.raises(InputError, match="says itself where the tumour is"):
        read_earlier(results("pre"), heads / "before_tumour.nii.gz")


def test_an_image_needs_its_tumour_on_its_own_grid(heads: Path, tmp_path: Path) -> None:
    image = heads / "before_t1c.nii.gz"
    with pytest.raises(InputError, match="give it with --preoperative-mask"):
        read_earlier(image)
    with pytest.raises(InputError, match="different grids"):
        read_earlier(heads / "after" / "head_t1c.nii.gz", heads / "before_tumour.nii.gz")
    empty = tmp_path / "empty.nii.gz"
    sitk.WriteImage(sitk.ReadImage(heads / "before_tumour.nii.gz") * 0, empty)
    with pytest.raises(InputError, match="There is no tumour before surgery"):
        read_earlier(image, empty)
    with pytest.raises(InputError, match="given without its image"):
        new_job(study="s", model="m", output="o", preoperative_mask=empty)
    assert new_job(study="s", model="m", output="o", preoperative=image).when.kind is TimePointKind.POSTOPERATIVE


def test_a_model_that_does_not_look_at_it_says_so(toy_store: Store, heads: Path, tmp_path: Path) -> None:
    job = toy_job(toy_store, tmp_path / "out", study=write_study(tmp_path / "study"), preoperative=heads / "nothing")
    assert any("does not look at the study before surgery" in warning for warning in run(job).warnings)


# --- the configuration ---------------------------------------------------------------------------------------------


def test_published_figures_decide_by_purpose_and_richer_is_not_better() -> None:
    """Helland 2023, tables 3 and 4, AGU-Net over 883 patients: Dice .397 with T1 and .374 with FLAIR too; balanced
    accuracy .766 with FLAIR, .761 without."""
    everything = (T1C, T1N, T2F)
    volume, residual = (for_purpose(postop(), purpose) for purpose in Purpose)
    assert volume.sequences_used(everything) == (T1C, T1N)
    assert residual.sequences_used(everything) == everything
    assert volume.sequences_used((T1C,)) == residual.sequences_used((T1C, T2F)) == (T1C,)
    said = reason(volume, everything, Purpose.VOLUME)
    assert "without FLAIR was taken" in said
    assert "0.397 against 0.374, 883 patients" in said
    assert reason(residual, everything, Purpose.RESIDUAL) is None
    assert reason(volume, (T1C, T1N), Purpose.VOLUME) is None


def test_every_configuration_has_its_figures_and_the_paper_prefers_e_for_residual() -> None:
    cards = [postop(name) for name in ("", "-4p", "-5p")]
    best = {}
    for purpose in Purpose:
        found = {
            (card.id, one): score(figure_for(card, one, purpose), purpose)
            for card in cards
            for one in card.inputs.sets or (card.inputs.sequences,)
        }
        assert len(found) == 5
        best[purpose] = max(found, key=found.__getitem__)
    assert best[Purpose.RESIDUAL] == ("raidionics-postop-5p", (T1C, T1N, T2F))
    assert best[Purpose.VOLUME] == ("raidionics-postop-4p", (T1C, T1N))
    assert cards[1].inputs.preoperative == (Preoperative.T1C, Preoperative.TUMOUR)


def test_a_card_without_figures_stays_as_it_is(toy_card: Card) -> None:
    assert for_purpose(toy_card, Purpose.RESIDUAL) == toy_card
