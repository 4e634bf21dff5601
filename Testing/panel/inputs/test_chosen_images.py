"""Several images chosen in the subject hierarchy or in the DICOM module are segmented in one go."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.panel.driving import MODULE, choose, let_run, segment, segmentations, selector
from fixtures.scene.volume_nodes import add_volume, head
from mednext.errors import Cancelled

COMMAND = "Segment with MedNeXt..."


@pytest.fixture
def offered(widget):
    """The panel, and the command in the context menu as Slicer has it after its start."""
    from MedNeXtSegmentationLib.context_menu import offerInSubjectHierarchy

    offerInSubjectHierarchy()
    choose(widget, "tiny")
    widget.ui.deviceBox.setCurrentIndex(widget.ui.deviceBox.findText("cpu"))
    widget.ui.mirroringBox.checked = False
    return widget


@pytest.fixture
def patients(offered, scene):
    """Two patients: Ada with two studies of two images and one, Bo with one image. A label map of Ada."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = {}
    for patient, studies in {
        "Ada": {"first": ["T1 a", "T1 b"], "second": ["T1 e"]},
        "Bo": {"only": ["T1 d"]},
    }.items():
        items[patient] = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
        for study, names in studies.items():
            items[study] = hierarchy.CreateStudyItem(items[patient], study)
            for name in names:
                volume = add_volume(scene, head() + len(items), name=name)
                items[name] = hierarchy.GetItemByDataNode(volume)
                hierarchy.SetItemParent(items[name], items[study])
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    items["labels"] = hierarchy.GetItemByDataNode(labels)
    hierarchy.SetItemParent(items["labels"], items["first"])
    items["empty"] = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "empty")
    return items


def click(item):
    slicer_standin.context_menu(item)[COMMAND].trigger()


def names():
    return sorted(node.GetName() for node in segmentations())


def test_a_patient_is_segmented_in_one_go_and_nobody_else(offered, patients):
    click(patients["Ada"])
    assert offered.ui.chosenLabel.text == "3 in one go: T1 a, T1 b, T1 e"
    segment(offered)
    assert names() == ["T1 a segmentation", "T1 b segmentation", "T1 e segmentation"]
    assert offered.ui.statusLabel.text == "3 of 3 are segmented."
    assert offered.panel.parameters.result.GetName() == "T1 e segmentation"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for node in segmentations():
        parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        assert parent == patients["second" if node.GetName().startswith("T1 e") else "first"]


def test_a_study_means_its_images_alone(offered, patients):
    click(patients["first"])
    assert offered.ui.chosenLabel.text == "2 in one go: T1 a, T1 b"


def test_a_single_volume_goes_into_its_selector(offered, patients):
    click(patients["T1 d"])
    assert selector(offered, 0).currentNode().GetName() == "T1 d"
    assert not offered.ui.chosenLabel.visible
    assert offered.ui.outputGroup.visible


def test_the_command_is_shown_for_images_alone(patients):
    for name in ("labels", "empty"):
        assert COMMAND not in slicer_standin.context_menu(patients[name])
    assert COMMAND in slicer_standin.context_menu(patients["Bo"])
    assert slicer_standin.context_menu(patients["Ada"], patients["Bo"]) == {}  # Slicer shows none then


def test_the_command_is_there_once_however_often_it_is_registered(patients):
    from MedNeXtSegmentationLib.context_menu import offerInSubjectHierarchy

    offerInSubjectHierarchy()
    handler = slicer.qSlicerSubjectHierarchyPluginHandler.instance()
    assert [plugin.name for plugin in handler.allPlugins()].count("MedNeXtSegmentation") == 1


def test_one_can_go_back_to_a_single_image(offered, patients):
    click(patients["Ada"])
    assert not selector(offered, 0).enabled
    assert not offered.ui.outputGroup.visible
    offered.ui.oneImageButton.click()
    assert selector(offered, 0).enabled
    segment(offered)
    assert len(segmentations()) == 1


def test_insisting_on_a_single_image_is_not_insisting_on_the_images_chosen_afterwards(
    offered, patients, scene
):
    voxels = head()
    voxels[:8] = np.nan
    selector(offered, 0).setCurrentNode(add_volume(scene, voxels, name="T1 damaged"))
    offered.ui.insistBox.checked = True
    click(patients["first"])
    assert not offered.ui.insistBox.visible and not offered.ui.insistBox.checked


def test_an_image_that_fails_does_not_stop_the_others_and_is_told(offered, patients):
    slicer.util.getNode("T1 b").SetSpacing(0.001, 1, 1)
    click(patients["first"])
    segment(offered)
    assert names() == ["T1 a segmentation"]
    assert offered.ui.statusLabel.text.startswith("1 of 2 are segmented. T1 b: ")


def test_an_image_with_a_result_of_the_same_options_is_not_segmented_again(offered, patients):
    for _ in range(2):
        click(patients["first"])
        segment(offered)
    assert len(segmentations()) == 2


