"""An export writes the node as it is now, with the model's label values and without a loss."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import slicer
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import TINY_MODEL
from fixtures.scene.segmentation_nodes import (
    SHAPE,
    blocks,
    by_name,
    carried_out,
    draw,
    new_segmentation,
    paint,
)
from fixtures.scene.volume_nodes import (
    OBLIQUE_LEFT_HANDED,
    add_linear_transform,
    add_volume,
    head,
    translation,
)
from mednext.errors import GeometryError, OptionError, OutputError, UnreadableImageError
from mednext.images.formats.image_files import read_image
from mednext.images.geometry import Geometry
from mednext.images.volume import read_volume
from mednext.segmentation import export
from MedNeXtSegmentationLib.scene.export.drawn_segments import drawn_segments_of
from MedNeXtSegmentationLib.scene.export.export_job import export_job

LABELS = TINY_MODEL.labels
EMPTY = np.zeros(SHAPE, dtype=np.uint8)


@pytest.fixture
def volume(scene):
    return add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)


@pytest.fixture
def node(volume):
    return new_segmentation(volume, blocks(0))


def corner(*values):
    """A labelmap with one voxel of each value, along the first row."""
    labelmap = EMPTY.copy()
    labelmap[0, 0, : len(values)] = values
    return labelmap


def test_a_labelmap_has_the_corrections_and_the_models_values_whatever_the_order(node, volume, tmp_path):
    liver, spleen = by_name(node, "liver"), by_name(node, "spleen")
    paint(node, liver, corner(1), volume)
    paint(node, spleen, corner(0, 1, 1), volume)
    draw(node, "mine", corner(0, 0, 0, 1), volume)
    node.GetSegmentation().SetSegmentIndex(liver, 0)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    files = carried_out(export_job(node, tmp_path / "labels.nrrd"))["files"]
    assert np.array_equal(read_image(tmp_path / "labels.nrrd").array, corner(2, 1, 1, 3))
    assert [Path(file).name for file in files] == ["labels.nrrd", "labels.labels.csv"]
    with (tmp_path / "labels.labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["LabelValue"], row["Name"]) for row in rows] == [
        ("1", "spleen"),
        ("2", "liver"),
        ("3", "mine"),
    ]
    assert (rows[0]["Type_CodeValue"], rows[0]["Color_R"]) == ("78961009", "157")


@pytest.mark.parametrize("name", ["labels.nii", "labels.mha"])
def test_each_format_of_labelmaps_gets_the_same_values_and_a_table(node, tmp_path, name):
    files = carried_out(export_job(node, tmp_path / name))["files"]
    assert np.array_equal(read_image(tmp_path / name).array, blocks(0))
    assert [Path(file).name for file in files] == [name, "labels.labels.csv"]


def test_a_format_that_is_added_to_the_engine_is_written_from_slicer(node, volume, tmp_path, monkeypatch):
    def write(path, segmentation, _source):
        path.write_text(f"{segmentation.provenance['corrected']} {np.count_nonzero(segmentation.labelmap)}")

    monkeypatch.setitem(export.FORMATS, "toy", export.ResultFormat("Toy", (".toy",), write))
    paint(node, by_name(node, "liver"), EMPTY, volume)
    paint(node, by_name(node, "spleen"), corner(1, 1, 1), volume)
    assert carried_out(export_job(node, tmp_path / "a.toy"))["files"] == [str(tmp_path / "a.toy")]
    assert (tmp_path / "a.toy").read_text() == "yes 3"


def test_an_unknown_suffix_is_refused_with_the_known_ones(node, tmp_path):
    with pytest.raises(OptionError, match=r"a\.stl has no known suffix: use one of \.seg\.nrrd, "):
        export_job(node, tmp_path / "a.stl")


def test_slicer_loads_the_colour_table(node, volume, tmp_path):
    carried_out(export_job(node, tmp_path / "labels.nii.gz"))
    table = slicer.util.loadColorTable(str(tmp_path / "labels.labels.csv"))
    assert (table.GetColorName(1), table.GetColorName(2)) == ("spleen", "liver")
    assert table.GetTerminologyType(1).GetCodeValue() == "78961009"


def test_slicers_own_export_uses_the_models_values_through_its_colour_table(node, volume, scene):
    node.GetSegmentation().SetSegmentIndex(by_name(node, "liver"), 0)
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    ids = list(node.GetSegmentation().GetSegmentIDs())
    assert slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(
        node, ids, labelmap, volume, 0, node.GetLabelmapConversionColorTableNode()
    )
    assert np.array_equal(slicer.util.arrayFromVolume(labelmap), blocks(0))


def test_structures_with_the_same_codes_keep_their_own_values_in_slicers_export(volume, scene):
    from dataclasses import replace

    labels = (LABELS[0], replace(LABELS[1], terminology=LABELS[0].terminology))
    node = new_segmentation(volume, blocks(0), labels=labels, model="twins")
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(
        node,
        list(node.GetSegmentation().GetSegmentIDs()),
        labelmap,
        volume,
        0,
        node.GetLabelmapConversionColorTableNode(),
    )
    assert np.array_equal(slicer.util.arrayFromVolume(labelmap), blocks(0))


def test_a_scene_has_one_colour_table_for_a_model(node, volume):
    again = new_segmentation(volume, blocks(1))
    assert again.GetLabelmapConversionColorTableNode() is node.GetLabelmapConversionColorTableNode()
    other = new_segmentation(volume, blocks(1), model="other")
    assert other.GetLabelmapConversionColorTableNode() is not node.GetLabelmapConversionColorTableNode()


def test_a_structure_that_the_user_drew_anew_has_the_models_value_by_its_name(node, volume):
    node.GetSegmentation().RemoveSegment(by_name(node, "liver"))
    draw(node, "liver", corner(1), volume)
    draw(node, "spleen", corner(0, 1), volume)  # the model's own spleen is still there
    labels = drawn_segments_of(node, volume, LABELS).labels
    assert [(label.value, label.name) for label in labels] == [(1, "spleen"), (2, "liver"), (3, "spleen")]


def test_imported_segments_may_have_negative_label_values(volume, scene):
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    voxels = corner(0, 1, 2).astype(np.int16)
    voxels[5] = -5
    slicer.util.updateVolumeFromArray(labelmap, voxels)
    labelmap.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE_LEFT_HANDED))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labelmap, node)
    drawn = drawn_segments_of(node, volume).segmentation()
    named = {label.name: np.count_nonzero(drawn.labelmap == label.value) for label in drawn.labels}
    assert named == {"Label_-5": 0, "Label_1": 1, "Label_2": 1}  # Slicer drops the voxels below 0


def test_overlapping_segments_are_refused_by_name_and_nothing_is_written(node, volume, tmp_path):
    paint(node, by_name(node, "liver"), corner(1, 1), volume)
    draw(node, "mine", corner(0, 1, 1), volume)
    segmentation = node.GetSegmentation()
    segmentation.SeparateSegmentLabelmap(by_name(node, "mine"))
    slicer.util.updateSegmentBinaryLabelmapFromArray(corner(0, 1, 1), node, by_name(node, "mine"), volume)
    slicer.util.updateSegmentBinaryLabelmapFromArray(corner(1, 1), node, by_name(node, "liver"), volume)
    with pytest.raises(OutputError, match=r'"liver", "mine" overlap in 1 voxels'):
        carried_out(export_job(node, tmp_path / "labels.nii.gz"))
    assert not list(tmp_path.iterdir())


def test_slicers_format_keeps_overlaps_and_tags(node, volume, tmp_path, scene):
    own = draw(node, "mine", np.ones(SHAPE, dtype=np.uint8), volume)
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.ones(SHAPE), node, own, volume)
    carried_out(export_job(node, tmp_path / "a.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "a.seg.nrrd"))
    assert slicer.util.arrayFromSegmentBinaryLabelmap(loaded, by_name(loaded, "mine"), volume).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.seg.nrrd"]


@pytest.mark.parametrize("name", ["a.seg.nrrd", "a.nii.gz"])
def test_the_main_thread_writes_no_file(node, tmp_path, name):
    job = export_job(node, tmp_path / name)
    assert not list(tmp_path.iterdir())
    assert Path(carried_out(job)["files"][0]).is_file()


def test_segments_that_reach_beyond_the_image_are_not_cut_silently(scene, tmp_path):
    whole = add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED, name="whole")
    crop = add_volume(scene, head((6, 6, 6)), OBLIQUE_LEFT_HANDED, name="crop")
    node = new_segmentation(whole, corner(*[2] * 10))
    with pytest.raises(GeometryError, match=r'"liver" reach beyond the image by 4 voxels'):
        drawn_segments_of(node, crop).segmentation()


def test_the_parent_transforms_are_followed(scene):
    volume = add_volume(scene, head(SHAPE), OBLIQUE_LEFT_HANDED)
    node = new_segmentation(volume, blocks(0))
    node.SetAndObserveTransformNodeID(add_linear_transform(scene, translation(5, 0, 0)).GetID())
    moved = add_volume(scene, head(SHAPE), translation(5, 0, 0) @ OBLIQUE_LEFT_HANDED, name="moved")
    assert np.array_equal(drawn_segments_of(node, moved).segmentation().labelmap, blocks(0))
    node.HardenTransform()
    assert np.array_equal(drawn_segments_of(node, moved).segmentation().labelmap, blocks(0))


def test_a_volume_that_is_not_from_dicom_is_refused_as_dicom(node, tmp_path):
    with pytest.raises(OutputError, match='"T1" was not loaded from DICOM'):
        export_job(node, tmp_path / "a.dcm")


class Database:
    def __init__(self, files):
        self._files = files

    def fileForInstance(self, uid):  # noqa: N802 - as in Slicer
        return str(self._files.get(uid, ""))


@pytest.fixture
def dicom_volume(scene, tmp_path, monkeypatch):
    """A volume as Slicer's DICOM module loads it."""
    import pydicom

    folder = tmp_path / "series"
    grid = Geometry((16, 14, 12), (0.8, 0.8, 2.5), (3.0, -4.0, 50.0))
    write_series(folder, head(SHAPE).astype(np.int16), grid)
    files = {str(pydicom.dcmread(file).SOPInstanceUID): file for file in folder.iterdir()}
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    loaded = read_volume(folder)
    node = add_volume(scene, loaded.array[0], loaded.geometry.ijk_to_ras, name="CT")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    return node


