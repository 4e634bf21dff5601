"""The sample data, and Slicer's own way to run the module's self test."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.documented import README, examples, type_in
from fixtures.panel.driving import MODULE
from fixtures.scene.volume_nodes import add_volume

ROOT = Path(__file__).parents[2]
REAL = "Modules/Scripted/SampleData/SampleData.py"


@pytest.fixture
def head_file():
    """The file that is downloaded: the package nilearn brings it along."""
    spec = importlib.util.find_spec("nilearn")
    return Path(spec.submodule_search_locations[0]) / (
        "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    )


@pytest.fixture
def module(scene, head_file, monkeypatch, tmp_path):
    """The module as Slicer has it after its start, with an address that needs no network."""
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    slicer.modules.sampleDataSources = {}
    use_slicers_own_sample_data(monkeypatch)
    loaded = slicer_standin.load_module(MODULE)
    from MedNeXtSegmentationLib import sample_data

    monkeypatch.setattr(sample_data, "URL", head_file.as_uri())
    slicer.app.startupCompleted.emit()
    yield loaded
    slicer.app.disconnect("startupCompleted()", loaded.registerSampleData)
    slicer_standin.close_module("MedNeXtSegmentation")
    scene.Clear(0)


def use_slicers_own_sample_data(monkeypatch):
    """Where a checkout of Slicer has the module Sample Data, that takes the stand-in's place."""
    file = Path(os.environ.get("SLICER_SOURCE", "."), REAL)
    if file.is_file():
        spec = importlib.util.spec_from_file_location("SampleData", file)
        real = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "SampleData", real)
        spec.loader.exec_module(real)


@pytest.fixture
def source(module):
    (registered,) = slicer.modules.sampleDataSources["MedNeXtSegmentation"]
    return registered


def test_the_sample_is_registered_once_with_a_picture_and_a_checksum(source, head_file):
    slicer.app.startupCompleted.emit()
    assert slicer.modules.sampleDataSources["MedNeXtSegmentation"] == [source]
    assert Path(source.thumbnailFileName).read_bytes().startswith(b"\x89PNG")
    assert source.checksums == [f"SHA256:{hashlib.sha256(head_file.read_bytes()).hexdigest()}"]


def test_the_address_names_a_commit_and_never_a_branch():
    from MedNeXtSegmentationLib.sample_data import URL

    owner, repository, commit, *path = URL.removeprefix("https://raw.githubusercontent.com/").split("/")
    assert (owner, repository) == ("nilearn", "nilearn")
    assert len(commit) == 40
    assert path[-1] == "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def test_a_click_leaves_the_crop_and_nothing_else(source, scene):
    (crop,) = source.customDownloader(source)
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == [crop]
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")
    bounds = [0.0] * 6
    crop.GetRASBounds(bounds)
    centre, size = np.reshape(bounds, (3, 2)).mean(axis=1), np.diff(np.reshape(bounds, (3, 2))).ravel()
    assert np.abs(centre - (27, -22, -11)).max() <= 1
    assert np.abs(size - (36, 52, 40)).max() <= 1


def test_the_panel_takes_the_sample_without_a_warning(source, scene):
    source.customDownloader(source)
    widget = slicer_standin.show_module("MedNeXtSegmentation")[1]
    assert widget.ui.segmentButton.enabled
    assert not widget.ui.warningLabel.visible


def test_a_click_on_the_models_card_loads_the_sample_and_chooses_it(source, scene):
    from MedNeXtSegmentationLib.panel.parameter_node import channelNode

    widget = slicer_standin.show_module("MedNeXtSegmentation")[1]
    other = add_volume(scene, np.random.default_rng(0).normal(100, 20, (36, 40, 36)).astype(np.float32))
    widget.panel._onChannel(0, other)
    assert widget.ui.sampleButton.visible
    widget.ui.sampleButton.click()
    assert channelNode(widget.panel.parameters, 0).GetName() == "T1 right hippocampus"


def test_the_card_has_no_button_where_slicer_has_no_sample(source, scene):
    widget = slicer_standin.show_module("MedNeXtSegmentation")[1]
    slicer.modules.sampleDataSources = {}
    widget.panel._update()
    assert not widget.ui.sampleButton.visible


def test_a_failed_download_is_told_in_the_panel(source, scene, tmp_path):
    widget = slicer_standin.show_module("MedNeXtSegmentation")[1]
    source.uris = [(tmp_path / "absent.nii.gz").as_uri()]
    widget.ui.sampleButton.click()
    assert "could not be downloaded" in widget.ui.statusLabel.text


def test_the_readmes_example_runs_on_the_sample(source, module):
    source.customDownloader(source)
    (example,) = [code for code in examples(README) if "from MedNeXtSegmentation import" in code]
    names = {"slicer": slicer}
    type_in(example, names)
    assert names["segmentation"].GetName() == "T1 right hippocampus segmentation"


def test_a_download_that_fails_adds_nothing(source, scene, tmp_path):
    source.uris = [(tmp_path / "absent.nii.gz").as_uri()]
    source.checksums = ["SHA256:0"]
    assert source.customDownloader(source) == []
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")


def test_the_self_test_passes_as_ctest_runs_it(module, capsys):
    import slicer.testing

    slicer.testing.runUnitTest([str(MODULE.parent)], "MedNeXtSegmentation")
    report = capsys.readouterr().err
    assert report.count(" ... ok") == 4  # three, and the empty one of Slicer's base class


def test_the_self_test_says_why_it_is_skipped_without_torch(module, monkeypatch, capsys):
    import slicer.testing

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
    )
    slicer.testing.runUnitTest([str(MODULE.parent)], "MedNeXtSegmentation")
    report = capsys.readouterr().err
    assert report.count("torch not installed: the panel leads through the installation.") == 2
    module.MedNeXtSegmentationTest().runTest()  # nothing catches a skip of the button "Reload and Test"


@pytest.mark.skipif(
    "SLICER_SOURCE" not in os.environ, reason="set SLICER_SOURCE to a checkout of Slicer to run both ways"
)
def test_all_this_holds_on_the_stand_ins_of_slicers_python_files_too():
    environment = {key: value for key, value in os.environ.items() if key != "SLICER_SOURCE"}
    command = [sys.executable, "-m", "pytest", "-q", __file__]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
