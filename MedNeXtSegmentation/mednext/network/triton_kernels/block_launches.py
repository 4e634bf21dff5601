"""A block of MedNeXt with its weights in the kernels' form, and the launches of its two passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from triton import cdiv

from ..blocks import RESPONSE_EPSILON, DownBlock, MedNeXtBlock, UpBlock
from .depthwise import depthwise_down, depthwise_same
from .depthwise_up import depthwise_up
from .hidden import hidden_squares
from .norm import norm_affine
from .pointwise import combine, pointwise, pointwise_up
from .stem_and_head_launches import FEWEST, Head, padded, wide
from .tile_choice import Choice, Choices
from .tile_sizes import ColumnTile, PieceTile, PointTile, column_tiles, piece_tiles, point_tiles, up_tiles

Tile = TypeVar("Tile")


class Workspace:
    """Memory that all blocks of a network use in turn.

    Attributes:
        exchanges: number of times that memory was replaced by more of it. Earlier graphs are invalid then.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self.exchanges = 0

    def take(self, name: str, shape: Sequence[int], like: Tensor, dtype: torch.dtype) -> Tensor:
        """Uninitialised memory, which overwrites the earlier memory of the same name."""
        count = torch.Size(shape).numel()
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            self._buffers[name] = buffer = torch.empty(count, dtype=dtype, device=like.device)
            self.exchanges += 1
        return buffer[:count].view(*shape)


@dataclass(frozen=True)
class Answer:
    """The logits and the head, for a last block that writes logits instead of its output."""

    head: Head
    logits: Tensor


