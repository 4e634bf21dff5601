"""Measure speed and memory side by side with peers, in one run; nothing here asserts a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

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
