"""Networks in one frame, and one report over them whose numbers are those that one computes by hand."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mednext.errors import InputError, OptionError
from mednext_training import cli
from mednext_training.conversion.challenges import challenge
from mednext_training.evaluation.case_results import CaseResult
from mednext_training.evaluation.metrics import Score
from mednext_training.experiments import experiment
from mednext_training.experiments.baselines import (
    nnUNetTrainerPlain,
    nnUNetTrainerSwinUNETR,
    nnUNetTrainerUNETR,
)
from mednext_training.experiments.comparison import Entry, paired, report, write_report
from mednext_training.experiments.experiment import contestant, imported_entry, run_experiment
from mednext_training.experiments.nnunet_baseline import run_baseline
from mednext_training.planning.plans import read_plans
from mednext_training.planning.splits import validation_cases
from mednext_training.training import mirroring
from mednext_training.training.feasibility import check_network
from mednext_training.training.result_folders import fold_folder
from mednext_training.training.schedule import Schedule
from mednext_training.training.trainer_frame import FramedTrainer, read_checkpoint
from mednext_training.workspace import Workspace

HIPPOCAMPUS = challenge("hippocampus").dataset

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


def entry(name: str, *folds: list[float]) -> Entry:
    """An entry with these Dice values, each of a case of its fold."""
    results = [
        CaseResult(f"case_{fold}_{number}", {"liver": Score("found", dice, dice, 1.0)}, 0.0, fold)
        for fold, values in enumerate(folds)
        for number, dice in enumerate(values)
    ]
    return Entry(name, f"Network {name}", results)


FIRST = entry("first", [0.80, 0.82, 0.84], [0.70, 0.72, 0.74])
BETTER = entry("better", [0.81, 0.84, 0.87], [0.71, 0.74, 0.77])


def test_entries_are_compared_case_by_case_and_fold_by_fold() -> None:
    found = paired(FIRST, BETTER)
    assert found.mean == pytest.approx(0.02)
    assert found.folds == pytest.approx((0.02, 0.02))
    assert found.p_cases == pytest.approx(2 / 2**6)  # all six cases on one side, in both directions
    assert paired(FIRST, FIRST).p_cases == 1.0
    assert paired(FIRST, entry("one", [0.8, 0.82, 0.84], [0.8, 0.82, 0.84])).p_folds == pytest.approx(0.5)


def test_entries_of_other_cases_are_not_compared() -> None:
    with pytest.raises(OptionError, match="case_1_2 of fold 1 is only in one of them"):
        paired(FIRST, replace(BETTER, results=BETTER.results[:-1]))


def test_the_report_is_a_text_a_table_and_a_picture(tmp_path: Path) -> None:
    file = write_report(tmp_path / "pilot", "pilot", [FIRST, BETTER])
    text = file.read_text(encoding="utf-8")
    assert "| Network better (better) | 0.7900 ± 0.0557 | 0.7100 | 0.7900 | 1.00 | 0 |" in text
    assert "| better | +0.0200 | 0.0312 | +0.0200, +0.0200 | – |" in text
    with (tmp_path / "pilot" / "scores.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 12
    assert (rows[0]["network"], rows[0]["case"], rows[0]["dice"]) == ("first", "case_0_0", "0.800000")
    assert (tmp_path / "pilot" / "report.png").read_bytes()[:4] == b"\x89PNG"


def test_a_structure_that_was_missed_is_counted_in_the_report() -> None:
    missed = CaseResult("case_0_0", {"liver": Score("missed", 0.0, 0.0, None)}, 0.0, 0)
    text = report("missed", [Entry("one", "One", [missed])])
    assert "| One (one) | 0.0000 ± 0.0000 | 0.0000 | 0.0000 | – | 1 |" in text


@pytest.mark.parametrize(
    ("name", "trainer", "upkern", "times"),
    [
        ("S_k3", "nnUNetTrainerMedNeXt_S_k3", False, 1),
        ("L_k5_upkern", "nnUNetTrainerMedNeXt_L_k5_upkern", True, 1),
        ("S_k3_twice", "nnUNetTrainerMedNeXt_S_k3_twice", False, 2),
        ("B_k3_standard", "nnUNetTrainerMedNeXt_B_k3_standard", False, 1),
        ("v2-B_k3", "nnUNetTrainerMedNeXt_v2B_k3", False, 1),
        ("nnunet", "nnUNetTrainerPlain", False, 1),
        ("unetr", "nnUNetTrainerUNETR", False, 1),
    ],
)
def test_networks_have_names(name: str, trainer: str, upkern: bool, times: int) -> None:
    found = contestant(name)
    assert (found.trainer.__name__, found.upkern, found.times) == (trainer, upkern, times)


@pytest.mark.parametrize("name", ["X_k3", "S_k4", "S_k3_upkern", "nnformer"])
def test_a_name_that_is_no_network_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=r"There is no network|small ones"):
        contestant(name)


def test_transformers_refuse_patches_that_they_cannot_divide() -> None:
    plan = SimpleNamespace(patch_size=[64, 32, 32])
    with torch.no_grad():
        network = nnUNetTrainerSwinUNETR.build_network_architecture(None, plan, 1, 3)
        assert network(torch.zeros(1, 1, 64, 32, 32)).shape == (1, 3, 64, 32, 32)
    with pytest.raises(OptionError, match="a side above 32"):
        nnUNetTrainerSwinUNETR.build_network_architecture(None, SimpleNamespace(patch_size=[32] * 3), 1, 3)
    with pytest.raises(OptionError, match="divisible by 32"):
        nnUNetTrainerSwinUNETR.build_network_architecture(None, SimpleNamespace(patch_size=[48] * 3), 1, 3)
    with pytest.raises(OptionError, match="divisible by 16"):
        nnUNetTrainerUNETR.build_network_architecture(None, SimpleNamespace(patch_size=[40] * 3), 1, 3)


@pytest.mark.parametrize(
    ("network", "missing", "told"),
    [
        ("swinunetr", "", "divisible by 32, not (16, 32, 16)"),
        ("unetr", "monai.networks.nets.unetr", "needs the package monai: pip install"),
    ],
)
def test_every_network_is_checked_before_the_first_is_trained(
    training_workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    network: str,
    missing: str,
    told: str,
) -> None:
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr("mednext_training.cli.experiments.restart_tuned", lambda *_: None)
    command = ["--workspace", str(training_workspace.root), "experiment", "unfit", "--folds", "1"]
    assert cli.main([*command, "--networks", "S_k3", network]) != 0
    assert told in capsys.readouterr().err
    assert not list(training_workspace.results.glob("*/nnUNetTrainerMedNeXt_S_k3__*/fold_1"))


@pytest.mark.parametrize("trainer", [nnUNetTrainerUNETR, nnUNetTrainerSwinUNETR])
def test_a_transformer_begins_with_a_single_head(
    training_workspace: Workspace, trainer: type[FramedTrainer]
) -> None:
    plans, description = read_plans(training_workspace, HIPPOCAMPUS)
    begun = trainer(plans, "3d_1mm", 0, description, torch.device("cpu"))
    assert begun._get_deep_supervision_scales() is None


def test_a_network_that_cannot_add_its_sizes_is_told_with_its_patch(training_workspace: Workspace) -> None:
    plans, description = read_plans(training_workspace, HIPPOCAMPUS)
    check_network(nnUNetTrainerPlain, plans, description)
    changed = json.loads(json.dumps(plans))
    changed["configurations"]["3d_1mm"]["patch_size"] = [18, 32, 18]
    with pytest.raises(OptionError, match="own network cannot have patches of 18 x 32 x 18"):
        check_network(nnUNetTrainerPlain, changed, description)


def test_a_folder_of_another_run_is_refused_before_the_first_network_is_trained(
    training_workspace: Workspace,
) -> None:
    folder = fold_folder(training_workspace, HIPPOCAMPUS, "nnUNetTrainerPlain", 2)
    folder.mkdir(parents=True)
    (folder / "checkpoint_latest.pth").touch()
    (folder / "run.json").write_text('{"run": {}, "how": {}}')
    contestants = [contestant(name) for name in ("S_k3", "nnunet")]
    with pytest.raises(OptionError, match=r"nnUNetTrainerPlain.*another network"):
        run_experiment(training_workspace, HIPPOCAMPUS, contestants, [2], Schedule(1, 1, 1))
    assert not list(training_workspace.results.glob("*/nnUNetTrainerMedNeXt_S_k3__*/fold_2"))


def test_a_cascade_is_refused_for_images_that_are_too_small_for_it(training_workspace: Workspace) -> None:
    with pytest.raises(OptionError, match="plans no 3d_lowres"):
        run_baseline(training_workspace, HIPPOCAMPUS, "3d_cascade", [0])


def test_nnunet_itself_trains_its_own_configuration_on_the_same_split(
    training_workspace: Workspace,
    nnunet_in_threads: None,
    nnunet_trains_one_step: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(mirroring, "mirrored_axes", lambda *_: (0, 1))
    folder = run_baseline(training_workspace, HIPPOCAMPUS, "3d_fullres", [4])
    final = read_checkpoint(folder / "fold_4" / "checkpoint_final.pth")
    assert final["inference_allowed_mirroring_axes"] == (0, 1)
    monkeypatch.setattr(experiment, "mirrored_axes", lambda *_: (0, 1))
    cases = imported_entry(training_workspace, HIPPOCAMPUS, folder, [4]).results
    assert "from side to side" not in caplog.text
    elsewhere = shutil.copytree(folder, training_workspace.root / "elsewhere" / folder.name)
    (elsewhere / "fold_4" / "run.json").unlink()  # as nnUNetv2_train leaves it
    imported_entry(training_workspace, HIPPOCAMPUS, elsewhere, [4])
    assert "may have mirrored the images from side to side" in caplog.text
    caplog.clear()
    renamed = elsewhere.rename(elsewhere.with_name("of_a_colleague"))
    assert imported_entry(training_workspace, HIPPOCAMPUS, renamed, [4]).name == "of_a_colleague"
    assert "may have mirrored the images from side to side" in caplog.text
    assert [each.case for each in cases] == validation_cases(training_workspace, HIPPOCAMPUS, 4)
    with pytest.raises(InputError, match="cannot train 3d_fullres, fold 4, by nnUNetTrainerOfNobody"):
        run_baseline(training_workspace, HIPPOCAMPUS, "3d_fullres", [4], "nnUNetTrainerOfNobody")
    record = folder / "fold_4" / "run.json"
    said = json.loads(record.read_text())
    record.write_text(json.dumps(said | {"run": said["run"] | {"cases_sha256": "of other labels"}}))
    with pytest.raises(OptionError, match="trained on another plan, split or data"):
        run_baseline(training_workspace, HIPPOCAMPUS, "3d_fullres", [4])
    record.write_text(json.dumps(said))
    monkeypatch.setattr(mirroring, "mirrored_axes", lambda *_: (0, 1, 2))
    with pytest.raises(OptionError, match="trained on another plan, split or data, or mirrored otherwise"):
        run_baseline(training_workspace, HIPPOCAMPUS, "3d_fullres", [4])


def test_two_networks_are_trained_validated_and_reported_and_nothing_is_repeated(
    training_workspace: Workspace,
    nnunet_in_threads: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr("mednext_training.cli.experiments.restart_tuned", lambda *_: None)
    command = ["--workspace", str(training_workspace.root), "experiment", "pilot", "--folds", "3"]
    schedule = ["--epochs", "1", "--iterations", "1", "--validation-iterations", "1"]
    assert cli.main([*command, *schedule, "--networks", "S_k3", "nnunet"]) == 0
    told = capsys.readouterr().out
    assert "nnU-Net's own network (nnunet)" in told
    base = training_workspace.results / HIPPOCAMPUS.folder_name
    names = ("nnUNetTrainerMedNeXt_S_k3", "nnUNetTrainerPlain")
    files = [next(base.glob(f"{name}__*/fold_3/checkpoint_final.pth")) for name in names]
    before = [file.stat().st_mtime_ns for file in files]
    imported = ["--results", str(files[1].parent.parent)]
    assert cli.main([*command, *schedule, "--networks", "S_k3", "S_k3", *imported]) == 0
    assert [file.stat().st_mtime_ns for file in files] == before
    told = capsys.readouterr().out
    assert "nnUNetTrainerPlain, MedNeXtPlans, 3d_1mm" in told
    assert told.count("| MedNeXt-S, kernel 3 (S_k3) |") == 1
    scores = json.loads((files[0].parent / "scores.json").read_text())
    assert np.isfinite(scores[next(iter(scores))]["scores"]["anterior hippocampus"]["dice"])
