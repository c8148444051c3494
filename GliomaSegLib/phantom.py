"""A made-up MRI study of a head with a glioma whose true extent is known: for the demo and the tests.

The brain is the MNI ICBM 152 nonlinear symmetric template 2009a with its grey and white matter maps, as they come
inside the nilearn wheel (Fonov 2011, doi:10.1016/j.neuroimage.2010.07.033; Fonov 2009,
doi:10.1016/S1053-8119(09)70884-5; Collins 1999, doi:10.1007/3-540-48714-X_16), gently deformed so that it is nobody's
and not symmetric. Those maps are brain only, so meninges, skull, scalp, eyes, face and neck are put around it from
distances to the brain and simple solids. The tumour is a necrotic core inside an irregular enhancing rim, in the
white matter of the patient's RIGHT frontal lobe, and edema that spreads from it along white matter.

A scan is then simulated as a scanner makes it: the head has moved, slices are averages over their thickness, the
receive field is uneven, the noise Rician. The pictures of no person enter.

The template's licence: Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University. Permission to use, copy, modify, and distribute this software and its documentation for
any purpose and without fee is hereby granted, provided that the above copyright notice appear in all copies. The
authors and McGill University make no representations about the suitability of this software for any purpose. It is
provided "as is" without express or implied warranty. The authors are not responsible for any data loss, equipment
damage, property loss, or injury to subjects or patients resulting from the use or misuse of this software package.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.case import Sequence
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Label

TUMOUR_SIDE = "right"
"""The patient's side on which the tumour lies: negative x in LPS."""

Field = NDArray[np.float32]  # a scalar in every voxel of the head's grid, [z, y, x]


@dataclass(frozen=True)
class Phantom:
    """A study and the truth about it.

    Attributes:
        images: what the scanner gives for each sequence, ``uint16``; each with its own grid and head position.
        truth: internal labels (``uint8``: 1 NETC, 2 SNFH, 3 ET) on the grid of T1c.
        brain: the brain with its ventricles and sulci (``uint8``: 1 brain), on the grid of T1c.
        transforms: for each sequence the rigid transform from a point of T1c to the same point of the head in that
            sequence (LPS mm), as ``SimpleITK.Resample`` wants it to bring the sequence onto T1c.
    """

    images: Mapping[Sequence, sitk.Image]
    truth: sitk.Image
    brain: sitk.Image
    transforms: Mapping[Sequence, sitk.Transform]

    def write(self, folder: Path, dicom: bool = False) -> Path:
        """Write the study under ``folder / "study"`` and the truth as ``folder / "truth.nii.gz"``.

        The study is one NIfTI file per sequence, or with ``dicom`` one folder of classic MR Image files per series.

        Returns:
            The folder of the study.

        Raises:
            InputError: the folder cannot be written.
        """
        study = folder / "study"
        try:
            study.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(self.truth, folder / "truth.nii.gz")
            for sequence, image in self.images.items():
                if dicom:
                    _write_series(image, sequence, study / f"{sequence.value}")
                else:
                    sitk.WriteImage(image, study / f"phantom_{sequence.value}.nii.gz")
        except (OSError, RuntimeError) as error:  # SimpleITK reports a failed write as RuntimeError
            raise InputError(f"The phantom cannot be written to {folder}; choose a folder that can be.") from error
        return study


