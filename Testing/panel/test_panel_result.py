"""The section "Result" of the panel, by its buttons: undo, uncertain places, files, training set."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.models.bundles import tiny_regions
from fixtures.panel.driving import MODULE, choose, segment, selector, set_option
from fixtures.scene.segmentation_nodes import blocks, by_name, draw, new_segmentation, paint, voxels
from fixtures.scene.volume_nodes import add_linear_transform, add_volume, head, rotation_about_s, translation
from mednext.errors import InputError, OutputError
from mednext.images.formats.image_files import read_image
from mednext.segmentation import export
from MedNeXtSegmentationLib.engine.scene_job import start_job
from MedNeXtSegmentationLib.scene.export.training_job import training_job

SHAPE = (24, 36, 20)
PATIENCE_S = 200


@pytest.fixture
def result(ready):
    """A finished run with its uncertainty."""
    ready.ui.uncertaintyBox.checked = True
    return segment(ready)


@pytest.fixture
def no_package_question(monkeypatch):
    """highdicom is installed here."""
    import slicer.packaging

    monkeypatch.setattr(slicer.packaging, "pip_ensure", lambda *_arguments, **_named: None)


def let_write(widget):
    begin = time.monotonic()
    while widget.panel.resultView.files.writing:
        assert time.monotonic() - begin < PATIENCE_S
        slicer.app.processEvents()
        slicer_standin.rest(0.01)


def export_to(widget, dialogs, path, format="Slicer segmentation", wait=True):
    """Press Export, and choose a file and one of the formats in the dialog."""

    def choose_file(dialog):
        chosen = next(each for each in dialog.nameFilters() if each.startswith(format))
        dialog.selectNameFilter(chosen)
        dialog.filterSelected.emit(chosen)
        dialog.selectFile(str(path))
        return 1

    dialogs.answer(choose_file if path else 0)
    widget.ui.exportButton.click()
    if wait:
        let_write(widget)


def mask(seed=1):
    return blocks(seed, (1,), SHAPE)


def distances_to_slices(place):
    """How far a position in mm RAS is from the plane of each slice view."""
    layout, distances = slicer.app.layoutManager(), []
    for name in layout.sliceViewNames():
        to_ras = slicer.util.arrayFromVTKMatrix(layout.sliceWidget(name).mrmlSliceNode().GetSliceToRAS())
        distances.append((np.linalg.inv(to_ras) @ [*place, 1])[2])
    return distances


def test_undo_and_redo_are_offered_after_a_run_into_a_segmentation(ready, volume, monkeypatch):
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *_, **__: True)
    node = segment(ready)
    assert not ready.ui.undoButton.visible
    liver = by_name(node, "liver")
    paint(node, liver, mask(), volume)
    ready.ui.segmentationSelector.setCurrentNode(node)
    segment(ready)
    assert not np.array_equal(voxels(node, liver, volume), mask())
    ready.ui.undoButton.click()
    assert np.array_equal(voxels(node, liver, volume), mask())
    assert ready.ui.resultStatusLabel.text == "Undone: the segments are as before the run."
    assert (ready.ui.undoButton.enabled, ready.ui.redoButton.enabled) == (False, True)
    ready.ui.redoButton.click()
    assert not np.array_equal(voxels(node, liver, volume), mask())


def test_regions_are_hidden_while_their_labels_are_edited_and_follow_them(ready, volume, monkeypatch):
    monkeypatch.setattr(slicer.qMRMLSegmentEditorWidget, "saveStateForUndo", lambda _editor: None)
    labelmap = np.zeros(SHAPE, dtype=np.uint8)
    labelmap[5:15, 5:15, 5:15], labelmap[8:12, 8:12, 8:12] = 1, 2
    fields = tiny_regions()
    node = new_segmentation(volume, labelmap, labels=fields["labels"], regions=fields["regions"])
    ready.panel.showResult(node)
    assert [ready.ui.volumesTable.item(row, 0).text() for row in range(5)] == [
        "whole tumor",
        "tumor core",
        "enhancing tumor",
        "edema",
        "necrosis",
    ]
    ready.ui.editButton.click()
    editor = slicer.modules.SegmentEditorWidget.editor.mrmlSegmentEditorNode()
    assert editor.GetOverwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteVisibleSegments
    whole, edema = by_name(node, "whole tumor"), by_name(node, "edema")
    display = node.GetDisplayNode()
    assert (display.GetSegmentVisibility(whole), display.GetSegmentVisibility(edema)) == (False, True)
    labelmap[0, 0, :3] = 1
    paint(node, edema, labelmap == 1, volume)
    ready.enter()
    assert display.GetSegmentVisibility(whole)
    assert np.array_equal(voxels(node, whole, volume) > 0, labelmap > 0)


def test_the_table_is_copied_as_tab_separated_text(ready, result):
    import qt

    ready.ui.copyTableButton.click()
    lines = qt.QApplication.clipboard().text().splitlines()
    assert lines[0] == "Structure\tVolume found (mL)"
    assert [line.split("\t")[0] for line in lines[1:]] == ["spleen", "liver"]
    assert all(float(line.split("\t")[1]) >= 0 for line in lines[1:])


def test_without_uncertainty_there_are_no_places(ready):
    segment(ready)
    assert not ready.ui.nextPlaceButton.visible
    assert not ready.ui.showUncertaintyButton.visible


def test_the_slice_views_go_from_place_to_place_and_begin_again(ready, result):
    from MedNeXtSegmentationLib.scene.result_record import uncertainty_of
    from MedNeXtSegmentationLib.scene.results.uncertainty_node import places_of

    places = places_of(uncertainty_of(result))
    assert places
    for number, place in enumerate([*places, places[0]]):
        ready.ui.nextPlaceButton.click()
        shown = number % len(places) + 1
        assert ready.ui.resultStatusLabel.text.startswith(f"Uncertain place {shown} of {len(places)}: ")
        assert distances_to_slices(place) == pytest.approx([0, 0, 0], abs=1e-3)


def test_the_structures_at_an_uncertain_place_are_named(ready, result):
    told = set()
    for _ in range(12):
        ready.ui.nextPlaceButton.click()
        told.add(ready.ui.resultStatusLabel.text.partition(": ")[2])
    known = {"spleen, liver.", "liver, spleen.", "spleen.", "liver.", "no structure was found here."}
    assert told <= known


def test_places_follow_the_parent_transform(ready, volume, scene):
    matrix = translation(30, -20, 10) @ rotation_about_s(90)
    volume.SetAndObserveTransformNodeID(add_linear_transform(scene, matrix).GetID())
    ready.ui.uncertaintyBox.checked = True
    node = segment(ready)
    from MedNeXtSegmentationLib.scene.result_record import uncertainty_of

    uncertainty = uncertainty_of(node)
    local = json.loads(uncertainty.GetAttribute("MedNeXtSegmentation.places_ras_mm"))[0][:3]
    ready.ui.nextPlaceButton.click()
    assert distances_to_slices((matrix @ [*local, 1])[:3]) == pytest.approx([0, 0, 0], abs=1e-3)


def test_the_uncertainty_lies_in_the_study_on_the_grid_and_is_shown_on_request_only(ready, volume, result):
    from MedNeXtSegmentationLib.scene.result_record import uncertainty_of

    uncertainty = uncertainty_of(result)
    assert uncertainty.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()
    array = slicer.util.arrayFromVolume(uncertainty)
    assert array.dtype == np.float32
    assert 0 <= array.min() < array.max() <= 1
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    before = [(c.GetBackgroundVolumeID(), c.GetForegroundVolumeID()) for c in composites]
    assert all(uncertainty.GetID() not in ids for ids in before)
    ready.ui.showUncertaintyButton.click()
    assert {c.GetForegroundVolumeID() for c in composites} == {uncertainty.GetID()}
    ready.ui.showUncertaintyButton.click()
    assert [(c.GetBackgroundVolumeID(), c.GetForegroundVolumeID()) for c in composites] == before


def test_an_uncertainty_is_never_taken_for_an_image(ready, result, volume, scene):
    scene.RemoveNode(volume)
    assert selector(ready, 0).currentNode() is None
    add_volume(scene, head(), name="unnamed")
    assert selector(ready, 0).currentNode().GetName() == "unnamed"


def test_a_removed_uncertainty_leads_nowhere(ready, result, scene):
    from MedNeXtSegmentationLib.scene.result_record import uncertainty_of

    scene.RemoveNode(uncertainty_of(result))
    ready.ui.nextPlaceButton.click()
    assert ready.ui.resultStatusLabel.text == "The uncertainty is no longer in the scene."


def statistics():
    """The panel of Slicer's Segment Statistics."""
    return slicer.modules.segmentstatistics.widgetRepresentation().self()


