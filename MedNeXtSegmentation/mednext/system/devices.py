"""The devices of this machine: listing them, choosing one, and the number of CPU threads."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from numbers import Integral
from typing import TYPE_CHECKING

from ..errors import DeviceError, OptionError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

DEVICES = ("auto", "cuda", "mps", "cpu")
PRECISIONS = ("float32", "bfloat16")  # of activations and products on the CPU

_TENSOR_CORES = (8, 0)  # the lowest compute capability that Triton's compiler supports

# Messages of torch's allocators that raise a plain RuntimeError.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
# Of those that torch, its libraries and Triton raise for a card whose state is lost.
_LOST = ("CUDA error", "HIP error", "cuDNN error", "CUBLAS_STATUS", "Triton Error", "MPS backend")


def available_devices() -> tuple[str, ...]:
    """The devices of this machine, the fastest first."""
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, present in found.items() if present)


def check_device_name(name: str) -> None:
    """Refuse a name that no device can have, with `OptionError`; whether it is there is not asked."""
    kind, _, number = str(name).partition(":")
    if kind not in DEVICES or (number and (kind != "cuda" or not number.isdecimal())):
        raise OptionError(
            f"There is no device {name!r}: choose one of {', '.join(DEVICES)}, or cuda:1 and so on."
        )


def choose_device(name: str = "auto") -> torch.device:
    """The device of this name; for "auto" the fastest one.

    Raises:
        OptionError: the name is none of "auto", "cuda", "cuda:1", "mps", "cpu".
        DeviceError: this machine has no such device.
    """
    import torch

    check_device_name(name)
    kind, _, number = name.partition(":")
    present = available_devices()
    if kind == "auto":
        return torch.device(present[0])
    if kind not in present:
        raise DeviceError(
            f"The device {name!r} is not available here, only {', '.join(present)}. Choose one of them, or "
            f"install a build of PyTorch for {kind}."
        )
    if number and int(number) >= torch.cuda.device_count():
        raise DeviceError(
            f"There is no device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices."
        )
    return torch.device(name)


@dataclass(frozen=True)
class Accelerator:
    """A device beside the CPU.

    Attributes:
        name: "cuda", "cuda:1" or "mps".
        title: the name shown to people.
        memory_bytes: its whole memory; on a Mac, the recommended share of the computer's memory.
    """

    name: str
    title: str
    memory_bytes: int


def accelerators() -> tuple[Accelerator, ...]:
    """The devices beside the CPU, the one that "auto" chooses first. Allocates nothing on them."""
    import torch

    try:
        if torch.cuda.is_available():
            cards = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
            return tuple(
                Accelerator(f"cuda:{n}" if n else "cuda", card.name, card.total_memory)
                for n, card in enumerate(cards)
            )
        if torch.backends.mps.is_available():
            return (Accelerator("mps", "Apple GPU", int(torch.mps.recommended_max_memory())),)
    except RuntimeError:  # a broken driver; the first run reports it
        return ()
    return ()


def device_name(device: torch.device) -> str:
    """The device's name for people, with the card's name for CUDA."""
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def runs_triton(device: torch.device) -> bool:
    """Whether Triton is installed and supports this device: NVIDIA, compute capability 8.0 and later."""
    import torch

    if device.type != "cuda" or torch.version.hip is not None or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= _TENSOR_CORES


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of numpy or torch means that memory ran out."""
    import torch

    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def is_lost(error: BaseException) -> bool:
    """Whether an exception of torch means that a device failed, for another reason than its memory."""
    import torch

    raised = isinstance(error, getattr(torch, "AcceleratorError", ()))  # torch 2.8
    told = isinstance(error, RuntimeError) and any(text in str(error) for text in _LOST)
    return (raised or told) and not is_out_of_memory(error)


def usable_cores() -> int:
    """The number of processor cores that this process may run on."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux: a cluster job may use only some of the cores
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def check_threads(count: int | None) -> None:
    """Refuse a number of threads below one, with `OptionError`."""
    if count is not None and (isinstance(count, bool) or not isinstance(count, Integral) or count < 1):
        raise OptionError(f"The number of threads must be at least 1, not {count}.")


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let torch, the native kernels and ITK use this many CPU threads within the block.

    A number above that of the cores would only be slower: it is reduced with a warning in the log, so that
    one command serves many machines. None means torch's own number.

    Raises:
        OptionError: the number is below one.
    """
    import SimpleITK as sitk
    import torch

    check_threads(count)
    cores = usable_cores()
    if count is not None and count > cores:
        logger.warning("%d threads were asked for, but there are %d cores: using %d.", count, cores, cores)
    of_torch, of_itk = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    used = min(count or of_torch, cores)
    torch.set_num_threads(used)  # the native kernels ask torch
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(used)
    try:
        yield
    finally:
        torch.set_num_threads(of_torch)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(of_itk)