def test_a_dicom_segmentation_refers_to_the_series_and_is_semiautomatic_once_corrected(
    dicom_volume, tmp_path
):
    import highdicom

    shape = slicer.util.arrayFromVolume(dicom_volume).shape
    labelmap = blocks(0, shape=shape)
    node = new_segmentation(dicom_volume, labelmap)
    carried_out(export_job(node, tmp_path / "a.dcm"))
    written = highdicom.seg.segread(tmp_path / "a.dcm")
    kinds = {item.SegmentAlgorithmType for item in written.SegmentSequence}
    assert kinds == {"AUTOMATIC"}
    mask = np.zeros(shape)
    mask[1:3, 2:4, 2:4] = 1
    paint(node, by_name(node, "liver"), mask, dicom_volume)
    carried_out(export_job(node, tmp_path / "b.dcm"))
    written = highdicom.seg.segread(tmp_path / "b.dcm")
    assert {item.SegmentAlgorithmType for item in written.SegmentSequence} == {"SEMIAUTOMATIC"}
    liver = [
        n for n in written.segment_numbers if written.get_segment_description(n).segment_label == "liver"
    ]
    assert sum(written.get_volume(segment_numbers=liver).array.ravel()) == mask.sum()


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_dicom_segmentation_has_the_wanted_type(dicom_volume, tmp_path, kind):
    import highdicom

    labelmap = blocks(0, shape=slicer.util.arrayFromVolume(dicom_volume).shape)
    node = new_segmentation(dicom_volume, labelmap)
    carried_out(export_job(node, tmp_path / "a.dcm", f"dicom-{kind}"))
    written = highdicom.seg.segread(tmp_path / "a.dcm")
    assert written.SegmentationType == kind.upper()
    assert {written.get_segment_description(n).segment_label for n in written.segment_numbers} == {
        node.GetSegmentation().GetNthSegment(n).GetName()
        for n in range(node.GetSegmentation().GetNumberOfSegments())
    }
    assert np.count_nonzero(written.get_volume(combine_segments=True).array) == np.count_nonzero(labelmap)


