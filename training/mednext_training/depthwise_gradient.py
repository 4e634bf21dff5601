"""The gradient of a depthwise convolution's kernel as sums of shifted products, for CUDA cards.

Each tap's sum is over the products of two tensors, one of them shifted by the tap. Whether that is faster
than torch's own gradient depends on card, kernel and precision: `python -m benchmarks.gpu` tells. Until it
has, no trainer uses it by itself. Parameters stay where they are: checkpoints know nothing of it.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from mednext.network import MedNeXt
from mednext.network_blocks import DownBlock, MedNeXtBlock, UpBlock
from torch import Tensor, nn

_INPUT_ONLY = [True, False, False]  # of the gradients of input, kernel and bias


def kernel_gradient(large: Tensor, small: Tensor, kernel: int, stride: int) -> Tensor:
    """Sums over all voxels `o` of `small[o] * large[stride * o + tap - kernel // 2]`, in float32.

    Args:
        large: `(N, C, Z, Y, X)`, what the taps move over: the input, or for a transposed convolution the
            gradient of its output.
        small: `(N, C, z, y, x)`, the other of the two.
        kernel: side of the kernel.
        stride: of the convolution.

    Returns:
        `(C, 1, kernel, kernel, kernel)`.
    """
    padded = F.pad(large, (kernel // 2,) * 6)
    factor = small.float()  # products of half-precision numbers leave its range
    sums = []
    for tap in product(range(kernel), repeat=3):
        places = [
            slice(first, first + stride * (side - 1) + 1, stride)
            for first, side in zip(tap, small.shape[2:], strict=True)
        ]
        sums.append((padded[:, :, places[0], places[1], places[2]] * factor).sum((0, 2, 3, 4)))
    return torch.stack(sums, dim=1).view(-1, 1, kernel, kernel, kernel)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution `(N, C, Z, Y, X)`, or its transpose, without torch's gradient of the kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, transposed: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.transposed = stride, transposed
        convolve = F.conv_transpose3d if transposed else F.conv3d
        padding = weight.shape[-1] // 2
        return convolve(x, weight, bias, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        kernel = weight.shape[-1]
        dx = None
        if ctx.needs_input_grad[0]:
            geometry = [ctx.stride] * 3, [kernel // 2] * 3, [1] * 3, ctx.transposed, [0] * 3, len(weight)
            dx = torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, _INPUT_ONLY)[0]
        large, small = (gradient, x) if ctx.transposed else (x, gradient)
        dweight = kernel_gradient(large, small, kernel, ctx.stride).to(weight.dtype)
        return dx, dweight, gradient.sum((0, 2, 3, 4)), None, None


class _ShiftedBlock(MedNeXtBlock):
    """`MedNeXtBlock` with the kernel's gradient as sums of shifted products."""

    def convolve(self, x: Tensor) -> Tensor:
        layer = self.conv1
        assert isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)
        assert layer.bias is not None
        values, device = [x, layer.weight, layer.bias], x.device.type
        if torch.is_autocast_enabled(device):  # does not reach into a function of our own
            values = [each.to(torch.get_autocast_dtype(device)) for each in values]
        return _Depthwise.apply(*values, layer.stride[0], isinstance(layer, nn.ConvTranspose3d))


class _ShiftedDownBlock(_ShiftedBlock, DownBlock):
    """`DownBlock`, likewise."""


class _ShiftedUpBlock(_ShiftedBlock, UpBlock):
    """`UpBlock`, likewise."""


_SHIFTED: dict[type[nn.Module], type[nn.Module]] = {
    MedNeXtBlock: _ShiftedBlock,
    DownBlock: _ShiftedDownBlock,
    UpBlock: _ShiftedUpBlock,
}


def use_shifted_gradients(network: MedNeXt) -> bool:
    """Switch the blocks of a 3D network to gradients by shifted products, in place; False for one in 2D."""
    if network.dimensions != 3:
        return False
    for module in network.modules():
        module.__class__ = _SHIFTED.get(type(module), type(module))
    return True
