"""MedNeXt in pure torch, fast and with little memory: the sums of `network.py` in another order.

Activations are `(Z, Y, X, C)`, so that pointwise convolutions are matrix products over voxels. They run over
slices of voxels, and the expanded tensor never exists; residuals and skips are added in place. The norm is an
affine map per channel once mean and variance are known: it is folded into the expansion.

A depthwise convolution is the sum of two-dimensional ones, one for each tap along z, over a few planes at a
time: torch has fast kernels for those with the channels last, and none for three dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import DownBlock, MedNeXt, MedNeXtBlock, UpBlock

_SLAB = 2**19  # numbers in the planes that are convolved together: they stay in the caches from tap to tap
_HIDDEN = 2**20  # numbers in the hidden activations of a slice of voxels, likewise


def is_supported(network: MedNeXt) -> bool:
    """Whether this formulation fits: three dimensions, one head, resampling by blocks, no response norm."""
    blocks = [part for part in network.modules() if isinstance(part, MedNeXtBlock)]
    resampling = [block for block in blocks if block.stride > 1]
    plain = not network.deep_supervision and not any(block.grn for block in blocks)
    return network.dimensions == 3 and plain and len(resampling) == 8


class LeanMedNeXt(nn.Module):
    """A trained network in this formulation, for inference; it shares the weights of `network`."""

    def __init__(self, network: MedNeXt) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`; sides divisible by 16."""
        logits = x.new_empty(len(x), self.network.num_classes, *x.shape[2:])
        for image, target in zip(x, logits, strict=True):
            self._one(image, target)
        return logits

    def _one(self, image: Tensor, logits: Tensor) -> None:
        state = self.network.state_dict()
        x = image.flatten(1).T @ state["stem.weight"].flatten(1).T
        x = x.add_(state["stem.bias"]).view(*image.shape[1:], -1)
        skips = []
        for level in range(4):
            x = self._stage(f"enc_block_{level}", x)
            skips.append(x)
            x = _down(self._block(f"down_{level}"), x)
        x = self._stage("bottleneck", x)
        for level in (3, 2, 1, 0):
            x = _added_up(self._block(f"up_{level}"), x, skips.pop())
            x = self._stage(f"dec_block_{level}", x)
        weight, bias = state["out_0.conv_out.weight"].flatten(1), state["out_0.conv_out.bias"][:, None]
        columns = logits.flatten(1).split(_SLAB // x.shape[-1], dim=1)
        for voxels, target in zip(_voxels(x).split(_SLAB // x.shape[-1]), columns, strict=True):
            torch.addmm(bias, weight.T, voxels.T, out=target)

    def _block(self, name: str) -> MedNeXtBlock:
        block = self.network.get_submodule(name)
        assert isinstance(block, MedNeXtBlock)
        return block

    def _stage(self, name: str, x: Tensor) -> Tensor:
        stage = self.network.get_submodule(name)
        assert isinstance(stage, nn.Sequential)
        for block in stage:
            assert isinstance(block, MedNeXtBlock)
            x = _same(block, x)
        return x


def _same(block: MedNeXtBlock, x: Tensor) -> Tensor:
    """An ordinary block; a residual one works in place."""
    transform, normed = _Transform(block), torch.empty_like(x)
    for planes, convolved in _convolved(block, x, range(len(x))):
        transform.see(convolved)
        normed[planes.start : planes.stop] = convolved
    out = x if block.residual else torch.zeros_like(x)
    transform.add(normed, out)
    return out


def _down(block: MedNeXtBlock, x: Tensor) -> Tensor:
    assert isinstance(block, DownBlock)
    transform = _Transform(block)
    halves = [y for _, y in _convolved(block, x, range(len(x) // 2))]
    for part in halves:
        transform.see(part)
    state = block.state_dict()
    out = x.new_zeros(*(side // 2 for side in x.shape[:3]), len(state["conv3.bias"]))
    if block.residual:
        weight = state["res_conv.weight"].flatten(1).T
        torch.addmm(state["res_conv.bias"], _voxels(x[::2, ::2, ::2]), weight, out=_voxels(out))
    for part, target in zip(halves, out.split([len(part) for part in halves]), strict=True):
        transform.add(part, target)
    return out


def _added_up(block: MedNeXtBlock, x: Tensor, skip: Tensor) -> Tensor:
    """An up block's output added to the skip connection: it begins one voxel from the left of each axis.

    It is convolved twice, first for the norm: what comes out would be the largest activation of the network.
    """
    assert isinstance(block, UpBlock)
    transform, count = _Transform(block), 2 * len(x) - 1
    parities = [range(parity, count, 2) for parity in (0, 1)]  # planes that the same taps reach
    for parity in parities:
        for _, convolved in _convolved(block, x, parity):
            transform.see(convolved)
    target = skip[1:, 1:, 1:]
    if block.residual:
        state = block.state_dict()
        target[::2, ::2, ::2] += x @ state["res_conv.weight"].flatten(1)
        target += state["res_conv.bias"]
    for parity in parities:
        for planes, convolved in _convolved(block, x, parity):
            target[planes.start : planes.stop : 2] += transform(convolved)
    return skip


def _convolved(block: MedNeXtBlock, x: Tensor, planes: range) -> Iterator[tuple[range, Tensor]]:
    """The depthwise convolution of `x`, some planes `(z, Y, X, C)` of the output at a time.

    The norm cancels a bias: instead of its own, each channel gets the one that brings its mean near zero, so
    that the sums for the variance cost no digits.

    Args:
        block: whose convolution.
        x: `(Z, Y, X, C)`.
        planes: of the output that are wanted; every other one where the convolution is transposed.
    """
    kernel = block.get_parameter("conv1.weight")
    bias = -x[len(x) // 2].mean(dim=(0, 1)) * kernel.sum(dim=(1, 2, 3, 4))
    together = max(1, _SLAB // (x[0].numel() * (4 if isinstance(block, UpBlock) else 1)))
    for start in range(0, len(planes), together):
        chosen = planes[start : start + together]
        yield chosen, _convolved_planes(block, x, kernel, bias, chosen)


def _convolved_planes(block: MedNeXtBlock, x: Tensor, kernel: Tensor, bias: Tensor, planes: range) -> Tensor:
    up, pad = isinstance(block, UpBlock), kernel.shape[-1] // 2
    convolve = F.conv_transpose2d if up else F.conv2d
    result = None
    for tap in sorted(
        range(kernel.shape[-1]), key=lambda tap: abs(tap - pad)
    ):  # the first reaches all planes
        first = planes[0] + pad - tap if up else block.stride * planes[0] - pad + tap
        if up and first % 2:
            continue
        first, step = (first // 2, 1) if up else (first, block.stride)
        inside = [index for index in range(len(planes)) if 0 <= first + step * index < len(x)]
        if not inside:
            continue
        rows = slice(first + step * inside[0], first + step * inside[-1] + 1, step)
        part = convolve(
            x[rows].movedim(-1, 1),
            kernel[:, :, tap],
            bias if result is None and not up else None,  # transposed, torch would add it slowly
            stride=block.stride,
            padding=pad,
            groups=len(kernel),
        )
        if result is None:
            result = part.add_(bias[:, None, None]) if up else part
        else:
            result[inside[0] : inside[-1] + 1] += part
    assert result is not None
    return result.movedim(1, -1).contiguous()


class _Transform:
    """What follows the depthwise convolution of a block: norm, expansion, GELU and compression.

    All of the convolution's output must have been shown to `see` before anything is transformed.
    """

    def __init__(self, block: MedNeXtBlock) -> None:
        self._block = block
        self._count = 0
        self._sum = self._squares = torch.zeros((), dtype=torch.float64)
        self._folded: tuple[Tensor, Tensor] | None = None

    def see(self, convolved: Tensor) -> None:
        """Take these voxels `(..., C)` into the norm's statistics, in float64 from one call to the next."""
        voxels = _voxels(convolved)
        self._count += len(voxels)
        self._sum = self._sum + voxels.sum(dim=0).double()
        self._squares = self._squares + voxels.square().sum(dim=0).double()

    def __call__(self, convolved: Tensor) -> Tensor:
        """Map `(..., C)` to `(..., out_channels)`."""
        out = convolved.new_zeros(*convolved.shape[:-1], len(self._block.get_parameter("conv3.bias")))
        self.add(convolved, out)
        return out

    def add(self, convolved: Tensor, target: Tensor) -> None:
        """Add what becomes of `(..., C)` to `(..., out_channels)`, both contiguous."""
        bias, expansion = self._expansion()
        compression = self._block.get_parameter("conv3.weight").flatten(1).T
        offset = self._block.get_parameter("conv3.bias")
        count = max(1, _HIDDEN // expansion.shape[1])
        hidden = convolved.new_empty(count, expansion.shape[1])
        for voxels, out in zip(_voxels(convolved).split(count), _voxels(target).split(count), strict=True):
            expanded = torch.addmm(bias, voxels, expansion, out=hidden[: len(voxels)])
            out.add_(offset).addmm_(torch.ops.aten.gelu_(expanded), compression)

    def _expansion(self) -> tuple[Tensor, Tensor]:
        """Bias `(hidden,)` and weight `(C, hidden)` of the expansion with the norm in them."""
        if self._folded is None:
            state = self._block.state_dict()
            mean = self._sum / self._count
            variance = self._squares / self._count - mean**2
            scale = state["norm.weight"] / torch.sqrt(variance + self._block.norm.eps)
            shift = state["norm.bias"] - mean * scale
            weight = state["conv2.weight"].flatten(1)
            bias = torch.addmv(state["conv2.bias"], weight, shift.to(weight.dtype))
            self._folded = bias, (weight * scale.to(weight.dtype)).T
        return self._folded


def _voxels(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])
