"""Every command of docs/training.md runs in its own words; only data and budget are put in their place.

Of the trainings only those of the first block run in every test, the others by `make guide`, in minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures.documented import DOCS, commands
from fixtures.models.bundles import tiny_bundle
from fixtures.models.results_folders import write_v2_folder
from fixtures.training import challenge_trees as trees
from mednext import cli as engine
from mednext.library.store import find_model
from mednext.model.description import NetworkSpec
from mednext.network.mednext import VARIANTS
from mednext_training import cli
from mednext_training.cli.arguments import chosen_dataset
from mednext_training.training.result_folders import results_folder

GUIDE = DOCS / "training.md"
KINDS = "MEDNEXT_GUIDE"  # commands to run wherever they stand
FEW_STEPS = ("--epochs", "1", "--iterations", "2", "--validation-iterations", "1")
BUDGET = {  # further words of each command
    "plan": ("--patch", "16", "32", "16", "--processes", "1"),
    "train": FEW_STEPS,
    "experiment": FEW_STEPS,
    "evaluate": ("--no-mirror",),
    "reproduce": ("--show",),  # `test_reproduction.py` runs one
}
QUICK = ("convert", "check", "export", "reproduce")
OF_THE_FIRST = ("--dataset", "Hippocampus")  # where the guide has but one data set


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
    if KINDS in os.environ:
        size = VARIANTS["v2-B"]
        network = NetworkSpec(
            "v2-B", 1, 3, 3, size.expansion, size.blocks, size.channels, grn=True, grn_first_down=True
        )
        tiny_bundle(data / "v2-B", network=network)
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


def trained(chosen: argparse.Namespace) -> None:
    """The results that a training would have left for an export."""
    workspace, dataset = chosen_dataset(chosen)
    target = results_folder(workspace, dataset, chosen.variant, chosen.kernel, chosen.name or "")
    if not target.exists():
        said = json.loads((workspace.raw / dataset.folder_name / "dataset.json").read_text())
        write_v2_folder(target, dataset=said)


def with_budget(words: list[str]) -> list[str]:
    """The words of a command of `mednext-train`, with those of the budget and of the data."""
    said = [*words, *BUDGET.get(words[0], ())]
    needs_one = words[0] not in ("convert", "reproduce") and "--dataset" not in words
    return [*said, *OF_THE_FIRST] if needs_one else said


def with_test_cases(raw: Path) -> None:
    """Let training cases of the first data set be its test cases, too."""
    for part in ("images", "labels"):
        shutil.copytree(
            raw / "Dataset004_Hippocampus" / f"{part}Tr", raw / "Dataset004_Hippocampus" / f"{part}Ts"
        )


@pytest.mark.timeout(3000)
def test_the_commands_of_the_guide_do_what_it_says(
    workplace: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    nnunet_in_threads: None,
    nnunet_trains_one_step: None,
) -> None:
    for variable, value in (("nnUNet_n_proc_DA", "0"), ("nnUNet_def_n_proc", "1"), ("GLIBC_TUNABLES", "")):
        monkeypatch.setenv(variable, value)
    kinds = {*QUICK, *os.environ.get(KINDS, "").split()}
    first_block = {"plan", "train", "evaluate"}
    for words in commands(GUIDE, "mednext-train"):
        said = with_budget(words)
        chosen = cli.command_parser().parse_args(said)
        if words[0] == "export":
            trained(chosen)
        if "--test" in words:
            with_test_cases(workplace / "training_runs" / "raw")
        if words[0] in kinds | first_block:
            assert cli.main(said) == 0, (said, capsys.readouterr().err)
        if words[0] == "evaluate":
            first_block.clear()
    (several,) = commands(GUIDE, "torchrun")
    place = several.index("mednext_training.cli") + 1
    said = with_budget(several[place:])
    assert cli.command_parser().parse_args(said)
    if "torchrun" in kinds:
        launcher = ["2" if word == "4" else word for word in several[:place]]  # a batch has two
        command = [sys.executable, "-m", "torch.distributed.run", *launcher, *said, "--name", "several"]
        subprocess.run(command, check=True)
    for words in commands(GUIDE):
        assert engine.main(words) == 0, words
    assert find_model("liver").name == "liver"
    assert (workplace / "table.md").is_file()
