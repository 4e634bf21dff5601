"""The number of CPU threads: the requested one everywhere, and at most that of the cores."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_model
from mednext.errors import OptionError
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inference import segment as pipeline
from mednext.inputs import checked_volumes
from mednext.model.bundle import Bundle, Fold
from mednext.network.native import NativeMedNeXt
from mednext.network.native_library import Kernels
from mednext.system import devices
from mednext.system.devices import cpu_threads, usable_cores
from torch import Tensor, nn


def threads() -> tuple[int, int]:
    """Those of torch, and those of ITK."""
    return torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the machine have another number of cores."""
    return lambda count: monkeypatch.setattr(devices, "usable_cores", lambda: count)


def test_the_requested_number_of_threads_holds_within_the_block_only(cores: Callable[[int], None]) -> None:
    cores(8)
    before = threads()
    with cpu_threads(3):
        assert threads() == (3, 3)
    assert threads() == before


def test_the_number_of_threads_is_at_most_that_of_the_cores(
    cores: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    cores(2)
    with cpu_threads(64):
        assert threads() == (2, 2)
    assert [record.message for record in caplog.records] == [
        "64 threads were asked for, but there are 2 cores: using 2."
    ]


def test_torchs_own_number_of_threads_is_at_most_that_of_the_cores(cores: Callable[[int], None]) -> None:
    cores(1)
    with cpu_threads(None):
        assert threads() == (1, 1)


def test_fewer_threads_than_one_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 1, not 0"), cpu_threads(0):
        pass


def test_an_error_restores_the_number_of_threads(cores: Callable[[int], None]) -> None:
    cores(8)
    before = threads()
    with pytest.raises(KeyError), cpu_threads(5):
        raise KeyError
    assert threads() == before


def test_a_process_has_at_least_one_core() -> None:
    assert usable_cores() >= 1


class Witness(nn.Module):
    """A network that costs nothing and writes down the threads that it sees."""

    def __init__(self, seen: list[tuple[int, int]]) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(threads())
        return x[:, :1].expand(-1, 3, -1, -1, -1).clone()


def test_networks_and_resampling_of_a_run_use_that_number_of_threads(
    cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    network = Witness(seen)

    class WithWitness(Bundle):
        def network(self, fold: int) -> nn.Module:  # type: ignore[override]
            return network

    def combine(volumes: Any) -> Volume:
        seen.append(threads())
        return combine_channels(volumes)

    combine_channels = checked_volumes.combine_channels
    monkeypatch.setattr(checked_volumes, "combine_channels", combine)
    cores(8)
    channel = tiny_model().channels[0]
    model = tiny_model(folds=(Fold(0, "none", "0" * 64),), channels=(channel, channel), mirror_axes=())
    noise = np.random.default_rng(0)
    volumes = [
        Volume(noise.normal(size=(1, 16, 32, 32)).astype(np.float32), Geometry((32, 32, 16), (1.0, 1.0, 1.0)))
        for _ in range(2)
    ]
    pipeline.segment(volumes, WithWitness(Path(), model), device="cpu", threads=3)
    assert seen == [(3, 3)] * 2


def test_the_native_kernels_use_that_number_of_threads(
    native_kernels: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Recorded(Kernels):
        def __getattr__(self, name: str) -> Callable[..., Any]:
            kernel = super().__getattr__(name)
            if name == "pack":  # at once
                return kernel
            return lambda *arguments: (asked.append(arguments[-1]), kernel(*arguments))

    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    NativeMedNeXt(TINY_NETWORK.build().eval(), Recorded(native_kernels))(torch.zeros(1, 1, 16, 32, 32))
    assert len(asked) > 30
    assert set(asked) == {7}
