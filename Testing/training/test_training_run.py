"""From raw images to trained weights on nnU-Net, on synthetic cases that take seconds."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model
from fixtures.training.planned_data import CASES, write_case
from mednext import load_bundle
from mednext.errors import CheckpointError, OptionError, UnsafeCheckpointError, UnsupportedImageError
from mednext.inference.options import Options
from mednext_training import cli
from mednext_training.conversion.challenges import challenge
from mednext_training.datasets import find_dataset
from mednext_training.evaluation.case_results import CaseResult, evaluate
from mednext_training.evaluation.metrics import Score
from mednext_training.network.network_names import TINY
from mednext_training.planning.plans import read_plans
from mednext_training.planning.splits import validation_cases
from mednext_training.publishing.bundle_export import record_accuracy
from mednext_training.training.trainer import mednext_trainer, nnUNetTrainerMedNeXt
from mednext_training.training.training_run import Execution, Run, train
from mednext_training.workspace import Workspace

HIPPOCAMPUS = challenge("hippocampus").dataset

pytestmark = pytest.mark.timeout(900)  # planning and training take long on a busy machine


@pytest.fixture
def workspace(training_workspace: Workspace) -> Workspace:
    """A converted, planned and preprocessed data set."""
    return training_workspace


@pytest.fixture
def make_trainer(workspace: Workspace):
    folder = workspace.preprocessed / "Dataset004_Hippocampus"

    def make(epochs: int, fold: int = 0) -> nnUNetTrainerMedNeXt:
        plans = json.loads((folder / "MedNeXtPlans.json").read_text(encoding="utf-8"))
        dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        trainer = mednext_trainer(TINY)(plans, "3d_1mm", fold, dataset, torch.device("cpu"))
        trainer.num_epochs = epochs
        trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 1
        return trainer

    return make


def test_conversion_names_channels_labels_and_cases_in_nnunets_form(workspace: Workspace) -> None:
    folder = workspace.raw / "Dataset004_Hippocampus"
    description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert description["labels"] == {
        "background": 0,
        "anterior hippocampus": 1,
        "posterior hippocampus": 2,
    }
    assert description["numTraining"] == CASES
    assert len(list((folder / "imagesTr").glob("case_*_0000.nii.gz"))) == CASES


def test_a_patch_that_the_network_cannot_halve_four_times_is_refused(tmp_path: Path) -> None:
    assert cli.main(["--workspace", str(tmp_path), "plan", "--patch", "40", "56", "40"]) == 2


def test_a_killed_training_resumes_from_its_last_epoch(make_trainer) -> None:
    first = make_trainer(epochs=2, fold=3)
    assert not train(first, stop_after_s=0.0)
    assert first.current_epoch == 1
    weights = {name: value.clone() for name, value in first.network.state_dict().items()}

    second = make_trainer(epochs=2, fold=3)
    second.load_checkpoint(str(Path(second.output_folder) / "checkpoint_latest.pth"))
    assert second.current_epoch == 1
    for name, value in second.network.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)

    third = make_trainer(epochs=2, fold=3)
    assert train(third)
    assert (Path(third.output_folder) / "checkpoint_final.pth").is_file()
    assert not list(Path(third.output_folder).glob("*.part"))


def test_a_finished_training_becomes_a_bundle_with_its_accuracy(
    workspace: Workspace, make_trainer, tmp_path: Path
) -> None:
    train(make_trainer(epochs=2))
    assert (
        cli.main(["--workspace", str(workspace.root), "export", "--variant", TINY, str(tmp_path / "model")])
        == 0
    )
    bundle = load_bundle(tmp_path / "model")
    assert bundle.model.orientation == "LPS"
    assert bundle.model.field_of_view == (20.0, 22.0, 18.0)
    assert [label.name for label in bundle.model.labels] == ["anterior hippocampus", "posterior hippocampus"]

    _, dataset = find_dataset(workspace)
    cases = validation_cases(workspace, dataset, 0)
    results = evaluate(bundle, workspace.raw / dataset.folder_name, cases, options=Options(mirroring=False))
    assert [result.case for result in results] == cases
    weights = (tmp_path / "model" / "fold_0.safetensors").read_bytes()
    record_accuracy(bundle, results, "a test")
    accuracy = load_bundle(tmp_path / "model").model.accuracy
    assert accuracy is not None
    assert (accuracy["source"], accuracy["cases"]) == ("a test", len(cases))
    assert (tmp_path / "model" / "fold_0.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (["plan", "--patch", "16", "32", "16"], "convert the data set first"),
        (["train"], "convert the data set first"),
        (["export", "model"], "convert the data set first"),
        (["evaluate", "hippocampus"], "convert the data set first"),
        (["convert", "hippocampus", "nowhere"], "give the data set's folder"),
        (["plan", "--patch", "0", "0", "0"], "sides are divisible by 16"),
        (["plan", "--patch", "-16", "16", "16"], "sides are divisible by 16"),
    ],
)
def test_a_step_that_comes_too_early_names_the_missing_one(
    tmp_path: Path, capsys: pytest.CaptureFixture, command: list[str], remedy: str
) -> None:
    assert cli.main(["--workspace", str(tmp_path / "runs"), *command]) == 2
    assert remedy in capsys.readouterr().err


def test_data_that_was_changed_since_is_not_planned(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_case(tmp_path / "source", "case_0", 0)
    root = ["--workspace", str(tmp_path / "runs")]
    assert cli.main([*root, "convert", "hippocampus", str(tmp_path / "source")]) == 0
    file = next((tmp_path / "runs" / "raw").glob("*/dataset.json"))
    description = json.loads(file.read_text())
    del description["labels"]["posterior hippocampus"]
    file.write_text(json.dumps(description))
    assert cli.main([*root, "plan", "--patch", "16", "32", "16"]) == 2
    assert "the label 2, but the labels of this data set are 1 anterior" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{}", "[1]", '[{"val": 1}]', '[{"val": [1]}]', "{", "9" * 5000])
def test_damaged_plans_and_splits_are_explained_errors(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "preprocessed" / HIPPOCAMPUS.folder_name
    folder.mkdir(parents=True)
    for name in ("MedNeXtPlans.json", "dataset.json", "splits_final.json"):
        (folder / name).write_text(text)
    with pytest.raises(OptionError):
        read_plans(Workspace(tmp_path), HIPPOCAMPUS)
    with pytest.raises(OptionError):
        validation_cases(Workspace(tmp_path), HIPPOCAMPUS, 0)


@pytest.mark.parametrize("fold", ["-1", "5"])
def test_a_fold_that_nnunet_would_replace_by_a_random_split_is_not_trained(
    workspace: Workspace, capsys: pytest.CaptureFixture, fold: str
) -> None:
    assert cli.main(["--workspace", str(workspace.root), "train", "--fold", fold]) == 2
    assert f"There is no fold {fold}" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_an_explained_error(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_case(tmp_path / "source", "case_0", 0)
    (tmp_path / "runs").write_text("a file")
    assert (
        cli.main(["--workspace", str(tmp_path / "runs"), "convert", "hippocampus", str(tmp_path / "source")])
        == 2
    )
    assert "cannot be read or written" in capsys.readouterr().err


def test_a_case_with_a_label_that_the_model_does_not_have_is_not_evaluated(tmp_path: Path) -> None:
    write_case(tmp_path / "raw", "case_0", 0)
    (tmp_path / "raw" / "images").rename(tmp_path / "raw" / "imagesTr")
    (tmp_path / "raw" / "labels").rename(tmp_path / "raw" / "labelsTr")
    (tmp_path / "raw" / "imagesTr" / "case_0.nii.gz").rename(
        tmp_path / "raw" / "imagesTr" / "case_0_0000.nii.gz"
    )
    network = replace(TINY_NETWORK, num_classes=2)
    bundle = tiny_bundle(tmp_path / "one", network=network, labels=tiny_model().labels[:1], keep_largest=())
    with pytest.raises(UnsupportedImageError, match="case_0 has the label 2"):
        evaluate(bundle, tmp_path / "raw", ["case_0"], options=Options(mirroring=False))
    with pytest.raises(OptionError, match="no cases"):
        evaluate(bundle, tmp_path / "raw", [])


def test_a_label_that_no_case_has_leaves_no_number_in_the_model(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    scores = {"spleen": Score("found", 0.5, 0.4, 2.0), "liver": Score("absent", None, None, None)}
    record_accuracy(bundle, [CaseResult("a", scores, 1.0)], "a test")
    accuracy = load_bundle(tmp_path / "tiny").model.accuracy
    assert accuracy is not None
    assert accuracy["dice"] == {"spleen": 0.5, "mean": 0.5}


def test_a_checkpoint_that_lacks_a_part_is_not_resumed(make_trainer, tmp_path: Path) -> None:
    torch.save({"network_weights": {}}, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        make_trainer(epochs=1).load_checkpoint(str(tmp_path / "checkpoint.pth"))


def test_exporting_before_training_is_an_explained_error(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_case(tmp_path / "source", "case_0", 0)
    root = ["--workspace", str(tmp_path / "runs")]
    assert cli.main([*root, "convert", "hippocampus", str(tmp_path / "source")]) == 0
    assert cli.main([*root, "export", str(tmp_path / "model")]) == 2
    assert "train first" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_the_training_recipe_equals_that_of_the_reference(make_trainer) -> None:
    trainer = make_trainer(epochs=1)
    trainer.initialize()
    group = trainer.optimizer.param_groups[0]
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert (group["lr"], group["eps"], group["weight_decay"]) == (1e-3, 1e-4, 3e-5)
    assert trainer.loss.weight_factors == pytest.approx([16 / 31, 8 / 31, 4 / 31, 2 / 31, 1 / 31])
    assert trainer._get_deep_supervision_scales()[4] == [0.0625] * 3


def test_a_checkpoint_that_would_run_code_is_not_resumed(make_trainer, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    torch.save({"network_weights": Attack()}, tmp_path / "checkpoint.pth")
    with pytest.raises(UnsafeCheckpointError, match=r"Nothing of it was run"):
        make_trainer(epochs=1).load_checkpoint(str(tmp_path / "checkpoint.pth"))
    assert not (tmp_path / "attacked").exists()


def test_the_larger_variants_recompute_their_blocks() -> None:
    trainers = [mednext_trainer(variant, 5) for variant in ("S", "B", "M", "L", "v2-B")]
    assert [trainer.checkpointing for trainer in trainers] == ["none"] * 2 + ["blocks"] * 3
    assert trainers[3].__name__ == "nnUNetTrainerMedNeXt_L_k5"


def test_the_command_line_chooses_the_stages_to_recompute(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Execution] = []

    def record(run: Run, execution: Execution, *_: object) -> str:
        started.append(execution)
        return "finished"

    monkeypatch.setattr("mednext_training.cli.training.restart_tuned", lambda *_: None)
    monkeypatch.setattr("mednext_training.training.training_run.train_run", record)
    options = ["--checkpointing", "expansion", "--checkpointing-stages", "0", "8"]
    for choice in ([], options):
        assert cli.main(["--workspace", str(workspace.root), "train", *choice]) == 0
    assert [(each.checkpointing, tuple(each.stages)) for each in started] == [
        (None, tuple(range(9))),
        ("expansion", (0, 8)),
    ]


def test_the_cases_of_a_fold_are_known_only_after_planning(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist: plan first"):
        validation_cases(Workspace(tmp_path), HIPPOCAMPUS, 0)
