"""MedNeXt in pure torch with little memory: the numbers of `network.py` by another order of the same sums.

Activations are `(Z, Y, X, C)`, so that pointwise convolutions are matrix products over voxels. They run over
slices of voxels, and the expanded tensor never exists. The norm is an affine map per channel once mean and
variance are known: it is folded into the expansion. A transposed depthwise convolution is eight small
convolutions, one for each parity of the output's indices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import DownBlock, MedNeXt, MedNeXtBlock, UpBlock

_VOXELS = 8192  # in a slice: its hidden activations stay in the caches

Parity = tuple[int, int, int]


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

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`; sides divisible by 16."""
        return torch.stack([self._one(image) for image in x])

    def _one(self, image: Tensor) -> Tensor:
        state = self.network.state_dict()
        x = image.movedim(0, -1) @ state["stem.weight"].flatten(1).T + state["stem.bias"]
        skips = []
        for level in range(4):
            x = self._stage(f"enc_block_{level}", x)
            skips.append(x)
            x = _down(self._block(f"down_{level}"), x)
        x = self._stage("bottleneck", x)
        for level in (3, 2, 1, 0):
            skip = skips.pop()
            _add_up(self._block(f"up_{level}"), x, skip)
            x = self._stage(f"dec_block_{level}", skip)
        logits = x.flatten(0, 2) @ state["out_0.conv_out.weight"].flatten(1) + state["out_0.conv_out.bias"]
        return logits.T.reshape(-1, *image.shape[1:])

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
    normed = _convolved(block, x)
    transform = _transform(block, *_moments([normed]))
    out = x if block.residual else torch.zeros_like(x)
    for voxels, target in zip(_slices(normed), _slices(out), strict=True):
        target.add_(transform(voxels))
    return out


def _down(block: MedNeXtBlock, x: Tensor) -> Tensor:
    assert isinstance(block, DownBlock)
    normed = _convolved(block, x)
    transform = _transform(block, *_moments([normed]))
    state = block.state_dict()
    out = torch.zeros(*normed.shape[:3], len(state["conv3.bias"]), dtype=x.dtype, device=x.device)
    if block.residual:
        out += x[::2, ::2, ::2] @ state["res_conv.weight"].flatten(1).T + state["res_conv.bias"]
    for voxels, target in zip(_slices(normed), _slices(out), strict=True):
        target.add_(transform(voxels))
    return out


def _add_up(block: MedNeXtBlock, x: Tensor, skip: Tensor) -> None:
    """Add an up block's output to the skip connection: it begins one voxel from the left of each axis."""
    assert isinstance(block, UpBlock)
    transform = _transform(block, *_moments(_transposed(block, x, parity) for parity in _PARITIES))
    state = block.state_dict()
    for parity in _PARITIES:
        normed = _transposed(block, x, parity)
        target = skip[tuple(slice(1 + odd, None, 2) for odd in parity)]
        for plane, row in zip(target, normed, strict=True):
            plane.add_(transform(row.flatten(0, 1)).view(plane.shape))
        if block.residual:
            target += state["res_conv.bias"]
        if block.residual and parity == (0, 0, 0):
            target += x @ state["res_conv.weight"].flatten(1)


_PARITIES: list[Parity] = [(z, y, x) for z, y, x in product((0, 1), repeat=3)]


def _transposed(block: MedNeXtBlock, x: Tensor, parity: Parity) -> Tensor:
    """The voxels 2m + parity of the transposed depthwise convolution of `x`."""
    kernel = _kernel(block)
    pad, side = kernel.shape[-1] // 2, kernel.shape[-1]
    pads: list[int] = []
    sides = [length - odd for length, odd in zip(x.shape, parity, strict=False)]
    if 0 in sides:  # 2n - 1 voxels of one: no odd ones
        return x.new_empty(*sides, x.shape[-1])
    for axis, odd in enumerate(parity, start=2):
        # Output 2m + odd takes tap t from input m + (odd + pad - t) / 2: the later the tap, the earlier.
        taps = [t for t in range(side) if (odd + pad - t) % 2 == 0][::-1]
        kernel = kernel.index_select(axis, torch.tensor(taps, device=kernel.device))
        pads.append((taps[0] - odd - pad) // 2)
    return _depthwise(x, kernel, 1, pads)


def _convolved(block: MedNeXtBlock, x: Tensor) -> Tensor:
    """The depthwise convolution of a block that does not transpose it."""
    kernel = _kernel(block)
    return _depthwise(x, kernel, block.stride, [kernel.shape[-1] // 2] * 3)


def _kernel(block: MedNeXtBlock) -> Tensor:
    weight = block.conv1.weight
    assert isinstance(weight, Tensor)
    return weight


def _depthwise(x: Tensor, kernel: Tensor, stride: int, pads: Sequence[int]) -> Tensor:
    """The convolution without its bias, which the norm cancels; `(Z, Y, X, C)` in and out."""
    y = F.conv3d(x.movedim(-1, 0)[None], kernel, None, stride, tuple(pads), groups=len(kernel))
    return y[0].movedim(0, -1).contiguous()


def _moments(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel over all voxels of all parts, in float64."""
    count, pivot = 0, None
    for part in parts:
        for voxels in _slices(part) if part.numel() else ():
            if pivot is None:  # sums around a value of about the right size cost no digits
                pivot = voxels[0].clone()
                total = torch.zeros_like(pivot, dtype=torch.float64)
                squares = torch.zeros_like(total)
            deviation = voxels - pivot
            total += deviation.sum(0)
            squares += deviation.square_().sum(0)
            count += len(voxels)
    assert pivot is not None
    shift = total / count
    return pivot + shift, squares / count - shift**2


def _transform(block: MedNeXtBlock, mean: Tensor, variance: Tensor) -> Callable[[Tensor], Tensor]:
    """Norm, expansion, GELU and compression of voxels `(V, C)`."""
    state = block.state_dict()
    scale = state["norm.weight"] / torch.sqrt(variance + block.norm.eps)
    shift = state["norm.bias"] - mean * scale
    expansion = state["conv2.weight"].flatten(1).T
    bias = (state["conv2.bias"] + shift @ expansion.double()).to(expansion.dtype)
    expansion = (scale[:, None] * expansion).to(expansion.dtype)
    compression, offset = state["conv3.weight"].flatten(1).T, state["conv3.bias"]

    def transform(voxels: Tensor) -> Tensor:
        return torch.addmm(offset, F.gelu(torch.addmm(bias, voxels, expansion)), compression)

    return transform


def _slices(x: Tensor) -> tuple[Tensor, ...]:
    return x.view(-1, x.shape[-1]).split(_VOXELS)
