"""Choose the formulation of a network: the first that is right and faster than the plain one on this machine.

The plain network of `mednext.py` is the reference. A faster formulation is used only after it gave the
reference's logits for the first tile of each shape, and was faster for a part of it; on the CPU, one that
saves memory may be somewhat slower, since the memory plan counts on it. When an optional formulation raises
any error, the next one replaces it, with the traceback in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import OptionError
from ..system.devices import PRECISIONS, is_out_of_memory
from ..system.memory_settings import give_memory_back
from . import channels_last, lean, native, triton
from .candidate import FULL, Formulation
from .mednext import MedNeXt
from .native_library import PLAIN_NUMBERS

logger = logging.getLogger(__name__)

# Each file offers its formulations of a network for a device and a precision; the most wanted come first.
OFFERS: tuple[Callable[[MedNeXt, torch.device, str], list[Formulation]], ...] = (
    triton.offer,
    channels_last.offer,
    native.offer,
    lean.offer,
)

_PART_SIDE = 48  # of the part of a tile that is timed, and that is checked where the tile is too large
_MOST_PASSES = 3  # of each network that is timed
_PRICE_OF_MEMORY = 1.5  # times the plain network's time, for one that needs a quarter of its memory


class FastNetwork(nn.Module):
    """A network in the fastest formulation that works; its logits are those of `plain`.

    A formulation is chosen at the first tile on a device, and checked again at the first tile of every other
    shape and batch. The chosen one already computes the first logits: the same tile always has the same bits.

    Args:
        plain: the reference, in evaluation mode. A network that is not a MedNeXt has no other formulation.
        precision: on the CPU: "float32", or "bfloat16" for activations and products in half the memory and
            time where the processor supports it; statistics and sums stay float32.

    Raises:
        OptionError: the precision is another one.
    """

    def __init__(self, plain: nn.Module, precision: str = "float32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise OptionError(f"There is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}.")
        self.plain = plain
        self._precision = precision
        self._device: torch.device | None = None
        self._left: list[Formulation] = []  # not tried yet, in order of preference
        self._current: Formulation | None = None
        self._chosen: nn.Module = plain
        self._checked: set[torch.Size] = set()
        self._failed: list[str] = []

    @property
    def formulation(self) -> str:
        """Name of the formulation that runs; "plain" for the reference."""
        return self._current.name if self._current else "plain"

    def take_failures(self) -> list[str]:
        """The formulations that failed or were wrong since the last call."""
        failed, self._failed = self._failed, []
        return failed

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`, valid until the next call.

        On a CUDA device without autocast the plain network runs: the caller had an overflow in half
        precision, the only precision of the kernels there.

        Raises torch.OutOfMemoryError where every other formulation would need more: the caller may free
        memory.
        """
        if x.device != self._device:
            self._start_on(x.device)
        if x.device.type == "cuda" and not torch.is_autocast_enabled("cuda"):
            return self.plain(x)
        while self._accept(x) and self._current:
            with self._leaving_on_failure(self._current):
                return self._chosen(x)
        return _image_by_image(self.plain, x)

    def images_at_once(self, sides: Sequence[int]) -> int:
        """The best number of images of these sides for one call.

        On a card this chooses a formulation before the first image; elsewhere it is 1 until one is chosen.
        """
        device = next((parameter.device for parameter in self.plain.parameters()), None)
        if device != self._device and device is not None and device.type == "cuda":
            self._start_on(device)
            with torch.autocast("cuda", dtype=torch.float16):  # as the images will be computed
                self._accept(torch.zeros(1, getattr(self.plain, "in_channels", 1), *sides, device=device))
        tell = getattr(self._chosen, "images_at_once", None)
        return tell(sides) if tell and device == self._device else 1

    def _start_on(self, device: torch.device) -> None:
        self._device = device
        self._leave()
        plain = self.plain
        self._left = formulations(plain, device, self._precision) if isinstance(plain, MedNeXt) else []

    def _leave(self) -> None:
        self._current, self._chosen = None, self.plain
        self._checked.clear()

    @contextmanager
    def _leaving_on_failure(self, formulation: Formulation) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # boundary: an optional formulation may raise anything
            if formulation.frugal and is_out_of_memory(error):
                raise
            logger.warning("The %s network failed: continuing without it.", formulation.name, exc_info=True)
            self._failed.append(formulation.name)
            self._leave()

    def _accept(self, x: Tensor) -> bool:
        """Whether a formulation is right for tiles of this shape. Tries those that are left."""
        if self._current and x.shape in self._checked:
            return True
        if self._current:
            right = False
            with self._leaving_on_failure(self._current):
                right = self._is_right(self._current, self._chosen, x)
            if not right:
                self._leave()
        while not self._current and self._left:
            formulation = self._left.pop(0)
            with self._leaving_on_failure(formulation):
                self._try(formulation, x)
        if self._current:
            self._checked.add(x.shape)
            give_memory_back()
        return self._current is not None

    def _try(self, formulation: Formulation, x: Tensor) -> None:
        assert isinstance(self.plain, MedNeXt)
        network = formulation.make()
        if not self._is_right(formulation, network, x):
            return
        give_memory_back()  # the networks of the check left pieces of other sizes
        part = _with_contrast(x[_corner(self.plain.dimensions)][:1])
        slack = _PRICE_OF_MEMORY if formulation.frugal and x.device.type == "cpu" else 1
        if not is_faster(network, self.plain, part, slack):
            logger.info("The %s network is not faster than the plain one here.", formulation.name)
            return
        self._current, self._chosen = formulation, network
        logger.info("The network runs in its %s formulation on %s.", formulation.name, self._device)

    def _is_right(self, formulation: Formulation, network: nn.Module, x: Tensor) -> bool:
        """Whether a formulation gives the reference's logits for this tile. Logs a difference."""
        assert isinstance(self.plain, MedNeXt)
        tile, expected = _reference(self.plain, formulation, _with_contrast(x))
        difference = _difference(network(tile), expected)
        if difference <= formulation.tolerance:  # False for NaN
            return True
        self._failed.append(formulation.name)
        logger.warning(
            "The %s network is wrong by %.1e of the largest logit for a tile of %s voxels: it is not used.",
            formulation.name,
            difference,
            " x ".join(map(str, tile.shape[2:])),
        )
        return False


