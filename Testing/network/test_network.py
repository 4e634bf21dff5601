"""The network has the paper's sizes, shapes and switches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mednext.errors import OptionError
from mednext.network.blocks import global_response_norm
from mednext.network.mednext import MedNeXt
from torch import Tensor, nn

# Counted on the reference implementation with one input, 14 classes and deep supervision. It has one
# trainable number more, its `dummy_tensor`.
REFERENCE_PARAMETERS = {
    ("S", 3): 5_564_807,
    ("S", 5): 5_994_439,
    ("B", 3): 10_540_199,
    ("B", 5): 10_969_831,
    ("M", 3): 17_562_855,
    ("M", 5): 18_274_727,
    ("L", 3): 61_793_159,
    ("L", 5): 63_006_791,
}


def tiny(**changes: Any) -> MedNeXt:
    """A network of 4 channels, one block per stage, with weights that are always the same."""
    torch.manual_seed(0)
    arguments = {"in_channels": 1, "num_classes": 3, "expansion": (2,) * 9, "blocks": (1,) * 9, "channels": 4}
    return MedNeXt(**{**arguments, **changes})


def image(*sides: int) -> Tensor:
    return torch.randn(1, 1, *sides, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("variant", "kernel_size"), REFERENCE_PARAMETERS)
def test_the_sizes_have_the_parameters_of_the_reference(variant: str, kernel_size: int) -> None:
    with torch.device("meta"):
        network = MedNeXt.variant(variant, 1, 14, kernel_size=kernel_size, deep_supervision=True)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count + 1 == REFERENCE_PARAMETERS[variant, kernel_size]


@pytest.mark.parametrize("sides", [(16, 32, 48), (32, 32)])
def test_the_output_has_a_channel_per_class_on_the_grid_of_the_input(sides: tuple[int, ...]) -> None:
    network = tiny(dimensions=len(sides))
    assert network(image(*sides)).shape == (1, 3, *sides)


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_every_kernel_size_keeps_the_grid(kernel_size: int) -> None:
    assert tiny(kernel_size=kernel_size)(image(16, 32, 16)).shape == (1, 3, 16, 32, 16)


@pytest.mark.parametrize("sides", [(32, 48, 32), (32, 64)])
def test_deep_supervision_gives_five_scales(sides: tuple[int, ...]) -> None:
    outputs = tiny(dimensions=len(sides), deep_supervision=True)(image(*sides))
    scales = [tuple(side // 2**level for side in sides) for level in range(5)]
    assert [output.shape for output in outputs] == [(1, 3, *scale) for scale in scales]


def test_the_finest_head_does_not_depend_on_deep_supervision() -> None:
    trained = tiny(deep_supervision=True)
    plain = tiny()
    plain.load_state_dict(trained.state_dict(), strict=False)
    x = image(16, 32, 16)
    assert torch.equal(plain(x), trained(x)[0])


@pytest.mark.parametrize("checkpointing", ["expansion", "blocks"])
@pytest.mark.parametrize(
    "options", [{}, {"grn": True}, {"resampling": "standard"}, {"deep_supervision": True}]
)
def test_gradient_checkpointing_changes_no_gradient(options: dict[str, Any], checkpointing: str) -> None:
    networks = [tiny(checkpointing=what, **options) for what in ("none", checkpointing)]
    x = image(16, 32, 16)
    for network in networks:
        outputs = network(x)
        heads = outputs if isinstance(outputs, list) else [outputs]
        sum(head.square().mean() for head in heads).backward()
    for (name, plain), again in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        assert plain.grad is not None and again.grad is not None, name
        torch.testing.assert_close(again.grad, plain.grad, rtol=1e-5, atol=1e-7, msg=name)


def test_checkpointing_the_expansion_keeps_less_and_checkpointing_blocks_least() -> None:
    def kept(network: MedNeXt) -> int:
        """Different voxels that the backward pass holds on to."""
        storages: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = network(image(32, 32, 32))
        assert isinstance(result, Tensor)
        return sum(storages.values())

    network = tiny()
    sizes = []
    for what in ("none", "expansion", "blocks"):
        network.checkpoint(what)
        sizes.append(kept(network))
    assert sizes[0] > 2 * sizes[1] > 2 * sizes[2]


def test_checkpointing_is_named_or_on_or_off() -> None:
    assert [tiny(checkpointing=what).checkpointing for what in (True, False)] == ["blocks", "none"]
    with pytest.raises(OptionError, match="'everything'"):
        tiny(checkpointing="everything")


def test_global_response_norm_starts_as_the_identity() -> None:
    with_norm, without = tiny(grn=True), tiny()
    with_norm.load_state_dict(without.state_dict(), strict=False)
    x = image(16, 32, 16)
    assert torch.equal(with_norm(x), without(x))


def test_global_response_norm_acts_once_its_scale_is_learned() -> None:
    network = tiny(grn=True)
    x = image(16, 32, 16)
    before = network(x)
    with torch.no_grad():
        network.get_parameter("enc_block_0.0.grn_gamma").fill_(0.5)
    assert not torch.allclose(network(x), before)


def test_the_first_down_block_has_no_global_response_norm() -> None:
    """A quirk of the reference, which its weights depend on."""
    names = dict(tiny(grn=True).named_parameters())
    assert "down_0.grn_gamma" not in names
    assert {"down_1.grn_gamma", "up_3.grn_gamma", "up_0.grn_gamma"} <= set(names)


@pytest.mark.parametrize(("name", "count"), [("v2-B", 61_969_507), ("v2-W", 246_536_387)])
def test_version_2_has_the_parameters_of_its_paper(name: str, count: int) -> None:
    with torch.device("meta"):
        network = MedNeXt.variant(name, in_channels=1, num_classes=3)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert "down_0.grn_gamma" in dict(network.named_parameters())


def test_global_response_norm_is_relative_to_the_mean_or_the_sum_over_channels() -> None:
    x = torch.zeros(1, 2, 1, 1, 2)
    x[0, 0] = torch.tensor([3.0, 4.0])  # a norm of 5, and one of 0
    one, none = torch.ones(1, 2, 1, 1, 1), torch.zeros(1, 2, 1, 1, 1)
    mean, total = (global_response_norm(x, one, none, which)[0, 0, 0, 0] for which in ("mean", "sum"))
    torch.testing.assert_close(mean, torch.tensor([9.0, 12.0]))
    torch.testing.assert_close(total, torch.tensor([6.0, 8.0]))


def test_checkpointing_can_be_limited_to_the_stages_that_need_it() -> None:
    network = tiny()
    network.checkpoint("expansion", stages=(0, 8))
    chosen = {name.split(".")[0] for name, part in network.named_modules() if is_recomputed(part)}
    assert chosen == {"enc_block_0", "up_0", "dec_block_0"}
    with pytest.raises(OptionError, match="0 to 8"):
        network.checkpoint("blocks", stages=(9,))


def is_recomputed(part: torch.nn.Module) -> bool:
    return getattr(part, "recompute_expansion", False)


def test_standard_resampling_is_a_strided_and_a_transposed_convolution() -> None:
    network = tiny(resampling="standard")
    assert isinstance(network.get_submodule("down_0"), nn.Conv3d)
    assert isinstance(network.get_submodule("up_3"), nn.ConvTranspose3d)
    assert network(image(16, 32, 16)).shape == (1, 3, 16, 32, 16)


def test_resampling_without_residuals_has_no_residual_convolution() -> None:
    network = tiny(resampling="bottleneck")
    assert not [name for name, _ in network.named_parameters() if "res_conv" in name]
    assert network(image(16, 32, 16)).shape == (1, 3, 16, 32, 16)


def test_the_residual_of_a_stage_can_be_switched_off() -> None:
    residual, plain = tiny(), tiny(residual=False)
    plain.load_state_dict(residual.state_dict())
    block = "enc_block_0.0"
    x = torch.randn(1, 4, 8, 8, 8)
    assert torch.allclose(residual.get_submodule(block)(x), plain.get_submodule(block)(x) + x, atol=1e-6)


def test_an_up_block_pads_on_the_left() -> None:
    """Its 2n-1 voxels are completed with one plane of zeros before the first one."""
    up = tiny().get_submodule("up_0")
    y = up(torch.randn(1, 8, 4, 4, 4))
    assert y.shape == (1, 4, 8, 8, 8)
    assert not y[:, :, 0].any() and not y[:, :, :, 0].any() and not y[..., 0].any()
    assert y[:, :, 1:, 1:, 1:].any()


def test_down_blocks_expand_by_the_ratio_of_the_next_stage() -> None:
    network = tiny(expansion=(1, 2, 3, 4, 5, 4, 3, 2, 1))
    hidden = [network.get_parameter(f"down_{level}.conv2.weight").shape[0] for level in range(4)]
    assert hidden == [4 * 2, 8 * 3, 16 * 4, 32 * 5]


def test_a_patch_of_one_voxel_at_the_bottom_is_refused() -> None:
    """The norm of the bottleneck has nothing to normalise over."""
    with pytest.raises(OptionError, match=r"at least 32 voxels"):
        tiny()(image(16, 16, 16))


@pytest.mark.parametrize("sides", [(16, 33, 32), (40, 32, 32), (32, 32, 8)])
def test_sides_that_cannot_be_halved_four_times_are_refused(sides: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="divisible by 16"):
        tiny()(image(*sides))


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel_size": 4},
        {"dimensions": 1},
        {"expansion": (2,) * 8},
        {"blocks": (1,) * 10},
        {"in_channels": 0},
        {"num_classes": 0},
        {"resampling": "bilinear"},
    ],
)
def test_impossible_options_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        tiny(**changes)


def test_an_unknown_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match="'XL': choose one of S, B, M, L"):
        MedNeXt.variant("XL", 1, 2)
