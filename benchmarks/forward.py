"""The forward pass of one patch on the CPU: peers, the reference and ours, in turn in one process.

`python -m benchmarks.forward NAME S3 128` prints the MiB that one candidate takes beyond network and image.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from subprocess import CalledProcessError

import torch
from mednext.system.memory_settings import give_memory_back

from . import Settings
from .candidates import CLASSES, COMPILED, REFERENCE, Forward, Size, forwards
from .children import numbers_of, peak_mib_of
from .report import table
from .timing import median_seconds


def measure(settings: Settings) -> str:
    """A table for each network: seconds, difference from the reference, peak of the memory."""
    return "\n".join(
        _table(Size.parse(size), side, settings.rounds, settings.compiled) for size, side in settings.networks
    )


@torch.inference_mode()
def _table(size: Size, side: int, rounds: int, compiled: bool) -> str:
    image = torch.randn(1, 1, side, side, side, generator=torch.Generator().manual_seed(0))
    made = {name: make() for name, make in forwards(size, compiled).items()}
    differences = _differences(made, image)
    seconds = median_seconds({name: partial(run, image) for name, run in made.items()}, rounds, warm=True)
    memory = {name: _peak_mib(name, size, side) for name in made}
    del made
    give_memory_back()
    rows = (
        {
            "": name,
            "seconds": seconds[name],
            "times the reference": seconds[REFERENCE] / seconds[name],
            "difference": differences[name],
            "peak MiB": memory[name],
        }
        for name in seconds
    )
    return table(f"MedNeXt-{size}, {side}³, {CLASSES} classes, {rounds} rounds", rows)


def _differences(made: Mapping[str, Forward], image: torch.Tensor) -> dict[str, float | str]:
    """Largest difference of a logit from the reference, as a share of the reference's largest logit."""
    expected = made[REFERENCE](image)
    scale = float(expected.abs().max())
    found = {name: float((run(image) - expected).abs().max()) / scale for name, run in made.items()}
    return {name: value if value < 0.1 else "another network" for name, value in found.items()}


def _peak_mib(name: str, size: Size, side: int) -> float | None:
    """None if the process failed: the other measurements are kept."""
    try:
        return numbers_of("benchmarks.forward", name, f"{size.variant}{size.kernel}", str(side))[0]
    except CalledProcessError:
        return None


@torch.inference_mode()
def main(name: str, size: str, side: int) -> None:
    """Measure the memory of one candidate in this process and print it."""
    run = forwards(Size.parse(size), compiled=True)[name]()
    if name != COMPILED:  # which compiles again for each shape
        run(torch.zeros(1, 1, 32, 32, 32))  # loads libraries, converts weights
    image = torch.randn(1, 1, side, side, side)
    sys.stdout.write(f"{peak_mib_of(lambda: run(image))}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
