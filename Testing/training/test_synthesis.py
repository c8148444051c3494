"""Synthetic training cases: geometry by hand, what must hold for every drawn case, and that seeds are all there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from GliomaSegLib.errors import Cancelled, InputError
from GliomaSegLib.labels import TUMOUR_REGIONS, Label, Region
from GliomaSegLib.progress import Silent
from GliomaSegLib.training.dataset import TrainingCase, read_prepared
from GliomaSegLib.training.synthesis import generator, painting
from GliomaSegLib.training.synthesis.anatomy import Anatomy, anatomy_of, healthy, phantom_anatomy
from GliomaSegLib.training.synthesis.generator import Synthesiser
from GliomaSegLib.training.synthesis.geometry import (
    centroid,
    elastic,
    identity,
    linear,
    sampled,
    sampled_labels,
    smooth_field,
)
from GliomaSegLib.training.synthesis.label_maps import read_label_maps
from GliomaSegLib.training.synthesis.painting import paint, push
from GliomaSegLib.training.synthesis.pool import coarsened, write_pool
from GliomaSegLib.training.synthesis.sample import Sample, whitened
from GliomaSegLib.training.synthesis.transplant import transplant
from GliomaSegLib.training.synthesis.tumour import grow, move

SPACING_MM = 4.0
T1N, T1C, T2W, T2F = range(4)


@pytest.fixture
def one_template(anatomy: Anatomy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deforming templates takes most of the time."""
    monkeypatch.setattr(generator, "phantom_anatomy", lambda random, spacing_mm: anatomy)


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return phantom_anatomy(seeded(), SPACING_MM)


@pytest.fixture(scope="module")
def plain(anatomy: Anatomy) -> Sample:
    """The template's brain with four sequences and no tumour, without noise."""
    signals = [[0.3, 0.7, 1.0], [0.3, 0.7, 1.0], [2.0, 0.9, 0.7], [0.2, 0.9, 0.8]]
    images = np.tensordot(np.array(signals, np.float32), anatomy.shares, axes=1)
    return Sample(whitened(images, anatomy.brain), anatomy.brain, np.zeros(anatomy.brain.shape, np.uint8))


def with_tumour(case: Sample, x_share: float = 0.3, radius_mm: float = 18.0, known: tuple = TUMOUR_REGIONS) -> Sample:
    """A ball bright on FLAIR, its inner half ET and bright on T1c, at a share of the extent from low to high x."""
    shape = np.array(case.brain.shape)
    centre = shape * (0.55, 0.45, x_share)
    distance_mm = SPACING_MM * np.sqrt(((np.indices(shape).T - centre) ** 2).sum(-1)).T
    labels = np.where((distance_mm < radius_mm) & case.brain, np.uint8(Label.SNFH), np.uint8(0))
    labels[(distance_mm < radius_mm / 2) & case.brain] = Label.ET
    images = case.images.copy()
    images[T2F][labels > 0] = 4
    images[T1C][labels == Label.ET] = 5
    return Sample(images, case.brain, labels, known)


# --- geometry ------------------------------------------------------------------------------------------------------


def test_sampling_between_voxels_and_outside() -> None:
    volume = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    points = identity((2, 3, 4))
    np.testing.assert_allclose(sampled(volume, points), volume, rtol=1e-5)
    points[2] += 0.5  # along x
    halfway = sampled(volume, points)[0]
    np.testing.assert_allclose(halfway[..., :3], volume[0, ..., :3] + 0.5, rtol=1e-5)
    np.testing.assert_allclose(halfway[..., 3], volume[0, ..., 3] / 2, rtol=1e-5)  # the other half is outside


def test_labels_are_sampled_by_their_largest_share() -> None:
    labels = np.zeros((1, 1, 4), np.uint8)
    labels[0, 0] = (3, 1, 0, 0)
    points = identity(labels.shape)
    assert sampled_labels(labels, points).ravel().tolist() == [3, 1, 0, 0]
    points[2] += 0.4
    assert sampled_labels(labels, points).ravel().tolist() == [3, 1, 0, 0]
    points[2] += 0.2
    assert sampled_labels(labels, points).ravel().tolist() == [1, 0, 0, 0]


