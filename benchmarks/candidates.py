"""Peers, the reference and our formulations of the forward pass of one network on a CPU."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from mednext.checkpoints import convert_state_dict
from mednext.errors import DeviceError
from mednext.network import lean, native
from mednext.network.mednext import MedNeXt
from mednext.network.native_library import Kernels, native_library
from torch import Tensor, nn

from . import openvino_peer

CLASSES = 14
REFERENCE = "reference"
MONAI = "MONAI"
COMPILED = "torch.compile, channels-last"

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Size:
    """A variant and its kernel, such as "S3"."""

    variant: str
    kernel: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read "S3", "L5" and so on."""
        return cls(text[0].upper(), int(text[1:]))

    def __str__(self) -> str:
        return f"{self.variant} k{self.kernel}"


def networks(size: Size) -> tuple[nn.Module | None, MedNeXt]:
    """MONAI's network (None without MONAI) and ours; with the same weights for S.

    MONAI's B, M and L differ from the paper's: their down blocks expand by less, so that no weights fit.
    """
    torch.manual_seed(0)
    ours = MedNeXt.variant(size.variant, 1, CLASSES, size.kernel).eval()
    try:
        from monai.networks.nets.mednext import create_mednext
    except ImportError:
        return None, ours
    theirs = create_mednext(size.variant, 3, 1, CLASSES, size.kernel).eval()
    if size.variant == "S":
        ours.load_state_dict(convert_state_dict(theirs.state_dict(), "monai"))
    return theirs, ours


def forwards(size: Size, compiled: bool) -> dict[str, Callable[[], Forward]]:
    """Functions that make each candidate that can run here, by name."""
    monai, ours = networks(size)
    found: dict[str, Callable[[], Forward]] = {}
    if monai is not None:
        found[MONAI] = lambda: monai
    found[REFERENCE] = lambda: ours
    if compiled and shutil.which("c++"):
        found[COMPILED] = lambda: _compiled(ours)
    found["lean"] = lambda: lean.LeanMedNeXt(ours)
    if openvino_peer.is_installed():
        found["OpenVINO fp32"] = lambda: openvino_peer.openvino_forward(ours)
    library = native_library()
    if library is not None:
        found["native fp32"] = lambda: native.NativeMedNeXt(ours, Kernels(library))
        half = _kernels(library, "avx512_bf16")
        if half is not None:
            found["native bf16"] = lambda: native.NativeMedNeXt(ours, half)
    return found


def _compiled(network: MedNeXt) -> Forward:
    copy = deepcopy(network).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    compiled = torch.compile(copy, dynamic=False)  # with dynamic shapes, Inductor fails at the second one
    return lambda x: compiled(x.contiguous(memory_format=torch.channels_last_3d))


def _kernels(library: ctypes.CDLL, name: str) -> Kernels | None:
    try:
        return Kernels(library, name)
    except DeviceError:
        return None
