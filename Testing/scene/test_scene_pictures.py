"""Pictures of the scene: left and right, segments where the volume has them, colours, nothing changed by looking."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed (pip install .[slicer])")

from GliomaSegLib.errors import GliomaSegError, InputError  # noqa: E402
from GliomaSegLib.io.terminology import segment_styles  # noqa: E402
from GliomaSegLib.labels import Label  # noqa: E402
from GliomaSegLib.scene import pictures  # noqa: E402
from GliomaSegLib.scene.pictures import Picture, can_render, render_slices  # noqa: E402
from Testing.support.scene_host import SceneHost, ijk_to_ras, mask_on  # noqa: E402

needs_opengl = pytest.mark.usefixtures("opengl")

SIZE = (200, 180)
LESION = np.array([30.0, 35.0, 25.0])  # RAS mm from the head's middle: right, in front, above
RADIUS_MM = 14.0
GREY, BRIGHT = 100, 250
LETTER_PX = 20  # a row or column through the head has more pixels that are not black, one beside it fewer
MIDDLE = np.array([12.0, -9.0, 20.0])  # of the head, RAS mm
HALF = np.array([65.0, 75.0, 60.0])  # of its width, length and height
VOXEL_MM = 3.4  # at most

# Where the lesion lies in each view, from the head's middle: (to the right, upwards) as a share of the head, with the
# patient's right on the left of axial and coronal pictures and anterior on the left of sagittal ones.
EXPECTED = {
    "axial": (-30 / 130, 35 / 150),
    "coronal": (-30 / 130, 25 / 120),
    "sagittal": (-35 / 150, 25 / 120),
}


class Head:
    """A grey box of a head with a ball in it, bright in the volume and a segment too, on an oblique grid."""

    def __init__(self, host: SceneHost, label: Label = Label.ET, bright: bool = True) -> None:
        self.host, self.scene = host, host.scene
        self.image = sitk.Image([60, 66, 50], sitk.sitkInt16)
        self.image.SetSpacing((3.0, 2.9, 3.4))
        self.image.SetDirection(Rotation.from_euler("xyz", (0.15, -0.1, 0.2)).as_matrix().ravel().tolist())
        middle_lps = MIDDLE * (-1, -1, 1)
        offset = np.array(self.image.TransformContinuousIndexToPhysicalPoint([29.5, 32.5, 24.5]))
        self.image.SetOrigin((middle_lps - offset).tolist())
        places = self._places_ras()
        head = (np.abs(places - MIDDLE) < HALF).all(axis=-1)
        self.ball = np.linalg.norm(places - MIDDLE - LESION, axis=-1) < RADIUS_MM
        values = np.where(self.ball & bright, BRIGHT, np.where(head, GREY, 0)).astype(np.int16)
        filled = sitk.GetImageFromArray(values)
        filled.CopyInformation(self.image)
        self.volume = host.add_volume(filled, "T1c")
        self.volume.CreateDefaultDisplayNodes()
        self.volume.GetDisplayNode().AutoWindowLevelOff()
        self.volume.GetDisplayNode().SetWindowLevelMinMax(0, 255)
        self.segmentation = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Tumour")
        self.segmentation.CreateDefaultDisplayNodes()
        self.add_segment(self.ball, label)

    def add_segment(self, mask: NDArray[np.bool_], label: Label) -> None:
        style = segment_styles()[label]
        colour = [value / 255 for value in style.colour]
        self.segmentation.AddSegmentFromBinaryLabelmapRepresentation(
            mask_on(self.volume, mask), style.name, colour, style.identifier
        )

    def picture(self, segmentation: bool = True) -> dict[str, NDArray[np.int16]]:
        """The three views, ``[row, column, RGB]``, through the lesion."""
        centre = tuple((MIDDLE + LESION).tolist())
        return views(render_slices(self.volume, self.segmentation if segmentation else None, centre, SIZE))

    def _places_ras(self) -> NDArray[np.float64]:
        """Of each voxel ``[k, j, i]``."""
        k, j, i = np.indices(list(reversed(self.image.GetSize())))
        matrix = ijk_to_ras(self.image)
        return np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]


def views(picture: Picture) -> dict[str, NDArray[np.int16]]:
    assert picture.pixels.shape == (SIZE[1], 3 * SIZE[0], 3)
    cut = [view[:, 1:] for view in np.split(picture.pixels.astype(np.int16), 3, axis=1)]  # without the line between
    return dict(zip(EXPECTED, cut, strict=True))


def coloured(view: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Pixels that are no grey."""
    return np.ptp(view, axis=-1) > 12


def bright(view: NDArray[np.int16]) -> NDArray[np.bool_]:
    return (view > (GREY + BRIGHT) / 2).all(axis=-1)


