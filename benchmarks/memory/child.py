"""Carry out one run as the worker does, and print its peaks and its time: `child NAME FOLDER`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mednext.images.source_image import SourceImage
from mednext.images.volume import handed_over
from mednext.locating.segment import segment
from mednext.network.formulation import FastNetwork
from mednext.worker.exchange import mapped, writing
from mednext.worker.hand_over import ALL, HandedOver
from mednext.worker.received_volume import received_volume
from mednext.worker.serving import import_engine

from ..children import peak_mib
from .cases import Case, cases


@contextmanager
def _first_tile_only() -> Iterator[None]:
    """Within the block a network computes its first tile, and answers all others with the same logits.

    Memory does not depend on the values of logits, and time does not matter here.
    """
    computed: dict[tuple[Any, ...], Any] = {}
    forward = FastNetwork.forward

    def answer(network: FastNetwork, x: Any) -> Any:
        key = (id(network), x.shape)
        if key not in computed:
            computed[key] = forward(network, x)
        return computed[key]

    with patch.object(FastNetwork, "forward", answer):
        yield


def prepare(case: Case, folder: Path) -> None:
    """Write the model and the voxels, in a process of its own."""
    case.bundle(folder / "measured")
    for channel in range(case.channels):
        for _ in writing(folder / f"{channel}.npy", case.array(channel)):
            pass


def main(arguments: Sequence[str]) -> None:
    """Prepare or measure a case."""
    step, name, place = arguments
    folder = Path(place)
    case = next(case for case in cases() if case.name == name)
    if step == "prepare":
        prepare(case, folder)
        return
    if not case.kernels:
        os.environ["MEDNEXT_NATIVE"] = "off"
    import_engine()
    from mednext.library.model_by_name import load_bundle

    bundle = load_bundle("hippocampus" if case.default else str(folder / "measured"))
    channels = [
        SourceImage(f"image {number}", mapped(folder / f"{number}.npy"), case.grid)
        for number in range(case.channels)
    ]
    begin, idle = time.monotonic(), peak_mib()
    with _first_tile_only():
        result = segment(
            (received_volume(channel) for channel in handed_over(channels)), bundle, case.run_options()
        )
    computed = peak_mib()
    HandedOver.of(result, ALL).write(folder)
    seconds = time.monotonic() - begin
    sys.stdout.write(f"{peak_mib()} {idle} {computed} {seconds}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