def make_phantom(seed: int = 0, spacing_mm: float = 1.0) -> Phantom:
    """Make a head with a glioma and scan it four times.

    T1n is a sagittal and T1c an axial volume with cubic voxels of ``spacing_mm``; T2w and T2f are axial slices 5 mm
    thick, those of T2f tilted. T1c is the reference; in the others the head has turned by some degrees and moved by
    some millimetres. The same seed gives the same study bit by bit, and at another spacing the same head.

    Args:
        seed: chooses the head's shape, the tumour's outline, the movements and the noise.
        spacing_mm: finest voxel length. 1 takes some seconds; 3 takes one, for tests.

    Raises:
        InputError: the spacing is not between 1 and 4 mm.
    """
    if not 1 <= spacing_mm <= 4:
        raise InputError(f"A phantom cannot be made with voxels of {spacing_mm} mm; choose 1 to 4 mm.")
    head_random, tumour_random, scan_random = (np.random.default_rng([seed, part]) for part in range(3))
    anatomy = _anatomy(spacing_mm, head_random)
    tumour = _tumour(anatomy, tumour_random)
    signals = _signals(anatomy, tumour, head_random)
    transforms = {sequence: _movement(sequence, scan_random) for sequence in Sequence}
    images = {
        sequence: _scan(signals[sequence], _PROTOCOLS[sequence], transforms[sequence], spacing_mm, scan_random)
        for sequence in Sequence
    }
    return Phantom(
        images=images,
        truth=_onto(_image(tumour.labels, anatomy.grid), images[Sequence.T1C]),
        brain=_onto(_image(anatomy.brain.astype(np.uint8), anatomy.grid), images[Sequence.T1C]),
        transforms=transforms,
    )


# --- fields on a grid ----------------------------------------------------------------------------------------------

# The box that holds the head, LPS mm. MNI's own axes, with the neck cut where a head coil ends.
_BOX_FROM_MM = (-101.0, -116.0, -116.0)
_BOX_TO_MM = (101.0, 126.0, 100.0)


def _head_grid(spacing_mm: float) -> sitk.Image:
    """An empty image over the box, axes along L, P, S; its voxels lie on multiples of the spacing."""
    first = np.ceil(np.divide(_BOX_FROM_MM, spacing_mm))
    last = np.floor(np.divide(_BOX_TO_MM, spacing_mm))
    grid = sitk.Image([int(count) for count in last - first + 1], sitk.sitkUInt8)
    grid.SetSpacing((spacing_mm,) * 3)
    grid.SetOrigin((first * spacing_mm).tolist())
    return grid


def _image(array: NDArray, grid: sitk.Image, is_vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=is_vector)
    image.CopyInformation(grid)
    return image


def _onto(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor)


def _axes_mm(grid: sitk.Image) -> list[NDArray[np.float64]]:
    """Coordinates along the array's axes (z, y, x), in mm. Of the axes themselves: direction cosines are left out."""
    size, spacing, origin = grid.GetSize(), grid.GetSpacing(), grid.GetOrigin()
    return [origin[axis] + spacing[axis] * np.arange(size[axis]) for axis in (2, 1, 0)]


def _mesh_mm(grid: sitk.Image) -> tuple[Field, Field, Field]:
    """Coordinates x, y, z (LPS mm) of every voxel, ready to broadcast."""
    z, y, x = np.ix_(*(axis.astype(np.float32) for axis in _axes_mm(grid)))
    return x, y, z


def _random_field(random: np.random.Generator, grid: sitk.Image, length_mm: float) -> Field:
    """A smooth Gaussian random field with mean 0 and variance 1 in every voxel.

    White noise on a coarse lattice fixed in space, spread by a Gaussian of ``length_mm``: what is drawn does not depend
    on the grid, so that a phantom looks alike at every spacing.
    """
    nodes = np.arange(-160.0, 160.0 + length_mm, length_mm)
    field = random.standard_normal((len(nodes),) * 3)
    for axis, coordinates in enumerate(_axes_mm(grid)):
        weights = np.exp(-0.5 * ((coordinates[:, None] - nodes) / length_mm) ** 2)
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
    return field.astype(np.float32)


def _distance_mm(mask: NDArray[np.bool_], grid: sitk.Image) -> Field:
    """Signed distance to the mask's surface in mm, negative inside."""
    image = _image(mask.astype(np.uint8), grid)
    return sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, False, False, True))


