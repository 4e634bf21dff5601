"""Train one fold: begin, resume, notice that it is done, stop without leaving processes behind."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from mednext.errors import (
    Cancelled,
    CheckpointError,
    InputError,
    MedNeXtError,
    OptionError,
    OutOfMemoryError,
    UnsafeCheckpointError,
)
from mednext.network.mednext import Checkpointing
from mednext.system.devices import is_out_of_memory
from mednext.system.locks import locked_if_free
from tqdm import tqdm

from ..dataset_use import in_use
from ..datasets import Dataset
from ..network.start_weights import StartWeights, begin_with
from ..planning.plans import CONFIGURATION, read_plans
from ..planning.splits import split_of
from ..run_record import check_same_run, digest, write_record
from ..workspace import Workspace
from .result_folders import fold_folder
from .schedule import Schedule
from .torchrun import device_of_process, is_first, is_over, processes, together
from .trainer import nnUNetTrainerMedNeXt
from .trainer_frame import BEST, FINAL, LATEST, FramedTrainer, Precision, is_whole

logger = logging.getLogger(__name__)

Outcome = Literal["finished", "stopped", "was finished"]


@dataclass(frozen=True)
class Execution:
    """How a run is computed; it may change when it resumes.

    Attributes:
        precision: "auto" takes bf16 where the card has it, else fp16; the CPU always computes in fp32.
        compile: run the network through torch.compile, on CUDA, instead of the kernels of this package.
        checkpointing: see `MedNeXt.checkpoint`; None takes the network's own.
        stages: in which of the nine stages it does so.
    """

    precision: Precision = "auto"
    compile: bool = False
    checkpointing: Checkpointing | None = None
    stages: Collection[int] = range(9)


@dataclass(frozen=True)
class Run:
    """A network, on a fold, with a schedule, from a beginning.

    Attributes:
        trainer: class of the network's trainer.
        fold: a number, or "all": trained on every case and validated on the same.
        start: None begins with random weights.
        seed: of the random weights; loaders draw at random in any case.
    """

    workspace: Workspace
    dataset: Dataset
    trainer: type[FramedTrainer]
    fold: int | str
    schedule: Schedule
    start: StartWeights | None = None
    seed: int = 12345

    @property
    def folder(self) -> Path:
        """Where its checkpoints lie."""
        return fold_folder(self.workspace, self.dataset, self.trainer.__name__, self.fold)


def train_run(
    run: Run, execution: Execution | None = None, again: bool = False, stop_after_s: float | None = None
) -> Outcome:
    """Begin a run, or go on with it; in every process where `torchrun` started several.

    Args:
        run: the training.
        execution: its way of computing.
        again: begin anew, also where a run is finished.
        stop_after_s: stop after the first epoch that ends later than this many seconds from now.

    Raises:
        OptionError: nothing is planned, there is no such fold, the folder holds another run, or the data set
            is being converted or planned.
        NumericalError: the numbers are not finite any more.
        Cancelled: by Ctrl+C or a signal; the last finished epoch is kept.
    """
    with ExitStack() as stack:
        device = stack.enter_context(device_of_process())
        with together():  # nobody plans from here on
            if is_first():
                stack.enter_context(in_use(run.workspace, run.dataset, "train"))
                stack.enter_context(_alone(run.folder))
        with together():
            plans, description = read_plans(run.workspace, run.dataset)
            identity = _identity(run, plans, description)
            if is_first() and again and run.folder.exists():
                shutil.rmtree(run.folder)
        with together():  # before anything is written
            done = _check_former(run, identity)
        if done:
            return "was finished"
        with together():
            trainer = _trainer(run, plans, description, device, execution or Execution())
            if is_first():
                how = {"device": _name(device), "precision": trainer.precision, "processes": processes()}
                write_record(run.folder, identity, how)
        with _explaining(trainer):
            if run.start and not _checkpoints(run.folder):
                trainer.initialize()
                kept_new = begin_with(trainer.plain_network, run.start.read())
                trainer.print_to_log_file(
                    f"Begun as: {run.start.source}; new heads: {', '.join(kept_new) or 'none'}"
                )
            return "finished" if train(trainer, stop_after_s) else "stopped"


def check_run(run: Run) -> None:
    """Refuse a run whose folder holds another one. Raises `OptionError`."""
    _check_former(run, _identity(run, *read_plans(run.workspace, run.dataset)))


def validate_run(run: Run) -> None:
    """Segment the validation cases of a finished run by nnU-Net's inference, unless that was done since.

    Raises:
        OptionError: the run is not finished.
    """
    final, summary = run.folder / FINAL, run.folder / "validation" / "summary.json"
    if not final.is_file():
        raise OptionError(f"{run.folder} is not finished: train it first.")
    if summary.is_file() and summary.stat().st_mtime_ns > final.stat().st_mtime_ns:
        return
    with device_of_process() as device, in_use(run.workspace, run.dataset, "train"):
        plans, description = read_plans(run.workspace, run.dataset)
        trainer = _trainer(run, plans, description, device, Execution())
        with _explaining(trainer):
            trainer.load_checkpoint(str(final))
            trainer.perform_actual_validation()


@contextmanager
def _explaining(trainer: FramedTrainer) -> Iterator[None]:
    """Explain a lack of memory and errors of nnU-Net, whose traceback goes into the log."""
    try:
        yield
    except (MedNeXtError, OSError):
        raise
    except Exception as error:  # boundary: nnU-Net's loaders raise anything for damaged preprocessed data
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"There is too little memory for {trainer.title}: give --checkpointing blocks, plan a "
                "smaller --patch, or on a CPU set $nnUNet_n_proc_DA to a smaller number of loaders."
            ) from error
        trainer.print_to_log_file(traceback.format_exc(), also_print_to_console=False)
        raise InputError(
            f"The training stopped in epoch {trainer.current_epoch} ({type(error).__name__}: "
            f"{str(error)[:300]}). {trainer.log_file} has the details. Plan again if preprocessed data may "
            "be damaged; if memory was short, set $nnUNet_n_proc_DA to a smaller number of loaders."
        ) from error


def train(trainer: FramedTrainer, stop_after_s: float | None = None) -> bool:
    """Run, or resume, a trainer.

    Args:
        trainer: made for a fold, with its number of epochs set.
        stop_after_s: stop after the first epoch that ends later than this many seconds from now.

    Returns:
        True when all epochs are done, False when it stopped early (a later call resumes).

    Raises:
        NumericalError: the numbers are not finite any more.
        Cancelled: by Ctrl+C or a signal; the last finished epoch is kept.
    """
    deadline = None if stop_after_s is None else time.monotonic() + stop_after_s
    _resume(trainer)
    try:
        with _terminated_like_interrupted():
            return _train_epochs(trainer, deadline)
    except KeyboardInterrupt:
        threading.excepthook = _log_failed_thread  # those of the loaders fail once their processes are gone
        raise Cancelled(
            f"Stopped in epoch {trainer.current_epoch} of {trainer.num_epochs}. The same command goes on "
            "from its beginning."
        ) from None
    finally:
        trainer.stop_loaders()


def _resume(trainer: FramedTrainer) -> None:
    """Load the latest checkpoint that is whole, if there are any.

    Raises:
        CheckpointError: none of them is whole, or one would run code.
    """
    files = _checkpoints(Path(trainer.output_folder))
    for file in files:
        try:
            trainer.load_checkpoint(str(file))
        except UnsafeCheckpointError:
            raise
        except CheckpointError as error:
            logger.warning("%s is passed over: %s", file.name, error)
            continue
        logger.info("Resuming from epoch %d, by %s", trainer.current_epoch, file.name)
        return
    if files:
        raise CheckpointError(
            f"None of the checkpoints in {files[0].parent} is whole: begin anew with --again."
        )


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a fold, the most advanced first."""
    return [folder / name for name in (FINAL, LATEST, BEST) if (folder / name).exists()]


