"""The lean formulation of MedNeXt: pure torch, fast, with little memory, used after the native kernels.

Activations are `(Z, Y, X, C)`, so that pointwise convolutions are matrix products over voxels. They run over
slices of voxels, and the whole expanded tensor never exists; residuals and skips are added in place. Once
mean and variance are known, the norm is an affine map per channel: it is folded into the expansion.

A depthwise convolution is the sum of two-dimensional ones, one for each tap along z, over a few planes at a
time: torch has fast kernels for those with the channels last, and none for three dimensions. Every thread
works on slabs of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import MedNeXtBlock, UpBlock
from .candidate import Formulation, is_usual, steps
from .mednext import MedNeXt

Part = TypeVar("Part")
Result = TypeVar("Result")

_SLAB = 2**19  # numbers in the planes that are convolved together, which stay in the caches from tap to tap
_HIDDEN = 2**20  # numbers in the hidden activations of a slice of voxels
_FEWEST = 4  # slabs of a small activation for any number of threads, so that the sums do not depend on it

_VoxelSums = tuple[int, Tensor, Tensor]


def is_supported(network: MedNeXt) -> bool:
    """True for a network that `is_usual`, without global response norm."""
    return is_usual(network) and not any(block.grn for block, _, _ in steps(network))


def offer(network: MedNeXt, device: torch.device, _precision: str) -> list[Formulation]:
    """This formulation on the CPU, after the native one."""
    if device.type != "cpu" or not is_supported(network):
        return []
    return [Formulation("lean", partial(LeanMedNeXt, network), frugal=True)]


class LeanMedNeXt(nn.Module):
    """A trained network in this formulation, for inference. Shares the weights of `network`."""

    def __init__(self, network: MedNeXt) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`; sides divisible by 16."""
        logits = x.new_empty(len(x), self.network.num_classes, *x.shape[2:])
        with SlabThreads() as threads:
            for image, target in zip(x, logits, strict=True):
                _Pass(self.network, threads).run(image, target)
        return logits


