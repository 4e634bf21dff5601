"""The panel checks the chosen images before anything runs."""

from __future__ import annotations

import html
import time
from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from fixtures.models.bundles import TINY_MODEL, tiny_model
from fixtures.panel.driving import LARGE, choose, let_run, selector
from fixtures.scene.volume_nodes import add_linear_transform, add_volume, head, rotation_about_s, translation
from mednext.model.description import Channel
from vtk.util import numpy_support

CT_MODEL = tiny_model(channels=(Channel("CT", "CT", "ct", 50.0, 100.0, -900.0, 1500.0),))
T1_FLAIR = tiny_model(channels=(Channel("T1", "MR", "zscore"), Channel("FLAIR", "MR", "zscore")))


@pytest.fixture
def check(scene):
    """The checks of a model with volumes, without a panel."""
    from MedNeXtSegmentationLib.panel.inputs.input_checks import checkInputs

    return lambda model, *nodes: checkInputs(model, nodes, None)


def set_modality(volume, modality):
    """As DICOM's plugin does."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(volume), "DICOM.Modality", modality)


def chest(shape=(20, 30, 30)):
    """Air, tissue and bone in HU."""
    return np.random.default_rng(0).choice([-1000, -900, 0, 40, 60, 900], size=shape).astype(
        np.int16
    ) + np.arange(shape[-1], dtype=np.int16)


def test_an_image_that_fits_gives_no_warning(scene, check):
    checks = check(TINY_MODEL, add_volume(scene, head()))
    assert (checks.problem, checks.warnings) == ("", ())
    checks = check(CT_MODEL, add_volume(scene, chest(), name="thorax"))
    assert (checks.problem, checks.warnings) == ("", ())


def test_another_modality_in_the_header_is_warned_of(scene, check):
    volume = add_volume(scene, head(), name="knee")
    set_modality(volume, "MR")
    assert '"knee" is MR by its DICOM header, the model takes CT.' in check(CT_MODEL, volume).warnings


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("T1 nach KM", '"T1 nach KM" seems to be T1 with contrast agent, not T1: check the choice.'),
        ("FLAIR", '"FLAIR" seems to be FLAIR, not T1: check the choice.'),
        ("T1 w/wo Gd", 'It is not clear whether "T1 w/wo Gd" is right for the channel T1: check it.'),
    ],
)
def test_an_image_with_the_name_of_another_channel_is_warned_of(scene, check, name, sentence):
    assert check(TINY_MODEL, add_volume(scene, head(), name=name)).warnings == (sentence,)


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        (np.interp(chest(), (-160, 240), (0, 255)).round(), "as a picture has, and not Hounsfield units"),
        (chest() + 1024, "Subtract the offset, usually 1024"),
        (np.maximum(chest(), -100), "has no air (values from -100"),
        (np.minimum(chest(), -500), "hardly any values of tissue"),
        ((chest() > 0).astype(np.int16), "has only 2 different values: is it a mask or a label map?"),
    ],
)
def test_values_that_are_not_hounsfield_units_are_warned_of(scene, check, voxels, words):
    (warning,) = check(CT_MODEL, add_volume(scene, voxels, name="CT")).warnings
    assert words in warning


def test_hounsfield_units_in_a_model_of_mr_are_warned_of(scene, check):
    (warning,) = check(TINY_MODEL, add_volume(scene, chest(), name="image")).warnings
    assert "as a CT has; the model takes MR" in warning


def test_a_nearly_constant_mr_is_warned_of_and_a_constant_one_refused(scene, check):
    voxels = np.full((20, 20, 20), 7.0)
    assert (
        '"flat" has the value 7 everywhere'
        in check(TINY_MODEL, add_volume(scene, voxels, name="flat")).problem
    )
    voxels[0, 0] = np.linspace(0, 1, 20)
    (warning,) = check(TINY_MODEL, add_volume(scene, voxels, name="flat")).warnings
    assert "is nearly constant: 7 in 98 % of its voxels" in warning


@pytest.mark.parametrize("spacing", [0.001, 500.0])
def test_a_spacing_that_no_image_has_is_refused(scene, check, spacing):
    volume = add_volume(scene, head(), np.diag([spacing, 1, 1, 1]), name="odd")
    assert '"odd" has the spacing' in check(TINY_MODEL, volume).problem


def test_thick_slices_and_tiny_voxels_are_warned_of(scene, check):
    thick = add_volume(scene, head(), np.diag([1, 1, 7, 1]), name="thick")
    (warning,) = check(TINY_MODEL, thick).warnings
    assert "(1 × 1 × 7 mm) are coarse compared with the model's (1 × 1 × 1 mm)" in warning
    tiny = add_volume(scene, head(), np.diag([0.1, 0.1, 0.1, 1]), name="tiny")
    assert "much finer than the model's" in check(TINY_MODEL, tiny).warnings[0]
    assert check(replace(TINY_MODEL, spacing=None), thick).warnings == ()


def test_channels_that_do_not_lie_together_are_warned_of_or_refused(scene, check):
    t1 = add_volume(scene, head(), name="T1")
    part = add_volume(scene, head(seed=1), translation(4, 0, 0), name="FLAIR")
    assert check(T1_FLAIR, t1, part).warnings == (
        '"FLAIR" covers 80% of "T1"; the rest is taken as background.',
    )
    away = add_volume(scene, head(seed=1), translation(18, 0, 0), name="FLAIR")
    assert 'covers 10% of "T1", less than 25%' in check(T1_FLAIR, t1, away).problem


def test_a_tilted_channel_is_warned_of_and_another_plane_is_not(scene, check):
    size, middle = (60, 60, 60), translation(-30, -30, -30)
    t1 = add_volume(scene, head(size), middle, name="T1")
    tilted = add_volume(scene, head(size, 1), rotation_about_s(35) @ middle, name="FLAIR")
    assert any(
        '"FLAIR" is tilted by 35° against "T1"' in warning for warning in check(T1_FLAIR, t1, tilted).warnings
    )
    sagittal = np.array([[0, 0, 1, -30], [1, 0, 0, -30], [0, 1, 0, -30], [0, 0, 0, 1]], dtype=float)
    assert check(T1_FLAIR, t1, add_volume(scene, head(size, 1), sagittal, name="FLAIR")).warnings == ()


def test_the_same_voxels_in_two_channels_are_warned_of(scene, check):
    t1, copy = (add_volume(scene, head(), name=name) for name in ("T1", "FLAIR"))
    assert check(T1_FLAIR, t1, copy).warnings == (
        '"FLAIR" and "T1" have the same voxels: choose one image for each.',
    )


def test_images_of_two_patients_are_warned_of(scene, check):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes = [add_volume(scene, head(seed=n), name=name) for n, name in enumerate(("T1", "FLAIR"))]
    for node in nodes:
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "somebody")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), hierarchy.CreateStudyItem(patient, "MR"))
    assert check(T1_FLAIR, *nodes).warnings == ("The images are of different patients.",)


def test_the_checks_of_a_large_volume_read_few_of_its_voxels_and_notice_their_changes(scene, check):
    from MedNeXtSegmentationLib.scene.volumes.voxel_sample import voxel_sample

    voxels = np.zeros((1000, 512, 512), dtype=np.int8)
    voxels += np.arange(512, dtype=np.uint16).astype(np.int8)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "whole body")
    slicer.util.updateVolumeFromArray(volume, voxels)
    del voxels
    assert check(TINY_MODEL, volume).problem == ""
    assert voxel_sample(volume).values.size < 100_000  # of 262 million: milliseconds
    slicer.util.arrayFromVolume(volume)[:] = 3
    slicer.util.arrayFromVolumeModified(volume)
    assert "seems to have the value 3 everywhere" in check(TINY_MODEL, volume).warnings[0]


def test_the_panel_shows_warnings_as_a_list_and_still_segments(ready, scene):
    choose(ready, "two")
    selector(ready, 0).setCurrentNode(add_volume(scene, head(), name="<i>T1</i> KM"))
    selector(ready, 1).setCurrentNode(add_volume(scene, head(), name="T2"))
    text = ready.ui.warningLabel.text
    assert text.count("<tr>") == 3
    assert "&lt;i&gt;T1&lt;/i&gt; KM" in text
    assert ready.ui.segmentButton.enabled


def test_choosing_one_image_fills_the_other_channels_of_its_study(ready, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    choose(ready, "two")
    volumes = {}
    for year in ("2020", "2024"):
        study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), year)
        for kind in ("T1", "FLAIR"):
            volumes[kind, year] = add_volume(scene, head(), name=f"{kind} of {year}")
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volumes[kind, year]), study)
    selector(ready, 0).setCurrentNode(volumes["T1", "2024"])
    selector(ready, 1).setCurrentNode(None)
    selector(ready, 0).setCurrentNode(volumes["T1", "2020"])
    assert selector(ready, 1).currentNode() is volumes["FLAIR", "2020"]


def test_a_volume_whose_new_name_says_contrast_agent_is_taken_out_of_the_channel_for_native_t1(widget, scene):
    choose(widget, "tiny")
    volume = add_volume(scene, head(), name="T1")
    assert selector(widget, 0).currentNode() is volume
    volume.SetName("T1 KM")  # or its DICOM attributes arrive
    begin = time.monotonic()
    while selector(widget, 0).currentNode() and time.monotonic() - begin < 100:
        slicer.app.processEvents()
    assert selector(widget, 0).currentNode() is None
    assert not widget.ui.segmentButton.enabled


def test_the_user_can_insist_on_a_refused_image_in_the_panel(ready, scene):
    assert not ready.ui.insistBox.visible
    choose(ready, "two")
    selector(ready, 0).setCurrentNode(add_volume(scene, head(), name="T1"))
    selector(ready, 1).setCurrentNode(add_volume(scene, head(), name="FLAIR"))
    assert ready.ui.insistBox.visible and not ready.ui.insistBox.checked
    ready.ui.segmentButton.click()
    let_run(ready)
    assert "have the same voxels" in ready.ui.errorLabel.text
    ready.ui.insistBox.checked = True
    ready.ui.segmentButton.click()
    let_run(ready)
    assert not ready.ui.errorLabel.visible
    assert "have the same voxels" in ready.panel.parameters.result.GetAttribute("MedNeXtSegmentation.warning")
    selector(ready, 1).setCurrentNode(add_volume(scene, head(seed=1), name="FLAIR"))
    assert not ready.ui.insistBox.visible and not ready.ui.insistBox.checked


def test_the_user_can_insist_on_an_image_that_only_the_engine_refuses(ready, scene):
    voxels = head(LARGE)
    voxels[0, 0, 1] = np.nan  # too few for the checks before the run
    choose(ready, "coarse")
    selector(ready, 0).setCurrentNode(add_volume(scene, voxels))
    assert not ready.ui.insistBox.visible
    ready.ui.segmentButton.click()
    let_run(ready)
    assert "1 NaN or infinite" in ready.ui.errorLabel.text
    assert ready.ui.insistBox.visible
    ready.ui.insistBox.checked = True
    ready.ui.segmentButton.click()
    let_run(ready)
    warning = ready.panel.parameters.result.GetAttribute("MedNeXtSegmentation.warning")
    assert "1 NaN or infinite voxels, which were taken as background" in warning


def test_nan_voxels_are_refused_before_the_run_unless_the_user_insists(scene, check):
    voxels = head()
    voxels[:8] = np.nan
    checks = check(TINY_MODEL, add_volume(scene, voxels, name="brain"))
    assert checks.problem == ""
    assert checks.warnings == ('"brain" has NaN or infinite voxels: replace them by background.',)
    assert checks.doubts == checks.warnings


def test_insisting_in_spite_of_one_doubt_is_not_insisting_in_spite_of_the_next(ready, scene):
    voxels = head()
    voxels[:8] = np.nan
    damaged = add_volume(scene, voxels, name="damaged")
    selector(ready, 0).setCurrentNode(damaged)
    ready.ui.insistBox.checked = True
    ready.ui.mirroringBox.checked = not ready.ui.mirroringBox.checked
    assert ready.ui.insistBox.checked, "options do not concern the images"
    mirrored = add_linear_transform(scene, np.diag([-1.0, 1, 1, 1]))
    damaged.SetAndObserveTransformNodeID(mirrored.GetID())
    assert "swaps its sides" in ready.ui.warningLabel.text
    assert ready.ui.insistBox.visible and not ready.ui.insistBox.checked


def replace_scalars(volume):
    scalars = vtk.vtkFloatArray()
    scalars.SetNumberOfTuples(volume.GetImageData().GetNumberOfPoints())
    scalars.FillComponent(0, 3)
    volume.GetImageData().GetPointData().SetScalars(scalars)
    volume.GetImageData().Modified()


def copy_into(volume):
    """As a filter does that writes into the volume's image."""
    image = vtk.vtkImageData()
    image.DeepCopy(volume.GetImageData())
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = 3
    volume.GetImageData().DeepCopy(image)


