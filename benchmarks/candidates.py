"""Peers, the reference and our formulations of the forward pass of one network on a CPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from mednext.checkpoints import convert_state_dict
from mednext.errors import DeviceError
from mednext.model.description import NetworkSpec
from mednext.network import lean, native
from mednext.network.mednext import VARIANTS, MedNeXt
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

    def spec(self) -> NetworkSpec:
        """The description of this network for one channel and `CLASSES` classes."""
        size = VARIANTS[self.variant]
        return NetworkSpec(self.variant, 1, CLASSES, self.kernel, size.expansion, size.blocks)


def monai_network(size: Size) -> nn.Module | None:
    """MONAI's network, or None; its B, M and L differ from the paper's: their down blocks expand by less."""
    try:
        from monai.networks.nets.mednext import create_mednext
    except ImportError:
        return None
    return create_mednext(size.variant, 3, 1, CLASSES, size.kernel).eval()


def forwards(size: Size, compiled: bool) -> dict[str, Callable[[], Forward]]:
    """Functions that make each candidate that can run here, by name; MONAI's S has the same weights."""
    torch.manual_seed(0)
    ours = MedNeXt.variant(size.variant, 1, CLASSES, size.kernel).eval()
    monai = monai_network(size)
    found: dict[str, Callable[[], Forward]] = {}
    if monai is not None:
        if size.variant == "S":
            ours.load_state_dict(convert_state_dict(monai.state_dict(), "monai"))
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
        try:
            half = Kernels(library, "avx512_bf16")
        except DeviceError:  # this processor has no products of bfloat16
            return found
        found["native bf16"] = lambda: native.NativeMedNeXt(ours, half)
    return found


def channels_last(network: MedNeXt) -> MedNeXt:
    """A copy with the channels last in memory."""
    return deepcopy(network).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _compiled(network: MedNeXt) -> Forward:
    # With dynamic shapes, Inductor fails at the second one.
    compiled = torch.compile(channels_last(network), dynamic=False)
    return lambda x: compiled(x.contiguous(memory_format=torch.channels_last_3d))
