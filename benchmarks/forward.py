"""The forward pass of one patch on the CPU: peers, the reference and ours, interleaved in one process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from subprocess import CalledProcessError

import torch
from mednext.system.memory_settings import give_memory_back

from .candidates import CLASSES, REFERENCE, Forward, Size, forwards
from .children import megabytes_of
from .interleaved import median_seconds

HEADER = "| | seconds | times the reference | difference | peak MiB |\n|---|---|---|---|---|"


@torch.inference_mode()
def measure(size: Size, side: int, rounds: int, compiled: bool) -> str:
    """A table for a cube of `side` voxels; with `compiled` also torch.compile, where there is a compiler."""
    image = torch.randn(1, 1, side, side, side, generator=torch.Generator().manual_seed(0))
    made = {name: make() for name, make in forwards(size, compiled).items()}
    differences = _differences(made, image)
    seconds = median_seconds({name: partial(run, image) for name, run in made.items()}, rounds, warm=True)
    memory = {name: _peak_mib(name, size, side) for name in made}
    del made
    give_memory_back()
    title = f"### MedNeXt-{size}, {side}³, {CLASSES} classes, {rounds} rounds"
    rows = [_row(name, seconds, differences[name], memory[name]) for name in seconds]
    return "\n".join([title, "", HEADER, *rows])


def _differences(made: Mapping[str, Forward], image: torch.Tensor) -> dict[str, float | None]:
    """The largest, of the reference's largest logit; None for another network than the reference's."""
    expected = made[REFERENCE](image)
    scale = float(expected.abs().max())
    found = {name: float((run(image) - expected).abs().max()) / scale for name, run in made.items()}
    return {name: value if value < 0.1 else None for name, value in found.items()}


def _peak_mib(name: str, size: Size, side: int) -> float | None:
    """None where a process of its own failed: the seconds of all the others are not lost for that."""
    try:
        return megabytes_of("benchmarks.forward_memory", name, f"{size.variant}{size.kernel}", str(side))
    except CalledProcessError:
        return None


def _row(name: str, seconds: Mapping[str, float], difference: float | None, mib: float | None) -> str:
    told = "another network" if difference is None else f"{difference:.0e}" if difference else "0"
    ratio = seconds[REFERENCE] / seconds[name]
    memory = "not measured" if mib is None else f"{mib:,.0f}"
    return f"| {name} | {seconds[name]:.2f} | {ratio:.2f} | {told} | {memory} |"
