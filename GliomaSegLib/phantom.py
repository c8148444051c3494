"""A made-up MRI study of a head with a glioma whose true extent is known: for the demo and the tests.

The brain is the MNI ICBM 152 nonlinear symmetric template 2009a with its grey and white matter maps, as they come
inside the nilearn wheel (Fonov 2011, doi:10.1016/j.neuroimage.2010.07.033; Fonov 2009,
doi:10.1016/S1053-8119(09)70884-5; Collins 1999, doi:10.1007/3-540-48714-X_16), gently deformed so that it is nobody's
and not symmetric. Those maps are brain only, so meninges, skull, scalp, eyes, face and neck are put around it from
distances to the brain and simple solids. The tumour is a necrotic core inside an irregular enhancing rim, in the
white matter of the patient's RIGHT frontal lobe, and edema that spreads from it along white matter.

A scan is then simulated as a scanner makes it: the head has moved, slices are averages over their thickness, the
receive field is uneven, the noise Rician. No single person's image is in it.

The template's licence: Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University. Permission to use, copy, modify, and distribute this software and its documentation for
any purpose and without fee is hereby granted, provided that the above copyright notice appear in all copies. The
authors and McGill University make no representations about the suitability of this software for any purpose. It is
provided "as is" without express or implied warranty. The authors are not responsible for any data loss, equipment
damage, property loss, or injury to subjects or patients resulting from the use or misuse of this software package.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.case import Sequence
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Label

if TYPE_CHECKING:
    from pydicom.valuerep import DSfloat

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
        Files of the same names are replaced.

        Returns:
            The folder of the study.

        Raises:
            InputError: the folder cannot be written.
        """
        study = folder / "study"
        try:
            study.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(self.truth, folder / "truth.nii.gz")
            identity = hashlib.sha256(sitk.GetArrayViewFromImage(self.truth)).hexdigest()
            for sequence, image in self.images.items():
                if dicom:
                    _write_series(image, sequence, study / sequence.value, identity)
                else:
                    sitk.WriteImage(image, study / f"head_{sequence.value}.nii.gz")
        except (OSError, RuntimeError) as error:  # SimpleITK reports a failed write as RuntimeError
            raise InputError(f"The phantom cannot be written to {folder}; choose a folder that can be.") from error
        return study


def make_phantom(seed: int = 0, spacing_mm: float = 1.0) -> Phantom:
    """Make a head with a glioma and scan it four times.

    T1n is a sagittal and T1c an axial volume with cubic voxels of ``spacing_mm``; T2w and T2f are axial slices about
    5 mm thick (a whole number of voxels), those of T2f tilted. T1c is the reference; in the others the head has turned
    by some degrees and moved by some millimetres. The same seed gives the same study bit by bit, and at another spacing
    the same head.

    Args:
        seed: chooses the head's shape, the tumour's outline, the movements and the noise; 0 or more.
        spacing_mm: voxel length of T1n and T1c. 1 takes some seconds; 3 takes one, for tests.

    Raises:
        InputError: the spacing is not between 1 and 4 mm.
    """
    if not 1 <= spacing_mm <= 4:
        raise InputError(f"A phantom cannot be made with voxels of {spacing_mm} mm; choose 1 to 4 mm.")
    head_random, tumour_random, scan_random = (np.random.default_rng([seed, part]) for part in range(3))
    brain = _brain(spacing_mm, head_random)
    skull = _skull(brain, head_random)
    tumour = _tumour(brain, tumour_random)

    canvas = _Canvas(skull.grid)
    _paint_head(canvas, skull, head_random)
    _paint_brain(canvas, brain)
    _paint_tumour(canvas, tumour, tumour_random)

    transforms = {sequence: _movement(sequence, scan_random) for sequence in Sequence}
    images = {
        sequence: _scan(canvas.picture(sequence), _PROTOCOLS[sequence], transforms[sequence], spacing_mm, scan_random)
        for sequence in Sequence
    }
    return Phantom(
        images=images,
        truth=_onto(_image(tumour.labels, tumour.grid), images[Sequence.T1C]),
        brain=_onto(_image(brain.mask, brain.grid), images[Sequence.T1C]),
        transforms=transforms,
    )


