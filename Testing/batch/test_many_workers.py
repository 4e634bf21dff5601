"""`mednext segment-folder --workers`: as with one worker, only sooner."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.batch.cases import add_image, add_truncated
from fixtures.models.bundles import tiny_bundle
from mednext.cli import main
from mednext.segmentation.formats.seg_nrrd import read_provenance
from mednext.system.locks import locked
from mednext.system.running_processes import is_running

ENGINE = Path(__file__).resolve().parents[2] / "MedNeXtSegmentation"
OF_THE_RUN = {"seconds", "time"}  # differ from run to run
CANCELLED = 130


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def images(tmp_path):
    for number in range(4):
        add_image(tmp_path / "in" / f"case {number}.nii.gz", seed=number)
    return tmp_path / "in"


def command(images: Path, output: Path, model, *options: str) -> list[str]:
    fixed = ["--model", str(model.path), "--device", "cpu", "--threads", "1"]
    return ["segment-folder", str(images), str(output), *fixed, *options]


def report(output: Path) -> list[dict[str, str]]:
    with (output / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: text for name, text in row.items() if name not in OF_THE_RUN} for row in rows]


def test_two_workers_write_the_same_as_one(images, tiny, tmp_path, capsys):
    add_truncated(images / "damaged.nii.gz")
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main(command(images, alone, tiny, "--uncertainty")) == 3
    assert main(command(images, together, tiny, "--uncertainty", "--workers", "2")) == 3
    assert report(together) == report(alone)
    assert {path.name for path in together.iterdir()} == {path.name for path in alone.iterdir()}
    for path in alone.glob("*.seg.nrrd"):
        one, other = (sitk.ReadImage(str(folder / path.name)) for folder in (alone, together))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))
        words = [read_provenance(folder / path.name) for folder in (alone, together)]
        same, also = ({k: v for k, v in each.items() if k not in OF_THE_RUN} for each in words)
        assert same == also  # the seal of the uncertainty is among them
    assert "[5/5]" in capsys.readouterr().out


@pytest.mark.usefixtures("children_hear_ctrl_c")
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks up child processes as Linux does")
def test_ctrl_c_ends_all_workers_and_leaves_a_state_to_resume(images, tiny, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
    program = [sys.executable, "-m", "mednext", *command(images, output, tiny, "--workers", "2")]
    with locked(output / ".case 0.seg.nrrd.lock"):  # so that the batch comes to no end
        process = subprocess.Popen(program, env=environment)
        while not (output / "report.csv").exists():
            assert process.poll() is None
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == CANCELLED
    assert len(children) == 2 and not any(is_running(int(pid)) for pid in children)
    assert not list(output.rglob(".*"))
    assert {row["status"] for row in report(output)} == {"done"}
    assert main(command(images, output, tiny)) == 0
    assert len(report(output)) == 4


@pytest.mark.parametrize("option", [["--workers", "0"], ["--workers", "513"]])
def test_a_senseless_number_of_workers_is_refused_before_anything_is_written(
    images, tiny, tmp_path, option, capsys
):
    assert main(command(images, tmp_path / "out", tiny, *option)) == 2
    assert "1 to 512" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
