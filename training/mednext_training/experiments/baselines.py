"""Networks of others in the frame of this package, to compare MedNeXt with.

nnFormer, TransBTS, TransUNet and 3D UX-Net have no maintained package, and are not written anew here.
"""

from __future__ import annotations

from typing import Any

import torch
from mednext.errors import OptionError
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from ..training.learning_rate import WarmUpAndDecay
from ..training.trainer_frame import FramedTrainer


class nnUNetTrainerPlain(FramedTrainer):  # noqa: N801 - nnU-Net's naming
    """nnU-Net's own network, as its planner sizes it, with its own optimiser, heads and loss."""

    title = "nnU-Net's own network"

    build_network_architecture = staticmethod(nnUNetTrainer.build_network_architecture)

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch the coarse heads on or off."""
        network: Any = self.plain_network
        network.decoder.deep_supervision = enabled


class _Transformer(FramedTrainer):
    """A transformer: one head, AdamW with the rate of its authors."""

    default_learning_rate = 1e-4

    def __init__(  # nnU-Net looks for arguments of these names in its own constructor
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.enable_deep_supervision = False

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, WarmUpAndDecay]:
        """AdamW, as both papers have it."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay
        )
        return optimizer, self.decay(optimizer)

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Nothing: there is one head."""


class nnUNetTrainerUNETR(_Transformer):  # noqa: N801 - nnU-Net's naming
    """MONAI's UNETR in its published size."""

    title = "UNETR"

    @staticmethod
    def build_network_architecture(
        plans_manager: Any, configuration_manager: Any, inputs: int, outputs: int, supervision: bool = False
    ) -> nn.Module:
        """For patches of the plan's size only."""
        from monai.networks.nets.unetr import UNETR

        return UNETR(inputs, outputs, img_size=_divisible(configuration_manager.patch_size, 16))


class nnUNetTrainerSwinUNETR(_Transformer):  # noqa: N801 - nnU-Net's naming
    """MONAI's SwinUNETR in its published size."""

    title = "SwinUNETR"

    @staticmethod
    def build_network_architecture(
        plans_manager: Any, configuration_manager: Any, inputs: int, outputs: int, supervision: bool = False
    ) -> nn.Module:
        """For patches with sides divisible by 32."""
        from monai.networks.nets.swin_unetr import SwinUNETR

        if max(_divisible(configuration_manager.patch_size, 32)) == 32:
            raise OptionError("SwinUNETR needs patches with a side above 32 voxels: plan such a --patch.")
        return SwinUNETR(in_channels=inputs, out_channels=outputs, feature_size=48)


def _divisible(patch: Any, divisor: int) -> tuple[int, ...]:
    sides = tuple(int(side) for side in patch)
    if any(side % divisor for side in sides):
        raise OptionError(
            f"This network needs patches with sides divisible by {divisor}, not {sides}: plan such a --patch."
        )
    return sides
