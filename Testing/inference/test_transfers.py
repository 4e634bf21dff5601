"""Voxels go to a device as they are stored, and labels come back into any view."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fixtures.machines.apple_gpu import MPS, AppleGpu
from hypothesis import given
from hypothesis import strategies as st
from mednext.inference import device_transfer
from mednext.inference.device_transfer import (
    Download,
    Upload,
    as_stored,
    is_on,
    pieces,
    tensor_of,
    to_float32,
)

shapes = st.lists(st.integers(1, 6), min_size=3, max_size=3)


@st.composite
def views(draw: st.DrawFn) -> np.ndarray:
    """Parts of an int16 array along axes in any order and direction."""
    array = np.arange(8**3, dtype=np.int16).reshape(8, 8, 8)
    box = tuple(slice(begin, begin + side) for begin, side in zip((0, 1, 2), draw(shapes), strict=True))
    steps = tuple(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in range(3))
    return array[box][steps].transpose(draw(st.permutations(range(3))))


@given(views())
def test_an_array_is_found_as_it_lies_in_memory(view: np.ndarray) -> None:
    stored = as_stored(view)
    steps = stored.array.strides
    assert np.shares_memory(stored.array, view)
    assert min(steps) > 0
    assert list(steps) == sorted(steps, reverse=True)
    np.testing.assert_array_equal(stored.as_given(tensor_of(stored.array)), view)
    np.testing.assert_array_equal(stored.as_stored(torch.from_numpy(view.copy())), stored.array)


@given(views())
def test_any_view_becomes_a_float32_copy_on_the_cpu_and_on_a_device(view: np.ndarray) -> None:
    here = to_float32(view, torch.device("cpu"))
    with torch.inference_mode(), AppleGpu():
        there = to_float32(view, MPS)
        assert there.device.type == "mps"
        back = there.cpu()
    for found in (here, back):
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        np.testing.assert_array_equal(found, view)


def test_a_float32_volume_is_copied_too() -> None:
    """Normalising in place must not change the user's voxels. It is copied in several slabs."""
    array = np.random.default_rng(0).random((120, 110, 100), np.float32)
    for view in (array, array.transpose(2, 1, 0), array[::-1]):
        found = to_float32(view, torch.device("cpu"))
        np.testing.assert_array_equal(found, view)
        assert not np.shares_memory(found.numpy(), array)


@given(views())
def test_labels_come_back_into_any_view(view: np.ndarray) -> None:
    expected = view + 1
    target = np.zeros((8, 8, 8), dtype=np.int16)
    lying = np.lib.stride_tricks.as_strided(target.ravel(), view.shape, [abs(s) for s in view.strides])
    backwards = tuple(slice(None, None, -1 if step < 0 else 1) for step in view.strides)
    place = lying[backwards]
    download = Download()
    with torch.inference_mode(), AppleGpu():
        download.begin(torch.from_numpy(expected).to(MPS), place)
    download.finish()
    np.testing.assert_array_equal(place, expected)
    assert np.count_nonzero(target) == expected.size


@given(shapes, st.integers(1, 60))
def test_pieces_are_small_and_each_part_is_in_one(shape: list[int], limit: int) -> None:
    source = torch.arange(int(np.prod(shape)), dtype=torch.int16).reshape(shape)
    target = torch.zeros_like(source)
    for piece, place in pieces(source, target, limit):
        assert piece.nbytes <= max(limit, 2)
        assert not place.any()
        place.copy_(piece + 1)
    assert torch.equal(source + 1, target)


class Stream:
    """A stream of CUDA that only remembers the streams it waits for."""

    def __init__(self) -> None:
        self.waited_for: list[Stream] = []

    def wait_stream(self, other: Stream) -> None:
        self.waited_for.append(other)


def test_pieces_go_through_little_locked_memory_and_later_work_waits_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The card is a mock, since this machine has none; test_cuda.py does it on one."""
    under_way: list[object] = []
    most = 0

    class Event:
        def record(self, stream: Stream) -> None:
            nonlocal most
            assert stream is side
            under_way.append(self)
            most = max(most, len(under_way))

        def synchronize(self) -> None:
            assert under_way.pop(0) is self

    locked: list[int] = []

    def empty(shape: torch.Size, dtype: torch.dtype, pin_memory: bool = False, **_: object) -> torch.Tensor:
        made = torch.zeros(shape, dtype=dtype)
        locked.extend([made.nbytes] * pin_memory)
        return made

    side, current = Stream(), Stream()
    cuda = SimpleNamespace(
        stream=nullcontext, Event=Event, current_stream=lambda _: current, Stream=lambda _: side
    )
    monkeypatch.setattr(device_transfer, "torch", SimpleNamespace(empty=empty, cuda=cuda))
    random = np.random.default_rng(0).integers(-(2**15), 2**15, (2, 90, 400, 350), np.int16)
    source = torch.from_numpy(random).transpose(2, 3)
    upload = device_transfer.Upload(source, torch.device("cuda"))
    assert torch.equal(upload.up_to(90), source)
    assert sum(locked) == source.nbytes and max(locked) < source.nbytes / 2
    assert side.waited_for == [current]
    assert current.waited_for == [side]
    assert 1 < most <= 3


def test_voxels_that_may_not_be_written_to_are_read_without_a_warning() -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = tensor_of(array)
    np.testing.assert_array_equal(found, array)
    assert found.data_ptr() == array.ctypes.data


@pytest.mark.parametrize(
    ("place", "device", "expected"),
    [
        ("cuda:0", "cuda", True),
        ("cuda:1", "cuda:1", True),
        ("cuda:1", "cuda:0", False),
        ("cpu", "cuda", False),
        ("cpu", "cpu", True),
    ],
)
def test_a_tensor_on_the_card_is_known_to_be_there(place: str, device: str, expected: bool) -> None:
    assert is_on(torch.device(place), torch.device(device)) == expected


def test_an_image_that_is_there_is_not_copied() -> None:
    with torch.inference_mode(), AppleGpu():
        image = torch.rand(1, 4, 5, 6).to(MPS)
        assert Upload(image, MPS).up_to(2) is image
