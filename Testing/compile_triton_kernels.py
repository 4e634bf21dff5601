"""Compile the kernels of a block of each kind for a card that is not there: `... 90` for capability 9.0.

Run in a process of its own, in which Triton does not interpret. Triton brings all that it needs, up to the
machine code; only the launch is left out.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from mednext.cuda.blocks import TritonBlock, Workspace
from mednext.network import DownBlock, MedNeXtBlock, UpBlock
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

META = torch.device("meta")


class AbsentCard:
    """What Triton asks of a driver before it launches."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_instead_of_launching(self: JITFunction, grid: tuple[int, ...]) -> Any:
    def compiled(*arguments: Any, **options: Any) -> None:
        code = self.warmup(*arguments, grid=grid, **options)
        sys.stdout.write(f"{self.__name__}: {len(code.asm['cubin'])} bytes\n")

    return functools.wraps(self.fn)(compiled)


def main(capability: int, dtype: torch.dtype = torch.float16) -> None:
    """Compile a block that keeps the grid, one that halves it, and one that doubles it."""
    driver.set_active(AbsentCard(capability))
    JITFunction.__getitem__ = compile_instead_of_launching
    for kind, out, sides, out_sides in (
        (MedNeXtBlock, 32, 64, 64),
        (DownBlock, 64, 64, 32),
        (UpBlock, 16, 8, 16),  # so small that its hidden channels are split
    ):
        block = TritonBlock(kind(32, out, 8, 3), dtype, META)
        x = torch.empty(1, sides, sides, sides, 32, dtype=dtype, device=META)
        target = torch.empty(1, out_sides, out_sides, out_sides, out, dtype=dtype, device=META)
        block.run(x, x if kind is MedNeXtBlock else target, Workspace())


if __name__ == "__main__":
    main(int(sys.argv[1]))
