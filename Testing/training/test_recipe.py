"""The schedule, the plan and the split are the reference's; weights that begin a training fit it."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_weights
from fixtures.training import challenge_trees as trees
from mednext.errors import DiskSpaceError, InputError, MedNeXtError, OptionError, OutOfMemoryError
from mednext.network.mednext import MedNeXt
from mednext_training import cli
from mednext_training.conversion.challenges import challenge
from mednext_training.experiments.experiment import contestant
from mednext_training.experiments.nnunet_baseline import _mirror_along
from mednext_training.network.start_weights import begin_with, weights_of_model, weights_of_small_kernel
from mednext_training.planning.plans import (
    check_painting,
    checked_regions,
    describe_regions,
    median_shape,
    plan_and_preprocess,
    read_plans,
    task_regions,
)
from mednext_training.planning.splits import read_splits, renew_splits, splits_file, validation_cases
from mednext_training.run_record import check_same_run, digest, write_record
from mednext_training.training.learning_rate import WarmUpAndDecay
from mednext_training.training.mirroring import mirrored_axes
from mednext_training.training.schedule import Schedule, recipe_schedule
from mednext_training.training.trainer_frame import FramedTrainer
from mednext_training.training.training_run import order_of_regions
from mednext_training.workspace import Workspace
from nnunetv2.experiment_planning import plan_and_preprocess_api
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
    nnUNetTrainer_onlyMirror01,
    nnUNetTrainerNoMirroring,
)

HIPPOCAMPUS = challenge("hippocampus").dataset


def test_the_rate_is_the_papers_with_its_exception() -> None:
    assert recipe_schedule("BTCV", 5).learning_rate == 1e-3
    assert recipe_schedule("KiTS19", 3).learning_rate == 1e-3
    assert recipe_schedule("KiTS19", 5).learning_rate == 1e-4
    assert (recipe_schedule("", 3).epochs, recipe_schedule("", 3).iterations) == (1000, 250)


def test_fine_tuning_is_shorter_and_slower_and_warms_up() -> None:
    schedule = recipe_schedule("BTCV", 3, fine_tuning=True)
    assert (schedule.epochs, schedule.warm_up_epochs, schedule.learning_rate) == (300, 50, 1e-4)
    v2 = recipe_schedule("BTCV", 3, "v2-W", fine_tuning=True)
    assert (v2.epochs, v2.warm_up_epochs, v2.learning_rate) == (300, 50, 1e-3)


def test_the_rate_rises_during_the_warm_up_and_decays_to_the_end() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    decay = WarmUpAndDecay(optimizer, 1.0, epochs=10, warm_up=3)
    rates = [decay.rate(epoch) for epoch in range(10)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    decay.step(3)
    assert optimizer.param_groups[0]["lr"] == 1.0


def test_without_warm_up_the_rate_is_nnunets() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    assert WarmUpAndDecay(optimizer, 1e-3, 1000).rate(500) == pytest.approx(1e-3 * 0.5**0.9)


@pytest.mark.parametrize("values", [{"epochs": 2, "warm_up_epochs": 2}, {"learning_rate": 0.0}])
def test_a_schedule_that_teaches_nothing_is_refused(values: dict) -> None:
    with pytest.raises(OptionError, match=r"warm-up|learning rate"):
        Schedule(**values)


def test_the_median_image_is_counted_in_voxels_of_the_target(tmp_path: Path) -> None:
    facts = {"shapes_after_crop": [[100, 200, 300], [50, 100, 100]], "spacings": [[2, 1, 1], [4, 2, 2]]}
    (tmp_path / "fingerprint.json").write_text(json.dumps(facts))
    assert median_shape(tmp_path / "fingerprint.json", (1, 1, 1)) == [200.0, 200.0, 250.0]


def test_regions_are_trained_in_the_order_in_which_they_are_painted(tmp_path: Path) -> None:
    regions = task_regions(challenge("brats21").dataset)
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "edema": 1, "ignore": 4}}')
    describe_regions(tmp_path / "dataset.json", regions)
    said = json.loads((tmp_path / "dataset.json").read_text())
    assert said["regions_class_order"] == [1, 2, 3]
    assert said["labels"]["tumor core"] == [2, 3]
    assert said["labels"]["ignore"] == 4
    with pytest.raises(OptionError, match="cannot be painted"):
        describe_regions(tmp_path / "dataset.json", {"inner": (3,), "outer": (3, 4)})
    with pytest.raises(OptionError, match="has no regions"):
        task_regions(HIPPOCAMPUS)


@pytest.mark.parametrize(
    ("regions", "order", "told"),
    [
        ({"one": (1, 2), "other": (2, 3)}, (), "cannot be painted"),  # 2 would be of one of them only
        ({"one": (1, 2), "same": (2, 1)}, (), "cannot be painted"),
        ({"whole": (1, 2), "left": (1,), "right": (2,)}, (), '"whole" has no value'),
        ({"whole": (1, 2), "core": (2,)}, (2, 1), "regions_class_order"),  # the core would be hidden
        ({"whole": (1, 2), "core": (2,)}, (1,), "regions_class_order"),
    ],
)
def test_regions_that_no_labels_can_hold_are_refused(
    regions: dict[str, tuple[int, ...]], order: tuple[int, ...], told: str
) -> None:
    with pytest.raises(OptionError, match=told):
        check_painting(regions, order)


def test_regions_in_another_order_are_another_run(tmp_path: Path) -> None:
    ways = [
        {"labels": {"background": 0, a: [1], b: [2]}, "regions_class_order": [1, 2]} for a, b in ("ab", "ba")
    ]
    first, other = (digest(order_of_regions(each)) for each in ways)
    write_record(tmp_path, {"regions_sha256": first}, {})
    check_same_run(tmp_path, {"regions_sha256": first})
    with pytest.raises(OptionError, match="another order of the regions"):
        check_same_run(tmp_path, {"regions_sha256": other})


def test_spacing_and_patch_follow_the_axes_that_nnunet_swaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sagittal slices: nnU-Net trains with the coarse axis, x, first."""
    workspace = Workspace(tmp_path / "runs")
    source = trees.write_hippocampus(tmp_path / "source", 2)
    assert cli.main(["--workspace", str(workspace.root), "convert", "hippocampus", str(source)]) == 0
    folder = workspace.preprocessed / HIPPOCAMPUS.folder_name

    def plan(*_: object) -> None:
        folder.mkdir(parents=True)
        (folder / "dataset.json").write_text("{}")
        facts = {"shapes_after_crop": [[60, 50, 10]], "spacings": [[1, 1, 4]]}
        (folder / "dataset_fingerprint.json").write_text(json.dumps(facts))
        plans = {"transpose_forward": [2, 0, 1], "configurations": {"3d_fullres": {}}}
        (folder / "nnUNetPlans.json").write_text(json.dumps(plans))

    for name, stub in (("extract_fingerprints", noop), ("plan_experiments", plan), ("preprocess", noop)):
        monkeypatch.setattr(plan_and_preprocess_api, name, stub)
    plan_and_preprocess(workspace, HIPPOCAMPUS, (64, 48, 16), spacing=(1.0, 1.25, 4.0))
    configuration = read_plans(workspace, HIPPOCAMPUS)[0]["configurations"]["3d_1mm"]
    assert configuration["spacing"] == [4.0, 1.0, 1.25]
    assert configuration["patch_size"] == [16, 64, 48]
    assert configuration["median_image_size_in_voxels"] == [10.0, 60.0, 40.0]


