"""How far a case is from the training data: the fit, what a distance means, where it is measured, what is reported."""

from __future__ import annotations

import csv
import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.spatial.distance import mahalanobis
from torch import Tensor, nn

from GliomaSegLib.batch.cases import BatchCase
from GliomaSegLib.batch.summary import _summary_of_results, write_summary
from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.coarse_fine import CoarseFine, Stage, Stages
from GliomaSegLib.inference.training_distance import (
    Group,
    TrainingDistance,
    TrainingFeatures,
    read_training_features,
    share_of_limit,
)
from GliomaSegLib.networks.any_unet import AnyUNet
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.progress import Silent
from GliomaSegLib.results.reading import read_manifest
from GliomaSegLib.training.features import Sample, fit, samples_of, shrunk_covariance
from GliomaSegLib.zoo.card_weights import ShippedFile
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.store import Store
from Testing.support import toy
from Testing.support.study import toy_job, write_study
from Testing.support.training_case import make_case

T1N, T1C, T2W, T2F = Modality
BOTH, FLAIR = frozenset({T1C, T2F}), frozenset({T2F})


def samples(patients: int = 30, features: int = 5) -> list[Sample]:
    """Two scans of each patient with two sets of sequences, whose features differ in mean and in scale."""
    rng = np.random.default_rng(3)
    scale, offsets = 10.0 ** np.arange(-2, features - 2), {BOTH: 3.0, FLAIR: -3.0}
    return [
        Sample(f"p{patient}-{scan}", f"p{patient}", present, scale * (offset + own + rng.normal(0, 0.5, features)))
        for patient in range(patients)
        for own in [rng.normal(0, 1, features)]
        for scan in range(2)
        for present, offset in offsets.items()
    ]


# --- the fit -------------------------------------------------------------------------------------------------------


def test_the_distance_is_that_of_mahalanobis() -> None:
    given = samples()
    found = fit(given, "layer")
    own = {present: np.stack([one.features for one in given if one.present == present]) for present in (BOTH, FLAIR)}
    means = {present: features.mean(0) for present, features in own.items()}
    residuals = np.concatenate([features - means[present] for present, features in own.items()])
    scale = residuals.std(0)
    precision = np.linalg.inv(shrunk_covariance(residuals / scale) * np.outer(scale, scale))
    for present in (BOTH, FLAIR):
        case = means[present] + residuals[7] * 4
        distance = found.distance(case, present)
        assert distance.distance == pytest.approx(mahalanobis(case, means[present], precision), rel=1e-3)
        assert distance.cases == 60


def test_the_covariance_is_that_of_ledoit_and_wolf() -> None:
    reference = pytest.importorskip("sklearn.covariance")
    for count, size in ((20, 40), (300, 4)):
        residuals = np.random.default_rng(count).normal(0, np.linspace(1, 3, size), (count, size))
        expected, share = reference.ledoit_wolf(residuals, assume_centered=True)
        assert 0 < share < 1
        assert shrunk_covariance(residuals) == pytest.approx(expected)


def test_every_training_case_is_measured_without_its_patient() -> None:
    given = samples(8)
    found = fit(given, "layer", fewest=16)
    alone = [
        fit([other for other in given if other.patient != one.patient], "layer", fewest=14).distance(
            one.features, one.present
        )
        for one in given
        if one.present == BOTH
    ]
    assert found.groups[BOTH].distances == pytest.approx(sorted(one.distance for one in alone), abs=1e-3)


def test_a_case_like_the_training_cases_is_not_far_and_another_is() -> None:
    found = fit(samples(200), "layer")
    same, other = samples(40)[::4], samples(40)[1::4]
    assert all(one.present == BOTH for one in same)
    shares = [found.distance(one.features, BOTH).nearer / 400 for one in same]
    assert 0.3 < np.median(shares) < 0.7
    assert all(found.distance(one.features, BOTH).of_limit > 1 for one in other), "a case of the other set"
    assert not any(found.distance(one.features, FLAIR).of_limit > 1 for one in other)


def test_the_mean_of_a_rare_set_is_guessed_from_what_it_changes() -> None:
    given = samples()
    rare = frozenset({T1C, T2W, T2F})
    odd = sorted((one for one in given if one.present == BOTH), key=lambda one: one.features[0])[:5]  # all of one kind
    more = [dataclasses.replace(one, present=rare, features=one.features + 7.0) for one in odd]
    found, plain = fit([*given, *more], "layer"), fit(given, "layer")
    assert set(found.groups) == {BOTH, FLAIR, rare}
    assert found.groups[rare].mean == pytest.approx(plain.groups[BOTH].mean + 7.0)
    assert np.array_equal(found.groups[rare].distances, plain.groups[BOTH].distances)
    assert set(fit([*given, *more[:4]], "layer").groups) == {BOTH, FLAIR}, "four cases are too few"


