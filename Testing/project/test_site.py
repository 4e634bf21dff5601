"""The documentation as a site, and its page for assistants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.documented import DOCS, ROOT, examples, type_in

MODULE = ROOT / "MedNeXtSegmentation" / "MedNeXtSegmentation.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site. Building it fails for a link or an anchor that leads nowhere, and for a page in no menu."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page_with_its_pictures(site):
    assert (site / "tutorial.html").is_file()
    picture = "Resources/Screenshots/tutorial-result.png"
    assert picture in (site / "index.html").read_text(encoding="utf-8")
    assert (site / picture).read_bytes() == (ROOT / picture).read_bytes()


def test_no_page_of_the_site_fetches_anything_from_elsewhere(site):
    """A hospital's network may block it, and nobody has to know who reads the documentation."""
    pages = [page.read_text(encoding="utf-8") for page in site.rglob("*.html")]
    fetching = re.compile(r"<(?:script|link|img|iframe)\b[^>]*https?://[^>]*>")
    assert [tag for page in pages for tag in fetching.findall(page)] == []
    assert not any('data-md-component="source"' in page for page in pages)  # it asks GitHub for stars
    assert (site / "search" / "search_index.js").is_file()  # for the search in a folder, without a server


def test_the_steps_for_assistants_run_in_their_order(scene, show_panel, capsys):
    from fixtures.scene.volume_nodes import add_volume, head

    show_panel(MODULE)
    add_volume(scene, head())
    names: dict[str, object] = {}
    for step in examples(DOCS / "automation.md"):
        type_in(step, names)
    printed = capsys.readouterr().out
    assert "anterior hippocampus" in printed and "SCT^5366008^Hippocampus" in printed
    assert names["segmentation"].GetSegmentation().GetNumberOfSegments() == 2
    assert Path(__import__("slicer").app.temporaryPath, "hippocampus.seg.nrrd").stat().st_size > 0
