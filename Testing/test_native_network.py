"""MedNeXt on the native kernels: the reference's numbers, with every instruction set."""

from __future__ import annotations

import ctypes
import platform

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mednext.errors import DeviceError
from mednext.native_library import Kernels, load_library
from mednext.native_network import NativeMedNeXt, is_supported
from mednext.network import MedNeXt
from torch import Tensor

EXACT = 2e-6  # of the largest logit, against double precision; the reference itself is at 1e-6
BF16 = 2e-2


def small_network(**options: object) -> MedNeXt:
    """A small network whose norms, biases and response norms all have something to do."""
    torch.manual_seed(0)
    arguments: dict = {"expansion": (2, 3, 2, 1, 2, 2, 2, 2, 3), "blocks": (2,) + (1,) * 8, "channels": 8}
    network = MedNeXt(**{"in_channels": 2, "num_classes": 3, **arguments, **options}).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 or "grn" in name:
                parameter.normal_(0.3, 0.5)
    return network


def relative_difference(native: NativeMedNeXt, network: MedNeXt, image: Tensor) -> float:
    """The largest difference from the plain network in double precision, relative to its largest logit."""
    with torch.inference_mode():
        found = native(image)
        exact = network.double()(image.double())
    network.float()
    assert isinstance(exact, Tensor)
    return float((found - exact).abs().max() / exact.abs().max())


INSTRUCTIONS = ("neon",) if platform.machine() in ("arm64", "aarch64") else ("avx512", "avx2", "avx512_bf16")


@pytest.fixture(params=INSTRUCTIONS)
def kernels(request: pytest.FixtureRequest, native_kernels: ctypes.CDLL) -> Kernels:
    try:
        return Kernels(native_kernels, request.param)
    except DeviceError:
        pytest.skip(f"this processor has no {request.param}")


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 5, "in_channels": 4, "num_classes": 40},
        {"kernel_size": 7, "channels": 5},
        {"grn": True},
        {"residual": False, "resampling": "bottleneck"},
        {"channels": 33, "expansion": (1, 4) + (1,) * 7},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()),
)
def test_every_kind_of_network_gives_the_references_logits(options: dict, kernels: Kernels) -> None:
    network = small_network(**options)
    image = torch.randn(2, network.in_channels, 32, 16, 48)
    tolerance = EXACT if kernels.bytes_per_value == 4 else BF16
    assert relative_difference(NativeMedNeXt(network, kernels), network, image) < tolerance


@settings(max_examples=12)
@given(sides=st.tuples(*[st.integers(1, 5).map(lambda n: 16 * n)] * 3), threads=st.integers(1, 3))
def test_any_shape_and_any_number_of_threads_give_the_references_logits(
    native_kernels: ctypes.CDLL, sides: tuple[int, int, int], threads: int
) -> None:
    if max(sides) == 16:
        return  # no norm over one voxel
    network = small_network()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        native = NativeMedNeXt(network, Kernels(native_kernels))
        assert relative_difference(native, network, torch.randn(1, 2, *sides)) < EXACT
    finally:
        torch.set_num_threads(before)


def test_a_mean_far_from_zero_costs_no_more_digits_than_in_the_reference(native_kernels: ctypes.CDLL) -> None:
    network = small_network()
    image = torch.randn(1, 2, 32, 32, 32) + 1000
    with torch.inference_mode():
        exact = network.double()(image.double())
        network.float()
        plain = float((network(image) - exact).abs().max())
        native = float((NativeMedNeXt(network, Kernels(native_kernels))(image) - exact).abs().max())
    assert native < 2 * plain


def test_one_network_serves_images_of_several_shapes(native_kernels: ctypes.CDLL) -> None:
    network = small_network()
    native = NativeMedNeXt(network, Kernels(native_kernels))
    for sides in ((32, 32, 32), (16, 48, 32), (32, 32, 32)):
        assert relative_difference(native, network, torch.randn(1, 2, *sides)) < EXACT


def test_networks_that_the_kernels_do_not_know_are_told_apart() -> None:
    assert is_supported(small_network(grn=True))
    assert not is_supported(small_network(dimensions=2))
    assert not is_supported(small_network(deep_supervision=True))
    assert not is_supported(small_network(resampling="standard"))


def test_an_instruction_set_that_nobody_has_is_refused(native_kernels: ctypes.CDLL) -> None:
    with pytest.raises(DeviceError, match="'mmx'"):
        Kernels(native_kernels, "mmx")


def test_a_file_that_is_no_library_is_left_alone(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "mednext_native.so"
    file.write_bytes(b"not a library")
    assert load_library(file) is None
    assert "going on without them" in caplog.text