def test_statistics_are_opened_with_the_segmentation_and_its_image(ready, scene):
    other = add_volume(scene, head(), name="other")
    node = segment(ready)
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "another segmentation")
    slicer.util.selectModule("SegmentStatistics")
    statistics().scalarSelector.setCurrentNode(other)
    statistics().outputTableSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLTableNode", "theirs"))
    slicer.util.selectModule("MedNeXtSegmentation")
    ready.ui.statisticsButton.click()
    assert slicer.util.mainWindow().moduleSelector().selectedModule == "SegmentStatistics"
    assert statistics().segmentationSelector.currentNode() is node
    assert statistics().scalarSelector.currentNode() is selector(ready, 0).currentNode()
    assert statistics().outputTableSelector.currentNode() is None  # a new table, not "theirs"


def test_statistics_of_a_result_whose_image_is_gone_have_no_image(ready, scene, volume):
    segment(ready)
    add_volume(scene, head(), name="other")
    scene.RemoveNode(volume)
    ready.ui.statisticsButton.click()
    assert statistics().scalarSelector.currentNode() is None


def test_without_the_module_the_button_says_so(ready, monkeypatch):
    segment(ready)
    monkeypatch.delattr(slicer.modules, "segmentstatistics")
    ready.ui.statisticsButton.click()
    assert "Segment Statistics is not loaded" in ready.ui.resultErrorLabel.text