def test_sets_of_few_cases_are_left_out() -> None:
    alone = [Sample(f"p{number}-0", f"p{number}", frozenset({T1C}), np.zeros(5)) for number in range(9)]
    found = fit([*samples(), *alone], "layer")
    assert set(found.groups) == {BOTH, FLAIR}
    assert found.distance(np.zeros(5), (T1C,)) is None
    assert found.distance(np.zeros(5), (T2F, T1C)) is not None, "in any order"
    with pytest.raises(InputError, match="No set of sequences has 20 cases; give more cases"):
        fit(samples(9), "layer")


# --- what a distance means -----------------------------------------------------------------------------------------


def line(values: list[float]) -> TrainingFeatures:
    """One feature, whose distance is its size."""
    return TrainingFeatures("layer", np.eye(1), {FLAIR: Group(np.zeros(1), np.array(values))})


def test_the_place_among_the_training_cases() -> None:
    known = line([1.0, 2.0, 2.5, 4.0])
    places = {size: known.distance(np.array([size]), FLAIR) for size in (0.5, -2.2, 4.0, 4.5)}
    assert [one.nearer for one in places.values()] == [0, 2, 3, 4]
    assert [one.of_limit > 1 for one in places.values()] == [False, False, False, True]
    assert places[4.5].of_limit == pytest.approx(1.125)
    assert str(places[-2.2]).startswith("further than 2 of 4 training cases (Mahalanobis distance 2.2")


def test_a_manifest_holds_the_largest_share_of_an_ensemble() -> None:
    near, far = ({"distance": d, "limit": 2.0, "nearer": 1, "cases": 2} for d in (1.0, 3.0))
    assert share_of_limit({"model": {"id": "old"}}) is None
    assert share_of_limit({"model": {"training_distance": near, "members": []}}) == 0.5
    members = [{"training_distance": near}, {"training_distance": far}, {"training_distance": None}]
    assert share_of_limit({"model": {"training_distance": None, "members": members}}) == 1.5


# --- the file ------------------------------------------------------------------------------------------------------


def test_written_and_read_again(tmp_path: Path) -> None:
    found = fit(samples(), "down.1")
    found.write(tmp_path / "features.safetensors")
    again = read_training_features(tmp_path / "features.safetensors")
    assert again.layer == "down.1"
    case = samples()[4].features
    assert again.distance(case, BOTH).distance == pytest.approx(found.distance(case, BOTH).distance, rel=1e-4)
    assert again.distance(case, FLAIR).nearer == found.distance(case, FLAIR).nearer


def test_a_spoilt_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    for spoil in (
        lambda: None,
        lambda: path.write_bytes(b"nonsense"),
        lambda: save_file({"mean.t2f": np.zeros(3)}, path, {"layer": "down.1"}),
        lambda: save_file({"mean.t2f": np.zeros(3)}, path),
    ):
        spoil()
        with pytest.raises(WeightsError, match=r"cannot be read .*; install GliomaSeg again.$"):
            read_training_features(path)


def test_a_file_that_is_not_the_cards_is_refused() -> None:
    file = find_card("gliomaseg-any-v2").weights.shipped
    assert file.sound().name == "gliomaseg-any-v2.safetensors"
    with pytest.raises(WeightsError, match=r"is damaged .*; install GliomaSeg again.$"):
        replace(file, sha256="0" * 64).sound()
    with pytest.raises(WeightsError, match=r"is missing; install GliomaSeg again.$"):
        ShippedFile(path="weights/none.safetensors", size_bytes=1, sha256="0" * 64).sound()


# --- in the network ------------------------------------------------------------------------------------------------


def engine(network: nn.Module, trained_on: TrainingFeatures | None = None) -> CoarseFine:
    stages = Stages(Stage(network.eval(), 2.0, (24, 24, 24), True), None)
    no_weight = (0.0, 0.0, 0.0)
    return CoarseFine(
        tuple(Modality), stages, stages, 1.0, 6.0, no_weight, no_weight, no_weight, 0.0, 0.0, torch.device("cpu"),
        torch.float32, trained_on,
    )  # fmt: skip


