"""The layout with a view for each sequence, and which parts are visible."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.scene.attributes import volume_role  # noqa: E402
from GliomaSegLib.scene.comparison import link_comparison  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from GliomaSegLib.scene.transforms import write_transform  # noqa: E402
from GliomaSegLib.scene.views import SideBySide, is_shown, show_sequences, view_name  # noqa: E402
from GliomaSegLib.scene.visibility import colour_of, is_visible, segments_in, set_visible  # noqa: E402
from GliomaSegLib.scene.volumes import ijk_to_world  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost, rigid  # noqa: E402
from Testing.support.study import toy_labels, volume  # noqa: E402


@pytest.mark.parametrize("sequences", [list(Modality), [Modality.T1C, Modality.T2F], [Modality.T2F]])
def test_each_sequence_gets_a_linked_view_and_the_layout_before_comes_back(
    host: SceneHost, sequences: list[Modality]
) -> None:
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(host.scene)
    layout = logic.GetLayoutNode()
    layout.SetViewArrangement(layout.SlicerLayoutConventionalView)
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    for sequence in Modality:  # the application's slice logics make these
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetSingletonTag(view_name(sequence))
        host.scene.AddNode(composite)
    for sequence in sequences:
        image = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", sequence.value)
        node.SetNodeReferenceID(volume_role(sequence), image.GetID())
    show_sequences(node, layout)
    assert is_shown(layout)
    nodes = [host.scene.GetNthNodeByClass(i, "vtkMRMLSliceNode") for i in range(20)]
    views = {one.GetSingletonTag(): one for one in nodes if one is not None and "GliomaSeg" in one.GetSingletonTag()}
    assert set(views) == {view_name(sequence) for sequence in sequences}
    assert len({one.GetViewGroup() for one in views.values()}) == 1, "they are linked with one another"
    for sequence in sequences:
        composite = host.scene.GetSingletonNode(view_name(sequence), "vtkMRMLSliceCompositeNode")
        assert composite.GetBackgroundVolumeID() == node.GetNodeReferenceID(volume_role(sequence))
        assert composite.GetLinkedControl()
    show_sequences(node, layout)  # again, for another result
    assert is_shown(layout)
    layout.SetViewArrangement(layout.SlicerLayoutConventionalView)
    assert not is_shown(layout)
    logic.SetMRMLScene(None)


def test_the_parts_of_a_region_are_shown_and_hidden_together(host: SceneHost) -> None:
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    node.SetReferenceImageGeometryParameterFromVolumeNode(host.add_volume(volume(Modality.T1C), "T1c"))
    node.CreateDefaultDisplayNodes()
    set_labels(node, toy_labels())
    assert len(segments_in(node, "TC")) == 2
    set_visible(node, "TC", False)
    assert [is_visible(node, name) for name in ("WT", "TC", "ET", "NETC", "SNFH", "RC")] == [
        True, False, False, False, True, False
    ]  # fmt: skip
    assert colour_of(node, "WT") is None
    assert all(0 <= part <= 255 for part in colour_of(node, "ET"))


def test_two_studies_stand_side_by_side_where_they_were_registered(host: SceneHost, tmp_path: Path) -> None:
    """A point of the earlier study is shown where the transform of the comparison takes it."""
    layout_logic = slicer.vtkMRMLLayoutLogic()
    layout_logic.SetMRMLScene(host.scene)
    layout, nodes = layout_logic.GetLayoutNode(), []
    for name in ("earlier", "now"):
        image = host.add_volume(volume(Modality.T1C), f"{name} T1c")
        node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.SetReferenceImageGeometryParameterFromVolumeNode(image)
        node.CreateDefaultDisplayNodes()
        set_labels(node, toy_labels())
        nodes.append((node, image))
    (earlier, image), (now, _) = nodes
    host.add_transform(rigid((0, 0, 20), (3, 4, 5)), image, earlier)
    chart = types.SimpleNamespace(all=())
    link_comparison(now, [earlier], chart, tmp_path, outdated=False)
    write_transform(MOVED, tmp_path / "last_to_1.tfm")
    before = host.names()
    both = SideBySide(now, ("earlier", "now"))
    both.show(layout)
    copy = host.scene.GetFirstNodeByName("earlier T1c (registered)")
    np.testing.assert_allclose(ijk_to_world(copy), MOVED @ ijk_to_world(image), atol=1e-4)
    outlines = host.scene.GetFirstNodeByName("earlier (registered)")
    np.testing.assert_allclose(labels_of(outlines)[1], ijk_to_world(copy), atol=1e-4)
    np.testing.assert_array_equal(labels_of(outlines)[0], toy_labels())
    assert is_shown(layout)
    assert now.GetDisplayNode().GetNumberOfViewNodeIDs() == 1
    assert outlines.GetDisplayNode().GetViewNodeIDs() != now.GetDisplayNode().GetViewNodeIDs()
    both.close()
    assert host.names() == before
    assert now.GetDisplayNode().GetNumberOfViewNodeIDs() == 0
    host.scene.RemoveNode(image)
    with pytest.raises(InputError, match="is not in the scene any more"):
        SideBySide(now, ("earlier", "now"))
    layout_logic.SetMRMLScene(None)
