"""The fastest formulation of a network that gives the reference's numbers on this machine.

The plain network of `network.py` is the reference. A faster formulation is used only after it has given the
same logits; one that is missing, wrong, or fails later is left, with one line in the log, and the plain
network goes on.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import lean_network, native_network, openvino_network, triton_network
from .devices import PRECISIONS, is_out_of_memory
from .errors import DeviceError, OptionError
from .native_library import Kernels, native_library
from .network import MedNeXt

logger = logging.getLogger(__name__)

_FULL, _HALF = 1e-4, 5e-2  # tolerances, of the largest logit; usual are 1e-6 and 1e-2
_PROBE_SIDES = (32, 32, 32)
_TIMED_SIDE = 64  # of an image at most: the plain network takes several times the memory of the others
# What kernels and compilers raise; a fault of this program itself is not among them.
_FAILURES = (RuntimeError, MemoryError, OSError, ImportError, subprocess.CalledProcessError, DeviceError)


@dataclass(frozen=True)
class Formulation:
    """A way to compute a network: `make` prepares it; it may differ from the plain one by `tolerance`.

    `frugal`: where the device's memory is too small for it, it is too small for the plain one by far.
    """

    name: str
    make: Callable[[], nn.Module]
    tolerance: float = _FULL
    frugal: bool = False


class FastNetwork(nn.Module):
    """A network in the fastest formulation that works; its logits are those of `plain`.

    The formulation is chosen at the first image on a device: kernels of our own where there are any, else
    what was the fastest for a part of this first image, so that every later image of a process runs the same
    way.

    Args:
        plain: the reference, in evaluation mode. What is no MedNeXt has no other formulation.
        precision: on the CPU: "float32", or "bfloat16" for activations and products in half the memory and
            time where the processor has it; statistics and sums stay float32.

    Raises:
        OptionError: another precision.
    """

    def __init__(self, plain: nn.Module, precision: str = "float32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise OptionError(f"There is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}.")
        self.plain = plain
        self.formulation = "plain"
        self._precision = precision
        self._chosen: nn.Module = plain
        self._frugal = False
        self._device: torch.device | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`, valid until the next call.

        On a CUDA device without autocast the plain network runs: whoever calls had an overflow in half
        precision, and the kernels there have no other.

        Raises torch.OutOfMemoryError where another formulation would need more: whoever calls may make room.
        """
        if x.device != self._device:
            self._device = x.device
            self._choose(x)
        full_precision = x.device.type == "cuda" and not torch.is_autocast_enabled("cuda")
        if self._chosen is not self.plain and not full_precision:
            try:
                return self._chosen(x)
            except _FAILURES as error:
                if self._frugal and is_out_of_memory(error):
                    raise
                logger.warning("The %s network failed (%s): going on without it.", self.formulation, error)
                self._take("plain", self.plain)
                # What was enough memory for all of them at once is not for the plain network.
                return torch.cat([self.plain(image) for image in x.split(1)])
        return self.plain(x)

    def images_at_once(self, sides: Sequence[int]) -> int:
        """How many images of these sides are best given together.

        On a card a formulation is chosen for that, before the first image; else it is one until then.
        """
        device = next((parameter.device for parameter in self.plain.parameters()), None)
        if device != self._device and device is not None and device.type == "cuda":
            self._device = device
            with torch.autocast("cuda", dtype=torch.float16):  # as the images will be computed
                self._choose(torch.zeros(1, getattr(self.plain, "in_channels", 1), *sides, device=device))
        tell = getattr(self._chosen, "images_at_once", None)
        return tell(sides) if tell and device == self._device else 1

    def _choose(self, x: Tensor) -> None:
        self._take("plain", self.plain)
        if not isinstance(self.plain, MedNeXt):
            return
        for formulation in kernels(self.plain, x.device, self._precision):
            network = _checked(formulation, self.plain, x.device)
            if network:
                self._take(formulation.name, network, formulation.frugal)
                return
        others = other_formulations(self.plain, x.device)
        part = x[(slice(1), slice(None), *(slice(_TIMED_SIDE),) * self.plain.dimensions)]
        best = _seconds(self.plain, part) if others else 0.0
        for formulation in others:
            network = _checked(formulation, self.plain, x.device)
            if network and (seconds := _seconds(network, part)) < best:
                best = seconds
                self._take(formulation.name, network)

    def _take(self, name: str, network: nn.Module, frugal: bool = False) -> None:
        self.formulation, self._chosen, self._frugal = name, network, frugal
        logger.info("The network runs in its %s formulation on %s.", name, self._device)


class ChannelsLast(nn.Module):
    """The plain network with its activations in the other order, which cuDNN may have faster kernels for."""

    def __init__(self, network: MedNeXt) -> None:
        super().__init__()
        self._layout = torch.channels_last_3d if network.dimensions == 3 else torch.channels_last
        self.network = deepcopy(network).to(memory_format=self._layout)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`."""
        return self.network(x.contiguous(memory_format=self._layout))


def kernels(network: MedNeXt, device: torch.device, precision: str) -> list[Formulation]:
    """Those on kernels of our own, the most wanted first; where they work they are the fastest."""
    if triton_network.is_supported(network, device):
        triton = triton_network.TritonMedNeXt
        return [Formulation("Triton", lambda: triton(network, torch.float16, device), _HALF, frugal=True)]
    library = native_library()
    if device.type != "cpu" or library is None or not native_network.is_supported(network):
        return []
    native = native_network.NativeMedNeXt
    found = [Formulation("native", lambda: native(network, Kernels(library)))]
    if precision == "bfloat16":
        half = Formulation("native bfloat16", lambda: native(network, Kernels(library, "avx512_bf16")), _HALF)
        found.insert(0, half)
    return found


def other_formulations(network: MedNeXt, device: torch.device) -> list[Formulation]:
    """Those without such kernels; which is the fastest depends on machine and image."""
    if device.type == "cuda":
        return [Formulation("channels-last", lambda: ChannelsLast(network), _HALF)]
    if device.type != "cpu":
        return []
    found = []
    if lean_network.is_supported(network):
        found.append(Formulation("lean", lambda: lean_network.LeanMedNeXt(network)))
    if openvino_network.is_installed() and not network.deep_supervision:
        found.append(Formulation("OpenVINO", lambda: openvino_network.OpenVinoMedNeXt(network)))
    return found


def _checked(formulation: Formulation, plain: MedNeXt, device: torch.device) -> nn.Module | None:
    """The network if it gives the reference's logits for a small image, else None and a line in the log."""
    sides = _PROBE_SIDES[: plain.dimensions]
    probe = torch.randn(1, plain.in_channels, *sides, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        network = formulation.make()
        found, expected = network(probe), plain(probe)
    except _FAILURES as error:
        logger.warning("The %s network cannot be used here (%s).", formulation.name, error)
        return None
    difference = float((found - expected).abs().max() / expected.abs().max())
    if difference <= formulation.tolerance:  # not so for NaN either
        return network
    logger.warning(
        "The %s network is wrong by %.1e of the largest logit: it is not used.", formulation.name, difference
    )
    return None


def _seconds(network: nn.Module, x: Tensor) -> float:
    """Of the faster of two passes: the first of a shape may have to prepare something."""
    seconds = []
    for _ in range(2):
        _wait(x.device)
        started = time.perf_counter()
        network(x)
        _wait(x.device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
