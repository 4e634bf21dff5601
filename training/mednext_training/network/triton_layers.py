"""Depthwise convolution and channelwise norm on Triton kernels, with their gradients, as operators of torch.

`(N, C, Z, Y, X)` in and out, in channels-last memory. Numbers are float32, float16 or bfloat16, weights and
all sums float32. As operators they are opaque to `torch.compile`: it fuses what lies between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mednext.network.triton_kernels.depthwise import depthwise_down, depthwise_same
from mednext.network.triton_kernels.norm import norm_affine
from mednext.network.triton_kernels.tile_sizes import INTERPRETED, column_tiles, piece_tiles
from torch import Tensor
from triton import cdiv, next_power_of_2

from .triton_kernels import (
    channel_moments,
    depthwise_kernel_gradient,
    depthwise_scatter,
    normalise,
    normalise_gradient,
    normalise_sums,
)

_FILLS_A_CARD = 1024  # programs
_PLANES = 32  # of a column of voxels, where there are enough columns
_ROUNDS = 16


@torch.library.custom_op("mednext::depthwise", mutates_args=())
def depthwise(x: Tensor, weight: Tensor, bias: Tensor, stride: int, transposed: bool) -> Tensor:
    """A depthwise convolution with padding `k // 2`, or its transpose, before a channelwise norm.

    Args:
        x: `(N, C, Z, Y, X)`.
        weight: `(C, 1, k, k, k)`.
        bias: `(C,)`; not added, since the norm takes it away: its gradient is zero.
        stride: 1 or 2; transposed 2.
        transposed: a side of n voxels becomes 2n-1.
    """
    return launch_depthwise(x, weight, stride, transposed)


@depthwise.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, stride: int, transposed: bool) -> Tensor:
    sides = [2 * side - 1 if transposed else (side + stride - 1) // stride for side in x.shape[2:]]
    return _channels_first(x.new_empty(len(x), *sides, x.shape[1]))


@torch.library.custom_op("mednext::depthwise_input_gradient", mutates_args=())
def depthwise_input_gradient(
    gradient: Tensor, weight: Tensor, sides: Sequence[int], stride: int, transposed: bool
) -> Tensor:
    """The gradient of the input, whose sides are `sides`, from that of the output."""
    source, taps = _channels_last(gradient), depthwise_taps(weight)
    with _on(gradient):
        if transposed:
            found = _gather(source, taps, stride)
        elif stride == 1:
            found = _gather(source, taps.flip(0, 1, 2), 1)
        else:
            found = _scatter(source, taps, sides)
    return _channels_first(found)


@depthwise_input_gradient.register_fake
def _(gradient: Tensor, weight: Tensor, sides: Sequence[int], stride: int, transposed: bool) -> Tensor:
    return _channels_first(gradient.new_empty(len(gradient), *sides, gradient.shape[1]))


@torch.library.custom_op("mednext::depthwise_kernel_gradient", mutates_args=())
def kernel_gradient(large: Tensor, small: Tensor, kernel: int, stride: int) -> Tensor:
    """Sums over all voxels `s` of `small[s] * large[stride * s + tap - kernel // 2]`, in float32.

    Args:
        large: `(N, C, Z, Y, X)`, which the taps move over: the input, or for a transposed convolution the
            gradient of its output.
        small: `(N, C, z, y, x)`, the other of the two.
        kernel: side of the kernel.
        stride: of the convolution.

    Returns:
        `(C, 1, kernel, kernel, kernel)`.
    """
    return launch_kernel_gradient(large, small, kernel, stride)


@kernel_gradient.register_fake
def _(large: Tensor, small: Tensor, kernel: int, stride: int) -> Tensor:
    return large.new_empty(large.shape[1], 1, kernel, kernel, kernel, dtype=torch.float32)


def _keep_for_depthwise(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.stride, ctx.transposed = inputs
    ctx.save_for_backward(x, weight, bias)


def _depthwise_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias = ctx.saved_tensors
    dx = dweight = None
    if ctx.needs_input_grad[0]:
        dx = depthwise_input_gradient(gradient, weight, x.shape[2:], ctx.stride, ctx.transposed)
    if ctx.needs_input_grad[1]:
        large, small = (gradient, x) if ctx.transposed else (x, gradient)
        dweight = kernel_gradient(large, small, weight.shape[-1], ctx.stride).to(weight.dtype)
    return dx, dweight, torch.zeros_like(bias), None, None


depthwise.register_autograd(_depthwise_backward, setup_context=_keep_for_depthwise)


@torch.library.custom_op("mednext::channel_norm", mutates_args=())
def channel_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Group norm with one group per channel of `(N, C, Z, Y, X)`, and the factors for mean 0 and variance 1.

    Returns:
        The normed tensor, and scale and shift, `(N, 2, C)`.
    """
    return launch_norm(x, weight, bias, epsilon)


