"""The native channels-last kernels give the numbers and gradients of torch's own layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mednext.network.mednext import MedNeXt
from mednext_training import native_build
from mednext_training.channels_last import use_native_kernels
from torch import Tensor

SIDES = (32, 16, 16)


def small_network(**options: object) -> MedNeXt:
    torch.manual_seed(0)
    arguments: dict = {"expansion": (2,) * 9, "blocks": (1,) * 9, "channels": 8, "deep_supervision": True}
    return MedNeXt(in_channels=2, num_classes=3, **(arguments | options))


def logits_and_gradients(network: MedNeXt, image: Tensor) -> dict[str, Tensor]:
    """The logits of each head, and the gradient of each parameter, by name."""
    heads = network(image)
    losses = [(head * torch.linspace(0, 1, head.numel()).to(head).view(head.shape)).mean() for head in heads]
    torch.stack(losses).sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {f"head {level}": head.detach() for level, head in enumerate(heads)} | gradients


@pytest.fixture
def needs_compiler() -> None:
    if native_build.native_library() is None:
        pytest.skip("no C++ compiler on this machine, or no place for what it compiles")


@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 5, "grn": True},
        {"grn": True, "checkpointing": "expansion"},
        {"checkpointing": "blocks"},
        {"kernel_size": 7, "channels": 5},
        {"residual": False, "resampling": "bottleneck"},
        {"resampling": "standard"},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_native_kernels_are_as_near_to_double_precision_as_torchs_layers(options: dict) -> None:
    image = torch.randn(2, 2, *SIDES, generator=torch.Generator().manual_seed(1))
    native = small_network(**options)
    assert use_native_kernels(native)

    exact = logits_and_gradients(small_network(**options).double(), image.double())
    torchs = logits_and_gradients(small_network(**options), image)
    found = logits_and_gradients(native, image)

    for name, value in exact.items():
        # the norm cancels the bias of the depthwise convolution: its gradient is rounding noise
        scale = 1.0 if name.endswith("conv1.bias") else float(value.abs().max())
        error = float((found[name] - value).abs().max())
        assert error <= 4 * float((torchs[name] - value).abs().max()) + 2e-5 * scale, name


@pytest.mark.usefixtures("needs_compiler")
def test_native_kernels_do_not_change_names_or_values_of_the_weights() -> None:
    plain, native = small_network(), small_network()
    use_native_kernels(native)
    assert list(native.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(native.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.usefixtures("needs_compiler")
def test_loading_the_kernels_does_not_flush_denormal_numbers_to_zero() -> None:
    smallest = np.array([np.finfo(np.float64).smallest_subnormal])
    assert (smallest * 1.0)[0] > 0


def test_two_dimensional_networks_stay_on_torch() -> None:
    network = small_network(dimensions=2)
    assert not use_native_kernels(network)
    assert network(torch.zeros(1, 2, 32, 16))[0].shape == (1, 3, 32, 16)


def test_without_a_compiler_the_network_stays_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    native_build.native_library.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    try:
        assert not use_native_kernels(small_network())
    finally:
        native_build.native_library.cache_clear()


@pytest.mark.parametrize(
    ("compiler", "cache", "told"),
    [
        ("false", "cache", "false failed"),
        ("no-such-compiler -O2", "cache", "no-such-compiler"),
        ("false", "a file/cache", "a file"),
    ],
)
def test_a_failing_compiler_or_an_unwritable_cache_is_logged_and_torch_used(
    compiler: str,
    cache: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "a file").touch()
    native_build.native_library.cache_clear()
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
    try:
        assert not use_native_kernels(small_network())
    finally:
        native_build.native_library.cache_clear()
    assert told in caplog.text
