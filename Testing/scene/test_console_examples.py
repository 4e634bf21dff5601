"""The examples of docs/console.md are run as they stand there, one after the other, in one Slicer."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer_standin
from fixtures.batch.cases import add_image
from fixtures.documented import DOCS, commands, examples, type_in
from fixtures.panel.driving import MODULE
from mednext.cli import main

PAGE = DOCS / "console.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with `images/crop.nii.gz`."""
    voxels = np.random.default_rng(0).normal(1000, 200, size=(18, 20, 22)).astype(np.float32)
    add_image(tmp_path / "images" / "crop.nii.gz", voxels=voxels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_for_python_run(scene, folder, capsys):
    module = slicer_standin.load_module(MODULE)
    names = {"slicer": slicer, "MedNeXtSegmentationLogic": module.MedNeXtSegmentationLogic}
    for example in examples(PAGE):
        type_in(example, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "crop segmentation"
    assert said[1].startswith("crop segmentation_")  # the second one
    assert any(line.startswith("crop done {'anterior hippocampus': ") for line in said)
    assert "2" in said
    assert said[-1] == "{'crop': 'done'}"
    assert (folder / "results" / "crop.seg.nrrd").is_file()
    assert (folder / "scene.csv").is_file()


def test_the_examples_for_a_shell_run(folder):
    lines = commands(PAGE)
    assert lines
    for words in lines:
        assert main([*words, "--threads", "1"]) == 0
    assert (folder / "results-of-shell" / "report.csv").is_file()
