"""A conversion replaces a former one whole or not at all, and nothing that it did not make."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.training import challenge_trees as trees
from fixtures.training.converted_data import FOLDERS, cases_in, everything, raw
from mednext_training.conversion import converting


def test_nothing_of_a_former_source_stays(tmp_path: Path, convert: Callable[..., int]) -> None:
    assert convert("hippocampus", trees.write_hippocampus(tmp_path / "old", 3)) == 0
    stale = tmp_path / "runs" / "preprocessed" / FOLDERS["hippocampus"] / "splits_final.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("[]")
    new = trees.write_hippocampus(tmp_path / "new", 3)
    for part in ("imagesTr", "labelsTr"):
        (new / "Task04_Hippocampus" / part / "hippocampus_002.nii.gz").unlink()
    assert convert("hippocampus", new) == 0
    assert cases_in(raw(tmp_path, "hippocampus")) == ["hippocampus_001", "hippocampus_003"]
    assert not list((tmp_path / "runs" / "preprocessed").iterdir())


def _of_somebody(folder: Path) -> None:
    said = json.loads((folder / "dataset.json").read_text())
    del said["content_sha256"]
    (folder / "dataset.json").write_text(json.dumps(said))


def _with_a_case(folder: Path) -> None:
    (folder / "labelsTr" / "corrected_0001.nii.gz").write_bytes(b"hours of work")


def _with_tests(folder: Path) -> None:
    (folder / "imagesTs").mkdir()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_of_somebody, "was not made by 'mednext-train convert'"),
        (_with_a_case, "3 instead of 2 cases"),
        (_with_tests, "holds imagesTs"),
    ],
)
def test_folders_that_no_conversion_made_are_not_replaced(
    tmp_path: Path,
    convert: Callable[..., int],
    capsys: pytest.CaptureFixture,
    change: Callable[[Path], None],
    told: str,
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    assert convert("hippocampus", source) == 0
    change(raw(tmp_path, "hippocampus"))
    before = everything(raw(tmp_path, "hippocampus"))
    assert convert("hippocampus", source) == 2
    assert told in capsys.readouterr().err
    assert everything(raw(tmp_path, "hippocampus")) == before


def test_the_same_data_again_keep_their_plans(tmp_path: Path, convert: Callable[..., int]) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    assert convert("hippocampus", source) == 0
    for folder in (raw(tmp_path, "hippocampus"), raw(tmp_path, "hippocampus") / "labelsTr"):
        (folder / ".DS_Store").write_bytes(b"of a Mac that showed the folder")
    planned = tmp_path / "runs" / "preprocessed" / FOLDERS["hippocampus"] / "splits_final.json"
    planned.parent.mkdir(parents=True)
    planned.write_text("[]")
    assert convert("hippocampus", source) == 0
    assert planned.is_file()


def test_weights_that_were_trained_on_other_data_are_not_mixed_with_new_data(
    tmp_path: Path, convert: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    assert convert("hippocampus", trees.write_hippocampus(tmp_path / "old", 2)) == 0
    weights = tmp_path / "runs" / "results" / FOLDERS["hippocampus"] / "run" / "checkpoint_final.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"1")
    before = everything(tmp_path / "runs")
    assert convert("hippocampus", trees.write_hippocampus(tmp_path / "new", 3)) == 2
    assert "was trained on other data" in capsys.readouterr().err
    after = everything(tmp_path / "runs")
    report_file = f"reports/{FOLDERS['hippocampus']}.csv"
    assert {**after, report_file: b""} == {**before, report_file: b""}


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_conversion_leaves_the_former_data_set_whole(
    tmp_path: Path, convert: Callable[..., int], monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 3)
    assert convert("hippocampus", source) == 0
    before = everything(tmp_path / "runs" / "raw")
    calls = []

    def write(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise failure

    monkeypatch.setattr(converting, "write_image", write)
    (source / "Task04_Hippocampus" / "imagesTr" / "hippocampus_001.nii.gz").unlink()
    assert convert("hippocampus", source, "--skip-faulty") in (2, 130)
    assert everything(tmp_path / "runs" / "raw") == before
    assert [path.name for path in (tmp_path / "runs" / "raw").iterdir()] == [FOLDERS["hippocampus"]]


def test_the_next_conversion_removes_the_rest_of_a_killed_one(
    tmp_path: Path, convert: Callable[..., int]
) -> None:
    source = trees.write_hippocampus(tmp_path / "source", 2)
    program = (
        "import os, signal, sys\n"
        "from mednext_training.conversion import converting\n"
        "converting.write_image = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from mednext_training.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    command = ["--workspace", str(tmp_path / "runs"), "convert", "hippocampus", str(source)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program, *command], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name[0] for path in (tmp_path / "runs" / "raw").iterdir()] == ["."]
    assert convert("hippocampus", source) == 0
    assert [path.name for path in (tmp_path / "runs" / "raw").iterdir()] == [FOLDERS["hippocampus"]]
