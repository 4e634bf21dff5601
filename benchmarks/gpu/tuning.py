"""The fastest tile of every launch, measured on a card, for the rules that choose tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from mednext.network.triton import TritonMedNeXt
from mednext.network.triton_kernels.tile_choice import Choice
from triton.runtime.errors import OutOfResources
from triton.testing import do_bench

from ..timing import median_seconds
from .records import tell
from .scale import DEVICE, ON_CARD, Scale, prepared

_launch = Choice.launch


@torch.inference_mode()
def tune(job: str, name: str, scale: Scale) -> None:
    """Time a network with the tiles that the rules choose, then with the fastest ones, and record these."""
    network, image = scale.network(name).eval().to(DEVICE), scale.image().to(DEVICE)

    def time_it(what: str) -> None:
        run = partial(TritonMedNeXt(network, torch.float16, DEVICE), image)
        prepared(run, scale.calls)
        tell(job, what, ms=1000 * median_seconds({"": run}, scale.rounds, warm=True)[""])

    time_it("as chosen")
    if not ON_CARD:
        return
    fastest: dict[tuple[Any, ...], Any] = {}

    def launch(choice: Choice[Any], run: Callable[[Any], None]) -> None:
        if choice.key not in fastest:
            fastest[choice.key] = min(choice.tiles, key=partial(_milliseconds, run))
        choice.tiles = [fastest[choice.key], *(tile for tile in choice.tiles if tile != fastest[choice.key])]
        _launch(choice, run)

    with patch.object(Choice, "launch", launch):
        time_it("as measured")
    for key, tile in fastest.items():
        tell(job, repr(key), tile=repr(tile))


def _milliseconds(run: Callable[[Any], None], tile: Any) -> float:
    """Median of some launches; infinite where the card has no room for the tile."""
    try:
        return float(do_bench(lambda: run(tile), warmup=2, rep=10, return_mode="median"))
    except OutOfResources:
        return float("inf")