def _train_epochs(trainer: FramedTrainer, deadline: float | None) -> bool:
    trainer.on_train_start()
    steps = trainer.num_iterations_per_epoch + trainer.num_val_iterations_per_epoch
    total, done = trainer.num_epochs * steps, trainer.current_epoch * steps
    quiet = None if trainer.local_rank == 0 else True  # None: quiet where nobody looks
    with tqdm(total=total, initial=done, unit="step", disable=quiet, mininterval=1.0) as bar:
        started = time.monotonic()
        for epoch in range(trainer.current_epoch, trainer.num_epochs):
            bar.set_description(f"epoch {epoch}")
            _train_epoch(trainer, bar)
            made = (trainer.current_epoch * steps) - done
            left = (time.monotonic() - started) / made * (total - done - made)
            trainer.print_to_log_file(f"Time to go: {timedelta(seconds=round(left))}")
            if trainer.current_epoch < trainer.num_epochs and is_over(deadline):
                return False
    trainer.on_train_end()
    return True


def _train_epoch(trainer: FramedTrainer, bar: Any) -> None:
    """One epoch as nnU-Net's `run_training` has it."""
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    outputs = []
    for _ in range(trainer.num_iterations_per_epoch):
        outputs.append(trainer.train_step(next(trainer.dataloader_train)))
        bar.update()
    trainer.on_train_epoch_end(outputs)
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        outputs = []
        for _ in range(trainer.num_val_iterations_per_epoch):
            outputs.append(trainer.validation_step(next(trainer.dataloader_val)))
            bar.update()
        trainer.on_validation_epoch_end(outputs)
    trainer.on_epoch_end()


