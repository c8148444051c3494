"""Reading and writing image files, and the sentence that each kind of bad file gives."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.geometry import orthonormal_direction
from GliomaSegLib.io.images import (
    geometry_doubts,
    read_geometry,
    read_image,
    read_labels,
    write_image,
)
from GliomaSegLib.io.names import image_stem

NOISE = np.random.default_rng(1).normal(100, 20, (8, 9, 6)).astype(np.float32)


def nifti(
    path: Path, array: np.ndarray = NOISE, sform: np.ndarray | None = None, qform: np.ndarray | None = None
) -> Path:
    image = nib.Nifti1Image(array, np.eye(4))
    if sform is not None:
        image.set_sform(sform, code=1)
        image.set_qform(qform, code=0 if qform is None else 1)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_round_trip_keeps_pixels_and_geometry(tmp_path: Path, random_image: sitk.Image, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    write_image(random_image, path)
    again = read_image(path)
    assert again.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(random_image))
    for index in ((0, 0, 0), (7, 8, 5)):
        np.testing.assert_allclose(
            again.TransformIndexToPhysicalPoint(index), random_image.TransformIndexToPhysicalPoint(index), atol=1e-4
        )
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_nifti_x_to_the_right_becomes_lps(tmp_path: Path) -> None:
    array = np.zeros((8, 9, 6), np.int16)
    array[6, 1, 2] = 1000
    array[0, 0, 0] = 1
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])  # voxel x to the left: the negative x of NIfTI's RAS
    image = read_image(nifti(tmp_path / "a.nii.gz", array, affine, affine))
    assert image.TransformIndexToPhysicalPoint((6, 1, 2)) == pytest.approx((12.0, -3.0, 8.0))
    assert image[6, 1, 2] == 1000


def test_four_dimensional_file_with_one_volume_is_read(tmp_path: Path) -> None:
    assert read_image(nifti(tmp_path / "a.nii", NOISE[..., None])).GetSize() == (8, 9, 6)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_corners_that_were_not_scanned_are_0(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(0).integers(1, 900, (6, 9, 8)).astype(np.int16)
    array[:, :2, 0] = -32768
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"))
    read = sitk.GetArrayFromImage(read_image(tmp_path / f"a{suffix}"))
    assert (read[:, :2, 0] == 0).all()
    np.testing.assert_array_equal(read[:, 2:], array[:, 2:])


def test_rounded_cosines_are_made_orthonormal(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1], affine[1, 0] = 1e-5, 3e-5
    direction = np.reshape(read_image(nifti(tmp_path / "a.nii", NOISE, affine)).GetDirection(), (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)


def test_sform_to_a_template_beside_a_scanner_qform_is_read(tmp_path: Path) -> None:
    template = np.diag([1.1, 1.0, 0.9, 1.0])
    image = nib.Nifti1Image(NOISE, np.eye(4))
    image.set_sform(template, code=4)
    image.set_qform(np.eye(4), code=1)
    nib.save(image, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").GetSpacing() == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(
    ("sform_code", "qform_code", "origin_mm"), [(1, 1, 0), (2, 0, 0), (2, 1, -5), (0, 1, -5), (4, 2, -5)]
)
def test_which_transform_is_taken(tmp_path: Path, sform_code: int, qform_code: int, origin_mm: float) -> None:
    image = nib.Nifti1Image(NOISE, np.eye(4))
    image.set_sform(np.eye(4), code=sform_code)
    moved = np.eye(4)
    moved[0, 3] = 5
    image.set_qform(moved, code=qform_code)
    nib.save(image, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").GetOrigin()[0] == pytest.approx(origin_mm)


def test_orientation_that_is_not_said_is_a_doubt(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", NOISE, np.eye(4))
    assert geometry_doubts(path) == ()
    image = nib.load(path)
    image.header["sform_code"] = 0
    nib.save(nib.Nifti1Image(NOISE, None, image.header), tmp_path / "b.nii.gz")
    assert "both its NIfTI transform codes are 0" in geometry_doubts(tmp_path / "b.nii.gz")[0]
    assert read_image(tmp_path / "b.nii.gz").GetDirection() == pytest.approx(np.eye(3).ravel())


def _missing(folder: Path) -> Path:
    return folder / "nothing.nii.gz"


def _text(folder: Path) -> Path:
    (folder / "a.txt").write_text("not pixels")
    return folder / "a.txt"


def _text_called_nifti(folder: Path) -> Path:
    (folder / "a.nii.gz").write_text("not pixels")
    return folder / "a.nii.gz"


def _empty_file(folder: Path) -> Path:
    (folder / "a.nii.gz").touch()
    return folder / "a.nii.gz"


def _truncated_gzip(folder: Path) -> Path:
    path = nifti(folder / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:-200])
    return path


def _truncated_nifti(folder: Path) -> Path:
    path = nifti(folder / "a.nii")
    path.write_bytes(path.read_bytes()[:-200])
    return path


def _short_inside_intact_gzip(folder: Path) -> Path:
    path = nifti(folder / "a.nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-200]))
    return path


def _flipped_bit(folder: Path) -> Path:
    path = nifti(folder / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # inside the checksum
    path.write_bytes(content)
    return path


def _truncated_nrrd(folder: Path) -> Path:
    path = folder / "a.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path), True)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def _sheared_nrrd(folder: Path) -> Path:
    path = folder / "a.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE), str(path))
    path.write_bytes(path.read_bytes().replace(b"(1,0,0) (0,1,0)", b"(1,0,0) (.4,1,0)"))
    return path


def _sheared_nifti(folder: Path) -> Path:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    return nifti(folder / "a.nii", NOISE, affine)


def _mirrored_sform(folder: Path) -> Path:
    return nifti(folder / "a.nii", NOISE, np.diag([-1.0, 1, 1, 1]), np.eye(4))


def _with_nan(folder: Path) -> Path:
    array = NOISE.copy()
    array[2, 3, :3] = np.nan
    return nifti(folder / "a.nii.gz", array)


def _with_infinity(folder: Path) -> Path:
    array = NOISE.T.copy()
    array[2, 3, 3] = np.inf
    sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / "a.nrrd"))
    return folder / "a.nrrd"


def _colour(folder: Path) -> Path:
    return nifti(folder / "a.nii", np.ones((8, 9, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]))


BAD_FILES = [
    (_missing, "does not exist"),
    (lambda folder: folder, "is a folder"),
    (_text, "is not an image"),
    (_text_called_nifti, "is not an image"),
    (_empty_file, "is not an image"),
    (_truncated_gzip, "damaged or cut short"),
    (_truncated_nifti, "damaged or cut short"),
    (_short_inside_intact_gzip, "damaged or cut short"),
    (_flipped_bit, "damaged or cut short"),
    (_truncated_nrrd, "damaged or cut short"),
    (lambda folder: nifti(folder / "a.nii", NOISE[:, :, 0]), "is 2-D"),
    (lambda folder: nifti(folder / "a.nii", NOISE[:, :, :1]), "is 2-D"),
    (lambda folder: nifti(folder / "a.nii", np.stack([NOISE, NOISE], -1)), "is 4-D: it holds 2 volumes"),
    (lambda folder: nifti(folder / "a.nii", NOISE[:, :0]), "is empty"),
    (lambda folder: nifti(folder / "a.nii", np.zeros_like(NOISE)), "is empty: every voxel is zero"),
    (lambda folder: nifti(folder / "a.nii", np.full_like(NOISE, 7)), "is constant: every voxel is 7"),
    (_with_nan, "holds 3 voxels that are NaN"),
    (_with_infinity, "holds 1 voxels that are NaN or infinite"),
    (_sheared_nifti, "sheared axes"),
    (_sheared_nrrd, "sheared axes"),
    (_mirrored_sform, "contradicts itself"),
    (_colour, "3 values per voxel"),
]


@pytest.mark.parametrize(("make", "sentence"), BAD_FILES)
def test_bad_file_is_refused_in_one_sentence(tmp_path: Path, make, sentence: str) -> None:
    path = make(tmp_path)
    with pytest.raises(InputError, match=sentence) as refusal:
        read_image(path)
    text = str(refusal.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text


def test_single_dicom_file_is_refused(write_series) -> None:
    folder = write_series(np.arange(4 * 5 * 6).reshape(4, 5, 6))
    with pytest.raises(InputError, match="give the folder"):
        read_image(next(folder.iterdir()))


def test_labels_are_read_as_uint8(tmp_path: Path) -> None:
    array = np.zeros((6, 9, 8), np.float32)
    array[1:3] = 4
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "seg.nii.gz"))
    labels = read_labels(tmp_path / "seg.nii.gz")
    assert labels.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), array)


def test_empty_label_map_is_legal(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkUInt8), str(tmp_path / "seg.nrrd"))
    assert not sitk.GetArrayFromImage(read_labels(tmp_path / "seg.nrrd")).any()


@pytest.mark.parametrize("value", [0.5, -1, 300])
def test_what_is_no_label_is_refused(tmp_path: Path, value: float) -> None:
    array = np.zeros((6, 9, 8), np.float32)
    array[3, 4, 5] = value
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "seg.nii.gz"))
    with pytest.raises(InputError, match=f"not a label map: it holds the value {value:g}"):
        read_labels(tmp_path / "seg.nii.gz")


def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, random_image: sitk.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_text("old")

    def fail(image: sitk.Image, name: str, **_: object) -> None:
        Path(name).write_text("half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(InputError, match="cannot be written"):
        write_image(random_image, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_into_a_missing_folder_is_refused(tmp_path: Path, random_image: sitk.Image) -> None:
    with pytest.raises(InputError, match="folder must exist"):
        write_image(random_image, tmp_path / "no" / "a.nii.gz")


def test_write_with_another_suffix_is_refused(tmp_path: Path, random_image: sitk.Image) -> None:
    with pytest.raises(InputError, match=r"must end in one of"):
        write_image(random_image, tmp_path / "a.png")


def test_geometry_from_the_header(tmp_path: Path, random_image: sitk.Image) -> None:
    write_image(random_image, tmp_path / "a.nii.gz")
    spacing, normal, extent = read_geometry(tmp_path / "a.nii.gz")
    assert spacing == pytest.approx((0.9, 1.1, 4.0))
    assert extent == pytest.approx((8 * 0.9, 9 * 1.1, 6 * 4.0))
    np.testing.assert_allclose(normal, np.reshape(random_image.GetDirection(), (3, 3))[:, 2], atol=1e-6)
    (tmp_path / "b.nii").write_text(json.dumps({}))
    assert read_geometry(tmp_path / "b.nii") is None


def test_orthonormal_direction_keeps_a_reflection() -> None:
    mirrored = np.diag([-1.0, 1.0, 1.0]) + 1e-4
    assert np.linalg.det(orthonormal_direction(mirrored, "x")) == pytest.approx(-1)


def test_image_stem() -> None:
    assert image_stem(Path("a/case.1_t1.nii.gz")) == "case.1_t1"
    assert image_stem(Path("patient.1998.01.07")) == "patient.1998.01.07"