# --- fields on a grid ----------------------------------------------------------------------------------------------


class _Box(NamedTuple):
    """A box along the axes L, P, S of MNI's space, in mm."""

    first_mm: tuple[float, float, float]
    last_mm: tuple[float, float, float]

    def grown(self, margin_mm: float) -> _Box:
        return _Box(tuple(np.subtract(self.first_mm, margin_mm)), tuple(np.add(self.last_mm, margin_mm)))

    def within(self, other: _Box) -> _Box:
        return _Box(tuple(np.maximum(self.first_mm, other.first_mm)), tuple(np.minimum(self.last_mm, other.last_mm)))

    def grid(self, spacing_mm: float) -> sitk.Image:
        """An empty image over the box, its voxels on multiples of the spacing."""
        first = np.ceil(np.divide(self.first_mm, spacing_mm))
        last = np.floor(np.divide(self.last_mm, spacing_mm))
        grid = sitk.Image([int(count) for count in last - first + 1], sitk.sitkUInt8)
        grid.SetSpacing((spacing_mm,) * 3)
        grid.SetOrigin((first * spacing_mm).tolist())
        return grid


_HEAD_BOX = _Box((-102, -118, -118), (102, 134, 108))  # the neck is cut where a head coil ends
_BRAIN_BOX = _Box((-82, -84, -82), (82, 118, 92))


def _image(array: NDArray, grid: sitk.Image) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.CopyInformation(grid)
    return image


def _onto(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """A label map on another grid, 0 where it does not reach."""
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor)