def noop(*_arguments: object, **_options: object) -> None:
    """A step of nnU-Net that is not needed."""


@pytest.mark.parametrize(
    ("labels", "said", "forward", "axes"),
    [
        (("left hippocampus", "right hippocampus"), {"orientation": "LPS"}, [0, 1, 2], (0, 1)),
        (("hippocampus_R",), {"orientation": "RAS"}, [2, 0, 1], (1, 2)),
        (("left hippocampus",), {"orientation": "PIR"}, [0, 1, 2], (1, 2)),
        (("left hippocampus",), {"orientation": ""}, [0, 1, 2], None),  # of an older plan
        (("left kidney",), {"orientation": "LPS", "task": "BTCV"}, [0, 1, 2], (0, 1, 2)),
        (("anterior hippocampus",), {"orientation": "LPS"}, [0, 1, 2], (0, 1, 2)),
    ],
)
def test_patches_are_not_mirrored_from_side_to_side_where_a_label_names_a_side(
    labels: tuple[str, ...], said: dict[str, str], forward: list[int], axes: tuple[int, ...]
) -> None:
    description = said | {"labels": {"background": 0} | {name: n for n, name in enumerate(labels, 1)}}
    assert mirrored_axes(description, {"transpose_forward": forward}, (0, 1, 2)) == axes


