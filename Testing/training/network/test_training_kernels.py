"""The native channels-last kernels give the numbers and gradients of torch's own layers."""

from __future__ import annotations

import copy
import ctypes
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.environment.python_programs import output_of_python
from mednext.network.blocks import DownBlock, MedNeXtBlock, UpBlock
from mednext.network.mednext import MedNeXt
from mednext_training.network import channels_last, native_build
from mednext_training.network.channels_last import NATIVE, use_native_kernels
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
@pytest.mark.parametrize("channels", [2**45, 2**62])
def test_a_lack_of_memory_is_an_error_and_not_the_end_of_the_process(channels: int) -> None:
    x = torch.zeros(1)
    with pytest.raises(MemoryError, match="channel_statistics got no memory"):
        channels_last._call("channel_statistics", x, x.clone(), x.clone(), 1, 1, channels, 1e-5)


@pytest.mark.usefixtures("needs_compiler")
def test_a_lack_of_memory_in_a_thread_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "lacking.cpp").write_text(LACKING)
    library = tmp_path / "lacking.so"
    flags = [*native_build.FLAGS, f"-I{native_build.SOURCES[0].parent}", "-o", str(library)]
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    subprocess.run([compiler, *flags, str(tmp_path / "lacking.cpp")], check=True)
    assert [ctypes.CDLL(str(library)).lacking(part) for part in (0, 2, 4)] == [1, 1, 0]


LACKING = """
#include "parallel.h"
extern "C" int lacking(int part) try {
    in_parallel(4, 4, [=](int64_t, int64_t, int thread) {
        if (thread == part) throw std::bad_alloc();
    });
    return DONE;
} OR_OUT_OF_MEMORY
"""


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
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(
    ("kind", "widths", "kernel_size"),
    [(MedNeXtBlock, (32, 32, 3), 3), (DownBlock, (32, 64, 2), 5), (UpBlock, (64, 32, 3), 7)],
)
def test_a_block_of_full_vectors_never_stores_its_hidden_activations_and_has_torchs_gradients(
    kind: type[MedNeXtBlock], widths: tuple[int, int, int], kernel_size: int, residual: bool
) -> None:
    torch.manual_seed(0)
    plain = kind(*widths, kernel_size, residual=residual)
    native, exact = copy.deepcopy(plain), copy.deepcopy(plain).double()
    native.__class__ = NATIVE[kind]
    image = torch.randn(2, widths[0], 6, 9, 10) + 3  # more voxels than one piece, and a rest
    assert not hidden_activations(native, image) and hidden_activations(plain, image)
    expected, found = outputs_and_gradients(exact, image.double()), outputs_and_gradients(native, image)
    torchs = outputs_and_gradients(plain, image)
    for name, value in expected.items():
        scale = 10.0 if name == "conv1.bias" else float(value.abs().max())
        error = float((found[name] - value).abs().max())
        assert error <= 4 * float((torchs[name] - value).abs().max()) + 1e-5 * scale, name


def outputs_and_gradients(block: MedNeXtBlock, image: Tensor) -> dict[str, Tensor]:
    """Of one block; its input's gradient too."""
    image = image.clone().requires_grad_()
    block.zero_grad()
    y = block(image)
    (y * torch.linspace(-1, 1, y.numel()).to(y).view(y.shape)).sum().backward()
    assert image.grad is not None
    gradients = {name: parameter.grad for name, parameter in block.named_parameters()}
    return {"y": y.detach(), "x": image.grad} | gradients  # type: ignore[dict-item]


def hidden_activations(block: MedNeXtBlock, image: Tensor) -> list[tuple[int, ...]]:
    """Shapes of what autograd keeps that has more values than the input and the output."""
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = block(image)
    hidden = block.conv2.out_channels
    return [shape for shape in kept if hidden in shape and math.prod(shape) >= hidden * y[:, 0].numel() // 2]


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


WITHOUT_THREADS = """
import ctypes, os, resource
import numpy as np
from mednext_training.network.native_build import native_library

library = native_library()
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
if os.geteuid() == 0:
    os.setuid(65534)  # root may start any number
x = np.arange(640, dtype=np.float32).reshape(40, 16)
mean, scale = np.zeros((2, 16), np.float32)
places = [ctypes.c_void_p(each.ctypes.data) for each in (x, mean, scale)]
sizes = [ctypes.c_int64(number) for number in (1, *x.shape)]
library.channel_statistics(*places, *sizes, ctypes.c_float(0), 4)
print(np.abs(mean - x.mean(0)).max() < 1e-3)
"""


@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts the threads of a user")
def test_where_the_system_has_no_more_threads_one_does_all_the_work() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert output_of_python("-c", WITHOUT_THREADS, env=environment) == "True\n"


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