def test_images_that_the_model_does_not_take_are_told_beforehand(offered, patients):
    slicer.util.getNode("T1 a").SetName("FLAIR a")
    click(patients["first"])
    assert "FLAIR a: It seems to be FLAIR" in offered.ui.warningLabel.text
    assert offered.ui.segmentButton.enabled
    slicer.util.getNode("T1 b").SetName("FLAIR b")
    offered.panel._update()
    assert not offered.ui.segmentButton.enabled
    assert "FLAIR b" in offered.ui.problemLabel.text


def test_a_cancelled_run_keeps_what_it_has(offered, patients):
    click(patients["Ada"])
    offered.ui.segmentButton.click()
    let_run(offered, until=lambda: len(segmentations()) == 1)
    click(patients["Bo"])
    assert "choose the images again" in offered.ui.statusLabel.text
    offered.ui.segmentButton.click()
    let_run(offered)
    assert 1 <= len(segmentations()) < 3
    assert "segmented" in offered.ui.statusLabel.text


def test_a_removed_image_is_forgotten(offered, patients, scene):
    click(patients["first"])
    scene.RemoveNode(slicer.util.getNode("T1 a"))
    offered.panel._update()
    assert offered.ui.chosenLabel.text == "1 in one go: T1 b"


def test_the_console_segments_exactly_the_given_volumes(offered, patients):
    wanted = [slicer.util.getNode("T1 d"), slicer.util.getNode("T1 a")]
    results = offered.logic.segmentScene("tiny", volumeNodes=wanted, device="cpu", mirroring=False)
    assert [result.row.case for result in results] == ["T1 d", "T1 a"]
    assert names() == ["T1 a segmentation", "T1 d segmentation"]


def test_a_cancelled_run_of_the_console_that_has_nothing_says_so(offered, patients):
    run = offered.logic.segmentSceneAsync("tiny", device="cpu", onDone=lambda _: 1 / 0, onError=print)
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait()


@pytest.fixture
def dicom(offered, scene, monkeypatch):
    """Slicer's DICOM module with series 1.1 to 1.3 in its database; `dicom.selected` are chosen there."""
    state = SimpleNamespace(selected=[], loaded=[], useVisualDICOMBrowser=False)

    def load(series):
        state.loaded += series
        node = add_volume(scene, head() + float(series[0].split(".")[1]), name=f"T1 {series[0]}")
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        hierarchy.SetItemUID(hierarchy.GetItemByDataNode(node), "DICOM", series[0])
        return [node.GetID()]

    state.dicomBrowser = SimpleNamespace(selectedItems=lambda _type: state.selected)
    view = SimpleNamespace(selectedSeriesInstanceUIDs=lambda: state.selected)
    state.dicomVisualBrowser = SimpleNamespace(patientView=lambda: view)
    library = ModuleType("DICOMLib")
    library.DICOMUtils = SimpleNamespace(loadSeriesByUID=load)
    monkeypatch.setitem(sys.modules, "DICOMLib", library)
    instance = SimpleNamespace(browserWidget=state)
    monkeypatch.setattr(slicer.modules, "DICOMInstance", instance, raising=False)
    import ctk

    monkeypatch.setattr(ctk, "ctkDICOMModel", SimpleNamespace(SeriesType=3), raising=False)
    return state


@pytest.mark.parametrize("visual", [False, True], ids=["list", "thumbnails"])
def test_the_series_selected_in_dicom_are_loaded_once_and_segmented(offered, dicom, visual):
    dicom.useVisualDICOMBrowser = visual
    dicom.selected = ["1.1", "1.3"]
    offered.panel.enter()
    assert offered.ui.dicomSeriesButton.text == "Take the series selected in DICOM (2)"
    offered.ui.dicomSeriesButton.click()
    assert dicom.loaded == ["1.1", "1.3"]
    segment(offered)
    assert names() == ["T1 1.1 segmentation", "T1 1.3 segmentation"]
    offered.ui.dicomSeriesButton.click()
    assert dicom.loaded == ["1.1", "1.3"]


def test_without_a_selection_in_dicom_nothing_is_offered(offered, dicom):
    offered.panel.enter()
    assert not offered.ui.dicomSeriesButton.visible
    del dicom.dicomBrowser  # of an earlier Slicer
    offered.panel.enter()
    assert not offered.ui.dicomSeriesButton.visible


def test_slicer_registers_the_command_when_it_has_started(scene):
    loaded = slicer_standin.load_module(MODULE)
    slicer.app.startupCompleted.emit()
    handler = slicer.qSlicerSubjectHierarchyPluginHandler.instance()
    assert handler.pluginByName("MedNeXtSegmentation") is not None
    for name in ("registerSampleData", "registerContextMenu"):
        slicer.app.disconnect("startupCompleted()", getattr(loaded, name))
