"""NIfTI and Analyze files as the field sends them: geometry said twice, not said, or in other units."""

from __future__ import annotations

import gzip
import locale
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.images import geometry_doubts, read_geometry, read_image, read_labels

VOXELS = np.random.default_rng(0).normal(100, 20, (24, 20, 16)).astype(np.float32)
SFORM = np.array([[-2.0, 0, 0, 30], [0, -1.5, 0, 40], [0, 0, 3.0, -20], [0, 0, 0, 1]])


def save(path: Path, sform: np.ndarray | None = SFORM, qform: np.ndarray | None = None, array=VOXELS, **fields) -> Path:
    """A NIfTI-1 file; ``fields`` are written into its header as they are, whatever they contradict."""
    image = nib.Nifti1Image(array, np.eye(4) if sform is None else sform)
    image.set_sform(sform, code=0 if sform is None else 1)
    image.set_qform(qform, code=0 if qform is None else 1)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)) if path.name.endswith(".gz") else bytes(content))
    return path


def itk(path: Path) -> sitk.Image:
    return sitk.ReadImage(str(path), sitk.sitkFloat32)


def same_grid(one: sitk.Image, other: sitk.Image) -> None:
    np.testing.assert_allclose(one.GetSpacing(), other.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "u2", "f4", ">f4", "f8"])
@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.5, -3.0), (0.0, 0.0)])
def test_a_sound_file_is_read_as_itk_reads_it(tmp_path: Path, dtype: str, scaling: tuple[float, float]) -> None:
    path = save(
        tmp_path / "a.nii.gz", array=VOXELS.clip(0, 250).astype(dtype), scl_slope=scaling[0], scl_inter=scaling[1]
    )
    image, theirs = read_image(path), itk(path)
    same_grid(image, theirs)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(theirs), rtol=1e-6)
    assert geometry_doubts(path) == ()
    assert read_geometry(path).spacing_mm == pytest.approx((2, 1.5, 3))


@pytest.mark.parametrize("turned", [0.0, 0.3])
def test_a_qform_is_read_as_itk_reads_it(tmp_path: Path, turned: float) -> None:
    affine = SFORM.copy()
    rotation = np.array([[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]])
    affine[:3, :3] = rotation @ affine[:3, :3]
    path = save(tmp_path / "a.nii", sform=None, qform=affine)
    same_grid(read_image(path), itk(path))


@pytest.mark.parametrize("edges", [(-2, 1.5, 3), (-2, -1.5, -3), (1, 1, 1), (2, 1.5, 0), (2, 1.5, np.nan)])
def test_a_sound_sform_is_taken_whatever_pixdim_says_and_that_is_reported(tmp_path: Path, edges: tuple) -> None:
    sound = read_image(save(tmp_path / "sound.nii"))
    path = save(tmp_path / "a.nii", pixdim=[1, *edges, 1, 0, 0, 0])
    same_grid(read_image(path), sound)
    (doubt,) = geometry_doubts(path)
    assert "in two ways how large its voxels are" in doubt
    assert read_geometry(path).spacing_mm == pytest.approx((2, 1.5, 3))


def test_left_and_right_stay_where_they_are_with_a_negative_pixdim(tmp_path: Path) -> None:
    array = np.zeros(VOXELS.shape, np.float32)
    array[20, 3, 4], array[0, 0, 0] = 1000, 1
    image = read_image(save(tmp_path / "a.nii", array=array, pixdim=[1, -2, 1.5, 3, 1, 0, 0, 0]))
    # x to the left of NIfTI's RAS: 30 - 40 = -10 mm from the middle to the right, so 10 mm to the left
    assert image.TransformIndexToPhysicalPoint((20, 3, 4)) == pytest.approx((10.0, -35.5, -8.0))
    assert image[20, 3, 4] == 1000


