"""The same options give the same provenance, whichever way a volume is segmented."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from fixtures.batch.cases import add_image
from fixtures.models.bundles import tiny_bundle
from mednext import Roi, read_volume, segment
from mednext.cli import main
from mednext.errors import OptionError
from mednext.inference.options import Options
from mednext.segmentation.formats.seg_nrrd import read_provenance
from MedNeXtSegmentationLib.scene.result_record import provenance_of

OPTIONS = Options("cpu", (1,), False, Roi((-30.0, -40.0, 2.0), (30.0, 40.0, 14.0)), True, 0.25, "bfloat16", 1)
ARGUMENTS = ["--device", "cpu", "--folds", "1", "--no-mirror", "--roi", "-30,-40,2,30,40,14"]
ARGUMENTS += ["--step", "0.25", "--precision", "bfloat16", "--threads", "1"]
IN_SLICER = {name: value for name, value in vars(OPTIONS).items() if name != "insist"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", (0, 1))


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return add_image(tmp_path_factory.mktemp("in") / "a.nii.gz")


@pytest.fixture(scope="module")
def expected(image, tiny):
    return segment(read_volume(image), tiny, OPTIONS)


def assert_same_recipe(provenance, model):
    assert OPTIONS.recipe(model).items() <= dict(provenance).items()


def assert_uncertainty(path: Path, expected) -> None:
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), expected.uncertainty)


def test_the_engine_keeps_all_options(expected, tiny):
    assert_same_recipe(expected.provenance, tiny.model)
    assert expected.labelmap.any() and expected.uncertainty is not None


def test_the_command_for_one_image_knows_all_options(image, tiny, expected, tmp_path, capsys):
    place = ["--model", str(tiny.path), "-o", str(tmp_path / "a.seg.nrrd")]
    uncertainty = ["--uncertainty", str(tmp_path / "u.nii.gz")]
    assert main(["segment", str(image), *place, *uncertainty, *ARGUMENTS, "--json"]) == 0
    assert_same_recipe(json.loads(capsys.readouterr().out)["provenance"], tiny.model)
    assert_uncertainty(tmp_path / "u.nii.gz", expected)


def test_the_command_for_folders_knows_all_options(image, tiny, expected, tmp_path):
    out = tmp_path / "out"
    arguments = [str(image.parent), str(out), "--model", str(tiny.path), "--uncertainty", *ARGUMENTS]
    assert main(["segment-folder", *arguments]) == 0
    assert_same_recipe(read_provenance(out / "a.seg.nrrd"), tiny.model)
    assert_uncertainty(out / "a.uncertainty.nii.gz", expected)


def test_folders_in_slicer_know_all_options(logic, image, tiny, expected, tmp_path):
    (row,) = logic.segmentFolder(image.parent, tmp_path / "out", tiny.path, labels=["liver"], **IN_SLICER)
    words = read_provenance(tmp_path / "out" / row.output)
    assert_same_recipe(words, tiny.model)
    assert words["structures"] == "liver"
    assert list(row.volumes_ml.items()) == [("liver", expected.volumes_ml()["liver"])]
    assert_uncertainty(tmp_path / "out" / row.uncertainty, expected)


def test_volumes_in_slicer_know_all_options(logic, image, tiny, expected):
    volume = slicer.util.loadVolume(str(image))
    node = logic.segment(volume, str(tiny.path), **IN_SLICER)
    assert_same_recipe(provenance_of(node), tiny.model)
    (result,) = logic.segmentScene(str(tiny.path), **IN_SLICER)
    assert result.segmentationNode is node  # of the same options: nothing is segmented again


def test_a_box_that_is_drawn_is_the_region_of_a_folder(logic, image, tiny, expected, tmp_path):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    roi.SetCenter(0.0, 0.0, 8.0)
    roi.SetSize(60.0, 80.0, 12.0)
    options = {**IN_SLICER, "roi": None, "roiNode": roi}
    (row,) = logic.segmentFolder(image.parent, tmp_path / "out", tiny.path, **options)
    assert_same_recipe(read_provenance(tmp_path / "out" / row.output), tiny.model)


def test_two_regions_are_refused(logic, image, tiny, tmp_path):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    with pytest.raises(OptionError, match="Two regions"):
        logic.segmentFolder(image.parent, tmp_path / "out", tiny.path, roi=OPTIONS.roi, roiNode=roi)


def test_results_of_a_folder_cannot_go_into_a_node(logic, image, tiny, tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    with pytest.raises(OptionError, match="cannot go into one segmentation"):
        logic.segmentFolder(image.parent, tmp_path / "out", tiny.path, segmentationNode=node)


@pytest.fixture(scope="module")
def fast(image, tiny):
    """The engine's result of quality "fast", which a tiny model of two folds gives with the first alone."""
    found = segment(read_volume(image), tiny, device="cpu", quality="fast")
    assert found.provenance["folds"] == "0" and found.provenance["quality"] == "fast"
    return found


def assert_fast(words, fast):
    for key in ("quality", "folds", "mirror_axes", "step", "precision"):
        assert words[key] == fast.provenance[key], key


def test_the_commands_know_the_quality(image, tiny, fast, tmp_path, capsys):
    place = ["--model", str(tiny.path), "--device", "cpu", "--quality", "fast"]
    assert main(["segment", str(image), "-o", str(tmp_path / "a.seg.nrrd"), *place, "--json"]) == 0
    assert_fast(json.loads(capsys.readouterr().out)["provenance"], fast)
    assert main(["segment-folder", str(image.parent), str(tmp_path / "out"), *place]) == 0
    assert_fast(read_provenance(tmp_path / "out" / "a.seg.nrrd"), fast)


def test_single_options_of_the_command_win_over_the_quality(image, tiny, tmp_path, capsys):
    place = ["-o", str(tmp_path / "a.seg.nrrd"), "--model", str(tiny.path), "--device", "cpu", "--json"]
    own = ["--folds", "all", "--mirror", "--step", "0.5", "--precision", "float32"]
    assert main(["segment", str(image), *place, "--quality", "fast", *own]) == 0
    words = json.loads(capsys.readouterr().out)["provenance"]
    assert (words["quality"], words["folds"], words["mirror_axes"]) == ("standard", "0 1", "0 1 2")


def test_a_quality_that_does_not_exist_is_refused(image, tiny, tmp_path, capsys):
    place = ["-o", str(tmp_path / "a.seg.nrrd"), "--model", str(tiny.path)]
    assert main(["segment", str(image), *place, "--quality", "good"]) != 0
    assert "no quality 'good': choose one of fast, standard, best" in capsys.readouterr().err


def test_slicer_knows_the_quality(logic, image, tiny, fast, tmp_path):
    volume = slicer.util.loadVolume(str(image))
    node = logic.segment(volume, str(tiny.path), device="cpu", quality="fast")
    assert_fast(provenance_of(node), fast)
    (result,) = logic.segmentScene(str(tiny.path), device="cpu", quality="fast")
    assert result.segmentationNode is node
    (row,) = logic.segmentFolder(image.parent, tmp_path / "out", tiny.path, device="cpu", quality="fast")
    assert_fast(read_provenance(tmp_path / "out" / row.output), fast)