def offset(view: NDArray[np.int16], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Middle of a mask from the middle of the head, to the right and upwards, as shares of the head."""
    shares = []
    for axis in (0, 1):
        places = np.nonzero(mask)[1 - axis]
        head = np.flatnonzero((view.max(axis=-1) > GREY / 2).sum(axis=axis) > LETTER_PX)
        shares.append((places.mean() - (head[0] + head[-1]) / 2) / (head[-1] - head[0] + 1))
    return shares[0], -shares[1]


def has_colour(view: NDArray[np.int16], label: Label) -> NDArray[np.bool_]:
    """Pixels of a label's outline, which is drawn in its colour."""
    return (np.abs(view - np.array(segment_styles()[label].colour)) <= 2).all(axis=-1)


@pytest.fixture(scope="module")
def opengl() -> None:
    if not can_render():
        pytest.skip("no OpenGL without a screen (apt-get install libegl1 libgl1-mesa-dri)")


@pytest.fixture
def head(host: SceneHost) -> Head:
    return Head(host)


@needs_opengl
@pytest.mark.parametrize("plane", list(EXPECTED))
def test_the_tumour_is_on_the_side_where_radiologists_look_for_it(head: Head, plane: str) -> None:
    view = head.picture()[plane]
    assert offset(view, coloured(view)) == pytest.approx(EXPECTED[plane], abs=VOXEL_MM / 120)
    assert has_colour(view, Label.ET).any()


@needs_opengl
@pytest.mark.parametrize("plane", list(EXPECTED))
def test_segments_lie_where_the_volume_shows_them(head: Head, plane: str) -> None:
    with_segment, without = head.picture()[plane], head.picture(segmentation=False)[plane]
    segment, volume = coloured(with_segment), bright(without)
    assert (segment & volume).sum() / (segment | volume).sum() > 0.85


@needs_opengl
def test_nothing_is_coloured_without_a_segmentation(head: Head) -> None:
    assert not any(coloured(view).any() for view in head.picture(segmentation=False).values())


@needs_opengl
def test_each_segment_has_its_own_colour_and_hidden_ones_have_none(host: SceneHost) -> None:
    head = Head(host, Label.SNFH, bright=False)
    head.add_segment(np.roll(head.ball, 15, axis=2), Label.NETC)
    axial = head.picture()["axial"]
    assert has_colour(axial, Label.SNFH).any()
    assert has_colour(axial, Label.NETC).any()
    head.segmentation.GetDisplayNode().SetSegmentVisibility("NETC", False)
    axial = head.picture()["axial"]
    assert has_colour(axial, Label.SNFH).any()
    assert not has_colour(axial, Label.NETC).any()


@needs_opengl
def test_parent_transforms_are_followed(head: Head) -> None:
    """Turned by half a circle about the axis from feet to head, what was right and in front is left and behind."""
    about_middle = np.diag([-1.0, -1.0, 1.0, 1.0])
    about_middle[:2, 3] = 2 * MIDDLE[:2]
    head.host.add_transform(about_middle, head.volume, head.segmentation)
    centre = tuple((MIDDLE + LESION * (-1, -1, 1)).tolist())
    axial = views(render_slices(head.volume, head.segmentation, centre, SIZE))["axial"]
    right, up = EXPECTED["axial"]
    assert offset(axial, coloured(axial)) == pytest.approx((-right, -up), abs=VOXEL_MM / 120)
    without = views(render_slices(head.volume, None, centre, SIZE))["axial"]
    assert (coloured(axial) & bright(without)).sum() / (coloured(axial) | bright(without)).sum() > 0.85


@needs_opengl
def test_looking_changes_nothing(head: Head) -> None:
    nodes = [head.scene.GetNthNode(index) for index in range(head.scene.GetNumberOfNodes())]
    before = [node.GetMTime() for node in nodes], head.segmentation.GetSegmentation().GetMTime()
    first, second = head.picture(), head.picture()
    assert all((first[plane] == second[plane]).all() for plane in EXPECTED)
    assert [head.scene.GetNthNode(index) for index in range(head.scene.GetNumberOfNodes())] == nodes
    assert ([node.GetMTime() for node in nodes], head.segmentation.GetSegmentation().GetMTime()) == before


@needs_opengl
def test_volumes_without_a_display_node_are_windowed(head: Head) -> None:
    bare = head.host.add_volume(head.image, "bare")
    slicer.util.updateVolumeFromArray(bare, slicer.util.arrayFromVolume(head.volume) * 8)
    view = views(render_slices(bare, None, tuple((MIDDLE + LESION).tolist()), SIZE))["axial"]
    assert view.max() > 200
    assert np.median(view) < 200


def test_png_holds_the_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Picture(pixels).write(path)
    assert struct.unpack(">II", path.read_bytes()[16:24]) == (7, 5)
    read = sitk.GetArrayFromImage(sitk.ReadImage(path))
    assert (read == pixels).all()


def test_png_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        Picture(np.zeros((2, 2, 3), np.uint8)).write(tmp_path / "nowhere" / "picture.png")


@needs_opengl
def test_an_empty_volume_is_a_sentence(head: Head) -> None:
    empty = head.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(InputError, match="'nothing' is empty"):
        render_slices(empty, None, (0, 0, 0), SIZE)


@pytest.mark.parametrize("ending", ["import os; os.abort()", "import no_such_package", "import time; time.sleep(9)"])
def test_without_opengl_it_says_so_and_lives(monkeypatch: pytest.MonkeyPatch, head: Head, ending: str) -> None:
    """What VTK does where there is none: it ends the process, here the one that is asked."""
    monkeypatch.setattr(pictures, "_PROBE", ending)
    monkeypatch.setattr(pictures, "_PROBE_SECONDS", 2)
    can_render.cache_clear()
    try:
        with pytest.raises(GliomaSegError, match="libegl1"):
            head.picture()
    finally:
        can_render.cache_clear()
