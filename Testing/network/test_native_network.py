"""MedNeXt on the native kernels: the reference's numbers, with every instruction set."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mednext.errors import DeviceError
from mednext.network.mednext import MedNeXt
from mednext.network.native import NativeMedNeXt
from mednext.network.native_library import SAME, Depthwise, Kernels, Pointwise, load_library
from torch import Tensor

EXACT = 2e-6  # of the largest logit, against double precision; the reference itself is at 1e-6
BF16 = 2e-2


def small_network(**options: object) -> MedNeXt:
    """A small network whose norms, biases and response norms all matter."""
    torch.manual_seed(0)
    arguments: dict = {"expansion": (2, 3, 2, 1, 2, 2, 2, 2, 3), "blocks": (2,) + (1,) * 8, "channels": 8}
    network = MedNeXt(**{"in_channels": 2, "num_classes": 3, **arguments, **options}).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 or "grn" in name:
                parameter.normal_(0.3, 0.5)
    return network


def exact_logits(network: MedNeXt, image: Tensor) -> Tensor:
    """Of the plain network in double precision."""
    with torch.inference_mode():
        exact = network.double()(image.double())
    network.float()
    assert isinstance(exact, Tensor)
    return exact


def relative_difference(native: NativeMedNeXt, image: Tensor, exact: Tensor) -> float:
    """The largest difference from the exact logits, relative to the largest one of these."""
    with torch.inference_mode():
        found = native(image)
    return float((found - exact).abs().max() / exact.abs().max())


INSTRUCTIONS = ("neon",) if platform.machine() in ("arm64", "aarch64") else ("avx512", "avx2", "avx512_bf16")


@pytest.fixture(params=INSTRUCTIONS)
def kernels(request: pytest.FixtureRequest, native_kernels: ctypes.CDLL) -> Kernels:
    try:
        return Kernels(native_kernels, request.param)
    except DeviceError:
        pytest.skip(f"this processor has no {request.param}")


def kernels_of_this_processor(library: ctypes.CDLL) -> list[Kernels]:
    """With every instruction set that it has."""
    found = []
    for name in INSTRUCTIONS:
        with contextlib.suppress(DeviceError):
            found.append(Kernels(library, name))
    assert found
    return found


def assert_reference_logits(network: MedNeXt, image: Tensor, library: ctypes.CDLL) -> None:
    exact = exact_logits(network, image)
    for kernels in kernels_of_this_processor(library):
        tolerance = EXACT if kernels.bytes_per_value == 4 else BF16
        difference = relative_difference(NativeMedNeXt(network, kernels), image, exact)
        assert difference < tolerance, kernels.name


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 5, "in_channels": 4, "num_classes": 40},
        {"kernel_size": 7, "channels": 5},
        {"grn": True},
        {"grn": True, "grn_first_down": True, "grn_denominator": "sum"},
        {"residual": False, "resampling": "bottleneck"},
        {"channels": 33, "expansion": (1, 4) + (1,) * 7},
        {"down_expansion": (3, 1, 2, 4)},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()),
)
def test_every_kind_of_network_gives_the_references_logits(
    options: dict, native_kernels: ctypes.CDLL
) -> None:
    network = small_network(**options)
    assert_reference_logits(network, torch.randn(2, network.in_channels, 16, 16, 48), native_kernels)


@settings(max_examples=8)
@given(sides=st.tuples(*[st.integers(1, 3).map(lambda n: 16 * n)] * 3), threads=st.integers(1, 3))
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
        image = torch.randn(1, 2, *sides)
        assert relative_difference(native, image, exact_logits(network, image)) < EXACT
    finally:
        torch.set_num_threads(before)


def test_a_mean_far_from_zero_loses_no_more_digits_than_in_the_reference(native_kernels: ctypes.CDLL) -> None:
    network = small_network()
    image = torch.randn(1, 2, 16, 32, 32) + 1000
    with torch.inference_mode():
        exact = network.double()(image.double())
        network.float()
        plain = float((network(image) - exact).abs().max())
        native = float((NativeMedNeXt(network, Kernels(native_kernels))(image) - exact).abs().max())
    assert native < 2 * plain


def test_one_network_serves_images_of_several_shapes(native_kernels: ctypes.CDLL) -> None:
    network = small_network()
    native = NativeMedNeXt(network, Kernels(native_kernels))
    for sides in ((16, 32, 16), (16, 16, 48), (16, 32, 16)):
        image = torch.randn(1, 2, *sides)
        assert relative_difference(native, image, exact_logits(network, image)) < EXACT


def test_logits_of_the_next_image_lie_where_those_of_the_last_one_were(native_kernels: ctypes.CDLL) -> None:
    native = NativeMedNeXt(small_network(), Kernels(native_kernels))
    with torch.inference_mode():
        first, second = (native(torch.randn(1, 2, 16, 32, 16)) for _ in range(2))
        several = native(torch.randn(2, 2, 16, 32, 16))
    assert first.data_ptr() == second.data_ptr()
    assert several.data_ptr() != first.data_ptr()


@torch.inference_mode()
def test_a_network_in_another_thread_leaves_the_logits_alone(native_kernels: ctypes.CDLL) -> None:
    """As where a script segments two cases at the same time: the threads need memory of their own."""
    first, other = (NativeMedNeXt(small_network(), Kernels(native_kernels)) for _ in range(2))
    logits = first(torch.randn(1, 2, 16, 32, 16))
    before = logits.clone()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(other, torch.randn(1, 2, 16, 32, 16)).result()
    assert torch.equal(logits, before)


def test_many_classes_that_need_their_own_memory_are_right(native_kernels: ctypes.CDLL) -> None:
    assert_reference_logits(small_network(num_classes=40), torch.randn(1, 2, 16, 32, 16), native_kernels)


def test_an_unknown_instruction_set_is_refused(native_kernels: ctypes.CDLL) -> None:
    with pytest.raises(DeviceError, match="'mmx'"):
        Kernels(native_kernels, "mmx")


def test_a_file_that_is_not_a_library_is_not_used(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "mednext_native.so"
    file.write_bytes(b"not a library")
    assert load_library(file) is None
    assert "continuing without them" in caplog.text


def gelu(kernels: Kernels, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values `(V, 32)` as they are stored, and the result of a second pass with identity weights."""
    stored = x.bfloat16() if kernels.bytes_per_value == 2 else x
    identity, none, target = torch.eye(32), torch.zeros(32), torch.empty_like(stored)
    packed = torch.empty(32, 32)
    kernels.pack(identity.data_ptr(), None, 32, 32, packed.data_ptr())
    grid = Depthwise(stored.data_ptr(), None, stored.data_ptr(), *(1, 1, len(x)) * 2, 32, 3, SAME)
    pointers = (
        packed.data_ptr(),
        packed.data_ptr(),
        None,
        none.data_ptr(),
        none.data_ptr(),
        target.data_ptr(),
    )
    kernels.pointwise(ctypes.byref(Pointwise(grid, *pointers, hidden=32, out_channels=32, target_y=1)), 1)
    return stored.double(), target.double()


