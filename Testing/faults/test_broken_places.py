"""Each command where a disk or a folder is broken: the right result or a sentence, and no lost result.

Disks are broken by mounts that only the tested process sees: see `mounted_places`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.faults.fault_table import Tally, injections
from fixtures.faults.mounted_places import can_mount

ROOT = Path(__file__).parents[2]
SHORT = ("no home",)
PLACES = (
    *SHORT,
    "only the output can be written",
    "home read-only",
    "temporary folder absent",
    "temporary folder full",
    "store read-only",
    "store vanished",
    "output read-only",
    "output vanished",
    "output full",
    "input vanished",
    "current folder deleted",
)

pytestmark = [
    pytest.mark.skipif(not can_mount(), reason="this user may not mount disks of its own"),
    pytest.mark.timeout(1800),
]


def test_commands_at_a_broken_place_work_or_refuse_with_a_sentence(tmp_path):
    commands, places = ("all", PLACES) if injections(1, 0) else ("segment,install,list", SHORT)
    folders = [ROOT / "MedNeXtSegmentation", ROOT / "Testing"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    program = [sys.executable, "-m", "fixtures.faults.broken_places", tmp_path, commands, *places]
    run = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert [each["place"] for each in found] == list(places)
    for each in found:
        tally = Tally("a broken place", each["place"])
        for end in each["ends"]:
            assert not end["faults"], (each["place"], end)
            tally.add("right result" if end["code"] == 0 else "explained error")
        tally.keep()
