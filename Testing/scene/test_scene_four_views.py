"""The layout with a view for each sequence, and which parts are visible."""

from __future__ import annotations

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.scene.attributes import volume_role  # noqa: E402
from GliomaSegLib.scene.four_views import is_shown, show_views, view_name  # noqa: E402
from GliomaSegLib.scene.segmentation import set_labels  # noqa: E402
from GliomaSegLib.scene.visibility import colour_of, is_visible, segments_in, set_visible  # noqa: E402
from Testing.support.scene_host import SceneHost  # noqa: E402
from Testing.support.study import truth, volume  # noqa: E402


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
    show_views(node, layout)
    assert is_shown(layout)
    nodes = [host.scene.GetNthNodeByClass(i, "vtkMRMLSliceNode") for i in range(20)]
    views = {one.GetSingletonTag(): one for one in nodes if one is not None and "GliomaSeg" in one.GetSingletonTag()}
    assert set(views) == {view_name(sequence) for sequence in sequences}
    assert len({one.GetViewGroup() for one in views.values()}) == 1, "they are linked with one another"
    for sequence in sequences:
        composite = host.scene.GetSingletonNode(view_name(sequence), "vtkMRMLSliceCompositeNode")
        assert composite.GetBackgroundVolumeID() == node.GetNodeReferenceID(volume_role(sequence))
        assert composite.GetLinkedControl()
    show_views(node, layout)  # again, for another result
    assert is_shown(layout)
    layout.SetViewArrangement(layout.SlicerLayoutConventionalView)
    assert not is_shown(layout)
    logic.SetMRMLScene(None)


def test_the_parts_of_a_region_are_shown_and_hidden_together(host: SceneHost) -> None:
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    node.SetReferenceImageGeometryParameterFromVolumeNode(host.add_volume(volume(Modality.T1C), "T1c"))
    node.CreateDefaultDisplayNodes()
    set_labels(node, truth())
    assert len(segments_in(node, "TC")) == 2
    set_visible(node, "TC", False)
    assert [is_visible(node, name) for name in ("WT", "TC", "ET", "NETC", "SNFH", "RC")] == [
        True, False, False, False, True, False
    ]  # fmt: skip
    assert colour_of(node, "WT") is None
    assert all(0 <= part <= 255 for part in colour_of(node, "ET"))
