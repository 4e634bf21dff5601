"""Measure speed and memory side by side with peers, in one run; nothing here asserts a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Settings:
    """The size of a run.

    Attributes:
        rounds: number of counted calls of each candidate.
        networks: pairs of a network, such as "S3", and the side of its patch in voxels.
        long: larger patches and scans, about an hour.
        compiled: also measure torch.compile, which needs minutes.
    """

    rounds: int
    networks: tuple[tuple[str, int], ...]
    long: bool = False
    compiled: bool = True