def test_gelu_is_right_for_arguments_of_any_size(kernels: Kernels) -> None:
    near, far = torch.linspace(-9, 9, 32 * 4000), torch.linspace(-3e4, 3e4, 32 * 8)
    x, found = gelu(kernels, torch.cat([near, far]).view(-1, 32))
    difference = (found - torch.nn.functional.gelu(x)).abs() / x.abs().clamp(min=1)
    assert float(difference.max()) < (4e-3 if kernels.bytes_per_value == 2 else 4e-7)


def test_nan_stays_nan(kernels: Kernels) -> None:
    x = torch.zeros(13, 32)
    x[5] = torch.nan
    _, found = gelu(kernels, x)
    assert bool(found[5].isnan().all())
    assert not bool(found[[4, 6]].isnan().any())


def test_an_output_larger_than_the_caches_is_right(kernels: Kernels) -> None:
    torch.manual_seed(0)
    image, kernel = torch.randn(34, 96, 96, 32), torch.randn(3, 3, 3, 32)
    stored = image.bfloat16() if kernels.bytes_per_value == 2 else image
    order = [kernels.channel_at(position) for position in range(32)]
    own, output = kernel[..., order].contiguous(), torch.empty_like(stored)
    mean, variance = torch.empty(2, 32, dtype=torch.float64)
    pointers = [tensor.data_ptr() for tensor in (stored, own, output)]
    job = Depthwise(*pointers, *image.shape[:3] * 2, 32, 3, SAME)
    kernels.depthwise(ctypes.byref(job), mean.data_ptr(), variance.data_ptr(), 2)
    planes, weight = stored.float().movedim(-1, 0)[None], kernel.movedim(-1, 0)[:, None]
    expected = torch.nn.functional.conv3d(planes, weight, padding=1, groups=32)[0].movedim(0, -1)[..., order]
    rounding = 1e-2 if stored.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(output.float(), expected, rtol=rounding, atol=rounding)
    torch.testing.assert_close(mean, expected.double().mean((0, 1, 2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(variance, expected.double().var((0, 1, 2), correction=0), rtol=1e-5, atol=0)
