"""Which of several tiles a launch uses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import torch
from triton.runtime.errors import OutOfResources

Tile = TypeVar("Tile")


class Choice(Generic[Tile]):
    """The first tile that the card has room for, or once it was measured, the fastest."""

    def __init__(self, tiles: Iterable[Tile]) -> None:
        self.tiles = list(dict.fromkeys(tiles))

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
        """Put the fastest tile first: median time on the current CUDA device, all of them in turn."""
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
