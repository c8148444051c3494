"""Brain metastases: scans without geometry as training cases, brains stretched to one box, and the model that ships."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow, read_splits, read_table
from GliomaSegLib.datasets.prepared_case import kept_prepared
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.outputs import regions_per_channel
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.networks.any_unet import AnyUNet
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.training.dataset import CHANNELS, prepare_training_case
from GliomaSegLib.training.recipe import find_recipe, read_recipe
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import any_unet, stretched_brain
from GliomaSegLib.zoo.loaders.stretched_brain import Stretched, stretched_image

MODEL = "gliomaseg-mets-v1"
CPU = torch.device("cpu")
BOX = (12, 24, 24)  # z, y, x

SCANS = Path(os.environ.get("GLIOMASEG_SHARED") or Path(__file__).parents[2].parent / "shared") / "data"
needs_scans = pytest.mark.skipif(not (SCANS / "bcbm-t1c-128").is_dir(), reason="the metastases' scans are not here")


# --- cases without geometry ------------------------------------------------------------------------------------------


def _files(folder: Path, image: NDArray, reference_labels: NDArray) -> None:
    """Files whose headers lie about where the voxels are."""
    for name, array in (("t1c", image.astype(np.float32)), ("truth", reference_labels.astype(np.uint8))):
        file = sitk.GetImageFromArray(array)
        file.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        file.SetSpacing((1, 1, 1))
        sitk.WriteImage(file, str(folder / f"{name}.nii.gz"))


def _row(folder: Path, placeholder: bool = True) -> CaseRow:
    images = {Modality.T1C: folder / "t1c.nii.gz"}
    scheme = LabelScheme.ENHANCING
    return CaseRow("a", "p", "h", images, folder / "truth.nii.gz", Modality.T1C, scheme, placeholder)


def _head() -> tuple[NDArray, NDArray]:
    """A brain of 10 x 14 x 16 voxels with a margin, and a lesion in one corner of it."""
    rng = np.random.default_rng(0)
    image, reference_labels = np.zeros((14, 20, 24)), np.zeros((14, 20, 24))
    image[2:12, 3:17, 4:20] = rng.uniform(80, 120, (10, 14, 16))
    image[3:5, 4:7, 5:9] = 300
    reference_labels[3:5, 4:7, 5:9] = 1
    return image, reference_labels


def test_a_scan_without_geometry_is_taken_voxel_by_voxel(tmp_path: Path) -> None:
    image, reference_labels = _head()
    _files(tmp_path, image, reference_labels)
    case = prepare_training_case(_row(tmp_path), CPU)
    assert case.brain.shape == (14, 18, 20)  # with two voxels around it, as far as there are any
    assert case.labels.sum() == reference_labels.sum() * Label.ET
    where = np.argwhere(case.labels)  # not turned, whatever the headers say
    assert (where.min(axis=0) == (3, 3, 3)).all()
    assert (where.max(axis=0) == (4, 5, 6)).all()
    assert case.spacing_mm == (1.0, 1.0, 1.0)
    assert case.known == (Region.ET,)
    t1c = case.images[CHANNELS.index(Modality.T1C)]
    assert (t1c[~case.brain] == 0).all()
    assert t1c[case.labels > 0].min() > t1c[case.brain & (case.labels == 0)].max()


def test_a_prepared_scan_without_geometry_still_has_none(tmp_path: Path) -> None:
    """Its lesions are counted by voxels, as without the prepared files."""
    _files(tmp_path, *_head())
    kept = kept_prepared(_row(tmp_path), tmp_path / "cache", CPU)
    assert kept.placeholder
    assert kept.reference.parent.parent == tmp_path / "cache"


def test_scan_and_reference_of_different_shapes_are_one_sentence(tmp_path: Path) -> None:
    image, reference_labels = _head()
    _files(tmp_path, image, reference_labels[1:])
    with pytest.raises(InputError, match="different shapes"):
        prepare_training_case(_row(tmp_path), CPU)


def test_the_table_says_which_geometry_is_a_placeholder(tmp_path: Path) -> None:
    _files(tmp_path, *_head())
    heading = "case,patient,hospital,t1n,t1c,t2w,t2f,truth,truth_of,scheme,geometry"
    row = "a,p,h,,t1c.nii.gz,,,truth.nii.gz,t1c,enhancing,"

    def table(geometry: str) -> Path:
        path = tmp_path / "cases.csv"
        path.write_text(f"{heading}\n{row}{geometry}\n", encoding="utf-8")
        return path

    (placeholder,), (own,) = read_table(table("placeholder")), read_table(table(""))
    assert placeholder.placeholder
    assert not own.placeholder
    assert placeholder.key != own.key  # one is not taken for the other when it is prepared already
    with pytest.raises(InputError, match="line 2: 'geometry' is 'guessed'"):
        read_table(table("guessed"))


def test_the_splits_follow_their_rule() -> None:
    recipes = resource("recipes")
    with (recipes / "mets-cases.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    patients = {row["patient"] for row in rows}
    assert (len(rows), len(patients)) == (43, 26)
    order = sorted(patients, key=lambda patient: hashlib.sha256(patient.encode()).hexdigest())
    splits = read_splits(recipes / "mets-splits.json")
    assert splits == {"train": sorted(order[13:]), "test": sorted(order[:13]), "validation": []}
    assert {row["geometry"] for row in rows} == {"placeholder"}


def test_the_trainings_that_are_compared_differ_in_loss_and_sampling_alone() -> None:
    names = [f"gliomaseg-mets-{kind}" for kind in ("iw-bce", "bce", "bce-sampling", "dice-sampling")]
    recipes = [json.loads(read_recipe(find_recipe(name)).model_dump_json()) for name in names]
    chosen = [(one.pop("loss")["name"], one["view"].pop("centred_on")) for one in recipes]
    assert chosen == [("iw-bce", "lesions"), ("bce", "regions"), ("bce", "lesions"), ("dice", "lesions")]
    for one in recipes:
        del one["name"], one["description"]
    assert all(one == recipes[0] for one in recipes)
    shipped = json.loads(read_recipe(find_recipe(MODEL)).model_dump_json())
    assert (shipped["loss"]["name"], shipped["view"].pop("centred_on")) == ("iw-bce", "lesions")
    changed = {key for key, value in shipped.items() if value != recipes[0].get(key)}
    assert changed == {"name", "description", "loss", "iterations"}


# --- stretched brains ------------------------------------------------------------------------------------------------


class Bright:
    """Finds what is bright, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[NDArray[np.float32]] = []

    def predict(self, images: Mapping[Modality, NDArray], progress: Progress, seed: int) -> Prediction:
        image = images[Modality.T1C]
        self.shown.append(image)
        return Prediction(np.zeros(image.shape, np.uint8), {Region.ET: (image > 200).astype(np.float32)})


