"""The stand-ins of CTK's and Slicer's widgets behave as theirs, on the real scene."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from fixtures.scene.volume_nodes import add_volume
from slicer_standin import StandInError


@pytest.fixture(autouse=True)
def _slicer(scene):
    """Slicer is started and its scene is empty."""


@pytest.fixture
def ctk():
    import ctk

    return ctk


@pytest.fixture
def selector(scene):
    combo_box = slicer.qMRMLNodeComboBox()
    combo_box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo_box.noneEnabled = True
    combo_box.setMRMLScene(scene)
    return combo_box


def volume(scene, name):
    return add_volume(scene, np.zeros((2, 2, 2)), name=name)


def test_a_member_that_slicer_lacks_is_an_attribute_error(selector):
    with pytest.raises(AttributeError):
        selector.setCurentNode(None)
    with pytest.raises(AttributeError):
        slicer.app.layoutManager().setLayuot(1)


def test_a_member_that_nobody_wrote_says_so(selector):
    with pytest.raises(NotImplementedError, match="sortFilterProxyModel"):
        selector.sortFilterProxyModel()
    with pytest.raises(NotImplementedError, match="tableWidget"):
        slicer.app.layoutManager().tableWidget(0)


def test_a_signal_with_other_arguments_is_refused(selector):
    with pytest.raises(StandInError, match="currentNodeChanged"):
        selector.connect("currentNodeChanged(vtkMRMLVolumeNode*)", print)


def test_a_selector_lists_nodes_but_selects_none_by_itself(selector, scene):
    first = volume(scene, "first")
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert selector.nodeCount() == 1
    assert selector.nodeFromIndex(0) is first
    assert selector.currentNode() is None


def test_a_selector_tells_of_its_current_node_once(selector, scene):
    nodes = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    first = volume(scene, "first")
    selector.setCurrentNode(first)
    selector.setCurrentNode(first)
    scene.RemoveNode(first)
    assert nodes == [first, None]


def test_a_selector_goes_to_the_row_above_when_its_node_is_removed(selector, scene):
    first, second = volume(scene, "first"), volume(scene, "second")
    selector.setCurrentNode(second)
    scene.RemoveNode(second)
    assert selector.currentNode() is first


def test_a_selector_filters_by_attribute_and_class(selector, scene):
    node = volume(scene, "marked")
    volume(scene, "plain")
    label_map = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    selector.addAttribute("vtkMRMLScalarVolumeNode", "MedNeXt", "yes")
    node.SetAttribute("MedNeXt", "yes")
    selector.removeAttribute("vtkMRMLScalarVolumeNode", "none")
    assert [selector.nodeFromIndex(i).GetName() for i in range(selector.nodeCount())] == ["marked"]
    selector.removeAttribute("vtkMRMLScalarVolumeNode", "MedNeXt")
    assert selector.nodeCount() == 3
    selector.showChildNodeTypes = False
    assert label_map not in [selector.nodeFromIndex(i) for i in range(selector.nodeCount())]


def test_a_selector_follows_names_and_creates_nodes(selector, scene):
    names = []
    selector.connect("currentNodeRenamed(QString)", names.append)
    selector.baseName = "Image"
    selector.addNode().SetName("other")
    assert names == ["other"]


def test_a_slider_keeps_its_bounds_and_tells_of_changes(ctk):
    values = []
    slider = ctk.ctkSliderWidget()
    slider.maximum = 10
    slider.connect("valueChanged(double)", values.append)
    slider.value = 4
    slider.value = 40
    assert values == [4, 10]
    with pytest.raises(AttributeError):
        slider.setMaximum(3)


def test_a_range_keeps_its_order(ctk):
    widget = ctk.ctkRangeWidget()
    widget.setRange(0, 50)
    widget.setValues(40, 10)
    assert (widget.minimumValue, widget.maximumValue) == (10, 40)


def test_a_section_folds_and_opens(ctk):
    import qt

    section = ctk.ctkCollapsibleButton("Advanced")
    child = qt.QLabel("inside", section)
    folded = []
    section.connect("contentsCollapsed(bool)", folded.append)
    section.collapsed = True
    assert child.isHidden()
    section.collapsed = False
    assert not child.isHidden()
    assert folded == [True, False]


def test_a_path_is_browsed_for(ctk, dialogs):
    paths = []
    edit = ctk.ctkPathLineEdit()
    edit.connect("currentPathChanged(QString)", paths.append)
    dialogs.answer("/some/file")
    edit.browse()
    assert paths == ["/some/file"]


def test_the_segments_table_follows_the_segmentation(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    table = slicer.qMRMLSegmentsTableView()
    table.setSegmentationNode(node)
    ids = [node.GetSegmentation().AddEmptySegment("", name) for name in ("liver", "spleen")]
    table.setSelectedSegmentIDs(ids[1:])
    assert table.displayedSegmentIDs() == ids
    assert table.selectedSegmentIDs() == ids[1:]
    table.textFilter = "LIV"
    assert table.segmentCount == 1


def test_the_hand_over_to_the_segment_editor_works_as_in_slicer(scene):
    node, source = scene.AddNewNodeByClass("vtkMRMLSegmentationNode"), volume(scene, "source")
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(source)
    parameter_node = scene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    assert parameter_node.GetSegmentationNode() is node
    assert parameter_node.GetSourceVolumeNode() is source


def test_slice_views_jump_and_3d_views_record_their_calls(scene):
    layout = slicer.app.layoutManager()
    logic = layout.sliceWidget("Red").sliceLogic()
    logic.GetSliceNode().JumpSliceByCentering(0, 0, 12.5)
    assert logic.GetSliceOffset() == pytest.approx(12.5)
    layout.threeDWidget(0).threeDView().resetFocalPoint()
    assert layout._called[-1] == ("resetFocalPoint",)


def test_a_wrong_stand_in_is_refused_when_it_is_written():
    from slicer_standin.widgets.contract_class import contract_class

    with pytest.raises(StandInError, match="sparkle"):
        type(
            "ctkSearchBox",
            (contract_class("ctkSearchBox"),),
            {"__module__": "slicer_standin.test", "sparkle": print},
        )