def _identity(run: Run, plans: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, Any]:
    configuration = plans["configurations"][CONFIGURATION]
    intensities = plans.get("foreground_intensity_properties_per_channel")
    schedule = run.schedule
    return {
        "network": run.trainer.title,
        "plan_sha256": digest([configuration, plans.get("transpose_forward"), intensities]),
        "labels": digest(description.get("labels")),
        "regions_sha256": digest(order_of_regions(description)),
        "split_sha256": digest(split_of(run.workspace, run.dataset, run.fold)),
        "content_sha256": description.get("content_sha256", ""),
        "cases_sha256": description["cases_sha256"],
        "orientation": description["orientation"],
        "epochs": schedule.epochs,
        "iterations": schedule.iterations,
        "validation_iterations": schedule.validation_iterations,
        "learning_rate": schedule.learning_rate or run.trainer.default_learning_rate,
        "warm_up_epochs": schedule.warm_up_epochs,
        "start": run.start.source if run.start else "random weights",
        "start_sha256": run.start.digest if run.start else "",
        "seed": run.seed,
        "patch": configuration["patch_size"],
        "spacing_mm": configuration["spacing"],
    }


def order_of_regions(description: Mapping[str, Any]) -> list[Any]:
    """The meaning of each output of a network of regions; `digest` itself ignores the order of names."""
    order = description.get("regions_class_order")
    return [[*description["labels"]], order] if order else []


def _check_former(run: Run, identity: Mapping[str, Any]) -> bool:
    """Whether the run is finished, and its result whole; raises `OptionError` for another one."""
    files = _checkpoints(run.folder)
    if files:
        check_same_run(run.folder, identity)
    return FINAL in (file.name for file in files) and is_whole(run.folder / FINAL)


def _trainer(
    run: Run, plans: dict[str, Any], description: dict[str, Any], device: torch.device, execution: Execution
) -> FramedTrainer:
    if device.type != "cuda" and (execution.compile or execution.precision in ("bf16", "fp16")):
        option = "--compile" if execution.compile else f"--precision {execution.precision}"
        raise OptionError(f"{option} needs a CUDA card: the CPU computes in fp32, on kernels of its own.")
    trainer = run.trainer(plans, CONFIGURATION, run.fold, description, device)
    trainer.follow(run.schedule)
    trainer.precision, trainer.use_compile, trainer.seed = execution.precision, execution.compile, run.seed
    if isinstance(trainer, nnUNetTrainerMedNeXt):
        trainer.checkpointing = execution.checkpointing or trainer.checkpointing
        trainer.recomputed_stages = execution.stages
    return trainer


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse to train a fold that another process trains."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked_if_free(folder.parent / f".{folder.name}.lock") as free:
        if not free:
            raise OptionError(f"{folder} is being trained by another process: wait for it, or stop it.")
        yield


def _log_failed_thread(failure: threading.ExceptHookArgs) -> None:
    logger.debug("The thread %s failed after the training was stopped: %r", failure.thread, failure.exc_value)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """A polite kill ends the training as Ctrl+C does; its loaders would stay otherwise."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