@pytest.mark.parametrize(
    ("orientation", "forward", "axes"),
    [("LPS", [0, 1, 2], (0,)), ("LPS", [1, 2, 0], (1,)), ("PSR", [0, 1, 2], (0, 1))],
)
def test_slices_are_not_mirrored_from_side_to_side_either(
    orientation: str, forward: list[int], axes: tuple[int, ...]
) -> None:
    description = {"orientation": orientation, "labels": {"background": 0, "left hippocampus": 1}}
    assert mirrored_axes(description, {"transpose_forward": forward}, (0, 1), 2) == axes


@pytest.mark.parametrize(
    ("trainer", "allowed", "axes"),
    [
        (nnUNetTrainer, (0, 1), (0, 1)),
        (nnUNetTrainer, None, None),
        (nnUNetTrainerDA5, (1, 2), (1, 2)),
        (nnUNetTrainer_onlyMirror01, (1, 2), (1,)),
        (nnUNetTrainerNoMirroring, (0, 1), None),
    ],
)
def test_trainers_of_nnunet_mirror_along_no_other_axes_in_training_and_in_inference(
    trainer: type, allowed: tuple[int, ...] | None, axes: tuple[int, ...] | None
) -> None:
    training = trainer.__new__(trainer)
    training.configuration_manager = SimpleNamespace(patch_size=[32, 32, 32])
    training.print_to_log_file = noop
    _mirror_along(training, allowed)
    assert training.configure_rotation_dummyDA_mirroring_and_inital_patch_size()[-1] == axes
    assert training.inference_allowed_mirroring_axes == axes


@pytest.mark.parametrize("name", ["S_k3", "v2-B_k3", "nnunet", "unetr", "swinunetr"])
def test_every_network_of_an_experiment_leaves_out_the_same_axes(name: str) -> None:
    method = "configure_rotation_dummyDA_mirroring_and_inital_patch_size"
    assert getattr(contestant(name).trainer, method) is getattr(FramedTrainer, method)


def test_regions_of_ones_own_cover_every_label_of_the_data_set() -> None:
    from mednext_training.cli import command_parser

    words = ["plan", "--region", "whole tumor=1,2,3", "--region", "tumor core=2,3"]
    said = dict(command_parser().parse_args(words).own_regions)
    glioma = challenge("brats21").dataset
    assert checked_regions(glioma, said) == {"whole tumor": (1, 2, 3), "tumor core": (2, 3)}
    for wrong in ({"whole tumor": (1, 2)}, {"whole tumor": (1, 2, 3, 4)}):
        with pytest.raises(OptionError, match="each must be in a region"):
            checked_regions(glioma, wrong)
    for text in ("whole tumor", "=1,2", "whole tumor=1,x"):
        with pytest.raises(SystemExit):
            command_parser().parse_args(["plan", "--region", text])