def test_export_writes_the_corrected_segmentation(ready, volume, dialogs, tmp_path):
    node = segment(ready)
    for name, seed in (("spleen", 1), ("liver", 2)):
        paint(node, by_name(node, name), mask(seed) & ~mask(3 - seed), volume)
    export_to(ready, dialogs, tmp_path / "T1.nii.gz")
    assert ready.ui.resultStatusLabel.text == f"Written: T1.nii.gz, T1.labels.csv in {tmp_path}"
    read = read_image(tmp_path / "T1.nii.gz")
    written, geometry = read.array, read.geometry
    assert np.array_equal(written == 2, mask(2) & ~mask(1))
    assert geometry.shape == SHAPE


def test_a_reload_while_a_file_is_written_leaves_the_whole_file(ready, dialogs, tmp_path):
    segment(ready)
    path = tmp_path / "T1.nii.gz"
    export_to(ready, dialogs, path, wait=False)
    writing = ready.panel.resultView.files._writing
    slicer_standin.close_module(MODULE.stem)
    begin = time.monotonic()
    while not writing.finished:
        assert time.monotonic() - begin < PATIENCE_S
        slicer.app.processEvents()
        slicer_standin.rest(0.01)
    writing.result()  # the panel tells of no error any more
    assert read_image(path).geometry.shape == SHAPE


def test_a_name_without_a_suffix_gets_that_of_the_chosen_format(ready, dialogs, tmp_path):
    segment(ready)
    export_to(ready, dialogs, tmp_path / "T1")
    export_to(ready, dialogs, tmp_path / "T1", format="NIfTI labelmap")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["T1.labels.csv", "T1.nii.gz", "T1.seg.nrrd"]


