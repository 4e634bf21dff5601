"""MedNeXt on Triton kernels: the plain network in half precision, several times faster on a GPU.

Activations are `(N, Z, Y, X, C)` in buffers that stay between calls, and that the networks of all folds use
in turn. A block has two passes: the depthwise convolution with the statistics of its output, then norm,
expansion, GELU, compression and residual without ever writing the expanded tensor; the last pass includes the
head. With the global response norm a pass between them expands for the sizes of the hidden channels alone.
All sums are float32. From the second call with a shape on, the blocks run as one CUDA graph.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..system.devices import is_out_of_memory, runs_triton
from .candidate import HALF, Formulation, is_usual, steps
from .mednext import MedNeXt
from .patch_sides import check_patch
from .triton_graph import Graph, record

if TYPE_CHECKING:
    from .triton_kernels.block_launches import Workspace
    from .triton_kernels.tile_choice import Choices

_WIDEST = 512  # channels that fit into a program
_MOST_IMAGES = 8  # all mirrored copies of a tile
_MOST_FILLED = 4  # consecutive padded groups: the last of an image, or an image of few tiles
_OLDEST_TRITON = (3, 4)  # 3.2 and 3.3, of torch 2.6 and 2.7, do not compile `depthwise_up`
_MOST_NUMBERS = 2**31 - 1  # of an image's activations: offsets within it have 32 bits

logger = logging.getLogger(__name__)


def is_supported(network: nn.Module, device: torch.device) -> bool:
    """Whether the kernels support this network and device, and Triton is installed. Does not import Triton.

    They need an NVIDIA card of compute capability 8.0 or later. Other networks run on torch.
    """
    return runs_triton(device) and knows(network)


def offer(network: MedNeXt, device: torch.device, _precision: str) -> list[Formulation]:
    """This formulation where it `is_supported`."""
    if device.type != "cuda" or not is_supported(network, device):
        return []
    make = partial(TritonMedNeXt, network, torch.float16, device)
    return [Formulation("Triton", make, HALF, frugal=True)]


def knows(network: nn.Module) -> bool:
    """Whether the kernels support this network, on any device: `is_usual`, with at most 512 channels."""
    return is_usual(network) and all(block.norm.num_channels <= _WIDEST for block, _, _ in steps(network))


def _check_version() -> None:
    """Raise `RuntimeError` for a Triton that would compile for a while, and then refuse a kernel."""
    import triton

    if tuple(map(int, triton.__version__.split(".")[:2])) < _OLDEST_TRITON:
        raise RuntimeError(
            f"Triton {triton.__version__} does not compile the kernels; that of PyTorch 2.8 is newer."
        )


class TritonMedNeXt(nn.Module):
    """A trained network on the Triton kernels, for inference.

        fast = TritonMedNeXt(network, torch.float16, torch.device("cuda"))
        fast(torch.zeros(1, 1, 128, 128, 128, device="cuda")).shape  # (1, classes, 128, 128, 128)

    The first call with a shape may raise `torch.OutOfMemoryError`, or any `RuntimeError`, `OSError` or
    `subprocess.CalledProcessError` of Triton's compiler, for instance where there is no C compiler. In half
    precision any call may return NaN or infinite logits, where an activation is too large. float16 is three
    bits more precise than bfloat16, and every card with tensor cores supports it.

    Args:
        network: `is_supported`, in evaluation mode; its weights are copied.
        dtype: of activations and matrices: torch.float16, bfloat16 (from compute capability 8.0), float32.
        device: CUDA; the CPU only on Triton's interpreter (TRITON_INTERPRET=1), for tests.
    """

    def __init__(self, network: MedNeXt, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        _check_version()
        from .triton_kernels.block_launches import TritonBlock
        from .triton_kernels.stem_and_head_launches import Head, Stem

        stem, head = (
            network.get_parameter(f"{name}.weight").flatten(1) for name in ("stem", "out_0.conv_out")
        )
        self._dtype, self._device = dtype, device
        self._choices: Choices = {}
        self._classes = network.num_classes
        self._steps = [
            (TritonBlock(block, dtype, device, self._choices), source, target)
            for block, source, target in steps(network)
        ]
        self._last = self._steps.pop()[0]
        widths = {source: block.channels for block, source, _ in self._steps}
        self._widths = [widths[level] for level in range(5)]
        self._stem = Stem(stem, network.get_parameter("stem.bias"), device)
        self._head = Head(
            head, network.get_parameter("out_0.conv_out.bias"), self._stem.channels, dtype, device
        )
        self._activations: _Activations | None = None
        self._graph: Graph | None = None
        self._without_graph = False
        self._most_images: int | None = None
        self._at_once: dict[tuple[int, ...], int] = {}
        self._filled = 0  # consecutive padded groups

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)` in float32.

        Where memory is too small for all N at once, this and later calls compute smaller groups.

        Raises:
            OptionError: a side is not divisible by 16, or all of them are 16.
            RuntimeError: a patch has too many numbers for the kernels' 32-bit offsets.
        """
        check_patch(x.shape[2:])
        if math.prod(x.shape[2:]) * self._widths[0] > _MOST_NUMBERS:
            raise RuntimeError(
                f"A patch of {tuple(x.shape[2:])} is too large for the kernels' 32-bit offsets."
            )
        x = x.to(self._device)
        logits = self._logits(x)
        done = 0
        while done < len(x):
            group = x[done : done + (self._most_images or len(x))].contiguous()
            try:
                with torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext():
                    self._group(group, logits[done : done + len(group)])
            except RuntimeError as error:
                if len(group) == 1 or not is_out_of_memory(error):
                    raise
                self._activations = self._graph = None
                self._most_images = len(group) // 2
                logger.info(
                    "Not enough memory for %d tiles at once; %d from now on.", len(group), self._most_images
                )
            else:
                done += len(group)
        return logits

    def _logits(self, x: Tensor) -> Tensor:
        try:
            return x.new_empty((len(x), self._classes, *x.shape[2:]), dtype=torch.float32)
        except torch.OutOfMemoryError:
            self._most_images = max(1, len(x) // 2)  # the answer of `images_at_once` before the next try
            raise

    def images_at_once(self, sides: Sequence[int]) -> int:
        """The number of images of these sides that fit into the card's free memory twice, at most 8.

        Together they keep the card busy also at the coarsest levels. The first answer stays until memory runs
        out, since another number needs another graph.
        """
        if self._device.type != "cuda":
            return 1
        if tuple(sides) not in self._at_once:
            self._at_once[tuple(sides)] = self._room(sides)
        return min(self._at_once[tuple(sides)], self._most_images or _MOST_IMAGES)

    def _room(self, sides: Sequence[int]) -> int:
        numbers = sum(width / 8**level for level, width in enumerate(self._widths)) + 2 * self._widths[0]
        # Activations, convolved ones of the last up block, and the logits with a copy.
        size = math.prod(sides) * (numbers * self._dtype.itemsize + self._classes * 4 * 2)
        unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        free = torch.cuda.mem_get_info(self._device)[0] + unused
        return max(1, min(_MOST_IMAGES, int(free / (2 * size))))

    @property
    def has_graph(self) -> bool:
        """Whether the next call with the last shape replays a CUDA graph."""
        return self._graph is not None and self._graph.is_valid

    def _group(self, image: Tensor, logits: Tensor) -> None:
        """Compute a group of images; a smaller group than before is padded, which saves a new graph."""
        shape = torch.Size() if self._activations is None else self._activations.shape
        missing = shape[0] - len(image) if shape[1:] == image.shape[1:] else 0
        if missing <= 0 or self._filled == _MOST_FILLED:
            self._filled = 0
            self._compute(image, logits)
            return
        self._filled += 1
        together = logits.new_empty(shape[0], *logits.shape[1:])
        self._compute(torch.cat([image, image.new_zeros(missing, *image.shape[1:])]), together)
        logits.copy_(together[: len(image)])

    def _compute(self, image: Tensor, logits: Tensor) -> None:
        from triton.errors import TritonError

        try:
            self._launch(image, logits)
        except TritonError as error:  # no resources, no compiler: callers expect a RuntimeError of a device
            raise RuntimeError(f"{type(error).__name__}: {error}") from error

    def _launch(self, image: Tensor, logits: Tensor) -> None:
        activations = self._take_activations(image)
        self._stem.run(image, activations.levels[0])
        if self._graph is not None and self._graph.is_valid:
            self._graph.replay()
            self._finish(activations, logits)
        else:
            self._blocks(activations)
            self._finish(activations, logits)
            self._record(activations)

    def _take_activations(self, image: Tensor) -> _Activations:
        """The activations of the last call, or of another network of this shape, or new ones."""
        stream = torch.cuda.current_stream(image.device).cuda_stream if image.device.type == "cuda" else 0
        key = (image.device, stream, threading.get_ident(), image.shape, self._dtype, *self._widths)
        if self._activations is None or self._activations.key != key:
            self._activations = self._graph = None  # free the old ones first
            self._without_graph = False
            self._activations = _SHARED.get(key)
            if self._activations is None:
                logger.info("Compiling kernels for %s takes minutes the first time.", tuple(image.shape))
                self._activations = _SHARED[key] = _Activations(key, image, self._widths, self._dtype)
        return self._activations

    def _blocks(self, activations: _Activations) -> None:
        """Launch all but the last block's second pass, which writes the logits to a new place each time."""
        levels, workspace = activations.levels, activations.workspace
        for block, source, target in self._steps:
            block.run(levels[source], levels[target], workspace)
        self._last.first_pass(levels[0], levels[0], workspace)

    def _finish(self, activations: _Activations, logits: Tensor) -> None:
        from .triton_kernels.block_launches import Answer

        finest, workspace = activations.levels[0], activations.workspace
        self._last.second_pass(finest, finest, workspace, Answer(self._head, logits))

    def _record(self, activations: _Activations) -> None:
        """Record the launches of `_blocks`, once they are compiled and the memory no longer moves."""
        if not self._without_graph:
            self._graph = record(partial(self._blocks, activations), self._device, activations.workspace)
            self._without_graph = self._graph is None


class _Activations:
    """Memory for the activations of every level, `(N, Z, Y, X, C)`, for one shape of the input.

    Networks of one shape share it, since their calls follow each other, in one thread and on one stream;
    `key` identifies these.
    """

    def __init__(self, key: tuple[Any, ...], image: Tensor, widths: list[int], dtype: torch.dtype) -> None:
        from .triton_kernels.block_launches import Workspace

        self.key, self.shape = key, image.shape
        images, _, *sides = image.shape
        self.levels = [
            torch.empty(images, *(side >> level for side in sides), width, dtype=dtype, device=image.device)
            for level, width in enumerate(widths)
        ]
        self.workspace: Workspace = Workspace()


_SHARED: WeakValueDictionary[tuple[Any, ...], _Activations] = WeakValueDictionary()
