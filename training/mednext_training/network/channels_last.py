"""The blocks of MedNeXt in channels-last memory on native kernels: the same numbers, a faster step on a CPU.

torch's backward of a depthwise 3D convolution takes most of a training step on a CPU, and reading and
writing the expanded activations most of the rest. Here activations lie as `(N, Z, Y, X, C)`. The depthwise
convolution is one kernel of `native/`; norm, expansion, GELU and compression are another, which never
stores expanded activations. Blocks with GRN, or of widths that fill no vectors, take matrix products over
voxels instead. Parameters stay where they are: checkpoints know nothing of it.
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


_VECTOR = 16  # the kernels of depthwise convolutions take multiples of it as channels


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    assert tensor is None or tensor.is_contiguous()
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _call(name: str, *arguments: Tensor | _Shape | float | None) -> None:
    """Call a kernel: tensors go as pointers, integers as int64, floats as float; threads are appended.

    Raises `MemoryError`.
    """
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
    if getattr(native_library(), name)(*converted, ctypes.c_int(torch.get_num_threads())):
        raise MemoryError(f"{name} got no memory")


def _small_size(large: tuple[int, ...], kernel: int, stride: int) -> tuple[int, ...]:
    return tuple((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in large)


def _whole_vectors(x: Tensor) -> Tensor:
    """Contiguous, with zeros behind the channels up to a multiple of the vectors' width."""
    missing = -x.shape[-1] % _VECTOR
    return F.pad(x, (0, missing)) if missing else x.contiguous()


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution `(N, Z, Y, X, C)`, or its transpose, with weights `(C, 1, k, k, k)`.

    The second result is the input, for a residual: its gradient begins the sums of the convolution's.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, transposed: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        given = x
        channels = weight.shape[0]
        kernel = _whole_vectors(weight.squeeze(1).permute(1, 2, 3, 0))
        x, bias = _whole_vectors(x), _whole_vectors(bias)
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.transposed = stride, transposed
        k, width, size = kernel.shape[0], x.shape[-1], tuple(x.shape[1:4])
        if transposed:
            large = tuple(stride * (side - 1) + 1 + (k - 1) - 2 * (k // 2) for side in size)
            out = x.new_empty(x.shape[0], *large, width)
            name, sizes = "depthwise_scatter", (_Shape(*large), _Shape(*size))
        else:
            small = _small_size(size, k, stride)
            out = x.new_empty(x.shape[0], *small, width)
            name, sizes = "depthwise_gather", (_Shape(*size), _Shape(*small))
        _call(name, x, kernel, bias, None, out, x.shape[0], *sizes, width, k, stride)
        return out[..., :channels], given.view_as(given)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        of_result, of_input = gradients
        if of_result is None:
            return of_input, None, None, None, None
        channels = of_result.shape[-1]
        gradient = _whole_vectors(of_result)
        x, kernel = ctx.saved_tensors
        n, k, width = x.shape[0], kernel.shape[0], x.shape[-1]
        large, small = (gradient, x) if ctx.transposed else (x, gradient)
        sizes = (_Shape(*large.shape[1:4]), _Shape(*small.shape[1:4]))
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            name = "depthwise_gather" if ctx.transposed else "depthwise_scatter"
            begun = None if of_input is None else _whole_vectors(of_input)
            _call(name, gradient, kernel, None, begun, dx, n, *sizes, width, k, ctx.stride)
            dx = dx[..., :channels]
        dkernel = torch.empty_like(kernel)
        _call("depthwise_kernel_gradient", large, small, dkernel, n, *sizes, width, k, ctx.stride)
        dweight = dkernel[..., :channels].permute(3, 0, 1, 2).unsqueeze(1)
        return dx, dweight, of_result.sum((0, 1, 2, 3)), None, None


class _ChannelNorm(torch.autograd.Function):
    """Group norm with one group per channel on `(N, Z, Y, X, C)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
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


class _Expansion(torch.autograd.Function):
    """Norm, expansion, GELU, compression, and perhaps a residual added, on `(N, Z, Y, X, C)`.

    Nothing of the hidden width is stored: the backward pass computes it again, a few voxels at a time.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, eps: float, *parameters: Tensor) -> Tensor:
        """`parameters`: weight and bias of the norm, of the expansion and of the compression."""
        x = x.contiguous()
        parameters = tuple(
            parameter.flatten(1).contiguous() if parameter.ndim > 1 else parameter for parameter in parameters
        )
        n, channels = x.shape[0], x.shape[-1]
        hidden, out = parameters[3].shape[0], parameters[5].shape[0]
        voxels = x[0].numel() // channels
        mean, scale = x.new_empty(n, channels), x.new_empty(n, channels)
        _call("channel_statistics", x, mean, scale, n, voxels, channels, eps)
        y = x.new_empty(*x.shape[:-1], out)
        sizes = n, voxels, channels, hidden, out
        added = None if residual is None else residual.contiguous()
        _call("expand_and_compress", x, mean, scale, *parameters, added, y, *sizes)
        ctx.save_for_backward(x, mean, scale, *parameters)
        ctx.sizes = sizes
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dy = gradients[0].contiguous()
        x, mean, scale, *parameters = ctx.saved_tensors
        dx, found = torch.empty_like(x), [torch.empty_like(parameter) for parameter in parameters]
        _call(
            "expand_and_compress_backward", x, mean, scale, *parameters[:-1], dy, dx, *found[2:], *ctx.sizes
        )
        _call("normalise_backward", x, mean, scale, parameters[0], dx, dx, *found[:2], *ctx.sizes[:3])
        shape = (1, 1, 1)
        found[2], found[4] = found[2].view(*found[2].shape, *shape), found[4].view(*found[4].shape, *shape)
        return dx, dy if ctx.needs_input_grad[1] else None, None, *found


Kinds = Mapping[type[nn.Module], type[nn.Module]]

_Layer = nn.Conv3d | nn.ConvTranspose3d

_FUSED_WIDTHS = 32  # channels of the fused expansion are multiples of it


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


class _Raised(torch.autograd.Function):
    """The result of an up block, `(N, 2Z, 2Y, 2X, C)`, without the copies that autograd makes of slices.

    It is zero in the first plane of each axis, and else `y`, `(N, 2Z-1, 2Y-1, 2X-1, C)`, with a residual,
    `(N, Z, Y, X, C)`, added to each second voxel, and `bias` to all.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, residual: Tensor | None, bias: Tensor | None) -> Tensor:
        n, *size, channels = y.shape
        ctx.bias_type = None if bias is None else bias.dtype
        raised = y.new_empty(n, *(side + 1 for side in size), channels)
        for plane in (raised[:, :1], raised[:, :, :1], raised[:, :, :, :1]):
            plane.zero_()
        if bias is None:
            raised[:, 1:, 1:, 1:] = y
        else:
            torch.add(y, bias, out=raised[:, 1:, 1:, 1:])
        if residual is not None:
            raised[:, 1::2, 1::2, 1::2] += residual
        return raised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _, of_residual, of_bias = ctx.needs_input_grad
        dy = gradients[0][:, 1:, 1:, 1:]
        dresidual = gradients[0][:, 1::2, 1::2, 1::2] if of_residual else None
        return dy, dresidual, dy.sum((0, 1, 2, 3), dtype=ctx.bias_type) if of_bias else None


class ChannelsLastUpBlock(ChannelsLastBlock, UpBlock):
    """`UpBlock`, likewise; its strided residual touches every second voxel only."""

    def forward(self, x: Tensor) -> Tensor:
        y = _to_channels_last(self.transform(x))
        if not self.residual:
            return _to_channels_first(_Raised.apply(y, None, None))
        layer = self.res_conv
        assert isinstance(layer, nn.ConvTranspose3d)
        residual = F.linear(_to_channels_last(x), layer.weight.flatten(1).t())
        return _to_channels_first(_Raised.apply(y, residual, layer.bias))


class _NativeBlock(ChannelsLastBlock):
    """`MedNeXtBlock` on the native kernels."""

    def transform(self, x: Tensor) -> Tensor:
        return self.transform_and_add(x, False)

    def transform_and_add(self, x: Tensor, add_input: bool) -> Tensor:
        """The block without its residual path, or with its input added."""
        channels, hidden, out = self.norm.num_channels, self.conv2.out_channels, self.conv3.out_channels
        if self.grn or any(width % _FUSED_WIDTHS for width in (channels, hidden, out)):
            y = super().transform(x)
            return x + y if add_input else y
        layers = self.norm, self.conv2, self.conv3
        parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
        convolved, same = self._convolve(x)
        y = _Expansion.apply(convolved, same if add_input else None, self.norm.eps, *parameters)
        return _to_channels_first(y)

    def convolve(self, x: Tensor) -> Tensor:
        return _to_channels_first(self._convolve(x)[0])

    def _convolve(self, x: Tensor) -> tuple[Tensor, Tensor]:
        layer = self.conv1
        assert isinstance(layer, _Layer)
        transposed = isinstance(layer, nn.ConvTranspose3d)
        return _Depthwise.apply(_to_channels_last(x), layer.weight, layer.bias, layer.stride[0], transposed)

    def normalise(self, x: Tensor) -> Tensor:
        norm = self.norm
        return _to_channels_first(_ChannelNorm.apply(_to_channels_last(x), norm.weight, norm.bias, norm.eps))


class _NativePlainBlock(_NativeBlock):
    """`MedNeXtBlock` without stride."""

    def forward(self, x: Tensor) -> Tensor:
        return self.transform_and_add(x, self.residual)


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


NATIVE: Kinds = {
    MedNeXtBlock: _NativePlainBlock,
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
    switch(network, NATIVE)
    return True