class Counting(nn.Module):
    """Its layer's maps are what is shown (FLAIR), and their square; counts its passes."""

    class Layer(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([images[:, 3:], images[:, 3:] ** 2], 1)

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.passes = self.Layer(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        self.layer(images)
        return images[:, :3]


def flair() -> dict[Modality, np.ndarray]:
    """Brighter towards the crown and, a little, on one side: nothing that is lost at low resolution."""
    case = make_case(shape=(56, 72, 64))
    height, side = np.linspace(0, 60, 56)[:, None, None], np.linspace(0, 20, 64)
    return {T2F: ((100 + height + side) * case.brain).astype(np.float32)}


def test_the_features_are_the_means_over_the_brain() -> None:
    network = Counting()
    mean, square = engine(network).features(flair(), "layer")
    assert abs(mean) < 0.1, "z-scores inside the brain"
    assert square == pytest.approx(1, abs=0.25)
    assert not network.layer._forward_hooks, "nothing is left behind"


def test_left_and_right_are_alike_to_the_features() -> None:
    torch.manual_seed(0)
    network = engine(AnyUNet(widths=(4, 8, 8)))
    images = flair()
    turned = {sequence: np.ascontiguousarray(image[:, :, ::-1]) for sequence, image in images.items()}
    found, again = (network.features(one, "down.1") for one in (images, turned))
    assert found.shape == (8,)
    assert found == pytest.approx(again, abs=0.05 * np.abs(found).max())


def test_the_answer_carries_the_distance_without_another_pass() -> None:
    plain, measured = Counting(), Counting()
    known = TrainingFeatures("layer", np.eye(2), {FLAIR: Group(np.array([0.0, 9.0]), np.array([1.0, 2.0]))})
    without = engine(plain).predict(flair(), Silent(), 0)
    found = engine(measured, known).predict(flair(), Silent(), 0)
    assert plain.passes == measured.passes
    assert without.training_distance is None
    assert np.array_equal(without.labels, found.labels)
    assert found.training_distance.distance == pytest.approx(8, abs=0.3)
    assert found.training_distance.of_limit > 1
    both = flair() | {T1C: flair()[T2F]}
    assert engine(Counting(), known).predict(both, Silent(), 0).training_distance is None


def test_every_subset_of_a_training_case_is_a_sample() -> None:
    case = make_case(shape=(40, 48, 40))
    case.images[:2] = 0
    found = list(samples_of(case, engine(Counting()), "layer"))
    assert [one.present for one in found] == [frozenset({T2W}), FLAIR, frozenset({T2W, T2F})]
    assert {one.patient for one in found} == {"made"}
    assert found[1].features == pytest.approx(found[2].features, abs=0.01), "but for how the brain is laid"
    assert found[0].features == pytest.approx(0)


# --- where it is kept-----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [1.0, 3.0])
def test_the_distance_of_a_case_is_kept_for_tables_and_not_shown_in_its_report(
    distance: float, toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = line([1.0, 2.0]).distance(np.array([distance]), FLAIR)
    plain = toy.Thresholds.predict
    monkeypatch.setattr(
        toy.Thresholds,
        "predict",
        lambda self, *given: dataclasses.replace(plain(self, *given), training_distance=measured),
    )
    result = run(toy_job(toy_store, tmp_path / "out", study=write_study(tmp_path / "study")))
    manifest = read_manifest(tmp_path / "out")
    assert result.warnings == manifest.warnings == ()
    assert manifest.model.training_distance == measured
    measures = json.loads(result.files["measures_json"].read_text())
    assert measures["training_distance"] == dataclasses.asdict(measured)
    assert "training data" not in result.files["report"].read_text()
    case = BatchCase("a", {"output": str(tmp_path / "out")}, "a")
    (row,) = (_summary_of_results(case),)
    assert row.training_distance == distance / 2
    write_summary([row], tmp_path / "summary.csv")
    (cells,) = csv.DictReader((tmp_path / "summary.csv").open(encoding="utf-8"))
    assert float(cells["training_distance"]) == distance / 2


def test_a_model_that_cannot_tell_says_nothing(toy_store: Store, tmp_path: Path) -> None:
    result = run(toy_job(toy_store, tmp_path / "out", study=write_study(tmp_path / "study")))
    assert read_manifest(tmp_path / "out").model.training_distance is None
    assert json.loads(result.files["measures_json"].read_text())["training_distance"] is None


# --- what ships ----------------------------------------------------------------------------------------------------


def test_the_shipped_file_is_of_the_shipped_network() -> None:
    card = find_card("gliomaseg-any-v2")
    path = card.training_features.sound()
    assert path.stat().st_size == card.training_features.size_bytes < 100_000
    known = read_training_features(path)
    widths = card.network.parameters["coarse"]["network"]["parameters"]["widths"]
    network = AnyUNet(widths=tuple(widths))
    assert isinstance(network.get_submodule(known.layer), nn.Module)
    for present, group in known.groups.items():
        distance = known.distance(group.mean, present)
        assert isinstance(distance, TrainingDistance)
        assert (distance.distance, distance.nearer) == (0, 0)
        assert len(group.distances) == distance.cases >= 20
        assert np.all(np.diff(group.distances) >= 0)
