"""Work on the parts of an activation in several threads at once, each part by one thread.

torch divides every single operation among its threads instead, which then wait for each other thousands of
times in a pass through a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


class SlabThreads:
    """As many threads as torch has on entering the block; within it torch uses one in each of them."""

    def __init__(self) -> None:
        self._count = 1
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> SlabThreads:
        self._count = torch.get_num_threads()
        if self._count > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self._count, "slab")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            torch.set_num_threads(self._count)

    def map(self, work: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
        """What `work` makes of each part, in the order of the parts. Raises what `work` raises."""
        if self._pool is None:
            return [work(part) for part in parts]
        inference = torch.is_inference_mode_enabled()

        def in_thread(part: Part) -> Result:
            with torch.inference_mode(inference), torch.no_grad():  # torch's modes belong to a thread
                return work(part)

        return list(self._pool.map(in_thread, parts))
