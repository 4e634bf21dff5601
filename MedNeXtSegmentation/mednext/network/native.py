"""MedNeXt on the native kernels: the plain network's numbers, several times faster on a CPU.

Activations are `(Z, Y, X, C)` in buffers that stay between calls. A block has two passes: the depthwise
convolution with the mean and variance of its output (its bias cancels in the norm), then expansion, GELU and
compression in small pieces, with the norm folded into the expansion's weights and the result added in place.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from functools import partial
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from .blocks import RESPONSE_EPSILON, DownBlock, MedNeXtBlock, UpBlock
from .candidate import HALF, Formulation, is_usual, steps
from .mednext import MedNeXt
from .native_library import (
    CHANNELS,
    CONVOLUTION,
    DOWN,
    IDENTITY,
    NONE,
    SAME,
    UP,
    Depthwise,
    Kernels,
    Pointwise,
    native_library,
)

_Key = tuple[int, tuple[int, int, int], tuple[int, ...], torch.dtype]  # thread, shape, widths, type


def offer(network: MedNeXt, device: torch.device, precision: str) -> list[Formulation]:
    """This formulation where the library knows the network; in bfloat16 first where that is wanted."""
    library = native_library()
    if device.type != "cpu" or library is None or not is_usual(network):
        return []

    def on_kernels(instructions: str | None) -> nn.Module:
        return NativeMedNeXt(network, Kernels(library, instructions))

    found = [Formulation("native", partial(on_kernels, None), frugal=True)]
    if precision == "bfloat16" and library.mednext_kernels(b"avx512_bf16"):
        found.insert(0, Formulation("native bfloat16", partial(on_kernels, "avx512_bf16"), HALF, frugal=True))
    return found


class NativeMedNeXt(nn.Module):
    """A trained network on the native kernels, for inference.

    Args:
        network: on the CPU; its weights are copied.
        kernels: those of an instruction set and a precision; statistics and sums are always float32.
    """

    def __init__(self, network: MedNeXt, kernels: Kernels) -> None:
        super().__init__()
        self._kernels = kernels
        self._classes = network.num_classes
        self._in_channels = network.in_channels
        state = network.state_dict()
        width = _wide(len(state["stem.weight"]))
        self._stem_weights = _padded(state["stem.weight"].flatten(1).T, (self._in_channels, width))
        self._stem_bias = _padded(state["stem.bias"], (width,))
        self._head_weights = _packed(kernels, state["out_0.conv_out.weight"].flatten(1))
        self._head_bias = _padded(state["out_0.conv_out.bias"], (_wide(self._classes),))
        self._steps = [(_Block(block, kernels), source, target) for block, source, target in steps(network)]
        widths = {source: block.channels for block, source, _ in self._steps}
        self._widths = tuple(widths[level] for level in range(5))
        self._activations: _Activations | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`; sides divisible by 16.

        The logits of a single image are valid only until the next image of this network or another fold in
        this thread, whose activations use the same memory.
        """
        shape = x.shape[2], x.shape[3], x.shape[4]
        key = threading.get_ident(), shape, self._widths, self._dtype
        if self._activations is None or self._activations.key != key:
            self._activations = None  # free the old ones before the new ones are made
            self._activations = _IN_USE.get(key)
        if self._activations is None:
            self._activations = _IN_USE[key] = _Activations(key)
        logits = self._activations.room((len(x), self._classes, *shape))
        for image, target in zip(x, logits, strict=True):
            self._one(image, target, self._activations)
        return logits

    def _one(self, image: Tensor, logits: Tensor, activations: _Activations) -> None:
        levels, normed, threads = activations.levels, activations.normed, torch.get_num_threads()
        planes = image.float().contiguous()
        size = (planes[0].numel(), self._in_channels, self._widths[0])
        self._kernels.stem(*_pointers(planes, self._stem_weights, self._stem_bias, levels[0]), *size, threads)
        for block, source, target in self._steps:
            block.run(levels[source], levels[target], normed if target >= source else None, threads)
        size = (planes[0].numel(), self._widths[0], self._classes)
        self._kernels.head(*_pointers(levels[0], self._head_weights, self._head_bias, logits), *size, threads)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float32 if self._kernels.bytes_per_value == 4 else torch.bfloat16


class _Activations:
    """Memory for the activations of all levels, `(Z, Y, X, C)`, and for the largest depthwise convolution.

    The folds of a model share it, since they run in turn in one thread.
    """

    def __init__(self, key: _Key) -> None:
        self.key = key
        _, shape, widths, dtype = key
        self.levels = [
            torch.empty(*(side >> level for side in shape), width, dtype=dtype)
            for level, width in enumerate(widths)
        ]
        self.normed = torch.empty(max(level.numel() for level in self.levels), dtype=dtype)

    def room(self, shape: Sequence[int]) -> Tensor:
        """Memory for the logits of one image, where the output of a convolution is no longer needed."""
        size, scratch = math.prod(shape), self.normed.view(torch.float32)
        if shape[0] > 1 or size > scratch.numel():
            return torch.empty(*shape)
        return scratch[:size].view(*shape)


_IN_USE: WeakValueDictionary[_Key, _Activations] = WeakValueDictionary()