def set_image(volume):
    image = vtk.vtkImageData()
    image.DeepCopy(volume.GetImageData())
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = 3
    volume.SetAndObserveImageData(image)


def write_through_numpy(volume):
    slicer.util.arrayFromVolume(volume)[:] = 3
    slicer.util.arrayFromVolumeModified(volume)


@pytest.mark.parametrize("change", [replace_scalars, copy_into, set_image, write_through_numpy])
def test_voxels_that_are_replaced_in_place_are_checked_again(ready, change):
    assert ready.ui.segmentButton.enabled
    change(selector(ready, 0).currentNode())
    slicer.app.processEvents()
    assert '"T1" has the value 3 everywhere' in ready.ui.problemLabel.text
    assert not ready.ui.segmentButton.enabled


def test_a_transform_that_changes_is_checked_again(ready, scene):
    choose(ready, "two")
    selector(ready, 0).setCurrentNode(add_volume(scene, head(), name="T1"))
    moved = add_volume(scene, head(seed=1), name="FLAIR")
    selector(ready, 1).setCurrentNode(moved)
    assert not ready.ui.warningLabel.visible
    outer, inner = add_linear_transform(scene, np.eye(4)), add_linear_transform(scene, np.eye(4))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    moved.SetAndObserveTransformNodeID(inner.GetID())
    assert not ready.ui.warningLabel.visible
    outer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(translation(4, 0, 0)))
    assert '"FLAIR" covers 80% of "T1"' in html.unescape(ready.ui.warningLabel.text)
    outer.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(translation(400, 0, 0)))
    assert 'covers 0% of "T1"' in ready.ui.problemLabel.text
