"""MedNeXt on the native kernels: the numbers of `network.py`, several times faster on a CPU.

Activations are `(Z, Y, X, C)` float32 in buffers that stay between calls. A block is two passes: the
depthwise convolution with the mean and variance of its output (its bias cancels in the norm), then expansion,
GELU and compression in small pieces, with the norm folded into the expansion's weights and the result added
in place.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .native_library import CHANNELS, CONVOLUTION, DOWN, IDENTITY, NONE, SAME, UP, Depthwise, Pointwise
from .network import DownBlock, MedNeXt, MedNeXtBlock, OutBlock, UpBlock

Shape = tuple[int, int, int]


def is_supported(network: MedNeXt) -> bool:
    """Whether the kernels know this network: three dimensions, one head, resampling by blocks."""
    blocks = [part for part in network.modules() if isinstance(part, MedNeXtBlock)]
    resampling = [part for part in blocks if isinstance(part, DownBlock | UpBlock)]
    return network.dimensions == 3 and not network.deep_supervision and len(resampling) == 8


class NativeMedNeXt(nn.Module):
    """A trained network on the native kernels, for inference in float32.

    Args:
        network: in evaluation mode and on the CPU; its weights are copied.
        library: of `native_library`.
    """

    def __init__(self, network: MedNeXt, library: ctypes.CDLL) -> None:
        super().__init__()
        self._library = library
        self._classes = network.num_classes
        self._in_channels = network.in_channels
        stem, head = network.stem, network.out_0
        assert isinstance(stem, nn.Conv3d) and isinstance(head, OutBlock)
        self._stem_weights = _padded(stem.weight.flatten(1).T, (stem.in_channels, _wide(stem.out_channels)))
        self._stem_bias = _padded(stem.bias, (_wide(stem.out_channels),))
        self._head_weights = _packed(library, head.conv_out.weight.flatten(1))
        self._head_bias = _padded(head.conv_out.bias, (_wide(self._classes),))
        self._encoder = [_blocks(network, f"enc_block_{level}", library) for level in range(4)]
        self._down = [_blocks(network, f"down_{level}", library)[0] for level in range(4)]
        self._bottleneck = _blocks(network, "bottleneck", library)
        self._up = [_blocks(network, f"up_{level}", library)[0] for level in range(4)]
        self._decoder = [_blocks(network, f"dec_block_{level}", library) for level in range(4)]
        self._activations: _Activations | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`; sides divisible by 16."""
        return torch.stack([self._one(image) for image in x])

    def _one(self, image: Tensor) -> Tensor:
        z, y, x = image.shape[1:]
        if self._activations is None or self._activations.shape != (z, y, x):
            self._activations = None  # first let go of the old ones
            self._activations = _Activations(
                (z, y, x), [blocks[0].channels for blocks in (*self._encoder, self._bottleneck)]
            )
        levels, threads = self._activations.levels, torch.get_num_threads()
        planes = image.float().contiguous()
        self._library.mednext_stem(
            planes.data_ptr(), self._stem_weights.data_ptr(), self._stem_bias.data_ptr(), levels[0].data_ptr(),
            z * y * x, self._in_channels, levels[0].shape[-1], threads,
        )  # fmt: skip
        normed = self._activations.normed
        for level in range(4):
            for block in self._encoder[level]:
                block.run(levels[level], levels[level], normed, threads)
            self._down[level].run(levels[level], levels[level + 1], normed, threads)
        for block in self._bottleneck:
            block.run(levels[4], levels[4], normed, threads)
        for level in (3, 2, 1, 0):
            self._up[level].run(levels[level + 1], levels[level], None, threads)
            for block in self._decoder[level]:
                block.run(levels[level], levels[level], normed, threads)
        logits = torch.empty(self._classes, z, y, x)
        self._library.mednext_head(
            levels[0].data_ptr(), self._head_weights.data_ptr(), self._head_bias.data_ptr(), logits.data_ptr(),
            z * y * x, levels[0].shape[-1], self._classes, threads,
        )  # fmt: skip
        return logits


class _Activations:
    """Activations of every level, `(Z, Y, X, C)`, and room for the largest depthwise convolution."""

    def __init__(self, shape: Shape, channels: Sequence[int]) -> None:
        self.shape = shape
        self.levels = [
            torch.empty(*(side >> level for side in shape), width) for level, width in enumerate(channels)
        ]
        self.normed = torch.empty(max(level.numel() for level in self.levels))


