"""A trained network becomes a bundle with all its folds and their history; unfit folds are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.models.results_folders import V2_DATASET, write_v2_folder
from fixtures.training import challenge_trees as trees
from mednext import load_bundle
from mednext.model.bundle import Bundle
from mednext_training import cli
from mednext_training.evaluation.case_results import CaseResult, structures_of
from mednext_training.evaluation.metrics import Score
from mednext_training.planning.plans import describe_regions
from mednext_training.publishing.bundle_export import record_accuracy
from mednext_training.run_record import write_record
from mednext_training.training.result_folders import results_folder
from mednext_training.workspace import Workspace

RESULTS = [CaseResult("a", {"spleen": Score("found", 0.9, 0.9, 1.0)}, 1.0)]


class Trained:
    """A workspace with a data set, and the results of a training on it."""

    def __init__(self, root: Path) -> None:
        self.workspace, self.target = Workspace(root / "runs"), root / "models" / "mine"
        self.folder = self.workspace.raw / "Dataset501_Tiny"
        phantom = trees.ct_phantom(0, 2)
        trees.write(self.folder / "imagesTr" / "a_0000.nii.gz", phantom.images[0], phantom.geometry)
        self.describe()

    def describe(self, **changes: Any) -> None:
        """Write the data set's description."""
        self.folder.joinpath("dataset.json").write_text(json.dumps(V2_DATASET | changes))

    @property
    def results(self) -> Path:
        from mednext_training.datasets import read_dataset

        return results_folder(self.workspace, read_dataset(self.folder), "S", 3)

    def export(self, *words: str) -> int:
        return cli.main(["--workspace", str(self.workspace.root), "export", str(self.target), *words])

    def record(self, fold: int | str, **changes: Any) -> None:
        run = {"epochs": 1000, "iterations": 250, "patch": [64, 64, 64], "start": "random weights", "seed": 1}
        write_record(
            self.results / f"fold_{fold}",
            {**run, "plan_sha256": "p" * 64, "split_sha256": "s" * 64, **changes},
            {},
        )


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return Trained(tmp_path)


@pytest.fixture
def told(capsys: pytest.CaptureFixture) -> Callable[[], str]:
    """The message of the last command."""
    return lambda: capsys.readouterr().err


def test_every_finished_fold_is_exported_with_how_it_was_trained(trained: Trained) -> None:
    write_v2_folder(trained.results, (0, 1, 3))
    (trained.results / "fold_2").mkdir()
    (trained.results / "fold_2" / "checkpoint_latest.pth").write_bytes(b"not finished")
    for fold in (0, 1):
        trained.record(fold)
    trained.record(3, epochs=300, start="fine-tuned from x 1.0.0, fold 3")
    assert trained.export() == 0
    model = load_bundle(trained.target).model
    assert [fold.index for fold in model.folds] == [0, 1, 3]
    assert "1000 epochs of 250 steps, patch 64 × 64 × 64, random weights, seed 1" in model.training_data
    assert "folds 0 (split ssssssssssss), 1 (split ssssssssssss)." in model.training_data
    assert (
        "300 epochs of 250 steps, patch 64 × 64 × 64, fine-tuned from x 1.0.0, fold 3" in model.training_data
    )


def test_licence_and_reference_are_those_of_the_data_set(trained: Trained) -> None:
    trained.describe(licence="CC BY 4.0", reference="https://example.org/data")
    write_v2_folder(trained.results)
    assert trained.export("--version", "2.1.0") == 0
    model = load_bundle(trained.target).model
    assert (model.licence, model.version) == ("CC BY 4.0", "2.1.0")
    assert model.training_data.startswith("Tiny, https://example.org/data")


@pytest.mark.parametrize(
    ("task", "why"),
    [("BTCV", "of the task BTCV"), ("KiTS19", "the labels spleen, left_lung"), ("femur", "no task 'femur'")],
    ids=["another number of labels", "other labels", "unknown"],
)
def test_a_task_that_does_not_fit_is_refused(
    trained: Trained, told: Callable[[], str], task: str, why: str
) -> None:
    trained.describe(task=task)
    write_v2_folder(trained.results)
    assert trained.export() == 2
    assert why in told()
    assert not trained.target.exists()


@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        (("LPS", "LPS"), ""),
        (("RAS", "RAS"), "The orientation of the training is RAS, but the images in"),
        (("RAS", "LPS"), "different orientations (LPS, RAS)"),
    ],
)
def test_images_that_were_turned_since_the_training_do_not_mirror_the_model(
    trained: Trained, told: Callable[[], str], recorded: tuple[str, str], why: str
) -> None:
    write_v2_folder(trained.results, (0, 1))
    for fold, orientation in enumerate(recorded):
        trained.record(fold, orientation=orientation)
    assert trained.export() == (2 if why else 0)
    assert why in told()


def test_names_that_were_changed_after_the_training_are_refused(
    trained: Trained, told: Callable[[], str]
) -> None:
    write_v2_folder(trained.results)
    trained.describe(labels={"background": 0, "left_lung": 1, "spleen": 2})
    assert trained.export() == 2
    assert "was trained on the channels CT with the labels spleen, left_lung" in told()
    assert not trained.target.exists()


