"""A run belongs to its plan: it resumes, is finished once, and no other run takes its place."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mednext.errors import Cancelled, CheckpointError, InputError, NumericalError, OptionError
from mednext.network.mednext import MedNeXt
from mednext.system.locks import locked
from mednext.system.running_processes import is_running
from mednext_training import cli
from mednext_training.conversion.challenges import challenge
from mednext_training.dataset_use import in_use
from mednext_training.planning.plans import read_plans
from mednext_training.training.schedule import Schedule
from mednext_training.training.torchrun import device_of_process, together
from mednext_training.training.trainer import nnUNetTrainerMedNeXt
from mednext_training.training.training_run import Run, train_run
from mednext_training.workspace import Workspace

HIPPOCAMPUS = challenge("hippocampus").dataset

pytestmark = pytest.mark.timeout(600)


class nnUNetTrainerMedNeXt_tiny(nnUNetTrainerMedNeXt):  # noqa: N801
    """The recipe on a network of 4 channels."""

    title = "tiny MedNeXt"

    @classmethod
    def build_network_architecture(
        cls, plans: Any, configuration: Any, inputs: int, outputs: int, supervision: bool = True
    ) -> MedNeXt:
        return MedNeXt(inputs, outputs, (1,) * 9, (1,) * 9, deep_supervision=supervision, channels=4)


@pytest.fixture
def run(training_workspace: Workspace, request: pytest.FixtureRequest) -> Run:
    """Two epochs of two steps, of a trainer whose name is the test's."""
    name = f"nnUNetTrainerMedNeXt_{request.node.name[:60]}"
    trainer = type(name, (nnUNetTrainerMedNeXt_tiny,), {})
    return Run(training_workspace, HIPPOCAMPUS, trainer, 0, Schedule(2, 2, 1))


def test_a_finished_run_is_finished_and_begins_anew_only_when_asked(run: Run) -> None:
    assert train_run(run) == "finished"
    before = (run.folder / "checkpoint_final.pth").stat().st_mtime_ns
    assert train_run(run) == "was finished"
    assert (run.folder / "checkpoint_final.pth").stat().st_mtime_ns == before
    assert train_run(run, again=True) == "finished"
    assert (run.folder / "checkpoint_final.pth").stat().st_mtime_ns != before


def test_a_run_resumes_and_refuses_another_schedule_seed_and_split(run: Run) -> None:
    assert train_run(run, stop_after_s=0.0) == "stopped"
    with pytest.raises(OptionError, match=r"another number of epochs \(2, now 3\).*--again"):
        train_run(replace(run, schedule=Schedule(3, 2, 1)))
    with pytest.raises(OptionError, match="another seed"):
        train_run(replace(run, seed=1))
    splits = run.workspace.preprocessed / HIPPOCAMPUS.folder_name / "splits_final.json"
    text = splits.read_text()
    folds = json.loads(text)
    splits.write_text(json.dumps([folds[1], folds[0], *folds[2:]]))
    try:
        with pytest.raises(OptionError, match="another split"):
            train_run(run)
    finally:
        splits.write_text(text)
    assert train_run(run) == "finished"


def test_a_former_training_of_which_nothing_is_recorded_is_not_taken_for_this_one(run: Run) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "checkpoint_latest.pth").write_bytes(b"")
    with pytest.raises(OptionError, match="nothing is recorded"):
        train_run(run)


