"""The fastest tiles as they were measured on a card, before the rules of `tiles.py`.

The lines are those of `measured_tiles.txt`, which `python -m benchmarks.gpu --jobs tune:S3` writes. A tile
that a card has no room for is left, as all others are. Keys are a rule of `tiles.py` and what it was asked.
"""

from __future__ import annotations

from .tiles import ColumnTile, PieceTile, PointTile

MEASURED: dict[tuple[object, ...], ColumnTile | PieceTile | PointTile] = {}  # no card has been seen yet
