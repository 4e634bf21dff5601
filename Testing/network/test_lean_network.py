"""The lean formulation gives the reference's logits."""

from __future__ import annotations

import pytest
import torch
from mednext.network.lean import LeanMedNeXt
from mednext.network.mednext import MedNeXt
from torch import Tensor


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel_size": 5, "in_channels": 4},
        {"kernel_size": 7, "channels": 5},
        {"residual": False, "resampling": "bottleneck"},
        {"down_expansion": (3, 1, 2, 4)},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()) or "small",
)
def test_the_lean_formulation_is_as_near_to_double_precision_as_the_reference(options: dict) -> None:
    torch.manual_seed(0)
    arguments = {"in_channels": 1, "num_classes": 3, "expansion": (2,) * 9, "blocks": (1,) * 9, "channels": 8}
    network = MedNeXt(**(arguments | options)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.normal_(0.3, 0.5)
    image = torch.randn(1, network.in_channels, 32, 16, 48)
    with torch.inference_mode():
        found = LeanMedNeXt(network)(image)
        exact = network.double()(image.double())
    assert isinstance(exact, Tensor)
    assert float((found - exact).abs().max() / exact.abs().max()) < 2e-6
