"""The interactive viewer of a page: NiiVue, a script and the images, all embedded in the page.

NiiVue (BSD-2-Clause) is taken from the Python package ``ipyniivue``, which is optional: without it a page has pictures
alone. The images are cropped to the head, stored with 8 bits and compressed; the browser decompresses them.
"""

from __future__ import annotations

import base64
import functools
import gzip
import importlib.util
import math
import re
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from markupsafe import Markup
from numpy.typing import NDArray

from GliomaSegLib import NOTICE
from GliomaSegLib.io.grid import array_on, orientation_of
from GliomaSegLib.io.terminology import hex_colour, region_styles
from GliomaSegLib.label_maps import values_held
from GliomaSegLib.labels import REGION_LABELS, Region
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.preprocessing.resampling import model_grid, reached, resample_image, resample_labels
from GliomaSegLib.resources import rendered, resource
from GliomaSegLib.results.slice_pictures import DRAWING_ORDER, WINDOW_PERCENT

# Around the brain, so that the scalp is seen but neither face nor neck.
_MARGIN_MM = 15.0
# The voxels of all images of a page together: about 0.5 byte each after compression, and a third more as text.
_MOST_VOXELS = 14e6
_BRIGHTEST_PERCENT = 99.97  # becomes the brightest of 256 grey levels
_STEP = 8  # between the label values, so that they survive being drawn as grey levels
_LARGE = 100_000  # characters; the script is the only text of this length in the package's file


@dataclass(frozen=True)
class Panel:
    """One image that is scrolled with what is drawn on it; the panels of a page show the same space.

    Attributes:
        marked: ``uint8`` label map with values below 32; each layer's ``values`` says which of them it shows.
    """

    title: str
    image: sitk.Image
    marked: sitk.Image


@dataclass(frozen=True)
class Layer:
    """What is outlined and filled in one colour; later layers are drawn over earlier ones.

    Attributes:
        colour: e.g. ``#ff4058``.
        shown: whether it is shown before the reader says otherwise.
    """

    name: str
    values: tuple[int, ...]
    colour: str
    shown: bool = True


@dataclass(frozen=True)
class Place:
    """Where the reader can jump to (RAS mm)."""

    group: str
    text: str
    ras_mm: tuple[float, float, float]


@functools.cache
def niivue() -> tuple[str, str] | None:
    """NiiVue as a JavaScript module, packed, and its notice; ``None`` where ``ipyniivue`` is not installed."""
    found = importlib.util.find_spec("ipyniivue")
    if found is None or found.origin is None:
        return None
    # The package keeps the module as one string, percent-encoded, from which it writes pages itself.
    text = (Path(found.origin).parent / "static" / "widget.js").read_text(encoding="utf-8")
    module = next((one for one in re.findall(rf'"([^"\\\n]{{{_LARGE},}})"', text) if "Niivue" in one), None)
    files = distribution("ipyniivue").files or ()
    notice = next((file.read_text() for file in files if file.name == "LICENSE"), None)
    return (_packed(unquote(module).encode()), notice) if module and notice else None


def region_layers(regions: Collection[Region]) -> list[Layer]:
    """The layers of an internal label map."""
    return [
        Layer(region_styles()[region].name, tuple(sorted(map(int, REGION_LABELS[region]))), hex_colour(region))
        for region in DRAWING_ORDER
        if region in regions
    ]