def _fraction(distance_mm: Field, edge_mm: float) -> Field:
    """Share of a voxel that lies inside a surface at a signed distance: a ramp ``edge_mm`` wide (partial volume)."""
    return np.clip(0.5 - distance_mm / edge_mm, 0, 1, dtype=np.float32)


# --- the head ------------------------------------------------------------------------------------------------------


class _Anatomy(NamedTuple):
    """The deformed head on its grid. Distances are signed, in mm, negative inside.

    Attributes:
        grey, white: shares of the two tissues in a voxel, 0 to 1; what is left of the brain is CSF.
        texture: how much brighter (positive) or darker the T1 template is than its tissues make it, relative.
        brain: the brain with ventricles and sulci.
        cavity_mm, skull_mm, skin_mm: to the inner and the outer table of the skull and to the surface of the head.
    """

    grid: sitk.Image
    grey: Field
    white: Field
    texture: Field
    brain: NDArray[np.bool_]
    cavity_mm: Field
    skull_mm: Field
    skin_mm: Field


_SHARPENING = 2.0  # exponent on the tissue maps: an average of many brains is more blurred than one brain
_T1_GREY, _T1_WHITE, _T1_CSF = 0.70, 0.87, 0.40  # of the template's largest value
_DEFORMATION_MM = 2.5
_SULCUS_BRIDGED_MM = 12.0
_SUBARACHNOID_MM = 1.5
_SKULL_MM, _SKULL_VARIES_MM, _TABLE_MM = 6.5, 1.0, 1.7
_SCALP_MM, _SKIN_MM = 6.5, 1.8
_COARSE_MM = 2.0  # the head around the brain is smooth: its distances are taken on this grid


class _Solid(NamedTuple):
    """An ellipsoid of the head, LPS mm. ``paired``: there is another on the other side."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    paired: bool = False

    def distance_mm(self, mesh_mm: tuple[Field, Field, Field]) -> Field:
        """Signed distance to the surface (approximate away from it), negative inside."""
        x, y, z = mesh_mm
        places = (np.abs(x) if self.paired else x, y, z)
        squares = sum(((p - c) / r) ** 2 for p, c, r in zip(places, self.centre_mm, self.radii_mm, strict=True))
        return (np.sqrt(squares) - 1) * min(self.radii_mm)


_FACE = (_Solid((0, -45, -65), (62, 50, 64)), _Solid((0, -92, -62), (11, 17, 20)), _Solid((0, 18, -118), (62, 64, 74)))
_AIRWAYS = (
    _Solid((0, -64, -62), (7, 26, 15)),  # nose
    _Solid((0, -10, -92), (12, 8, 42)),  # throat
    _Solid((28, -52, -70), (12, 14, 14), paired=True),  # maxillary sinuses
    _Solid((0, -56, -40), (10, 16, 9)),  # ethmoid cells
    _Solid((0, -24, -44), (11, 12, 8)),  # sphenoid sinus
    _Solid((54, 26, -48), (8, 11, 13), paired=True),  # mastoid cells
)
_ORBIT = _Solid((31, -62, -39), (17, 22, 17), paired=True)
_EYE = _Solid((32, -68, -39), (12, 12, 12), paired=True)


def _anatomy(spacing_mm: float, random: np.random.Generator) -> _Anatomy:
    grid = _head_grid(spacing_mm)
    deformation = _deformation(random)
    t1, grey, white = (_deformed_template(name, grid, deformation) for name in ("t1", "gm", "wm"))
    brain = ndimage.binary_fill_holes(t1 > _T1_CSF / 2)
    grey, white = _sharpened(grey, white, brain)
    expected = _T1_GREY * grey + _T1_WHITE * white + _T1_CSF * (1 - grey - white)
    texture = np.clip(t1 / expected - 1, -0.25, 0.25) * (grey + white)
    return _Anatomy(grid, grey, white, texture, brain, *_around(brain, grid, random))


def _template(name: str) -> sitk.Image:
    """One of nilearn's MNI152 files, 0 to 1. nilearn itself is not imported: that takes seconds."""
    package = importlib.util.find_spec("nilearn")
    if package is None or not package.submodule_search_locations:
        raise InputError("The phantom needs nilearn, which brings the brain template: run 'pip install nilearn'.")
    data = Path(package.submodule_search_locations[0]) / "datasets" / "data"
    return sitk.ReadImage(data / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz", sitk.sitkFloat32) / 255


def _deformation(random: np.random.Generator) -> sitk.Transform:
    coarse = _head_grid(4.0)
    shifts = [_DEFORMATION_MM * _random_field(random, coarse, length_mm=32) for _ in range(3)]
    return sitk.DisplacementFieldTransform(_image(np.stack(shifts, axis=-1).astype(np.float64), coarse, is_vector=True))


def _deformed_template(name: str, grid: sitk.Image, deformation: sitk.Transform) -> Field:
    image, coarser = _template(name), grid.GetSpacing()[0]
    if coarser > 1:  # a larger voxel averages over its volume
        image = sitk.DiscreteGaussian(image, coarser**2 / 12)
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, deformation, sitk.sitkLinear))


