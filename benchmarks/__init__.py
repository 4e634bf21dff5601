"""Measure speed and memory side by side with peers, in one run; nothing here asserts a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from mednext.system.memory_settings import restart_tuned

ROOT = Path(__file__).parents[1]


Scale = Literal["smoke", "usual", "long"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Settings:
    """The size of a run.

    Attributes:
        rounds: number of counted calls of each candidate.
        networks: pairs of a network, such as "S3", and the side of its patch in voxels.
        scale: "long" has larger patches and scans, about an hour; "smoke" only shows that all parts run.
        compiled: also measure torch.compile, which needs minutes.
    """

    rounds: int
    networks: tuple[tuple[str, int], ...]
    scale: Scale = "usual"
    compiled: bool = True

    def pick(self, smoke: Value, usual: Value, long: Value) -> Value:
        """The value for this scale."""
        return {"smoke": smoke, "usual": usual, "long": long}[self.scale]


def restart(module: str, arguments: Sequence[str]) -> None:
    """Restart a benchmark with the allocator tuned, since torch waits for pages otherwise.

    Neither the new process nor its children look for modules in the current folder.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    restart_tuned(module, arguments)
