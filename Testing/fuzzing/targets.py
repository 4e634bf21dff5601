"""The class of targets, the results of fuzzing them, and the search for all targets."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .mutation import mutated


@dataclass(frozen=True)
class Target:
    """One reader of foreign files.

    Attributes:
        name: unique among all targets.
        seeds: write sound files into an empty folder; return those to mutate.
        run: read one file; raise `MedNeXtError` to refuse it.
        mutate: turn the content of a seed into that of a damaged file, by these random numbers; formats whose
            compression or checksums would reveal every mutation need another one than `mutated`.
        seconds: longest time of one execution; a longer one is a hang.
        memory_mb: the address space that the reader may take beyond that of an idle child, in MiB.
        module: module of the target; `targets_of` fills it in.
    """

    name: str
    seeds: Callable[[Path], Sequence[Path]]
    run: Callable[[Path], object]
    mutate: Callable[[bytes, random.Random], bytes] = mutated
    seconds: float = 10.0
    memory_mb: int = 2048
    module: str = ""


@dataclass(frozen=True)
class Finding:
    """One execution with a bad end: its number, its end, and the file that it read."""

    number: int
    end: str
    file: Path


@dataclass
class Outcome:
    """The results of the executions of one target.

    Attributes:
        executions: their number.
        ends: the number of executions with each allowed end: "read", or the class of the `MedNeXtError`.
        findings: the executions with other ends.
        seconds: spent on the executions.
    """

    executions: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0


def all_targets() -> dict[str, Target]:
    """All targets by name, from every module of this package that is called `*_targets`."""
    package = importlib.import_module(__package__ or "fuzzing")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    found: dict[str, Target] = {}
    for name in names:
        if name.endswith("_targets"):
            for target in targets_of(f"{package.__name__}.{name}"):
                if target.name in found:
                    raise ValueError(f"Two targets are called {target.name!r}.")
                found[target.name] = target
    return found


def targets_of(module: str) -> list[Target]:
    """The targets of one module."""
    return [replace(target, module=module) for target in importlib.import_module(module).TARGETS]
