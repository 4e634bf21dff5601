"""The commands and examples of the pages are run as they stand there, one after the other.

`test_documentation.py` checks the options of all commands, and that each page with commands is named here.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures.batch.cases import add_image
from fixtures.documented import DOCS, README, commands, examples
from fixtures.models.bundles import tiny_bundle
from fixtures.models.results_folders import write_v2_folder
from fixtures.servers.mednext_server import HeldEngines, running_server
from mednext.cli import main
from mednext.images.geometry import Geometry
from mednext.images.volume import write_image
from mednext.model.location import Location, Place
from mednext.segmentation.formats.seg_nrrd import read_provenance
from mednext.viewing.page_server import PageServer

LEFT = Place("left", (-26.0, -21.0, -12.0), (36.0, 52.0, 40.0))
RIGHT = Place("right", (27.0, -21.0, -12.0), (36.0, 52.0, 40.0))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `head.nii.gz` and `images`, and a quick network as the hippocampus model."""
    location = Location("icbm152", "hippocampus", (LEFT, RIGHT), (0.0, 100.0))
    shape = {"field_of_view": (36.0, 52.0, 40.0), "location": location, "mirror_axes": ()}
    tiny_bundle(tmp_path / "own" / "hippocampus", **shape)
    monkeypatch.setattr("mednext.library.store.shipped_models_folder", lambda: tmp_path / "own")
    add_image(tmp_path / "head.nii.gz")
    add_image(tmp_path / "images" / "one.nii.gz", seed=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    return tmp_path


def test_the_first_commands_of_the_readme(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("mednext.viewing.viewer.viewer_script", lambda library: b"")  # it is fetched
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(PageServer, "serve_forever", lambda server: None)  # until Ctrl+C
    typed = commands(README)
    assert [words[0] for words in typed] == ["segment", "view", "segment-folder", "models", "info"]
    for words in typed:
        assert main(words) == 0, words
    assert len(opened) == 1
    assert (desk / "results" / "report.csv").is_file()
    assert read_provenance(desk / "hippocampi.seg.nrrd")["model"] == "hippocampus"


def test_the_example_of_the_readme_without_slicer(desk: Path) -> None:
    exec(examples(README)[-1], {})
    assert (desk / "hippocampi.seg.nrrd").is_file()


def test_the_commands_for_whole_heads(desk: Path) -> None:
    """On a crop, which is taken as it is (`test_demo.py` searches a head), and boxes in a large image."""
    searching, placing, without = commands(DOCS / "hippocampus.md")
    assert main(searching) == main(without) == 0
    grid = Geometry((100, 60, 50), (1.0, 1.0, 1.0), (-50.0, -10.0, -32.0))
    voxels = np.random.default_rng(0).normal(500, 150, grid.shape).astype(np.float32)
    write_image(desk / "head.nii.gz", voxels, grid)
    assert main(placing) == 0
    assert read_provenance(desk / "placed.seg.nrrd")["box_left_ras_mm"] == "-44.0 -47.0 -30.0 -8.0 5.0 11.0"
    assert sorted(path.name for path in desk.glob("*.seg.nrrd")) == [
        "found.seg.nrrd",
        "placed.seg.nrrd",
        "whole.seg.nrrd",
    ]


def test_the_commands_about_models(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_v2_folder(desk / "RESULTS_FOLDER")
    fetching = ["install", "https:"]  # test_catalogued_models.py and test_remote_import.py run these
    for words in commands(DOCS / "models.md"):
        if not any(word.startswith(tuple(fetching)) for word in words):
            assert main(words) == 0, (words, capsys.readouterr().err)
    assert main(["models", "list", "--json"]) == 0
    assert "my-model" in capsys.readouterr().out


def test_the_commands_about_a_server(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engines = HeldEngines()
    engines.release.set()
    page = DOCS / "server.md"
    with running_server(desk, [tiny_bundle(desk / "served" / "hippocampus")], engines) as server:
        (desk / "key.txt").write_text(server.access().key)
        for words in commands(page):
            if words[0] != "serve":
                typed = [word.replace("https://gpu.example:8443", server.address) for word in words]
                assert main(typed) == 0, (words, capsys.readouterr().err)
            elif "keys" in words:  # test_serve_command.py and test_behind_nginx.py run the others
                assert main(words) == 0, words
    assert (desk / "head.seg.nrrd").is_file()
    assert (desk / "results" / "one.seg.nrrd").is_file()
    assert len(json.loads((desk / "models" / "server_keys.json").read_text())["keys"]) == 1
