"""The facts that `environment_check` finds about a Python and its machine, to and from JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from ..system.json_values import from_json, to_json

OLDEST_TORCH = "2.6"


@dataclass
class PackageFacts:
    """A package: its installed version and the error of its import, each None where there is none."""

    version: str | None = None
    error: str | None = None


@dataclass
class TorchFacts(PackageFacts):
    """PyTorch.

    Attributes:
        folder: the folder that holds the package `torch`; None where there is none.
        build: its platform: "cpu", "cu126", "rocm6.2"; "" until it is imported.
        cuda: whether it can use an NVIDIA (or ROCm) card now.
        mps: whether it can use the graphics processor of a Mac now.
        warnings: its warnings about the devices.
        trial_error: the error of a small trial computation, on the processor or on the card.
    """

    folder: str | None = None
    build: str = ""
    cuda: bool = False
    mps: bool = False
    warnings: list[str] = field(default_factory=list)
    trial_error: str | None = None


@dataclass
class Card:
    """A graphics card: its name, its driver where it is known, and its memory."""

    name: str
    driver: str = ""
    memory_mib: int = 0


@dataclass
class Facts:
    """All facts.

    Attributes:
        step: the step in progress when this was written: "import torch", at the end "done".
        pid: of the process that found the facts.
        prefix: the folder of this Python; site_packages: its folder of packages.
        long_paths: whether Windows allows paths of more than 259 characters; None elsewhere.
        nvidia_cards: according to the driver's own tool, without PyTorch.
        devices: according to PyTorch.
        free_mib: free space of the disks of these folders: "temporary", "models", "packages".
        memory_mib: of the machine; None if unknown.
        engine_error: why the engine itself cannot be imported.
    """

    step: str = "start"
    pid: int = 0
    python: str = ""
    platform: str = ""
    machine: str = ""
    system: str = ""
    prefix: str = ""
    site_packages: str = ""
    long_paths: bool | None = None
    packages: dict[str, PackageFacts] = field(default_factory=dict)
    torch: TorchFacts = field(default_factory=TorchFacts)
    nvidia_cards: list[Card] = field(default_factory=list)
    devices: list[Card] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    free_mib: dict[str, int] = field(default_factory=dict)
    memory_mib: int | None = None
    engine_error: str | None = None

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(to_json(self))

    @classmethod
    def from_line(cls, line: str) -> Facts:
        """The facts in a line. Raises ValueError for another line."""
        try:
            return from_json(cls, json.loads(line))
        except ValueError as error:
            raise ValueError(f"no facts: {line[:200]!r}") from error


def is_older(version: str, than: str) -> bool:
    """Whether a version such as "2.6.0+cu126" is older than another; False for a string that is not one."""
    return bool(_numbers(version)) and _numbers(version) < _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in version.partition("+")[0].split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