def test_dicom_files_that_are_gone_are_counted(dicom_volume, tmp_path):
    node = new_segmentation(dicom_volume, blocks(0, shape=slicer.util.arrayFromVolume(dicom_volume).shape))
    next((tmp_path / "series").iterdir()).unlink()
    with pytest.raises(UnreadableImageError, match="1 of the"):
        export_job(node, tmp_path / "a.dcm")


def test_a_foreign_colour_table_is_never_replaced(node, tmp_path):
    (tmp_path / "a.labels.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.labels\.csv is there already"):
        carried_out(export_job(node, tmp_path / "a.nrrd"))
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


def test_the_same_labels_in_two_formats_share_one_colour_table(node, tmp_path):
    for name in ("a.nii.gz", "a.nrrd", "a.nii.gz"):
        carried_out(export_job(node, tmp_path / name))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.labels.csv", "a.nii.gz", "a.nrrd"]


@pytest.mark.parametrize("replaced", [False, True])
def test_the_colour_table_of_a_labelmap_with_other_labels_is_never_replaced(node, volume, tmp_path, replaced):
    for name in ("a.nii.gz", "a.nrrd") if replaced else ("a.nii.gz",):
        carried_out(export_job(node, tmp_path / name))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    draw(node, "mine", corner(1), volume)
    with pytest.raises(OutputError, match=r"a\.labels\.csv holds the labels of a\.nii\.gz"):
        carried_out(export_job(node, tmp_path / "a.nrrd"))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_labelmap_that_is_replaced_gets_the_table_of_its_new_labels(node, volume, tmp_path):
    carried_out(export_job(node, tmp_path / "a.nrrd"))
    draw(node, "mine", corner(1), volume)
    carried_out(export_job(node, tmp_path / "a.nrrd"))
    assert "mine" in (tmp_path / "a.labels.csv").read_text(encoding="utf-8")
