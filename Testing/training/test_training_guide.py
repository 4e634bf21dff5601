"""Every command of docs/training.md is run: those that take seconds as they stand there, others elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import challenge_trees as trees
import numpy as np
import pytest
from documented import DOCS, commands
from mednext import cli as engine
from mednext.library.store import find_model
from mednext_training import cli
from mednext_training.datasets import read_dataset
from mednext_training.publishing import results_folder
from mednext_training.reproducing import BUDGETS, Recipe, commands_of
from mednext_training.workspace import Workspace
from results_folders import write_v2_folder

GUIDE = DOCS / "training.md"
# `test_reproduction.py` runs all that `reproduce` consists of, and `test_experiments.py` the other two.
COMPARISONS = {"experiment", "baseline"}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data wherever the guide's commands look for them."""
    data = tmp_path / "PATH" / "TO"
    trees.write_hippocampus(data, 2)
    for name, writer in trees.WRITERS.items():
        if name != "hippocampus":
            writer(data / name, 2)
    for number in range(2):
        phantom = trees.ct_phantom(50 + number, 2)
        for part, array in (("images", phantom.images[0]), ("labels", phantom.labels)):
            trees.write(data / "liver" / part / f"scan {number}.nii.gz", array, phantom.geometry)
        glioma, case = trees.glioma_phantom(50 + number), data / "gliomas" / f"patient {number}"
        trees.write(case / "t1 mprage.nii.gz", glioma.images[0], glioma.geometry)
        trees.write(case / "tumor.nii.gz", (glioma.labels > 0).astype(np.uint8), glioma.geometry)
    collected(data / "Dataset501_Hippocampus", trees.hippocampus_phantom, ("T1",), ("anterior", "posterior"))
    collected(data / "Dataset502_Liver", lambda seed: trees.ct_phantom(seed, 2), ("CT",), ("liver", "tumor"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "installed"))
    return tmp_path


def collected(folder: Path, phantom_of, channels: tuple[str, ...], labels: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    """A data set in nnU-Net's layout, as the panel collects it."""
    for number in range(2):
        phantom = phantom_of(70 + number)
        trees.write(
            folder / "imagesTr" / f"case_{number:04d}_0000.nii.gz", phantom.images[0], phantom.geometry
        )
        trees.write(folder / "labelsTr" / f"case_{number:04d}.nii.gz", phantom.labels, phantom.geometry)
    names = [f"{name} hippocampus" if "Hippo" in folder.name else name for name in labels]
    said = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0} | {name: number for number, name in enumerate(names, start=1)},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(said))


def trained(words: list[str]) -> None:
    """The results that a training would have left for an export."""
    workspace = Workspace(Path("training_runs").resolve())
    chosen = cli.command_parser().parse_args(["export", *words])
    named = Path(chosen.dataset or next(iter(workspace.raw.iterdir())).name)
    folder = named if named.is_dir() else next(workspace.raw.glob(f"*_{named}"), workspace.raw / named)
    target = results_folder(workspace, read_dataset(folder), chosen.variant, chosen.kernel, chosen.name or "")
    shutil.rmtree(target, ignore_errors=True)
    write_v2_folder(target, dataset=json.loads((folder / "dataset.json").read_text()))


def test_the_commands_of_the_guide_that_take_seconds_do_what_it_says(
    workplace: Path, capsys: pytest.CaptureFixture
) -> None:
    left = []
    for words in commands(GUIDE, "mednext-train"):
        if words[0] == "export":
            trained(words[1:])
        if words[0] in ("convert", "check", "export", "reproduce"):
            shown = ["--show"] if words[0] == "reproduce" else []  # which trains for minutes or months
            assert cli.main([*words, *shown]) == 0, (words, capsys.readouterr().err)
        else:
            left.append(words[0])
    recipe = Recipe(("btcv", "source"), "Dataset017_BTCV", BUDGETS["tiny"], Path("model"), ("--to", "x"))
    assert set(left) <= {command[0] for command in commands_of(recipe)} | COMPARISONS
    models = commands(GUIDE)
    assert models
    for words in models:
        assert engine.main(words) == 0, words
    assert find_model("liver").name == "liver"
