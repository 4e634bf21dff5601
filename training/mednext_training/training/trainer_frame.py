"""The frame in which every network is trained: nnU-Net v2's, with additions for long runs.

These are loaders that end with the training, half precision as the card has it, steps without finite
gradients left out and counted, checkpoints that replace the former one only when they are whole and finite,
resuming without unpickling, several processes on cards or on the CPU, curves as a table and a picture.
"""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.distributed as dist
from mednext.checkpoints.pickles.reading import load_torch
from mednext.errors import CheckpointError, NumericalError, OptionError, OutputError
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from .curves import write_curves
from .learning_rate import WarmUpAndDecay
from .loaders import TiedLoader, loader_processes, start_loader, stop_loader
from .mirroring import mirrored_axes
from .schedule import Schedule

logger = logging.getLogger(__name__)

Precision = Literal["auto", "bf16", "fp16", "fp32"]

LATEST = "checkpoint_latest.pth"
FINAL = "checkpoint_final.pth"
BEST = "checkpoint_best.pth"

_SAVED = {
    "network_weights",
    "optimizer_state",
    "grad_scaler_state",
    "current_epoch",
    "logging",
    "_best_ema",
    "inference_allowed_mirroring_axes",
}
_MOST_BAD_STEPS = 20  # in a row; a gradient scaler needs up to 16 to find its factor
_LARGEST_GRADIENT = 12.0