def test_the_split_follows_the_cases_and_leaves_ones_own_split_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    file = splits_file(workspace, HIPPOCAMPUS)
    file.parent.mkdir(parents=True)
    cases = [f"case_{number}" for number in range(10)]
    renew_splits(workspace, HIPPOCAMPUS, cases)
    assert len(read_splits(workspace, HIPPOCAMPUS) or []) == 5
    own = [{"train": cases[:9], "val": cases[9:]}]
    file.write_text(json.dumps(own))
    renew_splits(workspace, HIPPOCAMPUS, cases)
    assert read_splits(workspace, HIPPOCAMPUS) == own
    renew_splits(workspace, HIPPOCAMPUS, cases[:3])
    assert [validation_cases(workspace, HIPPOCAMPUS, fold) for fold in range(3)] != [own]
    assert len(read_splits(workspace, HIPPOCAMPUS) or []) == 3
    with pytest.raises(OptionError, match="no fold 3"):
        validation_cases(workspace, HIPPOCAMPUS, 3)
    with pytest.raises(OptionError, match="training needs one, validation another"):
        renew_splits(workspace, HIPPOCAMPUS, cases[:1])


def tiny(kernel: int, classes: int = 3, channels: int = 1) -> MedNeXt:
    return MedNeXt(channels, classes, (1,) * 9, (1,) * 9, kernel, deep_supervision=True, channels=4)


def test_a_larger_kernel_begins_as_the_smaller_one() -> None:
    small, large = tiny(3), tiny(5)
    assert begin_with(large, small.state_dict()) == []
    assert torch.equal(large.state_dict()["out_4.conv_out.bias"], small.state_dict()["out_4.conv_out.bias"])
    name = "bottleneck.0.conv1.weight"
    expected = torch.nn.functional.interpolate(small.state_dict()[name], size=(5, 5, 5), mode="trilinear")
    torch.testing.assert_close(large.state_dict()[name], expected)


def test_a_model_is_fine_tuned_for_other_labels_with_a_new_head(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny", folds=(0, 1))
    start = weights_of_model(tmp_path / "tiny", 1, "all")
    assert start.source == "fine-tuned from tiny 1.0.0, fold 1"
    network = tiny(3, classes=5)
    head = network.state_dict()["out_0.conv_out.weight"].clone()
    assert begin_with(network, start.read()) == ["out_0", "out_1", "out_2", "out_3", "out_4"]
    assert torch.equal(network.state_dict()["out_0.conv_out.weight"], head)
    assert torch.equal(network.state_dict()["stem.weight"], tiny_weights(TINY_NETWORK, seed=1)["stem.weight"])
    same = tiny(3)
    assert begin_with(same, start.read()) == ["out_1", "out_2", "out_3", "out_4"]


def test_a_fold_that_may_have_seen_the_validation_cases_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights_of_model("hippocampus", 0, {"train": ["a"], "val": ["b"]})
    assert "hippocampus was trained on every case of its data set" in caplog.text
    assert "the accuracy is too good" in caplog.text


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (tiny(3, channels=2), "1 channels, the data set has 2"),
        (MedNeXt(1, 3, (2,) * 9, (1,) * 9, 3, channels=4), "of another MedNeXt: give its --variant"),
    ],
    ids=["channels", "size"],
)
def test_weights_that_do_not_fit_are_refused(network: MedNeXt, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        begin_with(network, tiny_weights())


def test_kernels_only_grow_and_upkern_needs_the_finished_small_one(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="kernels only grow"):
        begin_with(tiny(3), tiny(5).state_dict())
    with pytest.raises(OptionError, match="run 'mednext-train train' first"):
        weights_of_small_kernel(tmp_path, "mednext-train train")


@pytest.mark.parametrize(
    ("failure", "error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskSpaceError, "Free some space"),
        (
            RuntimeError("Some background worker is 6 feet under."),
            OutOfMemoryError,
            "fewer --processes than 3",
        ),
        (RuntimeError("shapes differ"), InputError, "Correct the data set"),
    ],
)
def test_a_full_disk_and_a_killed_process_are_not_blamed_on_the_data(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    error: type[MedNeXtError],
    told: str,
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise failure

    source = trees.write_hippocampus(tmp_path / "source", 2)
    workspace = Workspace(tmp_path / "runs")
    assert cli.main(["--workspace", str(workspace.root), "convert", "hippocampus", str(source)]) == 0
    monkeypatch.setattr(plan_and_preprocess_api, "extract_fingerprints", fail)
    with pytest.raises(error, match=told):
        plan_and_preprocess(workspace, HIPPOCAMPUS, (32, 32, 32), processes=3)