class _Block:
    """One block with its weights as the kernels want them."""

    def __init__(self, block: MedNeXtBlock, library: ctypes.CDLL) -> None:
        self._library = library
        channels, hidden, out = block.conv1.in_channels, block.conv2.out_channels, block.conv3.out_channels
        self.channels, self._hidden, self._out = _wide(channels), _wide(hidden), _wide(out)
        kernel = block.conv1.weight.squeeze(1)
        self._k = kernel.shape[-1]
        self._kernel = _padded(kernel.movedim(0, -1), (self._k, self._k, self._k, self.channels))
        self._stride = UP if isinstance(block, UpBlock) else DOWN if isinstance(block, DownBlock) else SAME
        self._epsilon = block.norm.eps
        self._gamma = _padded(block.norm.weight, (self.channels,)).double()
        self._beta = _padded(block.norm.bias, (self.channels,)).double()
        self._expansion = _padded(block.conv2.weight.flatten(1).T, (self.channels, self._hidden))
        self._expansion_bias = _padded(block.conv2.bias, (self._hidden,)).double()
        self._compression = _padded(block.conv3.weight.flatten(1).T, (self._hidden, self._out))
        self._compression_bias = _padded(block.conv3.bias, (self._out,))
        self._residual, self._residual_weights = NONE, torch.empty(0)
        if block.residual and self._stride == SAME:
            self._residual = IDENTITY
        elif block.residual:
            weight = block.res_conv.weight.flatten(1)  # of a transposed convolution (in, out), else (out, in)
            self._residual = CONVOLUTION
            self._residual_weights = _packed(library, weight if self._stride == UP else weight.T)
            self._compression_bias += _padded(block.res_conv.bias, (self._out,))
        self._grn = (
            (block.grn_gamma.flatten().double(), block.grn_beta.flatten().double()) if block.grn else None
        )
        self._folded = torch.empty_like(self._expansion)
        self._folded_compression = self._pack(self._compression, None, torch.empty_like(self._compression))

    def run(self, x: Tensor, target: Tensor, normed: Tensor | None, threads: int) -> None:
        """Read `x`, `(Z, Y, X, C)`, and write into, or where it skips or is residual add to, `target`.

        `normed` has room for the depthwise convolution's output; without it that is computed twice.
        """
        job = self._job(x, normed)
        mean, variance = torch.empty(2, self.channels, dtype=torch.float64)
        self._library.mednext_depthwise(ctypes.byref(job), mean.data_ptr(), variance.data_ptr(), threads)
        scale = self._gamma / torch.sqrt(variance + self._epsilon)
        self._pack(self._expansion, scale.float(), self._folded)
        bias = (self._expansion_bias + (self._beta - mean * scale) @ self._expansion.double()).float()
        second = Pointwise(
            depthwise=job,
            expansion=self._folded.data_ptr(),
            expansion_bias=bias.data_ptr(),
            compression=self._folded_compression.data_ptr(),
            compression_bias=self._compression_bias.data_ptr(),
            residual_weights=self._residual_weights.data_ptr(),
            target=target.data_ptr(),
            hidden=self._hidden,
            out_channels=self._out,
            residual=self._residual,
            target_y=target.shape[1],
            target_x=target.shape[2],
            offset=1 if self._stride == UP else 0,  # the zero plane on the left of the transposed grid
            add=self._residual == IDENTITY or self._stride == UP,  # up blocks add to the skip connection
        )
        self._library.mednext_pointwise(ctypes.byref(second), threads)

    def _job(self, x: Tensor, normed: Tensor | None) -> Depthwise:
        z, y, x_ = (
            2 * side - 1 if self._stride == UP else side // (2 if self._stride == DOWN else 1)
            for side in x.shape[:3]
        )
        return Depthwise(
            x.data_ptr(), self._kernel.data_ptr(), None if normed is None else normed.data_ptr(),
            *x.shape[:3], z, y, x_, self.channels, self._k, self._stride,
        )  # fmt: skip

    def _pack(self, matrix: Tensor, scale: Tensor | None, packed: Tensor) -> Tensor:
        factor = None if scale is None else scale.data_ptr()
        self._library.mednext_pack(matrix.data_ptr(), factor, *matrix.shape, packed.data_ptr())
        return packed


def _blocks(network: MedNeXt, name: str, library: ctypes.CDLL) -> list[_Block]:
    part = network.get_submodule(name)
    blocks = part if isinstance(part, nn.Sequential) else [part]
    return [_Block(block, library) for block in blocks if isinstance(block, MedNeXtBlock)]


def _packed(library: ctypes.CDLL, matrix: Tensor) -> Tensor:
    padded = _padded(matrix, tuple(_wide(side) for side in matrix.shape))
    packed = torch.empty_like(padded)
    library.mednext_pack(padded.data_ptr(), None, *padded.shape, packed.data_ptr())
    return packed


def _padded(values: Tensor, shape: Sequence[int]) -> Tensor:
    """A float32 copy, zero beyond the values."""
    padded = torch.zeros(*shape)
    padded[tuple(slice(side) for side in values.shape)] = values.detach()
    return padded


def _wide(channels: int) -> int:
    return -(-channels // CHANNELS) * CHANNELS