class FramedTrainer(nnUNetTrainer):
    """The common part of all trainers; a subclass gives the network, its optimiser and its heads.

    Attributes:
        title: of the network, in words.
        default_learning_rate: where the schedule has none.
    """

    title: ClassVar[str] = ""
    default_learning_rate: ClassVar[float] = 1e-2
    precision: Precision = "auto"
    use_compile: bool = False
    seed: int = 12345

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__({"continue_training": True} | plans, configuration, fold, dataset_json, device)
        if self.is_ddp:
            self.device = device  # nnU-Net takes the card of the process's number, also where there is none
        self.grad_scaler: torch.GradScaler | None = None
        self.save_every = 1  # a run on borrowed time resumes from its last epoch
        self.logger.plot_progress_png = self._write_curves
        self.warm_up_epochs = 0
        self.initial_lr = self.default_learning_rate
        self._bad_steps = 0

    def follow(self, schedule: Schedule) -> None:
        """Take over the numbers of a schedule."""
        self.num_epochs = schedule.epochs
        self.num_iterations_per_epoch = schedule.iterations
        self.num_val_iterations_per_epoch = schedule.validation_iterations
        self.warm_up_epochs = schedule.warm_up_epochs
        self.initial_lr = schedule.learning_rate or self.default_learning_rate

    def initialize(self) -> None:
        """Build network, optimiser and loss; several processes share the plan's batch.

        Raises:
            OptionError: there are more processes than patches in a batch.
        """
        if self.is_ddp and self.configuration_manager.batch_size < dist.get_world_size():
            raise OptionError(
                f"{dist.get_world_size()} processes cannot share a batch of "
                f"{self.configuration_manager.batch_size} patches: plan a larger --batch-size or start fewer."
            )
        self._set_batch_size_and_oversample()
        torch.manual_seed(self.seed)
        self.num_input_channels = determine_num_input_channels(
            self.plans_manager, self.configuration_manager, self.dataset_json
        )
        self.network = self.build_network_architecture(
            self.plans_manager,
            self.configuration_manager,
            self.num_input_channels,
            self.label_manager.num_segmentation_heads,
            self.enable_deep_supervision,
        ).to(self.device)
        self._set_precision()
        self.prepare_network()
        self.optimizer, self.lr_scheduler = self.configure_optimizers()
        if self._do_i_compile():
            self.print_to_log_file("Compiling the network with torch.compile")
            self.network = torch.compile(self.network)
        if self.is_ddp:
            cards = [self.device.index] if self.device.type == "cuda" else None
            self.network = DistributedDataParallel(self.network, device_ids=cards)
        self.loss = self._build_loss()
        self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        self.was_initialized = True

    def prepare_network(self) -> None:
        """Prepare the network on its device, before it is compiled or distributed."""

    def _set_precision(self) -> None:
        self._dtype = torch.float32
        if self.device.type == "cuda" and self.precision != "fp32":
            has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            bf16 = self.precision == "bf16" or (self.precision == "auto" and has_bf16)
            self._dtype = torch.bfloat16 if bf16 else torch.float16
        if self._dtype == torch.float16:
            self.grad_scaler = torch.GradScaler("cuda")
        if self.device.type == "cuda":
            torch.set_autocast_dtype("cuda", self._dtype)  # nnU-Net validates with the default
        self.print_to_log_file(f"Precision: {str(self._dtype).removeprefix('torch.')}")

    def _do_i_compile(self) -> bool:
        return self.use_compile and self.device.type == "cuda"

    @property
    def plain_network(self) -> nn.Module:
        """The network without its wrappers for distribution and compilation."""
        network = self.network.module if self.is_ddp else self.network
        return getattr(network, "_orig_mod", network)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, WarmUpAndDecay]:
        """nnU-Net's SGD; a polynomial schedule per epoch, after a linear warm-up where there is one."""
        optimizer = torch.optim.SGD(
            self.network.parameters(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            momentum=0.99,
            nesterov=True,
        )
        return optimizer, self.decay(optimizer)

    def decay(self, optimizer: torch.optim.Optimizer) -> WarmUpAndDecay:
        return WarmUpAndDecay(optimizer, self.initial_lr, self.num_epochs, self.warm_up_epochs)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(  # noqa: N802 - nnU-Net's name
        self,
    ) -> tuple[Any, bool, Any, tuple[int, ...] | None]:
        """As nnU-Net has it, but for `mirrored_axes`."""
        rotation, dummy_2d, patch, usual = (
            super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        axes = mirrored_axes(self.dataset_json, self.plans_manager.plans, usual)
        self.inference_allowed_mirroring_axes: tuple[int, ...] | None = axes
        return rotation, dummy_2d, patch, axes

    def get_dataloaders(self) -> tuple[Any, Any]:
        """nnU-Net's loaders, tied to this process."""
        scales = self._get_deep_supervision_scales()
        rotation, dummy_2d, initial_patch, mirror_axes = (
            self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        labels = self.label_manager
        shared = {
            "is_cascaded": self.is_cascaded,
            "foreground_labels": labels.foreground_labels,
            "regions": labels.foreground_regions if labels.has_regions else None,
            "ignore_label": labels.ignore_label,
        }
        patch = self.configuration_manager.patch_size
        masks = self.configuration_manager.use_mask_for_norm
        training_transforms = self.get_training_transforms(
            patch, rotation, scales, mirror_axes, dummy_2d, use_mask_for_norm=masks, **shared
        )
        validation_transforms = self.get_validation_transforms(scales, **shared)
        loaders = [
            TiedLoader(
                dataset,
                self.batch_size,
                first_patch,
                patch,
                labels,
                oversample_foreground_percent=self.oversample_foreground_percent,
                sampling_probabilities=None,
                pad_sides=None,
                transforms=transforms,
                probabilistic_oversampling=self.probabilistic_oversampling,
            )
            for dataset, first_patch, transforms in zip(
                self.get_tr_and_val_datasets(),
                (initial_patch, patch),
                (training_transforms, validation_transforms),
                strict=True,
            )
        ]
        count, pin = loader_processes(), self.device.type == "cuda"
        few = min(count, max(1, count // 2))
        return (
            start_loader(loaders[0], count, max(6, count // 2), pin),
            start_loader(loaders[1], few, max(3, count // 4), pin),
        )

    def stop_loaders(self) -> None:
        """End the processes that make batches."""
        for batches in (self.dataloader_train, self.dataloader_val):
            stop_loader(batches)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step; left out where a gradient is not finite.

        Raises:
            NumericalError: this is the twentieth such step in a row.
        """
        data = batch["data"].to(self.device, non_blocking=True)
        targets = batch["target"]
        many = isinstance(targets, list)
        target = [each.to(self.device, non_blocking=True) for each in (targets if many else [targets])]
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
            loss = self.loss(self.network(data), target if many else target[0])
        scaler = self.grad_scaler
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        finite = math.isfinite(float(norm))  # the same in all processes
        if scaler is not None:
            scaler.step(self.optimizer)  # leaves such a step out by itself
            scaler.update()
        elif finite:
            self.optimizer.step()
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if self._bad_steps >= _MOST_BAD_STEPS:
            raise self._diverged(f"{self._bad_steps} steps in a row had no finite gradient")
        return {"loss": float(loss.detach()), "finite": finite}

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Log the mean loss of the steps that were made.

        Raises:
            NumericalError: there were none.
        """
        losses = [step["loss"] for step in train_outputs if math.isfinite(step["loss"])]
        left_out = sum(not step["finite"] for step in train_outputs)
        if left_out:
            self.print_to_log_file(
                f"{left_out} of {len(train_outputs)} steps had no finite gradient and were left out"
            )
        mean = _gathered_mean(float(np.mean(losses)) if losses else math.nan, self.is_ddp)
        if not math.isfinite(mean):
            raise self._diverged("no step of this epoch had a finite loss")
        self.logger.log("train_losses", mean, self.current_epoch)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """As nnU-Net logs it; patches without any foreground have a Dice of 0 and not of NaN."""
        with np.errstate(invalid="ignore", divide="ignore"):
            super().on_validation_epoch_end(val_outputs)
        for key in ("mean_fg_dice", "ema_fg_dice"):
            values = self.logger.local_logger.my_fantastic_logging[key]
            if math.isnan(values[-1]):
                values[-1] = values[-2] if len(values) > 1 else 0.0

    def _diverged(self, reason: str) -> NumericalError:
        latest = Path(self.output_folder) / LATEST
        kept = f"{latest} holds the last good one" if latest.exists() else "No epoch was finished"
        return NumericalError(
            f"The network's numbers are not finite in epoch {self.current_epoch}: {reason}. {kept}. Give the "
            "same command to go on, with --precision fp32 if it happens again; or begin --again with a lower "
            "--learning-rate."
        )

    def print_to_log_file(
        self, *args: Any, also_print_to_console: bool = True, add_timestamp: bool = True
    ) -> None:
        """Into the log, and beside the progress bar instead of into it; by the first process only."""
        if self.local_rank != 0:
            return
        super().print_to_log_file(*args, also_print_to_console=False, add_timestamp=add_timestamp)
        if also_print_to_console:
            tqdm.write(" ".join(str(each) for each in args))

    def print_plans(self) -> None:
        """The network's own name and size, and the plan without nnU-Net's network, which is not trained."""
        count = sum(parameter.numel() for parameter in self.network.parameters())
        plan = {
            key: value
            for key, value in self.configuration_manager.configuration.items()
            if key != "architecture"
        }
        self.print_to_log_file(f"Network: {self.title}, {count:,} parameters", add_timestamp=False)
        self.print_to_log_file(f"Configuration {self.configuration_name}: {plan}", add_timestamp=False)

    def plot_network_architecture(self) -> None:
        """Nothing: nnU-Net would trace the network for a drawing."""

    def _save_debug_information(self) -> None:
        """Nothing: `run.json` says it in order."""

    def _write_curves(self, folder: str) -> None:
        manager = self.label_manager
        labels = manager.foreground_regions if manager.has_regions else manager.foreground_labels
        names = {_key(value): name for name, value in self.dataset_json["labels"].items()}
        write_curves(
            Path(folder),
            self.logger.get_checkpoint(),
            [names.get(_key(label), str(label)) for label in labels],
            f"{self.title}, fold {self.fold}",
        )

    def save_checkpoint(self, filename: str) -> None:
        """Write beside and rename, so that a killed run leaves the previous checkpoint whole.

        Raises:
            NumericalError: a weight is not finite; the previous checkpoint stays.
            OutputError: it cannot be written, as on a full disk; the previous checkpoint stays.
        """
        if not all(bool(torch.isfinite(value).all()) for value in self.plain_network.state_dict().values()):
            raise self._diverged("a weight is not a finite number")
        target = Path(filename)
        temporary = target.with_suffix(".part")
        try:
            super().save_checkpoint(str(temporary))
            if temporary.exists():
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                temporary.replace(target)
        except (OSError, RuntimeError) as error:  # torch does not tell a full disk from other failures
            with suppress(OSError):  # a read-only disk
                temporary.unlink(missing_ok=True)
            raise OutputError(
                f"{target} was not written ({error}), and the former one stays: check the disk's free space, "
                "and give the same command again to go on."
            ) from error

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Resume from a checkpoint of this trainer, without unpickling anything but tensors and numbers.

        Raises:
            CheckpointError: it is damaged, or of another network.
        """
        if not self.was_initialized:
            self.initialize()
        state = filename_or_checkpoint
        if isinstance(state, str):
            state = read_checkpoint(Path(state))
        try:
            self.plain_network.load_state_dict(state["network_weights"])
            self.optimizer.load_state_dict(state["optimizer_state"])
            if self.grad_scaler is not None and state["grad_scaler_state"] is not None:
                self.grad_scaler.load_state_dict(state["grad_scaler_state"])
            self.logger.load_checkpoint(state["logging"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{filename_or_checkpoint} is of another network, or damaged ({str(error)[:200]})."
            ) from error
        self.current_epoch = state["current_epoch"]
        self._best_ema = state["_best_ema"]
        self.inference_allowed_mirroring_axes = state["inference_allowed_mirroring_axes"]


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The contents of a trainer's checkpoint. Raises `CheckpointError`."""
    state = load_torch(file)
    missing = sorted(_SAVED - set(state)) if isinstance(state, dict) else sorted(_SAVED)
    if missing:
        raise CheckpointError(f"{file} has no {missing[0]!r}, so it is no checkpoint to resume from.")
    return state


def is_whole(file: Path) -> bool:
    """Whether a checkpoint can be read to its end."""
    try:
        read_checkpoint(file)
    except CheckpointError:
        logger.warning("%s is damaged.", file, exc_info=True)
        return False
    return True


def _gathered_mean(value: float, is_ddp: bool) -> float:
    values: list[Any] = [value]
    if is_ddp:
        values = [None] * dist.get_world_size()
        dist.all_gather_object(values, value)
    known = [each for each in values if math.isfinite(each)]
    return float(np.mean(known)) if known else math.nan


def _key(label: Any) -> tuple[int, ...]:
    return tuple(label) if isinstance(label, (tuple, list)) else (label,)