class _Pass:
    """One pass of an image through the network."""

    def __init__(self, network: MedNeXt, threads: SlabThreads) -> None:
        self._network = network
        self._threads = threads

    def run(self, image: Tensor, logits: Tensor) -> None:
        """Write the logits `(num_classes, Z, Y, X)` of an image `(in_channels, Z, Y, X)`."""
        levels = {0: self._stem(image)}
        for block, source, target in steps(self._network):
            if target == source:
                levels[target] = self._same(block, levels[source])
            elif target > source:
                levels[target] = self._down(block, levels[source])
            else:
                levels[target] = self._added_up(block, levels.pop(source), levels[target])
        self._head(levels[0], logits)

    def _stem(self, image: Tensor) -> Tensor:
        weight, bias = (self._network.get_parameter(f"stem.{name}") for name in ("weight", "bias"))
        x = image.new_empty(*image.shape[1:], len(bias))

        def begin(planes: range) -> None:
            columns = image[:, planes.start : planes.stop].flatten(1)
            torch.addmm(bias, columns.T, weight.flatten(1).T, out=_voxels(_rows(x, planes)))

        self._threads.map(begin, _slabs(range(len(x)), x[0].numel()))
        return x

    def _head(self, x: Tensor, logits: Tensor) -> None:
        weight, bias = (self._network.get_parameter(f"out_0.conv_out.{name}") for name in ("weight", "bias"))

        def end(planes: range) -> None:
            columns = logits[:, planes.start : planes.stop].flatten(1)  # a view
            torch.addmm(bias[:, None], weight.flatten(1).T, _voxels(_rows(x, planes)).T, out=columns)

        self._threads.map(end, _slabs(range(len(x)), x[0].numel()))

    def _same(self, block: MedNeXtBlock, x: Tensor) -> Tensor:
        """Apply an ordinary block, in place if it is residual."""
        parts = self._threads.map(_Convolution(block, x), _slabs(range(len(x)), x[0].numel()))
        transform = _Transform(block, [part.sums for part in parts])
        out = x if block.residual else torch.zeros_like(x)
        self._threads.map(lambda part: transform.add(part.values, _rows(out, part.planes)), parts)
        return out

    def _down(self, block: MedNeXtBlock, x: Tensor) -> Tensor:
        parts = self._threads.map(_Convolution(block, x), _slabs(range(len(x) // 2), x[0].numel()))
        transform = _Transform(block, [part.sums for part in parts])
        residual = _residual(block)
        out = x.new_zeros(*(side // 2 for side in x.shape[:3]), transform.out_channels)

        def add(part: _Part) -> None:
            target = _rows(out, part.planes)
            if residual:
                weight, bias = residual
                source = x[2 * part.planes.start : 2 * part.planes.stop : 2, ::2, ::2]
                torch.addmm(bias, _voxels(source), weight, out=_voxels(target))
            transform.add(part.values, target)

        self._threads.map(add, parts)
        return out

    def _added_up(self, block: MedNeXtBlock, x: Tensor, skip: Tensor) -> Tensor:
        """Add an up block's output to the skip connection, from the second voxel of each axis.

        The convolution runs twice, first for the norm, since its output would be the largest activation of
        the network.
        """
        convolution, target = _Convolution(block, x), skip[1:, 1:, 1:]
        # The same taps reach the planes of one parity.
        parities = [range(parity, len(target), 2) for parity in (0, 1)]
        slabs = [slab for planes in parities for slab in _slabs(planes, 4 * x[0].numel())]
        transform = _Transform(block, self._threads.map(lambda planes: convolution(planes).sums, slabs))
        residual = _residual(block)

        def add(planes: range) -> None:
            part = transform(convolution(planes).values)
            if residual:
                weight, bias = residual
                part += bias
                if planes.start % 2 == 0:
                    part[:, ::2, ::2] += x[planes.start // 2 :][: len(planes)] @ weight
            _rows(target, planes).add_(part)

        self._threads.map(add, slabs)
        return skip


def _slabs(planes: range, numbers: int) -> list[range]:
    """Divide planes into slabs, for `numbers` computed numbers a plane."""
    height = max(1, min(_SLAB // numbers, len(planes) // _FEWEST))
    return [planes[start : start + height] for start in range(0, len(planes), height)]


def _rows(x: Tensor, planes: range) -> Tensor:
    return x[planes.start : planes.stop : planes.step]


def _residual(block: MedNeXtBlock) -> tuple[Tensor, Tensor] | None:
    """Weight `(C, out_channels)` and bias of the residual connection of a block that resamples."""
    if not block.residual:
        return None
    weight = block.get_parameter("res_conv.weight").flatten(1)
    return weight if isinstance(block, UpBlock) else weight.T, block.get_parameter("res_conv.bias")


@dataclass(frozen=True)
class _Part:
    """A slab of a convolution's output.

    Attributes:
        planes: those of the whole output.
        values: `(planes, Y, X, C)`.
        sums: number of voxels, their sums `(C,)` and sums of squares `(C,)`.
    """

    planes: range
    values: Tensor
    sums: _VoxelSums


class _Convolution:
    """The depthwise convolution of `x` `(Z, Y, X, C)`, for some planes of its output at a time.

    The norm cancels the bias of a channel. Another bias replaces it, which brings the mean near zero, so that
    the sums for the variance lose no digits.
    """

    def __init__(self, block: MedNeXtBlock, x: Tensor) -> None:
        self._x = x
        self._up, self._stride = isinstance(block, UpBlock), block.stride
        kernel = block.get_parameter("conv1.weight")
        self._taps = [kernel[:, :, tap].contiguous() for tap in range(kernel.shape[2])]
        self._bias = -x[len(x) // 2].mean(dim=(0, 1)) * kernel.sum(dim=(1, 2, 3, 4))

    def __call__(self, planes: range) -> _Part:
        values = self._planes(planes)
        voxels = _voxels(values)
        return _Part(planes, values, (len(voxels), voxels.sum(dim=0), voxels.square().sum(dim=0)))

    def _planes(self, planes: range) -> Tensor:
        x, pad = self._x, len(self._taps) // 2
        convolve = F.conv_transpose2d if self._up else F.conv2d
        result = None
        # The middle tap comes first, since it reaches all planes.
        for tap in sorted(range(len(self._taps)), key=lambda tap: abs(tap - pad)):
            first = planes[0] + pad - tap if self._up else self._stride * planes[0] - pad + tap
            if self._up and first % 2:
                continue
            first, step = (first // 2, 1) if self._up else (first, self._stride)
            inside = [index for index in range(len(planes)) if 0 <= first + step * index < len(x)]
            if not inside:
                continue
            rows = slice(first + step * inside[0], first + step * inside[-1] + 1, step)
            part = convolve(
                x[rows].movedim(-1, 1),
                self._taps[tap],
                self._bias
                if result is None and not self._up
                else None,  # torch adds it slowly to a transposed convolution
                stride=self._stride,
                padding=pad,
                groups=x.shape[-1],
            )
            if result is None:
                result = part.add_(self._bias[:, None, None]) if self._up else part
            else:
                result[inside[0] : inside[-1] + 1] += part
        assert result is not None
        return result.movedim(1, -1).contiguous()


class _Transform:
    """The second part of a block, after its depthwise convolution: norm, expansion, GELU and compression.

    Args:
        block: the block.
        sums: those of all slabs of the convolution's output, as in `_Part`.
    """

    def __init__(self, block: MedNeXtBlock, sums: Sequence[_VoxelSums]) -> None:
        count = sum(number for number, _, _ in sums)
        mean = torch.stack([total for _, total, _ in sums]).double().sum(dim=0) / count
        variance = torch.stack([squares for _, _, squares in sums]).double().sum(dim=0) / count - mean**2
        state = block.state_dict()
        scale = state["norm.weight"] / torch.sqrt(variance + block.norm.eps)
        shift = state["norm.bias"] - mean * scale
        weight = state["conv2.weight"].flatten(1)
        # Bias `(hidden,)` and weight `(C, hidden)` of the expansion include the norm.
        self._bias = torch.addmv(state["conv2.bias"], weight, shift.to(weight.dtype))
        self._expansion = (weight * scale.to(weight.dtype)).T
        self._compression, self._offset = state["conv3.weight"].flatten(1).T, state["conv3.bias"]
        self.out_channels = len(self._offset)

    def __call__(self, convolved: Tensor) -> Tensor:
        """Map `(..., C)` to `(..., out_channels)`."""
        out = convolved.new_zeros(*convolved.shape[:-1], self.out_channels)
        self.add(convolved, out)
        return out

    def add(self, convolved: Tensor, target: Tensor) -> None:
        """Map `(..., C)` and add the result to `(..., out_channels)`, both contiguous."""
        count = max(1, _HIDDEN // len(self._bias))
        hidden = convolved.new_empty(count, len(self._bias))
        for voxels, out in zip(_voxels(convolved).split(count), _voxels(target).split(count), strict=True):
            expanded = torch.addmm(self._bias, voxels, self._expansion, out=hidden[: len(voxels)])
            out.add_(self._offset).addmm_(torch.ops.aten.gelu_(expanded), self._compression)


def _voxels(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


class SlabThreads:
    """As many threads as torch has on entering the block; within it torch uses one thread in each of them.

    torch itself divides every single operation among its threads, which then wait for each other thousands of
    times in a pass through a network.
    """

    def __init__(self) -> None:
        self._count = 1
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> SlabThreads:
        self._count = torch.get_num_threads()
        if self._count > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self._count, "slab")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            torch.set_num_threads(self._count)

    def map(self, work: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
        """The result of `work` for each part, in their order. Raises the errors of `work`."""
        if self._pool is None:
            return [work(part) for part in parts]
        inference = torch.is_inference_mode_enabled()

        def in_thread(part: Part) -> Result:
            with torch.inference_mode(inference), torch.no_grad():  # torch's modes belong to a thread
                return work(part)

        return list(self._pool.map(in_thread, parts))
