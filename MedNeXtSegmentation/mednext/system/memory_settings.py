"""Memory settings for a process of our own that runs large networks on the CPU."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

# glibc maps and unmaps every activation otherwise: at 128³ that costs three times the computation. A thread's
# own arena would still do so: there is one for all.
GLIBC_TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 2**34, "arena_max": 1}.items()
)


def tuned_environment() -> dict[str, str]:
    """This process's environment with the allocator of glibc tuned, for a child; unchanged without glibc.

    What the user has set stays.
    """
    if sys.platform != "linux":
        return dict(os.environ)
    return {"GLIBC_TUNABLES": GLIBC_TUNABLES, "OMP_WAIT_POLICY": "PASSIVE"} | dict(os.environ)


def restart_tuned(module: str, arguments: Sequence[str]) -> None:
    """Start this program again as `python -m module` with the allocator tuned, unless it is tuned already.

    glibc reads its settings only when a process starts. Does nothing elsewhere than on Linux.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, [sys.executable, "-m", module, *arguments], tuned_environment())


def give_memory_back() -> None:
    """Hand what this process has freed to the system: with the settings above glibc keeps up to 16 GiB."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries than glibc have none
        if trim:
            trim(0)
