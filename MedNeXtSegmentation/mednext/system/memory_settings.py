"""Memory settings for our own processes that run large networks on the CPU."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
from collections.abc import Sequence

from .child_processes import import_settings

# Without these, glibc maps and unmaps every activation, which at 128³ takes three times as long as the
# computation. One arena serves all threads, since a thread's own arena ignores them.
GLIBC_TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 2**34, "arena_max": 1}.items()
)


def tuned_environment() -> dict[str, str]:
    """This process's environment for a child, on Linux with glibc's allocator tuned.

    The user's own settings take precedence.
    """
    if sys.platform != "linux":
        return dict(os.environ)
    return {"GLIBC_TUNABLES": GLIBC_TUNABLES, "OMP_WAIT_POLICY": "PASSIVE"} | dict(os.environ)


def restart_tuned(module: str, arguments: Sequence[str]) -> None:
    """Restart this program as `python -m module` with the allocator tuned, unless it is tuned already.

    glibc reads its settings only when a process starts. Does nothing on other systems than Linux.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        tuned = tuned_environment()
        tuned |= import_settings(tuned)
        os.execve(sys.executable, [sys.executable, "-m", module, *arguments], tuned)  # noqa: S606 - itself


def end_without_search() -> None:
    """Let this program end without Python's last search for garbage: half a second with torch's objects."""
    atexit.register(gc.freeze)


def give_memory_back() -> None:
    """Return freed memory to the system: with the settings above glibc keeps up to 16 GiB."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries than glibc have none
        if trim:
            trim(0)
