"""A network's launches recorded as a CUDA graph, which repeats them with little work of the processor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ..system.devices import is_out_of_memory

if TYPE_CHECKING:
    from .triton_kernels.block_launches import Workspace

logger = logging.getLogger(__name__)


class Graph:
    """Recorded launches that use a workspace.

    Attributes:
        replay: launch all of them again.
    """

    def __init__(self, replay: Callable[[], None], workspace: Workspace) -> None:
        self.replay = replay
        self._workspace, self._exchanges = workspace, workspace.exchanges

    @property
    def is_valid(self) -> bool:
        """Whether its memory still exists."""
        return self._exchanges == self._workspace.exchanges


def record(launch: Callable[[], None], device: torch.device, workspace: Workspace) -> Graph | None:
    """The graph of the launches that `launch` makes on a card; None where they cannot be recorded.

    It uses a stream of this card, since torch's own belongs to the card of the first graph. Other threads may
    use the card meanwhile, for instance allocate memory. Raises `torch.OutOfMemoryError`.
    """
    if device.type != "cuda":
        return None
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    usual = torch.cuda.current_stream(device)
    try:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            launch()
    except Exception as error:  # boundary: kernels that cannot be recorded can still be launched
        if is_out_of_memory(error):
            raise
        logger.info("No CUDA graph could be recorded: launching kernel by kernel.", exc_info=True)
        return None
    finally:
        torch.cuda.set_stream(usual)  # a failed capture leaves its own stream current
    return Graph(graph.replay, workspace)
