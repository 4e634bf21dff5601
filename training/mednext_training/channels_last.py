"""The blocks of MedNeXt in channels-last memory on native kernels: the same numbers, a faster step on a CPU.

torch's backward of a depthwise 3D convolution takes most of a training step on a CPU. Here activations lie as
`(N, Z, Y, X, C)`, depthwise convolution and norm run in `native/channels_last.cpp`, and the 1x1x1
convolutions are matrix products over voxels. Parameters stay where they are: checkpoints know nothing of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mednext.network.blocks import DownBlock, MedNeXtBlock, OutBlock, UpBlock
from mednext.network.mednext import MedNeXt
from torch import Tensor, nn

from .native_build import native_library


class _Shape(ctypes.Structure):
    _fields_ = (("z", ctypes.c_int64), ("y", ctypes.c_int64), ("x", ctypes.c_int64))


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _call(name: str, *arguments: Tensor | _Shape | float | None) -> None:
    """Call a kernel: tensors go as pointers, integers as int64, floats as float; threads are appended."""
    converted: list[Any] = []
    for argument in arguments:
        if argument is None or isinstance(argument, Tensor):
            converted.append(_pointer(argument))
        elif isinstance(argument, _Shape):
            converted.append(argument)
        elif isinstance(argument, int):
            converted.append(ctypes.c_int64(argument))
        else:
            converted.append(ctypes.c_float(argument))
    getattr(native_library(), name)(*converted, ctypes.c_int(torch.get_num_threads()))


def _small_size(large: tuple[int, ...], kernel: int, stride: int) -> tuple[int, ...]:
    return tuple((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in large)


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution `(N, Z, Y, X, C)`, or its transpose, with weights `(C, 1, k, k, k)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, transposed: bool) -> Tensor:
        kernel = weight.squeeze(1).permute(1, 2, 3, 0).contiguous()
        x = x.contiguous()
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.transposed = stride, transposed
        k, channels, size = kernel.shape[0], x.shape[-1], tuple(x.shape[1:4])
        if transposed:
            large = tuple(stride * (side - 1) + 1 + (k - 1) - 2 * (k // 2) for side in size)
            out = x.new_empty(x.shape[0], *large, channels)
            name, sizes = "depthwise_scatter", (_Shape(*large), _Shape(*size))
        else:
            small = _small_size(size, k, stride)
            out = x.new_empty(x.shape[0], *small, channels)
            name, sizes = "depthwise_gather", (_Shape(*size), _Shape(*small))
        _call(name, x, kernel, bias.contiguous(), out, x.shape[0], *sizes, channels, k, stride)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0].contiguous()
        x, kernel = ctx.saved_tensors
        n, k, channels = x.shape[0], kernel.shape[0], x.shape[-1]
        large, small = (gradient, x) if ctx.transposed else (x, gradient)
        sizes = (_Shape(*large.shape[1:4]), _Shape(*small.shape[1:4]))
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            name = "depthwise_gather" if ctx.transposed else "depthwise_scatter"
            _call(name, gradient, kernel, None, dx, n, *sizes, channels, k, ctx.stride)
        dkernel = torch.empty_like(kernel)
        _call("depthwise_kernel_gradient", large, small, dkernel, n, *sizes, channels, k, ctx.stride)
        return dx, dkernel.permute(3, 0, 1, 2).unsqueeze(1), gradient.sum((0, 1, 2, 3)), None, None


class _ChannelNorm(torch.autograd.Function):
    """Group norm with one group per channel on `(N, Z, Y, X, C)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        n, channels = x.shape[0], x.shape[-1]
        voxels = x[0].numel() // channels
        mean, scale, y = x.new_empty(n, channels), x.new_empty(n, channels), torch.empty_like(x)
        _call("channel_statistics", x, mean, scale, n, voxels, channels, eps)
        _call("normalise", x, mean, scale, weight, bias, y, n, voxels, channels)
        ctx.save_for_backward(x, mean, scale, weight)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, weight = ctx.saved_tensors
        dy = gradients[0].contiguous()
        n, channels = x.shape[0], x.shape[-1]
        dx, dweight, dbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        voxels = x[0].numel() // channels
        _call("normalise_backward", x, mean, scale, weight, dy, dx, dweight, dbias, n, voxels, channels)
        return dx, dweight, dbias, None


Kinds = Mapping[type[nn.Module], type[nn.Module]]

_Layer = nn.Conv3d | nn.ConvTranspose3d


def _pointwise(x: Tensor, layer: nn.Module) -> Tensor:
    """A 1x1x1 convolution of stride 1 on `(N, Z, Y, X, C)`."""
    assert isinstance(layer, _Layer)
    weight = layer.weight.flatten(1)
    return F.linear(x, weight.t() if isinstance(layer, nn.ConvTranspose3d) else weight, layer.bias)


def _to_channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 4, 1)


def _to_channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 4, 1, 2, 3)


class ChannelsLastBlock(MedNeXtBlock):
    """`MedNeXtBlock` on `(N, C, Z, Y, X)` whose memory is channels-last, with a norm of its own."""

    def expand_and_compress(self, x: Tensor) -> Tensor:
        y = F.gelu(_pointwise(_to_channels_last(self.normalise(x)), self.conv2))
        if self.grn:
            normalised = self.response_norm(_to_channels_first(y))
            y = _to_channels_last(normalised)
        return _to_channels_first(_pointwise(y, self.conv3))

    def normalise(self, x: Tensor) -> Tensor:
        """The norm of the block."""
        return self.norm(x)


class ChannelsLastUpBlock(ChannelsLastBlock, UpBlock):
    """`UpBlock`, likewise; its strided residual touches every second voxel only."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.pad(_to_channels_last(self.transform(x)), (0, 0, 1, 0, 1, 0, 1, 0))
        if self.residual:
            layer = self.res_conv
            assert isinstance(layer, nn.ConvTranspose3d)
            assert layer.bias is not None
            y[:, 1:, 1:, 1:] += layer.bias
            y[:, 1::2, 1::2, 1::2] += F.linear(_to_channels_last(x), layer.weight.flatten(1).t())
        return _to_channels_first(y)


class _NativeBlock(ChannelsLastBlock):
    """`MedNeXtBlock` on the native kernels."""

    def convolve(self, x: Tensor) -> Tensor:
        layer = self.conv1
        assert isinstance(layer, _Layer)
        transposed = isinstance(layer, nn.ConvTranspose3d)
        y = _Depthwise.apply(_to_channels_last(x), layer.weight, layer.bias, layer.stride[0], transposed)
        return _to_channels_first(y)

    def normalise(self, x: Tensor) -> Tensor:
        norm = self.norm
        return _to_channels_first(_ChannelNorm.apply(_to_channels_last(x), norm.weight, norm.bias, norm.eps))


class _NativeDownBlock(_NativeBlock, DownBlock):
    """`DownBlock` on the native kernels."""


class _NativeUpBlock(_NativeBlock, ChannelsLastUpBlock):
    """`UpBlock` on the native kernels."""


class _ChannelsLastPointwise(nn.Conv3d):
    """A 1x1x1 convolution, strided or not, as a matrix product over voxels."""

    def forward(self, x: Tensor) -> Tensor:
        step = self.stride[0]
        return _to_channels_first(_pointwise(_to_channels_last(x)[:, ::step, ::step, ::step], self))


class _ChannelsLastHead(nn.ConvTranspose3d):
    """The 1x1x1 transposed convolution of a head as a matrix product over voxels."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return _to_channels_first(_pointwise(_to_channels_last(x), self))


_NATIVE: Kinds = {
    MedNeXtBlock: _NativeBlock,
    DownBlock: _NativeDownBlock,
    UpBlock: _NativeUpBlock,
}


def switch(network: MedNeXt, kinds: Kinds) -> None:
    """Give the blocks of a 3D network these other classes, in place, and all matrix products over voxels."""
    network.stem.__class__ = _ChannelsLastPointwise
    for module in list(network.modules()):
        if isinstance(module, DownBlock) and module.residual:
            module.res_conv.__class__ = _ChannelsLastPointwise
        elif isinstance(module, OutBlock):
            module.conv_out.__class__ = _ChannelsLastHead
        module.__class__ = kinds.get(type(module), type(module))


def use_native_kernels(network: MedNeXt) -> bool:
    """Switch the blocks of a 3D network to the native kernels, in place.

    The network then takes and gives float32 tensors `(N, C, Z, Y, X)` on the CPU as before.

    Returns:
        False, leaving the network as it was, where the kernels cannot be built or do not apply.
    """
    if network.dimensions != 3 or native_library() is None:
        return False
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    switch(network, _NATIVE)
    return True