def formulations(network: MedNeXt, device: torch.device, precision: str) -> list[Formulation]:
    """The formulations that may exist for this network and device, in order of preference."""
    return [formulation for offer in OFFERS for formulation in offer(network, device, precision)]


def is_faster(network: nn.Module, plain: nn.Module, x: Tensor, slack: float = 1) -> bool:
    """Whether a network takes less than `slack` times as long as the plain one; the fastest passes count."""
    ours, theirs = [], []
    for _ in range(_MOST_PASSES):  # the first pass may include preparations
        ours.append(_seconds(network, x))
        theirs.append(_seconds(plain, x))
        if min(ours) < slack * min(theirs):
            return True
    return False


def _reference(plain: MedNeXt, formulation: Formulation, tile: Tensor) -> tuple[Tensor, Tensor]:
    """The tile, or the part of it that fits into memory, and the logits to compare with.

    On the CPU the plain network takes seven times the memory of the native kernels, and four times that of
    the lean formulation: that one is compared on a part of a large tile, and then judges the native kernels.
    """
    part = tile[_corner(plain.dimensions)][:1]
    if tile.device.type == "cpu" and _is_large(plain, tile):
        if formulation.name == "lean" or not lean.is_supported(plain):
            return part, plain(part)
        judge = lean.LeanMedNeXt(plain)
        expected = plain(part)
        right = _difference(judge(part), expected) <= FULL
        give_memory_back()  # pieces freed by the plain network have other sizes than those of the judge
        return (tile, _image_by_image(judge, tile)) if right else (part, expected)
    try:
        return tile, _image_by_image(plain, tile)
    except Exception as error:  # boundary: only a frugal formulation may fit into the device's memory
        if not is_out_of_memory(error):
            raise
        logger.info("There is not enough memory to check a whole tile: a part of it is checked.")
        return part, plain(part)


def _is_large(plain: MedNeXt, tile: Tensor) -> bool:
    return tile[0, 0].numel() * len(plain.get_parameter("stem.bias")) > PLAIN_NUMBERS


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference in units of the largest logit; class by class, since logits may be large."""
    pairs = zip(found.flatten(0, 1), expected.flatten(0, 1), strict=True)
    differences = torch.stack([(one - other).abs().max() for one, other in pairs])
    return float(differences.max() / torch.stack(torch.aminmax(expected)).abs().max())


def _corner(dimensions: int) -> tuple[slice, ...]:
    return (slice(None), slice(None), *(slice(_PART_SIDE),) * dimensions)


def _image_by_image(network: nn.Module, x: Tensor) -> Tensor:
    """The logits of a batch, computed image by image, since the plain network needs much memory."""
    return torch.cat([network(image).clone() for image in x.split(1)]) if len(x) > 1 else network(x)


def _with_contrast(x: Tensor) -> Tensor:
    """The tile, or noise of its shape if it holds a single value: air would hide a fault."""
    voxels = x.flatten(2)
    if bool((voxels != voxels[..., :1]).any()):
        return x
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device, x.dtype)


def _seconds(network: nn.Module, x: Tensor) -> float:
    _wait(x.device)
    started = time.perf_counter()
    network(x)
    _wait(x.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
