"""Targets, the results of fuzzing them, and where they are found."""

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
        seeds: write sound files into an empty folder; return those that are to be mutated.
        run: read one file; raises `MedNeXtError` for what it refuses.
        mutate: from the content of a seed to that of a damaged file, by these random numbers; another one
            than `mutated` is for formats whose compression or checksums would hide every mutation.
        seconds: the longest that one execution may take; more is a hang.
        memory_mb: the address space that the reader may take beyond that of an idle child, in MiB.
        module: where the target is from; `targets_of` fills it in.
    """

    name: str
    seeds: Callable[[Path], Sequence[Path]]
    run: Callable[[Path], object]
    mutate: Callable[[bytes, random.Random], bytes] = mutated
    seconds: float = 20.0
    memory_mb: int = 2048
    module: str = ""


@dataclass(frozen=True)
class Finding:
    """One execution that came to a bad end: its number, how it ended, and the file that was read."""

    number: int
    end: str
    file: Path


@dataclass
class Outcome:
    """What became of the executions of one target.

    Attributes:
        executions: how many were carried out.
        ends: how often each came to pass: "read", or the class of the `MedNeXtError`.
        findings: the others.
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
