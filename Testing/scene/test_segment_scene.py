"""Every volume of the scene is segmented, in groups of a study, and reported."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import slicer
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle
from fixtures.scene.volume_nodes import add_volume, head
from mednext.errors import MissingPackageError, OptionError, UnknownModelError
from mednext.model.description import Channel


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return tiny_bundle(
        tmp_path_factory.mktemp("models") / "two",
        network=replace(TINY_NETWORK, in_channels=2),
        channels=(Channel("T1", "MR", "zscore"), Channel("FLAIR", "MR", "zscore")),
    ).path


def told(results):
    return {
        result.row.case: (result.row.status, result.row.error or result.row.message) for result in results
    }


def segmentations(scene):
    return scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")


def test_every_volume_gets_its_segmentation(scene, logic, tiny):
    a, b = add_volume(scene, head(), name="a"), add_volume(scene, head(seed=1), name='鼻/"b" 🧠')
    results = logic.segmentScene(tiny, device="cpu")
    assert told(results) == {"a": ("done", ""), "鼻__b_ 🧠": ("done", "")}
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert [result.segmentationNode.GetNodeReference(role) for result in results] == [a, b]
    assert sum(results[0].row.volumes_ml.values()) > 0


def test_a_bad_volume_does_not_stop_the_others(scene, logic, tiny):
    voxels = head()
    voxels[2, 2, 2] = np.nan
    add_volume(scene, voxels, name="nan")
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    add_volume(scene, head(), name="good")
    assert {case: outcome[0] for case, outcome in told(logic.segmentScene(tiny)).items()} == {
        "nan": "failed",
        "empty": "failed",
        "good": "done",
    }
    assert segmentations(scene) == 1


def test_a_volume_that_is_removed_meanwhile_does_not_stop_the_others(scene, logic, tiny):
    volumes = [add_volume(scene, head(seed=number), name=name) for number, name in enumerate("abcd")]
    scene.RemoveNode(volumes[3])  # and chosen all the same

    def remove(number, _total, _row):
        if number == 1:
            scene.RemoveNode(volumes[1])

    results = logic.segmentScene(tiny, volumeNodes=volumes, caseCallback=remove)
    assert [result.row.status for result in results] == ["done", "failed", "done", "failed"]
    assert 'b" was removed from the scene' in results[1].row.message
    assert segmentations(scene) == 2


def test_label_maps_uncertainties_and_hidden_volumes_are_no_input(scene, logic, tiny):
    add_volume(scene, head(), name="T1")
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colours")
    add_volume(scene, head(), name="hidden").SetHideFromEditors(True)
    logic.segmentScene(tiny, uncertainty=True)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") > 2  # the uncertainty is one
    assert list(told(logic.segmentScene(tiny, uncertainty=True))) == ["T1"]


def test_volumes_with_a_result_of_the_same_model_and_options_are_not_segmented_again(scene, logic, tiny):
    add_volume(scene, head(), name="a")
    (first,) = logic.segmentScene(tiny, device="cpu")
    (second,) = logic.segmentScene(tiny, device="cpu")
    assert second.segmentationNode is first.segmentationNode
    assert second.row == first.row
    logic.segmentScene(tiny, device="cpu", mirroring=False)
    assert segmentations(scene) == 2
    logic.segmentScene(tiny, device="cpu", labels=["liver"])
    logic.segmentScene(tiny, device="cpu", labels=["liver"])
    assert segmentations(scene) == 3
    logic.segmentScene(tiny, device="cpu", again=True)
    assert segmentations(scene) == 4


def test_an_image_named_after_another_sequence_is_left_out(scene, logic, tiny):
    add_volume(scene, head(), name="p1 FLAIR")
    status, why = told(logic.segmentScene(tiny))["p1 FLAIR"]
    assert status == "left out" and "FLAIR" in why


def test_the_channels_of_a_model_are_those_of_one_study(scene, logic, two):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for number in range(2):
        study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), f"study {number}")
        for seed, name in enumerate(("T2 FLAIR", "T1 mprage")):
            node = add_volume(scene, head(seed=10 * number + seed), name=name)
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    results = logic.segmentScene(two, device="cpu")
    assert [result.row.files for result in results] == ["T1 mprage; T2 FLAIR"] * 2
    assert [result.row.status for result in results] == ["done"] * 2
    assert len({result.row.case for result in results}) == 2


def test_a_result_of_other_channels_is_none_of_these(scene, logic, two):
    add_volume(scene, head(), name="T1")
    flair = add_volume(scene, head(seed=1), name="FLAIR")
    (first,) = logic.segmentScene(two, device="cpu")
    (second,) = logic.segmentScene(two, device="cpu")
    assert second.segmentationNode is first.segmentationNode
    scene.RemoveNode(flair)
    add_volume(scene, head(seed=2), name="FLAIR")
    (third,) = logic.segmentScene(two, device="cpu")
    assert third.segmentationNode is not first.segmentationNode


def test_ambiguous_groups_are_refused_with_a_sentence(scene, logic, two):
    for name in ("T1 a", "T1 b", "FLAIR", "CT"):
        add_volume(scene, head(), name=name)
    rows = [result.row for result in logic.segmentScene(two)]
    assert [row.status for row in rows] == ["left out", "failed"]
    assert "T1 may be T1 a or T1 b" in rows[1].message
    assert segmentations(scene) == 0


def test_the_report_is_a_table(scene, logic, tiny, tmp_path):
    add_volume(scene, head(), name='a, "b"')
    logic.segmentScene(tiny, reportFile=tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["files"] == 'a, "b"'
    assert float(row["spleen (mL)"]) > 0 and float(row["seconds"]) >= 0
    assert len(row["model_sha256"]) == 64


def test_cases_are_told_as_they_come(scene, logic, tiny):
    add_volume(scene, head(), name="a")
    add_volume(scene, head(seed=1), name="b")
    heard = []
    logic.segmentScene(tiny, caseCallback=lambda *told: heard.append((*told[:2], told[2].case)))
    assert heard == [(1, 2, "a"), (2, 2, "b")]


def test_an_error_of_every_volume_is_raised(scene, logic, tiny, monkeypatch):
    volume = add_volume(scene, head())
    with pytest.raises(UnknownModelError):
        logic.segmentScene("no such model")
    with pytest.raises(OptionError, match="one segmentation"):
        logic.segmentScene(tiny, segmentationNode=logic.segment(volume, tiny))

    def broken(*_arguments):
        raise MissingPackageError("There is no torch.")

    monkeypatch.setattr("MedNeXtSegmentationLib.logic.channelsForRun", broken)
    with pytest.raises(MissingPackageError):
        logic.segmentScene(tiny, again=True)


def test_an_empty_scene_has_no_rows(scene, logic, tiny):
    assert logic.segmentScene(tiny) == []
