"""Each writer, interrupted at each of its writes, leaves the former file or the new one, whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.faults.fault_table import Tally, injections

ROOT = Path(__file__).parents[2]
SHORT = ("Slicer segmentation (.seg.nrrd)", "training set")
WHOLE = (
    "NIfTI, compressed",
    "NIfTI",
    "NRRD",
    "MetaImage",
    *SHORT,
    "report.csv",
    "DICOM SEG",
    "colour table",
    "labelmap and its names",
    "model in a folder",
    "model.json",
    "model in a zip",
    "copy of a catalog",
    "digests of first uses",
    "keys of a server",
    "checkpoint of a training",
    "record of a training",
    "curves of a training",
    "scores of an evaluation",
    "scores of an experiment",
    "comparison of networks",
    "description of a data set",
    "split of a data set",
    "catalog with a new model",
    "record of a stored result",
)

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="a process is copied by fork"),
    pytest.mark.timeout(900),
]


@pytest.mark.parametrize("writer", WHOLE if injections(1, 0) else SHORT)
def test_an_interrupted_writer_leaves_the_former_or_the_new_content(writer, tmp_path):
    folders = [ROOT / "MedNeXtSegmentation", ROOT / "training", ROOT / "Testing"]
    program = [
        sys.executable,
        "-m",
        "fixtures.faults.interrupted_saving",
        tmp_path,
        str(injections(12, 1)),
        writer,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    run = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["outcomes"]["killed between two changes"]
    for fault, outcomes in found["outcomes"].items():
        tally = Tally(f"saving: {writer}", fault)
        for outcome, count in outcomes.items():
            tally.add(outcome, count)
        tally.keep()
