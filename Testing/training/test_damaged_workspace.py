"""A damaged file of a workspace, or one of another data set, is named with its remedy, never a traceback."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mednext.errors import CheckpointError, InputError, OptionError
from mednext_training import cli
from mednext_training.conversion.challenges import challenge
from mednext_training.evaluation.metrics import Score
from mednext_training.experiments.experiment import _as_scores, _kept_scores
from mednext_training.experiments.nnunet_baseline import run_baseline
from mednext_training.network.start_weights import weights_of_small_kernel
from mednext_training.planning.plans import median_shape, read_plans
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


RECORD = {"epochs": 5, "iterations": 9, "seed": 1, "start": "random weights", "patch": [16, 32, 16]}
SCORES = {"liver": {"state": "found", "dice": 0.9, "surface_dice": 0.8, "hd95_mm": 2.5}}
NUMBER = re.compile(r"(?<![\w.\"])\d+(\.\d+)?")


def _each_value(said: object, change: Callable[[object], object]) -> object:
    """The same objects with other values in them."""
    if isinstance(said, dict):
        return {key: _each_value(value, change) for key, value in said.items()}
    return change(said)


KINDS: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "another type": lambda text: json.dumps(_each_value(json.loads(text), lambda value: {"a": value})),
    "a huge number": lambda text: NUMBER.sub("1" + "0" * 400, text),
    "negative": lambda text: NUMBER.sub("-1e999", text),
    "NaN": lambda text: NUMBER.sub("NaN", text),
    "a missing key": lambda text: (
        text.replace('"dice"', '"mice"').replace('"how"', '"who"').replace("spacings", "places")
    ),
    "nested": lambda text: json.dumps(_each_value(json.loads(text), lambda value: [[value]])),
    "deep": lambda text: "[" * 10_000 + text + "]" * 10_000,
    "binary": lambda text: bytes(range(256)),
}


def damage(file: Path, kind: str) -> None:
    """Damage a file of JSON, or put a folder in its place, or forbid it."""
    if kind == "a folder":
        file.unlink()
        file.mkdir()
    elif kind == "forbidden":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        file.chmod(0)
    else:
        changed = KINDS[kind](file.read_text())
        file.write_bytes(changed if isinstance(changed, bytes) else changed.encode())


ALL_KINDS = pytest.mark.parametrize("kind", [*KINDS, "a folder", "forbidden"])


@ALL_KINDS
def test_each_kind_of_damage_to_the_record_of_a_run_ends_in_a_sentence(tmp_path: Path, kind: str) -> None:
    fold = tmp_path / "fold_0"
    fold.mkdir()
    write_record(fold, RECORD, {"device": "CPU"})
    damage(fold / "run.json", kind)
    with pytest.raises(OptionError, match="anew with --again"):
        check_same_run(fold, RECORD)
    if kind != "a huge number":  # which is as good as another one
        with pytest.raises(OptionError, match=r"run\.json .*or remove the file to export"):
            training_history(tmp_path, [0])


@ALL_KINDS
def test_each_kind_of_damage_to_nnunets_fingerprint_ends_in_a_sentence(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "dataset_fingerprint.json"
    file.write_text(json.dumps({"shapes_after_crop": [[10, 20, 30]], "spacings": [[2.0, 1.0, 1.0]]}))
    damage(file, kind)
    with pytest.raises(InputError, match=r"dataset_fingerprint\.json .* Plan again"):
        median_shape(file, (1.0, 1.0, 1.0))


def test_the_history_of_a_training_tells_what_its_record_lacks(tmp_path: Path) -> None:
    (tmp_path / "fold_0").mkdir()
    write_record(tmp_path / "fold_0", {"epochs": 5}, {})
    assert "5 epochs of unknown steps, patch unknown, unknown, seed unknown" in training_history(
        tmp_path, [0]
    )


@ALL_KINDS
def test_scores_with_each_kind_of_damage_are_computed_again(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "scores.json"
    file.write_text(json.dumps({"case_0": {"stamp": "now", "scores": SCORES}}))
    assert _as_scores(_kept_scores(file)["case_0"], "now", ["liver"]) == {"liver": Score(**SCORES["liver"])}
    damage(file, kind)
    assert _as_scores(_kept_scores(file).get("case_0"), "now", ["liver"]) is None


def test_scores_of_another_time_or_of_fewer_structures_are_computed_again() -> None:
    said = {"stamp": "now", "scores": SCORES}
    assert _as_scores(said, "later", ["liver"]) is None
    assert _as_scores(said, "now", ["liver", "spleen"]) is None


@pytest.mark.parametrize("said", [{}, {"inherits_from": "nothing"}, {"data_identifier": [5]}])
def test_a_damaged_configuration_of_nnunets_own_plans_is_refused_before_hours_of_work(
    damaged: Callable[[str, str], Workspace], said: dict[str, object]
) -> None:
    workspace = damaged(
        "preprocessed/{}/nnUNetPlans.json", json.dumps({"configurations": {"3d_fullres": said}})
    )
    with pytest.raises(InputError, match=r"cannot preprocess for 3d_fullres .* Plan again"):
        run_baseline(workspace, DATASET, "3d_fullres", [0])


def test_labels_that_were_corrected_since_make_another_run(tmp_path: Path) -> None:
    write_record(tmp_path, {"epochs": 5}, {})  # as older versions did, without a digest of the cases
    check_same_run(tmp_path, {"epochs": 5, "cases_sha256": "of the cases"})
    write_record(tmp_path, {"epochs": 5, "cases_sha256": "of the cases"}, {})
    with pytest.raises(OptionError, match="another data"):
        check_same_run(tmp_path, {"epochs": 5, "cases_sha256": "of corrected cases"})