@pytest.mark.parametrize("edges", [(2, 1.5, 0), (0, 0, 0), (2, np.nan, 3)])
def test_voxel_sizes_that_are_not_said_are_refused(tmp_path: Path, edges: tuple) -> None:
    for path in (
        save(tmp_path / "none.nii", sform=None, pixdim=[1, *edges, 1, 0, 0, 0]),
        save(tmp_path / "q.nii", sform=None, qform=SFORM, pixdim=[1, *edges, 1, 0, 0, 0]),
    ):
        with pytest.raises(InputError, match="how large its voxels are"):
            read_image(path)
        assert read_geometry(path) is None


def test_transforms_of_one_space_that_differ_are_a_doubt(tmp_path: Path) -> None:
    moved = SFORM.copy()
    moved[0, 3] += 7
    path = save(tmp_path / "a.nii", qform=moved)
    same_grid(read_image(path), read_image(save(tmp_path / "sound.nii")))
    (doubt,) = geometry_doubts(path)
    assert "qform and sform differ" in doubt
    assert geometry_doubts(save(tmp_path / "b.nii", qform=SFORM)) == ()


@pytest.mark.parametrize(("unit", "named"), [(1, "metre"), (3, "micron")])
def test_millimetres_in_another_unit_are_refused_with_what_was_read(tmp_path: Path, unit: int, named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_image(save(tmp_path / "a.nii", xyzt_units=unit))


def test_true_metres_are_read(tmp_path: Path) -> None:
    metres = SFORM.copy()
    metres[:3] /= 1000
    same_grid(read_image(save(tmp_path / "a.nii", sform=metres, xyzt_units=1)), read_image(save(tmp_path / "b.nii")))


def test_the_name_does_not_decide_whether_a_file_is_compressed(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("b.nii.gz", "c.nii"):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(tmp_path / name)), VOXELS.transpose(2, 1, 0))
        assert read_geometry(tmp_path / name).spacing_mm == pytest.approx((2, 1.5, 3))


def test_nifti_2_and_pairs_are_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(VOXELS, SFORM), tmp_path / "two.nii.gz")
    nib.save(nib.Nifti1Pair(VOXELS, SFORM), tmp_path / "pair.img")
    for path in (tmp_path / "two.nii.gz", tmp_path / "pair.img", tmp_path / "pair.hdr"):
        image = read_image(path)
        same_grid(image, read_image(save(tmp_path / "sound.nii")))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VOXELS.transpose(2, 1, 0))


def test_extensions_behind_the_header_are_passed_over(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, SFORM)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"written by a viewer" * 100))
    nib.save(image, tmp_path / "a.nii.gz")
    assert geometry_doubts(tmp_path / "a.nii.gz") == ()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image(tmp_path / "a.nii.gz")), VOXELS.transpose(2, 1, 0))


def test_an_analyze_file_is_read_with_a_doubt(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(VOXELS.astype(np.int16), np.diag([2, 1.5, 3, 1])), tmp_path / "old.img")
    for name in ("old.img", "old.hdr"):
        image = read_image(tmp_path / name)
        assert image.GetSpacing() == pytest.approx((2, 1.5, 3))
        assert image.GetDirection() == pytest.approx(np.eye(3).ravel())
        assert "it is an Analyze file" in geometry_doubts(tmp_path / name)[0]


def test_a_pair_without_its_other_file_or_with_a_cut_one_is_one_sentence(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(VOXELS, SFORM), tmp_path / "pair.img")
    whole = (tmp_path / "pair.img").read_bytes()
    (tmp_path / "pair.img").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cut short"):
        read_image(tmp_path / "pair.img")
    (tmp_path / "pair.img").unlink()
    with pytest.raises(InputError, match=r"pair\.img is not beside it"):
        read_image(tmp_path / "pair.hdr")


def test_complex_numbers_are_refused_and_an_intercept_that_is_no_number_is_0(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="complex numbers"):
        read_image(save(tmp_path / "a.nii", array=VOXELS.astype(np.complex64)))
    image = read_image(save(tmp_path / "b.nii", scl_slope=2.0, scl_inter=np.nan))
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), 2 * VOXELS.transpose(2, 1, 0), rtol=1e-6)


