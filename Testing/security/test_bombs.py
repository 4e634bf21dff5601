"""Small files that would become huge or endless are refused, or read, quickly and in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("bombs.py")
HERE = PROGRAM.parents[1]
LONGEST_S = 10.0  # of computing
NAMES = [
    line.split('"')[1]
    for line in PROGRAM.read_text(encoding="utf-8").partition("BOMBS: ")[2].partition("\n}")[0].splitlines()
    if line.startswith('    "')
]

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux limits the memory")


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, str]]:
    """Seconds and end of each bomb."""
    paths = [HERE, HERE.parent / "MedNeXtSegmentation", *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path_factory.mktemp("bombs"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {name: (float(seconds), end) for name, seconds, end in rows}


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_ends_quickly_and_in_little_memory(name, ends):
    seconds, end = ends[name]
    assert end.split()[0] in {"read", "refused"}, end
    assert seconds < LONGEST_S


def test_entities_of_a_scene_read_no_file(ends):
    assert ends["a foreign entity in a scene"][1] in {"read ['a.nrrd']", "read []"}
    assert ends["entities in a scene"][1] == "read []"