def _sharpened(grey: Field, white: Field, brain: NDArray[np.bool_]) -> tuple[Field, Field]:
    powers = [np.clip(share, 0, 1) ** _SHARPENING for share in (grey, white, 1 - grey - white)]
    total = np.where(brain, sum(powers), np.inf)
    return powers[0] / total, powers[1] / total


def _around(brain: NDArray[np.bool_], grid: sitk.Image, random: np.random.Generator) -> list[Field]:
    """Signed distances to the inner and outer table of the skull and to the skin."""
    coarse = _head_grid(max(_COARSE_MM, grid.GetSpacing()[0]))
    cavity_mm = _bridged_mm(sitk.GetArrayFromImage(_onto(_image(brain.astype(np.uint8), grid), coarse)) > 0, coarse)
    skull_mm = cavity_mm - _SKULL_MM - _SKULL_VARIES_MM * _random_field(random, coarse, length_mm=25)
    skin_mm = skull_mm - _SCALP_MM
    for solid in _FACE:
        skin_mm = _blended(skin_mm, solid.distance_mm(_mesh_mm(coarse)), width_mm=12)
    return [_finer(distance_mm, coarse, grid) for distance_mm in (cavity_mm, skull_mm, skin_mm)]


def _bridged_mm(brain: NDArray[np.bool_], grid: sitk.Image) -> Field:
    """Signed distance to the inner table: the brain's surface with its sulci bridged, the meninges added."""
    grown = _distance_mm(brain, grid) < _SULCUS_BRIDGED_MM
    distance_mm = _distance_mm(grown, grid) + _SULCUS_BRIDGED_MM - _SUBARACHNOID_MM
    return ndimage.gaussian_filter(distance_mm, 2.0 / grid.GetSpacing()[0])


def _blended(one_mm: Field, other_mm: Field, width_mm: float) -> Field:
    """Signed distance to the union of two solids, the edge between them filled out (polynomial smooth minimum)."""
    share = np.clip(0.5 + (other_mm - one_mm) / (2 * width_mm), 0, 1)
    return other_mm + (one_mm - other_mm) * share - width_mm * share * (1 - share)


def _finer(field: Field, coarse: sitk.Image, grid: sitk.Image) -> Field:
    resampled = sitk.Resample(_image(field, coarse), grid, sitk.Transform(), sitk.sitkLinear, 100.0)
    return sitk.GetArrayFromImage(resampled).astype(np.float32)


# --- the tumour ----------------------------------------------------------------------------------------------------


class _Tumour(NamedTuple):
    """Internal labels, and the shares (0 to 1) of a voxel that tumour core, necrosis and edema take."""

    labels: NDArray[np.uint8]
    core: Field
    necrosis: Field
    edema: Field


