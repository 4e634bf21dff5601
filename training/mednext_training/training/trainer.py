"""MedNeXt's training recipe as trainers of nnU-Net v2.

Differences from nnU-Net's own trainer, after the reference's `nnUNetTrainerV2_MedNeXt`: the network, AdamW
with learning rate 1e-3 and epsilon 1e-4, deep supervision on all five heads. Data loading, augmentation,
loss, schedule and gradient clipping are nnU-Net's; `trainer_frame.py` lists the changes.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from mednext.network.mednext import VARIANTS, Checkpointing, MedNeXt, Resampling
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

from ..network.channels_last import use_native_kernels
from ..network.network_names import TINY
from ..network.triton_blocks import use_triton_kernels
from .learning_rate import WarmUpAndDecay
from .result_folders import trainer_name
from .trainer_frame import FramedTrainer

HEADS = 5


class nnUNetTrainerMedNeXt(FramedTrainer):  # noqa: N801 - nnU-Net's naming, recorded in checkpoints
    """MedNeXt-S with kernel 3; `mednext_trainer` makes the others."""

    title = "MedNeXt-S, kernel 3"
    variant: ClassVar[str] = "S"
    kernel_size: ClassVar[int] = 3
    resampling: ClassVar[Resampling] = "residual"
    default_learning_rate = 1e-3
    checkpointing: Checkpointing = "none"
    recomputed_stages: Collection[int] = range(9)
    triton_kernels: bool = True  # on CUDA, see triton_blocks.py

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
            resampling=cls.resampling,
        )

    def prepare_network(self) -> None:
        """Set checkpointing, and take the fastest kernels that work on this device."""
        network: MedNeXt = self.network
        network.checkpoint(self.checkpointing, self.recomputed_stages)
        if self._do_i_compile():
            return
        if self.device.type == "cpu" and use_native_kernels(network):
            self.print_to_log_file("Training on native channels-last kernels")
        elif self.device.type == "cuda":
            if not self.is_ddp and network.dimensions == 3:  # buckets have their layout already
                network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
            if self.triton_kernels and use_triton_kernels(network, self.device):
                self.print_to_log_file("Training on Triton kernels")

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, WarmUpAndDecay]:
        """AdamW (epsilon 1e-4 guards against NaN in half precision)."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay, eps=1e-4
        )
        return optimizer, self.decay(optimizer)

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
        network: Any = self.plain_network
        network.deep_supervision = enabled


class TinyTrainer(nnUNetTrainerMedNeXt):
    """A network of 8 channels and one block a stage, without augmentation: it learns phantoms in minutes."""

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
        return MedNeXt(
            in_channels=num_input_channels,
            num_classes=num_output_channels,
            channels=8,
            expansion=(2,) * 9,
            blocks=(1,) * 9,
            kernel_size=cls.kernel_size,
            deep_supervision=enable_deep_supervision,
            dimensions=len(configuration_manager.patch_size),
        )

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(  # noqa: N802 - nnU-Net's name
        self,
    ) -> tuple[Any, bool, Any, None]:
        """Patches as they are: neither turned nor mirrored, here and in inference."""
        rotation, dummy_2d, _, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = None
        return rotation, dummy_2d, self.configuration_manager.patch_size, None

    def get_training_transforms(self, *arguments: Any, **options: Any) -> Any:
        """Those of the validation."""
        options.pop("use_mask_for_norm", None)
        return self.get_validation_transforms(self._get_deep_supervision_scales(), **options)


@cache
def mednext_trainer(
    variant: str = "S", kernel: int = 3, resampling: Resampling = "residual", suffix: str = ""
) -> type[nnUNetTrainerMedNeXt]:
    """The trainer of a MedNeXt.

    Args:
        variant: a name of `mednext.network.VARIANTS`, or `TINY`.
        kernel: 3, 5 or 7.
        resampling: as `MedNeXt` has it.
        suffix: of the trainer's name, which keeps runs of one network apart, such as "upkern".
    """
    is_large = variant != TINY and sum(VARIANTS[variant].blocks) > 18
    base = TinyTrainer if variant == TINY else nnUNetTrainerMedNeXt
    attributes = {
        "title": f"MedNeXt-{variant}, kernel {kernel}" + (f", {suffix}" if suffix else ""),
        "variant": variant,
        "kernel_size": kernel,
        "resampling": resampling,
        "checkpointing": "blocks" if is_large else "none",
        "__module__": __name__,
        "__doc__": f"MedNeXt-{variant} with kernel {kernel}.",
    }
    return type(trainer_name(variant, kernel, resampling, suffix), (base,), attributes)
