"""The fastest tile of every launch, measured on a card, for the rules that choose tiles."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from mednext.network.triton import TritonMedNeXt
from mednext.network.triton_kernels.tile_choice import Choice
from torch import Tensor
from triton.runtime.errors import OutOfResources

from .records import tell
from .scale import Scale
from .timing import DEVICE, ON_CARD, Candidate, prepare, time_interleaved

_ROUNDS = 5
_launch = Choice.launch


@torch.inference_mode()
def tune(job: str, name: str, scale: Scale) -> None:
    """Time a network with the tiles that the rules choose, then with the fastest ones, and record these."""
    network, image = scale.network(name).eval().to(DEVICE), scale.image(scale.sides).to(DEVICE)
    _time(job, "as chosen", network, image, scale)
    if not ON_CARD:
        return
    fastest: dict[tuple[Any, ...], Any] = {}

    def launch(choice: Choice[Any], run: Callable[[Any], None]) -> None:
        if choice.key not in fastest:
            fastest[choice.key] = _fastest(choice, run)
        choice.tiles = [fastest[choice.key], *(tile for tile in choice.tiles if tile != fastest[choice.key])]
        _launch(choice, run)

    with patch.object(Choice, "launch", launch):
        _time(job, "as measured", network, image, scale)
    for key, tile in fastest.items():
        tell(job, repr(key), tile=repr(tile))


def _time(job: str, what: str, network: Any, image: Tensor, scale: Scale) -> None:
    candidate = Candidate(partial(TritonMedNeXt(network, torch.float16, DEVICE), image))
    prepare(candidate, scale.calls)
    time_interleaved({"": candidate}, scale.rounds)
    tell(job, what, ms=candidate.median)


def _fastest(choice: Choice[Any], run: Callable[[Any], None]) -> Any:
    """The tile with the shortest launch; the first one where the card has room for none."""
    times = {tile: spent for tile in choice.tiles if (spent := _milliseconds(tile, run)) is not None}
    return min(times, key=lambda tile: times[tile], default=choice.tiles[0])


def _milliseconds(tile: Any, run: Callable[[Any], None]) -> float | None:
    """Median of a few launches; None where the card has no room for the tile."""
    try:
        run(tile)
    except OutOfResources:
        return None
    seen = []
    for _ in range(_ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(tile)
        end.record()
        end.synchronize()
        seen.append(start.elapsed_time(end))
    return statistics.median(seen)