_TUMOUR_CENTRE_MM = (-31.0, -20.0, 27.0)  # LPS: right frontal white matter
_CORE_RADIUS_MM = 16.0
_RIM_MM = 5.0
_EDEMA_REACH_MM = 15.0  # along pure white matter
_EDEMA_IN_GREY = 0.12  # speed at which edema spreads in grey matter, relative to white


def _tumour(anatomy: _Anatomy, random: np.random.Generator) -> _Tumour:
    grid, voxel_mm = anatomy.grid, anatomy.grid.GetSpacing()[0]
    rough, fine, rim, reach = (_random_field(random, grid, length_mm) for length_mm in (11, 5, 8, 12))
    tissue = anatomy.grey + anatomy.white
    core_mm = _Solid(_TUMOUR_CENTRE_MM, (_CORE_RADIUS_MM,) * 3).distance_mm(_mesh_mm(grid)) - 2.2 * rough - 0.9 * fine
    core_mm = np.where(anatomy.brain & (tissue > 0.35), core_mm, np.maximum(core_mm, voxel_mm))
    necrosis_mm = core_mm + np.maximum(_RIM_MM + 1.6 * rim, 2.0)
    travelled_mm = _travelled_mm(core_mm < 0, anatomy)
    edema = _fraction(travelled_mm - _EDEMA_REACH_MM - 4.0 * reach, edge_mm=3.0 + voxel_mm) * (tissue > 0.6)
    labels = np.where(edema > 0.5, np.uint8(Label.SNFH), np.uint8(Label.BACKGROUND))
    labels[core_mm < 0] = Label.ET
    labels[necrosis_mm < 0] = Label.NETC
    return _Tumour(labels, _fraction(core_mm, 1 + voxel_mm), _fraction(necrosis_mm, 1 + voxel_mm), edema)


def _travelled_mm(core: NDArray[np.bool_], anatomy: _Anatomy) -> Field:
    """How far edema has come from the core, as length in pure white matter: grey matter slows it, CSF stops it."""
    speed = anatomy.white + _EDEMA_IN_GREY * anatomy.grey
    speed[(anatomy.grey + anatomy.white < 0.5) & ~core] = 0
    speed[..., _axes_mm(anatomy.grid)[2] > -2] = 0  # not across the midline
    speed = np.maximum(speed, 1e-3)  # the filter divides by it
    marching = sitk.FastMarchingImageFilter()
    surface = core & ~ndimage.binary_erosion(core)
    marching.SetTrialPoints([tuple(int(i) for i in index[::-1]) for index in np.argwhere(surface)])
    marching.SetStoppingValue(2.5 * _EDEMA_REACH_MM)
    arrival = sitk.GetArrayFromImage(marching.Execute(_image(speed.astype(np.float32), anatomy.grid)))
    return np.minimum(arrival, 1e3).astype(np.float32)


# --- what the scanner would see ------------------------------------------------------------------------------------


class _Tissue(Enum):
    """Signal per sequence in arbitrary units, in the order of :class:`Sequence`: T1n, T1c, T2w, T2f."""

    AIR = (0, 0, 0, 0)
    SKIN = (500, 580, 240, 300)
    FAT = (1150, 1150, 700, 560)
    MUSCLE = (420, 520, 150, 200)
    BONE = (60, 60, 30, 30)
    MARROW = (650, 680, 260, 220)
    BLOOD = (330, 1250, 90, 130)
    WATER = (190, 200, 1300, 100)  # CSF and the vitreous body
    GREY = (520, 555, 500, 560)
    WHITE = (720, 735, 360, 440)
    SNFH = (540, 555, 800, 960)
    ET = (600, 1180, 680, 860)
    NETC = (380, 430, 1050, 800)