class _Block:
    """One block with its weights in the form of the kernels."""

    def __init__(self, block: MedNeXtBlock, kernels: Kernels) -> None:
        self._kernels = kernels
        state = {name: value.detach() for name, value in block.state_dict().items()}
        hidden, channels = state["conv2.weight"].shape[:2]
        out = len(state["conv3.weight"])
        self.channels, self._hidden, self._out = _wide(channels), _wide(hidden), _wide(out)
        order = [kernels.channel_at(position) for position in range(self.channels)]
        kernel = state["conv1.weight"].squeeze(1).movedim(0, -1)
        self._kernel = _padded(kernel, (*kernel.shape[:3], self.channels))[..., order].contiguous()
        self._stride = UP if isinstance(block, UpBlock) else DOWN if isinstance(block, DownBlock) else SAME
        self._epsilon = block.norm.eps
        self._gamma = _padded(state["norm.weight"], (self.channels,))[order].double()
        self._beta = _padded(state["norm.bias"], (self.channels,))[order].double()
        self._expansion = _padded(state["conv2.weight"].flatten(1).T, (self.channels, self._hidden))[order]
        self._expansion_bias = _padded(state["conv2.bias"], (self._hidden,)).double()
        self._folded_expansion = torch.empty_like(self._expansion)
        self._compression = _padded(state["conv3.weight"].flatten(1).T, (self._hidden, self._out))
        self._compression_bias = _padded(state["conv3.bias"], (self._out,)).double()
        self._folded_compression = _packed(kernels, self._compression)
        self._residual, self._residual_weights = NONE, torch.empty(0)
        if block.residual:
            self._residual = IDENTITY if self._stride == SAME else CONVOLUTION
        if self._residual == CONVOLUTION:
            # (in, out) of a transposed convolution, else (out, in)
            matrix = state["res_conv.weight"].flatten(1)
            self._residual_weights = _packed(kernels, matrix if self._stride == UP else matrix.T)
            self._compression_bias += _padded(state["res_conv.bias"], (self._out,))
        self._plain_compression_bias = self._compression_bias.float()
        self._response_norm = _ResponseNorm(block, state, self._hidden) if block.grn else None

    def run(self, x: Tensor, target: Tensor, normed: Tensor | None, threads: int) -> None:
        """Read `x`, `(Z, Y, X, C)`, and write to `target`, or add to it: residual and skip connections.

        `normed` is memory for the depthwise convolution's output; without it the output is computed twice.
        """
        first = self._first_pass(x, normed)
        mean, variance = torch.empty(2, self.channels, dtype=torch.float64)
        self._kernels.depthwise(ctypes.byref(first), *_pointers(mean, variance), threads)
        scale = self._gamma / torch.sqrt(variance + self._epsilon)
        norm = scale, self._beta - mean * scale
        expansion_bias = self._fold(
            self._expansion, self._expansion_bias, norm, self._folded_expansion, threads
        )
        compression_bias = self._plain_compression_bias
        second = Pointwise(
            first,
            *_pointers(self._folded_expansion, self._folded_compression, self._residual_weights),
            *_pointers(expansion_bias, compression_bias, target),
            hidden=self._hidden,
            out_channels=self._out,
            residual=self._residual,
            target_y=target.shape[1],
            target_x=target.shape[2],
            offset=int(self._stride == UP),  # the zero plane on the left of the transposed grid
            add=self._residual == IDENTITY or self._stride == UP,  # up blocks add to the skip connection
        )
        if self._response_norm:
            squares = torch.zeros(self._hidden, dtype=torch.float64)
            second.hidden_squares = squares.data_ptr()
            self._kernels.pointwise(ctypes.byref(second), threads)
            second.hidden_squares = None
            norm = self._response_norm.affine(squares)
            compression_bias = self._fold(
                self._compression, self._compression_bias, norm, self._folded_compression, threads
            )
            second.compression_bias = compression_bias.data_ptr()
        self._kernels.pointwise(ctypes.byref(second), threads)

    def _fold(
        self, matrix: Tensor, bias: Tensor, norm: tuple[Tensor, Tensor], packed: Tensor, threads: int
    ) -> Tensor:
        """Pack a matrix with the scale and shift of its input folded into it; return its bias."""
        folded = torch.empty(matrix.shape[1])
        pointers = _pointers(matrix, *norm, bias)
        self._kernels.fold(*pointers, *matrix.shape, *_pointers(packed, folded), threads)
        return folded

    def _first_pass(self, x: Tensor, normed: Tensor | None) -> Depthwise:
        sides = [
            2 * side - 1 if self._stride == UP else side // 2 if self._stride == DOWN else side
            for side in x.shape[:3]
        ]
        output = None if normed is None else normed.data_ptr()
        numbers = (*x.shape[:3], *sides, self.channels, self._kernel.shape[0], self._stride)
        return Depthwise(*_pointers(x, self._kernel), output, *numbers)


class _ResponseNorm:
    """Global response normalisation: an affine map per hidden channel, once its norm is known."""

    def __init__(self, block: MedNeXtBlock, state: dict[str, Tensor], width: int) -> None:
        self._divisor = 1 if block.grn_denominator == "sum" else len(state["conv2.weight"])
        self._gamma = _padded(state["grn_gamma"].flatten(), (width,)).double()
        self._beta = _padded(state["grn_beta"].flatten(), (width,)).double()

    def affine(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Factor and offset of every channel, from the sums of squares over all voxels."""
        norm = torch.sqrt(squares)
        relative = norm / (norm.sum() / self._divisor + RESPONSE_EPSILON)
        return 1 + self._gamma * relative, self._beta


def _packed(kernels: Kernels, matrix: Tensor) -> Tensor:
    rows, columns = matrix.shape
    padded = _padded(matrix, (_wide(rows), _wide(columns)))
    packed = torch.empty_like(padded)
    kernels.pack(padded.data_ptr(), None, *padded.shape, packed.data_ptr())
    return packed


def _pointers(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _padded(values: Tensor, shape: Sequence[int]) -> Tensor:
    """A float32 copy, zero beyond the values."""
    padded = torch.zeros(*shape)
    padded[tuple(slice(side) for side in values.shape)] = values
    return padded


def _wide(channels: int) -> int:
    return -(-channels // CHANNELS) * CHANNELS
