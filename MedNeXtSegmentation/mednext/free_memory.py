"""How much memory and disk the machine has left, without any package."""

from __future__ import annotations

import ctypes
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

_FREE_PAGES = ("vm.page_free_count", "vm.page_purgeable_count", "vm.page_pageable_external_count")


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that programs may still take without swapping, also within a container's limit; None if unknown.

    root: where "proc" and "sys" lie on Linux.
    """
    if sys.platform == "linux":
        return _free_on_linux(root)
    if sys.platform == "win32":
        return _free_on_windows()
    return _free_on_macos() if sys.platform == "darwin" else None


def free_disk(folder: Path) -> int | None:
    """Bytes that are free where a folder is; None if unknown."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _free_on_linux(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines)}
        free = int(kib["MemAvailable"]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None
    left = _left_in_container(root / "sys/fs/cgroup")
    return free if left is None else min(free, left)


def _left_in_container(cgroup: Path) -> int | None:
    """What the limit of this container leaves; files in its cache count as free, as in MemAvailable."""
    try:
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))  # "max" where there is none
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        lines = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
        cached = dict(line.split() for line in lines).get("inactive_file", "0")
    except (OSError, ValueError):
        return None
    return max(0, limit - used + int(cached))


class _WindowsMemory(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("dwLength", ctypes.c_uint32),
        ("dwMemoryLoad", ctypes.c_uint32),
        ("ullTotalPhys", ctypes.c_uint64),
        ("ullAvailPhys", ctypes.c_uint64),
        ("ullTotalPageFile", ctypes.c_uint64),
        ("ullAvailPageFile", ctypes.c_uint64),
        ("ullTotalVirtual", ctypes.c_uint64),
        ("ullAvailVirtual", ctypes.c_uint64),
        ("ullAvailExtendedVirtual", ctypes.c_uint64),
    )


def _free_on_windows() -> int | None:
    status = _WindowsMemory(dwLength=ctypes.sizeof(_WindowsMemory))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - only Windows has it
    return int(status.ullAvailPhys) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _free_on_macos() -> int | None:
    return macos_free({name: _sysctl(name) for name in (*_FREE_PAGES, "hw.pagesize")})


def macos_free(counts: Mapping[str, int | None]) -> int | None:
    """Free, purgeable and file-backed pages in bytes; what macOS could compress is not counted."""
    size, free = counts["hw.pagesize"], counts["vm.page_free_count"]
    if not size or free is None:
        return None
    return size * sum(counts[name] or 0 for name in _FREE_PAGES)


def _sysctl(name: str) -> int | None:
    """A number that the kernel of macOS tells; it fills four or eight bytes."""
    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
    failed = ctypes.CDLL(None).sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if failed else int(value.value)
