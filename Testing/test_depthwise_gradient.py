"""The kernel's gradient as sums of shifted products is torch's own."""

from __future__ import annotations

import pytest
import torch
from mednext.network import MedNeXt
from mednext_training.depthwise_gradient import kernel_gradient, use_shifted_gradients
from torch import Tensor


def small_network(**options: object) -> MedNeXt:
    torch.manual_seed(0)
    arguments: dict = {"expansion": (2,) * 9, "blocks": (1,) * 9, "channels": 4, "deep_supervision": True}
    return MedNeXt(in_channels=2, num_classes=3, **(arguments | options))


def gradients(network: MedNeXt, image: Tensor) -> dict[str, Tensor]:
    """Of each parameter, and the logits."""
    heads = network(image)
    sum(head.float().square().mean() for head in heads).backward()
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    return found | {f"head {level}": head.detach() for level, head in enumerate(heads)}


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 5, "checkpointing": "expansion"},
        {"resampling": "bottleneck", "residual": False, "checkpointing": "blocks"},
        {"resampling": "standard", "grn": True},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_gradients_are_torchs_own(options: dict) -> None:
    image = torch.randn(2, 2, 32, 16, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain, shifted = small_network(**options).double(), small_network(**options).double()
    assert use_shifted_gradients(shifted)
    expected, found = gradients(plain, image), gradients(shifted, image)
    for name, value in expected.items():
        # the norm cancels the bias of the depthwise convolution: its gradient is rounding noise
        scale = 1.0 if name.endswith("conv1.bias") else float(value.abs().max())
        assert float((found[name] - value).abs().max()) <= 1e-5 * scale, name


def test_mixed_precision_reaches_the_convolution() -> None:
    """On the CPU bfloat16 stands for what a card has."""
    image = torch.randn(1, 2, 32, 16, 32, generator=torch.Generator().manual_seed(1))
    plain, shifted = small_network(), small_network()
    use_shifted_gradients(shifted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = gradients(plain, image), gradients(shifted, image)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        scale = 1.0 if name.endswith("conv1.bias") else float(value.abs().max())
        assert float((found[name] - value).abs().max()) <= 0.1 * scale, name


def test_products_that_leave_the_range_of_half_precision_are_right() -> None:
    large = torch.full((1, 1, 4, 4, 4), 3e4, dtype=torch.float16)
    gradient = kernel_gradient(large, large, 3, 1)
    assert gradient[0, 0, 1, 1, 1].item() == pytest.approx(64 * float(large[0, 0, 0, 0, 0]) ** 2, rel=1e-6)


def test_two_dimensional_networks_stay_as_they_are() -> None:
    network = small_network(dimensions=2)
    assert not use_shifted_gradients(network)
    assert network(torch.zeros(1, 2, 32, 16))[0].shape == (1, 3, 32, 16)


def test_names_and_values_of_the_weights_stay() -> None:
    plain, shifted = small_network(), small_network()
    use_shifted_gradients(shifted)
    assert list(shifted.state_dict()) == list(plain.state_dict())
