"""MONAI's MedNeXt S and ours are the same function, heads and gradients alike; B, M and L are refused."""

from __future__ import annotations

import pytest
import torch
from mednext.checkpoints import convert_state_dict, infer_network
from mednext.errors import IncompatibleCheckpointError
from mednext.network.mednext import MedNeXt
from monai.networks.nets.mednext import MedNeXt as MonaiMedNeXt
from monai.networks.nets.mednext import create_mednext
from torch import Tensor, nn

SIDES = {3: (16, 32, 16), 2: (32, 48)}


def randomised(network: nn.Module) -> nn.Module:
    """All parameters drawn anew: MONAI's response norms start with zeros, which would hide them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.train()  # MONAI gives all heads in training only


def image(dimensions: int, channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, channels, *SIDES[dimensions], generator=generator)


def squared(heads: list[Tensor]) -> Tensor:
    return torch.stack([head.square().mean() for head in heads]).sum()


def assert_same_function(theirs: nn.Module, ours: nn.Module, x: Tensor) -> None:
    """Equal heads, and equal gradients of every parameter that MONAI has."""
    expected, found = theirs(x), ours(x)
    assert len(expected) == len(found) == 5
    for head, other in zip(expected, found, strict=True):
        assert torch.equal(head, other)
    squared(list(expected)).backward()
    squared(found).backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    converted = convert_state_dict({k: v for k, v in gradients.items() if v is not None}, "monai")
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        if name.startswith("down_") and "grn" in name:
            continue  # MONAI's down blocks have no response norm
        torch.testing.assert_close(parameter.grad, converted[name], rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize(("dimensions", "kernel_size"), [(3, 3), (3, 5), (2, 3)])
def test_s_gives_the_same_numbers_and_gradients(dimensions: int, kernel_size: int) -> None:
    theirs = randomised(create_mednext("S", dimensions, 2, 3, kernel_size=kernel_size, deep_supervision=True))
    ours = MedNeXt.variant("S", 2, 3, kernel_size, deep_supervision=True, dimensions=dimensions)
    ours.load_state_dict(convert_state_dict(theirs.state_dict(), "monai"))
    assert_same_function(theirs, ours, image(dimensions))


def test_s_with_global_response_norm_gives_the_same_numbers_and_gradients() -> None:
    theirs = randomised(
        MonaiMedNeXt(
            in_channels=2,
            out_channels=3,
            kernel_size=3,
            deep_supervision=True,
            use_residual_connection=True,
            global_resp_norm=True,
        )
    )
    ours = MedNeXt.variant("S", 2, 3, deep_supervision=True, grn=True)
    ours.load_state_dict(convert_state_dict(theirs.state_dict(), "monai"))
    assert_same_function(theirs, ours, image(3))


def test_a_network_without_residuals_gives_the_same_numbers_and_gradients() -> None:
    theirs = randomised(MonaiMedNeXt(in_channels=2, out_channels=3, kernel_size=3, deep_supervision=True))
    state = convert_state_dict(theirs.state_dict(), "monai")
    ours = MedNeXt.variant("S", 2, 3, deep_supervision=True, residual=False, resampling="bottleneck")
    ours.load_state_dict(state)
    assert_same_function(theirs, ours, image(3))


def test_s_of_monai_is_recognised() -> None:
    with torch.device("meta"):
        state = create_mednext("S", in_channels=4, out_channels=3, kernel_size=5).state_dict()
        spec = infer_network(convert_state_dict(state, "monai"))
    assert (spec.variant, spec.in_channels, spec.num_classes, spec.kernel_size) == ("S", 4, 3, 5)


@pytest.mark.parametrize("variant", ["B", "M", "L"])
def test_b_m_and_l_are_refused_with_the_reason(variant: str) -> None:
    with torch.device("meta"):
        state = create_mednext(variant).state_dict()
    with pytest.raises(IncompatibleCheckpointError, match="down block 0 expands by"):
        convert_state_dict(state, "monai")