def test_linear_turns_about_a_centre_onto_another_place() -> None:
    quarter = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)  # y from -x, x from y
    points = linear(identity((5, 5, 5)), quarter, np.array([2, 2, 2]), np.array([2, 2, 1]))
    assert points[:, 2, 2, 2].tolist() == [2, 2, 1]
    assert points[:, 2, 2, 3].tolist() == [2, 1, 1]
    assert points[:, 2, 3, 2].tolist() == [2, 2, 2]


def test_smooth_fields_have_the_amplitude_that_was_asked_for() -> None:
    fields = [smooth_field(seeded(seed), (30, 30, 30), 2.0, 12.0) for seed in range(20)]
    assert np.std(fields) == pytest.approx(1, abs=0.15)
    steps = [np.std(np.diff(field, axis=0)) for field in fields]
    assert np.mean(steps) < 0.3  # 2 mm apart is much the same
    assert np.std([elastic(seeded(s), (20, 20, 20), 2.0, 4.0, 12.0) for s in range(8)]) == pytest.approx(2, abs=0.5)


def test_centroid() -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = mask[3, 2, 5] = True
    assert centroid(mask).tolist() == [2, 2, 4]


# --- the brain without its tumour ----------------------------------------------------------------------------------


def test_phantom_shares_add_up(anatomy: Anatomy) -> None:
    np.testing.assert_allclose(anatomy.shares.sum(axis=0), anatomy.brain, atol=1e-5)
    assert 900 < anatomy.brain.sum() * SPACING_MM**3 / 1000 < 2300  # mL


def test_tissues_are_found_again(anatomy: Anatomy, plain: Sample) -> None:
    found = anatomy_of(plain)
    for ours, true in zip(found.shares, anatomy.shares, strict=True):
        assert np.corrcoef(ours[plain.brain], true[plain.brain])[0, 1] > 0.8
    np.testing.assert_allclose(found.shares.sum(axis=0), plain.brain, atol=1e-5)


def test_tissues_need_a_t1(plain: Sample) -> None:
    images = plain.images.copy()
    images[:2] = 0
    with pytest.raises(InputError, match="without T1"):
        anatomy_of(plain._replace(images=images))


