"""The blocks of MedNeXt on Triton kernels: the same numbers, a faster training step on an NVIDIA card.

torch's 3D depthwise convolution computes one number per thread and its norm leaves channels-last memory; here
both stay in it, and the 1x1x1 convolutions are matrix products over voxels. Parameters stay where they are:
checkpoints know nothing of it. The bias of the depthwise convolution is left out, since the norm takes it
away: its gradient is zero instead of rounding noise.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec

import torch
from mednext.network.blocks import DownBlock, MedNeXtBlock, UpBlock
from mednext.network.mednext import MedNeXt
from torch import Tensor, nn

from .channels_last import ChannelsLastBlock, ChannelsLastUpBlock, Kinds, switch

logger = logging.getLogger(__name__)

_TENSOR_CORES = (8, 0)  # the least compute capability that Triton's compiler supports
TOLERANCE = 1e-2  # of the largest number, where the card rounds products to tf32; usual is 1e-6


class _TritonBlock(ChannelsLastBlock):
    """`MedNeXtBlock` on Triton kernels."""

    def convolve(self, x: Tensor) -> Tensor:
        from .triton_layers import depthwise

        layer = self.conv1
        assert isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)
        assert layer.bias is not None
        if torch.is_autocast_enabled(x.device.type):  # does not reach into an operator of our own
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return depthwise(x, layer.weight, layer.bias, layer.stride[0], isinstance(layer, nn.ConvTranspose3d))

    def normalise(self, x: Tensor) -> Tensor:
        from .triton_layers import channel_norm

        return channel_norm(x, self.norm.weight, self.norm.bias, self.norm.eps)[0]


class _TritonDownBlock(_TritonBlock, DownBlock):
    """`DownBlock` on Triton kernels."""


class _TritonUpBlock(_TritonBlock, ChannelsLastUpBlock):
    """`UpBlock` on Triton kernels."""


TRITON: Kinds = {MedNeXtBlock: _TritonBlock, DownBlock: _TritonDownBlock, UpBlock: _TritonUpBlock}


def use_triton_kernels(network: MedNeXt, device: torch.device) -> bool:
    """Switch the blocks of a 3D network to Triton's kernels, in place; in mixed precision and in float32.

    The kernels are compared with torch's layers first.

    Args:
        network: in training mode, on `device`.
        device: CUDA; the CPU only on Triton's interpreter (TRITON_INTERPRET=1), for tests.

    Returns:
        False, leaving the network as it was, where Triton or the card is missing, or the kernels fail or are
        wrong; the log says why.
    """
    if network.dimensions != 3 or not _is_supported(device):
        return False
    kernel = network.get_parameter("bottleneck.0.conv1.weight").shape[-1]
    try:
        differences = [difference(block, device) for block in probes(kernel)]
    except Exception:  # boundary: an optional formulation may raise anything
        logger.warning("Triton's training kernels cannot be used here.", exc_info=True)
        return False
    if not all(each <= TOLERANCE for each in differences):  # not so for NaN either
        told = ", ".join(f"{each:.1e}" for each in differences)
        logger.warning("Triton's training kernels are wrong by %s: they are not used.", told)
        return False
    switch(network, TRITON)
    return True


def _is_supported(device: torch.device) -> bool:
    if find_spec("triton") is None:
        return False
    from mednext.network.triton_kernels.tile_sizes import INTERPRETED

    if device.type != "cuda" or torch.version.hip is not None:
        return INTERPRETED and device.type == "cpu"
    return torch.cuda.get_device_capability(device) >= _TENSOR_CORES


def probes(kernel: int) -> list[MedNeXtBlock]:
    """A small block of each kind."""
    with torch.random.fork_rng(devices=()):  # the training's random numbers stay as they were
        torch.manual_seed(0)
        return [MedNeXtBlock(32, 32, 2, kernel), DownBlock(32, 64, 2, kernel), UpBlock(32, 16, 2, kernel)]


def difference(block: MedNeXtBlock, device: torch.device) -> float:
    """Largest difference of output and gradients from torch's layers in float64, of the largest number."""
    channels = block.get_parameter("conv1.weight").shape[0]
    x = torch.randn(1, channels, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = _numbers(block.double(), x.double())
    block.float().to(device).__class__ = TRITON[type(block)]  # type: ignore[assignment]
    found = _numbers(block, x.to(device))
    errors = [
        (found[name].cpu() - value).abs().max() / value.abs().max()
        for name, value in expected.items()
        if name != "conv1.bias"  # the norm cancels it: its gradient is rounding noise
    ]
    return float(torch.stack(errors).max())  # NaN if one of them is


def _numbers(block: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output and gradients of a block."""
    block.zero_grad()
    x = x.detach().requires_grad_()
    y = block(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view(y.shape)).sum().backward()
    assert x.grad is not None
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    return {"x": x.grad, "y": y.detach()} | {
        name: value for name, value in gradients.items() if value is not None
    }