def test_the_dialog_offers_every_format_that_the_commands_write(ready, dialogs, monkeypatch):
    monkeypatch.setitem(export.FORMATS, "toy", export.ResultFormat("Toy volumes", (".toy", ".ty"), print))
    segment(ready)
    offered = []

    def cancel(dialog):
        offered.extend(dialog.nameFilters())
        return 0

    dialogs.answer(cancel)
    ready.ui.exportButton.click()
    assert offered == [
        "Slicer segmentation (*.seg.nrrd)",
        "NRRD labelmap (*.nrrd)",
        "NIfTI labelmap (*.nii.gz *.nii)",
        "MetaImage labelmap (*.mha)",
        "DICOM segmentation (*.dcm)",
        "DICOM segmentation, a bit for each voxel and segment (*.dcm)",
        "DICOM segmentation, labelmap (Slicer 5.12 or later) (*.dcm)",
        "Toy volumes (*.toy *.ty)",
    ]


def test_a_file_that_the_dialog_has_not_asked_about_is_not_replaced(ready, dialogs, tmp_path):
    segment(ready)
    (tmp_path / "T1.stl.seg.nrrd").write_text("theirs")
    export_to(ready, dialogs, tmp_path / "T1.stl")
    assert ready.ui.resultErrorLabel.text.startswith("T1.stl.seg.nrrd already exists")
    assert (tmp_path / "T1.stl.seg.nrrd").read_text() == "theirs"
    export_to(ready, dialogs, None)
    assert not ready.ui.resultErrorLabel.visible


def test_dicom_export_names_the_missing_series(ready, dialogs, tmp_path, no_package_question):
    segment(ready)
    export_to(ready, dialogs, tmp_path / "T1.dcm")
    assert '"T1" was not loaded from DICOM' in ready.ui.resultErrorLabel.text


def test_the_dialog_offers_both_types_of_a_dicom_segmentation(
    ready, dialogs, tmp_path, no_package_question, monkeypatch
):
    from MedNeXtSegmentationLib.panel.result import result_files

    asked = []

    def refuse(_node, _path, kind):
        asked.append(kind)
        raise OutputError("Asked.")

    monkeypatch.setattr(result_files, "export_job", refuse)
    segment(ready)
    for title in ("DICOM segmentation (", "DICOM segmentation, a bit", "DICOM segmentation, labelmap"):
        export_to(ready, dialogs, tmp_path / "T1.dcm", title)
    export_to(ready, dialogs, tmp_path / "T1.nrrd", "DICOM segmentation, labelmap")
    assert asked == ["dicom", "dicom-binary", "dicom-labelmap", "nrrd"]


def test_declining_the_package_for_dicom_is_no_fault(ready, dialogs, tmp_path, monkeypatch):
    def decline(*_arguments, **_named):
        raise RuntimeError("declined")

    import slicer.packaging

    monkeypatch.setattr(slicer.packaging, "pip_ensure", decline)
    segment(ready)
    export_to(ready, dialogs, tmp_path / "T1.dcm")
    assert "needs the package highdicom" in ready.ui.resultErrorLabel.text


def test_a_corrected_result_becomes_a_training_case(ready, volume, dialogs, tmp_path):
    node = segment(ready)
    paint(node, by_name(node, "spleen"), np.zeros(SHAPE), volume)
    paint(node, by_name(node, "liver"), mask(), volume)
    dialogs.answer(str(tmp_path))
    ready.ui.trainingButton.click()
    let_write(ready)
    folder = tmp_path / "Dataset501_Test"
    assert ready.ui.resultStatusLabel.text == f"Added as tiny_0001 in {folder}"
    labels = read_image(folder / "labelsTr" / "tiny_0001.nii.gz").array
    assert np.array_equal(labels, 2 * mask())
    image = read_image(folder / "imagesTr" / "tiny_0001_0000.nii.gz").array
    assert np.array_equal(image, slicer.util.arrayFromVolume(volume))
    record = json.loads((folder / "provenanceTr" / "tiny_0001.json").read_text())
    spleen = record["labels"][0]
    assert spleen["voxels"] == spleen["added"] == 0
    assert record["run"]["model"] == "tiny"