def _region(part: sitk.Image, whole: sitk.Image) -> tuple[slice, ...]:
    """Where the voxels of ``part`` lie in arrays of ``whole``; both from :class:`_Box` with the same spacing."""
    first = whole.TransformPhysicalPointToIndex(part.GetOrigin())
    return tuple(slice(start, start + size) for start, size in zip(first[::-1], part.GetSize()[::-1], strict=True))


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
    distance_mm = sitk.SignedMaurerDistanceMap(
        _image(mask.astype(np.uint8), grid), insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return sitk.GetArrayFromImage(distance_mm)


def _fraction(distance_mm: Field, edge_mm: float) -> Field:
    """Share of a voxel that lies inside a surface at a signed distance: a ramp ``edge_mm`` wide (partial volume)."""
    return np.clip(0.5 - distance_mm / edge_mm, 0, 1, dtype=np.float32)


# --- the brain -----------------------------------------------------------------------------------------------------


class _Brain(NamedTuple):
    """The deformed brain on a grid of its own.

    Attributes:
        mask: ``uint8``, 1 in the brain with its ventricles and sulci.
        grey, white: shares of the two tissues in a voxel, 0 to 1; what is left of the brain is CSF.
        texture: how much brighter (positive) or darker the T1 template is than its tissues make it, relative.
    """

    grid: sitk.Image
    mask: NDArray[np.uint8]
    grey: Field
    white: Field
    texture: Field

    def within(self, box: _Box) -> _Brain:
        """The part in ``box``."""
        part = box.grid(self.grid.GetSpacing()[0])
        region = _region(part, self.grid)
        return _Brain(part, *(field[region] for field in self[1:]))


_DEFORMATION_MM = 2.5
_SHARPENING = 2.0  # exponent on the tissue maps: an average of many brains is more blurred than one brain
_T1_GREY, _T1_WHITE, _T1_CSF = 0.70, 0.87, 0.40  # of the template's largest value


def _brain(spacing_mm: float, random: np.random.Generator) -> _Brain:
    grid = _BRAIN_BOX.grid(spacing_mm)
    t1, grey, white = _deformed_templates(grid, random)
    mask = ndimage.binary_fill_holes(t1 > _T1_CSF / 2)
    grey, white = _sharpened(grey, white, mask)
    expected = _T1_GREY * grey + _T1_WHITE * white + _T1_CSF * (1 - grey - white)
    texture = np.clip(t1 / expected - 1, -0.25, 0.25) * (grey + white)
    return _Brain(grid, mask.astype(np.uint8), grey, white, texture)


def _deformed_templates(grid: sitk.Image, random: np.random.Generator) -> NDArray[np.float32]:
    """The T1 template and the maps of grey and white matter, 0 to 1, with the sequence as first axis."""
    templates = sitk.Compose([_template(name) for name in ("t1", "gm", "wm")])
    templates = sitk.BinShrink(templates, [int(grid.GetSpacing()[0])] * 3)  # a larger voxel averages over its volume
    coarse = _HEAD_BOX.grid(4.0)
    shifts_mm = [_DEFORMATION_MM * _random_field(random, coarse, length_mm=32) for _ in range(3)]
    deformation = sitk.DisplacementFieldTransform(_image(np.stack(shifts_mm, axis=-1).astype(np.float64), coarse))
    deformed = sitk.GetArrayFromImage(sitk.Resample(templates, grid, deformation, sitk.sitkLinear))
    return np.moveaxis(deformed, -1, 0) / np.float32(255)


def _template(name: str) -> sitk.Image:
    """One of nilearn's MNI152 files, 0 to 255. nilearn itself is not imported: that takes seconds."""
    package = importlib.util.find_spec("nilearn")
    if package is None or not package.submodule_search_locations:
        raise InputError("The phantom needs nilearn, which brings the brain template: run 'pip install nilearn'.")
    data = Path(package.submodule_search_locations[0]) / "datasets" / "data"
    return sitk.ReadImage(data / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz", sitk.sitkFloat32)


def _sharpened(grey: Field, white: Field, mask: NDArray[np.bool_]) -> tuple[Field, Field]:
    powers = [np.clip(share, 0, 1) ** _SHARPENING for share in (grey, white, 1 - grey - white)]
    total = np.where(mask, sum(powers), np.inf)
    return powers[0] / total, powers[1] / total


# --- the head around it --------------------------------------------------------------------------------------------


class _Skull(NamedTuple):
    """Signed distances (mm, negative inside) to the inner and outer table of the skull and to the head's surface."""

    grid: sitk.Image
    inner_mm: Field
    outer_mm: Field
    skin_mm: Field


class _Solid(NamedTuple):
    """An ellipsoid, LPS mm. ``paired``: there is another on the other side."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    paired: bool = False

    def box(self) -> _Box:
        """The smallest box around it, or around both of a pair."""
        middle_mm = np.multiply(self.centre_mm, (not self.paired, 1, 1))
        reach_mm = np.add(self.radii_mm, (abs(self.centre_mm[0]) * self.paired, 0, 0))
        return _Box(tuple(middle_mm - reach_mm), tuple(middle_mm + reach_mm))

    def distance_mm(self, grid: sitk.Image) -> Field:
        """Signed distance to the surface (approximate away from it), negative inside."""
        x, y, z = _mesh_mm(grid)
        places = (np.abs(x) if self.paired else x, y, z)
        squares = sum(((p - c) / r) ** 2 for p, c, r in zip(places, self.centre_mm, self.radii_mm, strict=True))
        return (np.sqrt(squares) - 1) * min(self.radii_mm)


_COARSE_MM = 2.0  # the head around the brain is smooth: its distances are taken on this grid
_SULCUS_BRIDGED_MM, _SUBARACHNOID_MM = 13.0, 1.5
_SKULL_MM, _SKULL_VARIES_MM, _TABLE_MM = 6.5, 1.0, 1.7
_SCALP_MM, _SKIN_MM = 5.5, 1.8

_FACE = (
    _Solid((0, -45, -65), (62, 50, 64)),
    _Solid((0, -92, -62), (11, 17, 20)),  # nose
    _Solid((0, 18, -118), (62, 64, 74)),  # neck
)
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


def _skull(brain: _Brain, random: np.random.Generator) -> _Skull:
    grid = _HEAD_BOX.grid(brain.grid.GetSpacing()[0])
    coarse = _HEAD_BOX.grown(_SULCUS_BRIDGED_MM).grid(max(_COARSE_MM, grid.GetSpacing()[0]))
    mask = sitk.GetArrayFromImage(_onto(_image(brain.mask, brain.grid), coarse)) > 0
    inner_mm = _bridged_mm(mask, coarse) - _SUBARACHNOID_MM
    outer_mm = inner_mm - _SKULL_MM - _SKULL_VARIES_MM * _random_field(random, coarse, length_mm=30)
    skin_mm = outer_mm - _SCALP_MM
    for solid in _FACE:
        skin_mm = _blended(skin_mm, solid.distance_mm(coarse), width_mm=12)
    return _Skull(grid, *(_finer(distance_mm, coarse, grid) for distance_mm in (inner_mm, outer_mm, skin_mm)))


def _bridged_mm(mask: NDArray[np.bool_], grid: sitk.Image) -> Field:
    """Signed distance to the brain's surface after a morphological closing that bridges its sulci."""
    grown = _distance_mm(mask, grid) < _SULCUS_BRIDGED_MM
    return ndimage.gaussian_filter(_distance_mm(grown, grid) + _SULCUS_BRIDGED_MM, 2.0 / grid.GetSpacing()[0])


def _blended(one_mm: Field, other_mm: Field, width_mm: float) -> Field:
    """Signed distance to the union of two solids, the edge between them filled out (polynomial smooth minimum)."""
    share = np.clip(0.5 + (other_mm - one_mm) / (2 * width_mm), 0, 1)
    return other_mm + (one_mm - other_mm) * share - width_mm * share * (1 - share)


def _finer(field: Field, coarse: sitk.Image, grid: sitk.Image) -> Field:
    return sitk.GetArrayFromImage(sitk.Resample(_image(field.astype(np.float32), coarse), grid))


# --- the tumour ----------------------------------------------------------------------------------------------------


class _Tumour(NamedTuple):
    """Internal labels, and the shares (0 to 1) of a voxel that tumour core, necrosis and edema take."""

    grid: sitk.Image
    labels: NDArray[np.uint8]
    core: Field
    necrosis: Field
    edema: Field


_TUMOUR = _Solid((-31, -20, 27), (16, 16, 16))  # right frontal white matter
_TUMOUR_BOX = _Box((-82, -78, -30), (6, 38, 84))
_RIM_MM, _THINNEST_RIM_MM = 4.5, 1.5
_EDGE_MM = 2.0  # over which one part of the tumour gives way to the next
_EDEMA_REACH_MM, _REACH_VARIES_MM = 17.0, 3.5  # along pure white matter
_EDEMA_IN_GREY = 0.3  # speed at which edema spreads in grey matter, relative to white


def _tumour(whole: _Brain, random: np.random.Generator) -> _Tumour:
    brain = whole.within(_TUMOUR_BOX)
    voxel_mm = brain.grid.GetSpacing()[0]
    edge_mm = max(_EDGE_MM, voxel_mm)
    lobes, bumps, rim, reach = (_random_field(random, brain.grid, length_mm) for length_mm in (12, 5, 7, 12))
    tissue = brain.grey + brain.white
    core_mm = _TUMOUR.distance_mm(brain.grid) - 3.2 * lobes - 1.2 * bumps
    core_mm = np.where(tissue > 0.35, core_mm, np.maximum(core_mm, voxel_mm))
    necrosis_mm = core_mm + np.maximum(_RIM_MM + 1.8 * rim, _THINNEST_RIM_MM)
    travelled_mm = _travelled_mm(core_mm < 0, brain)
    edema = _fraction(travelled_mm - _EDEMA_REACH_MM - _REACH_VARIES_MM * reach, edge_mm) * (tissue > 0.5)
    labels = np.where(edema > 0.5, np.uint8(Label.SNFH), np.uint8(Label.BACKGROUND))
    labels[core_mm < 0] = Label.ET
    labels[necrosis_mm < 0] = Label.NETC
    return _Tumour(brain.grid, labels, _fraction(core_mm, edge_mm), _fraction(necrosis_mm, edge_mm), edema)


def _travelled_mm(core: NDArray[np.bool_], brain: _Brain) -> Field:
    """How far edema has come from the core, as length in pure white matter: grey matter slows it, CSF stops it."""
    speed = brain.white + _EDEMA_IN_GREY * brain.grey
    speed[(brain.grey + brain.white < 0.5) & ~core] = 0
    speed[..., _axes_mm(brain.grid)[2] > -2] = 0  # not across the midline
    marching = sitk.FastMarchingImageFilter()
    surface = core & ~ndimage.binary_erosion(core)
    marching.SetTrialPoints([tuple(int(i) for i in index[::-1]) for index in np.argwhere(surface)])
    marching.SetStoppingValue(3 * _EDEMA_REACH_MM)
    arrival = marching.Execute(_image(np.maximum(speed, 1e-3, dtype=np.float32), brain.grid))  # it divides by the speed
    return np.minimum(sitk.GetArrayFromImage(arrival), 1e3, dtype=np.float32)


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
    SNFH = (540, 555, 780, 840)
    ET = (600, 1150, 680, 790)
    NETC = (380, 430, 1050, 740)


# How much of the template's T1 texture shows in each sequence: T2 falls where T1 rises.
_TEXTURE = (1.0, 1.0, -0.8, -0.5)
_UNEVEN_TUMOUR = (0.5, 1.0, 1.0, 1.0)


class _Canvas:
    """The signals of all sequences, painted from the air inwards; what is painted later covers what was before."""

    def __init__(self, grid: sitk.Image, signals: Field | None = None) -> None:
        self.grid = grid
        self.signals = np.zeros((len(Sequence), *grid.GetSize()[::-1]), np.float32) if signals is None else signals

    def on(self, grid: sitk.Image) -> _Canvas:
        """A part of this canvas; what is painted there appears here."""
        return _Canvas(grid, self.signals[(slice(None), *_region(grid, self.grid))])

    def paint(self, share: Field, tissue: _Tissue) -> None:
        """Cover ``share`` (0 to 1) of every voxel with ``tissue``."""
        for signal, value in zip(self.signals, tissue.value, strict=True):
            signal += share * (value - signal)

    def modulate(self, relative: Field, strengths: tuple[float, ...]) -> None:
        """Multiply the signals by 1 + strength * ``relative``."""
        for signal, strength in zip(self.signals, strengths, strict=True):
            signal *= 1 + strength * relative

    def picture(self, sequence: Sequence) -> sitk.Image:
        """The noise-free signal of the head at rest, ``float32``."""
        return _image(self.signals[list(Sequence).index(sequence)], self.grid)


def _paint_head(canvas: _Canvas, skull: _Skull, random: np.random.Generator) -> None:
    def paint(distance_mm: Field, tissue: _Tissue) -> None:
        canvas.paint(_fraction(distance_mm, skull.grid.GetSpacing()[0]), tissue)

    paint(skull.skin_mm, _Tissue.SKIN)
    paint(skull.skin_mm + _SKIN_MM, _Tissue.FAT)
    streaks_mm = 2 * _random_field(random, skull.grid, length_mm=4)
    paint(np.maximum(skull.skin_mm + _SCALP_MM + 1, streaks_mm - 2), _Tissue.MUSCLE)
    for airway in _AIRWAYS:
        _paint_solid(canvas, airway, _Tissue.AIR)
    _paint_solid(canvas, _ORBIT, _Tissue.FAT)
    _paint_solid(canvas, _EYE, _Tissue.WATER)
    paint(skull.outer_mm, _Tissue.BONE)
    paint(np.maximum(skull.outer_mm, -skull.inner_mm) + _TABLE_MM, _Tissue.MARROW)
    paint(skull.inner_mm, _Tissue.WATER)
    paint(_sagittal_sinus_mm(skull), _Tissue.BLOOD)


def _paint_solid(canvas: _Canvas, solid: _Solid, tissue: _Tissue) -> None:
    voxel_mm = canvas.grid.GetSpacing()[0]
    part = canvas.on(solid.box().grown(voxel_mm).within(_HEAD_BOX).grid(voxel_mm))
    part.paint(_fraction(solid.distance_mm(part.grid), voxel_mm), tissue)


def _sagittal_sinus_mm(skull: _Skull) -> Field:
    """Signed distance to a band 6 mm deep and 7 mm wide under the vault, in the midline."""
    x, _, z = _mesh_mm(skull.grid)
    return np.maximum(np.maximum(np.abs(x) - 3.5, np.abs(skull.inner_mm + 3) - 3), 5 - z)


def _paint_brain(canvas: _Canvas, brain: _Brain) -> None:
    _paint_cord(canvas, brain)
    tissue = brain.grey + brain.white
    part = canvas.on(brain.grid)
    part.paint(tissue, _Tissue.GREY)
    part.paint(np.divide(brain.white, tissue, out=np.zeros_like(tissue), where=tissue > 0), _Tissue.WHITE)
    part.modulate(brain.texture, _TEXTURE)


def _paint_cord(canvas: _Canvas, brain: _Brain) -> None:
    """The template ends in the brain stem: carry it on as spinal cord in its canal."""
    voxel_mm = brain.grid.GetSpacing()[0]
    lowest = int(np.flatnonzero(brain.mask.any(axis=(1, 2)))[0])
    row, column = ndimage.center_of_mass(brain.mask[lowest])
    end_mm = brain.grid.TransformContinuousIndexToPhysicalPoint((column, row, lowest))
    box = _Box((end_mm[0] - 16, end_mm[1] - 16, _HEAD_BOX.first_mm[2]), tuple(np.add(end_mm, 16)))
    part = canvas.on(box.grid(voxel_mm))
    x, y, z = _mesh_mm(part.grid)
    from_axis_mm = np.hypot(x - end_mm[0], y - end_mm[1])
    for radius_mm, top_mm, tissue in ((14, -4, _Tissue.BONE), (9, 2, _Tissue.WATER), (5.5, 3, _Tissue.WHITE)):
        part.paint(_fraction(np.maximum(from_axis_mm - radius_mm, z - end_mm[2] - top_mm), voxel_mm), tissue)


def _paint_tumour(canvas: _Canvas, tumour: _Tumour, random: np.random.Generator) -> None:
    patchy, grainy = (_random_field(random, tumour.grid, length_mm) for length_mm in (7, 3))
    part = canvas.on(tumour.grid)
    part.paint(tumour.edema * np.clip(0.85 + 0.12 * patchy, 0, 1), _Tissue.SNFH)
    part.paint(tumour.core, _Tissue.ET)
    part.paint(tumour.necrosis, _Tissue.NETC)
    part.modulate(tumour.core * (0.07 * patchy + 0.07 * grainy), _UNEVEN_TUMOUR)


# --- the scanner ---------------------------------------------------------------------------------------------------


class _Protocol(NamedTuple):
    """How a sequence is acquired.

    Attributes:
        description: DICOM's Series Description, as a scanner's operator writes it.
        slice_mm: slice thickness, made a whole number of the phantom's voxels.
        in_plane: pixel size, in the phantom's voxel lengths.
        field_mm: field of view along the image's own axes.
        centre_mm: its middle, LPS.
        direction: LPS directions of the image's axes, one per row.
        tags: DICOM attributes by keyword; times in ms.
    """

    description: str
    slice_mm: float
    in_plane: float
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
_SPIN_ECHO = {
    "ScanningSequence": "SE",
    "SequenceVariant": ["SK", "SP"],
    "MRAcquisitionType": "2D",
    "FlipAngle": 150,
    "EchoTrainLength": 15,
}
_T1 = _GRADIENT_ECHO | {"RepetitionTime": 1900, "EchoTime": 2.6, "InversionTime": 900, "FlipAngle": 9}

_PROTOCOLS: dict[Sequence, _Protocol] = {
    Sequence.T1N: _Protocol("t1_mprage_sag", 1.0, 1.0, (256, 224, 208), (0, 8, 0), _SAGITTAL, _T1),
    Sequence.T1C: _Protocol(
        "t1_mprage_tra post gad",
        1.0,
        1.0,
        (208, 256, 200),
        (0, 8, 4),
        _AXIAL,
        _T1 | {"ContrastBolusAgent": "GADOBUTROL"},
    ),
    Sequence.T2W: _Protocol(
        "t2_tse_tra",
        5.0,
        0.9,
        (230, 230, 170),
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
    in_plane_mm = protocol.in_plane * spacing_mm
    layers = max(1, round(protocol.slice_mm / spacing_mm))
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
    grid.SetOrigin((np.rint(origin / spacing_mm[2]) * spacing_mm[2]).tolist())
    grid.SetDirection(direction.ravel().tolist())
    return grid


# --- DICOM ---------------------------------------------------------------------------------------------------------

_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
_SCANNED_ON = "20200101"


def _write_series(image: sitk.Image, sequence: Sequence, folder: Path, study: str) -> None:
    """Write a series of classic MR Image files, one per slice. ``study`` tells this phantom from others."""
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    common = _study_tags(study) | _series_tags(image, sequence)
    common["SeriesInstanceUID"] = generate_uid(entropy_srcs=[study, sequence.value])
    for index, pixels in enumerate(sitk.GetArrayViewFromImage(image)):
        position = image.TransformIndexToPhysicalPoint((0, 0, index))
        own = {
            "SOPInstanceUID": generate_uid(entropy_srcs=[study, sequence.value, str(index)]),
            "InstanceNumber": index + 1,
            "ImagePositionPatient": _decimals(position),
            "PixelData": np.ascontiguousarray(pixels, dtype="<u2").tobytes(),
        }
        _write_slice(common | own, folder / f"IM{index + 1:04d}.dcm")


def _study_tags(study: str) -> dict[str, object]:
    from pydicom.uid import generate_uid

    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": _MR_IMAGE_STORAGE,
        "PatientName": "PHANTOM^GLIOMASEG",
        "PatientID": "PHANTOM",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyInstanceUID": generate_uid(entropy_srcs=[study, "study"]),
        "FrameOfReferenceUID": generate_uid(entropy_srcs=[study, "frame of reference"]),
        "StudyDate": _SCANNED_ON,
        "StudyTime": "120000",
        "StudyID": "1",
        "StudyDescription": "MR head",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "PositionReferenceIndicator": "",
        "Modality": "MR",
        "Manufacturer": "GliomaSeg",
        "ManufacturerModelName": "made up",
        "MagneticFieldStrength": 3,
        "PatientPosition": "HFS",
        "BodyPartExamined": "HEAD",
    }


def _series_tags(image: sitk.Image, sequence: Sequence) -> dict[str, object]:
    protocol, direction = _PROTOCOLS[sequence], np.reshape(image.GetDirection(), (3, 3))
    across, down, between = _decimals(image.GetSpacing())
    number = list(Sequence).index(sequence) + 1
    return {
        "SeriesNumber": number,
        "AcquisitionNumber": 1,
        "SeriesDescription": protocol.description,
        "ProtocolName": protocol.description,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanOptions": "",
        "EchoTrainLength": 1,
        **protocol.tags,
        "ImageOrientationPatient": _decimals([*direction[:, 0], *direction[:, 1]]),
        "PixelSpacing": [down, across],
        "SliceThickness": between,
        "SpacingBetweenSlices": between,
        "Columns": image.GetWidth(),
        "Rows": image.GetHeight(),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    """Decimal strings of DICOM's at most 16 characters."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]


def _write_slice(tags: Mapping[str, object], path: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