def viewer_html(
    panels: Sequence[Panel],
    brain: sitk.Image | None,
    layers: Sequence[Layer],
    places: Sequence[Place],
    plane: str = "axial",
) -> Markup:
    """The HTML of the viewer, in which every text is escaped; empty without NiiVue.

    Args:
        panels: all ``marked`` are on one grid; the images are in its space, and on this grid where ``brain`` is absent.
        layers: those that hold no voxel are left out.
        brain: mask on the same grid; the view in three dimensions shows nothing outside it, and there is none without.
        plane: the plane that is shown at first.
    """
    library = niivue()
    if library is None or not panels:
        return Markup()
    script, notice = library
    inner = sitk.OtsuThreshold(panels[-1].image, 0, 1) if brain is None else brain
    shown, box, reduced = _shown_grid(panels, inner)
    mask = resample_labels(inner[shown], box)
    inside = sitk.GetArrayViewFromImage(mask) > 0
    marked: dict[int, sitk.Image] = {id(panel.marked): panel.marked for panel in panels}
    with ThreadPoolExecutor(2) as pool:  # each holds an image more
        images = list(pool.map(lambda panel: _grey(resample_image(panel.image, box), inside), panels))
        overlays = dict(
            zip(
                marked,
                pool.map(lambda one: _nifti(resample_labels(one[shown], box) * _STEP), marked.values()),
                strict=True,
            )
        )
    present = {value for one in marked.values() for value in values_held(sitk.GetArrayViewFromImage(one)).tolist()}
    layers = [layer for layer in layers if present.intersection(layer.values)] or layers
    parts = {f"image{number}": image for number, (image, _) in enumerate(images)}
    parts |= {f"marked{number}": overlay for number, overlay in enumerate(overlays.values())}
    parts |= {"niivue": script} | ({} if brain is None else {"brain": _nifti(mask)})
    settings = {
        "panels": [
            {"title": panel.title, "window": window, "marked": list(overlays).index(id(panel.marked))}
            for panel, (_, window) in zip(panels, images, strict=True)
        ],
        "layers": [asdict(layer) for layer in layers],
        "places": [asdict(place) for place in places],
        "plane": plane,
    }
    return Markup(
        rendered(
            "viewer.html.j2",
            settings=settings,
            parts=parts,
            script=Markup(resource("viewer.js").read_text(encoding="utf-8")),
            reduced=reduced,
            notice=notice,
            warning=NOTICE,
        )
    )


def _shown_grid(panels: Sequence[Panel], brain: sitk.Image) -> tuple[tuple[slice, ...], sitk.Image, str]:
    """The part of the grid (x, y, z) around brain and tumour, and its grid, coarser where there would be too many
    voxels; and a note if it is."""
    wanted = sitk.GetArrayViewFromImage(brain) > 0
    for marked in {id(panel.marked): panel.marked for panel in panels}.values():
        wanted |= sitk.GetArrayViewFromImage(marked) > 0
    filled = [reached(panel.image, brain, sitk.Transform(3, sitk.sitkIdentity)) for panel in panels]
    first = np.min([low for low, _ in filled], axis=0)
    last = np.max([np.add(low, size) for low, size in filled], axis=0)
    box = tuple(
        slice(min(one.start, max(one.start - margin, int(low))), max(one.stop, min(one.stop + margin, int(high))))
        for one, margin, low, high in zip(
            reversed(bounding_box(wanted if wanted.any() else ~wanted)),
            [math.ceil(_MARGIN_MM / mm) for mm in brain.GetSpacing()],
            first,
            last,
            strict=True,
        )
    )
    own = grid = brain[box]
    voxel_mm = min(own.GetSpacing())
    while grid.GetNumberOfPixels() * len(panels) > _MOST_VOXELS:
        voxel_mm += 0.05
        x, y, z = (max(mm, voxel_mm) for mm in own.GetSpacing())
        grid = model_grid(own, (x, y, z), orientation_of(own))
    texts = [" × ".join(f"{mm:.2g}" for mm in one.GetSpacing()) for one in (own, grid)]
    note = f"Shown at {texts[1]} mm; the images have voxels of {texts[0]} mm, on which everything was measured."
    return box, grid, "" if grid is own else note


def _grey(image: sitk.Image, inside: NDArray[np.bool_]) -> tuple[str, list[float]]:
    """The image in 256 grey levels, packed, and the levels from 0 to 1 that are black and white at first."""
    array = sitk.GetArrayFromImage(image)
    within = array[inside] if inside.any() else array
    low, (black, white, high) = array.min(), np.percentile(within, (*WINDOW_PERCENT, _BRIGHTEST_PERCENT))
    scale = max(float(high - low), 1e-6)
    levels = np.round(np.clip((array - low) / scale, 0, 1) * 255).astype(np.uint8)
    return _nifti(array_on(levels, image)), [float(black - low) / scale, max(float(white - low) / scale, 1e-3)]


def _nifti(image: sitk.Image) -> str:
    """A ``uint8`` image as a packed NIfTI file, each slice as its difference (modulo 256) from the one before."""
    array = sitk.GetArrayFromImage(image)
    array[1:] -= array[:-1].copy()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1  # LPS to RAS
    return _packed(nib.Nifti1Image(array.T, affine).to_bytes())


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 4, mtime=0)).decode("ascii")
