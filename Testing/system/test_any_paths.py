"""Folders of any name: of models, of temporary files, of the extension, the current one (D36684, D36688)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fixtures.models.bundles import tiny_bundle

ROOT = Path(__file__).parents[2]
NAME = f"a folder with spaces/Müller's Röntgen/脳 🧠 头/%HOME% $HOME `x` & (1)/{'n' * 200}"

PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
import slicer_standin
core = slicer_standin.start()
import tempfile
tempfile.tempdir = sys.argv[4]
module = slicer_standin.load_module(Path(sys.argv[1], "MedNeXtSegmentation.py"))
from fixtures.scene.volume_nodes import add_volume, head
volume = add_volume(core.scene, head((16, 20, 24)))
node = module.MedNeXtSegmentationLogic().segment(volume, sys.argv[3], device="cpu", mirroring=False)
print(node.GetAttribute("MedNeXtSegmentation.model"), node.GetSegmentation().GetNumberOfSegments())
"""


def test_a_volume_is_segmented_with_folders_of_any_name(tmp_path):
    module = tmp_path / NAME / "MedNeXtSegmentation"
    shutil.copytree(
        ROOT / "MedNeXtSegmentation", module, ignore=shutil.ignore_patterns("__pycache__", "hippocampus")
    )
    model = tmp_path / NAME / "models" / "tiny"
    tiny_bundle(model)
    temporary = tmp_path / NAME / "temporary"
    temporary.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, ROOT / "Testing", "tiny", temporary],
        env={**os.environ, "MEDNEXT_MODELS": str(model.parent)},
        cwd=model.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["tiny", "2"]
    assert list(temporary.iterdir()) == []  # the exchanged voxels are gone, too
