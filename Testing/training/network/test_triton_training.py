"""A training step on Triton's kernels has torch's gradients. Without a card, Triton interprets them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fixtures.machines.triton_device import DEVICE  # skips all of this where there is no Triton
from mednext.network.blocks import DownBlock, MedNeXtBlock, UpBlock
from mednext.network.mednext import MedNeXt
from torch import Tensor, nn

# isort: split
from mednext_training.network import triton_blocks, triton_layers
from mednext_training.network.triton_blocks import use_triton_kernels
from mednext_training.network.triton_layers import (
    channel_norm,
    depthwise,
    depthwise_input_gradient,
    kernel_gradient,
)

EXACT = 2e-6  # relative, in float32
HALF = {torch.float16: 2e-3, torch.bfloat16: 2e-2}
SIDES = (2, 3, 5)  # odd and even


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    difference = (found.detach().cpu().double() - expected.detach()).abs().max()
    return float(difference) <= tolerance * float(expected.detach().abs().max())


def convolved(x: Tensor, weight: Tensor, stride: int, transposed: bool) -> Tensor:
    """By torch."""
    convolve = F.conv_transpose3d if transposed else F.conv3d
    return convolve(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))


def operands(channels: int, k: int, sides: tuple[int, ...] = SIDES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, channels, *sides, generator=generator) + 0.5
    return x, torch.randn(channels, 1, k, k, k, generator=generator)


@pytest.mark.parametrize(
    ("k", "dtype"),
    [(3, torch.float32), (5, torch.float32), (3, torch.float16), (3, torch.bfloat16)],
    ids=lambda value: str(value).removeprefix("torch."),
)
@pytest.mark.parametrize(("stride", "transposed"), [(1, False), (2, False), (2, True)])
def test_convolution_and_gradients_are_torchs(
    k: int, stride: int, transposed: bool, dtype: torch.dtype
) -> None:
    tolerance = HALF.get(dtype, EXACT)
    x, weight = operands(2, k)
    x = x.to(dtype)  # the judge and the kernels get the same
    exact = [x.double().requires_grad_(), weight.double().requires_grad_()]
    expected = convolved(*exact, stride, transposed)
    slope = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected.backward(slope.double())
    ours = [each.detach().to(DEVICE).requires_grad_() for each in (x, weight, torch.ones(2))]
    found = depthwise(*ours, stride, transposed)
    found.backward(slope.to(DEVICE))
    assert close(found, expected, tolerance)
    for mine, judge in zip(ours, exact, strict=False):
        assert close(mine.grad, judge.grad, tolerance)
    assert not ours[2].grad.any(), "the norm takes the bias away"


def test_a_kernel_of_seven_has_its_gradient_too() -> None:
    x, weight = operands(2, 7, (1, 2, 4))
    exact = weight.double().requires_grad_()
    convolved(x.double(), exact, 1, False).sum().backward()
    found = kernel_gradient(x.to(DEVICE), torch.ones_like(x, device=DEVICE), 7, 1)
    assert close(found, exact.grad, EXACT)


def test_every_image_of_a_batch_is_there_and_an_even_grid_is_halved() -> None:
    x, weight = operands(2, 3, (2, 2, 6))
    exact = [torch.cat([x, 2 * x]).double().requires_grad_(), weight.double().requires_grad_()]
    convolved(*exact, 2, False).sum().backward()
    ours = [each.detach().float().to(DEVICE).requires_grad_() for each in exact]
    depthwise(*ours, torch.zeros(2, device=DEVICE), 2, False).sum().backward()
    for mine, judge in zip(ours, exact, strict=True):
        assert close(mine.grad, judge.grad, EXACT)


def test_products_beyond_the_range_of_half_precision_are_right() -> None:
    large = torch.full((1, 1, 2, 4, 4), 3e4, dtype=torch.float16, device=DEVICE)
    gradient = kernel_gradient(large, large, 3, 1)
    assert gradient[0, 0, 1, 1, 1].item() == pytest.approx(32 * float(large[0, 0, 0, 0, 0]) ** 2, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("offset", [0.5, 300.0])
def test_norm_and_gradients_are_torchs(dtype: torch.dtype, offset: float) -> None:
    """Also where the mean is far from zero: the sum of squares alone would keep no digit of the variance."""
    tolerance = HALF.get(dtype, 1e-4 if offset > 1 else EXACT)
    x = (operands(4, 3)[0] + offset).to(dtype)
    weight, bias = torch.tensor([1.0, -2.0, 0.5, 3.0]), torch.arange(4.0)
    exact = [each.double().requires_grad_() for each in (x, weight, bias)]
    expected = F.group_norm(exact[0], 4, exact[1], exact[2], 1e-5)
    slope = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected.backward(slope.double())
    ours = [each.to(DEVICE).requires_grad_() for each in (x, weight, bias)]
    found = channel_norm(*ours, 1e-5)[0]
    found.backward(slope.to(DEVICE))
    assert close(found, expected.detach(), tolerance)
    for mine, judge in zip(ours, exact, strict=True):
        assert close(mine.grad, judge.grad, tolerance)


def test_the_operators_are_as_torch_compile_takes_them() -> None:
    """Their schema, and the shapes and layouts that they promise without computing anything."""
    x, weight = (each.to(DEVICE).requires_grad_() for each in operands(2, 3, (2, 2, 4)))
    vector = torch.ones(2, device=DEVICE, requires_grad=True)
    looked_at = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(depthwise, (x, weight, vector, 2, True), test_utils=looked_at)
    torch.library.opcheck(channel_norm, (x, vector, vector, 1e-5), test_utils=looked_at)
    small = x.detach()[:, :, ::2, ::2, ::2]
    torch.library.opcheck(kernel_gradient, (x.detach(), small, 3, 2), test_utils=looked_at)
    gradient = (small, weight.detach(), [2, 2, 4], 2, False)
    torch.library.opcheck(depthwise_input_gradient, gradient, test_utils=looked_at)


def block_of(kind: type[MedNeXtBlock], **options: bool) -> MedNeXtBlock:
    torch.manual_seed(0)
    block = kind(4, {DownBlock: 8, UpBlock: 2}.get(kind, 4), 2, 3, **options)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))  # those of the response norm are zero else
    return block


def numbers(block: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output and gradients; not that of the bias that the norm takes away."""
    x = x.detach().requires_grad_()
    y = block(x)
    y.double().square().sum().backward()
    parameters = dict(block.named_parameters())
    del parameters["conv1.bias"]
    gradients = {name: parameter.grad for name, parameter in parameters.items()}
    assert x.grad is not None
    return {"x": x.grad, "y": y.detach(), **gradients}


