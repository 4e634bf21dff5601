"""Which of several tiles a launch uses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
from triton.runtime.errors import OutOfResources

from .measured import MEASURED
from .tiles import INTERPRETED

Tile = TypeVar("Tile")


class Choice(Generic[Tile]):
    """The first tile that the card has room for, or once it was measured, the fastest.

    Args:
        rule: of `tiles.py`.
        asked: its arguments.

    Attributes:
        key: rule and arguments, as in `measured.py`.
        tiles: the first of them is the choice.
    """

    def __init__(self, rule: Callable[..., Iterable[Tile]], *asked: Any) -> None:
        self.key = (rule.__name__, *asked)
        known: Any = [] if INTERPRETED or self.key not in MEASURED else [MEASURED[self.key]]
        self.tiles: list[Tile] = list(dict.fromkeys([*known, *rule(*asked)]))
        self._measured = False

    def launch(self, run: Callable[[Tile], None]) -> None:
        """Call `run` with the chosen tile.

        Raises:
            OutOfResources: the card has room for none of them.
        """
        while True:
            try:
                run(self.tiles[0])
            except OutOfResources:
                if len(self.tiles) == 1:
                    raise
                self.tiles.pop(0)
            else:
                return

    def measure(self, run: Callable[[Tile], None], rounds: int = 5) -> None:
        """Put the fastest tile first, once: median time on the current CUDA device, all of them in turn."""
        if self._measured:
            return
        self._measured = True
        times: dict[Tile, list[float]] = {}
        for tile in self.tiles:
            try:
                run(tile)
                times[tile] = []
            except OutOfResources:
                continue
        for _ in range(rounds):
            for tile, seen in times.items():
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                run(tile)
                end.record()
                end.synchronize()
                seen.append(start.elapsed_time(end))
        self.tiles = sorted(times, key=lambda tile: statistics.median(times[tile])) or self.tiles


Choices = dict[tuple[Any, ...], Choice[Any]]  # by their keys
