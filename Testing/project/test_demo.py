"""The demo: from a head on disk to coded segments of both hippocampi, files and a picture."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and the printed lines of a run with the shipped model, without mirroring to save time."""
    output = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(DEMO / "run_demo.py"), "--output", output.name, "--no-mirror"]
    result = subprocess.run(command, cwd=output.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return output, result.stdout


def test_both_hippocampi_have_a_plausible_volume(finished):
    _, lines = finished
    volumes = [line.rsplit(maxsplit=2) for line in lines.splitlines() if line.endswith(" mL")]
    assert len(volumes) == 4
    for side in ("left", "right"):
        assert 2 < sum(float(volume) for name, volume, _ in volumes if name.startswith(side)) < 5


def test_every_segment_lies_in_its_place(scene, finished):
    output, _ = finished
    node = slicer.util.loadSegmentation(str(output / "hippocampi.seg.nrrd"))
    expected = {  # centres in the template, mm RAS, as seen in the picture
        "left anterior hippocampus": (-26, -12, -22),
        "left posterior hippocampus": (-27, -31, -8),
        "right anterior hippocampus": (26, -12, -22),
        "right posterior hippocampus": (27, -31, -8),
    }
    segments = node.GetSegmentation()
    assert {segments.GetSegment(name).GetName() for name in segments.GetSegmentIDs()} == set(expected)
    for segment_id in segments.GetSegmentIDs():
        centre = np.array(node.GetSegmentCenterRAS(segment_id))
        assert np.linalg.norm(centre - expected[segments.GetSegment(segment_id).GetName()]) < 6


def test_the_head_lies_beside_its_result_for_the_first_commands(finished):
    output, _ = finished
    sitk.ReadImage(str(output / "head.nii.gz"))


def test_the_codes_say_which_side(scene, finished):
    output, _ = finished
    node = slicer.util.loadSegmentation(str(output / "hippocampi.seg.nrrd"))
    segments = node.GetSegmentation()
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        side = segment.GetName().split()[0].capitalize()
        assert segment.GetTerminology().endswith(f"^{side}")


def test_the_scene_holds_head_and_result(scene, finished):
    output, _ = finished
    slicer.util.loadScene(str(output / "hippocampi.mrb"))
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert node.GetSegmentation().GetNumberOfSegments() == 4
    assert node.GetAttribute("MedNeXtSegmentation.model") == "hippocampus"
    head = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    assert head.GetImageData().GetDimensions() == (197, 233, 189)


def test_the_picture_shows_both_colours_of_the_model(finished):
    output, _ = finished
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(output / "hippocampi.png"))).astype(int)
    red, blue = picture[..., 0], picture[..., 2]
    assert (red - blue > 80).sum() > 500
    assert (blue - red > 80).sum() > 500


def test_an_image_that_is_none_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys):
    file = tmp_path / "notes.nii.gz"
    file.write_text("no image")
    monkeypatch.syspath_prepend(DEMO)
    demo = importlib.import_module("run_demo")
    assert demo.main(["--image", str(file), "--output", str(tmp_path / "out")]) == 2
    assert "notes.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
