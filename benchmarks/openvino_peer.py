"""MedNeXt on OpenVINO, a peer of our own formulations."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from mednext.network.mednext import MedNeXt
from mednext.network.patch_sides import SIDE_DIVISOR
from torch import Tensor


def is_installed() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def openvino_forward(network: MedNeXt) -> Callable[[Tensor], Tensor]:
    """A network on OpenVINO, in float32 on the CPU: maps `(N, C, Z, Y, X)` to logits."""
    # Its telemetry reports every conversion to its makers; without that package it uses a stub.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    sides = network.dimensions
    example = torch.zeros(1, network.in_channels, *(2 * SIDE_DIVISOR,) * sides)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing fixes the checks of the image's sides, as intended
        shape = [-1, network.in_channels, *(-1,) * sides]
        model = openvino.convert_model(network, example_input=example, input=[shape])
    compiled: dict[tuple[int, ...], Any] = {}

    def forward(x: Tensor) -> Tensor:
        if tuple(x.shape) not in compiled:
            compiled.clear()  # each holds its activations
            model.reshape(list(x.shape))
            # Without the hint it computes in bfloat16 on processors that have it.
            hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
            compiled[tuple(x.shape)] = openvino.Core().compile_model(model, "CPU", hints)
        return torch.from_numpy(compiled[tuple(x.shape)](x.contiguous().numpy())[0].copy())

    return forward