# How much of the template's T1 texture shows in each sequence: T2 falls where T1 rises.
_TEXTURE = (1.0, 1.0, -0.8, -0.5)


class _Canvas:
    """The signals of all sequences, painted from the air inwards; what is painted later covers what was before."""

    def __init__(self, grid: sitk.Image) -> None:
        self.signals = np.zeros((len(Sequence), *grid.GetSize()[::-1]), dtype=np.float32)

    def paint(self, share: Field, tissue: _Tissue) -> None:
        """Cover ``share`` (0 to 1) of every voxel with ``tissue``."""
        box = _box(share > 0)
        for signal, value in zip(self.signals, tissue.value, strict=True):
            signal[box] += share[box] * (value - signal[box])

    def modulate(self, relative: Field, strengths: tuple[float, ...]) -> None:
        """Multiply the signals by 1 + strength * ``relative``."""
        for signal, strength in zip(self.signals, strengths, strict=True):
            signal *= 1 + strength * relative


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    found = ndimage.find_objects(mask.astype(np.uint8))
    return found[0] if found else (slice(0),) * mask.ndim


def _signals(anatomy: _Anatomy, tumour: _Tumour, random: np.random.Generator) -> dict[Sequence, sitk.Image]:
    """Noise-free images of the head at rest, ``float32`` on its grid."""
    canvas = _Canvas(anatomy.grid)
    _paint_head(canvas, anatomy, random)
    _paint_brain(canvas, anatomy)
    _paint_tumour(canvas, tumour, anatomy, random)
    return {sequence: _image(signal, anatomy.grid) for sequence, signal in zip(Sequence, canvas.signals, strict=True)}


def _paint_head(canvas: _Canvas, anatomy: _Anatomy, random: np.random.Generator) -> None:
    grid, voxel_mm, mesh_mm = anatomy.grid, anatomy.grid.GetSpacing()[0], _mesh_mm(anatomy.grid)

    def inside(distance_mm: Field) -> Field:
        return _fraction(distance_mm, voxel_mm)

    streaks = _random_field(random, grid, length_mm=4)
    canvas.paint(inside(anatomy.skin_mm), _Tissue.SKIN)
    canvas.paint(inside(anatomy.skin_mm + _SKIN_MM), _Tissue.FAT)
    canvas.paint(inside(anatomy.skin_mm + _SCALP_MM + 1) * np.clip(1.2 + streaks, 0, 1), _Tissue.MUSCLE)
    for airway in _AIRWAYS:
        canvas.paint(inside(airway.distance_mm(mesh_mm)), _Tissue.AIR)
    canvas.paint(inside(_ORBIT.distance_mm(mesh_mm)), _Tissue.FAT)
    canvas.paint(inside(_EYE.distance_mm(mesh_mm)), _Tissue.WATER)
    canvas.paint(inside(anatomy.skull_mm), _Tissue.BONE)
    diploe_mm = np.maximum(anatomy.skull_mm + _TABLE_MM, _TABLE_MM - anatomy.cavity_mm)
    canvas.paint(inside(diploe_mm), _Tissue.MARROW)
    canvas.paint(inside(anatomy.cavity_mm), _Tissue.WATER)
    canvas.paint(inside(_sagittal_sinus_mm(anatomy)), _Tissue.BLOOD)


def _sagittal_sinus_mm(anatomy: _Anatomy) -> Field:
    x, _, z = _mesh_mm(anatomy.grid)
    return np.maximum(np.maximum(np.abs(x) - 3.5, -anatomy.cavity_mm - 5.0), 5 - z)


def _paint_brain(canvas: _Canvas, anatomy: _Anatomy) -> None:
    _paint_cord(canvas, anatomy)
    tissue = anatomy.grey + anatomy.white
    canvas.paint(tissue, _Tissue.GREY)
    canvas.paint(np.divide(anatomy.white, tissue, out=np.zeros_like(tissue), where=tissue > 0), _Tissue.WHITE)
    canvas.modulate(anatomy.texture, _TEXTURE)