def _stretched(inner: object) -> Stretched:
    return Stretched(inner, (Modality.T1C,), BOX, regions_per_channel([Region.ET]))


@pytest.mark.parametrize("finer", [(1, 1, 1), (2, 1, 1), (3, 2, 4)])
def test_the_brain_fills_the_box_and_the_lesion_comes_back_to_its_place(finer: tuple[int, int, int]) -> None:
    image, reference_labels = (np.kron(one, np.ones(finer)).astype(np.float32) for one in _head())
    inner = Bright()
    found = _stretched(inner).predict({Modality.T1C: image}, Silent(), 1)
    assert inner.shown[0].shape == BOX
    assert (inner.shown[0] != 0).all()  # no margin is left
    lesion = found.labels == Label.ET
    assert set(np.unique(found.labels)) == {0, Label.ET}
    assert found.labels.shape == image.shape
    dice = 2 * (lesion & (reference_labels > 0)).sum() / (lesion.sum() + reference_labels.sum())
    assert dice > 0.75
    mirrored = 2 * (lesion[..., ::-1] & (reference_labels > 0)).sum()
    assert mirrored == 0
    assert found.probabilities[Region.ET][image == 0].max() == 0


def test_a_stretched_image_is_zero_outside_and_unchanged_where_the_voxels_are_the_same() -> None:
    image = _head()[0].astype(np.float32)
    np.testing.assert_allclose(stretched_image(image, image.shape), image, rtol=1e-5)
    smaller = stretched_image(image, (7, 10, 12))
    assert (smaller[0] == 0).all()
    assert smaller.max() < image.max()


