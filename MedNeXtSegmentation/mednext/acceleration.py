"""The fastest formulation of a network that gives the reference's numbers on this machine.

The plain network of `network.py` is the reference. A faster formulation is used only after it has given the
same logits; one that is missing, wrong, or fails later is left, with one line in the log, and the plain
network goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import lean_network, native_network, openvino_network
from .devices import PRECISIONS
from .errors import DeviceError, OptionError
from .native_library import Kernels, native_library
from .network import MedNeXt

logger = logging.getLogger(__name__)

_TOLERANCE = 1e-4  # of the largest logit; sums in another order differ by 1e-6
_TOLERANCE_BF16 = 5e-2  # usual is 1e-2
_BF16 = "native bfloat16"
_PROBE_SIDES = (32, 32, 32)

Formulation = Callable[[], nn.Module]


class FastNetwork(nn.Module):
    """A network in the fastest formulation that works; its logits are those of `plain`.

    The formulation is chosen at the first image on a device: native kernels where there are any, else what
    was the fastest for this first image, so that every later image of a process runs the same way.

    Args:
        plain: the reference, in evaluation mode.
        precision: "float32", or "bfloat16" for activations and products in half the memory and time where the
            processor has it; statistics and sums stay float32.

    Raises:
        OptionError: another precision.
    """

    def __init__(self, plain: MedNeXt, precision: str = "float32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise OptionError(f"There is no precision {precision!r}: choose one of {', '.join(PRECISIONS)}.")
        self.plain = plain
        self.formulation = "plain"
        self._precision = precision
        self._chosen: nn.Module = plain
        self._device: torch.device | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`."""
        if x.device != self._device:
            self._device = x.device
            self._choose(x)
        if self._chosen is not self.plain:
            try:
                return self._chosen(x)
            except (RuntimeError, MemoryError, OSError) as error:
                logger.warning("The %s network failed (%s): going on without it.", self.formulation, error)
                self._take("plain", self.plain)
        logits = self.plain(x)
        assert isinstance(logits, Tensor)
        return logits

    def _choose(self, x: Tensor) -> None:
        self._take("plain", self.plain)
        if x.device.type != "cpu":
            return
        probe = torch.randn(
            1, self.plain.in_channels, *_PROBE_SIDES, generator=torch.Generator().manual_seed(0)
        )
        for name, make in native_formulations(self.plain, self._precision).items():
            tolerance = _TOLERANCE_BF16 if name == _BF16 else _TOLERANCE
            network = _checked(name, make, self.plain, probe, tolerance)
            if network:
                self._take(name, network)
                return
        best = _seconds(self.plain, x)
        for name, make in other_formulations(self.plain).items():
            network = _checked(name, make, self.plain, probe, _TOLERANCE)
            if network and (seconds := _seconds(network, x)) < best:
                best = seconds
                self._take(name, network)

    def _take(self, name: str, network: nn.Module) -> None:
        self.formulation, self._chosen = name, network
        logger.info("The network runs in its %s formulation on %s.", name, self._device)


def native_formulations(network: MedNeXt, precision: str) -> dict[str, Formulation]:
    """Those on native kernels, by name, the most wanted first; where they work they are the fastest."""
    library = native_library()
    if library is None or not native_network.is_supported(network):
        return {}
    found: dict[str, Formulation] = {}
    if precision == "bfloat16":
        found[_BF16] = lambda: native_network.NativeMedNeXt(network, Kernels(library, "avx512_bf16"))
    found["native"] = lambda: native_network.NativeMedNeXt(network, Kernels(library))
    return found


def other_formulations(network: MedNeXt) -> dict[str, Formulation]:
    """Those without native kernels, by name; which is the fastest depends on machine and image."""
    found: dict[str, Formulation] = {}
    if lean_network.is_supported(network):
        found["lean"] = lambda: lean_network.LeanMedNeXt(network)
    if openvino_network.is_installed() and not network.deep_supervision:
        found["OpenVINO"] = lambda: openvino_network.OpenVinoMedNeXt(network)
    return found


def _checked(
    name: str, make: Formulation, plain: MedNeXt, probe: Tensor, tolerance: float
) -> nn.Module | None:
    """The network if it gives the reference's logits for the probe; None, with a line in the log, if not."""
    try:
        network = make()
        found, expected = network(probe), plain(probe)
    except (RuntimeError, MemoryError, OSError, ImportError, DeviceError) as error:
        logger.warning("The %s network cannot be used here (%s).", name, error)
        return None
    difference = float((found - expected).abs().max() / expected.abs().max())
    if difference <= tolerance:  # not so for NaN either
        return network
    logger.warning("The %s network is wrong by %.1e of the largest logit: it is not used.", name, difference)
    return None


def _seconds(network: nn.Module, x: Tensor) -> float:
    started = time.perf_counter()
    network(x)
    return time.perf_counter() - started
