"""MedNeXt's training recipe as a trainer of nnU-Net v2.

Differences from nnU-Net's own trainer, after the reference's `nnUNetTrainerV2_MedNeXt`: the network, AdamW
with learning rate 1e-3 and epsilon 1e-4, deep supervision on all five heads. Data loading, augmentation,
loss, schedule and gradient clipping are nnU-Net's.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mednext.checkpoints.pickles.reading import load_torch
from mednext.errors import CheckpointError
from mednext.network.mednext import Checkpointing, MedNeXt
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from .channels_last import use_native_kernels
from .triton_blocks import use_triton_kernels

logger = logging.getLogger(__name__)

HEADS = 5
LATEST = "checkpoint_latest.pth"
BEST = "checkpoint_best.pth"
FINAL = "checkpoint_final.pth"

_SAVED = {
    "network_weights",
    "optimizer_state",
    "grad_scaler_state",
    "current_epoch",
    "logging",
    "_best_ema",
    "inference_allowed_mirroring_axes",
}


class nnUNetTrainerMedNeXt(nnUNetTrainer):  # noqa: N801 - nnU-Net's naming, recorded in checkpoints
    """MedNeXt-S with kernel 3; subclasses set another variant or kernel."""

    variant: ClassVar[str] = "S"
    kernel_size: ClassVar[int] = 3
    learning_rate: ClassVar[float] = 1e-3
    checkpointing: Checkpointing = "none"
    triton_kernels: bool = True  # on CUDA, see triton_blocks.py

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = self.learning_rate
        self.save_every = 1  # a run on borrowed time resumes from its last epoch

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> MedNeXt:
        """The network, 2D or 3D as the patch of the plan is."""
        return MedNeXt.variant(
            cls.variant,
            in_channels=num_input_channels,
            num_classes=num_output_channels,
            kernel_size=cls.kernel_size,
            deep_supervision=enable_deep_supervision,
            dimensions=len(configuration_manager.patch_size),
        )

    def initialize(self) -> None:
        """As nnU-Net does, then with checkpointing, on the fastest kernels that work on this device."""
        super().initialize()
        self._plain_network.checkpoint(self.checkpointing)
        if self.device.type == "cpu" and use_native_kernels(self.network):
            self.print_to_log_file("Training on native channels-last kernels")
        elif self.device.type == "cuda":
            if not self.is_ddp and self._plain_network.dimensions == 3:  # buckets have their layout already
                self.network.to(memory_format=torch.channels_last_3d)
            if self.triton_kernels and use_triton_kernels(self._plain_network, self.device):
                self.print_to_log_file("Training on Triton kernels")

    def _do_i_compile(self) -> bool:
        return self.device.type == "cuda" and super()._do_i_compile()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """AdamW and a polynomial schedule (epsilon 1e-4 guards against NaN in half precision)."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay, eps=1e-4
        )
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        if not self.enable_deep_supervision:
            return None
        return [[0.5**level] * len(self.configuration_manager.patch_size) for level in range(HEADS)]

    def _build_loss(self) -> torch.nn.Module:
        loss = super()._build_loss()
        if not self.enable_deep_supervision:
            return loss
        weights = 0.5 ** np.arange(HEADS)  # nnU-Net drops the coarsest head, the reference keeps all five
        return DeepSupervisionWrapper(loss.loss, weights / weights.sum())

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch the coarse heads on or off."""
        self._plain_network.deep_supervision = enabled

    @property
    def _plain_network(self) -> MedNeXt:
        """The network within what distributes and compiles it."""
        network = self.network.module if self.is_ddp else self.network
        return getattr(network, "_orig_mod", network)

    def plot_network_architecture(self) -> None:
        """Nothing: nnU-Net would trace the network for a drawing."""

    def save_checkpoint(self, filename: str) -> None:
        """Write beside and rename, so that a killed run leaves the previous checkpoint whole."""
        target = Path(filename)
        temporary = target.with_suffix(".part")
        super().save_checkpoint(str(temporary))
        if temporary.exists():
            temporary.replace(target)

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Resume from a checkpoint of this trainer, without unpickling anything but tensors and numbers."""
        if not self.was_initialized:
            self.initialize()
        state = filename_or_checkpoint
        if isinstance(state, str):
            state = load_torch(Path(state))
            missing = sorted(_SAVED - set(state)) if isinstance(state, dict) else sorted(_SAVED)
            if missing:
                raise CheckpointError(
                    f"{filename_or_checkpoint} has no {missing[0]!r}, so it is no checkpoint to resume from. "
                    "Remove it to train from the beginning."
                )
        self._plain_network.load_state_dict(state["network_weights"])
        self.optimizer.load_state_dict(state["optimizer_state"])
        if self.grad_scaler is not None and state["grad_scaler_state"] is not None:
            self.grad_scaler.load_state_dict(state["grad_scaler_state"])
        self.current_epoch = state["current_epoch"]
        self.logger.load_checkpoint(state["logging"])
        self._best_ema = state["_best_ema"]
        self.inference_allowed_mirroring_axes = state["inference_allowed_mirroring_axes"]


def _trainer(variant: str, kernel_size: int) -> type[nnUNetTrainerMedNeXt]:
    attributes = {
        "variant": variant,
        "kernel_size": kernel_size,
        "checkpointing": "blocks" if variant in ("M", "L") else "none",
        "__module__": __name__,
        "__doc__": f"MedNeXt-{variant} with kernel {kernel_size}.",
    }
    return type(f"nnUNetTrainerMedNeXt_{variant}_k{kernel_size}", (nnUNetTrainerMedNeXt,), attributes)


TRAINERS: dict[tuple[str, int], type[nnUNetTrainerMedNeXt]] = {
    (variant, kernel): _trainer(variant, kernel) for variant in "SBML" for kernel in (3, 5)
}


def train(trainer: nnUNetTrainerMedNeXt, stop_after_s: float | None = None) -> bool:
    """Run, or resume, a training.

    Args:
        trainer: made for a fold, with its number of epochs set.
        stop_after_s: stop after the first epoch that ends later than this many seconds from now.

    Returns:
        True when all epochs are done, False when it stopped early (a later call resumes).
    """
    deadline = None if stop_after_s is None else time.monotonic() + stop_after_s
    latest = Path(trainer.output_folder) / LATEST
    if latest.exists():
        trainer.load_checkpoint(str(latest))
        logger.info("Resuming from epoch %d", trainer.current_epoch)
    trainer.on_train_start()
    for _ in range(trainer.current_epoch, trainer.num_epochs):
        _train_epoch(trainer)
        if (
            deadline is not None
            and time.monotonic() > deadline
            and trainer.current_epoch < trainer.num_epochs
        ):
            return False
    trainer.on_train_end()
    return True


def _train_epoch(trainer: nnUNetTrainerMedNeXt) -> None:
    """One epoch as nnU-Net's `run_training` has it."""
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    steps = range(trainer.num_iterations_per_epoch)
    trainer.on_train_epoch_end([trainer.train_step(next(trainer.dataloader_train)) for _ in steps])
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        steps = range(trainer.num_val_iterations_per_epoch)
        trainer.on_validation_epoch_end(
            [trainer.validation_step(next(trainer.dataloader_val)) for _ in steps]
        )
    trainer.on_epoch_end()