def test_labels_that_were_stored_as_floats_are_labels(tmp_path: Path) -> None:
    labels = np.zeros(VOXELS.shape, np.float32)
    labels[3:6, 3:6, 3:6], labels[8:9, 3:6, 3:6] = 1.000001, 3.9999998
    read = sitk.GetArrayFromImage(read_labels(save(tmp_path / "a.nii", array=labels)))
    assert np.unique(read).tolist() == [0, 1, 4]
    labels[0, 0, 0] = 1.4
    with pytest.raises(InputError, match="not a label map"):
        read_labels(save(tmp_path / "b.nii", array=labels))


@pytest.mark.parametrize(
    ("suffix", "leave_out", "unsaid"),
    [
        (".nrrd", b"space", "how it lies in the patient and how large its voxels are"),
        (".mha", b"TransformMatrix", "how it lies in the patient"),
        (".mha", b"ElementSpacing", "how large its voxels are"),
    ],
)
def test_nrrd_and_metaimage_without_their_geometry_are_a_doubt(
    tmp_path: Path, suffix: str, leave_out: bytes, unsaid: str
) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    assert geometry_doubts(path) == ()
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(line for line in lines if not line.startswith(leave_out)))
    (doubt,) = geometry_doubts(path)
    assert f"does not say {unsaid}" in doubt
    read_image(path)


@pytest.mark.parametrize("space", [b"space: scanner-xyz", b"space: 3D-left-handed", b"space dimension: 3"])
def test_a_space_that_is_not_the_patients_is_a_doubt(tmp_path: Path, space: bytes) -> None:
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    path.write_bytes(path.read_bytes().replace(b"space: left-posterior-superior", space))
    (doubt,) = geometry_doubts(path)
    assert "does not say how it lies in the patient" in doubt


@pytest.mark.parametrize(("suffix", "doubts"), [(".vtk", 1), (".gipl", 1), (".tif", 1), (".h5", 0), (".mnc", 0)])
def test_a_format_without_directions_is_a_doubt(tmp_path: Path, suffix: str, doubts: int) -> None:
    image = sitk.GetImageFromArray(VOXELS.astype(np.int16))
    image.SetDirection((1, 0, 0, 0, 0, 1, 0, -1, 0))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    assert len(geometry_doubts(tmp_path / f"a{suffix}")) == doubts
    before = locale.setlocale(locale.LC_ALL)
    assert (read_image(tmp_path / f"a{suffix}").GetDirection() == image.GetDirection()) is (doubts == 0)
    assert locale.setlocale(locale.LC_ALL) == before


@pytest.mark.parametrize("code", [0, 1, 3, 255, 1536, 2048, 9999, -1])
def test_a_data_type_that_is_not_known_is_named(tmp_path: Path, code: int) -> None:
    path = save(tmp_path / "a.nii", datatype=code)
    with pytest.raises(InputError, match=rf"holds voxels of no known data type \(code {code}\)"):
        read_image(path)
    assert read_geometry(path) is None


@pytest.mark.parametrize("offset", [-400.0, math.nan, math.inf, 1e30])
def test_an_impossible_place_of_the_voxels_is_refused(tmp_path: Path, offset: float) -> None:
    with pytest.raises(InputError, match="damaged or cut short"):
        read_image(save(tmp_path / "a.nii", vox_offset=offset))


def test_a_header_without_three_axes_is_one_sentence_to_every_reader(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", dim=[1, 24, 1, 1, 1, 1, 1, 1])
    assert read_geometry(path) is None
    for read in (read_image, geometry_doubts):
        with pytest.raises(InputError, match="is 2-D"):
            read(path)


def test_a_data_type_that_analyze_does_not_have_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", datatype=256)
    content = path.read_bytes()
    (tmp_path / "a.hdr").write_bytes(content[:344] + bytes(4))
    (tmp_path / "a.img").write_bytes(content[352:])
    with pytest.raises(InputError, match="no known data type \\(code 256\\)"):
        read_image(tmp_path / "a.img")
