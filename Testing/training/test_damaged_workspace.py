"""A damaged file of a workspace, or one of another data set, is named with its remedy, never a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mednext.errors import CheckpointError, OptionError
from mednext_training import cli
from mednext_training.conversion.challenges import challenge
from mednext_training.experiments.experiment import _as_scores, _kept_scores
from mednext_training.experiments.nnunet_baseline import run_baseline
from mednext_training.network.start_weights import weights_of_small_kernel
from mednext_training.planning.plans import read_plans
from mednext_training.planning.splits import split_of
from mednext_training.publishing.bundle_export import training_history
from mednext_training.run_record import check_same_run, write_record
from mednext_training.workspace import Workspace

DATASET = challenge("hippocampus").dataset
TRUNCATED = "half"  # of the file's own text
OF_OTHERS = '{"labels": {"background": 0, "liver": 1}, "channel_names": {"0": "CT"}, "file_ending": ".nrrd"}'
DAMAGED = ("", TRUNCATED, "[]", "null", "{}", '"text"', "[1]", '{"a": 1, "a": 2}', "\0" * 9, OF_OTHERS)


def written(file: Path, text: str) -> None:
    file.write_text(file.read_text()[: file.stat().st_size // 2] if text == TRUNCATED else text)


@pytest.fixture
def damaged(training_workspace: Workspace) -> Iterator[Callable[[str, str], Workspace]]:
    """Damages a file of the planned workspace until the end of the test."""
    whole: dict[Path, bytes] = {}

    def damage(name: str, text: str) -> Workspace:
        file = training_workspace.root / name.format(DATASET.folder_name)
        whole[file] = file.read_bytes()
        written(file, text)
        return training_workspace

    yield damage
    for file, content in whole.items():
        file.write_bytes(content)


def _plans(workspace: Workspace) -> object:
    return read_plans(workspace, DATASET)


def _split(workspace: Workspace) -> object:
    return split_of(workspace, DATASET, 0)


def _baseline(workspace: Workspace) -> object:
    return run_baseline(workspace, DATASET, "3d_fullres", [0])


@pytest.mark.parametrize("text", DAMAGED)
@pytest.mark.parametrize(
    ("name", "use", "remedy"),
    [
        ("preprocessed/{}/MedNeXtPlans.json", _plans, "[Pp]lan again"),
        ("preprocessed/{}/MedNeXtPlans_planned.json", _plans, "[Pp]lan again"),
        ("preprocessed/{}/dataset.json", _plans, "[Pp]lan again"),
        ("raw/{}/dataset.json", _plans, "[Pp]lan again|get the file again"),
        ("preprocessed/{}/splits_final.json", _split, "[Rr]emove it, and plan again"),
        ("preprocessed/{}/nnUNetPlans.json", _baseline, "[Pp]lan again"),
    ],
)
def test_a_damaged_description_is_refused_with_the_remedy(
    damaged: Callable[[str, str], Workspace], name: str, use: Callable, remedy: str, text: str
) -> None:
    workspace = damaged(name, text)
    with pytest.raises(OptionError, match=remedy):
        use(workspace)


@pytest.mark.parametrize("text", DAMAGED)
def test_every_command_tells_of_a_damaged_data_set(
    damaged: Callable[[str, str], Workspace],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    text: str,
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    workspace = damaged("raw/{}/dataset.json", text)
    for words in (["check"], ["plan"], ["train"], ["export", "model"], ["evaluate", "hippocampus"]):
        assert cli.main(["--workspace", str(workspace.root), *words]) != 0
        assert re.search(r"^mednext-train: .+\.$", capsys.readouterr().err, re.MULTILINE)


def test_a_fold_that_validates_on_what_it_trains_on_is_refused(
    damaged: Callable[[str, str], Workspace],
) -> None:
    workspace = damaged("preprocessed/{}/splits_final.json", '[{"train": ["a", "b"], "val": ["b"]}]')
    with pytest.raises(OptionError, match=r"Fold 0 of .* trains on b and validates on it: correct"):
        split_of(workspace, DATASET, 0)


@pytest.mark.parametrize(
    "text", [*DAMAGED, '{"run": [], "how": {}}', '{"run": {"patch": 5}, "how": {}}', '{"run": {}, "how": []}']
)
def test_a_damaged_record_of_a_run_names_both_ways_out(tmp_path: Path, text: str) -> None:
    fold = tmp_path / "fold_0"
    fold.mkdir()
    write_record(fold, {"epochs": 5, "patch": [16, 32, 16]}, {"device": "CPU"})
    written(fold / "run.json", text)
    for use in (lambda: check_same_run(fold, {"epochs": 5}), lambda: training_history(tmp_path, [0])):
        with pytest.raises(OptionError, match=r"run\.json .*anew with --again, or remove the file to export"):
            use()


@pytest.mark.parametrize(
    "content", [b"", b"PK", {}, {"network_weights": {}}, {"network_weights": {"a": 1}}, []]
)
def test_damaged_weights_of_the_small_kernel_name_the_command_that_repairs_them(
    tmp_path: Path, content: object
) -> None:
    file = tmp_path / "checkpoint_final.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    weights = weights_of_small_kernel(tmp_path, "mednext-train train --variant S")
    with pytest.raises(CheckpointError, match="Run 'mednext-train train --variant S' again"):
        weights.read()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"case_0": []}', '{"case_0": {"stamp": "now"}}', '{"case_0": 5}']
)
def test_damaged_scores_are_computed_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.json").write_text(text)
    assert _as_scores(_kept_scores(tmp_path / "scores.json").get("case_0"), "now") is None


def test_labels_that_were_corrected_since_make_another_run(tmp_path: Path) -> None:
    write_record(tmp_path, {"epochs": 5}, {})  # as older versions did, without a digest of the cases
    check_same_run(tmp_path, {"epochs": 5, "cases_sha256": "of the cases"})
    write_record(tmp_path, {"epochs": 5, "cases_sha256": "of the cases"}, {})
    with pytest.raises(OptionError, match="another data"):
        check_same_run(tmp_path, {"epochs": 5, "cases_sha256": "of corrected cases"})