def test_an_image_that_changes_while_a_training_case_is_written_is_no_case(ready, volume, dialogs, tmp_path):
    node = segment(ready)
    job = training_job(node, tmp_path)
    slicer.util.arrayFromVolume(volume)[0] = 0
    slicer.util.arrayFromVolumeModified(volume)
    with pytest.raises(InputError, match="were changed"):
        start_job(job).wait()
    assert not list(tmp_path.iterdir())


def test_a_segment_of_unknown_meaning_is_named_and_no_case_is_written(ready, volume, dialogs, tmp_path):
    node = segment(ready)
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        paint(node, segment_id, np.zeros(SHAPE), volume)
    draw(node, "my lesion", mask(), volume)
    dialogs.answer(str(tmp_path))
    ready.ui.trainingButton.click()
    let_write(ready)
    assert '"my lesion"' in ready.ui.resultErrorLabel.text
    assert not list(tmp_path.iterdir())


def test_structures_that_were_left_out_are_named(ready, dialogs, tmp_path):
    import qt

    ready.ui.structuresList.item(0).setCheckState(qt.Qt.Unchecked)
    segment(ready)
    dialogs.answer(str(tmp_path))
    ready.ui.trainingButton.click()
    let_write(ready)
    assert 'no segments of "spleen"' in ready.ui.resultErrorLabel.text


def test_a_run_in_a_region_becomes_a_training_case_of_that_region(ready, volume, dialogs, tmp_path, scene):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    roi.SetCenter([(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)])
    roi.SetSize([(high - low) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)])
    ready.ui.roiSelector.setCurrentNode(roi)
    node = segment(ready)
    paint(node, by_name(node, "spleen"), np.zeros(SHAPE), volume)
    paint(node, by_name(node, "liver"), np.ones(SHAPE), volume)
    dialogs.answer(str(tmp_path))
    ready.ui.trainingButton.click()
    let_write(ready)
    assert "cropped to the region of the run" in ready.ui.resultStatusLabel.text
    assert "were left out" in ready.ui.resultStatusLabel.text
    read = read_image(tmp_path / "Dataset501_Test" / "labelsTr" / "tiny_0001.nii.gz")
    labels, grid = read.array, read.geometry
    assert (labels == 2).all()
    assert np.prod(grid.size) < np.prod(SHAPE) / 4


def test_all_channels_are_written(widget, scene, dialogs, tmp_path):
    flair = add_volume(scene, head((20, 30, 18), seed=5), np.diag([1.2, 1.2, 1.2, 1.0]), name="FLAIR")
    t1 = add_volume(scene, head(), name="T1")
    choose(widget, "two")
    set_option(widget.ui.deviceBox, "cpu")
    widget.ui.mirroringBox.checked = False
    assert [selector(widget, n).currentNode() for n in (0, 1)] == [t1, flair]
    segment(widget)
    dialogs.answer(str(tmp_path))
    widget.ui.trainingButton.click()
    let_write(widget)
    names = sorted(file.name for file in Path(tmp_path / "Dataset501_Test" / "imagesTr").iterdir())
    assert names == ["two_0001_0000.nii.gz", "two_0001_0001.nii.gz"]
    assert "On the grid of the first image now: FLAIR" in widget.ui.resultStatusLabel.text


def test_a_result_stands_in_the_study_of_its_image_with_its_uncertainty(ready, volume, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    ready.ui.uncertaintyBox.checked = True
    node = segment(ready)
    from MedNeXtSegmentationLib.scene.result_record import uncertainty_of

    for each in (node, uncertainty_of(node)):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(each)) == study
    assert node.GetAttribute("MedNeXtSegmentation.model") == "tiny"
