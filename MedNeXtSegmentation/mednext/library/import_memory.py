"""Say how much memory an import takes, and refuse it before it starts where there is less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import OutOfMemoryError
from ..system.free_memory import obtainable_memory

WEIGHTS_SUFFIXES = (".model", ".pth", ".pt", ".ckpt", ".safetensors")

# Measured with MedNeXt-L, kernel 5, and the optimizer's state beside the weights: a file of 722 MiB took
# 1,217 MiB, two of them 1,833 MiB.
_OF_ALL_FILES = 1.0
_OF_THE_LARGEST = 0.7
WORTH_SAYING = 256 * 2**20  # bytes
_MIB = 2**20


def memory_of_import(sizes: Sequence[int]) -> int:
    """The bytes of memory that an import takes at most, given the sizes of its files of weights in bytes."""
    return int(_OF_ALL_FILES * sum(sizes) + _OF_THE_LARGEST * max(sizes, default=0))


def check_memory(source: Path, folds: Sequence[int | str] | None, say: Callable[[str], None]) -> None:
    """Say the memory that the import of a file, or of folds of a results folder, takes, unless it is little.

    Args:
        folds: those to import; None for all.

    Raises:
        OutOfMemoryError: this computer has less.
    """
    needed, free = memory_of_import(_sizes(source, folds)), obtainable_memory()
    sentence = f"The import takes up to {needed / _MIB:.0f} MiB of memory"
    if free is not None and needed > free:
        raise OutOfMemoryError(
            f"{sentence}, but only {free / _MIB:.0f} MiB are free. Close other programs, or import fewer "
            "folds (--folds)."
        )
    if needed >= WORTH_SAYING:
        say(f"{sentence}; {free / _MIB:.0f} MiB are free." if free is not None else f"{sentence}.")


def _sizes(source: Path, folds: Sequence[int | str] | None) -> list[int]:
    """The size of the largest file of weights in each folder of a fold that is imported."""
    if source.is_file():
        return [source.stat().st_size]
    wanted = None if folds is None else {str(fold) for fold in folds}
    largest: dict[Path, int] = {}
    for path in source.rglob("*"):
        is_chosen = wanted is None or path.parent.name.removeprefix("fold_") in wanted
        if path.suffix in WEIGHTS_SUFFIXES and is_chosen and path.is_file():
            largest[path.parent] = max(largest.get(path.parent, 0), path.stat().st_size)
    return list(largest.values())
