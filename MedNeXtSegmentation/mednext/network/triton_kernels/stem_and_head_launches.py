"""The first and the last layer with their weights in the kernels' form, and their launches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from triton import cdiv, next_power_of_2

from .stem_and_head import head, stem

FEWEST = 16  # channels for the tensor cores
_MOST_COLUMNS = 64  # classes of a program
_VOXELS = 128  # of a program


class Stem:
    """The network's first layer.

    Args:
        weights: `(channels, in_channels)`.
        bias: `(channels,)`.
        device: where it will run.
    """

    def __init__(self, weights: Tensor, bias: Tensor, device: torch.device) -> None:
        self.in_channels, self.channels = weights.shape[1], wide(len(weights))
        self._weights = padded(weights.T, (self.in_channels, self.channels)).to(device)
        self._bias = padded(bias, (self.channels,)).to(device)

    def run(self, image: Tensor, out: Tensor) -> None:
        """From `image`, `(N, in_channels, Z, Y, X)`, to `out`, `(N, Z, Y, X, channels)`."""
        voxels = out[0, ..., 0].numel()
        stem[(cdiv(voxels, _VOXELS), len(image))](
            image, self._weights, self._bias, out, voxels, self.in_channels, C=self.channels, BLOCK_V=_VOXELS
        )


class Head:
    """The network's last layer.

    Args:
        weights: `(channels, classes)`.
        bias: `(classes,)`.
        channels: of the last block, padded.
        dtype: of the activations.
        device: where it will run.
    """

    def __init__(
        self, weights: Tensor, bias: Tensor, channels: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.classes = len(bias)
        self.block = min(_MOST_COLUMNS, max(FEWEST, next_power_of_2(self.classes)))
        self.columns = cdiv(self.classes, self.block) * self.block
        self.weights = padded(weights, (channels, self.columns)).to(device, dtype)
        self.bias = padded(bias, (self.columns,)).to(device)

    @property
    def one_program(self) -> bool:
        """Whether one program computes all classes."""
        return self.columns == self.block

    def run(self, x: Tensor, logits: Tensor) -> None:
        """From `x`, `(N, Z, Y, X, channels)`, to `logits`, `(N, classes, Z, Y, X)` float32."""
        voxels = x[0, ..., 0].numel()
        head[(cdiv(voxels, _VOXELS), self.columns // self.block, len(x))](
            x, self.weights, self.bias, logits, voxels, self.classes,
            C=x.shape[-1], BLOCK_K=self.block, BLOCK_V=_VOXELS,
        )  # fmt: skip


def wide(channels: int) -> int:
    """The number of channels, padded for the kernels to a power of two."""
    return max(FEWEST, next_power_of_2(channels))


def padded(values: Tensor, shape: Sequence[int]) -> Tensor:
    """A float32 copy on the CPU, zero beyond the values."""
    larger = torch.zeros(*shape)
    larger[tuple(slice(side) for side in values.shape)] = values.detach().float().cpu()
    return larger
