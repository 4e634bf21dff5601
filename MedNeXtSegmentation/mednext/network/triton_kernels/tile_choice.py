"""Choose the tile of a launch: the first one that fits the card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from triton.runtime.errors import OutOfResources

Tile = TypeVar("Tile")


class Choice(Generic[Tile]):
    """The first tile that fits the card.

    Args:
        rule: a function of `tile_sizes.py`.
        asked: its arguments.

    Attributes:
        key: name of the rule, and its arguments.
        tiles: those that are left; the first is the choice.
    """

    def __init__(self, rule: Callable[..., Iterable[Tile]], *asked: Any) -> None:
        self.key = (rule.__name__, *asked)
        self.tiles: list[Tile] = list(dict.fromkeys(rule(*asked)))

    def launch(self, run: Callable[[Tile], None]) -> None:
        """Call `run` with the chosen tile.

        Raises:
            OutOfResources: none of them fits the card.
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


Choices = dict[tuple[Any, ...], Choice[Any]]  # by their keys
