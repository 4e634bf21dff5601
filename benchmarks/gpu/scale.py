"""The device, and the sizes of all measurements: full on a card, or tiny to see whether they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mednext.model.description import NetworkSpec
from mednext.network.mednext import MedNeXt

from ..candidates import Size

ON_CARD = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_CARD else "cpu")


@dataclass(frozen=True)
class Scale:
    """Sizes of all measurements.

    Attributes:
        sides: of a patch `(Z, Y, X)`.
        voxels: of a scan along x, y, z.
        batch: of a training step.
        rounds: of every measurement.
        calls: before the rounds, which compile and allocate.
    """

    sides: tuple[int, int, int]
    voxels: tuple[int, int, int]
    batch: int
    rounds: int
    calls: int
    tiny: bool = False

    def spec(self, name: str) -> NetworkSpec:
        """The network of this name, such as "L5"; tiny, of one block in each stage."""
        size = Size.parse(name)
        return (
            NetworkSpec(None, 1, 3, size.kernel, (2,) * 9, (1,) * 9, channels=4) if self.tiny else size.spec()
        )

    def network(self, name: str, deep_supervision: bool = False) -> MedNeXt:
        """The same random weights for the same name."""
        torch.manual_seed(0)
        spec = self.spec(name)
        return MedNeXt(
            1, spec.num_classes, spec.expansion, spec.blocks, spec.kernel_size,
            deep_supervision=deep_supervision, channels=spec.channels,
        )  # fmt: skip

    def image(self, count: int = 1) -> torch.Tensor:
        """Random numbers `(count, 1, Z, Y, X)`, on the CPU."""
        return torch.randn(count, 1, *self.sides, generator=torch.Generator().manual_seed(1))


FULL = Scale((128, 128, 128), (512, 512, 300), 2, 20, 3)
TINY = Scale((16, 16, 32), (40, 24, 20), 1, 1, 1, tiny=True)


def prepared(run: Callable[[], torch.Tensor], calls: int) -> tuple[torch.Tensor, float]:
    """Make the calls that compile and allocate; return the last result, and the card's peak in MiB."""
    if ON_CARD:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if ON_CARD else 0
    for _ in range(calls):
        found = run()
    return found, (torch.cuda.max_memory_allocated() - before) / 2**20 if ON_CARD else 0.0
