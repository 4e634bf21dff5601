"""The plain network with the channels last, for CUDA devices without Triton."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from .candidate import HALF, Formulation
from .mednext import MedNeXt


def offer(network: MedNeXt, device: torch.device, _precision: str) -> list[Formulation]:
    """This formulation on CUDA devices."""
    if device.type != "cuda":
        return []
    return [Formulation("channels-last", partial(ChannelsLast, network), HALF)]


class ChannelsLast(nn.Module):
    """The plain network with the channels last, for which cuDNN may have faster kernels."""

    def __init__(self, network: MedNeXt) -> None:
        super().__init__()
        self._layout = torch.channels_last_3d if network.dimensions == 3 else torch.channels_last
        self.network = deepcopy(network).to(memory_format=self._layout)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`."""
        return self.network(x.contiguous(memory_format=self._layout))