def test_regions_of_ones_own_are_exported_with_the_values_that_they_are_painted_with(
    trained: Trained, tmp_path: Path
) -> None:
    """As `plan --region` describes them to nnU-Net, in the copy of `dataset.json` beside the results."""
    names = ("necrosis", "edema", "non-enhancing tumor", "enhancing tumor")
    trained.describe(labels={"background": 0} | {name: number for number, name in enumerate(names, 1)})
    regions = {"whole tumor": (1, 2, 3, 4), "tumor core": (1, 3, 4), "enhancing tumor": (4,)}
    described = tmp_path / "dataset.json"
    described.write_text(json.dumps(V2_DATASET))
    describe_regions(described, regions)
    write_v2_folder(trained.results, dataset=json.loads(described.read_text()))
    assert trained.export() == 0
    model = load_bundle(trained.target).model
    assert (model.output, model.regions_class_order) == ("regions", (2, 1, 4))
    assert {region.name: region.labels for region in model.regions} == regions
    assert [label.value for label in model.labels] == [1, 2, 4]
    assert structures_of(model.labels, model.regions)["tumor core without enhancing tumor"] == (1, 3)


def measured(trained: Trained) -> Bundle:
    """The exported model, with an accuracy that was recorded."""
    assert trained.export() == 0
    return record_accuracy(load_bundle(trained.target), RESULTS, "a measurement")


def test_the_same_weights_exported_again_keep_their_accuracy_and_clean_up(trained: Trained) -> None:
    write_v2_folder(trained.results)
    before = measured(trained).model
    trained.describe(licence="CC BY 4.0")
    assert trained.export() == 0
    after = load_bundle(trained.target).model
    assert after == replace(before, licence="CC BY 4.0")
    assert after.accuracy is not None


def test_other_weights_do_not_erase_an_accuracy_that_was_recorded(
    trained: Trained, told: Callable[[], str]
) -> None:
    write_v2_folder(trained.results)
    measured(trained)
    before = {file.name: file.read_bytes() for file in trained.target.iterdir()}
    shutil.rmtree(trained.results)
    write_v2_folder(trained.results, (0, 1))
    assert trained.export() == 2
    assert "has a measured accuracy, and these weights are others" in told()
    assert {file.name: file.read_bytes() for file in trained.target.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--folds", "3"], "Fold 3"),
        (["--folds", "all"], "Fold all"),
        (["--orientation", "XYZ"], "XYZ"),
        (["--version", "../1"], "'../1' is no version"),
        (["--checkpoint", "best"], "checkpoint_best"),
        (["--kernel", "5"], "train first"),
    ],
)
def test_untrained_folds_and_impossible_values_are_refused_and_nothing_is_written(
    trained: Trained, told: Callable[[], str], words: list[str], why: str
) -> None:
    write_v2_folder(trained.results)
    assert trained.export(*words) == 2
    assert why in told()
    assert not trained.target.exists()
    assert not list(trained.target.parent.glob(".export-*"))


@pytest.mark.parametrize("option", ["--table", "--csv"])
def test_a_place_that_cannot_be_written_is_refused_before_the_evaluation(
    trained: Trained, told: Callable[[], str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr("mednext_training.evaluation.case_results.evaluate", pytest.fail)
    write_v2_folder(trained.results)
    assert trained.export() == 0
    for part in ("images", "labels"):
        shutil.copytree(trained.folder / "imagesTr", trained.folder / f"{part}Ts")
    words = ["evaluate", str(trained.target), "--test", option, str(trained.folder / "nowhere" / "table")]
    assert cli.main(["--workspace", str(trained.workspace.root), *words]) == 2
    assert "nowhere" in told()


def test_a_recorded_dice_without_the_largest_components_that_it_decides_on_says_so(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = np.zeros((4, 20, 20), np.uint8)
    truth[1:3, 2:8, 2:8] = 1
    false_piece = truth.copy()
    false_piece[1:3, 2:4, 17:19] = 1

    def evaluate(*_: Any, judge: Callable[[np.ndarray, np.ndarray], None], **__: Any) -> list[CaseResult]:
        judge(truth, false_piece)
        return RESULTS

    monkeypatch.setattr("mednext_training.evaluation.case_results.evaluate", evaluate)
    monkeypatch.setattr("mednext_training.cli.models.restart_tuned", lambda *_: None)
    write_v2_folder(trained.results)
    assert trained.export() == 0
    for part in ("images", "labels"):
        shutil.copytree(trained.folder / "imagesTr", trained.folder / f"{part}Ts")
    words = ["evaluate", str(trained.target), "--test", "--keep-largest", "--record", "ten patients"]
    assert cli.main(["--workspace", str(trained.workspace.root), *words]) == 0
    model = load_bundle(trained.target).model
    assert model.keep_largest == (1,)
    assert model.accuracy is not None
    assert model.accuracy["source"] == "ten patients; measured before largest components alone were kept"


def test_a_model_that_was_trained_on_every_case_is_not_validated_on_them(
    trained: Trained, told: Callable[[], str]
) -> None:
    write_v2_folder(trained.results, ("all",))
    trained.record("all")
    assert trained.export("--folds", "all") == 0
    words = ["evaluate", str(trained.target), "--record", "fold 0"]
    assert cli.main(["--workspace", str(trained.workspace.root), *words]) == 2
    assert "was trained on every case of its data set: measure it on others" in told()


@pytest.mark.parametrize("is_model", [False, True])
def test_files_of_others_are_not_lost_where_a_model_is_put(
    trained: Trained, told: Callable[[], str], is_model: bool
) -> None:
    write_v2_folder(trained.results)
    if is_model:
        assert trained.export("--folds", "0", "0") == 0
    trained.target.mkdir(parents=True, exist_ok=True)
    (trained.target / "thesis.txt").write_text("mine")
    assert trained.export() == 2
    assert ("thesis.txt" if is_model else "is not a model") in told()
    assert (trained.target / "thesis.txt").read_text() == "mine"
