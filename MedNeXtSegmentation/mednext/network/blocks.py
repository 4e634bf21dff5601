"""The blocks of MedNeXt, in two or three dimensions: ordinary, down, up, and the segmentation head.

After Roy et al. (see `mednext.py`); names and shapes of parameters equal the reference implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

GrnDenominator = Literal["mean", "sum"]
RESPONSE_EPSILON = 1e-6  # of the global response norm

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


def global_response_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, denominator: GrnDenominator = "mean"
) -> Tensor:
    """Scale each channel of `x`, `(N, C, ...)`, by its L2 norm over space, relative to all channels.

    The norm is divided by their mean as in ConvNeXt V2 and the code of MedNeXt, or by their sum as in the
    formula of MedNeXt-v2. `gamma` and `beta` start at zero, so that an untrained norm is the identity.
    """
    norm = torch.linalg.vector_norm(x, dim=tuple(range(2, x.ndim)), keepdim=True)
    total = norm.sum(dim=1, keepdim=True) if denominator == "sum" else norm.mean(dim=1, keepdim=True)
    relative = norm / (total + RESPONSE_EPSILON)
    return gamma * (x * relative) + beta + x


class MedNeXtBlock(nn.Module):
    """Depthwise convolution, channelwise norm, expansion, GELU, compression, and the input added.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; must equal `in_channels` for a residual block.
        expansion: width of the hidden layer as a multiple of `in_channels`.
        kernel_size: side of the depthwise kernel.
        dimensions: 2 or 3.
        residual: add the input to the output, in resampling blocks through a strided 1x1x1 convolution.
        grn: global response normalisation after the GELU.
        grn_denominator: see `global_response_norm`.
    """

    depthwise: ClassVar[Mapping[int, type[nn.Module]]] = CONVOLUTION
    stride: ClassVar[int] = 1
    recompute_expansion = False  # in the backward pass, instead of storing it

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        kernel_size: int,
        dimensions: int = 3,
        residual: bool = True,
        grn: bool = False,
        grn_denominator: GrnDenominator = "mean",
    ) -> None:
        super().__init__()
        layer, pointwise = self.depthwise[dimensions], CONVOLUTION[dimensions]
        hidden = expansion * in_channels
        self.residual = residual
        self.conv1 = layer(
            in_channels,
            in_channels,
            kernel_size,
            stride=self.stride,
            padding=kernel_size // 2,
            groups=in_channels,
        )
        self.norm = nn.GroupNorm(in_channels, in_channels)
        self.conv2 = pointwise(in_channels, hidden, 1)
        self.act = nn.GELU()
        self.conv3 = pointwise(hidden, out_channels, 1)
        self.grn, self.grn_denominator = grn, grn_denominator
        if grn:
            shape = (1, hidden) + (1,) * dimensions
            self.grn_beta = nn.Parameter(torch.zeros(shape))
            self.grn_gamma = nn.Parameter(torch.zeros(shape))
        if residual and self.stride > 1:
            self.res_conv = layer(in_channels, out_channels, 1, stride=self.stride)

    def transform(self, x: Tensor) -> Tensor:
        """The block without its residual path."""
        x = self.convolve(x)
        if self.recompute_expansion and torch.is_grad_enabled():
            return checkpoint(self.expand_and_compress, x, use_reentrant=False, preserve_rng_state=False)
        return self.expand_and_compress(x)

    def convolve(self, x: Tensor) -> Tensor:
        """The depthwise convolution: slow to compute, small to store."""
        return self.conv1(x)

    def expand_and_compress(self, x: Tensor) -> Tensor:
        """All after the depthwise convolution: fast to compute, many times larger to store."""
        x = self.act(self.conv2(self.norm(x)))
        if self.grn:
            x = self.response_norm(x)
        return self.conv3(x)

    def response_norm(self, x: Tensor) -> Tensor:
        """Global response normalisation of `(N, hidden, Z, Y, X)`."""
        return global_response_norm(x, self.grn_gamma, self.grn_beta, self.grn_denominator)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to `(N, out_channels, Z, Y, X)`."""
        return x + self.transform(x) if self.residual else self.transform(x)


class DownBlock(MedNeXtBlock):
    """A block whose depthwise convolution has stride 2."""

    stride = 2

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to `(N, out_channels, Z/2, Y/2, X/2)`."""
        y = self.transform(x)
        return y + self.res_conv(x) if self.residual else y


class UpBlock(MedNeXtBlock):
    """A block whose depthwise convolution is transposed with stride 2.

    The block computes 2n-1 voxels per axis; a zero plane on the left of each axis completes 2n. With
    `output_padding` it computes the last one too, and there is no such plane.
    """

    depthwise = TRANSPOSED
    stride = 2
    output_padding = False

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to `(N, out_channels, 2Z, 2Y, 2X)`."""
        y = self.transform(x)
        if self.residual:
            y = y + self.res_conv(x)
        return y if self.output_padding else F.pad(y, (1, 0) * (x.ndim - 2))

    def compute_last_plane(self) -> None:
        """Switch `output_padding` on."""
        self.output_padding = True
        for layer in self.children():
            if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
                layer.output_padding = (1,) * len(layer.stride)


class OutBlock(nn.Module):
    """A segmentation head: a 1x1x1 transposed convolution, as in the reference."""

    def __init__(self, in_channels: int, num_classes: int, dimensions: int = 3) -> None:
        super().__init__()
        self.conv_out = TRANSPOSED[dimensions](in_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features `(N, C, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`."""
        return self.conv_out(x)
