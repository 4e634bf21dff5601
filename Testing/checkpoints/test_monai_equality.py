"""MONAI's MedNeXt and ours are the same function in all sizes, heads and gradients alike; MIST's too."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch
from mednext.checkpoints import convert_state_dict, infer_network
from mednext.checkpoints.state_dicts import program_of
from mednext.errors import BundleFormatError, IncompatibleCheckpointError
from mednext.model.description import NetworkSpec
from mednext.network.blocks import UpBlock
from mednext.network.mednext import MedNeXt
from mednext.system.json_reading import Fields
from torch import Tensor, nn

SIDES = {3: (16, 32, 16), 2: (32, 48)}


def monais(factory: str, *arguments: Any, **named: Any) -> nn.Module:
    """MONAI's network. MONAI is imported late, since every process of the tests imports this file."""
    from monai.networks.nets import mednext

    return getattr(mednext, factory)(*arguments, **named)


def create_mednext(*arguments: Any, **named: Any) -> nn.Module:
    return monais("create_mednext", *arguments, **named)


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
        monais(
            "MedNeXt",
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
    plain = monais("MedNeXt", in_channels=2, out_channels=3, kernel_size=3, deep_supervision=True)
    theirs = randomised(plain)
    state = convert_state_dict(theirs.state_dict(), "monai")
    ours = MedNeXt.variant("S", 2, 3, deep_supervision=True, residual=False, resampling="bottleneck")
    ours.load_state_dict(state)
    assert_same_function(theirs, ours, image(3))


@pytest.mark.parametrize("variant", ["S", "B", "M", "L"])
def test_every_size_is_recognised_with_the_expansion_of_its_down_blocks(variant: str) -> None:
    with torch.device("meta"):
        state = create_mednext(variant, in_channels=4, out_channels=3, kernel_size=5).state_dict()
        spec = infer_network(convert_state_dict(state, "monai"))
    assert (spec.in_channels, spec.num_classes, spec.kernel_size) == (4, 3, 5)
    expected = {"S": None, "B": (2, 3, 4, 4), "M": (2, 3, 4, 4), "L": (3, 4, 8, 8)}
    assert spec.down_expansion == expected[variant]
    assert spec.variant == ("S" if variant == "S" else None), "B, M and L of the paper are other networks"


@pytest.mark.parametrize("variant", ["M", "L"])
def test_the_larger_sizes_give_the_same_numbers(variant: str) -> None:
    theirs = randomised(create_mednext(variant, 3, 2, 3, deep_supervision=True))
    ours = recognised(theirs)
    with torch.no_grad():
        for head, other in zip(theirs(image(3)), ours(image(3)), strict=True):
            assert torch.equal(head, other)


def test_b_gives_the_same_gradients() -> None:
    theirs = randomised(create_mednext("B", 3, 2, 3, deep_supervision=True))
    assert_same_function(theirs, recognised(theirs), image(3))


def recognised(theirs: nn.Module) -> MedNeXt:
    state = convert_state_dict(theirs.state_dict(), "monai")
    ours = infer_network(state).build()
    ours.load_state_dict(state)
    return ours.train()


def test_up_blocks_with_output_padding_give_the_numbers_of_torch() -> None:
    """The block of MIST 2, written down with torch's own layers."""
    torch.manual_seed(0)
    block = UpBlock(4, 2, 3, 5)
    block.compute_last_plane()
    conv1 = nn.ConvTranspose3d(4, 4, 5, stride=2, padding=2, output_padding=1, groups=4)
    res_conv = nn.ConvTranspose3d(4, 2, 1, stride=2, output_padding=1)
    conv1.load_state_dict(block.conv1.state_dict())
    res_conv.load_state_dict(block.res_conv.state_dict())
    x = torch.randn(1, 4, 4, 6, 8)
    expected = block.conv3(block.act(block.conv2(block.norm(conv1(x))))) + res_conv(x)
    assert expected.shape[2:] == (8, 12, 16)
    assert torch.equal(block(x), expected)


def test_a_network_of_mist_2_is_told_from_monais_by_its_head() -> None:
    state = create_mednext("S", in_channels=2, out_channels=3).state_dict()
    assert program_of(state) == "monai"
    mist = {**state, "out_0.conv_out.weight": state["out_0.conv_out.weight"].transpose(0, 1)}
    assert program_of(mist) == "mist"
    assert torch.equal(
        convert_state_dict(mist, "mist")["out_0.conv_out.weight"], state["out_0.conv_out.weight"]
    )


def test_where_monai_and_mist_look_alike_the_import_asks() -> None:
    with torch.device("meta"):
        state = create_mednext("S", out_channels=32).state_dict()
    with pytest.raises(IncompatibleCheckpointError, match='"program": "mist"'):
        program_of(state)


@pytest.mark.parametrize(
    "change",
    [{"down_expansion": (2, 3, 2, 3)}, {"output_padding": True}],
    ids=lambda change: next(iter(change)),
)
def test_a_network_of_another_program_is_described_and_built_again(change: dict[str, Any]) -> None:
    spec = NetworkSpec(None, 1, 3, 3, (2,) * 9, (1,) * 9, channels=4, **change)
    written = {key: value for key, value in asdict(spec).items() if key != "deep_supervision"}
    again = NetworkSpec.read(Fields(json.loads(json.dumps(written)), "a test", ValueError))  # type: ignore[arg-type]
    assert again == spec
    assert again.build().state_dict().keys() == spec.build().state_dict().keys()


@pytest.mark.parametrize("change", [{"down_expansion": (3, 4, 8, 8)}, {"output_padding": True}])
def test_a_size_of_the_paper_has_its_own_down_and_up_blocks(change: dict[str, Any]) -> None:
    spec = NetworkSpec("S", 1, 3, 3, (2,) * 9, (2,) * 9, **change)
    with pytest.raises(BundleFormatError, match="Set the variant to null"):
        spec.build()