def _paint_cord(canvas: _Canvas, anatomy: _Anatomy) -> None:
    """The template ends in the brain stem: carry it on as spinal cord in its canal."""
    lowest = int(np.flatnonzero(anatomy.brain.any(axis=(1, 2)))[0])
    row, column = ndimage.center_of_mass(anatomy.brain[lowest])
    z_mm, y_mm, x_mm = _axes_mm(anatomy.grid)
    x, y, z = _mesh_mm(anatomy.grid)
    axis_mm = np.hypot(x - x_mm[round(column)], y - y_mm[round(row)])
    for radius_mm, top_mm, tissue in ((14, -4, _Tissue.BONE), (9, 2, _Tissue.WATER), (5.5, 3, _Tissue.WHITE)):
        distance_mm = np.maximum(axis_mm - radius_mm, z - z_mm[lowest] - top_mm)
        canvas.paint(_fraction(distance_mm, anatomy.grid.GetSpacing()[0]), tissue)


def _paint_tumour(canvas: _Canvas, tumour: _Tumour, anatomy: _Anatomy, random: np.random.Generator) -> None:
    patchy, grainy = (_random_field(random, anatomy.grid, length_mm) for length_mm in (7, 3))
    canvas.paint(tumour.edema * np.clip(0.85 + 0.12 * patchy, 0, 1), _Tissue.SNFH)
    canvas.paint(tumour.core, _Tissue.ET)
    canvas.paint(tumour.necrosis, _Tissue.NETC)
    canvas.modulate(tumour.core * (0.07 * patchy + 0.07 * grainy), (0.5, 1.0, 1.0, 1.0))


# --- the scanner ---------------------------------------------------------------------------------------------------


class _Protocol(NamedTuple):
    """How a sequence is acquired. Times in ms.

    Attributes:
        slice_mm: slice thickness; ``None`` for a volume with cubic voxels.
        in_plane_mm: pixel size, unless the phantom is coarser.
        field_mm: field of view along the image's own axes.
        centre_mm: its middle, LPS.
        direction: LPS directions of the image's axes, one per row.
    """

    description: str
    slice_mm: float | None
    in_plane_mm: float
    field_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float]
    direction: tuple[tuple[float, float, float], ...]
    tags: Mapping[str, object]


_AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))
_TILTED = (
    (1.0, 0.0, 0.0),
    (0.0, 0.9848077530122080, 0.1736481776669303),
    (0.0, -0.1736481776669303, 0.9848077530122080),
)

_GRADIENT_ECHO = {"ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"], "MRAcquisitionType": "3D"}
_SPIN_ECHO = {"ScanningSequence": "SE", "SequenceVariant": ["SK", "SP"], "MRAcquisitionType": "2D", "FlipAngle": 150}
_T1 = _GRADIENT_ECHO | {"RepetitionTime": 1900, "EchoTime": 2.6, "InversionTime": 900, "FlipAngle": 9}

_PROTOCOLS: dict[Sequence, _Protocol] = {
    Sequence.T1N: _Protocol("t1_mprage_sag", None, 1.0, (240, 208, 200), (0, 5, -4), _SAGITTAL, _T1),
    Sequence.T1C: _Protocol(
        "t1_mprage_tra post gad",
        None,
        1.0,
        (200, 240, 192),
        (0, 5, 2),
        _AXIAL,
        _T1 | {"ContrastBolusAgent": "GADOBUTROL"},
    ),
    Sequence.T2W: _Protocol(
        "t2_tse_tra",
        5.0,
        0.9,
        (230, 230, 165),
        (0, 5, 8),
        _AXIAL,
        _SPIN_ECHO | {"RepetitionTime": 5200, "EchoTime": 98},
    ),
    Sequence.T2F: _Protocol(
        "t2_tirm_tra_dark-fluid",
        5.0,
        0.9,
        (230, 230, 170),
        (0, 5, 6),
        _TILTED,
        _SPIN_ECHO | {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "EchoTime": 92, "InversionTime": 2500},
    ),
}