@channel_norm.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    like = _channels_first(x.new_empty(len(x), *x.shape[2:], x.shape[1]))
    return like, x.new_empty(len(x), 2, x.shape[1], dtype=torch.float32)


@torch.library.custom_op("mednext::channel_norm_gradient", mutates_args=())
def channel_norm_gradient(
    gradient: Tensor, x: Tensor, affine: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of input, weight and bias of `channel_norm`."""
    return launch_norm_gradient(gradient, x, affine, weight)


@channel_norm_gradient.register_fake
def _(gradient: Tensor, x: Tensor, affine: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    like = _channels_first(x.new_empty(len(x), *x.shape[2:], x.shape[1]))
    return like, affine.new_empty(x.shape[1]), affine.new_empty(x.shape[1])


def _keep_for_norm(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, _ = inputs
    ctx.save_for_backward(x, output[1], weight)


def _norm_backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    dx, dweight, dbias = channel_norm_gradient(gradient, *ctx.saved_tensors)
    return dx, dweight, dbias, None


channel_norm.register_autograd(_norm_backward, setup_context=_keep_for_norm)


def launch_depthwise(x: Tensor, weight: Tensor, stride: int, transposed: bool) -> Tensor:
    """`depthwise`, not as an operator of torch."""
    source, taps = _channels_last(x), depthwise_taps(weight)
    with _on(x):
        if transposed:
            found = _scatter(source, taps, [2 * side - 1 for side in x.shape[2:]])
        else:
            found = _gather(source, taps, stride)
    return _channels_first(found)


def launch_kernel_gradient(large: Tensor, small: Tensor, kernel: int, stride: int) -> Tensor:
    """`kernel_gradient`, likewise."""
    far, near = _channels_last(large), _channels_last(small)
    images, z, y, x, channels = near.shape
    block = math.gcd(channels, 32)
    if INTERPRETED:
        high, wide, rows, planes = next_power_of_2(y), next_power_of_2(x), 1, z
    else:
        wide = min(16 if kernel <= 5 else 8, next_power_of_2(x))
        high, rows = (16 if kernel <= 5 else 8) // wide, 4 if kernel == 3 else 2
        columns = cdiv(y, high * rows) * cdiv(x, wide) * images * kernel * (channels // block)
        planes = max(1, min(_PLANES, z * columns // _FILLS_A_CARD))
    programs = cdiv(z, planes) * cdiv(y, high * rows) * cdiv(x, wide)
    partials = near.new_empty(images, programs, kernel**3, channels, dtype=torch.float32)
    with _on(small):
        depthwise_kernel_gradient[(kernel * programs, channels // block, images)](
            far, near, partials, programs, planes, *far.shape[1:4], z, y, x,
            C=channels, K=kernel, STRIDE=stride, BLOCK_C=block, BLOCK_Y=high, BLOCK_X=wide, ROWS=rows,
            num_warps=4,
        )  # fmt: skip
    return partials.sum((0, 1)).T.reshape(channels, 1, kernel, kernel, kernel).contiguous()


def launch_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """`channel_norm`, likewise."""
    source = _channels_last(x)
    images, channels = len(x), x.shape[1]
    voxels = source[0, ..., 0].numel()
    block, size, rounds = _pieces(voxels, channels, images)
    programs = cdiv(voxels, size * rounds)
    partials = source.new_empty(images, programs, 3, channels, dtype=torch.float32)
    affine = source.new_empty(images, 2, channels, dtype=torch.float32)
    result = torch.empty_like(source)
    few = math.gcd(channels, 16)
    ones, zeros = torch.ones_like(weight, dtype=torch.float32), torch.zeros_like(bias, dtype=torch.float32)
    with _on(x):
        channel_moments[(programs, channels // block, images)](
            source, partials, programs, rounds, voxels, C=channels, BLOCK_C=block, BLOCK_V=size
        )
        norm_affine[(channels // few, images)](
            partials,
            ones,
            zeros,
            affine,
            programs,
            epsilon,
            C=channels,
            BLOCK_C=few,
            BLOCK_P=256,
            num_warps=8,
        )
        normalise[(cdiv(voxels, size), channels // block, images)](
            source, affine, weight, bias, result, voxels, C=channels, BLOCK_C=block, BLOCK_V=size
        )
    return _channels_first(result), affine


def launch_norm_gradient(
    gradient: Tensor, x: Tensor, affine: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`channel_norm_gradient`, likewise."""
    slope, source = _channels_last(gradient), _channels_last(x)
    images, channels = len(x), x.shape[1]
    voxels = source[0, ..., 0].numel()
    block, size, rounds = _pieces(voxels, channels, images)
    programs = cdiv(voxels, size * rounds)
    partials = affine.new_empty(images, programs, 2, channels)
    result = torch.empty_like(source)
    with _on(x):
        normalise_sums[(programs, channels // block, images)](
            source, slope, affine, partials, programs, rounds, voxels, C=channels, BLOCK_C=block, BLOCK_V=size
        )
        sums = partials.sum(1)
        normalise_gradient[(cdiv(voxels, size), channels // block, images)](
            source, slope, affine, weight, sums, result, voxels, C=channels, BLOCK_C=block, BLOCK_V=size
        )
    dbias, dweight = sums.sum(0).clone()
    return _channels_first(result), dweight.clone(), dbias.clone()


def _gather(x: Tensor, taps: Tensor, stride: int) -> Tensor:
    """The convolution of `(N, Z, Y, X, C)` with stride 1 or 2. The kernels' statistics are not used."""
    images, z, y, width, channels = x.shape
    k, block = len(taps), math.gcd(channels, 32)
    blocks = channels // block
    out = x.new_empty(images, *((side + stride - 1) // stride for side in (z, y, width)), channels)
    if stride == 1:
        column = next(column_tiles((z, y, width), block, images * blocks, k))
        programs = column.programs((z, y, width))
        partials = x.new_empty(images, programs, 3, channels, dtype=torch.float32)
        depthwise_same[(programs, channels // column.channels, images)](
            x, taps, out, partials, programs, column.planes, z, y, width,
            C=channels, K=k, BLOCK_C=column.channels, BLOCK_Y=column.y, BLOCK_X=column.x, ROWS=column.rows,
            UNROLL=column.unroll, EVEN=column.is_even((z, y, width)), num_warps=column.warps,
        )  # fmt: skip
        return out
    voxels = out[0, ..., 0].numel()
    piece = next(piece_tiles(voxels, block, images * blocks))
    programs = piece.programs(voxels)
    partials = x.new_empty(images, programs, 3, channels, dtype=torch.float32)
    depthwise_down[(programs, channels // piece.channels, images)](
        x, taps, out, partials, programs, piece.rounds, z, y, width,
        C=channels, K=k, BLOCK_C=piece.channels, BLOCK_V=piece.voxels, num_warps=piece.warps,
    )  # fmt: skip
    return out


def _scatter(x: Tensor, taps: Tensor, sides: Sequence[int]) -> Tensor:
    """The transposed convolution with stride 2 to these sides."""
    images, *small, channels = x.shape
    block = math.gcd(channels, 64)
    out = x.new_empty(images, *sides, channels)
    most = math.prod((side + 1) // 2 for side in sides)  # voxels of a parity
    size = min(4096, next_power_of_2(most)) if INTERPRETED else 64
    depthwise_scatter[(8 * cdiv(most, size), channels // block, images)](
        x, taps, out, *small, *sides, C=channels, K=len(taps), BLOCK_C=block, BLOCK_V=size, num_warps=4
    )
    return out


def _pieces(voxels: int, channels: int, images: int) -> tuple[int, int, int]:
    """Channels and voxels of a piece, and how many of these a program sums up."""
    if INTERPRETED:
        return math.gcd(channels, 64), min(4096, next_power_of_2(voxels)), 1
    block = math.gcd(channels, 64)
    size = 2048 // block
    programs = cdiv(voxels, size) * images * (channels // block)
    return block, size, max(1, min(_ROUNDS, programs // _FILLS_A_CARD))


def depthwise_taps(weight: Tensor) -> Tensor:
    return weight.squeeze(1).permute(1, 2, 3, 0).float().contiguous()


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 4, 1).contiguous()


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 4, 1, 2, 3)


def _on(x: Tensor) -> AbstractContextManager[Any]:
    """Launch on the card that has this tensor."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()