@pytest.mark.parametrize("x_share", [0.28, 0.72])
def test_tumour_is_covered_by_the_other_side(plain: Sample, x_share: float) -> None:
    ill = with_tumour(plain, x_share)
    well = healthy(ill, SPACING_MM)
    tumour = ill.labels > 0
    assert not well.labels.any()
    assert ill.images[T2F][tumour].mean() > 3.5
    assert well.images[T2F][tumour].mean() == pytest.approx(plain.images[T2F][tumour].mean(), abs=0.4)
    other_side = ~tumour & ill.brain
    other_side[..., : tumour.shape[2] // 2] &= x_share > 0.5
    other_side[..., tumour.shape[2] // 2 :] &= x_share < 0.5
    assert np.corrcoef(well.images[T1N][other_side], plain.images[T1N][other_side])[0, 1] > 0.99


def test_tumour_on_the_midline_has_no_healthy_side(plain: Sample) -> None:
    assert healthy(with_tumour(plain, 0.5), SPACING_MM) is None


def test_brain_without_tumour_stays(plain: Sample) -> None:
    assert healthy(plain, SPACING_MM) is plain


# --- tumours -------------------------------------------------------------------------------------------------------


def test_moved_tumours_stay_in_the_brain(plain: Sample) -> None:
    ill = with_tumour(plain)
    sides, volumes = [], []
    for seed in range(12):
        there = move(ill.labels, ill.brain, plain.brain, SPACING_MM, seeded(seed))
        assert not there.labels[~plain.brain].any()
        assert set(np.unique(there.labels)) <= {0, 2, 3}
        np.testing.assert_array_equal(np.where(plain.brain, sampled_labels(ill.labels, there.points), 0), there.labels)
        sides.append(centroid(there.labels > 0)[2] < plain.brain.shape[2] / 2)
        volumes.append(np.count_nonzero(there.labels) / np.count_nonzero(ill.labels))
    assert {True, False} == set(sides)
    assert 0.1 < min(volumes) < max(volumes) < 4
    again = move(ill.labels, ill.brain, plain.brain, SPACING_MM, seeded(3))
    np.testing.assert_array_equal(again.labels, move(ill.labels, ill.brain, plain.brain, SPACING_MM, seeded(3)).labels)


def test_grown_tumours_are_of_all_kinds(anatomy: Anatomy) -> None:
    kinds = set()
    for seed in range(25):
        labels = grow(anatomy, SPACING_MM, seeded(seed))
        assert not labels[~anatomy.brain].any()
        assert (labels[anatomy.shares[0] > 0.9] != Label.SNFH).all()  # no edema in the ventricles
        kinds.add(tuple(np.unique(labels[labels > 0]).tolist()))
    assert {(2,), (1, 2), (2, 3), (1, 2, 3)} <= kinds


def test_mass_effect_keeps_volume() -> None:
    """A ball of radius 6 is added by a drawn part: what lies at radius r came from (r³ - part * 6³)^(1/3)."""
    shape, random = (31, 31, 31), seeded(4)
    radius = np.sqrt(((np.indices(shape) - 15) ** 2).sum(axis=0))
    labels = np.where(radius < 6, np.uint8(Label.ET), np.uint8(0))
    part = seeded(4).uniform(0, 0.6)
    points = push(identity(shape), labels, SPACING_MM, random)
    came_from = 15 - points[2, 15, 15, 3]  # 12 voxels from the centre, towards low x
    added = part * np.count_nonzero(labels) * 3 / (4 * np.pi)
    assert came_from == pytest.approx((12**3 - added) ** (1 / 3), abs=1e-3)
    assert came_from < 12
    np.testing.assert_array_equal(push(identity(shape), np.zeros_like(labels), SPACING_MM, random), identity(shape))


# --- painted and transplanted cases --------------------------------------------------------------------------------


def assert_sound(case: Sample) -> None:
    assert case.images.dtype == np.float32
    assert case.labels.dtype == np.uint8
    assert case.images.shape == (4, *case.brain.shape) == (4, *case.labels.shape)
    assert np.isfinite(case.images).all()
    assert not case.images[:, ~case.brain].any()
    assert not case.labels[~case.brain].any()
    for image in case.images[case.images.any(axis=(1, 2, 3))]:
        assert image[case.brain].mean() == pytest.approx(0, abs=1e-3)
        assert image[case.brain].std() == pytest.approx(1, abs=1e-3)


def test_painted_contrasts_are_those_of_the_sequences(anatomy: Anatomy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "_ANY_CONTRAST", 0.0)
    ball = with_tumour(Sample(np.zeros((4, *anatomy.brain.shape), np.float32), anatomy.brain, np.zeros(0, np.uint8)))
    tissue = anatomy.shares.argmax(axis=0)
    normal = (ball.labels == 0) & (anatomy.shares.max(axis=0) > 0.8)
    csf, grey, white = (normal & (tissue == kind) & anatomy.brain for kind in range(3))
    for seed in range(8):
        case = paint(anatomy, ball.labels, SPACING_MM, seeded(seed), deform=False)
        assert_sound(case)
        np.testing.assert_array_equal(case.labels, ball.labels)
        mean = {
            name: case.images[:, mask].mean(axis=1) for name, mask in (("csf", csf), ("grey", grey), ("white", white))
        }
        et, snfh = (case.images[:, ball.labels == label].mean(axis=1) for label in (Label.ET, Label.SNFH))
        assert mean["csf"][T1N] < mean["grey"][T1N] < mean["white"][T1N]
        assert mean["white"][T2W] < mean["grey"][T2W] < mean["csf"][T2W]
        assert mean["csf"][T2F] < mean["white"][T2F]
        assert et[T1C] > max(snfh[T1C], mean["white"][T1C])
        assert snfh[T2F] > mean["white"][T2F]
        assert snfh[T1N] < mean["white"][T1N]


def test_painted_cases_hang_on_the_seed_alone(anatomy: Anatomy) -> None:
    labels = grow(anatomy, SPACING_MM, seeded(1))
    one, again, other = (paint(anatomy, labels, SPACING_MM, seeded(seed)) for seed in (5, 5, 6))
    assert_sound(one)
    for ours, theirs in zip(one[:3], again[:3], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(one.images, other.images)
    assert not np.array_equal(one.labels, other.labels)  # moved with the brain


def test_transplant(plain: Sample) -> None:
    """The host lacks T2, the donor T1: neither is there afterwards, and the rest looks as in the donor."""
    host_images, donor = plain.images.copy(), with_tumour(plain, known=(Region.WT,))
    host_images[T2W] = 0
    donor_images = donor.images.copy()
    donor_images[T1N] = 0
    case = transplant(plain._replace(images=host_images), donor._replace(images=donor_images), SPACING_MM, seeded(2))
    assert_sound(case)
    assert case.known == (Region.WT,)
    assert case.images.any(axis=(1, 2, 3)).tolist() == [False, True, False, True]
    tumour = case.labels > 0
    assert case.images[T2F][tumour].mean() > 2
    assert case.images[T1C][case.labels == Label.ET].mean() > 2
    far = plain.brain & ~tumour
    assert case.images[T2F][far].mean() < 0.2


def test_transplant_scales_the_donor_to_the_host(plain: Sample) -> None:
    """An offset and a factor on the donor's normal brain make no difference."""
    donor = with_tumour(plain)
    stretched = donor._replace(images=np.where(donor.brain, donor.images * 3 + 2, 0).astype(np.float32))
    one, other = (transplant(plain, case, SPACING_MM, seeded(2)) for case in (donor, stretched))
    np.testing.assert_allclose(one.images, other.images, atol=1e-3)


# --- drawing -------------------------------------------------------------------------------------------------------


def test_synthesiser(plain: Sample, one_template: None) -> None:
    cases = [with_tumour(plain), with_tumour(plain, 0.7, known=(Region.WT,)), plain]
    drawn = [Synthesiser(cases, SPACING_MM, seeded(), templates=1).draw(seeded(seed)) for seed in (0, 0)]
    np.testing.assert_array_equal(drawn[0].images, drawn[1].images)
    synthesiser = Synthesiser(cases, SPACING_MM, seeded(), templates=1)
    many = [synthesiser.draw(seeded(seed)) for seed in range(16)]
    for case in many:
        assert_sound(case)
        assert case.labels.any()
    assert {case.known for case in many} == {TUMOUR_REGIONS, (Region.WT,)}


def test_what_does_not_know_the_whole_tumour_is_no_source(plain: Sample, one_template: None) -> None:
    """Its unlabelled edema would become healthy brain."""
    rim_only = with_tumour(plain, known=(Region.ET,))
    alone, without = (Synthesiser(cases, SPACING_MM, seeded(), templates=1) for cases in ([rim_only], []))
    for seed in range(3):
        np.testing.assert_array_equal(alone.draw(seeded(seed)).images, without.draw(seeded(seed)).images)


def training_case(sample: Sample) -> TrainingCase:
    images = sample.images.astype(np.float16)
    return TrainingCase("a", "a", "h", images, sample.brain, sample.labels, sample.known, (SPACING_MM,) * 3)


class StopAt(Silent):
    """Stops the work at a fraction."""

    def __init__(self, fraction: float) -> None:
        self._fraction = fraction

    def advance(self, fraction: float, detail: str = "") -> None:
        if fraction >= self._fraction:
            raise Cancelled("stopped")


def test_pool_is_the_same_after_a_stop(plain: Sample, tmp_path: Path, one_template: None) -> None:
    cases = [training_case(with_tumour(plain))]
    whole = write_pool(cases, tmp_path / "whole", SPACING_MM, 4, seed=3)
    with pytest.raises(Cancelled):
        write_pool(cases, tmp_path / "stopped", SPACING_MM, 4, seed=3, progress=StopAt(0.5))
    assert len(list((tmp_path / "stopped").iterdir())) == 2
    resumed = write_pool(cases, tmp_path / "stopped", SPACING_MM, 4, seed=3)
    for one, other in zip(whole, resumed, strict=True):
        first, second = read_prepared(one), read_prepared(other)
        assert first.hospital == "synthetic"
        assert first.known == second.known
        np.testing.assert_array_equal(first.images, second.images)
        np.testing.assert_array_equal(first.labels, second.labels)
    assert len({read_prepared(path).images.tobytes() for path in whole}) == 4


def test_pool_needs_a_whole_tumour(plain: Sample, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="labels of the whole tumour"):
        write_pool([training_case(with_tumour(plain, known=(Region.ET,)))], tmp_path / "pool", SPACING_MM, 1)


def test_coarsened_by_hand() -> None:
    images = np.zeros((4, 2, 2, 3), np.float16)
    images[0, :, :, :2] = 4
    labels = np.zeros((2, 2, 3), np.uint8)
    labels[0, :, :2] = 1
    labels[1, :, :2] = 3
    labels[1, 0, 0] = 1
    case = TrainingCase("a", "a", "h", images, images[0] > 0, labels, TUMOUR_REGIONS, (1.0, 1.0, 1.0))
    coarse = coarsened(case, 2.0)
    assert coarse.images.shape == (4, 1, 1, 2)
    assert coarse.images[0].ravel().tolist() == [4, 0]
    assert coarse.brain.ravel().tolist() == [True, False]
    assert coarse.labels.ravel().tolist() == [1, 0]


def label_maps_file(tmp_path: Path) -> Path:
    """Two maps in the order x, y, z: a tumour low on the patient's right, and one high on the left."""
    labels = np.zeros((2, 128, 128, 128), np.uint8)
    labels[0, 30:50, 40:60, 20:40] = 2
    labels[0, 36:44, 46:54, 26:34] = 4
    labels[1, 80:100, 70:90, 90:110] = 1
    np.savez(tmp_path / "maps.npz", ids=np.array(["A", "B"]), labels=labels)
    return tmp_path / "maps.npz"


def test_label_maps_keep_their_size_and_place(tmp_path: Path) -> None:
    first, second = read_label_maps(label_maps_file(tmp_path), 2.0)
    assert set(np.unique(first.labels)) == {0, Label.SNFH, Label.ET}
    volume_ml = 20**3 * (240 / 128) ** 2 * (155 / 128) / 1000
    assert np.count_nonzero(first.labels) * 2.0**3 / 1000 == pytest.approx(volume_ml, rel=0.1)
    (z, y, x), (other_z, _, other_x) = (centroid(one.labels > 0) * 2.0 for one in (first, second))
    assert (z, y, x) == pytest.approx((30 * 155 / 128, 50 * 240 / 128, 40 * 240 / 128), abs=2.5)
    assert other_z > z
    assert other_x > x
    assert first.brain.shape == first.labels.shape
    assert first.brain[first.labels > 0].all()
    assert first.brain[second.labels > 0].all()


def test_label_maps_of_validation_and_test_cases_are_left_out(tmp_path: Path) -> None:
    file = label_maps_file(tmp_path)
    (kept,) = read_label_maps(file, 4.0, left_out=["A"])
    assert set(np.unique(kept.labels)) == {0, Label.NETC}
    with np.load(file) as stored:
        np.savez(file, ids=["TCGA_DU_5849_1995", "B"], labels=stored["labels"])
    assert len(read_label_maps(file, 8.0, left_out=["TCGA-DU-5849"])) == 1, "a patient is one however spelt"


def test_a_file_that_holds_no_label_maps_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "maps.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"maps\.npz cannot be read"):
        read_label_maps(tmp_path / "maps.npz", 2.0)


def test_painted_cases_take_their_tumours_from_the_label_maps(
    tmp_path: Path, plain: Sample, one_template: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = read_label_maps(label_maps_file(tmp_path), SPACING_MM, left_out=["A"])
    monkeypatch.setattr(generator, "_TRANSPLANTED", 0.0)
    monkeypatch.setattr(generator, "_GROWN_BESIDE_MAPS", 0.0)
    synthesiser = Synthesiser([plain], SPACING_MM, seeded(), templates=1, label_maps=maps)
    drawn = synthesiser.draw(seeded(3))
    assert set(np.unique(drawn.labels)) == {0, Label.NETC}