_TURN_DEG, _SHIFT_MM = (1.5, 4.0), (1.0, 4.0)  # smallest and largest, about and along each axis
_SHADING, _SHADING_LENGTH_MM = 0.10, 90.0
_NOISE = 9.0  # standard deviation in each channel of the receiver, in the units of _Tissue


def _movement(sequence: Sequence, random: np.random.Generator) -> sitk.Transform:
    """Where a point of the head at rest (that is, in T1c) lies during ``sequence``."""
    signs = random.choice((-1.0, 1.0), size=6)
    turn, shift = random.uniform(*_TURN_DEG, size=3), random.uniform(*_SHIFT_MM, size=3)
    movement = sitk.Euler3DTransform()
    if sequence is not Sequence.T1C:
        movement.SetRotation(*(float(angle) for angle in np.radians(signs[:3] * turn)))
        movement.SetTranslation((signs[3:] * shift).tolist())
    return movement


def _scan(
    signal: sitk.Image,
    protocol: _Protocol,
    movement: sitk.Transform,
    spacing_mm: float,
    random: np.random.Generator,
) -> sitk.Image:
    """Acquire the moved head: slices averaged over their thickness, shading and Rician noise added."""
    in_plane_mm = max(protocol.in_plane_mm, spacing_mm)
    layers = max(1, round((protocol.slice_mm or spacing_mm) / spacing_mm))
    fine = _scan_grid(protocol, (in_plane_mm, in_plane_mm, spacing_mm), layers)
    moved = sitk.Resample(signal, fine, movement.GetInverse(), sitk.sitkLinear)
    image = sitk.BinShrink(moved, [1, 1, layers]) if layers > 1 else moved
    shading = np.exp(_SHADING * _random_field(random, image, _SHADING_LENGTH_MM))
    real = sitk.GetArrayFromImage(image) * shading + _receiver_noise(image, random)
    magnitude = np.hypot(real, _receiver_noise(image, random))
    return _image(np.rint(magnitude).astype(np.uint16), image)


def _receiver_noise(image: sitk.Image, random: np.random.Generator) -> Field:
    return _NOISE * random.standard_normal(image.GetSize()[::-1], dtype=np.float32)


def _scan_grid(protocol: _Protocol, spacing_mm: tuple[float, float, float], layers: int) -> sitk.Image:
    """The grid of a scan with every slice split into ``layers``. Cubic T1c voxels fall on the head's own."""
    voxels = [round(field / spacing) for field, spacing in zip(protocol.field_mm, spacing_mm, strict=True)]
    voxels[2] = max(1, round(voxels[2] / layers)) * layers
    direction = np.array(protocol.direction).T
    origin = protocol.centre_mm - direction @ (np.multiply(spacing_mm, np.array(voxels) // 2))
    grid = sitk.Image(voxels, sitk.sitkUInt8)
    grid.SetSpacing(spacing_mm)
    grid.SetOrigin((np.rint(origin / spacing_mm[0]) * spacing_mm[0]).tolist())
    grid.SetDirection(direction.ravel().tolist())
    return grid


# --- DICOM ---------------------------------------------------------------------------------------------------------

_SCANNED_AT = datetime.datetime(2020, 1, 1, 12)


def _write_series(image: sitk.Image, sequence: Sequence, folder: Path) -> None:
    """Write a classic MR Image Storage series, one file per slice, with ``DICOM`` coordinates (LPS mm)."""
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    pixels = sitk.GetArrayViewFromImage(image)
    study = generate_uid(entropy_srcs=["GliomaSeg phantom", str(_digest(image))])
    for index in range(image.GetSize()[2]):
        pass