def test_nothing_to_stretch_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"T1 \+ contrast image is empty"):
        _stretched(Bright()).predict({Modality.T1C: np.zeros((8, 8, 8), np.float32)}, Silent(), 1)
    with pytest.raises(InputError, match="none of T1"):
        _stretched(Bright()).predict({}, Silent(), 1)


# --- the model -------------------------------------------------------------------------------------------------------


def _weights(card: Card, path: Path, **changes: object) -> Path:
    parameters = card.network.parameters["network"]["parameters"] | changes
    torch.manual_seed(0)
    state = AnyUNet(**parameters).state_dict()
    any_unet.write_weights({stretched_brain.STAGE: state}, path)
    return path


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    card = find_card(MODEL)
    path = _weights(card, tmp_path / "weights.safetensors", widths=[8, 16])
    with pytest.raises(WeightsError, match="does not hold the weights of this network"):
        stretched_brain.load(path, card.loader_parameters, CPU, torch.float32)


def test_the_network_sees_what_its_training_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Z-scores inside the brain, exactly 0 outside it, in windows of the recipe's own shape."""
    card = find_card(MODEL)
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(AnyUNet, "forward", lambda self, images: seen.append(images.clone()) or images - 4)
    path = _weights(card, tmp_path / "weights.safetensors")
    segmenter = stretched_brain.load(path, card.loader_parameters, CPU, torch.float32)
    zyx = card.network.parameters["brain_voxels"][::-1]
    rng = np.random.default_rng(0)
    image = np.zeros(zyx, np.float32)
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in zyx), indexing="ij"))
    brain = (places**2).sum(0) < 1
    brain[[0, -1], 27, 54] = brain[27, [0, -1], 54] = brain[27, 54, [0, -1]] = True
    image[brain] = rng.uniform(80, 120, brain.sum())
    found = segmenter.predict({Modality.T1C: image}, Silent(), 1)
    seen = [one for one in seen if one.device == CPU]  # what it needs is first counted without data
    assert {tuple(one.shape[2:]) for one in seen} == {tuple(read_recipe(find_recipe(MODEL)).view.shape)}
    middle = max(seen, key=lambda one: int((one != 0).sum()))
    assert abs(float(middle[middle != 0].mean())) < 0.2
    assert 0.8 < float(middle[middle != 0].std()) < 1.2
    assert min(float((one == 0).float().mean()) for one in seen) == 0
    assert max(float((one == 0).float().mean()) for one in seen) > 0.5
    assert found.probabilities[Region.ET].shape == image.shape


def test_the_card_is_a_demonstration_that_ships() -> None:
    card = find_card(MODEL)
    assert card.status.value == "demonstration"
    weights = resource(card.weights.shipped.path)
    assert weights.stat().st_size == card.weights.size_bytes < 3e6
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == card.weights.shipped.sha256
    figures = " ".join(one.remark or "" for one in card.measured)
    assert "recall" in figures
    assert " mm" not in figures
    assert " mL" not in figures


@needs_scans
def test_it_hits_lesions_of_a_patient_it_never_saw_on_their_own_side() -> None:
    """A demonstration: of large lesions it marks a part (median Dice per scan 0.17, see the card)."""
    card = find_card(MODEL)
    segmenter = stretched_brain.load(resource(card.weights.shipped.path), card.loader_parameters, CPU, torch.float32)
    (row,) = (row for row in read_table(resource("recipes") / "mets-cases.csv", SCANS) if row.case.endswith("-104-0"))
    assert row.patient in read_splits(resource("recipes") / "mets-splits.json")["test"]
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(row.images[Modality.T1C]), sitk.sitkFloat32))
    reference_labels = sitk.GetArrayFromImage(sitk.ReadImage(str(row.reference))) > 0
    found = segmenter.predict({Modality.T1C: image}, Silent(), 1).labels > 0
    hit, hit_mirrored = (found & reference_labels).sum(), (found & reference_labels[..., ::-1]).sum()
    assert hit > 50
    assert hit > 3 * hit_mirrored
