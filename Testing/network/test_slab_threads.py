"""As many threads as torch has compute the parts of an activation, with one torch thread in each."""

from __future__ import annotations

import threading

import pytest
import torch
from mednext.network.lean import LeanMedNeXt, SlabThreads
from mednext.network.mednext import MedNeXt


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_all_threads_are_at_work_at_the_same_time(three_threads: None) -> None:
    together = threading.Barrier(3, timeout=60)
    with SlabThreads() as threads:
        threads.map(lambda part: together.wait(), range(3))  # would time out with fewer


def test_results_come_in_the_order_of_the_parts(three_threads: None) -> None:
    first_waits = threading.Event()

    def work(part: int) -> int:
        if part == 0:
            first_waits.wait(60)
        first_waits.set()
        return part

    with SlabThreads() as threads:
        assert threads.map(work, range(20)) == list(range(20))


def test_torch_uses_one_thread_in_each_of_them_and_its_own_number_afterwards(three_threads: None) -> None:
    with SlabThreads() as threads:
        assert threads.map(lambda part: torch.get_num_threads(), range(6)) == [1] * 6
    assert torch.get_num_threads() == 3


def test_an_error_reaches_the_caller_and_torch_gets_its_threads_back(three_threads: None) -> None:
    def work(part: int) -> None:
        if part == 4:
            raise MemoryError("part 4")

    with pytest.raises(MemoryError, match="part 4"), SlabThreads() as threads:
        threads.map(work, range(6))
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("inference", [True, False])
def test_the_threads_are_in_the_callers_inference_mode(three_threads: None, inference: bool) -> None:
    with torch.inference_mode(inference), SlabThreads() as threads:
        assert threads.map(lambda part: torch.is_inference_mode_enabled(), range(3)) == [inference] * 3


def test_no_thread_is_started_where_torch_has_one() -> None:
    assert torch.get_num_threads() == 1  # conftest
    with SlabThreads() as threads:
        assert set(threads.map(lambda part: threading.current_thread(), range(3))) == {
            threading.current_thread()
        }


def test_the_lean_formulation_gives_the_same_logits_with_any_number_of_threads() -> None:
    torch.manual_seed(0)
    lean = LeanMedNeXt(MedNeXt(1, 3, (2,) * 9, (1,) * 9, channels=8).eval())
    image = torch.randn(1, 1, 48, 32, 32)
    alone = lean(image)
    torch.set_num_threads(3)
    try:
        together = lean(image)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(alone, together)
