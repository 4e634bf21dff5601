"""The documentation as a site, and its page for assistants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "MedNeXtSegmentation" / "MedNeXtSegmentation.py"


def test_every_link_and_anchor_of_the_site_leads_somewhere_and_every_page_is_in_its_menu(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tutorial.html").is_file()
    picture = "Resources/Screenshots/tutorial-result.png"
    assert picture in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / picture).read_bytes() == (ROOT / picture).read_bytes()


def test_the_steps_for_assistants_run_in_their_order(scene, show_panel):
    from slicer_nodes import add_volume, head

    show_panel(MODULE)
    add_volume(scene, head())
    page = (ROOT / "docs" / "automation.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for step in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(step, names)
    assert names["segmentation"].GetSegmentation().GetNumberOfSegments() == 2
    assert Path(__import__("slicer").app.temporaryPath, "hippocampus.seg.nrrd").stat().st_size > 0