class TritonBlock:
    """One block of a trained network.

    Args:
        block: on any device; its weights are copied.
        dtype: of the activations: float16, bfloat16 or float32.
        device: the device on which it will run.
        choices: of tiles, shared by the blocks of a network.

    Attributes:
        channels, out: numbers of channels of input and output, padded for the kernels.
    """

    def __init__(
        self,
        block: MedNeXtBlock,
        dtype: torch.dtype,
        device: torch.device,
        choices: Choices | None = None,
    ) -> None:
        parameters = dict(block.named_parameters())
        kernel, expansion, compression = (
            parameters[f"{name}.weight"] for name in ("conv1", "conv2", "conv3")
        )
        self.channels, self.out = wide(len(kernel)), wide(len(compression))
        self._hidden = cdiv(len(expansion), FEWEST) * FEWEST
        self._k = kernel.shape[-1]
        self._up, self._down = isinstance(block, UpBlock), isinstance(block, DownBlock)
        self._exact, self._epsilon = dtype == torch.float32, block.norm.eps

        def vector(name: str, length: int) -> Tensor:
            return padded(parameters[name], (length,)).to(device)

        def matrix(values: Tensor, rows: int, columns: int) -> Tensor:
            return padded(values, (rows, columns)).to(device, dtype)

        taps = kernel.squeeze(1).movedim(0, -1)
        self._taps = padded(taps, (self._k, self._k, self._k, self.channels)).to(device)
        self._gamma = vector("norm.weight", self.channels)
        self._beta = vector("norm.bias", self.channels)
        self._expansion = matrix(expansion.flatten(1).T, self.channels, self._hidden)
        self._expansion_bias = vector("conv2.bias", self._hidden)
        self._compression = matrix(compression.flatten(1).T, self._hidden, self.out)
        self._compression_bias = vector("conv3.bias", self.out)
        self._response: tuple[Tensor, int] | None = None
        if block.grn:
            shift = compression.flatten(1).float() @ parameters["grn_beta"].flatten().float()
            self._compression_bias += padded(shift, (self.out,)).to(device)
            divisor = 1 if block.grn_denominator == "sum" else len(expansion)
            gamma = padded(parameters["grn_gamma"].flatten(), (self._hidden,)).to(device)
            self._response = gamma, divisor
        self._identity = block.residual and not (self._up or self._down)
        self._residual: Tensor | None = None
        if "res_conv.weight" in parameters:
            weight = parameters["res_conv.weight"].flatten(1)  # transposed: (in, out), else (out, in)
            self._residual = matrix(weight if self._up else weight.T, self.channels, self.out)
            self._compression_bias += vector("res_conv.bias", self.out)
        self._shared: Choices = {} if choices is None else choices
        self._choices: dict[tuple[str, torch.Size], Choice[Any]] = {}

    def run(self, x: Tensor, target: Tensor, workspace: Workspace) -> None:
        """Read `x`, `(N, Z, Y, X, C)`, and write `target`, `(N, Z', Y', X', out)`.

        A block that keeps the grid may have `x` as its target, and must if it is residual. An up block adds
        to the skip connection in its target.

        Raises:
            OutOfResources: the card has too little shared memory.
            torch.OutOfMemoryError: the workspace cannot grow.
        """
        self.first_pass(x, target, workspace)
        self.second_pass(x, target, workspace)

    def first_pass(self, x: Tensor, target: Tensor, workspace: Workspace) -> None:
        """Compute the depthwise convolution and the norm into the workspace."""
        convolve = self._convolved_up if self._up else self._convolved
        partials = convolve(x, self._room(x, target, workspace), workspace)
        images, programs, _, channels = partials.shape
        norm_affine[(channels // FEWEST, images)](
            partials, self._gamma, self._beta, self._affine(images, x, workspace), programs, self._epsilon,
            C=channels, BLOCK_C=FEWEST, BLOCK_P=32 if programs <= 32 else 256, num_warps=8,
        )  # fmt: skip

    def _room(self, x: Tensor, target: Tensor, workspace: Workspace) -> Tensor:
        grid = (len(x), 8, *x.shape[1:4]) if self._up else target.shape[:4]
        return workspace.take("convolved", (*grid, self.channels), x, x.dtype)

    def _affine(self, images: int, x: Tensor, workspace: Workspace) -> Tensor:
        return workspace.take("affine", (images, 2, self.channels), x, torch.float32)

    def _launch(
        self, name: str, x: Tensor, choose: Callable[[], Choice[Tile]], run: Callable[[Tile], None]
    ) -> None:
        choice = self._choices.get((name, x.shape))
        if choice is None:
            choice = choose()
            choice = self._choices[name, x.shape] = self._shared.setdefault(choice.key, choice)
        choice.launch(run)

    def _convolved(self, x: Tensor, out: Tensor, workspace: Workspace) -> Tensor:
        images, z, y, width, channels = x.shape
        partials = x.new_empty(0)

        def column(tile: ColumnTile) -> None:
            nonlocal partials
            programs = tile.programs((z, y, width))
            partials = workspace.take("partials", (images, programs, 3, channels), x, torch.float32)
            depthwise_same[(programs, channels // tile.channels, images)](
                x, self._taps, out, partials, programs, tile.planes, z, y, width,
                C=channels, K=self._k, BLOCK_C=tile.channels, BLOCK_Y=tile.y, BLOCK_X=tile.x, ROWS=tile.rows,
                UNROLL=tile.unroll, EVEN=tile.is_even((z, y, width)), num_warps=tile.warps,
            )  # fmt: skip

        def pieces(tile: PieceTile) -> None:
            nonlocal partials
            programs = tile.programs(out[0, ..., 0].numel())
            partials = workspace.take("partials", (images, programs, 3, channels), x, torch.float32)
            depthwise_down[(programs, channels // tile.channels, images)](
                x, self._taps, out, partials, programs, tile.rounds, z, y, width,
                C=channels, K=self._k, BLOCK_C=tile.channels, BLOCK_V=tile.voxels, num_warps=tile.warps,
            )  # fmt: skip

        if self._down:
            voxels = out[0, ..., 0].numel()
            self._launch("first", x, lambda: Choice(piece_tiles, voxels, channels, images), pieces)
        else:
            shape = (z, y, width)
            self._launch("first", x, lambda: Choice(column_tiles, shape, channels, images, self._k), column)
        return partials

    def _convolved_up(self, x: Tensor, out: Tensor, workspace: Workspace) -> Tensor:
        images, *shape, channels = x.shape
        partials = x.new_empty(0)

        def column(tile: ColumnTile) -> None:
            nonlocal partials
            programs = tile.programs((shape[0], shape[1], shape[2]))
            partials = workspace.take("partials", (images, programs, 3, channels), x, torch.float32)
            depthwise_up[(programs, channels // tile.channels, images)](
                x, self._taps, out, partials, programs, tile.planes, *shape,
                C=channels, K=self._k, BLOCK_C=tile.channels, BLOCK_Y=tile.y, BLOCK_X=tile.x,
                num_warps=tile.warps,
            )  # fmt: skip

        self._launch("first", x, lambda: Choice(up_tiles, tuple(shape), channels, images, self._k), column)
        return partials

    def second_pass(
        self, x: Tensor, target: Tensor, workspace: Workspace, answer: Answer | None = None
    ) -> None:
        """The second part of `run`; with `answer`, for a block that keeps the grid, also the head.

        The block's output is then not needed: it is not written where a program has all hidden channels and
        classes.
        """
        convolved = self._room(x, target, workspace)
        images, *_, z, y, width, channels = convolved.shape
        affine = self._affine(images, x, workspace)
        add = self._identity or self._up
        residual = self._taps if self._residual is None else self._residual  # any address, never read
        voxels = z * y * width * (8 if self._up else 1)
        asked = (voxels, self.channels, self._hidden, self.out, x.itemsize, images)
        response = self._taps  # any address, never read
        if self._response is not None:
            response = self._responses(x, convolved, affine, workspace, asked)
        matrices = (
            affine, self._expansion, self._expansion_bias, self._compression, self._compression_bias,
            response,
        )  # fmt: skip

        def points(tile: PointTile) -> None:
            columns, last = 0, (self._taps, self._taps, self._taps, 0)  # any addresses, never read
            if answer and tile.splits == 1 and answer.head.one_program:
                columns = answer.head.columns
                last = (answer.head.weights, answer.head.bias, answer.logits, answer.head.classes)
            shape = (tile.splits, *target.shape) if tile.splits > 1 else (1,)
            parts = workspace.take("parts", shape, x, torch.float32)
            options = {
                "C": channels, "HIDDEN": self._hidden, "OUT": self.out, "BLOCK_V": tile.voxels,
                "BLOCK_H": tile.hidden, "SPLITS": tile.splits, "EXACT": self._exact,
                "GRN": self._response is not None, "num_warps": tile.warps, "num_stages": tile.stages,
            }  # fmt: skip
            if self._up:
                box = tile.box((z, y, width))
                boxes = math.prod(cdiv(side, extent) for side, extent in zip((z, y, width), box, strict=True))
                pointwise_up[(8 * boxes, tile.splits, images)](
                    convolved, *matrices, x, residual, target, parts, z, y, width,
                    BLOCK_Y=box[1], BLOCK_X=box[2], RESIDUAL=self._residual is not None, **options,
                )  # fmt: skip
            else:
                pointwise[(cdiv(z * y * width, tile.voxels), tile.splits, images)](
                    convolved, *matrices, x, residual, target, parts, *last, z, y, width,
                    ADD=add, DOWN=self._residual is not None, COLUMNS=columns, **options,
                )  # fmt: skip
            if tile.splits > 1:
                self._combine(parts, target, tile.splits, add)
            if answer and not columns:
                answer.head.run(target, answer.logits)

        self._launch("second", x, lambda: Choice(point_tiles, *asked), points)

    def _responses(
        self, x: Tensor, convolved: Tensor, affine: Tensor, workspace: Workspace, asked: tuple[int, ...]
    ) -> Tensor:
        """The scale of each hidden channel by the global response norm, `(N, hidden)`."""
        assert self._response is not None
        gamma, divisor = self._response
        images, *_, z, y, width, channels = convolved.shape
        partials = x.new_empty(0)

        def squares(tile: PointTile) -> None:
            nonlocal partials
            programs = cdiv(z * y * width, tile.voxels) * (8 if self._up else 1)
            partials = workspace.take("squares", (images, programs, self._hidden), x, torch.float32)
            hidden_squares[(programs, tile.splits, images)](
                convolved, affine, self._expansion, self._expansion_bias, partials, z, y, width,
                C=channels, HIDDEN=self._hidden, BLOCK_V=tile.voxels, BLOCK_H=tile.hidden,
                SPLITS=tile.splits, EXACT=self._exact, UP=self._up, num_warps=tile.warps,
                num_stages=tile.stages,
            )  # fmt: skip

        self._launch("squares", x, lambda: Choice(point_tiles, *asked), squares)
        norms = partials.sum(dim=1).sqrt_()
        relative = norms / (norms.sum(dim=1, keepdim=True) / divisor + RESPONSE_EPSILON)
        return workspace.take("response", norms.shape, x, torch.float32).copy_(relative.mul_(gamma).add_(1.0))

    def _combine(self, parts: Tensor, target: Tensor, splits: int, add: bool) -> None:
        images, z, y, width, out = target.shape
        block = min(64, out)
        combine[(cdiv(z * y * width, 32), out // block, images)](
            parts, self._compression_bias, target, z, y, width,
            OUT=out, BLOCK_V=32, BLOCK_C=block, SPLITS=splits, ADD=add, UP=self._up, num_warps=4,
        )  # fmt: skip