def test_a_damaged_checkpoint_is_passed_over_for_the_last_whole_one(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    assert train_run(run, stop_after_s=0.0) == "stopped"
    shutil.copy(run.folder / "checkpoint_latest.pth", run.folder / "checkpoint_best.pth")
    cut(run.folder / "checkpoint_latest.pth")
    caplog.set_level(logging.INFO)
    assert train_run(run) == "finished"
    assert "checkpoint_latest.pth is passed over" in caplog.text
    assert "Resuming from epoch 1, by checkpoint_best.pth" in caplog.text
    cut(run.folder / "checkpoint_final.pth")
    assert train_run(run) == "finished"  # again, and not "was finished"
    assert train_run(run) == "was finished"
    cut(run.folder / "checkpoint_final.pth")
    state = torch.load(run.folder / "checkpoint_best.pth", weights_only=False)
    torch.save(state | {"network_weights": {}}, run.folder / "checkpoint_best.pth")
    with pytest.raises(CheckpointError, match=r"None of the checkpoints.*--again"):
        train_run(run)


def cut(file: Path) -> None:
    """Let a file end in its middle, as an interrupted copy does."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_preprocessed_data_that_are_damaged_end_the_run_with_a_sentence(run: Run) -> None:
    folder = run.workspace.preprocessed / HIPPOCAMPUS.folder_name / "MedNeXtPlans_3d_1mm"
    whole = {file: file.read_bytes() for file in folder.glob("*.b2nd")}
    for file in whole:
        cut(file)
    try:
        with pytest.raises(InputError, match=r"stopped in epoch 0.*training_log_.*Plan again"):
            train_run(run)
    finally:
        for file, content in whole.items():
            file.write_bytes(content)
    assert "Traceback" in next(run.folder.glob("training_log_*.txt")).read_text()


TORCHRUN = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"WORLD_SIZE": "many"}, "$WORLD_SIZE is 'many'"),
        ({"WORLD_SIZE": "0"}, "$WORLD_SIZE is 0, but $RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "$LOCAL_RANK is not set, $MASTER_ADDR is not set"),
        (TORCHRUN | {"RANK": "2"}, "$WORLD_SIZE is 2, but $RANK is 2"),
        ({"LOCAL_RANK": "-1"}, "$LOCAL_RANK is '-1'"),
        ({"nnUNet_n_proc_DA": "abc"}, "$nnUNet_n_proc_DA is 'abc', no whole number from 0 on"),
        ({"nnUNet_def_n_proc": "0"}, "$nnUNet_def_n_proc is '0', no whole number from 1 on"),
    ],
)
def test_a_variable_that_is_no_number_of_processes_is_named(
    training_workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    variables: dict[str, str],
    told: str,
) -> None:
    for name, value in ({"GLIBC_TUNABLES": ""} | variables).items():
        monkeypatch.setenv(name, value)
    words = ["train", "--variant", "tiny", "--name", "unstarted"]
    assert cli.main(["--workspace", str(training_workspace.root), *words]) == 2
    assert told in capsys.readouterr().err
    assert not list(training_workspace.results.rglob("*unstarted*/fold_0"))


def test_folders_of_nnunet_in_the_environment_are_not_used_and_it_is_told(
    training_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("nnUNet_results", "/data/results")
    training_workspace.activate()
    assert dict(os.environ)["nnUNet_results"] == str(training_workspace.results)
    assert "$nnUNet_results is not used: --workspace chooses" in caplog.text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--learning-rate", "nan"], "between 0 and 1, not be nan"),
        (["--learning-rate", "0"], "between 0 and 1, not be 0.0"),
        (["--warm-up", "-1"], "A warm-up of -1 epochs"),
        (["--precision", "bf16"], "needs a CUDA card"),
        (["--compile"], "needs a CUDA card"),
        (["--checkpointing-stages", "99"], "0 to 8, not [99]"),
        (["--epochs", "0"], "a whole number from 1 on"),
        (["--epochs", "1.5"], "a whole number from 1 on"),
        (["--seed", "-1"], "a whole number from 0"),
        (["--stop-after", "nan"], "a number of seconds"),
    ],
)
def test_an_impossible_value_begins_no_training(
    training_workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    words: list[str],
    told: str,
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    command = ["--workspace", str(training_workspace.root), "train", "--variant", "tiny"]
    command += ["--name", "unstarted"]
    with pytest.raises(SystemExit, match="2"):
        raise SystemExit(cli.main([*command, *words]))
    assert told in capsys.readouterr().err
    assert not list(training_workspace.results.rglob("*unstarted*/*/*.pth"))


def test_curves_are_a_table_with_a_line_per_epoch_and_a_picture(run: Run) -> None:
    train_run(run)
    with (run.folder / "curves.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["0", "1"]
    assert float(lines[0]["learning rate"]) == pytest.approx(1e-3)
    assert "pseudo Dice anterior hippocampus" in lines[0]
    assert (run.folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    log = next(run.folder.glob("training_log_*.txt")).read_text()
    assert "Network: tiny MedNeXt" in log
    assert "PlainConvUNet" not in log
    assert "Time to go: 0:00:00" in log


def test_numbers_that_are_not_finite_end_the_run_and_leave_the_last_good_epoch(run: Run) -> None:
    assert train_run(run, stop_after_s=0.0) == "stopped"
    good = (run.folder / "checkpoint_latest.pth").read_bytes()

    class Broken(run.trainer):  # type: ignore[misc, name-defined]
        def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
            with torch.no_grad():
                self.network.stem.bias.fill_(torch.nan)
            return super().train_step(batch)

    Broken.__name__ = run.trainer.__name__
    with pytest.raises(NumericalError, match=r"epoch 1.*checkpoint_latest\.pth holds the last good one"):
        train_run(replace(run, trainer=Broken))
    assert (run.folder / "checkpoint_latest.pth").read_bytes() == good


def test_a_step_without_a_finite_gradient_is_left_out(run: Run) -> None:
    class OnceBroken(run.trainer):  # type: ignore[misc, name-defined]
        broken = True

        def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
            factor, self.broken = torch.nan if self.broken else 1.0, False
            return super().train_step(batch | {"data": batch["data"] * factor})

    OnceBroken.__name__ = run.trainer.__name__
    assert train_run(replace(run, trainer=OnceBroken)) == "finished"
    log = next(run.folder.glob("training_log_*.txt")).read_text()
    assert "1 of 2 steps had no finite gradient and were left out" in log


def test_a_fold_that_another_process_trains_is_refused(run: Run) -> None:

    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        locked(run.folder.parent / f".{run.folder.name}.lock"),
        pytest.raises(OptionError, match="trained by another process"),
    ):
        train_run(run)


def test_data_in_use_are_neither_planned_nor_converted_and_nothing_is_trained_meanwhile(
    run: Run, capsys: pytest.CaptureFixture
) -> None:
    root = ["--workspace", str(run.workspace.root)]
    plan = [*root, "plan", "--patch", "16", "32", "16"]
    convert = [*root, "convert", "hippocampus", str(run.workspace.root.parent / "source")]
    for command in ("train", "experiment", "baseline"):
        with in_use(run.workspace, HIPPOCAMPUS, command), in_use(run.workspace, HIPPOCAMPUS, "train"):
            assert cli.main(plan) == cli.main(convert) == 2
        told = f"(process {os.getpid()}) is working on Dataset004_Hippocampus: wait until it has ended"
        assert capsys.readouterr().err.count(told) == 2
    for command in ("plan", "convert"):
        with (
            in_use(run.workspace, HIPPOCAMPUS, command),
            pytest.raises(OptionError, match=f"'mednext-train {command}' .*is working on"),
        ):
            train_run(run)
    assert not run.folder.exists()


def test_a_command_that_was_killed_holds_no_data(run: Run) -> None:
    left = run.workspace.root / f".{HIPPOCAMPUS.folder_name}.plan-01234567-1.lock"
    left.touch()
    with in_use(run.workspace, HIPPOCAMPUS, "train"):
        assert not left.exists()


def test_planning_that_was_interrupted_is_noticed(training_workspace: Workspace) -> None:
    file = training_workspace.preprocessed / HIPPOCAMPUS.folder_name / "MedNeXtPlans_planned.json"
    text = file.read_text()
    file.unlink()
    try:
        with pytest.raises(OptionError, match="not planned to the end"):
            read_plans(training_workspace, HIPPOCAMPUS)
    finally:
        file.write_text(text)


def test_data_that_were_converted_again_have_to_be_planned_again(training_workspace: Workspace) -> None:
    file = training_workspace.raw / HIPPOCAMPUS.folder_name / "dataset.json"
    text = file.read_text()
    file.write_text(json.dumps(json.loads(text) | {"numTraining": 7}))
    try:
        with pytest.raises(OptionError, match="changed since it was planned"):
            read_plans(training_workspace, HIPPOCAMPUS)
    finally:
        file.write_text(text)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_loader_outlives_a_training_that_is_stopped_and_the_same_command_goes_on(
    training_workspace: Workspace,
    number: signal.Signals,
    children_hear_ctrl_c: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ["--workspace", str(training_workspace.root), "train", "--variant", "tiny", "--fold", "1"]
    words += ["--name", number.name, "--epochs", "2", "--iterations", "25", "--validation-iterations", "1"]
    environment = os.environ | {"nnUNet_n_proc_DA": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mednext_training.cli", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith("Current learning rate") and (number == signal.SIGINT or seen.count("Epoch 1\n")):
            break
    children = _children(process.pid)
    assert children, "".join(seen)
    process.send_signal(number)
    rest = process.communicate(timeout=200)[0]
    end = time.monotonic() + 100
    while any(map(is_running, children)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not [child for child in children if is_running(child)]
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "The same command goes on from its beginning" in rest
        assert "Traceback" not in rest
    else:
        monkeypatch.setenv("GLIBC_TUNABLES", "")
        caplog.set_level(logging.INFO)
        assert cli.main(words) == 0
        assert "Resuming from epoch 1" in caplog.text
        curves = next(training_workspace.results.glob(f"*/*{number.name}*/fold_1/curves.csv"))
        assert len(curves.read_text().splitlines()) == 3


def _children(pid: int) -> list[int]:
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        parents[int(file.parent.name)] = int(fields[1])
    return [child for child, parent in parents.items() if parent == pid]


def test_a_polite_kill_ends_a_training_like_ctrl_c(run: Run) -> None:
    class Killed(run.trainer):  # type: ignore[misc, name-defined]
        def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().train_step(batch)

    with pytest.raises(Cancelled, match="Stopped in epoch 0 of 2"):
        train_run(replace(run, trainer=Killed))


@contextmanager
def beside(monkeypatch: pytest.MonkeyPatch, *words: str) -> Iterator[subprocess.Popen]:
    """With the variables of torchrun; this process is the first, Python with these words the other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLIBC_TUNABLES": ""}
    for name, value in (shared | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    environment = os.environ | {"RANK": "1", "LOCAL_RANK": "1", "nnUNet_n_proc_DA": "1"}
    other = subprocess.Popen([sys.executable, *words], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield other
    finally:
        other.kill()
        other.communicate()


def test_two_processes_train_one_network_and_share_the_batch(
    training_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--workspace", str(training_workspace.root), "train", "--variant", "tiny", "--fold", "2"]
    words += ["--name", "both", "--epochs", "1", "--iterations", "2", "--validation-iterations", "1"]
    with beside(monkeypatch, "-m", "mednext_training.cli", *words) as other:
        assert cli.main(words) == 0
        other.communicate(timeout=300)
    assert other.returncode == 0
    base = training_workspace.results / HIPPOCAMPUS.folder_name
    folder = next(base.glob("nnUNetTrainerMedNeXt_tiny_k3_both__*")) / "fold_2"
    assert (folder / "checkpoint_final.pth").is_file()
    assert json.loads((folder / "run.json").read_text())["how"]["processes"] == 2


SECOND_PROCESS = """
from mednext.errors import OptionError
from mednext_training.training.torchrun import device_of_process, together
with device_of_process():
    try:
        with together():
            pass
    except OptionError as error:
        print(error)
"""


def test_where_the_first_process_refuses_the_others_end_with_its_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with beside(monkeypatch, "-c", SECOND_PROCESS) as other, device_of_process():
        with pytest.raises(OptionError, match="The fold is busy"), together():
            raise OptionError("The fold is busy: wait for it.")
        assert other.communicate(timeout=300)[0] == "The fold is busy: wait for it.\n"
        with pytest.raises(OptionError, match="Another process of this training has ended"), together():
            pass