@pytest.mark.parametrize("kind", [MedNeXtBlock, DownBlock, UpBlock])
@pytest.mark.parametrize(
    "options", [{"grn": True}, {"residual": False}], ids=["response norm", "no residual"]
)
def test_gradients_of_a_block_are_torchs(kind: type[MedNeXtBlock], options: dict[str, bool]) -> None:
    """The expansion is computed again in the backward pass."""
    x = operands(4, 3, (2, 4, 6))[0]
    expected = numbers(block_of(kind, **options).double(), x.double())
    block = block_of(kind, **options).to(DEVICE)
    block.__class__ = triton_blocks.TRITON[kind]
    block.recompute_expansion = True
    found = numbers(block, x.to(DEVICE))
    assert [name for name, value in expected.items() if not close(found[name], value, 1e-5)] == []


def test_mixed_precision_stays_half_between_the_layers_and_is_as_near_as_torchs() -> None:
    x = operands(4, 3, (2, 4, 6))[0]
    exact = numbers(block_of(MedNeXtBlock).double(), x.double())
    block = block_of(MedNeXtBlock).to(DEVICE)
    block.__class__ = triton_blocks.TRITON[MedNeXtBlock]
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        normed = block.normalise(block.convolve(x.to(DEVICE)))
        found = numbers(block, x.to(DEVICE))
        torchs = numbers(block_of(MedNeXtBlock).to(DEVICE), x.to(DEVICE))
    assert normed.dtype == torch.bfloat16
    for name, value in exact.items():
        error = (torchs[name].cpu().double() - value).abs().max() / value.abs().max()
        assert close(found[name], value, 2 * float(error) + 2e-2), name


def small_network(**options: Any) -> MedNeXt:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"expansion": (2,) * 9, "blocks": (1,) * 9, "channels": 2}
    return MedNeXt(in_channels=2, num_classes=3, deep_supervision=True, **(arguments | options))


@pytest.fixture
def _right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison before the first step, which has a test of its own."""
    monkeypatch.setattr(triton_blocks, "difference", lambda *_: 0.0)


@pytest.mark.usefixtures("_right")
def test_a_network_gives_the_same_logits_at_all_scales_and_keeps_its_weights() -> None:
    image = torch.randn(1, 2, 16, 16, 32, generator=torch.Generator().manual_seed(1))
    plain, fast = small_network(), small_network().to(DEVICE)
    assert use_triton_kernels(fast, DEVICE)
    weights = zip(plain.state_dict().items(), fast.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(value, same.cpu()) for (name, value), (other, same) in weights)
    with torch.no_grad():
        expected, found = plain.double()(image.double()), fast(image.to(DEVICE))
    assert all(close(mine, judge, 1e-5) for mine, judge in zip(found, expected, strict=True))


def test_the_kernels_are_compared_with_torch_before_they_are_used() -> None:
    network = small_network().to(DEVICE)
    assert use_triton_kernels(network, DEVICE)
    assert type(network.get_submodule("bottleneck.0")) is not MedNeXtBlock


def test_wrong_kernels_are_detected_and_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turned = staticmethod(lambda weight: weight.squeeze(1).permute(1, 3, 2, 0).float().contiguous())
    monkeypatch.setattr(triton_layers, "depthwise_taps", turned)
    monkeypatch.setattr(triton_blocks, "probes", lambda kernel: [MedNeXtBlock(4, 4, 2, kernel)])
    network = small_network().to(DEVICE)
    assert not use_triton_kernels(network, DEVICE)
    assert "wrong by" in caplog.text
    assert type(network.get_submodule("bottleneck.0")) is MedNeXtBlock


def test_kernels_that_fail_are_detected_and_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> float:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(triton_blocks, "difference", fail)
    with caplog.at_level(logging.WARNING):
        assert not use_triton_kernels(small_network(), DEVICE)
    assert "no compiler" in caplog.text


def test_other_networks_and_devices_stay_on_torch() -> None:
    assert not use_triton_kernels(small_network(dimensions=2), DEVICE)
    assert not use_triton_kernels(small_network(), torch.device("mps"))
